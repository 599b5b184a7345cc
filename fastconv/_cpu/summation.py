"""How sums are cut into blocks: what the bits of every result follow from, and so nothing but the problem decides."""

from __future__ import annotations

from typing import NamedTuple

from fastconv._problem import ConvProblem

# Terms of one block of a sum. Blocks keep the error down (it grows with the square root of a block's length) and a
# block's panel of filters in the first cache. TensorFlow sums 3x3 taps in one go, 128 x 9 terms and more, but 1x1 taps
# of small images in short blocks: to be as accurate takes 64 there. Sums of one channel it adds in another order, now
# a little better, now a little worse: halves are better. Of the shortest of these most of the error is the last
# additions', and they gain nothing.
BLOCK_TERMS = 128
POINTWISE_BLOCK_TERMS = 64
SHORTEST_SPLIT = 16

# Below this many channels the taps of one filter row are summed as one run: shorter runs waste the kernel's time.
FOLD_BELOW = 16

# In backprop-input TensorFlow sums the output channels first, then the taps. Where there are few channels, blocks of
# so many times as many, but not of fewer terms than GRADIENT_BLOCK_TERMS, are as accurate.
GRADIENT_BLOCK_CHANNELS, GRADIENT_BLOCK_TERMS = 3, 32

# Pixels of one block of a filter gradient. The error grows with blocks' length and with their number, so small images
# take shorter ones; TensorFlow's errors there are as small as those of blocks of 32. Shorter blocks cost 5 % of the
# speed for each halving. All blocks are cut into slices, which several threads can sum: as many as there are pieces of
# SLICE_WORK multiply-adds, within SLICE_ELEMENTS sums in memory.
BLOCK_PIXELS = ((512, 32), (8192, 64), (None, 128))  # pixels of all images, and of a block
SHORTEST_BLOCK = 4
SLICE_WORK = 1 << 20
MOST_SLICES = 32
SLICE_ELEMENTS = 1 << 18

# Blocks of a slice, at most: adding so many errs about as much as summing a block does. Where there are more, the
# pixels are summed in portions, whose sums are added with compensation: images of 8000x8000 then err as much as ones
# of 1000x1000, and without portions 4 to 7 times as much.
SLICE_BLOCKS = 256

# Of images of few channels, whose pixels are dealt out to lanes: pixels of a block, and multiply-adds of a slice.
SPATIAL_PIXELS, SPATIAL_WORK = 1024, 1 << 19

# Of Winograd's tiles, whose products are added up in the same way. So many blocks at a time are summed apart, for where
# there are many, most of the error would come from adding them up. Blocks of 16 err 10 % less and cost a tenth of the
# speed.
TILES, TILE_BLOCKS = 32, 4
MOST_EXPONENTS = 1 << 23  # bytes of the outlier check, of the images that are summed together


class Summation(NamedTuple):
    """How each output's terms are summed: ``fc_sum`` in src/problem.h, field for field."""

    folded: bool
    runs: int
    run_length: int
    block_runs: int
    chunk: int


class PixelSum(NamedTuple):
    """How a filter's gradient is summed over output pixels, or tiles: ``fc_pixel_sum`` in src/filter_method.h."""

    rows: int
    columns: int
    slices: int
    portions: int = 1


def summation(problem: ConvProblem, gradient: bool = False) -> Summation:
    """The blocks of a sum: whole runs of about BLOCK_TERMS terms together, or equal pieces of one long run.

    With `gradient`, of a phase of backprop-input.
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
    """The same where pixels are dealt out to lanes, whose sums are as short as those of other blocks."""
    return _blocks_of(problem, SPATIAL_PIXELS, SPATIAL_WORK)


def tile_sum(problem: ConvProblem, rows: int, columns: int) -> PixelSum:
    """The same for Winograd's tiles, of so many outputs: blocks of tiles of all images, a few of them added first."""
    blocks = -(-problem.n * _tiles(problem, rows, columns) // TILES)
    return PixelSum(TILE_BLOCKS, TILES, 1 << (_slices(problem, blocks, SLICE_WORK).bit_length() - 1))


def tile_images(problem: ConvProblem, rows: int, columns: int) -> int:
    """How many images' tiles are summed together; the sums of more are added up in float64."""
    p = problem
    image = _tiles(p, rows, columns) * (p.c + p.f + 2) + p.h * p.w + p.oh * p.ow
    return min(p.n, MOST_EXPONENTS // image)


def _tiles(problem: ConvProblem, rows: int, columns: int) -> int:
    """Of an image."""
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
