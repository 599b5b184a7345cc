"""Functions of single elements: results in place, gradients as differences give them, arguments named in errors."""

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
