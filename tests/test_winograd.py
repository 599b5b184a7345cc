"""Winograd: as exact as it says, the same bits however it is run, and repaired where it does not serve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import SUPPORTED, assert_close, assert_gradient_close, gradient, inputs, output_gradient

import fastconv
from fastconv import nn, options
from fastconv._cpu import _core, cost_model, winograd
from fastconv._cpu.backend import BACKEND
from fastconv._cpu.implementations import choose
from fastconv._cpu.winograd import WinogradTile, winograd_tile
from fastconv._problem import ConvProblem, conv_problem

# With tiles of 2x2, 4x2, 2x4 and three times 4x4 outputs: few of them, many with few filters, many with many filters,
# which src/winograd/forward.c tells apart; then with stride 2, few tiles and many; then filters in sub-kernels, whole
# ones along one axis or both, few and many, and some that are padded with zeros.
LAYERS = {
    "n2h16w18c25_k3x3f33_s1x1_d1x1_p1,1,1,1_g1": (2, 2),
    "n2h20w18c48_k3x3f40_s1x1_d1x1_p1,1,1,1_g1": (4, 2),
    "n2h18w20c48_k3x3f40_s1x1_d1x1_p1,1,1,1_g1": (2, 4),
    "n2h13w16c130_k3x3f33_s1x1_d1x1_p0,2,1,1_g1": (4, 4),
    "n1h45w40c128_k3x3f72_s1x1_d1x1_p1,1,1,1_g1": (4, 4),
    "n1h34w36c256_k3x3f72_s1x1_d1x1_p1,1,1,1_g1": (4, 4),
    "n2h16w16c160_k3x3f130_s2x2_d1x1_p1,1,0,1_g1": (2, 2),
    "n1h45w40c90_k3x3f130_s2x2_d1x1_p0,1,1,1_g1": (2, 2),
    "n2h14w16c100_k1x3f132_s1x1_d1x1_p0,0,1,1_g1": (1, 4),
    "n2h15w18c200_k1x7f150_s1x1_d1x1_p0,0,3,3_g1": (1, 3),
    "n2h33w15c132_k6x1f99_s1x1_d1x1_p2,3,0,0_g1": (4, 1),
    "n1h40w15c41_k15x1f96_s1x1_d1x1_p7,7,0,0_g1": (4, 1),
    "n1h42w15c110_k8x1f130_s1x1_d1x1_p3,4,0,0_g1": (3, 1),
    "n1h36w40c64_k6x6f72_s1x1_d1x1_p2,3,3,2_g1": (4, 4),
    "n2h15w24c70_k5x5f72_s1x1_d1x1_p2,2,2,2_g1": (4, 4),
    "n2h18w20c34_k5x6f98_s1x1_d1x1_p2,2,2,3_g1": (2, 4),
    "n2h19w17c46_k7x3f64_s1x1_d1x1_p3,0,1,0_g1": (4, 2),
    "n2h18w18c40_k8x7f64_s1x1_d1x1_p3,4,3,3_g1": (3, 3),
}
# Of results with the tiles of each shape, beside the result's own root mean square; sums over sub-kernels are longer.
ERRORS = {(2, 2): 2.2e-7, (4, 2): 3.6e-7, (2, 4): 3.6e-7, (4, 4): 6.2e-7, (3, 3): 6.2e-7}
ERRORS |= dict.fromkeys(((1, 4), (4, 1), (1, 3), (3, 1)), 3.4e-7)


def relative_error(y: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)))


def assert_chosen(direction: str, problem: ConvProblem, otherwise: str) -> None:
    with options() as chosen:
        assert choose(direction, problem, np.dtype(np.float32), chosen)[0].name == "winograd"
    with options(precision="strict") as chosen:
        entry, _, refusals = choose(direction, problem, np.dtype(np.float32), chosen)
    assert entry.name == otherwise and ("winograd", "precision is 'strict'") in refusals


def test_plans_take_winograd_where_it_pays_and_says_why_not():
    for token, shape in LAYERS.items():
        problem = ConvProblem.parse(token)
        found = winograd_tile(problem, np.dtype(np.float32), "default")
        assert isinstance(found, WinogradTile) and (found.rows, found.columns) == shape
        assert winograd_tile(problem._replace(n=100), np.dtype(np.float32), "default") == found
        assert_chosen("forward", problem, "implicit_gemm")
        for other in ("float64", "int32"):
            assert isinstance(winograd_tile(problem, np.dtype(other), "fast"), str)


@pytest.mark.parametrize("token", LAYERS)
@pytest.mark.parametrize("precision", ["default", "fast"])
def test_error_is_that_of_the_tile_and_not_of_the_channels(isa, token, precision):
    case = inputs(ConvProblem.parse(token))
    exact = nn.conv2d(case.input.astype(np.float64), case.filters.astype(np.float64), *case[2:])
    with options(precision=precision):
        y = nn.conv2d(*case)
        found = winograd_tile(ConvProblem.parse(token), case.input.dtype, precision)
    longer = 1 if case.filters.shape[:2] == (3, 3) else 1.05
    assert relative_error(y, exact) < longer * ERRORS[found[:2]]


@given(st.data())
@settings(max_examples=60)
def test_any_geometry_agrees_with_direct_sums_in_every_direction(data):
    draw = data.draw
    c = draw(st.one_of(st.integers(16, 60), st.integers(100, 170)))
    pads = [[draw(st.integers(0, 4)), draw(st.integers(0, 4))] for _ in range(2)]
    shape = (draw(st.integers(1, 3)), draw(st.integers(3, 20)), draw(st.integers(3, 20)), c)
    strides = (draw(st.integers(1, 2)),) * 2
    few = st.integers(1, 7)
    taps = draw(st.one_of(st.just((3, 3)), st.tuples(few, few), st.sampled_from([(15, 1), (1, 14), (15, 13)])))
    pads = [[max(before, taps[axis] - shape[1 + axis]), after] for axis, (before, after) in enumerate(pads)]
    problem = conv_problem(shape, (*taps, c, draw(st.integers(1, 90))), strides, pads, (1, 1), False)
    case = inputs(problem, draw(st.sampled_from(["float32", "float16", "bfloat16"])), draw(st.integers(0, 99)))
    dy = output_gradient(case)
    with options(precision=draw(st.sampled_from(["default", "fast"]))):
        y, dx = nn.conv2d(*case), gradient("backprop_input", case, dy)
    assert_close(y, case)
    assert_gradient_close(dx, "backprop_input", case, dy)


@pytest.mark.parametrize("token", LAYERS)
def test_prepared_filters_bias_and_activation_give_the_same_bits(isa, token):
    case = inputs(ConvProblem.parse(token))
    bias = np.linspace(-9, 9, case.filters.shape[3], dtype=np.float32)
    expected = np.maximum(nn.conv2d(*case) + bias, 0)
    prepared = fastconv.prepare(case.filters)
    for threads in (1, 2, 7):
        for filters in (case.filters, prepared):
            with options(num_threads=threads):
                y = nn.conv2d(case.input, filters, *case[2:], bias=bias, activation="relu")
            assert y.tobytes() == expected.tobytes()


def test_prepared_filters_serve_either_stride():
    """Tiles of 2x2 outputs have other filters with stride 2."""
    cases = []
    for size, stride, before in ((4, 1, 1), (40, 2, 0)):
        token = f"n1h{size}w{size}c56_k3x3f128_s{stride}x{stride}_d1x1_p{before},1,{before},1_g1"
        found = winograd_tile(ConvProblem.parse(token), np.dtype(np.float32), "default")
        assert isinstance(found, WinogradTile) and found[:2] == (2, 2)
        cases.append(inputs(ConvProblem.parse(token)))
    filters = cases[0].filters
    prepared = fastconv.prepare(filters)
    for case in (*cases, cases[0]):
        y = nn.conv2d(case.input, prepared, case.strides, "SAME")
        assert y.tobytes() == nn.conv2d(case.input, filters, case.strides, "SAME").tobytes()


@pytest.mark.skipif(not _core.build()["fused_multiply_add"], reason="this CPU has no fused multiply-add")
@pytest.mark.parametrize("token", LAYERS)
def test_input_gradients_have_the_same_bits_everywhere(token):
    case = inputs(ConvProblem.parse(token))
    dy = nn.conv2d(*case)
    shape = (len(dy), *dy.shape[1:3], case.filters.shape[2])
    filters = np.ascontiguousarray(case.filters)
    results = set()
    before = _core.instruction_set()
    try:
        for name in SUPPORTED:
            _core.use_instruction_set(name)
            for threads in (1, 3):
                with options(num_threads=threads):
                    results.add(nn.conv2d_backprop_input(shape, filters, dy, 1, "SAME").tobytes())
            first = nn.conv2d_backprop_input((1, *shape[1:]), filters, dy[:1], 1, "SAME").tobytes()
            assert all(result.startswith(first) for result in results)
    finally:
        _core.use_instruction_set(before)
    assert len(results) == 1


@pytest.mark.parametrize("token", LAYERS)
@pytest.mark.parametrize("nodata", [-3.4e38, -9999.0 * 2**20, np.inf, np.nan])
def test_a_raster_with_nodata_cells_keeps_its_ordinary_values(isa, token, nodata):
    """Cells without data, alone and in patches, in all bands or one, beside a NaN."""
    case = inputs(ConvProblem.parse(token))
    x = case.input.copy()
    x[0, 5, 5] = nodata
    x[0, 9:13, 2:6] = nodata
    x[0, 2, 11, 3] = nodata
    x[0, 11, 11] = np.nan
    y = nn.conv2d(x, *case[1:])
    with options(precision="strict"):
        direct = nn.conv2d(x, *case[1:])
    marks = (~(np.abs(x) < 1e6)).any(axis=3, keepdims=True).astype(np.float64)
    touched = nn.conv2d(marks, np.ones((*case.filters.shape[:2], 1, 1)), *case[2:])[..., 0] > 0
    assert touched.any() and not touched.all()
    assert np.array_equal(np.isfinite(y), np.isfinite(direct))
    error = y[~touched] - direct[~touched]
    assert np.sqrt(np.mean(error**2)) < 1e-6 * np.sqrt(np.mean(direct[~touched] ** 2))
    alike = np.isfinite(direct) & touched[..., None]
    size = np.sqrt(np.sum(direct[alike].astype(np.float64) ** 2) / max(1, alike.sum()))
    # Larger windows fill whole tiles with large values, whose error is the tile's: 7 of it are never seen.
    square = case.filters.shape[:2] == (3, 3)
    limit = 1e-6 if square else 7 * ERRORS[LAYERS[token]]
    assert np.allclose(y[alike], direct[alike], rtol=1e-5, atol=limit * size)
    if square and case.strides[0] == 1:  # with stride 2, direct sums that cancel err by 1e-4 themselves
        assert np.allclose(y[alike], direct[alike], rtol=1e-4)


@pytest.mark.parametrize("token", LAYERS)
def test_what_overflows_in_a_transform_is_summed_directly(isa, token):
    case = inputs(ConvProblem.parse(token))
    x = np.full_like(case.input, 2e38)
    w = np.zeros_like(case.filters)
    w[w.shape[0] // 2, w.shape[1] // 2] = 1 / case.input.shape[3]
    y = nn.conv2d(x, w, *case[2:])
    with options(precision="strict"):
        direct = nn.conv2d(x, w, *case[2:])
    assert np.isfinite(direct).all()
    assert np.allclose(y, direct, rtol=1e-5)
    w[0, 0, 0, 1] = np.inf
    y = nn.conv2d(case.input, w, *case[2:])
    with options(precision="strict"):
        direct = nn.conv2d(case.input, w, *case[2:])
    assert np.array_equal(y[..., 1], direct[..., 1], equal_nan=True)
    assert np.isfinite(y[..., 2:]).all()


def test_outliers_do_not_reach_outputs_beyond_a_padded_sub_kernel(isa, monkeypatch):
    """Tiles of 2x2 outputs round with their windows alone, but not where a sub-kernel is padded."""
    monkeypatch.setattr(cost_model, "WINOGRAD_GAIN_OF_OTHERS", 0)
    monkeypatch.setattr(winograd, "_shapes", lambda problem: [(2, 2)])
    monkeypatch.setattr(BACKEND.planner, "plans", {})
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 14, 14, 24), np.float32), rng.standard_normal((3, 5, 24, 9), np.float32)
    clean = nn.conv2d(x, w, 1, "VALID")
    assert clean.tobytes() != strict(x, w).tobytes()
    x[0, 6, 7] = -1e20  # which does not overflow in the transforms
    y = nn.conv2d(x, w, 1, "VALID")
    far = np.ones(y.shape[:3], bool)
    far[0, 4:7, 3:8] = False
    assert relative_error(y[far], clean[far].astype(np.float64)) < 1e-6


def strict(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    with options(precision="strict"):
        return nn.conv2d(x, w, 1, "VALID")


def test_scratch_is_bounded():
    """16 MB a thread: filters are too many here to be transformed for all threads, or they are prepared."""
    for token, dtype in (
        ("n1h20w40c4096_k3x3f520_s1x1_d1x1_p1,1,1,1_g1", "float16"),
        ("n1h30w120c3072_k3x3f70_s1x1_d1x1_p1,1,1,1_g1", "float16"),
        ("n1h38w40c160_k15x13f40_s1x1_d1x1_p7,7,6,6_g1", "bfloat16"),
        ("n1h20w20c1024_k1x12f70_s1x1_d1x1_p0,0,6,5_g1", "float32"),
    ):
        case = inputs(ConvProblem.parse(token), dtype)
        assert isinstance(winograd_tile(ConvProblem.parse(token), case.input.dtype, "default"), WinogradTile)
        for filters in (case.filters, fastconv.prepare(case.filters)):
            for threads in (1, 2):
                with options(num_threads=threads):
                    nn.conv2d(case.input, filters, *case[2:])
                assert _core.scratch_bytes() < threads * (16 << 20), (token, dtype)


def test_filters_that_are_not_served_say_why():
    for token, reason in (
        ("n1h40w40c64_k16x1f64_s1x1_d1x1_p0,0,0,0_g1", "the filter has more than 15 taps along an axis"),
        ("n1h40w40c64_k1x1f64_s1x1_d1x1_p0,0,0,0_g1", "the filter is 1x1"),
        ("n1h40w40c2048_k5x5f64_s1x1_d1x1_p2,2,2,2_g1", "there are too many channels for the caches"),
        ("n1h40w40c13_k5x5f64_s1x1_d1x1_p2,2,2,2_g1", "there are too few channels to fill vectors"),
        ("n1h40w40c16_k1x3f64_s1x1_d1x1_p0,0,1,1_g1", "there are too few terms to err no more than direct sums"),
        ("n1h40w40c64_k5x5f64_s2x2_d1x1_p2,2,2,2_g1", "the strides are not 1, nor 2 with a filter of 3x3"),
        ("n1h48w2c77_k13x15f21_s1x1_d1x1_p6,6,7,7_g1", "the transforms would cost more than they save"),
        ("n64h3w3c512_k3x3f512_s1x1_d1x1_p0,0,0,0_g1", "the transforms would cost more than they save"),
        ("n64h1w7c512_k1x7f512_s1x1_d1x1_p0,0,0,0_g1", "the transforms would cost more than they save"),
        ("n64h4w4c512_k4x4f512_s1x1_d1x1_p0,0,0,0_g1", "the transforms would cost more than they save"),
    ):
        assert winograd_tile(ConvProblem.parse(token), np.dtype(np.float32), "default") == reason


def test_windows_of_zeros_give_zeros():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 40, 40, 128)).astype(np.float32), rng.standard_normal((3, 3, 128, 32), np.float32)
    x[:, :, 17:] = 0
    assert not nn.conv2d(x, w, 1, "SAME")[:, :, 18:].any()
