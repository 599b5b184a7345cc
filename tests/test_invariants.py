"""What no peer promises: the bits of a result depend on the values in its windows, and on nothing else."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from problems import DTYPES, SUPPORTED, cases, inputs, run_python

from fastconv import nn, options
from fastconv._cpu import _core
from fastconv._cpu.implementations import choose
from fastconv._problem import ConvProblem

LAYERS = [
    "n4h14w14c3_k7x7f40_s2x2_d1x1_p2,3,2,3_g1",
    "n3h28w28c64_k3x3f70_s1x1_d1x1_p1,1,1,1_g1",
    "n2h7w7c512_k3x3f64_s1x1_d1x1_p1,1,1,1_g1",
    "n3h7w7c1024_k1x1f200_s1x1_d1x1_p0,0,0,0_g1",
    "n2h20w20c32_k3x3f40_s1x1_d6x6_p6,6,6,6_g1",
    "n2h30w30c24_k3x3f24_s2x2_d1x1_p0,1,0,1_g24",
    "n3h100w300c1_k5x5f4_s1x1_d1x1_p2,2,2,2_g1",
    "n3h21w33c150_k3x3f150_s1x1_d1x1_p1,1,1,1_g150",
    "n3h40w50c32_k3x3f3_s1x1_d1x1_p1,1,1,1_g1",
    "n3h15w18c37_k3x3f50_s1x1_d1x1_p0,2,3,1_g1",
    "n3h21w14c130_k3x3f70_s1x1_d1x1_p1,1,1,1_g1",
    "n3h12w14c20_k3x3f24_s2x1_d5x7_p5,5,7,7_g2",
    "n3h21w14c28_k3x3f28_s1x1_d1x1_p1,1,1,1_g7",
    "n3h13w14c60_k3x3f60_s1x1_d1x1_p1,1,1,1_g3",
    "n3h24w17c90_k3x3f130_s2x2_d1x1_p1,1,0,1_g1",
    "n3h9w14c40_k7x9f40_s1x1_d1x1_p3,3,4,4_g40",
    "n3h15w15c60_k5x5f80_s1x1_d1x1_p2,2,2,2_g1",
    "n3h12w18c220_k1x7f220_s1x1_d1x1_p0,0,3,3_g1",
    "n3h20w16c180_k3x1f180_s1x1_d1x1_p1,1,0,0_g1",
]


def test_layers_in_sub_kernels_are_winograds():
    for token in LAYERS[-3:]:
        with options() as chosen:
            assert choose("forward", ConvProblem.parse(token), np.dtype(np.float32), chosen)[0].name == "winograd"


def bits(array: np.ndarray) -> bytes:
    """The bytes, but every NaN the same: signs and payloads of NaN are excepted from the promise."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind != "i":
        array = np.where(np.isnan(array.astype(np.float64)), array.dtype.type(np.nan), array)
    return array.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", LAYERS)
def test_same_bits_for_any_number_of_threads(isa, token, dtype):
    case = inputs(ConvProblem.parse(token), dtype)
    with options(num_threads=1):
        expected = bits(nn.conv2d(*case))
    for threads in (2, 3, 5, 16):
        with options(num_threads=threads):
            assert bits(nn.conv2d(*case)) == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", LAYERS)
def test_same_bits_for_any_batch_split(isa, token, dtype):
    case = inputs(ConvProblem.parse(token), dtype)
    whole = nn.conv2d(*case)
    for i in range(len(case.input)):
        for j in range(i + 1, len(case.input) + 1):
            assert bits(whole[i:j]) == bits(nn.conv2d(case.input[i:j], *case[1:]))


def results_of_each_set(case):
    before = _core.instruction_set()
    try:
        for name in SUPPORTED:
            _core.use_instruction_set(name)
            yield name, bits(nn.conv2d(*case))
    finally:
        _core.use_instruction_set(before)


@pytest.mark.skipif(not _core.build()["fused_multiply_add"], reason="this CPU has no fused multiply-add")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", LAYERS)
def test_same_bits_on_every_instruction_set(token, dtype):
    results = dict(results_of_each_set(inputs(ConvProblem.parse(token), dtype)))
    assert len(results) > 1
    assert len(set(results.values())) == 1, results.keys()


