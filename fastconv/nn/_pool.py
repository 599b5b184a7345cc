"""Pooling of 2-D images, and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv._arguments import array_of, castable, check_output, flag, is_real, shape_of
from fastconv._backend import backend_of, on_its_device
from fastconv._problem import PoolProblem
from fastconv._types import ImageFormat, IntsLike, PaddingLike, PaddingName
from fastconv.nn._elementwise import check_place, store
from fastconv.nn._windows import as_given, as_images, result_shape, windows_of


def pooled(name: str, input: ArrayLike) -> np.ndarray:
    x = array_of(name, input)
    if not is_real(x.dtype) or x.dtype == bool:
        raise TypeError(f"{name}: dtype {x.dtype} is not a number; convert it with astype (shape {x.shape})")
    return x


def _output(out: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype, *inputs: Any) -> np.ndarray:
    if out is None:
        return np.empty_like(inputs[0], dtype=dtype, order="C", shape=shape)
    check_output(out, inputs[0], shape, dtype, inputs)
    return out


def _lowest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


@on_its_device
def max_pool2d(
    input: ArrayLike,
    ksize: IntsLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: ImageFormat | None = "NHWC",
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The largest cell of each window.

    Parameters
    ----------
    input : array_like, shape (N, H, W, C), or (N, C, H, W) with ``data_format="NCHW"``
        Images of any integer or floating dtype.
    ksize : int or sequence of 1, 2 or 4 ints
        Height and width of the window, as `strides`. With four of them, a window may span groups of
        channels instead, at single pixels.
    strides : int or sequence of 1, 2 or 4 ints
        Cells from window to window: both axes, (height, width), or in the order of `data_format`.
    padding : "SAME", "VALID" or four pairs of ints
        As for ``conv2d``; padding takes no part in the maximum. Pairs are smaller than the window.
    data_format : {"NHWC", "NCHW"}, optional
        The layout of `input` and of the result.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the input.

    Returns
    -------
    numpy.ndarray
        Shape (N, OH, OW, C), or (N, C, OH, OW), of the input's dtype: NaN where a window holds NaN.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or of the wrong type.
    NotImplementedError
        If windows span images, or channels and pixels.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/max_pool2d

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> nn.max_pool2d(image, ksize=2, strides=2, padding="VALID")[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    x = pooled("input", input)
    windows, depth = windows_of("input", x.shape, ksize, strides, padding, data_format, True)
    images = as_images(windows, x)
    y = _output(out, result_shape(windows, x.shape, images.shape[3] // depth), x.dtype, x, input)
    result = as_images(windows, y)
    if depth > 1:
        np.max(images.reshape(*images.shape[:3], -1, depth), axis=-1, out=result)
        return y
    if backend_of(x).pool(windows, False, images, result):
        return y
    result[...] = _lowest(x.dtype)
    for _, cells, (rows, columns) in windows.cells(images):
        part = result[:, rows, columns]
        np.maximum(part, cells, out=part)
    return y


@on_its_device
def avg_pool2d(
    input: ArrayLike,
    ksize: IntsLike,
    strides: IntsLike,
    padding: PaddingName,
    data_format: ImageFormat | None = "NHWC",
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The mean of each window's cells; padding does not count.

    Parameters
    ----------
    input : array_like, shape (N, H, W, C), or (N, C, H, W) with ``data_format="NCHW"``
        Images of a floating dtype.
    ksize : int or sequence of 1, 2 or 4 ints
        Height and width of the window, as `strides`.
    strides : int or sequence of 1, 2 or 4 ints
        Cells from window to window: both axes, (height, width), or in the order of `data_format`.
    padding : "SAME" or "VALID"
        As for ``conv2d``.
    data_format : {"NHWC", "NCHW"}, optional
        The layout of `input` and of the result.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result: of its shape and dtype, C-contiguous, apart from the input.

    Returns
    -------
    numpy.ndarray
        Shape (N, OH, OW, C), or (N, C, OH, OW), of the input's dtype. Half precisions are summed in float32.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or of the wrong type.
    NotImplementedError
        If windows span images or channels.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/avg_pool2d

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> nn.avg_pool2d(image, ksize=2, strides=2, padding="VALID")[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    x = pooled("input", input)
    if x.dtype.kind in "iu":
        raise TypeError(f"input: dtype {x.dtype} is not a floating one; convert it with astype (shape {x.shape})")
    windows, _ = windows_of("input", x.shape, ksize, strides, padding, data_format, False)
    images = as_images(windows, x)
    y = _output(out, result_shape(windows, x.shape, images.shape[3]), x.dtype, x, input)
    if y.size:
        backend_of(x).pool(windows, True, images, as_images(windows, y))
    return y


def _counting(like: np.ndarray, count: int) -> np.ndarray:
    """0, 1, 2, ..., where `like` is."""
    return backend_of(like).adopt(np.arange(count), like)  # type: ignore[no-any-return]


def _largest(windows: PoolProblem, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each window's maximum, and its first place in the image, row * W + column; the first NaN where there is one."""
    found = backend_of(images).largest(windows, images)
    if found is not None:
        return found
    shape = (images.shape[0], *windows.out, images.shape[3])
    best = np.full(shape, _lowest(images.dtype), images.dtype)
    place = np.full(shape, -1, np.int64)
    width = images.shape[2]
    for (i, j), cells, (rows, columns) in windows.cells(images):
        y = np.arange(rows.start, rows.stop) * windows.stride[0] - windows.before[0] + i
        x = np.arange(columns.start, columns.stop) * windows.stride[1] - windows.before[1] + j
        part, at = best[:, rows, columns], place[:, rows, columns]
        better = (cells > part) | (at < 0) | ((cells != cells) & (part == part))
        np.copyto(part, cells, where=better)
        np.copyto(at, (y[:, None] * width + x)[..., None], where=better)
    return best, place


