"""Which problems an implementation refuses, and why: None where it takes the problem."""

from __future__ import annotations

import numpy as np

from fastconv._cpu import _core
from fastconv._cpu.summation import image_sum, summation
from fastconv._cpu.winograd import rung
from fastconv._options import Options
from fastconv._parts import one_group, worth_cutting
from fastconv._problem import ConvProblem

# More output channels than this fill vectors by themselves; longer rows and larger banks of filters than these do not
# stay in the first and second cache beside the image.
IMAGE_FILTER_CHANNELS, IMAGE_FILTER_ROW, IMAGE_FILTER_TERMS = 15, 128, 1 << 15
# With more input channels, which are taken apart, as many output channels, and terms of a row, which are not split.
IMAGE_FILTER_DEPTH, IMAGE_FILTER_CHANNELS_DEEP, IMAGE_FILTER_ROW_DEEP = 4, 7, 48

# In the gradient of the filters, more input channels than this are neighbours enough, and more outputs and more taps
# along an axis take too much memory. What a pixel costs there, in cycles with AVX2: each product, beside its share of
# adding up a block's lanes, and staging each channel; in outer products, a tile of 6 terms by one or two vectors is
# bound by each instruction, or by the latency of one.
IMAGE_GRADIENT_DEPTH, IMAGE_GRADIENT_OUTPUTS, IMAGE_GRADIENT_TAPS = 16, 64, 15
IMAGE_PRODUCT, IMAGE_BLOCK, IMAGE_STAGE = 0.1, 40, 0.5
OUTER_ROWS, OUTER_LANES, OUTER_PRODUCT, OUTER_LEAST = 6, 8, 1.1, 7.2

# Every input channel is repeated for each of its filters; longer rows are not summed in one piece, and rows further
# apart than this need too much memory where they are staged.
DEPTHWISE_MULTIPLIER, DEPTHWISE_ROW, DEPTHWISE_REACH = 16, 128, 256

# Outputs of a group, of which several fill a vector; each vector is made of as few input channels. Longer rows of terms
# are not summed in one piece in gradients, and more elements in the rows that a window reaches do not stay in the
# caches.
NARROW_GROUPS, NARROW_ROW, NARROW_REACH = (2, 4), 48, 1 << 16

# Channels of a group, below which a call of its own costs what Winograd saves.
EACH_GROUP = 20

# More output channels than this fill vectors well enough; fewer input channels for each of them than this do not pay
# for adding up the taps; more taps and channels than this do not stay in the caches, unless a row's products and the
# packed filters are no more elements than these.
TAP_PRODUCTS_CHANNELS, TAP_PRODUCTS_DEPTH, TAP_PRODUCTS_MOST = 7, 4, 1024
TAP_PRODUCTS_ROW, TAP_PRODUCTS_FILTERS = 1 << 16, 1 << 20


