"""Objects that lie or change, arrays without dimensions, and what cannot be an array: a result or a clear error."""

import fractions
import math
import sys
import types

import ml_dtypes
import numpy as np
import pytest

import fastconv
from fastconv import filters, nn

X = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1)
W = np.ones((3, 3, 1, 2), np.float32)
SCALAR = np.float32(1)

# Every function, with scalars wherever arrays belong.
OF_SCALARS = {
    "atrous_conv2d": lambda s: nn.atrous_conv2d(s, s, 1, "SAME"),
    "atrous_conv2d_transpose": lambda s: nn.atrous_conv2d_transpose(s, s, (1, 1, 1, 1), 1, "SAME"),
    "avg_pool": lambda s: nn.avg_pool(s, 2, 1, "SAME"),
    "avg_pool2d": lambda s: nn.avg_pool2d(s, 2, 1, "SAME"),
    "avg_pool2d_grad": lambda s: nn.avg_pool2d_grad((1, 1, 1, 1), s, 2, 1, "SAME"),
    "batch_normalization": lambda s: nn.batch_normalization(s, s, s, s, s, 1e-3),
    "batch_normalization_grad": lambda s: nn.batch_normalization_grad(s, s, s, s, s, s, 1e-3)[0],
    "bias_add": lambda s: nn.bias_add(s, s),
    "bias_add_grad": lambda s: nn.bias_add_grad(s),
    "conv1d": lambda s: nn.conv1d(s, s, 1, "SAME"),
    "conv1d_transpose": lambda s: nn.conv1d_transpose(s, s, (1, 1, 1), 1),
    "conv2d": lambda s: nn.conv2d(s, s, 1, "SAME"),
    "conv2d_backprop_filter": lambda s: nn.conv2d_backprop_filter(s, (1, 1, 1, 1), s, 1, "SAME"),
    "conv2d_backprop_input": lambda s: nn.conv2d_backprop_input((1, 1, 1, 1), s, s, 1, "SAME"),
    "conv2d_transpose": lambda s: nn.conv2d_transpose(s, s, (1, 1, 1, 1), 1),
    "convolution": lambda s: nn.convolution(s, s),
    "depthwise_conv2d": lambda s: nn.depthwise_conv2d(s, s, 1, "SAME"),
    "depthwise_conv2d_backprop_filter": lambda s: nn.depthwise_conv2d_backprop_filter(s, (1, 1, 1, 1), s, 1, "SAME"),
    "depthwise_conv2d_backprop_input": lambda s: nn.depthwise_conv2d_backprop_input((1, 1, 1, 1), s, s, 1, "SAME"),
    "elu": nn.elu,
    "elu_grad": lambda s: nn.elu_grad(s, s),
    "gelu": nn.gelu,
    "gelu_grad": lambda s: nn.gelu_grad(s, s),
    "leaky_relu": nn.leaky_relu,
    "leaky_relu_grad": lambda s: nn.leaky_relu_grad(s, s),
    "local_response_normalization": nn.local_response_normalization,
    "local_response_normalization_grad": lambda s: nn.local_response_normalization_grad(s, s, s),
    "max_pool": lambda s: nn.max_pool(s, 2, 1, "SAME"),
    "max_pool2d": lambda s: nn.max_pool2d(s, 2, 1, "SAME"),
    "max_pool2d_grad": lambda s: nn.max_pool2d_grad(s, s, s, 2, 1, "SAME"),
    "max_pool_with_argmax": lambda s: nn.max_pool_with_argmax(s, 2, 1, "SAME"),
    "relu": nn.relu,
    "relu6": nn.relu6,
    "relu6_grad": lambda s: nn.relu6_grad(s, s),
    "relu_grad": lambda s: nn.relu_grad(s, s),
    "separable_conv2d": lambda s: nn.separable_conv2d(s, s, s, 1, "SAME"),
    "silu": nn.silu,
    "silu_grad": lambda s: nn.silu_grad(s, s),
    "softmax": nn.softmax,
    "softmax_grad": lambda s: nn.softmax_grad(s, s),
}
OF_ELEMENTS = {"batch_normalization", "elu", "elu_grad", "gelu", "leaky_relu", "leaky_relu_grad", "relu", "relu6"}
OF_ELEMENTS |= {"batch_normalization_grad", "gelu_grad", "relu6_grad", "relu_grad", "silu", "silu_grad"}


