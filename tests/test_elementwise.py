"""Functions of single elements: results in place, gradients as differences give them, arguments named in errors."""

import math

import numpy as np
import pytest

from fastconv import nn

X = np.random.default_rng(0).standard_normal((2, 4, 4, 6)).astype(np.float32)
DY = np.random.default_rng(1).standard_normal((2, 4, 4, 6)).astype(np.float32)
POOLED = nn.max_pool2d(X, 2, 2, "VALID")
CALLS = {
    "leaky_relu": lambda **out: nn.leaky_relu(X, **out),
    "elu": lambda **out: nn.elu(X, **out),
    "silu": lambda **out: nn.silu(X, **out),
    "gelu": lambda **out: nn.gelu(X, **out),
    "softmax": lambda **out: nn.softmax(X, **out),
    "softmax_grad": lambda **out: nn.softmax_grad(DY, nn.softmax(X), **out),
    "leaky_relu_grad": lambda **out: nn.leaky_relu_grad(DY, X, **out),
    "elu_grad": lambda **out: nn.elu_grad(DY, X, **out),
    "silu_grad": lambda **out: nn.silu_grad(DY, X, **out),
    "gelu_grad": lambda **out: nn.gelu_grad(DY, X, **out),
    "batch_normalization": lambda **out: nn.batch_normalization(
        X, X[0, 0, 0], abs(X[0, 0, 1]), None, None, 1e-3, **out
    ),
    "local_response_normalization": lambda **out: nn.local_response_normalization(X, 2, **out),
    "local_response_normalization_grad": lambda **out: nn.local_response_normalization_grad(DY, X, X, 2, **out),
    "max_pool2d_grad": lambda **out: nn.max_pool2d_grad(X, POOLED, POOLED, 2, 2, "VALID", **out),
    "avg_pool2d_grad": lambda **out: nn.avg_pool2d_grad(X.shape, POOLED, 2, 2, "VALID", **out),
}


@pytest.mark.parametrize("name", CALLS)
def test_out_receives_the_result_and_is_returned(name):
    out = np.full_like(X, 7)
    assert CALLS[name](out=out) is out
    assert out.tobytes() == CALLS[name]().tobytes()
    with pytest.raises(ValueError, match="out"):
        CALLS[name](out=np.empty((1, 2), np.float32))
    with pytest.raises(TypeError, match="out"):
        CALLS[name](out=[1.0])


@pytest.mark.parametrize("axis", [None, 0, 2, -1])
def test_gradient_of_softmax_is_that_of_differences(axis):
    x, dy, step = X.astype(np.float64), DY.astype(np.float64), 1e-6
    found = nn.softmax_grad(dy, nn.softmax(x, axis), axis)
    for at in [(0, 0, 0, 0), (1, 2, 3, 5), (0, 3, 1, 2)]:
        move = np.zeros_like(x)
        move[at] = step
        rise = (nn.softmax(x + move, axis) - nn.softmax(x - move, axis)) / (2 * step)
        assert found[at] == pytest.approx((dy * rise).sum(), abs=1e-8)


