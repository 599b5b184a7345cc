"""Both gradients of a convolution: every geometry, dtype, layout and instruction set, against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import (
    DTYPES,
    SUPPORTED,
    Case,
    assert_gradient_close,
    cases,
    gradient,
    inputs,
    output_gradient,
    random_array,
)
from test_invariants import bits, layouts_of

from fastconv import nn, options, output_shape
from fastconv._cpu import _core, implementations, summation
from fastconv._cpu.backend import BACKEND
from fastconv._options import Options
from fastconv._problem import ConvProblem

DIRECTIONS = ("backprop_input", "backprop_filter")
LAYERS = [
    "n2h14w14c3_k7x7f64_s2x2_d1x1_p2,3,2,3_g1",
    "n2h9w31c64_k3x3f70_s1x1_d1x1_p1,1,1,1_g1",
    "n1h7w7c512_k3x3f64_s1x1_d1x1_p1,1,1,1_g1",
    "n3h7w7c1024_k1x1f96_s1x1_d1x1_p0,0,0,0_g1",
    "n2h14w14c512_k1x1f64_s2x2_d1x1_p0,0,0,0_g1",
    "n1h20w20c32_k3x3f40_s1x1_d6x6_p6,6,6,6_g1",
    "n2h12w12c48_k3x3f48_s1x1_d1x1_p1,1,1,1_g12",
    "n2h12w12c24_k3x3f48_s2x2_d1x1_p0,1,0,1_g24",
    "n1h40w300c1_k5x5f1_s1x1_d1x1_p2,2,2,2_g1",
    "n2h40w40c1_k3x3f9_s1x1_d1x1_p1,1,1,1_g1",
    "n1h1w2000c4_k1x9f8_s1x3_d1x2_p0,0,8,8_g1",
    "n2h17w19c20_k4x5f24_s3x2_d2x3_p3,2,5,1_g1",
    "n20h4w4c8_k3x3f16_s1x1_d1x1_p1,1,1,1_g1",
    "n1h200w180c3_k3x3f8_s1x1_d1x1_p1,1,1,1_g1",
    "n2h30w40c144_k3x3f144_s1x1_d1x1_p1,1,1,1_g144",
    "n2h17w19c70_k5x5f70_s2x2_d1x1_p2,2,1,2_g70",
    "n2h30w40c64_k3x3f3_s1x1_d1x1_p1,1,1,1_g1",
    "n2h13w12c24_k3x3f24_s2x2_d1x1_p0,1,0,1_g6",
    "n2h13w14c60_k3x3f96_s1x1_d1x1_p1,1,1,1_g3",
    "n2h37w83c2_k5x4f5_s1x1_d1x1_p2,0,3,1_g1",
    "n1h30w1100c13_k2x1f2_s1x1_d1x1_p0,1,0,0_g1",
    "n2h70w33c3_k7x3f6_s1x1_d1x1_p3,3,1,1_g1",
]
# Where output gradients are read as they lie: with several blocks in a row of pixels, in groups, with one block.
STRIDED_LAYERS = [
    "n1h10w50c3_k3x3f48_s1x1_d1x1_p0,0,0,0_g1",
    "n2h9w300c20_k1x1f40_s1x1_d1x1_p0,0,0,0_g1",
    "n2h12w13c12_k3x3f48_s1x1_d1x1_p1,1,1,1_g3",
    "n1h20w300c2_k3x3f5_s1x1_d1x1_p1,1,1,1_g1",
    "n2h64w58c50_k3x3f33_s1x1_d1x1_p1,1,1,1_g1",
    "n2h30w31c64_k1x1f3_s1x1_d1x1_p0,0,0,0_g1",
]


@pytest.mark.parametrize("direction", DIRECTIONS)
@given(case=cases())
@settings(max_examples=100)
def test_any_problem_equals_the_reference(isa, direction, case):
    dy = output_gradient(case)
    assert_gradient_close(gradient(direction, case, dy), direction, case, dy)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", LAYERS)
def test_layers_equal_the_reference(isa, token, dtype, direction):
    case = inputs(ConvProblem.parse(token), dtype)
    dy = output_gradient(case)
    assert_gradient_close(gradient(direction, case, dy), direction, case, dy)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", LAYERS)
def test_no_supported_problem_reaches_the_reference(token, dtype, direction):
    entry, *_ = implementations.choose(direction, ConvProblem.parse(token), DTYPES[dtype], Options())
    assert entry.name != "reference"


@given(case=cases(dtypes=("float64",), most_channels=8))
@settings(max_examples=100)
def test_gradients_are_adjoint_to_the_convolution(case):
    """<conv(x, w), dy> = <x, dx> = <w, dw>: both gradients of a bilinear function, whatever computes them."""
    dy = output_gradient(case)
    forward = np.vdot(nn.conv2d(*case), dy)
    size = np.vdot(nn.conv2d(*case._replace(input=abs(case.input), filters=abs(case.filters))), abs(dy))
    for direction, operand in zip(DIRECTIONS, (case.input, case.filters)):
        assert abs(np.vdot(operand, gradient(direction, case, dy)) - forward) <= 1e-12 * (size + 1)


@given(case=cases(dtypes=("float64",), most_channels=3))
@settings(max_examples=25)
def test_the_reference_is_the_numeric_derivative_of_the_forward_reference(case):
    """The forward pass is linear in each operand, so differences over any step are exact but for rounding."""
    dy = output_gradient(case)
    rng = np.random.default_rng(1)
    with options(implementation="reference"):
        for direction, name in zip(DIRECTIONS, ("input", "filters")):
            operand = getattr(case, name)
            got = gradient(direction, case, dy)
            for index in rng.integers(0, operand.size, 8):
                step = np.zeros(operand.size)
                step[index] = 0.5
                step = step.reshape(operand.shape)
                ahead, behind = (nn.conv2d(*case._replace(**{name: operand + sign * step})) for sign in (1, -1))
                assert abs(np.vdot(ahead - behind, dy) - got.flat[index]) <= 1e-9 * (1 + abs(got.flat[index]))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", LAYERS)
def test_same_bits_for_any_number_of_threads(isa, token, dtype, direction):
    case = inputs(ConvProblem.parse(token), dtype)
    dy = output_gradient(case)
    with options(num_threads=1):
        expected = bits(gradient(direction, case, dy))
    for threads in (2, 3, 5, 16):
        with options(num_threads=threads):
            assert bits(gradient(direction, case, dy)) == expected


@pytest.mark.skipif(not _core.build()["fused_multiply_add"], reason="this CPU has no fused multiply-add")
@pytest.mark.parametrize("direction", DIRECTIONS)
@given(case=cases())
@settings(max_examples=60)
def test_same_bits_on_every_instruction_set(direction, case):
    dy = output_gradient(case)
    before, results = _core.instruction_set(), set()
    try:
        for name in SUPPORTED:
            _core.use_instruction_set(name)
            results.add(bits(gradient(direction, case, dy)))
    finally:
        _core.use_instruction_set(before)
    assert len(results) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", [token for token in LAYERS if not token.startswith("n1")])
def test_input_gradients_have_the_same_bits_for_any_batch_split(isa, token, dtype):
    case = inputs(ConvProblem.parse(token), dtype)
    dy = output_gradient(case)
    whole = gradient("backprop_input", case, dy)
    for i, j in ((0, 1), (1, len(dy)), (0, len(dy) - 1)):
        part = case._replace(input=case.input[i:j])
        assert bits(gradient("backprop_input", part, dy[i:j])) == bits(whole[i:j])


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", [LAYERS[0], LAYERS[1], LAYERS[3], LAYERS[6]])
def test_same_bits_for_any_memory_layout(isa, token, dtype, direction):
    case = inputs(ConvProblem.parse(token), dtype)
    dy = output_gradient(case)
    expected = bits(gradient(direction, case, dy))
    for name, other in layouts_of(dy):
        assert bits(gradient(direction, case, other)) == expected, name
    field = "filters" if direction == "backprop_input" else "input"
    for name, other in layouts_of(getattr(case, field)):
        before = other.tobytes()
        assert bits(gradient(direction, case._replace(**{field: other}), dy)) == expected, name
        assert other.tobytes() == before
    first = case._replace(
        input=np.ascontiguousarray(case.input.transpose(0, 3, 1, 2)),
        padding=[case.padding[0], case.padding[3], *case.padding[1:3]],
        data_format="NCHW",
    )
    result = gradient(direction, first, np.ascontiguousarray(dy.transpose(0, 3, 1, 2)))
    assert result.flags.c_contiguous
    assert bits(result.transpose(0, 2, 3, 1) if direction == "backprop_input" else result) == expected


@pytest.mark.parametrize("token", LAYERS[-3:])
def test_bad_numbers_stay_with_the_taps_that_meet_them(isa, token):
    """Lanes that reach beyond the last output take nothing from what lies there."""
    case = inputs(ConvProblem.parse(token))
    with options() as chosen:
        found = implementations.choose("backprop_filter", ConvProblem.parse(token), case.input.dtype, chosen)
        assert found[0].name == "spatial"
    case = case._replace(padding="VALID", input=case.input.copy())
    dy = output_gradient(case)
    clean = gradient("backprop_filter", case, dy)
    case.input[:, :, -1, 1] = np.nan  # which the last column of taps meets
    dw = gradient("backprop_filter", case, dy)
    touched = np.zeros(dw.shape, bool)
    touched[:, -1, 1] = True
    assert np.isnan(dw[touched]).all()
    assert bits(dw[~touched]) == bits(clean[~touched])


@pytest.mark.parametrize("token", STRIDED_LAYERS)
def test_filter_gradients_have_the_same_bits_with_gaps_between_pixels_and_rows(isa, token):
    case = inputs(ConvProblem.parse(token))
    dy = output_gradient(case)
    expected = bits(gradient("backprop_filter", case, dy))
    for field, array in (("dy", dy), ("x", case.input)):
        n, h, w, c = array.shape
        wide = np.full((n + 1, h + 2, w + 3, c + 16), np.nan, np.float32)
        alike = [wide[:n, :h, :w, :c], wide[:n, h + 1 : 1 : -1, :w, :c], wide[:n, :h, w + 2 : 2 : -1, :c]]
        for other in alike:
            wide[...] = np.nan
            other[...] = array
            x = other if field == "x" else case.input
            assert bits(gradient("backprop_filter", case._replace(input=x), other if field == "dy" else dy)) == expected
    rows = np.broadcast_to(dy[:, :1], dy.shape)
    expected = bits(gradient("backprop_filter", case, np.ascontiguousarray(rows)))
    assert bits(gradient("backprop_filter", case, rows)) == expected


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_broadcast_arrays_are_read_in_place(direction):
    case = Case(
        np.broadcast_to(np.float32(2), (2, 9, 10, 20)), np.broadcast_to(np.float32(3), (3, 3, 20, 8)), 1, "VALID"
    )
    dy = np.broadcast_to(np.float32(1), (2, 7, 8, 8))
    want = 2 * 2 * 7 * 8 if direction == "backprop_filter" else 3 * 8 * 9
    assert gradient(direction, case, dy).max() == want


def test_a_long_sum_of_pixels_does_not_lose_accuracy():
    """Ones in float32: one running sum of so many would stop at 2**24."""
    x, dy = np.ones((1, 4200, 4200, 1), np.float32), np.ones((1, 4200, 4200, 1), np.float32)
    assert nn.conv2d_backprop_filter(x, [1, 1, 1, 1], dy, 1, "VALID").item() == 4200 * 4200


@pytest.mark.parametrize("depthwise", [False, True])
def test_errors_of_filter_gradients_do_not_grow_with_the_image(depthwise):
    """In units of the results' root mean square: 8e-7 and 7e-7 where blocks' sums are added in 32 slices alone."""
    size, channels = 2500, 2 if depthwise else 8
    x, dy = (
        np.random.default_rng(seed).standard_normal((1, size, size, channels), dtype=np.float32) for seed in (0, 1)
    )
    with options(precision="strict"):
        if depthwise:
            found = nn.depthwise_conv2d_backprop_filter(x, (1, 1, 2, 1), dy, 1, "VALID")[0, 0, :, 0]
            want = np.einsum("nhwc,nhwc->c", x, dy, dtype=np.float64)
        else:
            found = nn.conv2d_backprop_filter(x, (1, 1, 8, 8), dy, 1, "VALID")[0, 0]
            want = x.reshape(-1, 8).astype(float).T @ dy.reshape(-1, 8).astype(float)
    assert np.sqrt(np.mean((found - want) ** 2) / np.mean(want**2)) < 5e-7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "token",
    [
        "n2h33w50c1_k3x3f2_s1x1_d1x1_p1,1,1,1_g1",
        "n2h40w41c12_k3x3f14_s1x2_d1x1_p1,1,1,1_g1",
        "n2h40w41c12_k3x3f24_s1x1_d1x1_p1,1,1,1_g12",
    ],
)
def test_portions_of_pixels_are_added_up(isa, monkeypatch, token, dtype):
    """Where there are many, which here is one block of pixels; by every method that sums directly."""
    case = inputs(ConvProblem.parse(token), dtype)
    dy = output_gradient(case)
    monkeypatch.setattr(summation, "SLICE_BLOCKS", 1)
    monkeypatch.setattr(summation, "SLICE_WORK", 1 << 40)  # in one slice
    monkeypatch.setattr(summation, "SPATIAL_WORK", 1 << 40)
    monkeypatch.setattr(summation, "SPATIAL_PIXELS", 128)
    monkeypatch.setattr(BACKEND.planner, "plans", {})
    results = []
    for threads in (1, 3):
        with options(num_threads=threads, precision="strict"):
            results.append(gradient("backprop_filter", case, dy))
    assert results[0].tobytes() == results[1].tobytes()
    assert_gradient_close(results[0], "backprop_filter", case, dy)


def test_dtypes_and_lists():
    w, dy = [[[[1.5], [2.0]]]], np.ones((1, 2, 2, 1), np.float64)
    dx = nn.conv2d_backprop_input([1, 2, 2, 2], w, dy, 1, "SAME")
    assert dx.dtype == np.float32  # of the filters: a list of Python's floats
    assert dx[0, 0, 0].tolist() == [1.5, 2.0]
    y = nn.conv2d_transpose(dy, w, [1, 2, 2, 2], 1)
    assert y.dtype == np.float64  # of the input
    dw = nn.conv2d_backprop_filter(dy.astype(np.int32), (1, 1, 1, 1), [[[[1], [2]], [[3], [4]]]], 1, "SAME")
    assert dw.dtype == np.int32
    assert dw.item() == 10


def test_sizes_may_be_height_and_width():
    w, dy = np.ones((3, 3, 2, 4), np.float32), np.ones((5, 6, 7, 4), np.float32)
    assert nn.conv2d_backprop_input((6, 7), w, dy, 1, "SAME").shape == (5, 6, 7, 2)
    first = np.ascontiguousarray(dy.transpose(0, 3, 1, 2))
    assert nn.conv2d_transpose(first, w, np.array([12, 13]), 2, "SAME", "NCHW").shape == (5, 2, 12, 13)


ZEROS = [
    ((0, 5, 5, 2), (3, 3, 2, 4), (0, 5, 5, 4), "SAME"),
    ((1, 0, 5, 2), (3, 3, 2, 4), (1, 0, 5, 4), "SAME"),
    ((1, 0, 5, 2), (3, 3, 2, 4), (1, 2, 5, 4), [[0, 0], [2, 2], [1, 1], [0, 0]]),
    ((1, 5, 5, 0), (3, 3, 2, 4), (1, 5, 5, 4), "SAME"),
    ((1, 5, 5, 2), (3, 3, 2, 0), (1, 5, 5, 0), "SAME"),
    ((1, 2, 2, 2), (3, 3, 2, 4), (1, 0, 0, 4), "VALID"),
    ((1, 5, 5, 2), (0, 3, 2, 4), (1, 5, 5, 4), "SAME"),
]


@pytest.mark.parametrize("input_shape, filter_shape, output_shape, padding", ZEROS)
def test_where_there_is_nothing_to_sum_gradients_are_zero(input_shape, filter_shape, output_shape, padding):
    x, w, dy = (np.ones(shape, np.float32) for shape in (input_shape, filter_shape, output_shape))
    dx = nn.conv2d_backprop_input(input_shape, w, dy, 1, padding)
    dw = nn.conv2d_backprop_filter(x, filter_shape, dy, 1, padding)
    assert dx.shape == input_shape
    assert dw.shape == filter_shape
    assert not dx.any()
    assert not dw.any()


W, DY = np.ones((3, 3, 2, 4), np.float32), np.ones((1, 5, 5, 4), np.float32)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (([1, 5, 5], W, DY, 1, "SAME"), ValueError, "input_sizes: should hold 4 sizes, or height and width"),
        (([1, 5, -5, 2], W, DY, 1, "SAME"), ValueError, "input_sizes: (1, 5, -5, 2) has a negative entry"),
        ((5, W, DY, 1, "SAME"), TypeError, "input_sizes: expected a sequence of integers, got 5"),
        (([1, 6, 5, 2], W, DY, 1, "SAME"), ValueError, "out_backprop: its shape, (1, 5, 5, 4), does not match"),
        (([2, 5, 5, 2], W, DY, 1, "SAME"), ValueError, "input_sizes: (2, 5, 5, 2) does not go with out_backprop"),
        (([1, 5, 5, 3], W, DY, 1, "SAME"), ValueError, "must be evenly divisible by the filter depth"),
        (([1, 5, 5, 2], W[0], DY, 1, "SAME"), ValueError, "filter: must be 4-dimensional"),
        (([1, 5, 5, 2], W, DY[0], 1, "SAME"), ValueError, "out_backprop: must be 4-dimensional"),
        (([1, 5, 5, 2], W, None, 1, "SAME"), TypeError, "out_backprop: is missing"),
        (([1, 5, 5, 2], W, DY, 0, "SAME"), ValueError, "strides: [0]: entries should be larger than 0"),
        (([1, 5, 5, 2], W.astype("u1"), DY, 1, "SAME"), TypeError, "filter: dtype uint8 is not one of"),
        (([1, 5, 5, 2], W, DY.astype("c8"), 1, "SAME"), TypeError, "out_backprop: dtype complex64 does not go with"),
    ],
)
def test_messages_name_the_argument_and_its_value(arguments, error, message):
    with pytest.raises(error) as caught:
        nn.conv2d_backprop_input(*arguments)
    assert message in str(caught.value)


def test_filters_are_given_once():
    assert nn.conv2d_backprop_input((5, 5), None, DY, 1, "SAME", filters=W).shape == (1, 5, 5, 2)
    with pytest.raises(TypeError, match="filter: give it once"):
        nn.conv2d_backprop_input((5, 5), W, DY, 1, "SAME", filters=W)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_out_is_written_and_checked(direction):
    case = inputs(ConvProblem.parse(LAYERS[4]))
    dy = output_gradient(case)
    arguments = {"strides": case.strides, "padding": case.padding}
    if direction == "backprop_input":
        call, operands = nn.conv2d_backprop_input, (case.input.shape, case.filters, dy)
    else:
        call, operands = nn.conv2d_backprop_filter, (case.input, case.filters.shape, dy)
    want = call(*operands, **arguments)
    out = np.full_like(want, 7)
    assert call(*operands, **arguments, out=out) is out
    assert bits(out) == bits(want)
    with pytest.raises(ValueError, match="out: has shape"):
        call(*operands, **arguments, out=out[:-1])
    memory = np.ones(max(want.size, dy.size), np.float32)
    shared = memory[: dy.size].reshape(dy.shape)
    with pytest.raises(ValueError, match="out: overlaps an input"):
        call(*operands[:2], shared, **arguments, out=memory[: want.size].reshape(want.shape))
    assert (memory == 1).all()


numbers = st.one_of(st.integers(-1, 6), st.sampled_from([2**31 - 1, 2**31, 2**63, -(2**31), 1.5, np.nan]))
anything = st.one_of(
    numbers,
    st.lists(numbers, max_size=5),
    st.none(),
    st.builds(
        lambda shape, dtype: np.ones(shape, dtype),
        st.lists(st.integers(0, 6), max_size=5).map(tuple),
        st.sampled_from(["f4", "f8", "f2", "i4", "i8", "?", "O", "c8", ">f4"]),
    ),
)


@given(anything, anything, anything, anything, st.one_of(st.sampled_from(["SAME", "VALID"]), anything), anything)
@settings(max_examples=400)
def test_any_arguments_give_a_result_or_an_exception(a, b, c, strides, padding, dilations):
    for call in (nn.conv2d_backprop_input, nn.conv2d_backprop_filter):
        try:
            result = call(a, b, c, strides, padding, dilations=dilations)
        except (ValueError, TypeError, NotImplementedError, MemoryError) as error:
            assert str(error)
        else:
            assert isinstance(result, np.ndarray)


@given(
    st.tuples(*[st.integers(1, 9)] * 4),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.tuples(*[st.sampled_from([1, 2, 3, 7, 2**31 - 1])] * 2),
    st.one_of(st.sampled_from(["SAME", "VALID"]), st.tuples(*[st.integers(0, 9)] * 4)),
    st.tuples(*[st.sampled_from([1, 2, 5, 2**20])] * 2),
)
@settings(max_examples=300)
def test_any_geometry_of_the_forward_pass_has_both_gradients(shape, taps, strides, padding, dilations):
    if not isinstance(padding, str):
        padding = [(0, 0), padding[:2], padding[2:], (0, 0)]
    rng = np.random.default_rng(0)
    filters = (*taps, shape[3], 5)
    try:
        y = output_shape(shape, filters, strides, padding, dilations=dilations)
    except ValueError:
        return
    case = Case(
        random_array(rng, shape, "int32"), random_array(rng, filters, "int32"), strides, padding, "NHWC", dilations
    )
    dy = random_array(rng, y, "int32")
    for direction in DIRECTIONS:
        result = gradient(direction, case, dy)
        if max(*strides, *dilations) < 100:
            assert_gradient_close(result, direction, case, dy)


@pytest.mark.parametrize("bad", [np.nan, -np.inf, -3.4e38])
@pytest.mark.parametrize("channels", [3, 32, 64, 130])
def test_bad_numbers_stay_within_their_windows_in_input_gradients(isa, channels, bad):
    rng = np.random.default_rng(0)
    w, dy = random_array(rng, (3, 3, 20, channels), "float32"), random_array(rng, (1, 16, 17, channels), "float32")
    clean = nn.conv2d_backprop_input((1, 16, 17, 20), w, dy, 1, "SAME")
    dy[0, 7, 8] = bad
    dx = nn.conv2d_backprop_input((1, 16, 17, 20), w, dy, 1, "SAME")
    away = np.ones((16, 17), bool)
    away[6:9, 7:10] = False
    assert np.allclose(dx[0, away], clean[0, away], rtol=1e-4, atol=1e-4)
    assert not np.isclose(dx[0, ~away], clean[0, ~away]).any()
