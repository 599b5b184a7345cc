"""ConvProblem: TensorFlow's shapes, its text form, and shape errors that name everything."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import run_python

import fastconv
from fastconv._problem import ConvProblem, conv_problem

TENSORFLOW_SHAPES = """
import itertools
import numpy as np, tensorflow as tf
import fastconv
count = differ = 0
for size, taps, stride, dilation in itertools.product({sizes}, {taps}, {strides}, (1, 2, 3)):
    x = np.zeros((1, size, 13 - size, 1), np.float32)
    w = np.zeros((taps, 6 - taps, 1, 1), np.float32)
    steps, gaps = (stride, 5 - stride), (dilation, 4 - dilation)
    for padding in ("SAME", "VALID", [[0, 0], [1, 3], [0, 2], [0, 0]], [[0, 0], [0, 0], [7, 5], [0, 0]]):
        def convolve(a, b):
            return tf.nn.conv2d(a, b, steps, padding, dilations=gaps)
        try:
            ours = fastconv.output_shape(x.shape, w.shape, steps, padding, dilations=gaps)
        except ValueError:
            ours = None
        try:
            if {graph}:
                theirs = tuple(tf.function(convolve, autograph=False).get_concrete_function(x, w).output_shapes)
            else:
                theirs = tuple(convolve(x, w).shape)
        except (ValueError, tf.errors.InvalidArgumentError):
            theirs = None
        count += 1
        # Eager mode gives an empty array, or one of a wrong shape, where the filter is larger than the image.
        differ += ours != theirs and ({graph} or ours is not None)
print(count, differ)
"""


@pytest.mark.parametrize(
    "graph, sizes, taps, strides",
    [(False, tuple(range(1, 12)), (1, 2, 3, 4, 5), (1, 2, 3, 4)), (True, (3, 8), (1, 2, 5), (1, 4))],
    ids=["eager", "graph"],
)
def test_output_shapes_are_tensorflows(graph, sizes, taps, strides):
    code = TENSORFLOW_SHAPES.format(graph=graph, sizes=sizes, taps=taps, strides=strides)
    done = run_python(code, TF_ENABLE_ONEDNN_OPTS="0")
    assert done.returncode == 0, done.stderr[-2000:]
    count, differ = map(int, done.stdout.split())
    assert count == len(sizes) * len(taps) * len(strides) * 3 * 4
    assert differ == 0


sizes = st.integers(1, 500)


@given(
    st.tuples(sizes, sizes, sizes, sizes),
    st.tuples(st.integers(1, 9), st.integers(1, 9), sizes),
    st.tuples(*[st.integers(1, 9)] * 4),
    st.tuples(*[st.integers(0, 60)] * 4),
    st.integers(1, 7),
)
def test_text_form_is_inverted_by_parse(shape, filters, steps, pads, groups):
    kh, kw, f = filters
    n, h, w, c = shape
    dh, dw = steps[2:]
    h, w = h + (kh - 1) * dh, w + (kw - 1) * dw
    problem = conv_problem(
        (n, h, w, c * groups), (kh, kw, c, f * groups), steps[:2], (pads[:2], pads[2:]), (dh, dw), False
    )
    assert ConvProblem.parse(str(problem)) == problem
    assert " " not in str(problem)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "n1",
        "n1h1w1c1",
        "n1h56w56c64_k3x3f64_s1x1_d1x1_p1,1,1_g1",
        "n1h5w5c3_k3x3f4_s1x1_d1x1_p1,1,1,1_g2",
        "n1h5w5c3_k3x3f4_s0x1_d1x1_p1,1,1,1_g1",
        "n1h5w5c3_k3x3f4_s1x1_d1x0_p1,1,1,1_g1",
    ],
)
def test_malformed_text_is_refused(token):
    with pytest.raises(ValueError):
        ConvProblem.parse(token)


def brute_force_windows(size, taps, stride, dilation, before, after):
    """How many windows fit, counted."""
    cells = range(size + before + after)
    return sum(1 for start in cells[::stride] if start + (taps - 1) * dilation in cells)


def test_sizes_count_the_windows_that_fit():
    for size, taps, stride, dilation, before, after in itertools.product(
        range(1, 9), range(1, 5), range(1, 5), range(1, 4), range(0, 4), (0, 2)
    ):
        want = brute_force_windows(size, taps, stride, dilation, before, after)
        arguments = (1, size, 1, 1), (taps, 1, 1, 1), stride, [(0, 0), (before, after), (0, 0), (0, 0)]
        if want:
            assert fastconv.output_shape(*arguments, dilations=(dilation, 1))[1] == want
        else:
            with pytest.raises(ValueError, match="computed output size would be negative"):
                fastconv.output_shape(*arguments, dilations=(dilation, 1))


@pytest.mark.parametrize(
    "input_shape, filter_shape, message",
    [
        ((5, 5, 2), (3, 3, 2, 4), "input: must be 4-dimensional"),
        ((), (3, 3, 2, 4), "input: must be 4-dimensional"),
        ((1, 5, 5, 2), (3, 3, 2), "filters: must be 4-dimensional"),
        ((1, 5, 5, 2), (1, 3, 3, 2, 4), "filters: must be 4-dimensional"),
        ((1, 5, 5, 2), (3, 3, 0, 4), "filters: the filter depth, 0, must be greater than 0"),
        ((1, 5, 5, 3), (3, 3, 2, 4), "filters: the input depth, 3, must be evenly divisible by the filter depth, 2"),
        (
            (1, 5, 5, 6),
            (3, 3, 2, 4),
            "filters: the output depth, 4, must be evenly divisible by the number of groups, 3",
        ),
        ((1, 5, 5, 2), (0, 3, 2, 4), "filters: must not have zero elements"),
        (
            (1, 2, 5, 2),
            (3, 3, 2, 4),
            "filters: computed output size would be negative: the filter's height of 3 exceeds",
        ),
        ((1, 5, 2, 2), (3, 3, 2, 4), "the filter's width of 3 exceeds the input's width of 2"),
        ((2**40, 2**20, 2**20, 2), (3, 3, 2, 4), "too large for an array"),
        ((1, 5, 5, 2), (3, 3, 2, 2**62), "too large for an array"),
    ],
)
def test_shape_errors_name_the_argument_and_both_shapes(input_shape, filter_shape, message):
    with pytest.raises(ValueError) as caught:
        fastconv.output_shape(input_shape, filter_shape, 1, "VALID")
    assert message in str(caught.value)
    assert str(input_shape) in str(caught.value)
    assert str(filter_shape) in str(caught.value)


def test_shapes_may_be_any_sequence_of_integers():
    assert fastconv.output_shape([1, 5, 5, 2], np.array([3, 3, 2, 4]), 1, "VALID") == (1, 3, 3, 4)
    assert fastconv.output_shape((2, 1, 2, 5, 5), (3, 3, 2, 4), 1, "VALID", "NCHW") == (2, 1, 4, 3, 3)
    for wrong in ("1554", 5, None, [1, 5.0, 5, 2]):
        with pytest.raises(TypeError, match="input_shape"):
            fastconv.output_shape(wrong, (3, 3, 2, 4), 1, "VALID")
    with pytest.raises(ValueError, match="negative"):
        fastconv.output_shape((1, -5, 5, 2), (3, 3, 2, 4), 1, "VALID")


def test_the_odd_cell_of_same_goes_after():
    problem = conv_problem((1, 224, 9, 3), (7, 2, 3, 64), (2, 1), "SAME", (1, 1), False)
    assert (problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right) == (2, 3, 0, 1)
