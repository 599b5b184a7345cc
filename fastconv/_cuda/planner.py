"""Which specialized kernel computes a product on a device, and with which tile: from sizes and the device alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from fastconv._options import PRECISIONS, Options
from fastconv._plan import Implementation
from fastconv._problem import ConvProblem

DIRECTIONS = ("forward", "backprop_input", "backprop_filter")
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)  # compute capabilities that the tests compile for
ELEMENTS = ("float16", "bfloat16", "float32", "float64", "int32")


class Arithmetic(IntEnum):
    """How products are summed: the enum of the same name in multiply.cuh."""

    SCALAR = 0
    HALVES = 1
    TF32 = 2
    TF32_TWICE = 3
    DOUBLES = 4
    WARPGROUPS = 5  # HALVES by four warps at a time, on compute capability 9.0


class Tile(NamedTuple):
    """What a block of threads computes: rows by columns of the product, by its warps."""

    rows: int
    columns: int
    warps_m: int
    warps_n: int
    rate: float  # multiply-adds per time beside the largest tile's, with a block on every multiprocessor


LARGE = Tile(128, 128, 2, 4, 1.0)
MEDIUM = Tile(64, 64, 2, 2, 0.7)
NARROW = Tile(128, 32, 4, 1, 0.6)
# Threads hold 8 x 8 elements of a scalar product in registers if a warp's tile is 32 x 64.
LARGE_SCALAR = Tile(128, 128, 4, 2, 1.0)
MEDIUM_SCALAR = Tile(64, 64, 2, 1, 0.7)

GROUPED = Tile(128, 128, 8, 1, 1.0)

_SHARED = 99 << 10  # bytes that a block may have on every device from compute capability 8.0 on

PHASES = 4  # of the input's gradient in a launch: those of stride 2

COPY = 16  # bytes, where channels lie so


def widths(direction: str) -> tuple[tuple[bool, bool], ...]:
    """Which factors may be copied so: both, none, or the second alone, as for images of 3 channels."""
    both = (True, True), (False, False)
    return both if direction == "backprop_input" else (*both, (False, True))


def width(direction: str, first: bool, second: bool) -> tuple[bool, bool]:
    """What is used of the widths that both factors have."""
    return (first, second) if (first, second) in widths(direction) else (False, False)


def run(element: str) -> int:
    """Elements in a copy of 16 bytes."""
    return COPY // np.dtype("float16" if element == "bfloat16" else element).itemsize


class Kernel(NamedTuple):
    """One specialization of a source file."""

    source: str
    entry: str
    defines: tuple[tuple[str, str | int], ...]
    threads: int
    shared: int  # bytes

    def __str__(self) -> str:
        """The kernel as reports name it: all that it was specialized by.

        >>> print(implicit_gemm("forward", "float32", Arithmetic.TF32, MEDIUM, (True, True), 90))  # doctest: +ELLIPSIS
        fc_implicit_gemm DIRECTION=forward ELEMENT=float32 ARITHMETIC=TF32 TILE_M=64 TILE_N=64 TILE_K=16 ...
        """
        names = {"DIRECTION": DIRECTIONS, "ARITHMETIC": Arithmetic._member_names_}
        words = [f"{name}={names[name][int(value)] if name in names else value}" for name, value in self.defines]
        return " ".join([self.entry, *words])

    @property
    def options(self) -> tuple[str, ...]:
        """The compiler's options."""
        return ("-std=c++17", *(f"-DFC_{name}={value}" for name, value in self.defines))

    @property
    def architecture(self) -> str | None:
        """What it is compiled for if not for the device's compute capability."""
        return "sm_90a" if dict(self.defines).get("WARPGROUPS") else None


def _parts(direction: str) -> int:
    return PHASES if direction == "backprop_input" else 1


def parts(kernel: Kernel) -> int:
    """The most that one launch of the kernel computes, one after the other."""
    return int(dict(kernel.defines)["PARTS"])


class Work(NamedTuple):
    """The sizes of a product: of each group and slice."""

    rows: int
    columns: int
    terms: int
    repeats: int  # groups by slices


def arithmetic(element: str, precision: str, capability: int) -> Arithmetic:
    """The most accurate arithmetic that is fast on a device of this compute capability, 90 say.

    float32 is the sum of two TF32 numbers, whose products are as accurate as a float32's; one where the caller wants
    speed; and itself where the caller wants plain sums.
    """
    if element in ("float16", "bfloat16"):
        least = 75 if element == "float16" else 80
        return Arithmetic.HALVES if capability >= least else Arithmetic.SCALAR
    if capability < 80 or element == "int32":
        return Arithmetic.SCALAR
    if element == "float64":
        return Arithmetic.DOUBLES
    return {"default": Arithmetic.TF32_TWICE, "fast": Arithmetic.TF32, "strict": Arithmetic.SCALAR}[precision]


