"""The public function that tells shapes."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv._arguments import geometry, shape_of
from fastconv._problem import array_shape, conv_problem
from fastconv._types import ImageFormat, IntsLike, PaddingLike


def output_shape(
    input_shape: Sequence[int],
    filter_shape: Sequence[int],
    strides: IntsLike,
    padding: PaddingLike,
    data_format: ImageFormat | None = "NHWC",
    dilations: IntsLike | None = None,
) -> tuple[int, ...]:
    """The shape that ``fastconv.nn.conv2d`` returns for inputs of these shapes.

    Along each axis it is ``(w - f + 2p) // s + 1``: a window of f cells (dilation included) that moves by s cells over
    w cells with p of padding on both sides; ``padding="SAME"`` gives ``ceil(w / s)``.

    Parameters
    ----------
    input_shape : sequence of ints
        (..., H, W, C), or (..., C, H, W) with ``data_format="NCHW"``.
    filter_shape : sequence of 4 ints
        (KH, KW, C / groups, F).
    strides, padding, data_format, dilations
        As for ``fastconv.nn.conv2d``.

    Returns
    -------
    tuple of int
        (..., OH, OW, F), or (..., F, OH, OW).

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``fastconv.nn.conv2d`` raises them.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.output_shape((1, 224, 224, 3), (7, 7, 3, 64), strides=2, padding="SAME")
    (1, 112, 112, 64)
    >>> (7 - 3 + 2 * 1) // 2 + 1
    4
    >>> fastconv.output_shape((1, 7, 7, 1), (3, 3, 1, 1), 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
    (1, 4, 4, 1)
    """
    sizes = shape_of("input_shape", input_shape)
    stride_pair, pads, dilation_pair, first = geometry(strides, padding, data_format, dilations)
    problem = conv_problem(sizes, shape_of("filter_shape", filter_shape), stride_pair, pads, dilation_pair, first)
    return array_shape(problem, sizes, first)
