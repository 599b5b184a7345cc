"""Calls that mypy accepts, and calls that it refuses: checked with ``mypy fastconv tests/typed_calls.py``, not run.

A call that should be refused is an error of mypy's if it is not: its ``type: ignore`` would be unused.
"""

import numpy as np

import fastconv
from fastconv import filters, nn

x, w = np.ones((1, 8, 8, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)

y: np.ndarray = nn.conv2d(x, w, 1, "SAME", "NHWC", dilations=(2, 2), bias=np.ones(4), activation="relu")
y = nn.conv2d(x, w, [1, 2, 2, 1], [[0, 0], [1, 1], [1, 1], [0, 0]], out=y)
y = nn.conv2d(x, w, strides=np.int64(2), padding="VALID", data_format=None, activation=None)
nn.conv2d(x, w, 1, "same")  # type: ignore[arg-type]
nn.conv2d(x, w, 1.5, "SAME")  # type: ignore[arg-type]
nn.conv2d(x, w, 1, "SAME", "CHWN")  # type: ignore[arg-type]
nn.conv2d(x, w, 1, "SAME", activation="relu7")  # type: ignore[arg-type]
nn.conv1d(x[0], w[0], 1, "SAME", "NHWC")  # type: ignore[arg-type]
nn.depthwise_conv2d(x, w, (1, 1, 1, 1), "SAME")
nn.conv2d_backprop_input(x.shape, w, y, 1, "SAME")
nn.conv2d_backprop_filter(x, w.shape, y, 1, "SAME", dilations=2)
nn.conv2d_transpose(y, w, x.shape, 1)
nn.max_pool(x, 2, 2, "SAME")
nn.max_pool2d(x, (2, 2), 2, [[0, 0], [0, 1], [0, 1], [0, 0]])
nn.avg_pool2d(x, 2, 2, [[0, 0], [0, 1], [0, 1], [0, 0]])  # type: ignore[arg-type]

with fastconv.options(precision="strict", num_threads=1):
    pass
fastconv.options(precision="exact")  # type: ignore[arg-type]

keys: list[str] = list(fastconv.show_config("dicts"))
fastconv.show_config("yaml")  # type: ignore[call-overload]

filters.apply(x[0], filters.kernel("edge"), border="edge")
filters.apply(x[0], filters.kernel("edge"), border="wrap")  # type: ignore[arg-type]