def test_arguments_are_those_of_tensorflow():
    assert nn.leaky_relu(np.array([-5, 5])).tolist() == [-1, 5]
    assert nn.leaky_relu(np.array([-5, 5])).dtype == np.float32
    for data_format in ("NWC", "N...C", "NHWC", None):
        assert nn.bias_add(X, np.arange(6), data_format).tobytes() == nn.bias_add(X, np.arange(6)).tobytes()
    for data_format in ("NCW", "NC...", "NCHW"):
        assert nn.bias_add_grad(X, data_format).shape == (4,)
    with pytest.raises(ValueError, match="data_format"):
        nn.bias_add(X, np.arange(6), "HWC")
    with pytest.raises(TypeError, match="mean"):
        nn.batch_normalization(X, None, 1, None, None, 0.1)
    with pytest.raises(ValueError, match="variance.*(5,).*x"):
        nn.batch_normalization(X, 0, np.ones(5), None, None, 0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("shape", [(4, 5, 6, 7), (3, 41, 57, 1), (3, 9000, 2)])
def test_the_gradient_of_a_bias_has_the_same_bits_in_every_layout(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    apart = np.zeros([2 * size for size in shape], dtype)[(slice(None, None, 2),) * len(shape)]
    apart[...] = x
    misaligned = np.empty(x.nbytes + 1, np.uint8)[1:].view(dtype).reshape(shape)
    misaligned[...] = x
    want = nn.bias_add_grad(x)
    np.testing.assert_allclose(want, x.astype(float).sum(tuple(range(x.ndim - 1))), rtol=2e-3)
    for layout in (np.asfortranarray(x), apart, misaligned):
        assert nn.bias_add_grad(layout).tobytes() == want.tobytes()
    for first in (np.moveaxis(x, -1, 1), np.moveaxis(x, -1, 1).copy()):
        assert nn.bias_add_grad(first, "NCHW").tobytes() == want.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_gelu_of_large_numbers(dtype):
    most = np.finfo(dtype).max
    x = np.array([1e4, -1e4, most, -most, np.inf, np.nan, 0], dtype)
    np.testing.assert_array_equal(nn.gelu(x), np.array([1e4, -0.0, most, -0.0, np.inf, np.nan, 0], dtype))


DERIVATIVES = {
    "silu": lambda x: _silu_slope(x, 1.0),
    "silu, steeper": lambda x: _silu_slope(x, 2.5),
    "gelu": lambda x: 0.5 * math.erfc(-x / math.sqrt(2)) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "gelu, approximately": lambda x: _gelu_tanh_slope(x),
}
GRADIENTS = {
    "silu": nn.silu_grad,
    "silu, steeper": lambda dy, x, **out: nn.silu_grad(dy, x, 2.5, **out),
    "gelu": nn.gelu_grad,
    "gelu, approximately": lambda dy, x, **out: nn.gelu_grad(dy, x, approximate=True, **out),
}


def _silu_slope(x, beta):
    return (1 + beta * x / (1 + math.exp(beta * x))) / (1 + math.exp(-beta * x))


def _gelu_tanh_slope(x):
    inner, rise = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3), math.sqrt(2 / math.pi) * (1 + 0.134145 * x * x)
    return (1 + math.tanh(inner)) / 2 + x * rise / (2 * math.cosh(inner) ** 2)


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_gradients_of_smooth_activations_are_the_derivatives(name, dtype, isa):
    x = np.linspace(-12, 12, 2401).astype(dtype)
    dy = np.random.default_rng(0).standard_normal(x.size).astype(dtype)
    want = dy.astype(float) * [DERIVATIVES[name](value) for value in x.astype(float)]
    dx = GRADIENTS[name](dy, x)
    assert dx.dtype == x.dtype
    tolerance = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 4e-7, "float64": 2e-15}[dtype]
    assert np.max(np.abs(dx.astype(float) - want) / (np.abs(want) + np.abs(dy.astype(float)))) < tolerance
    for place in (dy, x):  # in the place of an operand, and of a part of one
        copy = place.copy()
        both = [copy if array is place else array for array in (dy, x)]
        assert GRADIENTS[name](*both, out=copy).tobytes() == dx.tobytes()
        longer = np.concatenate([place, place[:1]])
        both = [longer[:-1] if array is place else array for array in (dy, x)]
        assert GRADIENTS[name](*both, out=longer[1:]).tobytes() == dx.tobytes()


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_gradients_of_smooth_activations_end_at_0_and_1(name, dtype, isa):
    most = np.finfo(dtype).max
    x = np.array([-np.inf, -most, -900, 0, 900, most, np.inf, np.nan], dtype)
    dx = GRADIENTS[name](np.full_like(x, 2), x)
    np.testing.assert_array_equal(dx, np.array([0, 0, 0, 1, 2, 2, 2, np.nan], dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("statistics", "affine"),
    [((6,), (6,)), ((1, 1, 1, 6), (6,)), ((), (1,)), ((2, 1, 1, 6), None), ((4, 6), (4, 1, 1))],
)
def test_gradients_of_batch_normalization_are_those_of_float64(statistics, affine, dtype):
    rng = np.random.default_rng(0)
    x, dy = X.astype(dtype), DY.astype(dtype)
    mean, variance = rng.standard_normal(statistics).astype(dtype), rng.uniform(0.5, 2, statistics).astype(dtype)
    offset, scale = (None if affine is None else rng.uniform(0.5, 2, affine).astype(dtype) for _ in range(2))
    found = nn.batch_normalization_grad(dy, x, mean, variance, offset, scale, 0.01)
    tolerance = {np.float16: 6e-3, np.float32: 3e-6, np.float64: 1e-12}[dtype]

    def normalized(*arrays):
        return nn.batch_normalization(*arrays, 0.01)

    arguments = [None if a is None else a.astype(np.float64) for a in (x, mean, variance, offset, scale)]
    for index, (array, gradient) in enumerate(zip(arguments, found, strict=True)):
        if array is None:
            assert gradient is None
            continue
        assert gradient.shape == array.shape
        assert gradient.dtype == dtype
        places = list(np.ndindex(array.shape))
        for at in places[:: max(1, len(places) // 10)]:  # some elements of x, every one of the others
            rises = []
            for step in (1e-5, -1e-5):
                moved = array.copy()
                moved[at] += step
                rises.append(normalized(*arguments[:index], moved, *arguments[index + 1 :]))
            terms = dy.astype(float) * (rises[0] - rises[1]) / 2e-5
            assert abs(gradient[at] - terms.sum()) <= tolerance * np.abs(terms).sum() + 1e-8


def test_gradients_of_batch_normalization_have_the_same_bits_in_every_layout():
    x, dy = (np.random.default_rng(seed).standard_normal((3, 41, 57, 8)).astype(np.float32) for seed in (0, 1))
    channels = X[0, 0, :2].ravel()[:8]
    arguments = channels, abs(channels), channels, channels, 1e-3
    want = [array.tobytes() for array in nn.batch_normalization_grad(dy, x, *arguments)]
    for order in (np.asfortranarray, lambda array: np.moveaxis(np.moveaxis(array, -1, 1).copy(), 1, -1)):
        assert [array.tobytes() for array in nn.batch_normalization_grad(order(dy), order(x), *arguments)] == want


def test_gradients_of_batch_normalization_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"x: has shape \(2, 4, 4, 5\), but gradients has shape \(2, 4, 4, 6\)"):
        nn.batch_normalization_grad(DY, X[..., :5], 0, 1, None, None, 0.1)
    with pytest.raises(ValueError, match=r"scale: its shape, \(5,\), does not broadcast"):
        nn.batch_normalization_grad(DY, X, 0, 1, None, np.ones(5), 0.1)
    with pytest.raises(TypeError, match="gradients: dtype int64 is not a floating one"):
        nn.batch_normalization_grad(np.ones(3, int), np.ones(3), 0, 1, None, None, 0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_silu_keeps_its_tail(dtype):
    x = np.array([-60, -79, -81, -86, -89, -95], dtype)
    want = np.array([math.exp(value) * value for value in x.tolist()])
    np.testing.assert_allclose(nn.silu(x).astype(float), want, rtol=1e-2 if dtype is np.float32 else 1e-12)
    assert nn.silu(np.array([-1000, np.nan], dtype)).tolist()[0] == 0


def test_sums_of_softmax_do_not_lose_accuracy():
    gradients, outputs = np.full((1 << 22, 2), 0.1, np.float32), np.full((1 << 22, 2), 2.0**-22, np.float32)
    assert np.abs(nn.softmax_grad(gradients, outputs, axis=0)).max() < 1e-20
    assert nn.softmax(np.zeros((5 << 22, 1), np.float32), axis=0)[0, 0] == np.float32(1 / (5 << 22))