def test_every_function_is_given_scalars():
    assert set(OF_SCALARS) == set(nn.__all__)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("name", OF_SCALARS)
def test_scalars_are_computed_or_refused(name, dtype):
    if name in OF_ELEMENTS and (dtype is not np.int32 or "relu" in name or name == "elu_grad"):
        assert OF_SCALARS[name](dtype(1)).shape == ()
    else:
        with pytest.raises((ValueError, TypeError)):
            OF_SCALARS[name](dtype(1))


class Liar(np.ndarray):
    """An array whose attributes are made up."""

    dtype = property(lambda self: np.dtype(np.float32))
    shape = property(lambda self: (1, 6, 6, 2))
    flags = property(lambda self: types.SimpleNamespace(c_contiguous=True, aligned=True, writeable=True))


def test_no_attribute_of_a_subclass_is_believed():
    small = np.zeros(4, np.uint8).view(Liar)
    for call in (
        lambda: nn.conv2d(X, W, 1, "SAME", out=small),
        lambda: nn.relu(np.zeros((1, 6, 6, 2), np.float32), out=small),
        lambda: nn.relu_grad(np.zeros((1, 6, 6, 2), np.float32), np.zeros((1, 6, 6, 2), np.float32), out=small),
        lambda: nn.max_pool2d(np.zeros((1, 6, 6, 2), np.float32), 1, 1, "SAME", out=small),
        lambda: nn.gelu(np.zeros((1, 6, 6, 2), np.float32), out=small),
    ):
        with pytest.raises((ValueError, TypeError), match=r"out: has (shape \(4,\)|dtype uint8)"):
            call()
    frozen = np.zeros((1, 6, 6, 2), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out: is read-only"):
        nn.conv2d(X, W, 1, "SAME", out=frozen.view(Liar))


def test_a_subclass_that_tells_the_truth_is_written_and_given_back():
    out = np.zeros((1, 6, 6, 2), np.float32).view(type("Plain", (np.ndarray,), {}))
    assert nn.conv2d(X, W, 1, "SAME", out=out) is out
    np.testing.assert_array_equal(np.asarray(out), nn.conv2d(X, W, 1, "SAME"))


class Shrinking:
    """An object that is a larger array each time but the first."""

    def __init__(self, *sizes):
        self.sizes = list(sizes)

    def __array__(self, dtype=None, copy=None):
        return np.ones(self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0], np.float32)


@pytest.mark.parametrize("sizes", [(2, 1), (1 << 20, 2), (2, 1 << 20)])
def test_a_bias_is_read_once(sizes):
    bias = Shrinking(*sizes)
    if sizes[0] == 2:
        np.testing.assert_array_equal(nn.conv2d(X, W, 1, "SAME", bias=bias), nn.conv2d(X, W, 1, "SAME") + 1)
    else:
        with pytest.raises(ValueError, match=r"bias: should have shape \(2,\), .* but has \(1048576,\)"):
            nn.conv2d(X, W, 1, "SAME", bias=bias)


