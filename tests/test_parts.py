"""Convolutions in parts: phases and border splits cover every output once, with its taps inside the image."""

import numpy as np
import pytest
from hypothesis import assume, given
from problems import assert_close, cases, random_array

import fastconv
from fastconv import nn, options
from fastconv._cpu import cost_model, decompose, implementations
from fastconv._cpu.decompose import border_split
from fastconv._options import Options
from fastconv._parts import polyphase
from fastconv._problem import ConvProblem

BORDERS = [
    "n2h20w20c32_k3x3f40_s1x1_d6x6_p6,6,6,6_g1",
    "n2h9w11c5_k3x4f6_s2x1_d3x2_p4,2,5,3_g1",
    "n1h5w6c8_k1x1f4_s1x1_d1x1_p2,2,1,3_g1",
    "n1h3w4c2_k3x2f2_s1x1_d7x9_p7,7,9,9_g2",
]


@pytest.fixture
def always_cut(monkeypatch):
    """Border splits wherever there is padding, worth it or not."""
    decompose._cut.cache_clear()
    monkeypatch.setattr(cost_model, "BORDER_GAIN", 1e-9)
    monkeypatch.setattr(cost_model, "BORDER_TILE_PIXELS", 1)
    monkeypatch.setattr(cost_model, "BORDER_PART_PIXELS", 0)
    yield
    decompose._cut.cache_clear()


def inside(problem):
    """Which taps of which outputs are inside the image: [oh, ow, kh, kw]."""
    p = problem
    rows = np.add.outer(np.arange(p.oh) * p.stride_h - p.pad_top, np.arange(p.kh) * p.dilation_h)
    columns = np.add.outer(np.arange(p.ow) * p.stride_w - p.pad_left, np.arange(p.kw) * p.dilation_w)
    rows, columns = (rows >= 0) & (rows < p.h), (columns >= 0) & (columns < p.w)
    return rows[:, None, :, None] & columns[None, :, None, :]


def met(problem, parts):
    """How often each output meets each tap in these parts."""
    p = problem
    count = np.zeros((p.oh, p.ow, p.kh, p.kw), int)
    for part in parts:
        q = part.problem
        rows = part.y_row + np.arange(q.oh) * part.y_step_h
        columns = part.y_column + np.arange(q.ow) * part.y_step_w
        taps_h = part.tap_row + np.arange(q.kh) * part.tap_step_h
        taps_w = part.tap_column + np.arange(q.kw) * part.tap_step_w
        count[np.ix_(rows, columns, taps_h, taps_w)] += inside(q)
    return count


@pytest.mark.parametrize("token", BORDERS)
def test_a_border_split_holds_each_tap_inside_the_image_once(always_cut, token):
    problem = ConvProblem.parse(token)
    found, complete = border_split(problem)
    np.testing.assert_array_equal(met(problem, found), inside(problem))
    assert complete == inside(problem).any((2, 3)).all()
    for part in found:
        q = part.problem
        assert inside(q).all()  # nothing is multiplied by padding
        assert part.x_row + q.h <= problem.h and part.x_column + q.w <= problem.w


@pytest.mark.parametrize("token", BORDERS)
def test_polyphase_holds_each_cell_and_tap_once(token):
    p = ConvProblem.parse(token)
    found, _ = polyphase(p)
    count = np.zeros((p.h, p.w, p.kh, p.kw), int)
    for part in found:
        rows = part.y_row + np.arange(part.problem.oh) * part.y_step_h
        columns = part.y_column + np.arange(part.problem.ow) * part.y_step_w
        taps_h = part.tap_row + np.arange(part.problem.kh) * part.tap_step_h
        taps_w = part.tap_column + np.arange(part.problem.kw) * part.tap_step_w
        count[np.ix_(rows, columns, taps_h, taps_w)] += inside(part.problem)
    windows = inside(p)
    expected = np.zeros_like(count)
    for oy, ox, i, j in np.argwhere(windows):
        y, x = oy * p.stride_h - p.pad_top + i * p.dilation_h, ox * p.stride_w - p.pad_left + j * p.dilation_w
        expected[y, x, i, j] += 1
    np.testing.assert_array_equal(count, expected)


