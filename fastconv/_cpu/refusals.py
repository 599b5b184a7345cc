"""Which problems an implementation refuses, and why: None where it takes the problem."""

from __future__ import annotations

import numpy as np

from fastconv._cpu import _core
from fastconv._cpu import cost_model as costs
from fastconv._cpu.decompose import one_group
from fastconv._cpu.summation import spatial_sum, summation
from fastconv._cpu.winograd import winograd_tile
from fastconv._options import Options
from fastconv._problem import ConvProblem
from fastconv._types import is_half


def unless_pointwise(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if (problem.kh, problem.kw) != (1, 1):
        return "the filter is larger than 1x1"
    if (problem.stride_h, problem.stride_w) != (1, 1):
        return "the stride is not 1"
    if any((problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right)):
        return "the input is padded"
    return None


def unless_spatial(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.c > costs.SPATIAL_DEPTH or problem.groups > 1:
        return "the input has many channels, or groups of them"
    if problem.c > 1 and (problem.stride_h > 1 or problem.dilation_h > 1):
        return "the taps of several channels are strided or dilated"
    if problem.f > (costs.SPATIAL_OUTPUTS if problem.c == 1 else costs.SPATIAL_OUTPUTS_DEEP):
        return "there are enough output channels to fill a vector"
    if problem.kw == 1 or problem.stride_w > 1 or problem.dilation_w > 1:
        return "the taps along the row are single, strided or dilated"
    row = costs.SPATIAL_ROW if problem.c == 1 else costs.SPATIAL_ROW_DEEP
    if problem.kw * problem.c > row or problem.kh * problem.kw * problem.c * problem.f > costs.SPATIAL_TERMS:
        return "the filters are too large for the caches"
    return None


def unless_spatial_gradient(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    p = problem
    if p.c > costs.SPATIAL_GRADIENT_DEPTH or p.groups > 1:
        return "the input has many channels, or groups of them"
    if (p.stride_h, p.stride_w, p.dilation_h, p.dilation_w) != (1, 1, 1, 1):
        return "the filter is strided or dilated"
    if max(p.kh, p.kw) > costs.SPATIAL_GRADIENT_TAPS or p.f > costs.SPATIAL_GRADIENT_OUTPUTS:
        return "the filters are too large, or too many, for the caches"
    exchanges = p.kh * p.kw == 1 and exchange_pays(p)
    if _spatial_gradient_cost(p) > outer_product_cost(p._replace(c=p.f, f=p.c) if exchanges else p):
        return "outer products cost less: the output channels fill vectors, or the rows do not"
    return None


def _spatial_gradient_cost(problem: ConvProblem) -> float:
    p, block = problem, spatial_sum(problem)
    lanes = -(-block.columns // _core.SPATIAL_LANES) * _core.SPATIAL_LANES / block.columns
    of_product = costs.SPATIAL_PRODUCT * lanes + costs.SPATIAL_BLOCK / (block.rows * block.columns)
    return p.kh * p.kw * p.c * p.f * of_product + costs.SPATIAL_STAGE * (p.c + p.f)


def outer_product_cost(problem: ConvProblem) -> float:
    """What outer products cost a pixel of a filter gradient: with few output channels, most of a vector is idle."""
    sum = summation(problem)
    tiles = -(-sum.run_length // costs.OUTER_ROWS)
    vectors = -(-problem.f // costs.OUTER_LANES)
    one, two = (max(costs.OUTER_LEAST, costs.OUTER_PRODUCT * sum.run_length / tiles * each) for each in (1, 2))
    return sum.runs * tiles * (vectors // 2 * two + vectors % 2 * one)


def exchange_pays(problem: ConvProblem) -> bool:
    """Whether a gradient of 1x1 filters costs less where input and output channels change places."""
    exchanged = problem._replace(c=problem.f, f=problem.c)
    return problem.groups == 1 and outer_product_cost(exchanged) < outer_product_cost(problem)


def unless_kn2row(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.f > min(costs.KN2ROW_OUTPUTS, problem.c // costs.KN2ROW_DEPTH) or problem.groups > 1:
        return "there are enough output channels for vectors, or too few input channels to sum"
    if problem.kh * problem.kw == 1:
        return "the filter is 1x1"
    products = problem.kh * problem.kw * problem.f  # of an input pixel
    is_small = products * problem.w <= costs.KN2ROW_ROW and products * problem.c <= costs.KN2ROW_FILTERS
    if products > costs.KN2ROW_PRODUCTS and not is_small:
        return "the filters are too large for the caches"
    if (problem.stride_h, problem.stride_w, problem.dilation_h, problem.dilation_w) != (1, 1, 1, 1):
        return "the filter is strided or dilated"
    if is_half(dtype):
        return "half precision is not computed by this method"
    return None


def unless_depthwise(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.groups != problem.c or problem.c == 1:
        return "outputs sum several channels, or the input has only one"
    if problem.f // problem.c > costs.DEPTHWISE_MULTIPLIER:
        return "there are many filters for each channel"
    if problem.kw > costs.DEPTHWISE_ROW or (problem.kh - 1) * problem.dilation_h >= costs.DEPTHWISE_REACH:
        return "the window is too large for the caches"
    return None


def unless_narrow_groups(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    depth = problem.c // problem.groups
    if problem.groups == 1 or depth == 1:
        return "there are no groups, or they have single channels"
    outputs = problem.f // problem.groups
    if outputs not in costs.NARROW_GROUPS or depth > outputs:
        return "groups do not have 2 or 4 outputs, or have more input channels than outputs"
    if dtype.itemsize == 8:
        return "float64 is not computed by this method"
    if problem.dilation_w > 1 or problem.stride_w > problem.kw:
        return "the taps of a row are dilated, or the stride is longer than the row"
    reach = ((problem.kh - 1) * problem.dilation_h + 1) * ((problem.ow - 1) * problem.stride_w + problem.kw)
    if problem.kw * depth > costs.NARROW_ROW or reach * depth > costs.NARROW_REACH:
        return "the window is too large for the caches"
    if problem.kw == 1:
        return "a filter row has one tap"
    return None


def unless_per_group(problem: ConvProblem, dtype: np.dtype, options: Options) -> str | None:
    if problem.groups == 1:
        return "there are no groups"
    one = one_group(problem)
    if min(one.c, one.f) < costs.PER_GROUP_CHANNELS:
        return "the groups have too few channels for calls of their own"
    found = winograd_tile(one, dtype, options.precision)
    return f"Winograd's tiles do not serve a group: {found}" if isinstance(found, str) else None
