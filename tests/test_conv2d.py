"""conv2d computes the convolution: every geometry, dtype, layout and instruction set, against the reference."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from problems import DTYPES, Case, assert_close, cases, inputs, random_array

import fastconv
from fastconv import nn, options
from fastconv._cpu import implementations
from fastconv._options import Options
from fastconv._problem import ConvProblem

LAYERS = [
    "n1h14w14c3_k7x7f64_s2x2_d1x1_p2,3,2,3_g1",
    "n2h9w31c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1",
    "n1h7w7c512_k3x3f64_s1x1_d1x1_p1,1,1,1_g1",
    "n1h7w7c1024_k1x1f96_s1x1_d1x1_p0,0,0,0_g1",
    "n2h14w14c512_k1x1f64_s2x2_d1x1_p0,0,0,0_g1",
    "n1h20w20c32_k3x3f40_s1x1_d6x6_p6,6,6,6_g1",
    "n1h12w12c48_k3x3f48_s1x1_d1x1_p1,1,1,1_g12",
    "n1h12w12c24_k3x3f24_s2x2_d1x1_p0,1,0,1_g24",
    "n1h40w300c1_k5x5f1_s1x1_d1x1_p2,2,2,2_g1",
    "n1h40w40c1_k3x3f9_s1x1_d1x1_p1,1,1,1_g1",
    "n1h1w2000c4_k1x9f8_s1x3_d1x2_p0,0,8,8_g1",
    "n1h600w1c1_k400x1f3_s1x1_d1x1_p0,0,0,0_g1",
    "n1h1w1c300_k1x1f500_s1x1_d1x1_p0,0,0,0_g1",
    "n5h2w2c20_k2x2f33_s2x2_d1x1_p0,0,0,0_g1",
    "n2h30w41c144_k3x3f144_s1x1_d1x1_p1,1,1,1_g144",
    "n2h17w19c70_k7x5f140_s2x2_d1x1_p2,2,1,2_g70",
    "n2h30w41c64_k3x3f3_s1x1_d1x1_p1,1,1,1_g1",
    "n1h9w2500c20_k1x5f2_s1x1_d1x1_p0,3,6,0_g1",
    "n2h12w14c20_k3x3f24_s2x1_d5x7_p5,5,7,7_g1",
    "n2h6w6c20_k1x1f24_s1x1_d1x1_p3,3,2,2_g1",
    "n1h12w12c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g16",
    "n2h11w13c22_k3x5f44_s1x2_d2x1_p2,2,1,2_g11",
    "n2h13w14c60_k3x3f96_s1x1_d1x1_p1,1,1,1_g3",
    "n1h10w26c40_k3x9f40_s1x1_d1x1_p1,1,4,4_g40",  # depthwise, with long rows of taps
    "n2h5w60c37_k2x17f74_s1x2_d1x2_p0,0,9,9_g37",
    "n1h6w9c40_k3x17f40_s1x1_d1x1_p1,1,8,8_g40",  # and wider than the image
    "n1h6w14c40_k3x8f40_s2x1_d1x1_p1,1,0,7_g40",
]


@given(case=cases())
@settings(max_examples=150)
def test_any_problem_equals_the_reference(isa, case):
    assert_close(nn.conv2d(*case), case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", LAYERS)
def test_layers_equal_the_reference(isa, token, dtype):
    case = inputs(ConvProblem.parse(token), dtype)
    assert_close(nn.conv2d(*case), case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", LAYERS)
def test_no_supported_problem_reaches_the_reference(token, dtype):
    entry, *_ = implementations.choose("forward", ConvProblem.parse(token), DTYPES[dtype], Options())
    assert entry.name != "reference"


@given(case=cases(most_channels=4))
@settings(max_examples=60)
def test_every_implementation_gives_the_same_bits(case):
    """Those that take the problem at all, and sum in the same order."""
    with options(implementation="implicit_gemm"):
        expected = nn.conv2d(*case).tobytes()
    for name in ("spatial", "depthwise", "narrow_groups", "pointwise"):
        with options(implementation=name):
            try:
                assert nn.conv2d(*case).tobytes() == expected, name
            except ValueError as refusal:
                assert name in str(refusal)


@pytest.mark.parametrize("token", [t for t in LAYERS if "c1_" in t])
@pytest.mark.parametrize("threads", [1, 3])
def test_spatial_filters_give_the_bits_of_the_matrix_product(isa, token, threads):
    case = inputs(ConvProblem.parse(token))
    with options(implementation="implicit_gemm", num_threads=1):
        expected = nn.conv2d(*case)
    with options(num_threads=threads):
        assert nn.conv2d(*case).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "token", ["n2h11w20c16_k7x11f16_s1x1_d1x1_p3,3,5,5_g4", "n1h30w33c12_k9x12f24_s2x3_d2x1_p8,5,4,6_g6"]
)
def test_narrow_groups_of_several_blocks_give_the_bits_of_the_matrix_product(isa, token):
    case = inputs(ConvProblem.parse(token))
    with options(implementation="implicit_gemm", num_threads=1):
        expected = nn.conv2d(*case)
    for threads in (1, 3):
        with options(implementation="narrow_groups", num_threads=threads):
            assert nn.conv2d(*case).tobytes() == expected.tobytes()


def test_halves_accumulate_in_float32_and_round_once():
    ones = np.ones((1, 3, 3, 512), np.float16), np.ones((3, 3, 512, 1), np.float16)
    assert nn.conv2d(*ones, 1, "VALID").item() == 4608
    big = np.array([60000, 60000], np.float16).reshape(1, 1, 1, 2)
    weights = np.array([1.5, -1.5], np.float16).reshape(1, 1, 2, 1)
    assert nn.conv2d(big, weights, 1, "VALID").item() == 0
    assert nn.conv2d(big, abs(weights), 1, "VALID").item() == np.inf
    tiny = nn.conv2d(
        np.full((1, 1, 1, 1), 2.0**-14, np.float16), np.full((1, 1, 1, 1), 2.0**-10, np.float16), 1, "SAME"
    )
    assert tiny.item() == 2.0**-24  # a subnormal result is kept


def test_int32_wraps():
    x = np.full((1, 1, 1, 1), 2**31 - 1, np.int32)
    assert nn.conv2d(x, np.full((1, 1, 1, 1), 2, np.int32), 1, "VALID").item() == -2


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_dimensions_are_flattened_and_restored(dtype):
    rng = np.random.default_rng(0)
    x, w = random_array(rng, (2, 3, 6, 5, 4), dtype), random_array(rng, (3, 3, 4, 7), dtype)
    y = nn.conv2d(x, w, [1, 2, 1, 1], "SAME")
    assert y.shape == (2, 3, 3, 5, 7)
    flat = nn.conv2d(x.reshape(6, 6, 5, 4), w, [1, 2, 1, 1], "SAME")
    assert y.tobytes() == flat.tobytes()
    first = nn.conv2d(np.moveaxis(x, -1, -3), w, (2, 1), "SAME", "NCHW")
    assert first.shape == (2, 3, 7, 3, 5)
    assert np.ascontiguousarray(np.moveaxis(first, -3, -1)).tobytes() == y.tobytes()


SPELLINGS = {
    "NHWC": ([2, (2,), np.array([2]), [2, 2], (2, 2), [1, 2, 2, 1], np.array([1, 2, 2, 1]), np.int64(2), 2.9, 2.0]),
    "NCHW": ([2, [2], (2, 2), [1, 1, 2, 2], np.array([1, 1, 2, 2], np.uint8), np.float32(2)]),
}


@pytest.mark.parametrize("layout", SPELLINGS)
def test_every_spelling_of_strides_and_dilations_means_the_same(layout):
    case = inputs(ConvProblem.parse("n1h11w12c3_k3x3f4_s1x1_d1x1_p0,0,0,0_g1"))
    x = case.input if layout == "NHWC" else case.input.transpose(0, 3, 1, 2)
    strided = nn.conv2d(x, case.filters, (2, 2), "SAME", layout)
    dilated = nn.conv2d(x, case.filters, 1, "SAME", layout, (2, 2))
    for value in SPELLINGS[layout]:
        assert nn.conv2d(x, case.filters, value, "SAME", layout).tobytes() == strided.tobytes()
        assert nn.conv2d(x, case.filters, 1, "SAME", layout, value).tobytes() == dilated.tobytes()
    plain = nn.conv2d(x, case.filters, 1, "SAME", layout)
    assert nn.conv2d(x, case.filters, None, b"SAME", layout.encode(), None).tobytes() == plain.tobytes()
    assert nn.conv2d(x, case.filters, True, "SAME", layout, name="conv").tobytes() == plain.tobytes()


def test_every_spelling_of_padding_means_the_same():
    case = inputs(ConvProblem.parse("n1h11w12c3_k3x3f4_s1x1_d1x1_p0,0,0,0_g1"))
    same = nn.conv2d(case.input, case.filters, 1, "SAME").tobytes()
    pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
    for value in (
        pads,
        tuple(map(tuple, pads)),
        np.array(pads),
        np.array(pads, np.uint8),
        [(0, 0), [1, 1], (1, 1), [0, 0]],
    ):
        assert nn.conv2d(case.input, case.filters, 1, value).tobytes() == same
    assert nn.conv2d(case.input, case.filters, 1, "SAME", None).tobytes() == same


def test_lists_become_float32_or_int32():
    assert nn.conv2d([[[[1.5]]]], [[[[2]]]], 1, "SAME").dtype == np.float32
    whole = nn.conv2d([[[[3]]]], [[[[2]]]], 1, "SAME")
    assert whole.dtype == np.int32
    assert whole.item() == 6
    assert nn.conv2d([[[[np.float64(3)]]]], [[[[2]]]], 1, "SAME").dtype == np.float64
    with pytest.raises(ValueError, match="input: an integer in it is out of range for an int32"):
        nn.conv2d([[[[2**31]]]], [[[[2]]]], 1, "SAME")


@pytest.mark.parametrize("first", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("second", ["float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8", "bool"])
def test_filters_are_cast_to_a_floating_input(first, second):
    x = np.full((1, 2, 2, 1), 2, DTYPES[first])
    w = np.ones((1, 1, 1, 1), DTYPES.get(second, second))
    y = nn.conv2d(x, w, 1, "SAME")
    assert y.dtype == x.dtype
    assert (y == 2).all()


def test_integer_filters_are_cast_to_an_int32_input():
    x = np.full((1, 1, 1, 1), 7, np.int32)
    for dtype in (np.int8, np.uint16, np.int64, np.bool_):
        assert nn.conv2d(x, np.ones((1, 1, 1, 1), dtype), 1, "SAME").dtype == np.int32
    assert nn.conv2d(x, np.full((1, 1, 1, 1), 2**40 + 3), 1, "SAME").item() == 21  # wraps, as astype does
    with pytest.raises(ValueError, match="filters: an integer in it is out of range"):
        nn.conv2d(x, [[[[2**40]]]], 1, "SAME")


def test_filters_in_lists_take_the_inputs_precision():
    x = np.ones((1, 1, 1, 1), np.float64)
    assert nn.conv2d(x, [[[[0.1]]]], 1, "SAME").item() == 0.1
    assert nn.conv2d(x, [[[[2**40]]]], 1, "SAME").item() == 2.0**40
    with pytest.raises(TypeError, match="filters"):
        nn.conv2d(x.astype(np.int32), [[[[0.5]]]], 1, "SAME")
    with np.errstate(all="raise"):
        assert nn.conv2d(x.astype(np.float16), np.full((1, 1, 1, 1), 1e10), 1, "SAME").item() == np.inf


@pytest.mark.parametrize("taps", [(67, 67), (700, 100), (200, 128), (300, 1), (1, 1500)])
def test_large_filters_of_one_channel(isa, taps):
    problem = ConvProblem.parse(f"n1h{taps[0] + 3}w{taps[1] + 40}c1_k{taps[0]}x{taps[1]}f3_s1x1_d1x1_p0,0,0,0_g1")
    case = inputs(problem)
    assert_close(nn.conv2d(*case), case)


def test_batches_that_do_not_merge_are_not_copied():
    whole = np.zeros((5, 4, 40, 30, 8), np.float32)
    whole[...] = np.random.default_rng(0).standard_normal(whole.shape)
    x, w = whole.transpose(1, 0, 2, 3, 4)[:, ::2], np.ones((3, 3, 8, 2), np.float32)
    tracemalloc.start()
    y = nn.conv2d(x, w, 1, "SAME")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < y.nbytes + x.nbytes // 4
    assert y.tobytes() == nn.conv2d(np.ascontiguousarray(x), w, 1, "SAME").tobytes()


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    "shape, filters, padding, expected",
    [
        ((0, 5, 5, 2), (3, 3, 2, 4), "SAME", (0, 5, 5, 4)),
        ((2, 0, 5, 2), (3, 3, 2, 4), "SAME", (2, 0, 5, 4)),
        ((2, 5, 0, 2), (3, 3, 2, 4), "SAME", (2, 5, 0, 4)),
        ((2, 5, 5, 2), (3, 3, 2, 0), "SAME", (2, 5, 5, 0)),
        ((2, 5, 5, 0), (3, 3, 2, 4), "SAME", (2, 5, 5, 4)),
        ((2, 0, 5, 2), (3, 3, 2, 4), ((2, 2), (1, 1)), (2, 2, 5, 4)),
        ((0, 5, 5, 2), (0, 3, 2, 4), "SAME", (0, 5, 5, 4)),
        ((2, 5, 5, 6), (3, 3, 2, 0), "VALID", (2, 3, 3, 0)),
        ((3, 0, 5, 5, 2), (3, 3, 2, 4), "SAME", (3, 0, 5, 5, 4)),
    ],
)
def test_zero_sizes_give_empties_and_zeros(layout, shape, filters, padding, expected):
    if not isinstance(padding, str):
        padding = [(0, 0), *padding, (0, 0)] if layout == "NHWC" else [(0, 0), (0, 0), *padding]
    x = np.ones(shape, np.float32)
    x = x if layout == "NHWC" else np.moveaxis(x, -1, -3)
    y = nn.conv2d(x, np.ones(filters, np.float32), 1, padding, layout)
    y = y if layout == "NHWC" else np.moveaxis(y, -3, -1)
    assert y.shape == expected
    assert not y.any()
    out = np.full_like(y if layout == "NHWC" else np.moveaxis(y, -1, -3), 7, order="C")
    assert nn.conv2d(x, np.ones(filters, np.float32), 1, padding, layout, out=out) is out
    assert not out.any()


def test_int4_and_other_unknown_dtypes_are_refused():
    x = np.ones((1, 2, 2, 1), np.float32)
    for dtype in (np.int64, np.uint8, np.complex64, object, np.bool_, ml_dtypes.float8_e5m2, "U1", "datetime64[s]"):
        with pytest.raises(TypeError, match="astype"):
            nn.conv2d(np.zeros((1, 2, 2, 1), dtype), x, 1, "SAME")
    for dtype in (np.complex64, object, "U1"):
        with pytest.raises(TypeError, match="filters: .*astype"):
            nn.conv2d(x, np.zeros((1, 1, 1, 1), dtype), 1, "SAME")
    with pytest.raises(TypeError, match="filters: .*astype"):
        nn.conv2d(x.astype(np.int32), x[:, :1, :1], 1, "SAME")


def test_large_layers_are_shared_out_and_still_right(isa):
    """Wide rows, several images, several blocks, both ways to split."""
    for token in ("n3h3w700c40_k3x3f72_s1x1_d1x1_p1,1,1,1_g1", "n2h28w28c160_k3x3f160_s1x1_d1x1_p1,1,1,1_g1"):
        case = inputs(ConvProblem.parse(token))
        for threads in (1, 4):
            with options(num_threads=threads):
                assert_close(nn.conv2d(*case), case)


def test_out_receives_the_result():
    case = inputs(ConvProblem.parse(LAYERS[1]))
    expected = nn.conv2d(*case)
    out = np.empty_like(expected)
    assert nn.conv2d(*case, out=out) is out
    assert out.tobytes() == expected.tobytes()
    bf16 = Case(case.input.astype(ml_dtypes.bfloat16), case.filters, *case[2:])
    half = np.empty(expected.shape, ml_dtypes.bfloat16)
    assert nn.conv2d(*bf16, out=half) is half


def test_output_shape_is_the_lecture_room_formula():
    for w in range(1, 12):
        for f in range(1, w + 1):
            for p in range(0, 3):
                for s in range(1, 4):
                    want = (w - f + 2 * p) // s + 1
                    pads = [(0, 0), (p, p), (0, 0), (0, 0)]
                    assert fastconv.output_shape((1, w, 1, 1), (f, 1, 1, 1), s, pads) == (1, want, 1, 1)
                    same = fastconv.output_shape((1, w, 1, 1), (f, 1, 1, 1), s, "SAME")
                    assert same == (1, -(-w // s), 1, 1)
