"""Images as float32 arrays, for the command line: reading, filtering with a border, writing."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import numpy as np


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


def write(path: str, image: np.ndarray, opacity: np.ndarray | None = None, white: float = 255.0) -> None:
    """Rounds to the range of the pixels and writes the file, in the format that its name tells."""
    image_module = pillow()
    kind = np.uint8 if white <= 255 else np.uint16
    pixels = np.clip(np.rint(image), 0, white).astype(kind)
    if opacity is not None:
        pixels = np.dstack([pixels, opacity.astype(kind)])
    # Beside it, then renamed: a write that fails leaves what was there.
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{os.getpid()}-{name}")
    try:
        image_module.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(beside)
        os.replace(beside, path)
    except (OSError, ValueError) as error:
        what = "JPEG has no transparency: choose a name that ends with .png" if "RGBA" in str(error) else error
        raise ImageError(f"{path}: cannot be written ({what})") from None
    finally:
        with contextlib.suppress(OSError):
            os.remove(beside)
