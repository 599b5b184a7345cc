"""What is refused, before which work, and in which words."""

from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import filters, nn

X = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1)
W = np.ones((3, 3, 1, 2), np.float32)
IMAGINARY = np.ones((1, 6, 6, 1), np.complex64)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: nn.relu_grad(X, IMAGINARY), "features"),
        (lambda: nn.relu6_grad(X, IMAGINARY), "features"),
        (lambda: nn.leaky_relu_grad(X, IMAGINARY), "features"),
        (lambda: nn.elu_grad(X, IMAGINARY), "outputs"),
        (lambda: nn.silu_grad(X, IMAGINARY), "features"),
        (lambda: nn.gelu_grad(X, IMAGINARY), "features"),
        (lambda: nn.softmax_grad(X, IMAGINARY), "outputs"),
        (lambda: nn.batch_normalization_grad(X, IMAGINARY, 0, 1, None, None, 0.1), "x"),
        (lambda: nn.batch_normalization_grad(X, X, 0, 1, None, 1j, 0.1), "scale"),
        (lambda: nn.local_response_normalization_grad(X, X, IMAGINARY), "output_image"),
        (lambda: nn.max_pool2d_grad(X, X, IMAGINARY, 1, 1, "SAME"), "grad"),
        (lambda: nn.max_pool2d_grad(X, IMAGINARY, X, 1, 1, "SAME"), "orig_output"),
        (lambda: filters.apply(IMAGINARY[0], filters.kernel("edge")), "image"),
        (lambda: filters.apply(X[0], np.ones((3, 3), complex)), "kernel"),
    ],
)
def test_complex_numbers_are_refused_wherever_they_are_given(call, name):
    with pytest.raises(TypeError, match=f"^{name}: dtype complex"):
        call()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.softmax(X, axis=1.5), TypeError, "axis: expected an integer, got 1.5"),
        (
            lambda: nn.softmax(X, axis=X),
            TypeError,
            r"axis: expected an integer, got a NumPy array of shape \(1, 6, 6, 1\)",
        ),
        (lambda: nn.softmax(X, axis=10**5000), ValueError, "axis: an integer of thousands of digits is not an axis"),
        (lambda: nn.gelu(X, approximate=X), TypeError, "approximate: expected True or False, got a NumPy array"),
        (lambda: nn.gelu_grad(X, X, approximate=X), TypeError, "approximate: expected True or False"),
        (
            lambda: nn.max_pool_with_argmax(X, 2, 2, "SAME", include_batch_in_index=X),
            TypeError,
            "include_batch_in_index: expected True or False",
        ),
        (lambda: fastconv.set_num_threads(X), TypeError, "num_threads: expected an integer, got a NumPy array"),
        (lambda: filters.apply(X[0], filters.kernel("edge"), border=X), ValueError, "border: a NumPy array of shape"),
        (lambda: filters.apply(X[0], "edge"), TypeError, "kernel: expected an array, got 'edge'; filters.kernel"),
        (lambda: filters.bank(5), TypeError, "names: expected a list of names, got 5"),
        (lambda: filters.bank(b"edge"), TypeError, "names: expected a list of names, got b'edge'"),
        (lambda: filters.kernel(["edge"]), TypeError, r"name: expected a string, got \['edge'\]"),
        (lambda: nn.leaky_relu(X, 10**5000), ValueError, "alpha: an integer of thousands of digits is out of range"),
        (
            lambda: nn.conv2d(X, W, 10**5000, "SAME"),
            ValueError,
            "strides: an integer of thousands of digits is out of",
        ),
        (
            lambda: nn.conv2d(X, W, X, "SAME"),
            TypeError,
            r"strides: .*a NumPy array of shape|strides: expected an integer",
        ),
        (
            lambda: nn.conv2d(X, W, 1, "SAME", X),
            TypeError,
            "data_format: expected a string, got a NumPy array of shape",
        ),
        (lambda: nn.conv2d(X, W, 1, "SAME", "nhwc"), ValueError, "did you mean 'NHWC'"),
        (lambda: nn.conv2d(X, W, 1, "SAME", "channels_first"), ValueError, "did you mean 'NCHW'"),
        (lambda: nn.conv2d(X, W, 1, "SAME", activation=X), ValueError, "activation: a NumPy array of shape"),
        (lambda: nn.conv2d(X[0, :, :, 0], W, 1, "SAME"), ValueError, r"a gray image is image\[None, :, :, None\]"),
        (lambda: nn.relu(Path("photo.jpg")), TypeError, "features: expected an array, .*; read the file first"),
        (lambda: nn.relu({"a": 1}), TypeError, "features: expected an array of numbers, got {'a': 1}$"),
        (lambda: nn.relu(i for i in range(3)), TypeError, "features: expected an array of numbers, got <generator"),
        (lambda: nn.relu([np.ma.ones(3)]), TypeError, "features: a masked array would lose its mask"),
        (lambda: nn.relu(X, out=np.ma.ones(X.shape, np.float32)), TypeError, "out: a masked array would keep its mask"),
        (
            lambda: nn.conv2d_backprop_filter(X, [2**70, 1, 1, 1], X, 1, "SAME"),
            ValueError,
            "filter_sizes: .* out of range",
        ),
        (
            lambda: nn.local_response_normalization(X, depth_radius=10**400),
            ValueError,
            r"depth_radius: 10{79}\.\.\. \(int\) is out of range",
        ),
    ],
)
def test_messages_name_the_argument_and_are_short(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "call",
    [
        lambda far: nn.conv2d(X, W, 1, "SAME", bias=far),
        lambda far: nn.bias_add(X, far),
        lambda far: nn.batch_normalization(X, far, 1, None, None, 0.1),
        lambda far: nn.batch_normalization_grad(X, X, 0, 1, None, far, 0.1),
        lambda far: nn.relu_grad(X, far),
        lambda far: nn.max_pool2d_grad(X, X, far, 1, 1, "SAME"),
    ],
)
def test_vectors_and_gradients_are_compared_before_they_are_cast(call):
    with pytest.raises(ValueError, match=r"\(1099511627776,\)"):
        call(np.broadcast_to(np.float64(1), (1 << 40,)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, out: nn.softmax(x, out=out),
        lambda x, out: nn.softmax_grad(x, x, out=out),
        lambda x, out: nn.elu(x, out=out),
        lambda x, out: nn.silu(x, out=out),
        lambda x, out: nn.gelu(x, out=out),
        lambda x, out: nn.relu(x, out=out),
        lambda x, out: nn.elu_grad(x, x, out=out),
        lambda x, out: nn.silu_grad(x, x, out=out),
        lambda x, out: nn.leaky_relu_grad(x, x, out=out),
        lambda x, out: nn.local_response_normalization(x, 2, out=out),
        lambda x, out: nn.batch_normalization(x, 0, 1, None, None, 0.1, out=out),
        lambda x, out: nn.avg_pool2d_grad(x.shape, x, 1, 1, "SAME", out=out),
        lambda x, out: nn.max_pool2d_grad(x, x, x, 1, 1, "SAME", out=out),
    ],
)
def test_where_a_result_goes_is_checked_before_the_work(call):
    """Which for an array of 2 TB could not be done."""
    far = np.broadcast_to(np.float32(1), (1 << 10, 1 << 10, 1 << 9, 1 << 10))
    with pytest.raises(ValueError, match=r"^out: has shape \(3,\)"):
        call(far, np.empty(3, np.float32))


def test_numbers_that_do_not_fit_raise_nothing():
    with np.errstate(all="raise"):
        assert nn.relu([1e300]).tolist() == [np.inf]
        assert nn.relu([1e-320]).tolist() == [0]
        assert nn.relu_grad(np.ones(2, np.float16), np.array([1e300, -1])).tolist() == [1, 0]
        nn.conv2d(X, [[[[1e300, 1e300]]]], 1, "SAME")
        nn.max_pool2d_grad(X.astype(np.float16), X, np.full_like(X, 1e300, dtype=np.float64), 1, 1, "SAME")
        fastconv.prepare([[[[1e300]]]])
        filters.apply([[1e300]], [[1.0]])


def test_a_scale_is_read_once():
    class Turning:
        shapes = iter([(1,), (5,), (1, 1, 1, 1)])

        def __array__(self, dtype=None, copy=None):
            return np.ones(next(self.shapes), np.float32)

    gradients = nn.batch_normalization_grad(X, X, 0, 1, None, Turning(), 0.1)
    assert gradients[4].shape == (1,)