def unless_pointwise(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if (problem.kh, problem.kw) != (1, 1):
        return "the filter is larger than 1x1"
    if (problem.stride_h, problem.stride_w) != (1, 1):
        return "the stride is not 1"
    if any((problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right)):
        return "the input is padded"
    return None


def unless_image_filter(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.c > IMAGE_FILTER_DEPTH or problem.groups > 1:
        return "the input has many channels, or groups of them"
    if problem.c > 1 and (problem.stride_h > 1 or problem.dilation_h > 1):
        return "the taps of several channels are strided or dilated"
    if problem.f > (IMAGE_FILTER_CHANNELS if problem.c == 1 else IMAGE_FILTER_CHANNELS_DEEP):
        return "there are enough output channels to fill a vector"
    if problem.kw == 1 or problem.stride_w > 1 or problem.dilation_w > 1:
        return "the taps along the row are single, strided or dilated"
    row = IMAGE_FILTER_ROW if problem.c == 1 else IMAGE_FILTER_ROW_DEEP
    if problem.kw * problem.c > row or problem.kh * problem.kw * problem.c * problem.f > IMAGE_FILTER_TERMS:
        return "the filters are too large for the caches"
    return None


def unless_image_gradient(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    p = problem
    if p.c > IMAGE_GRADIENT_DEPTH or p.groups > 1:
        return "the input has many channels, or groups of them"
    if (p.stride_h, p.stride_w, p.dilation_h, p.dilation_w) != (1, 1, 1, 1):
        return "the filter is strided or dilated"
    if max(p.kh, p.kw) > IMAGE_GRADIENT_TAPS or p.f > IMAGE_GRADIENT_OUTPUTS:
        return "the filters are too large, or too many, for the caches"
    otherwise = outer_product_cost(p)
    if p.kh * p.kw == 1:  # where inputs and outputs may change places
        otherwise = min(otherwise, outer_product_cost(p._replace(c=p.f, f=p.c)))
    if _image_gradient_cost(p) > otherwise:
        return "there are enough output channels to fill vectors, or short rows or small images that do not"
    return None


def _image_gradient_cost(problem: ConvProblem) -> float:
    p, block = problem, image_sum(problem)
    lanes = -(-block.columns // _core.IMAGE_LANES) * _core.IMAGE_LANES / block.columns
    products = p.kh * p.kw * p.c * p.f
    return products * (IMAGE_PRODUCT * lanes + IMAGE_BLOCK / (block.rows * block.columns)) + IMAGE_STAGE * (p.c + p.f)


def outer_product_cost(problem: ConvProblem) -> float:
    """Of a gradient of filters by outer products, for each pixel: with few output channels, most of vectors is idle."""
    sum = summation(problem)
    tiles = -(-sum.run_length // OUTER_ROWS)
    vectors = -(-problem.f // OUTER_LANES)
    one, two = (max(OUTER_LEAST, OUTER_PRODUCT * sum.run_length / tiles * each) for each in (1, 2))
    return sum.runs * tiles * (vectors // 2 * two + vectors % 2 * one)


def unless_tap_products(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.f > min(TAP_PRODUCTS_CHANNELS, problem.c // TAP_PRODUCTS_DEPTH) or problem.groups > 1:
        return "there are enough output channels for vectors, or too few input channels to sum"
    if problem.kh * problem.kw == 1:
        return "the filter is 1x1"
    products = problem.kh * problem.kw * problem.f  # of an input pixel
    is_small = products * problem.w <= TAP_PRODUCTS_ROW and products * problem.c <= TAP_PRODUCTS_FILTERS
    if products > TAP_PRODUCTS_MOST and not is_small:
        return "the filters are too large for the caches"
    if (problem.stride_h, problem.stride_w, problem.dilation_h, problem.dilation_w) != (1, 1, 1, 1):
        return "the filter is strided or dilated"
    if dtype.itemsize == 2:
        return "half precision is converted in the store"
    return None


def unless_depthwise(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.groups != problem.c or problem.c == 1:
        return "the channels are summed, or there is only one"
    if problem.f // problem.c > DEPTHWISE_MULTIPLIER:
        return "there are many filters for each channel"
    if problem.kw > DEPTHWISE_ROW or (problem.kh - 1) * problem.dilation_h >= DEPTHWISE_REACH:
        return "the window is too large for the caches"
    return None


def unless_narrow_groups(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    depth = problem.c // problem.groups
    if problem.groups == 1 or depth == 1:
        return "there are no groups, or they have single channels"
    outputs = problem.f // problem.groups
    if outputs not in NARROW_GROUPS or depth > outputs:
        return "a vector does not hold the outputs of whole groups, or takes many channels"
    if dtype.itemsize == 8:
        return "channels are repeated in vectors of 4-byte elements"
    if problem.dilation_w > 1 or problem.stride_w > problem.kw:
        return "the taps along the row are dilated, or windows leave gaps"
    reach = ((problem.kh - 1) * problem.dilation_h + 1) * ((problem.ow - 1) * problem.stride_w + problem.kw)
    if problem.kw * depth > NARROW_ROW or reach * depth > NARROW_REACH:
        return "the window is too large for the caches"
    if problem.kw == 1:
        return "a filter row has one tap"
    return None


def unless_rectangles(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if not worth_cutting(problem):
        return "few taps are outside the image"
    return None


def unless_groups_gain(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.groups == 1:
        return "there are no groups"
    one = one_group(problem)
    if min(one.c, one.f) < EACH_GROUP:
        return "the groups are too narrow for calls of their own"
    found = rung(one, dtype, options.precision)
    return f"no group is one for Winograd: {found}" if isinstance(found, str) else None
