"""Prepared filters: accepted wherever filters are, with the same bits."""

import concurrent.futures
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from problems import cases, inputs, output_gradient

import fastconv
from fastconv import nn
from fastconv._problem import ConvProblem


@settings(max_examples=60)
@given(case=cases())
def test_same_bits_as_plain_filters_forward_and_backward(case):
    prepared = fastconv.prepare(case.filters)
    geometry = dict(zip(("strides", "padding", "data_format"), case[2:5])) | {"dilations": case.dilations}
    dy = output_gradient(case)
    y = nn.conv2d(*case).tobytes()
    dx = nn.conv2d_backprop_input(case.input.shape, case.filters, dy, **geometry).tobytes()
    for _ in range(2):  # packed, then taken from what was packed
        assert nn.conv2d(case.input, prepared, *case[2:]).tobytes() == y
        assert nn.conv2d_backprop_input(case.input.shape, prepared, dy, **geometry).tobytes() == dx


def test_every_function_that_takes_filters_takes_prepared_ones():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 8, 8, 4)), rng.standard_normal((3, 3, 4, 4))
    row, signal = rng.standard_normal((3, 4, 4)), rng.standard_normal((2, 9, 4))
    mixing = rng.standard_normal((1, 1, 16, 5))
    calls = [
        (w, lambda w: nn.conv2d_transpose(x, w, x.shape, 1)),
        (w, lambda w: nn.atrous_conv2d(x, w, 2, "SAME")),
        (w, lambda w: nn.atrous_conv2d_transpose(x, w, x.shape, 2, "SAME")),
        (w, lambda w: nn.convolution(x, w)),
        (row, lambda w: nn.conv1d(signal, w, 1, "SAME")),
        (row, lambda w: nn.conv1d_transpose(signal, w, signal.shape, 1)),
        (w, lambda w: nn.depthwise_conv2d(x, w, 1, "SAME")),
        (w, lambda w: nn.depthwise_conv2d_backprop_input(x.shape, w, np.ones((2, 8, 8, 16)), 1, "SAME")),
        (w, lambda w: nn.separable_conv2d(x, w, fastconv.prepare(mixing), 1, "SAME")),
    ]
    for filters, call in calls:
        prepared = fastconv.prepare(filters)
        want = call(filters).tobytes()
        assert call(prepared).tobytes() == call(prepared).tobytes() == want


def test_packing_happens_once_for_each_use():
    case = inputs(ConvProblem.parse("n1h14w14c64_k3x3f64_s2x2_d1x1_p0,1,0,1_g1"))
    prepared = fastconv.prepare(case.filters)
    assert prepared.nbytes == case.filters.nbytes
    nn.conv2d(case.input, prepared, *case[2:])
    once = prepared.nbytes
    assert once > case.filters.nbytes
    nn.conv2d(np.repeat(case.input, 3, axis=0), prepared, *case[2:])
    assert prepared.nbytes == once


def test_pickles_as_the_plain_array():
    w = np.arange(2 * 3 * 4 * 32, dtype=np.float32).reshape(2, 3, 4, 32)
    prepared = fastconv.prepare(w)
    nn.conv2d(np.ones((1, 9, 9, 4), np.float32), prepared, 1, "SAME")
    loaded = pickle.loads(pickle.dumps(prepared))
    assert type(loaded) is np.ndarray and loaded.flags.writeable
    np.testing.assert_array_equal(loaded, w)


def test_later_changes_to_the_array_have_no_effect():
    x, w = np.ones((1, 4, 4, 1), np.float32), np.ones((3, 3, 1, 20), np.float32)
    prepared = fastconv.prepare(w)
    w[:] = 5
    assert nn.conv2d(x, prepared, 1, "VALID").max() == 9
    with pytest.raises(ValueError, match="read-only"):
        prepared.array[:] = 5


def test_says_when_it_does_not_fit_the_call():
    x = np.ones((1, 4, 4, 1))
    prepared = fastconv.prepare(np.ones((3, 3, 1, 2), np.float32))
    with pytest.raises(TypeError, match=r"filters: prepared for dtype float32, but input has dtype float64.*\(1, 4, 4"):
        nn.conv2d(x, prepared, 1, "SAME")
    with pytest.raises(TypeError, match="filters: prepared for dtype float32, but input has dtype float64"):
        nn.conv2d_transpose(np.ones((1, 4, 4, 2)), prepared, [4, 4], 1)
    with pytest.raises(ValueError, match="depth"):
        nn.conv2d(np.ones((1, 4, 4, 2), np.float32), fastconv.prepare(np.ones((3, 3, 3, 2), np.float32)), 1, "SAME")
    with pytest.raises(TypeError, match="filters: dtype complex128"):
        fastconv.prepare(np.ones((3, 3, 1, 2), complex))


def test_array_protocol():
    w = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    prepared = fastconv.prepare(w, dtype=np.float64)
    assert (prepared.shape, prepared.ndim, prepared.dtype, len(prepared)) == ((1, 1, 2, 3), 4, np.float64, 1)
    np.testing.assert_array_equal(np.asarray(prepared), w)
    assert repr(prepared) == "PreparedFilters(shape=(1, 1, 2, 3), dtype=float64)"


def test_threads_share_one_prepared_bank():
    case = inputs(ConvProblem.parse("n1h10w10c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1"))
    want = nn.conv2d(*case).tobytes()
    prepared = fastconv.prepare(case.filters)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: nn.conv2d(case.input, prepared, *case[2:]).tobytes(), range(40)))
    assert set(results) == {want}
