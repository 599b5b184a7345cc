"""What calls with CuPy arrays ask of the device, and what they refuse, beside the stand-in."""

import numpy as np
import pytest
from problems import inputs, output_gradient, run_python

import fastconv
from fastconv import nn, options
from fastconv._problem import ConvProblem

CASE = inputs(ConvProblem.parse("n2h8w8c8_k3x3f8_s1x1_d1x1_p1,1,1,1_g1"))


@pytest.fixture
def operands(cupy):
    """The input and the filters of CASE on the device."""
    return cupy.asarray(CASE.input), cupy.asarray(CASE.filters)


def test_cupy_is_not_imported_for_numpy_arrays():
    code = (
        "import sys, numpy as np; from fastconv import nn;"
        "nn.relu(nn.conv2d(np.ones((1, 4, 4, 1), 'f4'), np.ones((3, 3, 1, 1), 'f4'), 1, 'SAME'));"
        "assert not any('cupy' in name or '_cuda' in name for name in sys.modules), sorted(sys.modules)"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mixed", ["input", "filters", "bias", "out"])
def test_numpy_and_cupy_arrays_do_not_mix(cupy, mixed):
    given = {
        "input": CASE.input,
        "filters": CASE.filters,
        "bias": np.zeros(8, "f4"),
        "out": np.empty((2, 8, 8, 8), "f4"),
    }
    for device_first in (False, True):
        arrays = {
            name: value if (name == mixed) == device_first else cupy.asarray(value) for name, value in given.items()
        }
        with pytest.raises(TypeError, match="expected a (NumPy|CuPy) array"):
            nn.conv2d(**arrays, strides=1, padding="SAME")
    x = cupy.asarray(CASE.input)
    with pytest.raises(TypeError, match="out_backprop: expected a CuPy array, as input is, got a NumPy array"):
        nn.conv2d_backprop_filter(x, CASE.filters.shape, CASE.input, 1, "SAME")
    with pytest.raises(TypeError, match="expected a CuPy array"):
        nn.relu_grad(x, CASE.input)
    with pytest.raises(TypeError, match="expected a NumPy array, as value is, got a CuPy array"):
        nn.bias_add(CASE.input, x[0, 0, 0])


def test_lists_are_moved_to_the_device(cupy):
    x = cupy.asarray(CASE.input[..., :1])
    y = nn.conv2d(x, [[[[2.0]]]], 1, "SAME")
    np.testing.assert_allclose(y.get(), 2 * x.get(), rtol=1e-6)


def test_errors_are_those_of_numpy_arrays(cupy, operands):
    x, w = operands
    with pytest.raises(ValueError, match=r"filters: the input depth, 8, must be evenly divisible"):
        nn.conv2d(x, w[:, :, :3], 1, "SAME")
    with pytest.raises(ValueError, match="strides"):
        nn.conv2d(x, w, 0, "SAME")
    with pytest.raises(ValueError, match="out_backprop: its shape"):
        nn.conv2d_backprop_filter(x, w.shape, x[:, :3], 1, "SAME")
    with pytest.raises(TypeError, match="input: dtype int64"):
        nn.conv2d(x.astype(np.int64), w, 1, "SAME")
    refused = pytest.raises(ValueError, match="implementation: 'winograd' does not compute forward here, but depthwise")
    with refused, options(implementation="winograd"):
        nn.conv2d(x, w, 1, "SAME")
    assert not cupy.launches


def test_out_is_written_and_checked(cupy, operands):
    x, w = operands
    out = cupy.empty((2, 8, 8, 8), np.float32)
    assert nn.conv2d(x, w, 1, "SAME", out=out) is out
    np.testing.assert_array_equal(out.get(), nn.conv2d(x, w, 1, "SAME").get())
    with pytest.raises(ValueError, match="out: has shape"):
        nn.conv2d(x, w, 1, "SAME", out=out[:1])
    with pytest.raises(ValueError, match="out: overlaps an input"):
        nn.conv2d(x, w, 1, "SAME", out=x)
    with pytest.raises(ValueError, match="out: must be C-contiguous"):
        nn.conv2d(x, w, 1, "SAME", out=cupy.empty((2, 8, 8, 16), np.float32)[..., ::2])


def test_arrays_of_two_devices_do_not_mix(cupy, operands):
    x, w = operands
    with cupy.cuda.Device(1):
        far = cupy.empty((2, 8, 8, 8), np.float32)
    with pytest.raises(ValueError, match="arrays are on devices 0 and 1; move them to one"):
        nn.conv2d(x, w, 1, "SAME", out=far)
    with pytest.raises(ValueError, match="out: is on device 1"):
        nn.relu(x, out=far)
    with pytest.raises(ValueError, match="arrays are on devices 1 and 0"):
        nn.conv2d(far, w, 1, "SAME")
    with pytest.raises(ValueError, match="arrays are on devices 1 and 0"):
        nn.max_pool2d_grad(x, x, far, 1, 1, "SAME")
    with pytest.raises(ValueError, match="arrays are on devices 0 and 1"):
        nn.relu_grad(x, far)
    with pytest.raises(ValueError, match="out: is on device 1, but an input is on device 0"):
        nn.max_pool2d_grad(x, x, x, 1, 1, "SAME", out=far)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, y, h, i: nn.conv2d(x, w, 2, "SAME"),
        lambda x, w, y, h, i: nn.conv2d_backprop_input(x.shape, w, y, 1, "SAME"),
        lambda x, w, y, h, i: nn.conv2d_backprop_filter(x, w.shape, y, 1, "SAME"),
        lambda x, w, y, h, i: nn.conv2d(x.transpose(0, 3, 1, 2), w, 1, "SAME", "NCHW"),
        lambda x, w, y, h, i: nn.max_pool2d_grad(x, x, y, 1, 1, "SAME"),
        lambda x, w, y, h, i: nn.max_pool_with_argmax(x, 2, 2, "SAME", include_batch_in_index=True)[1],
        lambda x, w, y, h, i: nn.avg_pool2d(x, 3, 2, "SAME"),
        lambda x, w, y, h, i: nn.avg_pool2d_grad(x.shape, y, 1, 1, "SAME"),
        lambda x, w, y, h, i: nn.bias_add(x, w[0, 0, 0]),
        lambda x, w, y, h, i: nn.relu_grad(y, x),
        lambda x, w, y, h, i: nn.gelu(x),
        lambda x, w, y, h, i: nn.softmax(x),
        lambda x, w, y, h, i: nn.conv2d(h, w, 1, "SAME", bias=h[0, 0, 0]),
        lambda x, w, y, h, i: nn.bias_add(h, h[0, 0, 0]),
        lambda x, w, y, h, i: nn.relu_grad(y, h),
        lambda x, w, y, h, i: nn.leaky_relu(i),
        lambda x, w, y, h, i: nn.conv2d(x, fastconv.prepare(w, dtype=np.float32), 1, "SAME"),
        lambda x, w, y, h, i: nn.separable_conv2d(x, w[..., :1], w[:1, :1], 1, "SAME"),
        lambda x, w, y, h, i: nn.batch_normalization(x, 1.0, 2.0, [0.5] * 8, None, 1e-3),
        lambda x, w, y, h, i: nn.local_response_normalization(x),
    ],
)
def test_calls_run_on_their_arrays_device(cupy, call):
    given = CASE.input, CASE.filters, CASE.input[::-1], CASE.input.astype("f2"), CASE.input.astype("i4")
    with cupy.cuda.Device(1):
        arrays = [cupy.asarray(value) for value in given]
    result = call(*arrays)
    assert result.device.id == 1
    want = call(*given)
    tolerance = 2e-2 if want.itemsize == 2 else 1e-4
    np.testing.assert_allclose(result.get(), want, rtol=tolerance, atol=tolerance)


