"""The bits of results, one digest a kind, so that none changes unnoticed.

They hold on every CPU with fused multiply-add. Where a change of bits is meant, ``python tests/test_digests.py`` writes
the new ones, and CHANGELOG names the kind of layer.
"""

import hashlib
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from fastconv import nn, options
from fastconv._cpu import _core, implementations
from fastconv._options import Options
from fastconv._problem import ConvProblem

KEPT = Path(__file__).with_name("digests.json")
DTYPES = {
    "float32": np.float32, "float64": np.float64, "int32": np.int32, "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}  # fmt: skip
TOKENS = [
    "n2h14w15c20_k3x3f36_s1x1_d1x1_p1,1,1,1_g1",  # Winograd's 2x2 tiles
    "n1h28w28c48_k3x3f64_s1x1_d1x1_p1,1,1,1_g1",  # 4x2
    "n1h28w27c128_k3x3f130_s1x1_d1x1_p1,1,1,1_g1",  # 4x4
    "n1h29w29c64_k3x3f192_s2x2_d1x1_p0,0,0,0_g1",  # with stride 2
    "n1h20w21c64_k5x5f72_s1x1_d1x1_p2,2,2,2_g1",  # in sub-kernels
    "n1h17w17c192_k1x7f192_s1x1_d1x1_p0,0,3,3_g1",  # along one axis
    "n1h13w17c20_k3x3f8_s1x1_d1x1_p1,1,1,1_g1",  # direct sums
    "n1h23w24c3_k7x7f32_s2x2_d1x1_p3,3,3,3_g1",  # folded ones
    "n2h9w11c70_k1x1f40_s1x1_d1x1_p0,0,0,0_g1",  # pointwise
    "n1h9w11c33_k1x1f20_s2x2_d1x1_p0,0,0,0_g1",
    "n1h33w40c1_k3x3f1_s1x1_d1x1_p1,1,1,1_g1",  # spatial
    "n1h33w40c3_k5x5f4_s1x1_d1x1_p2,2,2,2_g1",
    "n1h15w16c32_k3x3f3_s1x1_d1x1_p1,1,1,1_g1",  # kn2row
    "n1h16w15c48_k3x3f48_s1x1_d1x1_p1,1,1,1_g48",  # depthwise
    "n1h17w15c24_k5x5f48_s2x2_d1x1_p2,2,2,2_g24",
    "n1h12w12c32_k3x3f32_s1x1_d1x1_p1,1,1,1_g8",  # narrow_groups
    "n1h14w14c96_k3x3f96_s1x1_d1x1_p1,1,1,1_g2",  # per group
    "n1h15w15c32_k3x3f32_s1x1_d6x6_p6,6,6,6_g1",  # a border split
    "n1h11w12c8_k3x3f8_s2x3_d2x1_p3,2,1,4_g1",  # phases
    "n1h40w1c3_k9x1f4_s1x1_d1x1_p4,4,0,0_g1",  # columns
    "n8h56w56c24_k3x3f24_s1x1_d1x1_p1,1,1,1_g1",  # many pixels for a gradient
]


def numbers(shape, dtype, seed):
    """The same on any machine: whole numbers for int32, else multiples of 2^-20 between -1 and 1."""
    index = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(seed << 32)
    mixed = (index * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)).astype(np.int64) % (1 << 21) - (1 << 20)
    values = mixed >> 12 if np.dtype(dtype) == np.int32 else mixed / (1 << 20)
    return values.reshape(shape).astype(dtype)


def digest(result):
    shape = "x".join(map(str, result.shape))
    return hashlib.sha256(f"{shape} {result.dtype.name}".encode() + result.tobytes()).hexdigest()[:16]


def convolutions(token, dtype):
    """The results of all directions of a problem."""
    p = ConvProblem.parse(token)
    x = numbers((p.n, p.h, p.w, p.c), dtype, 1)
    w = numbers((p.kh, p.kw, p.c // p.groups, p.f), dtype, 2)
    dy = numbers((p.n, p.oh, p.ow, p.f), dtype, 3)
    pads = [[0, 0], [p.pad_top, p.pad_bottom], [p.pad_left, p.pad_right], [0, 0]]
    how = {"strides": (p.stride_h, p.stride_w), "padding": pads, "dilations": (p.dilation_h, p.dilation_w)}
    yield "forward", nn.conv2d(x, w, **how)
    yield "backprop_input", nn.conv2d_backprop_input(x.shape, w, dy, **how)
    yield "backprop_filter", nn.conv2d_backprop_filter(x, w.shape, dy, **how)


def others(dtype):
    """Functions without a transcendental function in them."""
    x = numbers((2, 13, 15, 20), dtype, 4)
    yield "max_pool2d", nn.max_pool2d(x, 3, 2, "SAME")
    yield "relu6", nn.relu6(x)
    yield "bias_add", nn.bias_add(x, numbers((20,), dtype, 5))
    if dtype is not np.int32:
        yield "avg_pool2d", nn.avg_pool2d(x, 3, 2, "SAME")
        yield "avg_pool2d_grad", nn.avg_pool2d_grad((2, 26, 30, 20), x, 2, 2, "VALID")
        yield "relu_grad", nn.relu_grad(x, x[::-1])
        yield "bias_add_grad", nn.bias_add_grad(x)


def digests(name):
    kind, _, precision = name.partition(" ")
    found = {}
    for dtype, scalar in DTYPES.items():
        with options(precision=precision or "default"):
            results = others(scalar) if kind == "others" else convolutions(kind, scalar)
            found.update({f"{direction} {dtype}": digest(result) for direction, result in results})
    return found


NAMES = ["others", *TOKENS, f"{TOKENS[2]} fast", f"{TOKENS[2]} strict"]


@pytest.mark.parametrize("name", NAMES)
def test_bits_are_those_that_were_kept(isa, name):
    if not _core.build()["fused_multiply_add"]:
        pytest.skip("this instruction set multiplies and adds by themselves")
    assert digests(name) == json.loads(KEPT.read_text())[name]


def test_the_problems_meet_every_method():
    met = {
        implementations.choose(direction, ConvProblem.parse(token), np.dtype(np.float32), Options())[0].name
        for token in TOKENS
        for direction in implementations.IMPLEMENTATIONS
    }
    every = {entry.name for entries in implementations.IMPLEMENTATIONS.values() for entry in entries}
    assert met == every - {"reference"}


if __name__ == "__main__":
    KEPT.write_text(json.dumps({name: digests(name) for name in NAMES}, indent=1) + "\n")
