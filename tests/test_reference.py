"""The NumPy reference, which the other tests trust, against direct loops."""

import itertools

import numpy as np
from hypothesis import given, settings
from problems import cases

from fastconv._arguments import geometry
from fastconv._problem import conv_problem
from fastconv._reference import forward


def loops(problem, x, w):
    """The definition, one term at a time."""
    y = np.zeros((problem.n, problem.oh, problem.ow, problem.f), dtype=object)
    depth, width = problem.c // problem.groups, problem.f // problem.groups
    for n, oy, ox, f in itertools.product(*map(range, y.shape)):
        total = 0
        for i, j, c in itertools.product(range(problem.kh), range(problem.kw), range(depth)):
            iy = oy * problem.stride_h - problem.pad_top + i * problem.dilation_h
            ix = ox * problem.stride_w - problem.pad_left + j * problem.dilation_w
            if 0 <= iy < problem.h and 0 <= ix < problem.w:
                total += x[n, iy, ix, f // width * depth + c].item() * w[i, j, c, f].item()
        y[n, oy, ox, f] = total
    return y


@given(case=cases(dtypes=("float64", "int32"), most_channels=3, layouts=("NHWC",)))
@settings(max_examples=30)
def test_the_reference_is_the_definition(case):
    x, w = case.input[:1, :, :5], case.filters[:, :, :2, :2]
    x = x[..., : w.shape[2]]
    if case.padding == "VALID":
        case = case._replace(padding="SAME")
    strides, padding, dilations, first = geometry(case.strides, case.padding, "NHWC", case.dilations)
    try:
        problem = conv_problem(x.shape, w.shape, strides, padding, dilations, first)
    except ValueError:
        return  # cut too small for its filter
    want = loops(problem, x, w)
    got = forward(problem, x, w)
    if x.dtype == np.int32:
        np.testing.assert_array_equal(got, (want % 2**32).astype(np.uint32).astype(np.int32))
    else:
        np.testing.assert_allclose(got, want.astype(float), rtol=1e-12, atol=1e-12)


def test_sums_of_halves_are_rounded_once():
    case = np.full((1, 3, 3, 512), 1, np.float16), np.full((3, 3, 512, 1), 1, np.float16)
    problem = conv_problem(case[0].shape, case[1].shape, (1, 1), "VALID", (1, 1), False)
    assert forward(problem, *case).item() == 4608