@given(case=cases())
def test_any_border_split_equals_the_reference(isa, always_cut, case):
    with options(implementation="border_split"):
        try:
            result = nn.conv2d(*case)
        except ValueError as refusal:
            assert "border_split" in str(refusal)
            assume(False)
    assert_close(result, case)


def test_bias_and_activation_reach_outputs_without_taps(always_cut):
    x, w = np.ones((1, 5, 6, 8), np.float32), np.ones((1, 1, 8, 4), np.float32)
    bias = np.array([1, -1, 2, -2], np.float32)
    with options(implementation="border_split"):
        y = nn.conv2d(x, w, padding=[[0, 0], [2, 2], [1, 3], [0, 0]], strides=1, bias=bias, activation="relu")
    np.testing.assert_array_equal(y[0, 0, 0], [1, 0, 2, 0])
    np.testing.assert_array_equal(y[0, 2, 1], [9, 7, 10, 6])


def test_large_dilations_skip_the_taps_outside_forward_and_backward():
    problem = ConvProblem.parse("n1h33w33c256_k3x3f256_s1x1_d12x12_p12,12,12,12_g1")
    assert implementations.choose("forward", problem, np.dtype(np.float32), Options())[0].name == "border_split"
    calls, complete = implementations._calls_of(polyphase(problem), np.dtype(np.float32), Options(), True)
    assert complete
    assert sum(call[0].problem.multiply_adds for call in calls) < 0.6 * problem.multiply_adds


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@pytest.mark.parametrize(("channels", "filters", "groups"), [(1, 1, 1), (16, 16, 1), (6, 6, 6), (8, 4, 2)])
def test_columns_are_computed_as_rows(layout, dtype, channels, filters, groups):
    rng = np.random.default_rng(0)
    x = random_array(rng, (2, 40, 1, channels), dtype)
    w = random_array(rng, (5, 1, channels // groups, filters), dtype)

    def turned(array):
        return array.transpose(1, 0, 2, 3) if array is w or array.shape == w.shape else array.transpose(0, 2, 1, 3)

    def given(array):
        return array.transpose(0, 3, 1, 2) if layout == "NCHW" else array

    def back(array):
        return array.transpose(0, 2, 3, 1) if layout == "NCHW" else array

    options_of = {"strides": [1, 2, 1, 1], "padding": "SAME"}
    of_rows = {"strides": [1, 1, 2, 1], "padding": "SAME"}
    if layout == "NCHW":
        options_of = {"strides": [1, 1, 2, 1], "padding": "SAME", "data_format": "NCHW"}
    y = back(nn.conv2d(given(x), w, **options_of, bias=np.ones(filters, dtype)))
    np.testing.assert_array_equal(turned(y), nn.conv2d(turned(x), turned(w), **of_rows, bias=np.ones(filters, dtype)))
    dx = back(nn.conv2d_backprop_input(given(x).shape, w, given(y), **options_of))
    rows = nn.conv2d_backprop_input(turned(x).shape, turned(w), turned(y), **of_rows)
    np.testing.assert_array_equal(turned(dx), rows)
    dw = nn.conv2d_backprop_filter(given(x), w.shape, given(y), **options_of)
    rows = nn.conv2d_backprop_filter(turned(x), turned(w).shape, turned(y), **of_rows)
    np.testing.assert_array_equal(turned(dw), rows)
    np.testing.assert_array_equal(
        nn.conv2d(given(x), fastconv.prepare(w), **options_of),
        given(y - 1) if dtype == "int32" else nn.conv2d(given(x), w, **options_of),
    )


def test_gradients_of_many_taps_over_few_pixels_are_right():
    rng = np.random.default_rng(0)
    w, dy = random_array(rng, (5, 300, 1, 20), "float32"), random_array(rng, (1, 8, 1, 20), "float32")
    dx = nn.conv2d_backprop_input((1, 12, 300, 1), w, dy, 1, "VALID")
    want = np.zeros((12, 300))
    for i in range(5):
        want[i : i + 8] += dy[0, :, 0].astype(float) @ w[i, :, 0].T.astype(float)
    np.testing.assert_allclose(dx[0, :, :, 0], want, rtol=1e-5, atol=1e-5)