@pytest.mark.parametrize("change", ["dtype", "shape", "memory"])
@pytest.mark.parametrize("function", ["conv2d", "conv2d_backprop_filter"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_array_that_changes_during_the_call_is_refused(function, change):
    class Stride:
        def __index__(self):
            if change == "dtype":
                x.dtype = np.float16
            elif change == "shape":
                x.shape = (1, 1, 1, x.size)
            else:
                x.resize((1, 1, 1, 1), refcheck=False)
            return 1

    x, dy = np.ones((1, 64, 64, 8), np.float32), np.ones((1, 64, 64, 8), np.float32)
    call = {
        "conv2d": lambda: nn.conv2d(x, np.ones((3, 3, 8, 8), np.float32), [Stride(), 1], "SAME"),
        "conv2d_backprop_filter": lambda: nn.conv2d_backprop_filter(x, (3, 3, 8, 8), dy, [Stride(), 1], "SAME"),
    }[function]
    with pytest.raises(ValueError, match="an array changed|does not fit|depth|larger than|out_backprop"):
        call()


def test_equal_objects_that_are_no_integers_are_refused_after_those_that_are():
    nn.conv2d(X, W, 1, "SAME")
    nn.conv2d(X, W, [1, 1], "SAME")
    for strides in (fractions.Fraction(1), [fractions.Fraction(1), 1], (1, fractions.Fraction(1))):
        with pytest.raises(TypeError, match=r"strides: expected an integer, got Fraction\(1, 1\)"):
            nn.conv2d(X, W, strides, "SAME")


def misaligned(array):
    """The same elements, one byte behind an aligned address."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    found = memory[1:].view(array.dtype).reshape(array.shape)
    found[...] = array
    assert not found.flags.aligned
    return found


def test_misaligned_arrays_are_read_as_others():
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((1, 4, 4, 3)).astype(np.float32) for _ in range(2))
    bias = rng.standard_normal(3).astype(np.float32)
    y = nn.local_response_normalization(x)
    for call in (
        lambda f: nn.relu_grad(f(dy), f(x)),
        lambda f: nn.relu(f(x)),
        lambda f: nn.gelu(f(x)),
        lambda f: nn.max_pool2d_grad(f(x), f(nn.max_pool2d(x, 2, 2, "SAME")), f(dy[:, :2, :2]), 2, 2, "SAME"),
        lambda f: nn.avg_pool2d_grad((1, 4, 4, 3), f(dy[:, :2, :2]), 2, 2, "SAME"),
        lambda f: nn.local_response_normalization(f(x)),
        lambda f: nn.local_response_normalization_grad(f(dy), f(x), f(y)),
        lambda f: nn.bias_add(f(x), f(bias)),
        lambda f: nn.conv2d(f(x), f(np.ones((3, 3, 3, 3), np.float32)), 1, "SAME", bias=f(bias)),
    ):
        np.testing.assert_array_equal(call(misaligned), call(np.ascontiguousarray))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: nn.max_pool2d(x, 2, 2, "SAME"),
        lambda x: nn.avg_pool2d(x, 2, 2, "SAME"),
        nn.relu,
        nn.elu,
        nn.gelu,
        nn.leaky_relu,
        nn.softmax,
        nn.local_response_normalization,
        lambda x: nn.bias_add(x, np.ones(3)),
        nn.bias_add_grad,
        lambda x: nn.relu_grad(x, x),
        lambda x: nn.batch_normalization(x, 0.0, 1.0, None, None, 1e-3),
    ],
)
def test_results_have_native_byte_order(call):
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 3)).astype(np.float32)
    got = call(x.astype(">f4"))
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, call(x))


class WithDlpackAlone:
    def __dlpack__(self, **keywords):
        raise AssertionError

    def __dlpack_device__(self):
        return 1, 0


class Lazy:
    """What dask's arrays are like."""

    shape = (1, 6, 6, 1)

    def __dask_graph__(self):
        return {}

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("computed whole")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "input: expected an array, got None"),
        ("photo.jpg", "input: expected an array, got 'photo.jpg'; read the file first"),
        (b"bytes", "input: expected an array, got b'bytes'"),
        (np.ma.masked_array(X, X > 3), "input: a masked array would lose its mask; fill it first"),
        (Lazy(), "input: .*Lazy would be computed whole; call compute"),
        (WithDlpackAlone(), "input: WithDlpackAlone has __dlpack__ alone; pass numpy.from_dlpack"),
        (object(), "input: expected an array of numbers, got <object"),
        (np.array(["a"]), "input: expected an array of numbers, got dtype str"),
    ],
)
@pytest.mark.parametrize("function", [lambda v: nn.conv2d(v, W, 1, "SAME"), lambda v: nn.max_pool2d(v, 2, 2, "SAME")])
def test_what_is_no_array_is_told_with_what_to_do(function, value, words):
    with pytest.raises(TypeError, match=words):
        function(value)