@pytest.mark.skipif(not _core.build()["fused_multiply_add"], reason="this CPU has no fused multiply-add")
@given(case=cases())
@settings(max_examples=60)
def test_same_bits_on_every_instruction_set_for_any_problem(case):
    assert len(set(dict(results_of_each_set(case)).values())) == 1


def layouts_of(x: np.ndarray):
    """The same values in every memory layout that NumPy has."""
    yield "fortran", np.asfortranarray(x)
    big = np.zeros(tuple(2 * size + 1 for size in x.shape), x.dtype)
    strided = big[1::2, :-1:2, 1::2, 1::2]
    strided[...] = x
    yield "strided", strided
    reverse = np.ascontiguousarray(x[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1]
    yield "negative strides", reverse
    memory = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = memory[1:].view(x.dtype).reshape(x.shape)
    misaligned[...] = x
    yield "misaligned", misaligned
    if x.dtype.isbuiltin == 1:
        yield "byte-swapped", x.astype(x.dtype.newbyteorder("S"))
    frozen = x.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    padded = np.zeros((*x.shape[:3], x.shape[3] + 3), x.dtype)
    padded[..., 1:-2] = x
    yield "channels cut out", padded[..., 1:-2]
    yield "channels first in memory", np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    yield "subclass", x.view(type("Sub", (np.ndarray,), {}))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("token", [LAYERS[0], LAYERS[1], LAYERS[3], *LAYERS[6:]])
def test_same_bits_for_any_memory_layout(isa, token, dtype):
    case = inputs(ConvProblem.parse(token), dtype)
    expected = bits(nn.conv2d(*case))
    for name, x in layouts_of(case.input):
        before = x.tobytes()
        assert bits(nn.conv2d(x, *case[1:])) == expected, name
        assert x.tobytes() == before
    for name, w in layouts_of(case.filters):
        assert bits(nn.conv2d(case.input, w, *case[2:])) == expected, name
    first = case.input.transpose(0, 3, 1, 2)
    pads = [case.padding[0], case.padding[3], *case.padding[1:3]]
    for x in (first, np.ascontiguousarray(first), np.asfortranarray(first)):
        y = nn.conv2d(x, case.filters, case.strides, pads, "NCHW", case.dilations)
        assert y.flags.c_contiguous
        assert bits(y.transpose(0, 2, 3, 1)) == expected


def test_broadcast_arrays_are_read_in_place():
    x = np.broadcast_to(np.float32(2), (2, 50, 60, 3))
    w = np.broadcast_to(np.float32(3), (3, 3, 3, 8))
    assert (nn.conv2d(x, w, 1, "VALID") == 2 * 3 * 27).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("token", [LAYERS[0], LAYERS[1], LAYERS[4], LAYERS[6], *LAYERS[9:]])
def test_bad_numbers_stay_within_their_windows(isa, token, dtype, bad):
    problem = ConvProblem.parse(token)
    case = inputs(problem, dtype)
    clean = nn.conv2d(*case)
    x = case.input.copy()
    x[1, problem.h // 2, problem.w // 3, 0] = bad
    y = nn.conv2d(x, *case[1:])
    mark = np.zeros((problem.n, problem.h, problem.w, 1), np.float64)
    mark[1, problem.h // 2, problem.w // 3, 0] = 1
    ones = np.ones((problem.kh, problem.kw, 1, 1))
    touched = nn.conv2d(mark, ones, case.strides, case.padding, dilations=case.dilations)[..., 0] > 0
    touched = touched[..., None] & (np.arange(problem.f) < problem.f // problem.groups)
    assert touched.any()
    finite = np.isfinite(y.astype(np.float64))
    assert not finite[touched].any()
    assert finite[~touched].all()
    # Winograd replaces what shares a tile with it by direct sums: 3 outputs around, at most.
    with options(precision="strict"):
        direct = nn.conv2d(*case._replace(input=x))
    same = (y == clean) | (y == direct)
    assert same[~touched].all()
    assert (y[touched] == direct[touched])[~np.isnan(direct[touched])].all()
    nearby = nn.conv2d(mark, np.ones((problem.kh + 6, problem.kw + 6, 1, 1)), 1, "SAME") > 0
    if y.shape[1:3] == nearby.shape[1:3]:
        far = ~(touched | nearby)
        assert bits(y[far]) == bits(clean[far])


def test_an_outlier_does_not_reach_its_neighbors(isa):
    """A raster with a nodata value of -3.4e38 and NaN among ordinary pixels."""
    rng = np.random.default_rng(0)
    x, w = (
        rng.standard_normal((1, 40, 40, 32)).astype(np.float32),
        rng.standard_normal((3, 3, 32, 32)).astype(np.float32),
    )
    clean = nn.conv2d(x, w, 1, "SAME")
    x[0, 10, 10], x[0, 30, 20] = -3.4e38, np.nan
    y = nn.conv2d(x, w, 1, "SAME")
    far = np.ones((40, 40), bool)
    far[9:12, 9:12] = far[29:32, 19:22] = False
    assert bits(y[0, far]) == bits(clean[0, far])


FLOAT_MODE = """
import ctypes
import numpy as np, fastconv
libm = ctypes.CDLL(None)
upward, inexact = 0x800, 0x20
tiny, ones = np.full((1, 8, 8, 4), 1e-40, np.float32), np.ones((3, 3, 4, 8), np.float32)
x, w = np.full((4, 64, 64, 32), 0.1, np.float32), np.full((3, 3, 32, 32), 0.1, np.float32)
near = [fastconv.nn.conv2d(x, w, 1, "SAME"), fastconv.nn.conv2d(tiny, ones, 1, "SAME")]
y, z = np.full_like(near[0], 7), np.full_like(near[1], 7)
for threads in (1, 3):
    fastconv.set_num_threads(threads)
    fastconv.nn.conv2d(x, w, 1, "SAME")
    libm.fesetround(upward)
    libm.feclearexcept(0x3f)
    fastconv.nn.conv2d(x, w, 1, "SAME", out=y)
    fastconv.nn.conv2d(tiny, ones, 1, "SAME", out=z)
    print(libm.fegetround() == upward, libm.fetestexcept(inexact) == 0)
    libm.fesetround(0)
    print(y.tobytes() == near[0].tobytes(), not z.any(), (tiny + tiny).any())
"""


@pytest.mark.skipif(_core.instruction_set() == "neon", reason="the numbers of the C library's modes are x86's")
def test_denormals_are_flushed_and_the_callers_mode_given_back():
    """In a process of its own, which rounds up and watches the flag that every rounding raises."""
    done = run_python(FLOAT_MODE)
    assert done.stdout.split() == ["True"] * 10, done.stdout + done.stderr


FLOAT_MODE_OF_OTHERS = """
import ctypes
import numpy as np, fastconv
from fastconv import nn
libm = ctypes.CDLL(None)
x, w = np.full((2, 20, 20, 130), 0.1, np.float32), np.full((3, 3, 130, 40), 0.1, np.float32)
d = w[:, :, :, :2].copy()
dy = nn.conv2d(x, w, 1, "SAME")
calls = [
    lambda x, g: nn.conv2d(x, w, 1, "SAME"),
    lambda x, g: nn.conv2d_backprop_input(x.shape, w, g, 1, "SAME"),
    lambda x, g: nn.conv2d_backprop_filter(x, w.shape, dy, 1, "SAME"),
    lambda x, g: nn.depthwise_conv2d(x, d, 1, "SAME"),
    lambda x, g: nn.avg_pool2d(x, 3, 1, "SAME"),
    lambda x, g: nn.local_response_normalization(x),
]
for call in calls:
    near = call(x, dy)
    for threads in (1, 3):
        fastconv.set_num_threads(threads)
        call(x, dy)
        libm.fesetround(0x800)
        result = call(x, dy)
        mode = libm.fegetround()
        libm.fesetround(0)
        print(mode == 0x800, result.tobytes() == near.tobytes())
    print(not call(np.full_like(x, 1e-41), np.full_like(dy, 1e-41)).any())
"""


@pytest.mark.skipif(_core.instruction_set() == "neon", reason="the numbers of the C library's modes are x86's")
def test_every_kernel_flushes_denormals_and_gives_the_callers_mode_back():
    done = run_python(FLOAT_MODE_OF_OTHERS)
    assert done.stdout.split() == ["True"] * 30, done.stdout + done.stderr


def test_inputs_are_not_retained():
    case = inputs(ConvProblem.parse(LAYERS[1]))
    x, w = case.input, case.filters
    before = sys.getrefcount(x), sys.getrefcount(w)
    nn.conv2d(*case)
    assert (sys.getrefcount(x), sys.getrefcount(w)) == before
