"""Pictures as arrays, for the command line: reading and writing, with what belongs to a picture kept."""

from __future__ import annotations

import contextlib
import os
import warnings
from typing import Any, NamedTuple

import numpy as np


class ImageError(Exception):
    """A message for the user, one line long."""


class Picture(NamedTuple):
    """What was read of a file."""

    pixels: np.ndarray  # height x width x channels, of unsigned integers
    colors: int  # channels that are colors; opacity may follow them
    kept: dict[str, Any]  # what Pillow's save is to write besides: profile, EXIF, resolution, JPEG's tables

    @property
    def white(self) -> int:
        """The value of white."""
        return int(np.iinfo(self.pixels.dtype).max)


def pillow() -> Any:
    """Pillow's Image module, or an ImageError that says how to get it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImageError("images need Pillow: pip install pillow") from None
    return Image


def read(path: str) -> Picture:
    """The picture in a file, upright."""
    image_module = pillow()
    if not os.path.exists(path):
        raise ImageError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", image_module.DecompressionBombWarning)
            with image_module.open(path) as image:
                return _picture(path, image)
    except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
        raise ImageError(f"{path}: cannot be read as an image ({error})") from None


def _picture(path: str, image: Any) -> Picture:
    from PIL import ImageOps

    if getattr(image, "is_animated", False) and image.format != "MPO":  # a photograph with its preview
        raise ImageError(f"{path}: has {image.n_frames} frames; only single pictures are filtered")
    many_bits = image.mode == "F" or (image.mode == "I" and image.getextrema()[1] > 65535)
    # Pillow would drop the lower half of several channels' 16 bits without a word.
    if many_bits or (not image.mode.startswith("I") and any(";16" in str(tile) for tile in image.tile)):
        raise ImageError(f"{path}: pixels of more than 8 bits are supported in gray pictures alone, of up to 16 bits")
    kept = {name: image.info[name] for name in ("dpi", "icc_profile") if name in image.info}
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        kept.pop("icc_profile", None)  # of the colors before they become RGB
    if image.format == "JPEG":
        from PIL import JpegImagePlugin

        kept |= {"qtables": image.quantization, "subsampling": JpegImagePlugin.get_sampling(image)}
    ImageOps.exif_transpose(image, in_place=True)
    exif = image.getexif()
    if exif:
        kept["exif"] = exif.tobytes()
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.uint16, copy=False)
    else:
        alpha = "A" in image.getbands() or "transparency" in image.info
        gray = image.mode in ("1", "L", "LA")
        mode = ("LA" if alpha else "L") if gray else ("RGBA" if alpha else "RGB")
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return Picture(pixels, pixels.shape[2] - (pixels.shape[2] in (2, 4)), kept)


def rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Each value as the nearest of an unsigned dtype."""
    result: np.ndarray = np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
    return result


def check_name(path: str) -> None:
    """Raises an ImageError if a file of this name could not be written, before the work is done."""
    if os.path.isdir(path):
        raise ImageError(f"{path}: cannot be written (it is a folder)")
    folder, ending = os.path.dirname(path) or os.curdir, os.path.splitext(path)[1].lower()
    if not os.path.isdir(folder):
        raise ImageError(f"{path}: cannot be written (there is no folder {folder})")
    formats = pillow().registered_extensions()
    if ending not in formats or formats[ending] not in pillow().SAVE:
        raise ImageError(f"{path}: cannot be written (no format of pictures has the ending {ending!r}; .png has)")


def check_kind(path: str, picture: Picture) -> None:
    """Raises an ImageError if the format that the name tells cannot hold such pixels, before the work is done."""
    kind = pillow().registered_extensions()[os.path.splitext(path)[1].lower()]
    if kind == "JPEG" and picture.colors < picture.pixels.shape[2]:
        raise ImageError(f"{path}: cannot be written (JPEG has no transparency: choose a name that ends with .png)")
    if kind == "JPEG" and picture.white > 255:
        raise ImageError(f"{path}: cannot be written (JPEG has 8 bits a pixel: choose a name that ends with .png)")


def write(path: str, picture: Picture) -> None:
    """Writes the file, in the format that its name tells."""
    image_module = pillow()
    image = image_module.fromarray(picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels)
    kept = dict(picture.kept)
    if image_module.registered_extensions().get(os.path.splitext(path)[1].lower()) != "JPEG":
        kept = {name: value for name, value in kept.items() if name not in ("qtables", "subsampling")}
    # Beside it, then renamed: a write that fails leaves what was there.
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{os.getpid()}-{name}")
    try:
        image.save(beside, **kept)
        os.replace(beside, path)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be written ({error})") from None
    finally:
        with contextlib.suppress(OSError):
            os.remove(beside)