def test_phases_are_launched_together(cupy, operands):
    x, w = operands
    for stride, launches in ((1, 1), (2, 1), (3, 3)):
        cupy.launches.clear()
        dy = nn.conv2d(x, w, stride, "SAME")
        cupy.launches.clear()
        dx = nn.conv2d_backprop_input(x.shape, w, dy, stride, "SAME")
        assert [launch.entry for launch in cupy.launches] == ["fc_implicit_gemm"] * launches
        want = nn.conv2d_backprop_input(x.shape, CASE.filters, dy.get(), stride, "SAME")
        np.testing.assert_allclose(dx.get(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (lambda x, w, out: nn.conv2d(x, w, 1, "SAME", out=out), (2, 8, 8, 8)),
        (lambda x, w, out: nn.conv2d(x, w, 1, "SAME", "NCHW", out=out), (2, 8, 8, 8)),
        (lambda x, w, out: nn.conv2d(x, w, 1, "SAME", bias=w[0, 0, 0], out=out), (2, 8, 8, 8)),
        (lambda x, w, out: nn.conv2d(x[None, :, ::2], w, 1, "SAME", out=out), (1, 2, 4, 8, 8)),
        (lambda x, w, out: nn.conv2d_backprop_filter(x, w.shape, x, 1, "SAME", out=out), (3, 3, 8, 8)),
        (lambda x, w, out: nn.relu_grad(x.transpose(0, 2, 1, 3), x, out=out), (2, 8, 8, 8)),
        (lambda x, w, out: nn.bias_add(x, w[0, 0, 0], out=out), (2, 8, 8, 8)),
        (lambda x, w, out: nn.max_pool2d_grad(x, x, x, 1, 1, "SAME", out=out), (2, 8, 8, 8)),
        (lambda x, w, out: nn.softmax(x, out=out), (2, 8, 8, 8)),
        (lambda x, w, out: nn.local_response_normalization(x, out=out), (2, 8, 8, 8)),
        (lambda x, w, out: nn.separable_conv2d(x, w[..., :1], w[:1, :1], 1, "SAME", out=out), (2, 8, 8, 8)),
    ],
)
def test_what_captured_calls_allocate_is_kept(cupy, operands, call, shape):
    x, w = (array.astype("f2") for array in operands)
    out = cupy.empty(shape, np.float16)
    call(x, w, out)  # compiles, and plans
    captured = cupy.capture(lambda: call(x, w, out))
    freed = [memory for memory in captured if memory() is None]
    assert not freed, f"{len(freed)} of {len(captured)} arrays that kernels of the graph use"


