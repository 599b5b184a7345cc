"""Images as float32 arrays, for the command line: reading, filtering with a border, writing."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastconv import nn

# What numpy.pad calls the borders that are not zeros.
BORDERS = {"zero": "constant", "reflect": "reflect", "edge": "edge"}


class ImageError(Exception):
    """A message for the user, one line long."""


def pillow() -> Any:
    """Pillow's Image module, or an ImageError that says how to get it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImageError("images need Pillow: pip install 'fastconv[demo]'") from None
    return Image


def read(path: str) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Height x width x channels in float32, the alpha channel if there is one, and the value of white."""
    image_module = pillow()
    if not os.path.exists(path):
        raise ImageError(f"{path}: no such file")
    try:
        with image_module.open(path) as image:
            if image.mode == "F" or (image.mode == "I" and image.getextrema()[1] > 65535):
                raise ImageError(f"{path}: pixels of more than 16 bits are not supported")
            if image.mode.startswith("I"):
                pixels, white = np.asarray(image), 65535.0
            else:
                alpha = "A" in image.getbands() or "transparency" in image.info
                grey = image.mode in ("1", "L", "LA")
                mode = ("LA" if alpha else "L") if grey else ("RGBA" if alpha else "RGB")
                pixels, white = np.asarray(image.convert(mode)), 255.0
    except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
        raise ImageError(f"{path}: cannot be read as an image ({error})") from None
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    opacity = None
    if pixels.shape[2] in (2, 4):
        pixels, opacity = pixels[..., :-1], pixels[..., -1]
    return pixels.astype(np.float32), opacity, white


def apply(kernel: np.ndarray, image: np.ndarray, border: str = "zero") -> np.ndarray:
    """Each channel of the image convolved with the kernel, at the same size."""
    planes = image.transpose(2, 0, 1)[..., np.newaxis]
    rows, columns = (len(kernel) // 2,) * 2, (len(kernel[0]) // 2,) * 2
    if border == "zero":
        padding: Any = [(0, 0), rows, columns, (0, 0)]
    else:
        if border == "reflect" and min(image.shape[:2]) <= max(rows[0], columns[0]):
            border = "edge"  # nothing to reflect in an image as narrow as the border
        planes, padding = np.pad(planes, ((0, 0), rows, columns, (0, 0)), mode=BORDERS[border]), "VALID"  # type: ignore[call-overload]
    return nn.conv2d(planes, kernel[:, :, np.newaxis, np.newaxis], 1, padding)[..., 0].transpose(1, 2, 0)


def write(path: str, image: np.ndarray, opacity: np.ndarray | None = None, white: float = 255.0) -> None:
    """Rounds to the range of the pixels and writes the file, in the format that its name tells."""
    image_module = pillow()
    kind = np.uint8 if white <= 255 else np.uint16
    pixels = np.clip(np.rint(image), 0, white).astype(kind)
    if opacity is not None:
        pixels = np.dstack([pixels, opacity.astype(kind)])
    try:
        image_module.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be written ({error})") from None
