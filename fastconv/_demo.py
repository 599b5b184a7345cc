"""``fastconv demo``: every kernel of ``fastconv.filters`` over a photograph; a picture and a table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np

from fastconv import _images, filters, get_num_threads, nn
from fastconv._settings import options

OUTPUT = "fastconv-demo.png"
_LONGEST = 512  # pixels of a side: larger photographs are made smaller
_SECONDS = 0.3  # of measuring each row
_MARGIN = 12  # pixels around each picture of the sheet
_SIGNED = ("sobel-x", "sobel-y")  # kernels whose results are shown on gray
# Of the largest magnitude: two float32 sums of 25 terms differ by no more than their rounding errors.
_AGREEMENT = 25 * 2.0**-23


def photograph() -> np.ndarray:
    """scikit-image's astronaut."""
    try:
        from skimage import data
    except ImportError:
        raise _images.ImageError("the demo's photograph needs scikit-image: pip install scikit-image") from None
    return np.asarray(data.astronaut(), np.float32)


def _small(image: np.ndarray, white: int) -> np.ndarray:
    """The photograph with no side longer than _LONGEST, in values of 0 to 255."""
    height, width = image.shape[:2]
    to_bytes = np.float32(255 / white)
    if max(height, width) <= _LONGEST:
        return image * to_bytes
    image_module = _images.pillow()
    scale = _LONGEST / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    channels = [
        np.asarray(image_module.fromarray(channel.astype(np.float32)).resize(size, image_module.Resampling.LANCZOS))
        for channel in image.transpose(2, 0, 1)
    ]
    small: np.ndarray = np.clip(np.stack(channels, axis=-1) * to_bytes, 0, 255)
    return small


def _best(*calls: Callable[[], object]) -> list[float]:
    """The shortest time of each call in milliseconds: in turns, so that other work on the machine meets all alike."""
    best = [float("inf")] * len(calls)
    begin = time.perf_counter()
    for call in calls:
        call()
    while time.perf_counter() - begin < _SECONDS:
        for index, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[index] = min(best[index], 1e3 * (time.perf_counter() - start))
    return best


def _tensorflow() -> Callable[[np.ndarray, np.ndarray], Callable[[], object]] | None:
    """What makes, of an input and filters, a call of TensorFlow's conv2d on its own tensors; None without it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except Exception:  # a broken installation must not spoil the demo
        return None

    def prepare(x: np.ndarray, w: np.ndarray) -> Callable[[], object]:
        image, weights = tf.constant(x), tf.constant(w)
        return lambda: tf.nn.conv2d(image, weights, 1, "SAME").numpy()

    return prepare


def _tile(image: np.ndarray, name: str) -> np.ndarray:
    """One kernel's picture in bytes; where results have a sign, that of the gray photograph, zero as middle gray."""
    if name in _SIGNED:
        pixels = 127.5 + filters.apply(image.mean(-1, keepdims=True), filters.kernel(name)) / 4
    else:
        pixels = filters.apply(image, filters.kernel(name))
    tile = _images.rounded(pixels, np.dtype(np.uint8))
    return np.ascontiguousarray(np.broadcast_to(tile, (*tile.shape[:2], 3)))


def _contact_sheet(image: np.ndarray, title: str) -> np.ndarray:
    """The kernels' pictures under a title, three in a row, each with its name."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = image.shape[:2]
    text = max(12, height // 24)
    font = ImageFont.load_default(size=text)
    names = filters.NAMES
    across, down = width + _MARGIN, height + 2 * text + _MARGIN
    # A narrow picture's sheet is as wide as its title.
    wide = max(3 * across + _MARGIN, round(font.getlength(title)) + 2 * _MARGIN)
    top = 2 * text + _MARGIN
    sheet = Image.new("RGB", (wide, top - (-len(names) // 3) * down), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), title, fill="black", font=font)
    for index, name in enumerate(names):
        left, above = _MARGIN + index % 3 * across, top + index // 3 * down
        draw.text((left, above), name, fill="black", font=font)
        sheet.paste(Image.fromarray(_tile(image, name)), (left, above + 3 * text // 2))
    return np.asarray(sheet)


def run(path: str | None = None, output: str = OUTPUT) -> None:
    """Prints the table and writes the contact sheet."""
    _images.check_name(output)
    if path is None:
        image = photograph()
    else:
        picture = _images.read(path)
        image = _small(picture.pixels[..., : picture.colors], picture.white)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))[..., np.newaxis]
    bank = filters.bank()
    tensorflow = _tensorflow()
    what = (
        f"{image.shape[1]} x {image.shape[0]} pixels, {image.shape[2]} channels, float32, {get_num_threads()} threads"
    )
    print(what)
    print(f"{'kernel':18s}{'ms':>8s}{'largest error':>15s}" + ("  TensorFlow" if tensorflow else ""), flush=True)
    rows = [(name, filters.bank([name])) for name in filters.NAMES] + [("all as one bank", bank)]
    ours = 0.0
    for name, weights in rows:
        calls: list[Callable[[], object]] = [lambda weights=weights: nn.conv2d(planes, weights, 1, "SAME")]  # type: ignore[misc]
        y = nn.conv2d(planes, weights, 1, "SAME")
        with options(implementation="reference"):
            exact = nn.conv2d(planes.astype(np.float64), weights.astype(np.float64), 1, "SAME")
        if tensorflow:
            calls.append(tensorflow(planes, weights))
        ours, *theirs = _best(*calls)
        line = f"{name:18s}{ours:8.2f}{np.abs(y - exact).max():15.2e}"
        if tensorflow:
            difference = np.abs(calls[1]() - y).max()
            agrees = difference <= _AGREEMENT * max(1.0, float(np.abs(exact).max()))
            line += f"  {'agrees' if agrees else f'differs by {difference:.2e}'}, {theirs[0] / ours:.1f} times as long"
        print(line, flush=True)
    if not tensorflow:
        print("TensorFlow is not installed: not compared")
    title = f"fastconv: {len(filters.NAMES)} kernels over {what}, in {ours:.2f} ms"
    _images.write(output, _images.Picture(_contact_sheet(image, title), 3, {}))
    print(f"The pictures are in {os.path.abspath(output)}")
