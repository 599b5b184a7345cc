"""What TensorFlow refuses or gets wrong in the relatives of conv2d, their errors, and their outputs."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import DTYPES, SUPPORTED, random_array
from test_invariants import bits

from fastconv import nn, options
from fastconv._cpu import _core, pools

RNG = np.random.default_rng(0)


def draw(*shape: int, dtype: str = "float32") -> np.ndarray:
    return random_array(RNG, shape, dtype)


def channels_first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_depthwise_is_a_grouped_convolution(isa, dtype):
    """With unequal strides, with stride and dilation, in NCHW and for every dtype."""
    x, w = draw(2, 11, 12, 20, dtype=dtype), draw(3, 2, 20, 3, dtype=dtype)
    for strides, dilations in (((1, 2), 1), (2, 3), ((3, 1), (1, 2))):
        want = nn.conv2d(x, w.reshape(3, 2, 1, 60), strides, "SAME", dilations=dilations)
        got = nn.depthwise_conv2d(x, w, strides, "SAME", dilations=dilations)
        assert bits(got) == bits(want)
        first = nn.depthwise_conv2d(channels_first(x), w, strides, "SAME", "NCHW", dilations)
        assert bits(first.transpose(0, 2, 3, 1)) == bits(want)
        dy = draw(*want.shape, dtype=dtype)
        dx = nn.depthwise_conv2d_backprop_input(x.shape, w, dy, strides, "SAME", dilations=dilations)
        want = nn.conv2d_backprop_input(x.shape, w.reshape(3, 2, 1, 60), dy, strides, "SAME", dilations=dilations)
        assert bits(dx) == bits(want)
        dw = nn.depthwise_conv2d_backprop_filter(x, w.shape, dy, strides, "SAME", dilations=dilations)
        want = nn.conv2d_backprop_filter(x, (3, 2, 1, 60), dy, strides, "SAME", dilations=dilations)
        assert dw.shape == w.shape
        assert bits(dw) == bits(want)


def test_depthwise_gradients_honour_dilations():
    """Adjointness, in float64; TensorFlow ignores dilations here."""
    x, w = draw(2, 9, 9, 4, dtype="float64"), draw(3, 3, 4, 2, dtype="float64")
    y = nn.depthwise_conv2d(x, w, 1, "SAME", dilations=2)
    dy = draw(*y.shape, dtype="float64")
    dx = nn.depthwise_conv2d_backprop_input(x.shape, w, dy, 1, "SAME", dilations=2)
    dw = nn.depthwise_conv2d_backprop_filter(x, w.shape, dy, 1, "SAME", dilations=2)
    assert np.isclose(np.vdot(x, dx), np.vdot(y, dy))
    assert np.isclose(np.vdot(w, dw), np.vdot(y, dy))


def test_transposes_refuse_shapes_that_the_forward_pass_would_not_give():
    x, w = draw(1, 4, 4, 3), draw(3, 3, 5, 3)
    for height in (6, 7, 8, 9):
        accepted = 3 * 2 < height <= 4 * 2
        try:
            assert nn.conv2d_transpose(x, w, (height, 8), 2).shape == (1, height, 8, 5)
            assert accepted
        except ValueError as error:
            assert not accepted
            assert str(error).startswith(
                f"output_shape: (1, {height}, 8, 5) does not go with input of shape (1, 4, 4, 3)"
            )


def test_row_convolutions_take_lists_layouts_and_out():
    assert nn.conv1d([[[1.0], [2.0], [4.0]]], [[[1.0]], [[1.0]]], 1, "VALID").ravel().tolist() == [3, 6]
    x, w = draw(2, 3, 20, 6), draw(5, 6, 7)
    want = nn.conv1d(x, w, 2, "SAME", dilations=1)
    assert want.shape == (2, 3, 10, 7)
    first = nn.conv1d(x.transpose(0, 1, 3, 2), w, [1, 1, 2], [[0, 0], [0, 0], [1, 2]], "NCW")
    np.testing.assert_array_equal(first.transpose(0, 1, 3, 2), want)
    out = np.empty_like(want)
    assert nn.conv1d(x, w, 2, "SAME", out=out) is out
    assert bits(out) == bits(want)
    up = nn.conv1d_transpose(x[0], w.transpose(0, 2, 1), (3, 40, 7), 2)
    out = np.empty_like(up)
    assert nn.conv1d_transpose(x[0], w.transpose(0, 2, 1), (3, 40, 7), 2, out=out) is out
    assert bits(out) == bits(up)


X4 = np.ones((1, 5, 5, 4), np.float32)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: nn.depthwise_conv2d(X4, np.ones((3, 3, 2, 1)), 1, "SAME"), ValueError, "filter: its depth, 2, must"),
        (lambda: nn.depthwise_conv2d(X4[0], np.ones((3, 3, 4, 1)), 1, "SAME"), ValueError, "input: must be 4-dim"),
        (lambda: nn.depthwise_conv2d(X4, np.ones((3, 3, 4)), 1, "SAME"), ValueError, "filter: must be 4-dimensional"),
        (lambda: nn.separable_conv2d(X4, X4, np.ones((3, 3, 4, 1)), 1, "SAME"), ValueError, "pointwise_filter: must"),
        (lambda: nn.atrous_conv2d(X4, X4, 0, "SAME"), ValueError, "rate: 0 must be positive"),
        (lambda: nn.atrous_conv2d(X4, X4, [1, 1, 1, 1], "SAME"), ValueError, "rate: should be an integer or a pair"),
        (lambda: nn.convolution(X4, np.ones((1, 1, 1, 4, 1))), NotImplementedError, "filters: 3-D convolution"),
        (lambda: nn.conv1d(X4[0, 0], np.ones((1, 4, 1)), 1, "SAME"), ValueError, "input: must be 3-dimensional"),
        (lambda: nn.conv1d(X4, np.ones((1, 4, 1)), [1, 1], "SAME"), ValueError, "stride: should be of length 1 or 3"),
        (lambda: nn.conv1d(X4, np.ones((1, 4, 1)), 1, "SAME", "NHWC"), ValueError, "data_format: 'NHWC' is not one"),
        (lambda: nn.conv1d(X4, np.ones((1, 4, 1)), 1, [[0, 0]] * 4), ValueError, "padding: "),
        (lambda: nn.max_pool2d(X4[0], 2, 2, "SAME"), ValueError, "input: must be 4-dimensional"),
        (lambda: nn.max_pool2d(X4, 0, 2, "SAME"), ValueError, "ksize: [0]: entries should be larger than 0"),
        (lambda: nn.max_pool2d(X4, 2, 0, "SAME"), ValueError, "strides: [0]: entries should be larger than 0"),
        (lambda: nn.max_pool2d(X4, [2, 1, 1, 1], 1, "SAME"), NotImplementedError, "ksize: [2, 1, 1, 1] has an entry"),
        (lambda: nn.max_pool2d(X4, [1, 2, 2, 2], [1, 1, 1, 2], "SAME"), NotImplementedError, "ksize: pooling over 2"),
        (lambda: nn.avg_pool2d(X4, [1, 1, 1, 2], [1, 1, 1, 2], "SAME"), NotImplementedError, "ksize: pooling over 2"),
        (lambda: nn.max_pool2d(X4, 9, 1, "VALID"), ValueError, "ksize: computed output size would be negative"),
        (lambda: nn.max_pool2d(X4, 2, 1, [[0, 0], [2, 0], [0, 0], [0, 0]]), ValueError, "padding: "),
        (lambda: nn.avg_pool2d(X4, 2, 1, [[0, 0]] * 4), TypeError, "padding: expected 'SAME' or 'VALID'"),
        (lambda: nn.avg_pool2d(X4.astype(int), 2, 1, "SAME"), TypeError, "input: dtype int64 is not a floating one"),
        (lambda: nn.max_pool2d(X4.astype("c8"), 2, 1, "SAME"), TypeError, "input: dtype complex64 is not a number"),
        (lambda: nn.max_pool2d_grad(X4, X4, X4, 2, 2, "SAME"), ValueError, "orig_output: has shape (1, 5, 5, 4)"),
        (lambda: nn.avg_pool2d_grad((1, 5, 5, 4), X4, 2, 2, "SAME"), ValueError, "grad: has shape (1, 5, 5, 4)"),
        (lambda: nn.bias_add(X4, [1.0]), ValueError, "bias: must have shape (4,)"),
        (lambda: nn.softmax([1.0], 3), ValueError, "axis: 3 is not an axis"),
        (lambda: nn.gelu([1]), TypeError, "features: dtype int32 is not a floating one"),
        (lambda: nn.relu_grad([1.0], [1.0, 2.0]), ValueError, "features: has shape (2,)"),
        (lambda: nn.local_response_normalization(X4, -1), ValueError, "depth_radius: -1 is negative"),
    ],
)
def test_messages_name_the_argument_and_its_value(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def direct_pool(x: np.ndarray, size: int, stride: int, reduce) -> np.ndarray:
    """A VALID pool with the plainest loops."""
    out = [(length - size) // stride + 1 for length in x.shape[1:3]]
    y = np.empty((x.shape[0], *out, x.shape[3]), x.dtype)
    for i in range(out[0]):
        for j in range(out[1]):
            window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            y[:, i, j] = reduce(window, (1, 2))
    return y


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("size, stride", [(2, 2), (3, 2), (3, 1)])
def test_max_pool_of_any_dtype_and_layout(dtype, size, stride):
    x = (20 * draw(2, 9, 8, 3)).astype(dtype)
    want = direct_pool(x, size, stride, np.max)
    np.testing.assert_array_equal(nn.max_pool2d(x, size, stride, "VALID"), want)
    first = nn.max_pool2d(channels_first(x), size, stride, "VALID", "NCHW")
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), want)
    out = np.empty_like(want)
    assert nn.max_pool2d(x[:, ::-1][:, ::-1], size, stride, "VALID", out=out) is out
    np.testing.assert_array_equal(out, want)


def test_average_pool_keeps_its_dtype():
    for dtype in ("float16", "float32", "float64"):
        x = draw(2, 9, 8, 3, dtype=dtype)
        got = nn.avg_pool2d(x, 3, 2, "VALID")
        assert got.dtype == x.dtype
        want = direct_pool(x.astype(np.float64), 3, 2, np.mean)
        np.testing.assert_allclose(got, want, rtol=1e-2 if dtype == "float16" else 1e-5, atol=1e-3)


def test_max_pool_keeps_bad_numbers():
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, 0], x[0, 2:, 2:] = np.nan, -np.inf
    y = nn.max_pool2d(x, 2, 2, "VALID")[0, :, :, 0]
    assert np.isnan(y[0, 0])
    assert y[1, 1] == -np.inf
    assert y[0, 1] == y[1, 0] == 0
    value, place = nn.max_pool_with_argmax(x, 2, 2, "VALID")
    assert np.isnan(value[0, 0, 0, 0])
    assert place[0, 0, 0, 0] == 0
    assert place[0, 1, 1, 0] == 10


def test_a_window_larger_than_the_image_gives_an_empty_pool():
    assert nn.max_pool2d(X4, 6, 1, "VALID").shape == (1, 0, 0, 4)
    assert nn.avg_pool2d(X4[:0], 2, 2, "SAME").shape == (0, 3, 3, 4)
    assert not nn.avg_pool2d_grad((1, 5, 5, 4), np.ones((1, 0, 0, 4), np.float32), 6, 1, "VALID").any()


def test_huge_windows_and_strides_are_computed():
    huge = 2**31 - 1
    x = draw(1, 5, 6, 2)
    assert bits(nn.max_pool2d(x, huge, huge, "SAME")) == bits(x.max((1, 2), keepdims=True))
    np.testing.assert_allclose(nn.avg_pool2d(x, huge, huge, "SAME"), x.mean((1, 2), keepdims=True), rtol=1e-5)
    assert nn.max_pool2d(x, huge, 1, "SAME").shape == x.shape


def test_pool_gradients_are_those_of_the_pool():
    """Moving one cell by little moves the result by the gradient; no two cells are equal."""
    x = np.random.default_rng(3).permutation(2 * 7 * 6 * 2).reshape(2, 7, 6, 2).astype(np.float64)
    for pool, grad in ((nn.max_pool2d, nn.max_pool2d_grad), (nn.avg_pool2d, nn.avg_pool2d_grad)):
        y = pool(x, 3, 2, "SAME")
        dy = draw(*y.shape, dtype="float64")
        known = (x, y) if pool is nn.max_pool2d else (x.shape,)
        dx = grad(*known, dy, 3, 2, "SAME")
        for index in range(0, x.size, 11):
            step = np.zeros(x.size)
            step[index] = 0.25
            ahead = pool(x + step.reshape(x.shape), 3, 2, "SAME")
            assert np.isclose(np.vdot(ahead - y, dy) / 0.25, dx.flat[index])


numbers = st.one_of(st.integers(-1, 4), st.sampled_from([2**31 - 1, 2**31, 1.5, np.nan]))
lists = st.one_of(numbers, st.lists(numbers, max_size=4), st.none(), st.just("2"))
images = st.builds(
    lambda shape, dtype: np.ones(shape, dtype),
    st.lists(st.integers(0, 5), max_size=5).map(tuple),
    st.sampled_from(["f4", "f8", "f2", "i4", "u1", "?", "O", "c8", ">f4", "U3"]),
)
paddings = st.one_of(st.sampled_from(["SAME", "VALID"]), lists, st.lists(st.tuples(numbers, numbers), max_size=4))


@given(images, lists, lists, paddings, st.sampled_from(["NHWC", "NCHW", None, "x"]))
@settings(max_examples=400)
def test_any_arguments_of_a_pool_give_a_result_or_an_exception(x, ksize, strides, padding, data_format):
    for pool in (nn.max_pool2d, nn.avg_pool2d, nn.max_pool_with_argmax):
        try:
            pool(x, ksize, strides, padding, data_format)
        except (ValueError, TypeError, NotImplementedError, MemoryError) as error:
            assert str(error)


POOLS = [
    ((2, 13, 17, 40), 3, 2, "SAME"),
    ((1, 8, 8, 3), (2, 3), (2, 1), "VALID"),
    ((3, 6, 9, 70), 2, 3, "SAME"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(("shape", "ksize", "strides", "padding"), POOLS)
def test_bits_of_pools_are_the_same_for_any_threads_instruction_set_and_layout(shape, ksize, strides, padding, dtype):
    rng = np.random.default_rng(0)
    x = random_array(rng, shape, dtype)
    dy = random_array(rng, nn.max_pool2d(x, ksize, strides, padding).shape, dtype)

    def results(x, dy, layout):
        geometry = (ksize, strides, padding, layout)
        y = nn.max_pool2d(x, *geometry)
        return [
            y,
            nn.avg_pool2d(x, *geometry),
            nn.max_pool2d_grad(x, y, dy, *geometry),
            nn.avg_pool2d_grad(x.shape, dy, *geometry),
        ]

    want = [array.tobytes() for array in results(x, dy, "NHWC")]
    before = _core.instruction_set()
    try:
        for name in SUPPORTED:
            _core.use_instruction_set(name)
            for threads in (1, 2, 5):
                with options(num_threads=threads):
                    assert [array.tobytes() for array in results(x, dy, "NHWC")] == want
    finally:
        _core.use_instruction_set(before)
    assert [array.tobytes() for array in results(np.asfortranarray(x), dy[:, ::-1][:, ::-1], "NHWC")] == want
    first = results(x.transpose(0, 3, 1, 2), dy.transpose(0, 3, 1, 2), "NCHW")
    assert [array.transpose(0, 2, 3, 1).tobytes() for array in first] == want


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_of_normalization_and_relu_gradients_are_the_same_everywhere(dtype):
    rng = np.random.default_rng(0)
    x, dy = (random_array(rng, (3, 37, 40, 70), dtype) for _ in range(2))

    def results():
        y = nn.local_response_normalization(x, 4, alpha=0.1, beta=0.75)
        return [
            y.tobytes(),
            nn.local_response_normalization_grad(dy, x, y, 4, alpha=0.1, beta=0.75).tobytes(),
            nn.relu_grad(dy, x).tobytes(),
            nn.relu6_grad(dy, x).tobytes(),
        ]

    want = results()
    before = _core.instruction_set()
    try:
        for name in SUPPORTED:
            _core.use_instruction_set(name)
            for threads in (1, 2, 5):
                with options(num_threads=threads):
                    assert results() == want
    finally:
        _core.use_instruction_set(before)


def test_max_pool_keeps_nan_and_minus_infinity_in_their_windows(isa):
    x = np.full((1, 4, 4, 20), -np.inf, np.float32)
    x[0, 0, 1], x[0, 3, 3] = np.nan, 5
    y = nn.max_pool2d(x, 2, 2, "VALID")[0, :, :, 7]
    np.testing.assert_array_equal(y, [[np.nan, -np.inf], [-np.inf, 5]])
    dx = nn.max_pool2d_grad(x, nn.max_pool2d(x, 2, 2, "VALID"), np.ones((1, 2, 2, 20)), 2, 2, "VALID")[0, :, :, 7]
    np.testing.assert_array_equal(dx, [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 2, "SAME"), (2, 2, "VALID"), (2, 5, "SAME"), (2, 5, "VALID"), (7, 1, "SAME")]
)
def test_portions_of_halves_are_pooled_as_the_whole(monkeypatch, dtype, data_format, size, stride, padding):
    rng = np.random.default_rng(0)
    x = random_array(rng, (5, 23, 31, 4) if data_format == "NHWC" else (5, 4, 23, 31), dtype)

    def results():
        y, places = nn.max_pool_with_argmax(x, size, stride, padding, data_format)
        mean = nn.avg_pool2d(x, size, stride, padding, data_format)
        dy = random_array(np.random.default_rng(1), y.shape, dtype)
        dx = nn.max_pool2d_grad(x, y, dy, size, stride, padding, data_format)
        shares = nn.avg_pool2d_grad(x.shape, dy, size, stride, padding, data_format)
        return [
            a.tobytes() for a in (nn.max_pool2d(x, size, stride, padding, data_format), y, places, mean, dx, shares)
        ]

    want = results()
    for most in (1, 300, 1000, 6000):  # elements: a row, some rows, an image, two images
        monkeypatch.setattr(pools, "_CONVERTED", most)
        assert results() == want


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_pools_of_halves_need_little_memory(dtype):
    x = np.zeros((1, 4000, 4000, 1), dtype)
    for call in (lambda: nn.max_pool2d(x, 2, 2, "VALID"), lambda: nn.avg_pool2d_grad(x.shape, x, 3, 1, "SAME")):
        tracemalloc.start()
        result = call()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < result.nbytes + (24 << 20)