def test_tensors_that_torch_does_not_hand_out_are_named(monkeypatch):
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    Tensor.__module__ = "torch"
    with pytest.raises(TypeError, match="filters: this Tensor cannot be made an array: Can't call numpy"):
        nn.conv2d(X, Tensor(), 1, "SAME")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.leaky_relu(X, alpha=10**400), ValueError, r"alpha: 10{79}\.\.\. \(int\) is out of range"),
        (lambda: nn.leaky_relu(X, alpha="0.2"), TypeError, "alpha: expected a number, got '0.2'"),
        (lambda: nn.leaky_relu_grad(X, X, alpha=[1]), TypeError, r"alpha: expected a number, got \[1\]"),
        (lambda: nn.silu(X, 1j), TypeError, "beta: expected a number, got 1j"),
        (
            lambda: nn.batch_normalization(X, 0, 1, 0, 1, None),
            TypeError,
            "variance_epsilon: expected a number, got None",
        ),
        (lambda: nn.batch_normalization(X, 0, 1, 0, 1, 10**400), ValueError, "variance_epsilon: 1000"),
        (lambda: nn.local_response_normalization(X, None), TypeError, "depth_radius: expected an integer, got None"),
        (lambda: nn.local_response_normalization(X, math.inf), ValueError, "depth_radius: inf is not an integer"),
        (lambda: nn.local_response_normalization(X, 2, None), TypeError, "bias: expected a number, got None"),
        (lambda: nn.local_response_normalization(X, 2, 1, "a"), TypeError, "alpha: expected a number, got 'a'"),
        (lambda: nn.leaky_relu(X.astype(ml_dtypes.bfloat16), np.datetime64(1, "s")), TypeError, "alpha: expected"),
        (lambda: nn.conv2d(X, W, 1, []), ValueError, "padding: "),
        (lambda: fastconv.prepare(2**64), (ValueError, TypeError), "filters: "),
        (lambda: fastconv.prepare("abc"), TypeError, "filters: expected an array, got 'abc'"),
        (lambda: nn.relu(np.ones(3, complex)), TypeError, "features: dtype complex128"),
        (lambda: filters.bank("edge"), TypeError, "names: "),
    ],
)
def test_scalars_and_names_are_checked_at_one_door(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_bias_of_one_row_is_taken():
    want = nn.conv2d(X, W, 1, "SAME", bias=[1.0, 2.0])
    for shape in ((1, 1, 1, 2), (1, 2), (2, 1, 1)):
        np.testing.assert_array_equal(nn.conv2d(X, W, 1, "SAME", bias=np.array([1, 2.0]).reshape(shape)), want)


@pytest.mark.parametrize("shapes", [((2, 2, 32, 32), (4, 1, 32, 32)), ((4, 4, 8, 16), (2, 8, 8, 16))])
def test_prepared_filters_in_another_shape_are_other_filters(shapes):
    rng = np.random.default_rng(0)
    w = rng.standard_normal(shapes[0]).astype(np.float32)
    x = rng.standard_normal((1, 9, 9, w.shape[2])).astype(np.float32)
    prepared = fastconv.prepare(w)
    for dilations in (3, 1, 2):
        for shape in (*shapes, shapes[0]):
            y = nn.conv2d(x, prepared.reshape(shape), 1, "SAME", dilations=dilations)
            np.testing.assert_array_equal(y, nn.conv2d(x, w.reshape(shape), 1, "SAME", dilations=dilations))
            dx = nn.conv2d_backprop_input(x.shape, prepared.reshape(shape), y, 1, "SAME", dilations=dilations)
            want = nn.conv2d_backprop_input(x.shape, w.reshape(shape), y, 1, "SAME", dilations=dilations)
            np.testing.assert_array_equal(dx, want)


@pytest.mark.parametrize(
    "name",
    ["softmax", "silu", "leaky_relu", "elu", "gelu", "batch_normalization"]
    + ["relu_grad", "silu_grad", "gelu_grad", "batch_normalization_grad"],
)
def test_harmless_underflow_and_overflow_raise_nothing(name):
    x = np.array([[0, -200, 200, -1e-38, 1e-30, -30, 3e38, -3e38]], np.float32)
    with np.errstate(all="raise"):
        for dtype in (np.float16, np.float32, np.float64):
            with np.errstate(all="ignore"):
                value = x.astype(dtype)
            if name == "batch_normalization":
                nn.batch_normalization(value, 0.0, 1e-30, None, 1e-30, 0.0)
            elif name == "batch_normalization_grad":
                nn.batch_normalization_grad(value, value, 0.0, 1e-30, None, 1e-30, 0.0)
            elif name.endswith("_grad"):
                getattr(nn, name)(value, value)
            else:
                getattr(nn, name)(value)
    assert sys.float_info.max > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.conv2d(X[0], W, 1, "SAME"), r"input: must be 4-dimensional.*; one image .* is image\[None\]"),
        (
            lambda: nn.conv2d(np.ones((1, 3, 8, 8), "f"), np.ones((3, 3, 3, 4), "f"), 1, "SAME"),
            "; the shapes fit data_format='NCHW'",
        ),
        (
            lambda: nn.conv2d(np.ones((1, 8, 8, 3), "f"), np.ones((4, 3, 5, 5), "f"), 1, "SAME"),
            r"; filters are \(KH, KW, C, F\), and these look like \(F, C, KH, KW\): transpose\(2, 3, 1, 0\)",
        ),
        (
            lambda: nn.conv2d(np.ones((1, 3, 8, 8), "f"), np.ones((4, 3, 5, 5), "f"), 1, "SAME"),
            r"; the shapes fit data_format='NCHW' and filters of \(F, C, KH, KW\)",
        ),
        (lambda: nn.conv2d(X, W, 1, "same"), "padding: 'same' is not .*; did you mean 'SAME'"),
        (lambda: nn.conv2d_backprop_filter(X, (3, 3, 1, 2**62), X, 1, "SAME"), "filters: their shape, .* is too large"),
        (lambda: filters.apply(X, np.ones((3, 3))), r"image: should have shape \(H, W\) or \(H, W, C\), but has"),
        (lambda: filters.apply(X[0], np.ones((2, 3))), r"kernel: should have shape \(KH, KW\), both odd"),
        (lambda: filters.apply(X[0], np.ones((3, 3)), border="wrap"), "border: 'wrap' is not one of 'reflect'"),
    ],
)
def test_messages_end_with_the_likely_cause(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_array_where_its_shape_belongs_is_not_printed_whole():
    with pytest.raises(TypeError, match="did you mean its shape") as caught:
        nn.conv2d_backprop_input(np.ones((1, 99, 99, 4), np.float32), W, X, 1, "SAME")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3), (1, 1), (2, 9, 1)])