def test_sizes_that_kernels_cannot_count_are_refused(cupy):
    x, w = cupy.asarray(np.ones((1, 1, 1, 1), "f4")), cupy.asarray(np.ones((2, 1, 1, 1), "f4"))
    pads = [[0, 0], [0, 1 << 30], [0, 0], [0, 0]]
    with pytest.raises(ValueError, match="input: its height with padding and windows, .* is too large for a CUDA"):
        nn.conv2d(x, w, 1, pads, dilations=[1 << 30, 1])
    with pytest.raises(ValueError, match="input: its width with padding and windows"):
        nn.max_pool2d(x, [1, 1 << 30], 1, "SAME")


def test_views_are_read_where_they_lie(cupy, operands):
    w = operands[1]
    large = cupy.asarray(np.random.default_rng(0).standard_normal((2, 10, 20, 8)).astype(np.float32))
    view = large[:, 1:9, ::-2]
    allocated = cupy.allocations()
    got = nn.conv2d(view, w, 1, "SAME")
    assert cupy.allocations() == allocated + 1  # the result
    want = nn.conv2d(cupy.asarray(view.get()), w, 1, "SAME")
    np.testing.assert_array_equal(got.get(), want.get())


@pytest.mark.parametrize("offset", [1, 2])
def test_arrays_may_lie_at_any_element(cupy, operands, offset):
    x, w = operands
    flat = cupy.empty(x.size + offset, np.float32)
    moved = flat[offset:].reshape(x.shape)
    moved[...] = x
    out = cupy.empty(2 * 8 * 8 * 8 + offset, np.float32)[offset:].reshape(2, 8, 8, 8)
    want = nn.conv2d(x, w, 1, "SAME").get()
    np.testing.assert_array_equal(nn.conv2d(moved, w, 1, "SAME", out=out).get(), want)


def test_a_second_call_compiles_and_plans_nothing(cupy, operands, monkeypatch):
    from fastconv._cuda import convolutions, planner

    x, w = operands
    first = nn.conv2d(x, w, 1, "SAME").get()
    monkeypatch.setattr(convolutions, "prepare_launch", None)
    monkeypatch.setattr(planner, "best_tile", None)
    np.testing.assert_array_equal(nn.conv2d(x, w, 1, "SAME").get(), first)
    assert cupy.launches[0] == cupy.launches[1]


