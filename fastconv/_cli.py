"""The command ``fastconv``."""

from __future__ import annotations

import argparse
import os
import sys

import numpy as np

from fastconv import __version__


def _parser() -> argparse.ArgumentParser:
    from fastconv import filters

    parser = argparse.ArgumentParser(
        prog="fastconv", description="tf.nn.conv2d for NumPy arrays, without TensorFlow: shown on images."
    )
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="run every kernel over a photograph; write a picture, print a table")
    demo.add_argument("image", nargs="?", metavar="IMAGE", help="a photograph of yours (default: an astronaut)")
    demo.add_argument("-o", "--output", metavar="OUT", help="the file to write (default: fastconv-demo.png)")

    one = commands.add_parser("filter", help="run one kernel over an image")
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("--kernel", required=True, metavar="NAME", help=", ".join(filters.NAMES))
    one.add_argument("-o", "--output", required=True, metavar="OUT", help="the file to write")
    one.add_argument(
        "--border", default="reflect", choices=filters.BORDERS, help="what lies outside the image (default: reflect)"
    )

    one.add_argument("--signed", action="store_true", help="show zero as gray: for sobel and other signed kernels")

    commands.add_parser("info", help="show how fastconv was built and what it uses here")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    from fastconv import _images

    parsed = _parser().parse_args(arguments)
    try:
        if parsed.command == "info":
            from fastconv import show_config

            show_config()
        elif parsed.command == "demo":
            from fastconv import _demo

            _demo.run(parsed.image, parsed.output or _demo.OUTPUT)
        else:
            _filter(parsed)
        sys.stdout.flush()
    except _images.ImageError as error:
        print(f"fastconv: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"fastconv: not enough memory{f' ({error})' if str(error) else ''}", file=sys.stderr)
        return 1
    except ValueError as error:
        if not os.environ.get("FASTCONV_IMPLEMENTATION"):
            raise
        print(f"fastconv: {error}", file=sys.stderr)  # it cannot compute this
        return 1
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads the output has closed it, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _filter(parsed: argparse.Namespace) -> None:
    from fastconv import _images, filters
    from fastconv._bands import filtered_bands

    if parsed.kernel not in filters.NAMES:
        raise _images.ImageError(f"{parsed.kernel}: no such kernel; there are {', '.join(filters.NAMES)}")
    _images.check_name(parsed.output)
    picture = _images.read(parsed.image)
    _images.check_kind(parsed.output, picture)
    pixels = picture.pixels.copy()  # opacity stays
    gray = np.float32(picture.white / 2 if parsed.signed else 0)
    colors = picture.pixels[..., : picture.colors]
    for first, end, rows in filtered_bands(colors, filters.kernel(parsed.kernel), parsed.border):
        pixels[first:end, :, : picture.colors] = _images.rounded(rows + gray, pixels.dtype)
    picture = picture._replace(pixels=pixels)
    del pixels, colors  # a large picture is in memory twice at most
    _images.write(parsed.output, picture)
