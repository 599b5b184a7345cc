"""The gradient of filters by Winograd's tiles: as exact as it says, the same bits however it is run, and replaced by
direct sums where it does not serve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import ROUNDOFF, SUPPORTED, Case, gradient, inputs, output_gradient
from test_invariants import bits, layouts_of
from test_winograd import assert_chosen, relative_error

from fastconv import nn, options
from fastconv._cpu import _core, summation, winograd
from fastconv._cpu.backend import BACKEND
from fastconv._cpu.winograd import WinogradTile, gradient_tile
from fastconv._problem import ConvProblem, conv_problem

# One slice or several, ranges of channels that are whole or not, few images and many; then stride 2, filters of one row
# or column, and filters in sub-kernels, some of which are padded.
LAYERS = {
    "n1h56w50c130_k3x3f150_s1x1_d1x1_p1,1,1,1_g1": (2, 2),
    "n9h17w16c40_k3x3f41_s1x1_d1x1_p0,2,1,1_g1": (2, 2),
    "n2h64w58c50_k3x3f33_s1x1_d1x1_p1,1,1,1_g1": (4, 2),
    "n2h58w64c33_k3x3f50_s1x1_d1x1_p1,1,1,1_g1": (2, 4),
    "n2h115w112c33_k3x3f40_s1x1_d1x1_p1,1,1,1_g1": (4, 4),
    "n3h25w31c60_k3x3f70_s2x2_d1x1_p0,1,1,1_g1": (2, 2),
    "n3h52w54c40_k1x3f50_s1x1_d1x1_p0,0,1,1_g1": (1, 4),
    "n2h70w60c34_k7x1f44_s1x1_d1x1_p3,3,0,0_g1": (3, 1),
    "n2h50w40c25_k5x5f48_s1x1_d1x1_p2,2,2,2_g1": (2, 2),
    "n2h60w59c20_k6x5f24_s1x1_d1x1_p3,2,2,2_g1": (4, 2),
}
# Of results with the tiles of each shape, beside the result's own root mean square.
ERRORS = {(2, 2): 3e-7, (4, 2): 4.2e-7, (2, 4): 4.2e-7, (4, 4): 7e-7, (1, 4): 4e-7, (3, 1): 4e-7}


def case_of(token: str, dtype: str = "float32") -> tuple[Case, np.ndarray]:
    case = inputs(ConvProblem.parse(token), dtype)
    return case, output_gradient(case)


def filter_gradient(case: Case, dy: np.ndarray, precision: str = "default") -> np.ndarray:
    with options(precision=precision):
        return gradient("backprop_filter", case, dy)


def test_plans_take_tiles_where_they_pay_and_say_why_not():
    for token, shape in LAYERS.items():
        problem = ConvProblem.parse(token)
        found = gradient_tile(problem, np.dtype(np.float32), "default")
        assert isinstance(found, WinogradTile) and found[:2] == shape, (token, found)
        assert_chosen("backprop_filter", problem, "outer_products")
        for other in ("float64", "int32"):
            assert isinstance(gradient_tile(problem, np.dtype(other), "fast"), str)
    for token, reason in (
        ("n1h14w14c256_k3x3f256_s1x1_d1x1_p1,1,1,1_g1", "there are too few pixels to err no more than direct sums"),
        ("n1h64w64c128_k3x3f2_s1x1_d1x1_p1,1,1,1_g1", "the transforms would cost more than they save"),
        ("n4096h1w4c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1", "some taps meet nothing but padding"),
    ):
        assert gradient_tile(ConvProblem.parse(token), np.dtype(np.float32), "default") == reason


@pytest.mark.parametrize("token", LAYERS)
@pytest.mark.parametrize("precision", ["default", "fast"])
def test_error_is_that_of_the_tile(isa, token, precision):
    case, dy = case_of(token)
    wide = case._replace(input=case.input.astype(np.float64))
    found = gradient_tile(ConvProblem.parse(token), case.input.dtype, precision)
    assert isinstance(found, WinogradTile)
    limit = ERRORS.get(found[:2], 7e-7)
    assert relative_error(filter_gradient(case, dy, precision), filter_gradient(wide, dy.astype(np.float64))) < limit


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_geometry_with_any_tile_agrees_with_direct_sums(data):
    draw = data.draw
    shape = tuple(draw(st.integers(least, most)) for least, most in ((1, 3), (3, 20), (3, 20), (14, 150)))
    few = st.integers(1, 7)
    strides = (draw(st.integers(1, 2)),) * 2
    taps = (3, 3) if strides[0] == 2 else draw(st.one_of(st.just((3, 3)), st.tuples(few, few), st.just((15, 2))))
    pads = [[draw(st.integers(0, 4)), draw(st.integers(0, 4))] for _ in range(2)]
    pads = [[max(before, taps[axis] - shape[1 + axis]), after] for axis, (before, after) in enumerate(pads)]
    problem = conv_problem(shape, (*taps, shape[3], draw(st.integers(1, 150))), strides, pads, (1, 1), False)
    case = inputs(problem, draw(st.sampled_from(["float32", "float16", "bfloat16"])), draw(st.integers(0, 99)))
    dy = output_gradient(case)
    with pytest.MonkeyPatch.context() as patch:
        tiles = [draw(st.sampled_from(winograd._shapes(problem)))] if taps != (1, 1) else []
        patch.setattr(winograd, "_shapes", lambda problem: tiles)
        patch.setattr(winograd, "_gradient_cost", lambda *problem: 0)
        for name in ("FEWEST_PIXELS", "FEWEST_PIXELS_FAST"):
            patch.setattr(winograd, name, dict.fromkeys(winograd.FEWEST_PIXELS, 0))
        patch.setattr(winograd, "FEWEST_PIXELS_STRIDED", 0)
        patch.setattr(winograd, "FEWEST_PIXELS_STRIDED_FAST", 0)
        patch.setattr(BACKEND.planner, "plans", {})
        dw = filter_gradient(case, dy)
    exact = filter_gradient(case._replace(input=case.input.astype(np.float64)), dy.astype(np.float64))
    # Products round with all values in their tiles, and not only with those that their tap meets.
    largest = abs(case.input.astype(np.float64)).max((0, 1, 2))[:, None] * abs(dy.astype(np.float64)).max((0, 1, 2))
    pixels = len(dy) * dy.shape[1] * dy.shape[2]
    bound = 2.0**-24 * (50 + 10 * pixels**0.5) * largest + ROUNDOFF[dw.dtype.name] * abs(exact)
    assert (abs(dw - exact) <= bound).all()


@pytest.mark.parametrize("token", LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_same_bits_for_any_number_of_threads_and_layout(isa, token, dtype):
    case, dy = case_of(token, dtype)
    with options(num_threads=1):
        expected = bits(filter_gradient(case, dy))
    for threads in (2, 3, 16):
        with options(num_threads=threads):
            assert bits(filter_gradient(case, dy)) == expected
    for name, other in layouts_of(dy):
        assert bits(filter_gradient(case, other)) == expected, name
    for name, other in layouts_of(case.input):
        assert bits(filter_gradient(case._replace(input=other), dy)) == expected, name
    first = case._replace(
        input=np.ascontiguousarray(case.input.transpose(0, 3, 1, 2)),
        padding=[case.padding[0], case.padding[3], *case.padding[1:3]],
        data_format="NCHW",
    )
    assert bits(filter_gradient(first, np.ascontiguousarray(dy.transpose(0, 3, 1, 2)))) == expected


@pytest.mark.skipif(not _core.build()["fused_multiply_add"], reason="this CPU has no fused multiply-add")
@pytest.mark.parametrize("token", LAYERS)
def test_same_bits_on_every_instruction_set(token):
    case, dy = case_of(token)
    before, results = _core.instruction_set(), set()
    try:
        for name in SUPPORTED:
            _core.use_instruction_set(name)
            results.add(bits(filter_gradient(case, dy)))
    finally:
        _core.use_instruction_set(before)
    assert len(results) == 1


def assert_unchanged(found: np.ndarray, clean: np.ndarray, bad: float) -> None:
    if np.isfinite(bad):
        assert relative_error(found, clean.astype(np.float64)) < 1e-6
    else:
        assert found.tobytes() == clean.tobytes()


def assert_alike(found: np.ndarray, direct: np.ndarray) -> None:
    """With stride 2 some taps never meet a cell."""
    assert np.array_equal(np.isfinite(found), np.isfinite(direct))
    assert not np.isfinite(direct).all() or (abs(direct) > 1e30).any()
    clean = np.isfinite(direct)
    size = np.sqrt(np.mean(direct[clean].astype(np.float64) ** 2)) if clean.any() else 0
    assert np.allclose(found[clean], direct[clean], rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("token", LAYERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -3.4e38])
def test_bad_numbers_stay_with_their_channels(isa, token, bad):
    """Of the others not a bit changes, but where large values let all be summed directly; what overflows in the
    transforms alone is finite."""
    case, dy = case_of(token)
    clean = filter_gradient(case, dy)
    x = case.input.copy()
    x[0, 5:8, 6, 3] = bad
    found, direct = (filter_gradient(case._replace(input=x), dy, how) for how in ("default", "strict"))
    others = np.arange(x.shape[3]) != 3
    assert_unchanged(found[:, :, others], clean[:, :, others], bad)
    assert_alike(found[:, :, 3], direct[:, :, 3])
    bad_dy = dy.copy()
    bad_dy[-1, 4, 4:6, 1] = bad
    found, direct = (filter_gradient(case, bad_dy, how) for how in ("default", "strict"))
    others = np.arange(dy.shape[3]) != 1
    assert_unchanged(found[..., others], clean[..., others], bad)
    assert_alike(found[..., 1], direct[..., 1])


def assert_as_exact_as_direct_sums(case: Case, dy: np.ndarray) -> None:
    """Tap by tap: where the values are far apart, each has a size of its own."""
    exact = filter_gradient(case._replace(input=case.input.astype(np.float64)), dy.astype(np.float64))
    found = filter_gradient(case, dy)
    size = np.sqrt(np.mean(exact**2, axis=(2, 3)))
    assert (np.sqrt(np.mean((found - exact) ** 2, axis=(2, 3))) <= 1e-6 * size).all()


@pytest.mark.parametrize("token", LAYERS)
@pytest.mark.parametrize("outlier", [1e4, -1e20, 1e35])
def test_an_outlier_does_not_reach_taps_that_never_meet_it(isa, token, outlier):
    case, dy = case_of(token)
    x = case.input.copy()
    x[0, 0, 0] = x[-1, -1, -1] = outlier
    assert_as_exact_as_direct_sums(case._replace(input=x), dy)
    large = dy.copy()
    large[0, 0, -1] = large[-1, -1, 0] = outlier
    assert_as_exact_as_direct_sums(case, large)


@pytest.mark.parametrize("token", LAYERS)
def test_large_channels_do_not_hide_outliers_of_others(isa, token):
    """Each channel has a size of its own, and so has each of its taps."""
    case, dy = case_of(token)
    assert (filter_gradient(case, dy) != filter_gradient(case, dy, "strict")).any()
    for array in (case.input, dy):
        array[..., 0] *= 2**30
        assert (filter_gradient(case, dy) != filter_gradient(case, dy, "strict")).any()
    for corner in ((0, 0, 0, 1), (-1, -1, -1, 2)):
        x, large = case.input.copy(), dy.copy()
        x[corner] = large[corner] = 2**30
        for one, other in ((x, dy), (case.input, large)):
            found, direct = (filter_gradient(case._replace(input=one), other, how) for how in ("default", "strict"))
            assert found.tobytes() == direct.tobytes()


@pytest.mark.parametrize("token", LAYERS)
@pytest.mark.parametrize("nodata", [-9999.0 * 2**20, -3.4e38])
def test_cells_without_data_do_not_matter_where_the_gradient_is_zero(isa, token, nodata):
    """A loss that leaves out all outputs whose windows hold such cells."""
    case, dy = case_of(token)
    x = case.input.copy()
    x[0, 9:11, 8] = nodata
    x[-1, 3, 5] = nodata
    marks = (abs(x) > 1e6).any(axis=3, keepdims=True).astype(np.float64)
    touched = nn.conv2d(marks, np.ones((*case.filters.shape[:2], 1, 1)), *case[2:])[..., 0] > 0
    assert touched.any() and not touched.all()
    masked = np.where(touched[..., None], np.float32(0), dy)
    assert_as_exact_as_direct_sums(case._replace(input=x), masked)


def test_values_that_differences_would_lose_are_summed_directly(isa):
    case, dy = case_of(next(iter(LAYERS)))
    tiny = case._replace(input=case.input * np.float32(2.0**-110))
    assert filter_gradient(tiny, dy).tobytes() == filter_gradient(tiny, dy, "strict").tobytes()
    # An image that matters as much as the others, whose input is tiny and gradient huge; then one that does not matter.
    case, dy = case_of("n9h17w16c40_k3x3f41_s1x1_d1x1_p0,2,1,1_g1")
    for scale, alike in ((112, True), (80, False)):
        x, large = case.input.copy(), dy.copy()
        x[3] *= np.float32(2.0**-112)
        large[3] *= np.float32(2.0**scale)
        direct = filter_gradient(case._replace(input=x), large, "strict")
        assert (filter_gradient(case._replace(input=x), large).tobytes() == direct.tobytes()) == alike


@pytest.mark.parametrize("token", LAYERS)
def test_channels_that_are_zero_but_at_the_border_are_no_outliers(isa, token):
    """As padding makes some of trained networks: without them, all would be summed directly."""
    case, dy = case_of(token)
    x = case.input.copy()
    x[:, 1:, :, 3] = 0
    x[:, :, 1:, 4] = 0
    found, direct = (filter_gradient(case._replace(input=x), dy, how) for how in ("default", "strict"))
    others = np.arange(x.shape[3]) > 4
    assert (found[:, :, others] != direct[:, :, others]).any()
    assert relative_error(found[:, :, 3:5], direct[:, :, 3:5].astype(np.float64)) < 1e-5


def test_gradients_of_zeros_are_zero():
    case, dy = case_of(next(iter(LAYERS)))
    assert not filter_gradient(case, 0 * dy).any()
    assert not filter_gradient(case._replace(input=0 * case.input), dy).any()
    one = np.zeros_like(dy)
    one[0, 0, 0, 7] = 1  # the taps of the first row and column meet padding there
    dw = filter_gradient(case, one)
    assert not dw[0].any() and not dw[:, 0].any()
    assert np.array_equal(dw[1, 1, :, 7], case.input[0, 0, 0])


@pytest.mark.parametrize("images", [1, 4])
def test_images_are_summed_in_groups_where_there_are_many(isa, monkeypatch, images):
    """What tells how even tiles are takes memory; the bits depend on the problem alone."""
    token = "n9h17w16c40_k3x3f41_s1x1_d1x1_p0,2,1,1_g1"
    case, dy = case_of(token)
    whole = filter_gradient(case, dy)
    problem = ConvProblem.parse(token)
    size = summation.MOST_EXPONENTS // summation.tile_images(problem._replace(n=1 << 40), 2, 2)
    monkeypatch.setattr(summation, "MOST_EXPONENTS", images * size + size // 2)
    monkeypatch.setattr(BACKEND.planner, "plans", {})
    assert summation.tile_images(problem, 2, 2) == images
    case.input[8] *= 2**12
    with options(num_threads=1):
        found = filter_gradient(case, dy)
    exact = filter_gradient(case._replace(input=case.input.astype(np.float64)), dy.astype(np.float64))
    assert relative_error(found, exact) < ERRORS[2, 2]
    with options(num_threads=3):
        assert filter_gradient(case, dy).tobytes() == found.tobytes()
    case.input[8] /= 2**12
    assert filter_gradient(case, dy).tobytes() != whole.tobytes()
    bad = dy.copy()
    bad[5, 4, 4, 7] = np.nan
    found, direct = (filter_gradient(case, bad, how) for how in ("default", "strict"))
    assert np.array_equal(np.isnan(found), np.isnan(direct)) and np.isnan(found).any()
    assert isinstance(gradient_tile(problem, np.dtype(np.float16), "default"), str)
    monkeypatch.setattr(summation, "MOST_EXPONENTS", size // 2)
    reason = "the outlier check of all tiles would take too much memory"
    assert gradient_tile(problem, np.dtype(np.float32), "default") == reason


def test_scratch_is_bounded():
    """16 MB a thread, half of them of all threads, and the slices' sums."""
    for token in (
        "n1h60w60c300_k3x3f300_s1x1_d1x1_p1,1,1,1_g1",
        "n4h60w60c100_k15x13f120_s1x1_d1x1_p7,7,6,6_g1",
        "n2h120w120c64_k5x5f64_s1x1_d1x1_p2,2,2,2_g1",
        "n40h57w57c150_k3x3f150_s2x2_d1x1_p0,0,0,0_g1",
    ):
        problem = ConvProblem.parse(token)
        case, dy = case_of(token)
        found = gradient_tile(problem, case.input.dtype, "default")
        assert isinstance(found, WinogradTile)
        for threads in (1, 2):
            with options(num_threads=threads):
                dw = filter_gradient(case, dy)
            slices = summation.tile_sum(problem, found.rows, found.columns).slices
            assert _core.scratch_bytes() < threads * (16 << 20) + slices * dw.nbytes, token
