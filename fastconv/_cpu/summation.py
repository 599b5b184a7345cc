"""How sums are cut into blocks: what the bits of every result follow from, and so nothing but the problem decides."""

from __future__ import annotations

from typing import NamedTuple

from fastconv._problem import ConvProblem

# Blocks of an output's terms. The error of a sum grows with the square root of a block's length, and a block's panel of
# filters has to stay in the first cache. TensorFlow sums 3x3 taps in one go, 128 x 9 terms and more, but 1x1 taps of
# small images in short blocks. Sums of one channel it adds in another order, now a little better, now a little worse,
# so they are halved; the shortest gain nothing by that, as most of their error is the last additions'.
BLOCK_TERMS = 128  # terms of a block, about
POINTWISE_BLOCK_TERMS = 64  # the same for 1x1 filters: what it takes to be as accurate as TensorFlow
SHORTEST_SPLIT = 16  # terms: shorter sums of one channel are not halved
FOLD_BELOW = 16  # channels: with fewer, the taps of a filter row are one run, as shorter runs waste the kernel's time

# In backprop-input TensorFlow sums the output channels first, then the taps. With few channels, shorter blocks are as
# accurate.
GRADIENT_BLOCK_CHANNELS = 3  # terms of a block, for each channel
GRADIENT_BLOCK_TERMS = 32  # terms of a block with very few channels

# Blocks of the pixels that a gradient of filters sums. The error grows with the length of blocks and with their number,
# so small images take shorter ones: TensorFlow's errors there are as small as those of blocks of 32. Halving blocks
# costs 5 % of the speed. All blocks are cut into slices, which several threads can sum.
BLOCK_PIXELS = ((512, 32), (8192, 64), (None, 128))  # for so many pixels of all images, at most: pixels of a block
SHORTEST_BLOCK = 4  # pixels of a block, at least
SLICE_WORK = 1 << 20  # multiply-adds of a slice, at least
MOST_SLICES = 32  # slices, at most
SLICE_ELEMENTS = 1 << 18  # sums of all slices in memory, at most

# Where there are more blocks, the pixels are summed in portions, whose sums are added with compensation. Images of
# 8000x8000 then err as much as those of 1000x1000; without portions they would err 4 to 7 times as much.
SLICE_BLOCKS = 256  # blocks of a slice, at most: adding so many errs about as much as summing a block does

# The spatial method deals pixels out to lanes, whose sums are as short as those of other blocks.
SPATIAL_PIXELS = 1024  # pixels of a block, at most
SPATIAL_WORK = 1 << 19  # multiply-adds of a slice, at least

# Winograd's tiles are summed like pixels. So many blocks at a time are summed apart: where there are many, most of the
# error would come from adding them up. Blocks of 16 tiles would err 10 % less, and cost a tenth of the speed.
TILES = 32  # tiles of a block
TILE_BLOCKS = 4  # blocks that are summed apart, at most
MOST_EXPONENTS = 1 << 23  # bytes of the outlier check, of the images that are summed together


class Summation(NamedTuple):
    """How each output's terms are summed: ``fc_sum`` in src/base/problem.h, field for field."""

    folded: bool
    runs: int
    run_length: int
    block_runs: int
    chunk: int


class PixelSum(NamedTuple):
    """How a filter's gradient is summed over output pixels, or tiles: ``fc_pixel_sum`` in src/conv/filter_method.h."""

    rows: int
    columns: int
    slices: int
    portions: int = 1


def summation(problem: ConvProblem, gradient: bool = False) -> Summation:
    """The blocks of a sum: whole runs of about BLOCK_TERMS terms together, or equal pieces of one long run.

    With `gradient`, the problem is a phase of backprop-input.
    """
    depth = problem.c // problem.groups
    folded = depth < FOLD_BELOW and problem.kw > 1
    runs, length = (problem.kh, problem.kw * depth) if folded else (problem.kh * problem.kw, depth)
    terms = POINTWISE_BLOCK_TERMS if problem.kh * problem.kw == 1 else BLOCK_TERMS
    if gradient:
        terms = min(terms, max(GRADIENT_BLOCK_TERMS, GRADIENT_BLOCK_CHANNELS * depth))
    longest = terms * 3 // 2
    if problem.c == 1 and runs * length > SHORTEST_SPLIT:
        longest = min(longest, -(-runs // 2) * length)
        terms = min(terms, longest)
    if runs * length <= longest:
        return Summation(folded, runs, length, runs, length)
    if length <= longest:
        blocks = round(runs * length / terms)
        return Summation(folded, runs, length, -(-runs // blocks), length)
    piece = -(-length // round(length / terms))
    return Summation(folded, runs, length, 1, -(-piece // 16) * 16)


def _pieces(total: int, size: int) -> int:
    """The size of the fewest equal pieces of about this size."""
    return -(-total // max(1, round(total / size)))


def pixel_sum(problem: ConvProblem) -> PixelSum:
    """Blocks of pixels of one image, whole rows or pieces of one, and the number of slices."""
    pixels = problem.n * problem.oh * problem.ow
    longest = next(size for most, size in BLOCK_PIXELS if most is None or pixels < most)
    longest = min(longest, max(SHORTEST_BLOCK, pixels // 3))
    return _blocks_of(problem, longest, SLICE_WORK)


def spatial_sum(problem: ConvProblem) -> PixelSum:
    """``pixel_sum`` where pixels are dealt out to lanes, whose sums are as short as those of other blocks."""
    return _blocks_of(problem, SPATIAL_PIXELS, SPATIAL_WORK)


def tile_sum(problem: ConvProblem, rows: int, columns: int) -> PixelSum:
    """``pixel_sum`` for Winograd's tiles of rows x columns outputs: blocks of all images, a few added first."""
    blocks = -(-problem.n * _tiles(problem, rows, columns) // TILES)
    return PixelSum(TILE_BLOCKS, TILES, 1 << (_slices(problem, blocks, SLICE_WORK).bit_length() - 1))


def tile_images(problem: ConvProblem, rows: int, columns: int) -> int:
    """How many images' tiles are summed together; the sums of more are added up in float64."""
    p = problem
    image = _tiles(p, rows, columns) * (p.c + p.f + 2) + p.h * p.w + p.oh * p.ow
    return min(p.n, MOST_EXPONENTS // image)


def _tiles(problem: ConvProblem, rows: int, columns: int) -> int:
    """The tiles, or blocks, of rows x columns outputs in an image."""
    return -(-problem.oh // rows) * -(-problem.ow // columns)


def _blocks_of(problem: ConvProblem, longest: int, work: int) -> PixelSum:
    columns = _pieces(problem.ow, longest)
    rows = _pieces(problem.oh, max(1, longest // columns))
    blocks = problem.n * _tiles(problem, rows, columns)
    slices = _slices(problem, blocks, work)
    return PixelSum(rows, columns, slices, max(1, -(-blocks // (slices * SLICE_BLOCKS))))


def _slices(problem: ConvProblem, blocks: int, work: int) -> int:
    elements = problem.kh * problem.kw * problem.c // problem.groups * problem.f
    return max(1, min(blocks, problem.multiply_adds // work, MOST_SLICES, SLICE_ELEMENTS // elements))