@on_its_device
def max_pool_with_argmax(
    input: ArrayLike,
    ksize: IntsLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: ImageFormat | None = "NHWC",
    output_dtype: Any = np.int64,
    include_batch_in_index: bool = False,
    name: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The largest cell of each window, and where it is.

    Parameters
    ----------
    input, ksize, strides, padding, data_format
        As for ``max_pool2d``.
    output_dtype : dtype, optional
        Of the places: int32 or int64.
    include_batch_in_index : bool, optional
        Whether places count on from image to image.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.

    Returns
    -------
    output : numpy.ndarray
        What ``max_pool2d`` returns.
    argmax : numpy.ndarray
        Of the same shape: the first place of each maximum in the flattened image,
        ``(row * W + column) * C + channel``.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``max_pool2d`` raises them.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/nn/max_pool_with_argmax

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> image = np.array([[1, 9], [3, 4]], np.float32).reshape(1, 2, 2, 1)
    >>> value, place = nn.max_pool_with_argmax(image, ksize=2, strides=2, padding="VALID")
    >>> value.item(), place.item()
    (9.0, 1)
    """
    x = pooled("input", input)
    kind = np.dtype(output_dtype)
    if kind not in (np.dtype(np.int32), np.dtype(np.int64)):
        raise TypeError(f"output_dtype: {output_dtype!r} is not int32 or int64")
    windows, depth = windows_of("input", x.shape, ksize, strides, padding, data_format, True)
    if depth > 1:
        raise NotImplementedError(f"ksize: {ksize!r} spans channels")
    images = as_images(windows, x)
    best, place = _largest(windows, images)
    n, h, w, c = images.shape
    place = place * c + _counting(place, c)
    if flag("include_batch_in_index", include_batch_in_index):
        place += (_counting(place, n) * (h * w * c))[:, None, None, None]
    return as_given(windows, best), as_given(windows, place.astype(kind))


@on_its_device
def max_pool2d_grad(
    orig_input: ArrayLike,
    orig_output: ArrayLike,
    grad: ArrayLike,
    ksize: IntsLike,
    strides: IntsLike,
    padding: PaddingLike,
    data_format: ImageFormat | None = "NHWC",
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of ``max_pool2d`` with respect to its input: all of it goes to each window's first maximum.

    Parameters
    ----------
    orig_input : array_like
        The pool's input.
    orig_output, grad : array_like
        The pool's result, and the gradient with respect to it, of the same shape.
    ksize, strides, padding, data_format
        As for ``max_pool2d``.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of `orig_input`.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``max_pool2d`` raises them, or if the shapes do not fit.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/MaxPoolGrad

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> image = np.array([[1, 9], [3, 4]], np.float32).reshape(1, 2, 2, 1)
    >>> nn.max_pool2d_grad(image, [[[[9.0]]]], [[[[5.0]]]], ksize=2, strides=2, padding="VALID")[0, :, :, 0]
    array([[0., 5.],
           [0., 0.]], dtype=float32)
    """
    x = pooled("orig_input", orig_input)
    windows, depth = windows_of("orig_input", x.shape, ksize, strides, padding, data_format, True)
    if depth > 1:
        raise NotImplementedError(f"ksize: {ksize!r} spans channels")
    images = as_images(windows, x)
    want = result_shape(windows, x.shape, images.shape[3])
    dy = castable("grad", grad, "orig_input", x)
    for label, shape in (
        ("orig_output", castable("orig_output", orig_output, "orig_input", x).shape),
        ("grad", dy.shape),
    ):
        if shape != want:
            raise ValueError(f"{label}: has shape {shape}, but the result has shape {want} (orig_input {x.shape})")
    check_place(out, x)
    values = as_images(windows, dy)
    dx = backend_of(x).pool_gradient(windows, images, values, images.shape, x.dtype)
    if dx is not None:
        return store(as_given(windows, dx), out)
    _, place = _largest(windows, images)
    n, h, w, c = images.shape
    index = (np.arange(n)[:, None, None, None] * (h * w) + place) * c + np.arange(c)
    total = np.zeros(n * h * w * c, x.dtype)
    np.add.at(total, index.ravel(), values.astype(x.dtype).ravel())
    return store(as_given(windows, total.reshape(n, h, w, c)), out)


@on_its_device
def avg_pool2d_grad(
    orig_input_shape: Sequence[int],
    grad: ArrayLike,
    ksize: IntsLike,
    strides: IntsLike,
    padding: PaddingName,
    data_format: ImageFormat | None = "NHWC",
    name: str | None = None,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of ``avg_pool2d`` with respect to its input: each window's cells get equal shares.

    Parameters
    ----------
    orig_input_shape : sequence of 4 ints
        The shape of the pool's input.
    grad : array_like
        The gradient with respect to the pool's result.
    ksize, strides, padding, data_format
        As for ``avg_pool2d``.
    name : str, optional
        Accepted for TensorFlow's sake, and ignored.
    out : numpy.ndarray, optional
        Where to write the result, C-contiguous; it may be an operand.

    Returns
    -------
    numpy.ndarray
        Shape `orig_input_shape`, of the dtype of `grad`.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        Where ``avg_pool2d`` raises them, or if the shapes do not fit.

    References
    ----------
    https://www.tensorflow.org/api_docs/python/tf/raw_ops/AvgPoolGrad

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.avg_pool2d_grad([1, 2, 2, 1], [[[[8.0]]]], ksize=2, strides=2, padding="VALID")[0, :, :, 0]
    array([[2., 2.],
           [2., 2.]], dtype=float32)
    """
    dy = pooled("grad", grad)
    shape = shape_of("orig_input_shape", orig_input_shape)
    windows, _ = windows_of("orig_input_shape", shape, ksize, strides, padding, data_format, False)
    want = result_shape(windows, shape, shape[1 if windows.first else 3])
    if dy.shape != want:
        raise ValueError(f"grad: has shape {dy.shape}, but the result has shape {want} (orig_input_shape {shape})")
    if dy.dtype.kind in "iu":
        raise TypeError(f"grad: dtype {dy.dtype} is not a floating one; convert it with astype (shape {dy.shape})")
    if out is not None:
        check_output(out, dy, shape, dy.dtype, ())
    n, h, w, c = (shape[0], *shape[2:], shape[1]) if windows.first else shape
    dx: Any = backend_of(dy).pool_gradient(windows, None, as_images(windows, dy), (n, h, w, c), dy.dtype)
    return store(as_given(windows, dx), out)
