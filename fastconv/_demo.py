"""``fastconv demo``: every kernel of ``fastconv.filters`` over a photograph; a picture and a table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np

from fastconv import _images, filters, nn
from fastconv._options import options

OUTPUT = "fastconv-demo.png"
_ROUNDS = 20
# Of the largest magnitude: two float32 sums of 25 terms differ by no more than their rounding errors.
_AGREEMENT = 25 * 2.0**-23


def photograph() -> np.ndarray:
    """scikit-image's astronaut."""
    try:
        from skimage import data
    except ImportError:
        raise _images.ImageError("the demo's photograph needs scikit-image: pip install 'fastconv[demo]'") from None
    return np.asarray(data.astronaut(), np.float32)


def _best(call: Callable[[], object]) -> float:
    """The shortest of some calls, in milliseconds."""
    call()
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


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


def _contact_sheet(image: np.ndarray, results: np.ndarray) -> np.ndarray:
    """The results side by side, three in a row, labelled; the derivatives' zero is grey."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = image.shape[:2]
    font = ImageFont.load_default(size=max(12, height // 20))
    bar = max(20, height // 14)
    names = filters.NAMES
    rows = -(-len(names) // 3)
    sheet = Image.new("RGB", (3 * width, rows * (height + bar)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, name in enumerate(names):
        pixels = results[..., index].transpose(1, 2, 0)
        if name.startswith("sobel"):
            pixels = 127.5 + pixels / 4
        tile = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        tile = np.broadcast_to(tile, (*tile.shape[:2], 3)) if tile.shape[2] == 1 else tile
        left, top = index % 3 * width, index // 3 * (height + bar)
        sheet.paste(Image.fromarray(np.ascontiguousarray(tile)), (left, top + bar))
        draw.text((left + bar // 3, top + bar // 10), name, fill="black", font=font)
    return np.asarray(sheet)


def run(path: str | None = None, output: str = OUTPUT) -> None:
    """Prints the table and writes the contact sheet."""
    image, _, white = (photograph(), None, 255.0) if path is None else _images.read(path)
    image *= np.float32(255 / white)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))[..., np.newaxis]
    bank = filters.bank()
    results = nn.conv2d(planes, bank, 1, "SAME")
    _images.pillow()
    _images.write(output, _contact_sheet(image, results).astype(np.float32))

    tensorflow = _tensorflow()
    print(f"{image.shape[1]} x {image.shape[0]} pixels, {image.shape[2]} channels, float32")
    print(f"{'kernel':14s}{'ms':>8s}{'largest error':>15s}" + ("  TensorFlow" if tensorflow else ""))
    rows = [(name, filters.bank([name])) for name in filters.NAMES] + [("all as one bank", bank)]
    for name, weights in rows:
        ours = _best(lambda weights=weights: nn.conv2d(planes, weights, 1, "SAME"))  # type: ignore[misc]
        y = nn.conv2d(planes, weights, 1, "SAME")
        with options(implementation="reference"):
            exact = nn.conv2d(planes.astype(np.float64), weights.astype(np.float64), 1, "SAME")
        line = f"{name:14s}{ours:8.2f}{np.abs(y - exact).max():15.2e}"
        if tensorflow:
            theirs = tensorflow(planes, weights)
            difference = np.abs(theirs() - y).max()
            agrees = difference <= _AGREEMENT * max(1.0, float(np.abs(exact).max()))
            line += (
                f"  {'agrees' if agrees else f'differs by {difference:.2e}'}, {_best(theirs) / ours:.1f} times as long"
            )
        print(line)
    if not tensorflow:
        print("TensorFlow is not installed: not compared")
    print(f"The pictures are in {os.path.abspath(output)}")