def tiles(element: str, kind: Arithmetic, wide: bool) -> tuple[Tile, ...]:
    """The tiles that there are; fewer for what is rare, as each is a kernel to compile.

    >>> [len(tiles("float16", Arithmetic.HALVES, wide)) for wide in (True, False)]
    [3, 1]
    """
    if kind == Arithmetic.WARPGROUPS:
        return (GROUPED,)
    if not wide or (kind == Arithmetic.SCALAR and element == "float64"):  # twice the registers
        return (MEDIUM,)
    if kind == Arithmetic.SCALAR:
        return LARGE_SCALAR, MEDIUM_SCALAR
    if kind == Arithmetic.DOUBLES:
        return MEDIUM, NARROW
    return (LARGE, MEDIUM) if kind == Arithmetic.TF32 else (LARGE, MEDIUM, NARROW)


def implicit_gemm(
    direction: str, element: str, kind: Arithmetic, tile: Tile, wide: tuple[bool, bool], capability: int
) -> Kernel:
    """The kernel with this tile; `wide` tells which factors are copied 16 bytes at a time."""
    size = np.dtype("float16" if element == "bfloat16" else element).itemsize
    in_atoms = kind == Arithmetic.WARPGROUPS
    tile_k = 64 if in_atoms else 32 if size == 2 and all(wide) else 16
    k_pad, other_pad = (0, 0) if in_atoms else (4, 4) if size == 8 else (16 // size, 8)
    a = tile.rows * (tile_k + k_pad) if direction != "backprop_filter" else tile_k * (tile.rows + other_pad)
    b = tile.columns * (tile_k + k_pad) if direction == "backprop_input" else tile_k * (tile.columns + other_pad)
    stage = (a + b) * size
    stages = 2 if capability < 80 else min(4, _SHARED // stage)  # three of warpgroups
    defines: dict[str, str | int] = {
        "DIRECTION": DIRECTIONS.index(direction),
        "ELEMENT": element,
        "ARITHMETIC": int(kind),
        "TILE_M": tile.rows,
        "TILE_N": tile.columns,
        "TILE_K": tile_k,
        "WARPS_M": tile.warps_m,
        "WARPS_N": tile.warps_n,
        "STAGES": stages,
        "WARPGROUPS": int(in_atoms),
        "BLOCKS": _blocks(kind, capability),
        "PARTS": _parts(direction),
        "WIDE_A": run(element) if wide[0] else 1,
        "WIDE_B": run(element) if wide[1] else 1,
    }
    threads = 32 * tile.warps_m * tile.warps_n
    return Kernel("implicit_gemm.cu", "fc_implicit_gemm", tuple(defines.items()), threads, stages * stage)


def _blocks(kind: Arithmetic, capability: int) -> int:
    """Blocks that share a multiprocessor: two where its memory has room, and half the registers cost no spills."""
    return 2 if capability in (80, 90) and kind not in _MANY_SUMS else 1


# Their sums alone take 128 registers of a thread, or twice 64.
_MANY_SUMS = Arithmetic.SCALAR, Arithmetic.TF32_TWICE, Arithmetic.DOUBLES


def cost(tile: Tile, works: Sequence[Work], multiprocessors: int) -> float:
    """The cost of products in tiles: multiply-adds that one multiprocessor computes for each term, in whole tiles."""
    blocks = sum(-(-work.rows // tile.rows) * -(-work.columns // tile.columns) * work.repeats for work in works)
    return -(-blocks // multiprocessors) * tile.rows * tile.columns / tile.rate


def best_tile(choices: tuple[Tile, ...], works: Sequence[Work], multiprocessors: int) -> Tile:
    """The one that costs least; the first of equals.

    >>> best_tile((LARGE, MEDIUM, NARROW), [Work(100352, 256, 576, 1)], 132) == LARGE
    True
    >>> best_tile((LARGE, MEDIUM, NARROW), [Work(49, 512, 4608, 1)], 132) == MEDIUM
    True
    """
    return min(choices, key=lambda tile: cost(tile, works, multiprocessors))


# The blocks of a filters' gradient that keep any device busy, the fewest pixels worth a slice of their own, the most
# of one, whose sums are added one after the other, and the most that the slices' sums may take.
_BLOCKS = 512
_FEWEST = 512  # pixels
_MOST = 1 << 16  # pixels
_BYTES = 64 << 20
_REPEATS = (1 << 16) - 1  # groups by slices, an axis of the grid
_STEP = 32  # pixels that are multiplied at a time, or half as many


@functools.lru_cache(maxsize=1024)
def slice_pixels(problem: ConvProblem) -> int:
    """Pixels in a slice of the filters' gradient: from the problem alone, for the same bits on every device.

    >>> slice_pixels(ConvProblem.parse("n32h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1,1_g1"))
    1792
    """
    p = problem
    pixels = p.n * p.oh * p.ow
    rows, columns = p.kh * p.kw * (p.c // p.groups), p.f // p.groups
    blocks = -(-rows // 64) * -(-columns // 64) * p.groups
    slices = max(min(_BLOCKS // blocks, pixels // _FEWEST), -(-pixels // _MOST))
    slices = max(min(slices, _BYTES // (8 * rows * p.f), _REPEATS // p.groups), 1)
    size = -(-pixels // slices)
    return -(-size // _STEP) * _STEP


def is_narrow(problem: ConvProblem) -> bool:
    """Whether groups have so few channels that tiles of a product would be mostly empty."""
    p = problem
    return p.groups > 1 and (p.c // p.groups) * (p.f // p.groups) < _NARROW


_NARROW = 256  # pairs of channels
_POINTWISE_THREADS = 256
DIRECT_COLUMNS = 32  # of a block of the filters' gradient


def direct(direction: str, element: str, wide: bool) -> Kernel:
    """The kernel of narrow groups; `wide`: 16 bytes at a time."""
    size = np.dtype("float16" if element == "bfloat16" else element).itemsize
    defines: dict[str, str | int] = {
        "DIRECTION": DIRECTIONS.index(direction),
        "ELEMENT": element,
        "PARTS": _parts(direction),
    }
    if direction == "backprop_filter":
        return Kernel("direct.cu", "fc_direct", tuple(defines.items()), 256, 256 * max(size, 4))
    defines["WIDE"] = run(element) if wide else 1
    return Kernel("direct.cu", "fc_direct", tuple(defines.items()), 256, 0)


def sum_slices(element: str) -> Kernel:
    """The kernel that adds the slices of a filters' gradient."""
    return Kernel("sum_slices.cu", "fc_sum_slices", (("ELEMENT", element),), _POINTWISE_THREADS, 0)


def pointwise(element: str) -> Kernel:
    """The kernel of functions of single elements."""
    return Kernel("pointwise.cu", "fc_pointwise", (("ELEMENT", element),), _POINTWISE_THREADS, 0)


def pool(entry: str, element: str, average: bool) -> Kernel:
    """A kernel of pool.cu."""
    return Kernel("pool.cu", entry, (("ELEMENT", element), ("AVERAGE", int(average))), _POINTWISE_THREADS, 0)


def all_kernels(capability: int) -> list[Kernel]:
    """Every kernel that may be chosen on a device of this compute capability."""
    found: dict[Kernel, None] = {pool("fc_pool", "int64", False): None}
    for element in ELEMENTS:
        found[sum_slices(element)] = None
        found[pointwise(element)] = None
        for average in () if element == "int32" else (False, True):
            found[pool("fc_pool", element, average)] = None
        for direction in DIRECTIONS:
            for is_wide in (False,) if direction == "backprop_filter" else (False, True):
                found[direct(direction, element, is_wide)] = None
            for kind in kinds(element, capability):
                for wide in widths(direction):
                    for tile in tiles(element, kind, all(wide)):
                        found[implicit_gemm(direction, element, kind, tile, wide, capability)] = None
    return list(found)


def warpgroup_kernels() -> list[Kernel]:
    """Those that need sm_90a."""
    both = (True, True)
    return [
        implicit_gemm(direction, element, Arithmetic.WARPGROUPS, GROUPED, both, 90)
        for element in ("float16", "bfloat16")
        for direction in DIRECTIONS
    ]


def kinds(element: str, capability: int) -> list[Arithmetic]:
    """Each arithmetic of an element type, over all precisions."""
    return sorted({arithmetic(element, precision, capability) for precision in PRECISIONS})


def _unless_depthwise(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.groups == problem.c > 1 and is_narrow(problem):
        return None
    return "groups do not have one input channel each, or have many outputs"


def _unless_narrow(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    return None if is_narrow(problem) else "there are no groups, or they have many channels"


def _always(problem: ConvProblem, dtype: np.dtype, options: Options) -> None:
    return None


# Best first. What is launched depends on a call's arrays, too, so nothing is bound (convolutions.py). Both of the first
# two are direct.cu. The last one was compiled and emulated, but has run on no device yet: it is only for those who ask.
IMPLEMENTATIONS = dict.fromkeys(
    DIRECTIONS,
    (
        Implementation("depthwise", _unless_depthwise),
        Implementation("narrow_groups", _unless_narrow),
        Implementation("implicit_gemm", _always),
        Implementation("warpgroup", _always),
    ),
)
