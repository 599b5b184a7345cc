"""At least as accurate as TensorFlow, in its default mode, on every benchmark layer, forward and backward."""

import json
import sys
from pathlib import Path

import pytest

from fastconv._problem import ConvProblem

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
from accuracy import DIRECTIONS, errors, layers  # noqa: E402

LAYERS = [token for token in layers() if 1e5 < ConvProblem.parse(token).multiply_adds < 3e8]  # small enough to test


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("token", LAYERS)
def test_errs_no_more_than_tensorflow(token, direction):
    pytest.importorskip("tensorflow")
    ours, theirs = errors(direction, token)
    if theirs is None:
        pytest.skip("TensorFlow does not compute this")
    assert ours.rms <= 1.05 * theirs.rms
    assert ours.maximum <= 1.25 * theirs.maximum


def test_the_table_holds_every_layer_and_none_errs_more_than_tensorflow():
    """Of all layers, larger ones too: what ``python benchmarks/accuracy.py`` found."""
    rows = json.loads((BENCHMARKS / "results" / "accuracy.json").read_text())["layers"]
    assert {(row["problem"], row["direction"]) for row in rows} == {(t, d) for t in layers() for d in DIRECTIONS}
    for row in rows:
        if row["tensorflow"]:
            assert row["fastconv"]["rms"] <= 1.05 * row["tensorflow"]["rms"], row
            assert row["fastconv"]["maximum"] <= 1.25 * row["tensorflow"]["maximum"], row
