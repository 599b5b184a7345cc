"""At least as accurate as TensorFlow, in its default mode, on every benchmark layer (small enough to test)."""

from pathlib import Path

import numpy as np
import pytest
from problems import inputs

from fastconv import nn
from fastconv._problem import ConvProblem

SHAPES = Path(__file__).parent.parent / "benchmarks" / "shapes"
LAYERS = [
    token
    for file in sorted(SHAPES.glob("*.txt"))
    for token in (line.split("#")[0].strip() for line in file.read_text().splitlines())
    if token and 1e5 < ConvProblem.parse(token).multiply_adds < 3e8
]


@pytest.mark.parametrize("token", list(dict.fromkeys(LAYERS)))
def test_errs_no_more_than_tensorflow(token):
    tf = pytest.importorskip("tensorflow")
    problem = ConvProblem.parse(token)
    case = inputs(problem)
    case = case._replace(input=np.maximum(case.input, 0))  # what a layer gets from a ReLU
    exact = nn.conv2d(*case._replace(input=case.input.astype(float), filters=case.filters.astype(float)))
    padding = case.padding if any(cells for pair in case.padding for cells in pair) else "VALID"
    theirs = tf.nn.conv2d(*case._replace(padding=padding)).numpy() - exact
    same = nn.conv2d(*case[:3], "SAME", dilations=case.dilations)
    if same.shape == exact.shape and np.array_equal(same, nn.conv2d(*case)):
        theirs = tf.nn.conv2d(*case._replace(padding="SAME")).numpy() - exact
    ours = nn.conv2d(*case) - exact
    assert np.sqrt(np.mean(ours**2)) <= 1.05 * np.sqrt(np.mean(theirs**2))
    assert np.abs(ours).max() <= 1.25 * np.abs(theirs).max()