def test_structures_have_the_size_of_the_kernels(cupy):
    from fastconv._cuda.convolutions import GATHER
    from fastconv._cuda.pointwise import POINTWISE
    from fastconv._cuda.pools import POOL

    for struct, header in ((GATHER, "gather.cuh"), (POOL, "pool.cu"), (POINTWISE, "pointwise.cu")):
        fields = cupy.struct_fields(header)
        assert [(name, struct[name].itemsize) for name in struct.names if name != "unused"] == fields
        assert struct.itemsize % 8 == 0, "as the kernel's, which may be one of several"


def test_workspaces_of_filter_gradients_are_bounded(cupy):
    from fastconv._cuda.planner import slice_pixels

    for token in (
        "n256h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1",
        "n32h7w7c512_k3x3f512_s1x1_d1x1_p1,1,1,1_g1",
        "n128h256w256c512_k3x3f512_s1x1_d1x1_p1,1,1,1_g1",
    ):
        p = ConvProblem.parse(token)
        slices = -(-p.n * p.oh * p.ow // slice_pixels(p))
        assert slices * p.kh * p.kw * p.c * p.f * 4 <= 64 << 20


def test_nchw_and_batch_dimensions(cupy, operands):
    x, w = operands
    want = nn.conv2d(CASE.input, CASE.filters, 2, "SAME")
    turned = nn.conv2d(x.transpose(0, 3, 1, 2), w, 2, "SAME", "NCHW")
    np.testing.assert_allclose(turned.get().transpose(0, 2, 3, 1), want, rtol=1e-4, atol=1e-4)
    # As many channels as rows and columns: in both layouts the strides are the same.
    square, out = cupy.asarray(CASE.input), cupy.empty((2, 8, 8, 8), np.float32)
    square_want = nn.conv2d(CASE.input, CASE.filters, 1, "SAME", "NCHW")
    for _ in range(2):
        nn.conv2d(square, w, 1, "SAME", "NCHW", out=out)
        np.testing.assert_allclose(out.get(), square_want, rtol=1e-4, atol=1e-4)
    more = nn.conv2d(x.reshape(1, 2, 1, 8, 8, 8), w, 2, "SAME")
    np.testing.assert_allclose(more.get(), want.reshape(1, 2, 1, 4, 4, 8), rtol=1e-4, atol=1e-4)
    dy = output_gradient(CASE._replace(strides=2, padding="SAME"))
    nchw = dy.transpose(0, 3, 1, 2)
    for function, first, second in (
        (nn.conv2d_backprop_input, (2, 8, 8, 8), CASE.filters),
        (nn.conv2d_backprop_filter, CASE.input.transpose(0, 3, 1, 2), CASE.filters.shape),
    ):
        want = function(first, second, nchw, 2, "SAME", data_format="NCHW")
        moved = [cupy.asarray(value) if isinstance(value, np.ndarray) else value for value in (first, second)]
        got = function(*moved, cupy.asarray(nchw), 2, "SAME", data_format="NCHW")
        np.testing.assert_allclose(got.get(), want, rtol=1e-4, atol=1e-4)


def test_sums_of_nothing_are_zero_or_empty(cupy):
    x, w = cupy.empty((0, 5, 5, 8), np.float32), cupy.asarray(np.ones((3, 3, 8, 4), np.float32))
    assert nn.conv2d(x, w, 1, "SAME").shape == (0, 5, 5, 4)
    empty = nn.conv2d_backprop_filter(x, (3, 3, 8, 4), cupy.empty((0, 5, 5, 4), np.float32), 1, "SAME")
    assert (empty.get() == 0).all()
    assert empty.shape == (3, 3, 8, 4)
    pads = [[0, 0], [2, 2], [2, 2], [0, 0]]
    bias = cupy.asarray(np.array([1, -1, 2, 3], np.float32))
    y = nn.conv2d(cupy.empty((1, 0, 1, 8), np.float32), w, 1, pads, bias=bias, activation="relu")
    assert (y.get() == [1, 0, 2, 3]).all()


def test_prepared_filters_stay_on_the_device(cupy, operands):
    x, w = operands
    prepared = fastconv.prepare(w)
    assert isinstance(prepared.array, cupy.ndarray)
    np.testing.assert_array_equal(nn.conv2d(x, prepared, 1, "SAME").get(), nn.conv2d(x, w, 1, "SAME").get())
    with pytest.raises(TypeError, match="expected a NumPy array"):
        nn.conv2d(CASE.input, prepared, 1, "SAME")