@pytest.mark.parametrize("border", filters.BORDERS)
def test_pictures_are_filtered_as_scipy_does(shape, border):
    ndimage = pytest.importorskip("scipy.ndimage")
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    mode = {"reflect": "mirror", "edge": "nearest", "zero": "constant"}[border]
    if min(shape[:2]) < 3 and border == "reflect":
        mode = "nearest"
    for name in ("sharpen", "sobel-x", "gaussian-5x5")[: 2 if min(shape[:2]) < 3 else 3]:
        kernel = filters.kernel(name)
        got = filters.apply(picture, kernel, border=border)
        assert got.dtype == np.float32 and got.shape == picture.shape
        weights = kernel if len(shape) == 2 else kernel[..., None]
        if min(shape[:2]) == 2 and border == "reflect":
            continue
        want = ndimage.correlate(picture.astype(float), weights, mode=mode)
        np.testing.assert_allclose(got, want, atol=1e-3)


@pytest.mark.parametrize(
    "call",
    [
        lambda far, w: nn.conv2d(np.ones((1, 8, 8, 3), np.float32), far, 1, "SAME"),
        lambda far, w: nn.conv2d(far, w, 1, "SAME"),
        lambda far, w: nn.conv2d_backprop_input((1, 8, 8, 3), w, far, 1, "SAME"),
        lambda far, w: nn.conv2d_transpose(np.ones((1, 8, 8, 3), np.float32), far, (1, 8, 8, 3), 1),
        lambda far, w: nn.conv2d_backprop_filter(np.ones((1, 8, 8, 3), np.float32), w.shape, far, 1, "SAME"),
        lambda far, w: nn.depthwise_conv2d(np.ones((1, 8, 8, 3), np.float32), far, 1, "SAME"),
    ],
)
def test_shapes_are_compared_before_anything_is_cast_or_copied(call):
    """An array of 2 TB, as broadcasting makes it, could not be."""
    w = np.ones((3, 3, 3, 4), np.float32)
    far = np.broadcast_to(np.float64(1), (1 << 10, 1 << 10, 1 << 9, 1 << 9))
    with pytest.raises(ValueError, match=r"\(1024, 1024, 512, 512\)"):
        call(far, w)
