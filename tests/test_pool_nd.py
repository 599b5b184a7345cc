"""Pools of sequences and volumes, beside TensorFlow's."""

import numpy as np
import pytest

from fastconv import nn

tf = pytest.importorskip("tensorflow")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("shape", "ksize", "strides", "channels_first"),
    [
        ((2, 9, 3), 2, 2, False),
        ((2, 9, 3), [3], [2], False),
        ((1, 11, 2), [1, 4, 1], [1, 3, 1], False),
        ((1, 5, 6, 7, 3), 2, 2, False),
        ((2, 5, 6, 7, 2), [3, 2, 4], [2, 1, 3], False),
        ((1, 7, 6, 5, 2), [1, 2, 3, 2, 1], [1, 3, 1, 2, 1], False),
        ((2, 3, 9), 2, 2, True),
        ((1, 3, 5, 6, 7), [3, 2, 4], [2, 1, 3], True),
    ],
)
def test_pools_of_sequences_and_volumes_are_tensorflows(shape, ksize, strides, channels_first, padding, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    first, last = {3: ("NCW", "NWC"), 5: ("NCDHW", "NDHWC")}[len(shape)]
    moved = np.moveaxis(x, 1, -1) if channels_first else x
    for mine, theirs in ((nn.max_pool, tf.nn.max_pool), (nn.avg_pool, tf.nn.avg_pool)):
        want = theirs(tf.constant(moved.astype("float32")), ksize, strides, padding, last).numpy()
        want = np.moveaxis(want, -1, 1) if channels_first else want
        got = mine(x, ksize, strides, padding, first if channels_first else last)
        assert got.dtype == x.dtype and got.flags.c_contiguous
        narrow = dtype == "float16"
        np.testing.assert_allclose(got, want, rtol=2e-3 if narrow else 2e-6, atol=1e-3 if narrow else 1e-6)
        out = np.empty_like(got)
        assert mine(x, ksize, strides, padding, first if channels_first else last, out=out) is out
        np.testing.assert_array_equal(out, got)


def test_pools_of_sequences_and_volumes_take_explicit_padding_and_refuse_what_makes_no_sense():
    x = np.arange(24, dtype=np.float32).reshape(1, 8, 3)
    got = nn.max_pool(x, 2, 2, [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(got[0, :, 0], [0, 6, 12, 18, 21])
    volume = x.reshape(1, 2, 2, 2, 3)
    np.testing.assert_array_equal(
        nn.max_pool(volume, 2, 1, [[0, 0], [1, 0], [0, 1], [1, 0], [0, 0]]),
        nn.max_pool(np.pad(volume, [(0, 0), (1, 0), (0, 1), (1, 0), (0, 0)], constant_values=-1), 2, 1, "VALID"),
    )
    for call, error, words in (
        (lambda: nn.max_pool(x, [1, 2], 2, "VALID"), ValueError, "ksize: should be of length 1 or 3"),
        (lambda: nn.max_pool(x, [1, 2, 3], 2, "VALID"), NotImplementedError, "ksize: .* other than 1 in the batch"),
        (
            lambda: nn.max_pool(x, 2, 2, "VALID", "NHWC"),
            ValueError,
            "data_format: 'NHWC' is not one of 'NWC'",
        ),
        (lambda: nn.avg_pool(x, 2, 2, [[0, 0], [1, 1], [0, 0]]), TypeError, "padding: expected 'SAME' or 'VALID'"),
        (lambda: nn.max_pool(x, 2, 2, [[0, 0], [1, 1]]), ValueError, "padding: .* is not a list of three pairs"),
        (lambda: nn.max_pool(x[0], 2, 2, "VALID"), ValueError, "input: must have 3, 4 or 5 dimensions, but has 2"),
        (lambda: nn.max_pool(x, 2, 2, "valid"), ValueError, "did you mean 'VALID'"),
    ):
        with pytest.raises(error, match=words):
            call()
