"""The command line: the demo, filters over images, and one-line errors."""

import importlib.util
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastconv
from fastconv import _bands, _demo, _images, filters
from fastconv._cli import main


def test_filters_are_what_their_names_say():
    for name in filters.NAMES:
        kernel = filters.kernel(name)
        assert kernel.dtype == np.float32
        assert kernel.shape in ((3, 3), (5, 5))
        kept = {"edge": 0, "ridge": 0, "sobel-x": 0, "sobel-y": 0}.get(name, 1)
        assert kernel.sum() == pytest.approx(kept, abs=1e-6), name
    assert (filters.kernel("sobel-x") == filters.kernel("sobel-y").T).all()
    ramp = np.tile(np.arange(9, dtype=np.float32), (9, 1))[..., np.newaxis]
    assert (
        filters.apply(ramp, filters.kernel("sobel-x"), border="zero")[1:-1, 1:-1] == 8
    ).all()  # not flipped: rising is positive
    assert (filters.apply(ramp, filters.kernel("identity")) == ramp).all()


def test_a_bank_is_its_kernels():
    image = np.random.default_rng(0).random((2, 20, 30, 1), np.float32)
    together = fastconv.nn.conv2d(image, filters.bank(), 1, "SAME")
    for index, name in enumerate(filters.NAMES):
        alone = fastconv.nn.conv2d(image, filters.kernel(name)[:, :, np.newaxis, np.newaxis], 1, "SAME")
        np.testing.assert_allclose(together[..., index], alone[..., 0], atol=1e-5)
    with pytest.raises(ValueError, match="'blurry' is not one of identity"):
        filters.bank(["blurry"])
    with pytest.raises(ValueError, match="at least one"):
        filters.bank([])


MODES = {"L": (40, 30), "RGB": (40, 30, 3), "RGBA": (40, 30, 4), "LA": (40, 30, 2), "I;16": (40, 30)}


@pytest.mark.parametrize("mode", MODES)
def test_images_of_every_kind_are_filtered(tmp_path, mode):
    rng = np.random.default_rng(0)
    kind = np.uint16 if mode == "I;16" else np.uint8
    pixels = rng.integers(0, np.iinfo(kind).max, MODES[mode], dtype=kind)
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(pixels).save(source)
    assert main(["filter", str(source), "--kernel", "identity", "-o", str(target)]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(target)), pixels)
    assert main(["filter", str(source), "--kernel", "gaussian-5x5", "-o", str(target), "--border", "reflect"]) == 0
    blurred = np.asarray(Image.open(target))
    assert blurred.shape == pixels.shape
    if mode in ("RGBA", "LA"):
        np.testing.assert_array_equal(blurred[..., -1], pixels[..., -1])
    assert blurred[..., 0].std() < pixels[..., 0].std()


@pytest.mark.parametrize("border, corner", [("zero", 4 / 9), ("edge", 1), ("reflect", 1)])
def test_borders(tmp_path, border, corner):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(np.full((8, 8), 180, np.uint8)).save(source)
    main(["filter", str(source), "--kernel", "box-blur", "-o", str(target), "--border", border])
    assert np.asarray(Image.open(target))[0, 0] == round(180 * corner)


def test_errors_are_one_line(tmp_path, capsys):
    picture, text = tmp_path / "in.png", tmp_path / "text.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(picture)
    text.write_text("not an image")
    broken = tmp_path / "broken.png"
    data = bytearray(picture.read_bytes())
    data[data.index(b"IDAT") - 1] = 0  # the length of a chunk: the next one then has no kind
    broken.write_bytes(data)
    for arguments, message in [
        ([str(tmp_path / "none.png"), "--kernel", "edge", "-o", "x.png"], "no such file"),
        ([str(picture), "--kernel", "edgy", "-o", "x.png"], "edgy: no such kernel; there are identity, edge"),
        ([str(text), "--kernel", "edge", "-o", "x.png"], "cannot be read as an image"),
        ([str(broken), "--kernel", "edge", "-o", "x.png"], "cannot be read as an image"),
        ([str(picture), "--kernel", "edge", "-o", str(tmp_path / "no" / "x.png")], "cannot be written"),
        ([str(picture), "--kernel", "edge", "-o", str(tmp_path / "x.unknown")], "cannot be written"),
    ]:
        assert main(["filter", *arguments]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert error.startswith("fastconv: ")


def test_demo_prints_a_table_and_writes_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    for name in filters.NAMES:
        assert name in printed
    assert "512 x 512 pixels, 3 channels" in printed
    if importlib.util.find_spec("tensorflow"):
        assert printed.count("agrees, ") == len(filters.NAMES) + 1
    else:
        assert "TensorFlow is not installed: not compared" in printed
    sheet = Image.open(tmp_path / "fastconv-demo.png")
    assert 3 * 512 < sheet.width < 3 * 560
    assert sheet.height > 3 * 512
    assert np.asarray(sheet)[:, :8].min() == 255  # a margin


def test_demo_takes_a_picture_of_yours(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_demo, "_SECONDS", 0.01)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80), dtype=np.uint8)).save("mine.png")
    assert main(["demo", "mine.png"]) == 0
    assert "80 x 60 pixels, 1 channels" in capsys.readouterr().out
    assert main(["demo", "none.png"]) == 1
    assert main(["demo", "mine.png", "-o", "no/sheet.png"]) == 1
    assert "there is no folder no" in capsys.readouterr().err


def test_demo_makes_large_photographs_small(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_demo, "_SECONDS", 0.01)
    photo, sheet = tmp_path / "photo.jpg", tmp_path / "sheet.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (1500, 3000, 3), dtype=np.uint8)).save(photo)
    assert main(["demo", str(photo), "-o", str(sheet)]) == 0
    assert "512 x 256 pixels, 3 channels" in capsys.readouterr().out
    assert Image.open(sheet).width < 3 * 560


def test_pictures_keep_what_belongs_to_them(tmp_path):
    from PIL import ImageCms

    rows, columns = np.mgrid[:20, :30]
    pixels = np.stack([8 * columns, 12 * rows, 4 * (rows + columns)], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: to be turned by 90 degrees
    exif[0x010F] = "a maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = tmp_path / "in.jpg"
    Image.fromarray(pixels).save(source, quality=37, subsampling=0, exif=exif, icc_profile=profile, dpi=(300, 300))
    for name in ("out.jpg", "out.png"):
        target = tmp_path / name
        assert main(["filter", str(source), "--kernel", "identity", "-o", str(target)]) == 0
        before, after = Image.open(source), Image.open(target)
        assert after.size == (20, 30)
        assert after.getexif().get(0x0112, 1) == 1
        assert after.getexif()[0x010F] == "a maker"
        assert after.info["icc_profile"] == profile
        assert tuple(round(float(value)) for value in after.info["dpi"]) == (300, 300)
        if name == "out.jpg":
            assert after.quantization == before.quantization
        shown = np.asarray(before, int).transpose(1, 0, 2)[:, ::-1]
        assert np.abs(np.asarray(after, int) - shown).mean() < 4


def test_pictures_that_would_lose_something_are_refused(tmp_path, capsys):
    frames = [Image.new("L", (8, 8), value) for value in (0, 99)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    rows = b"".join(b"\0" + bytes(8 * 6) for _ in range(8))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)  # 16 bits of red, green and blue
    deep = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(deep)
    for name, message in (("two.gif", "has 2 frames"), ("deep.png", "more than 8 bits")):
        assert main(["filter", str(tmp_path / name), "--kernel", "edge", "-o", str(tmp_path / "out.png")]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_signed_results_lie_around_gray(tmp_path):
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "in.png")
    arguments = ["filter", str(tmp_path / "in.png"), "--kernel", "sobel-x", "--signed", "-o", str(tmp_path / "out.png")]
    assert main(arguments) == 0
    assert (np.asarray(Image.open(tmp_path / "out.png")) == 128).all()


def test_names_are_checked_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_images, "read", lambda path: pytest.fail("was read"))
    for name in ("x", "x.unknown", "no/x.png"):
        assert main(["filter", "in.png", "--kernel", "edge", "-o", str(tmp_path / name)]) == 1
        assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["-m", "fastconv"], None])
def test_both_ways_to_start_it(command):
    executable = [sys.executable, *command] if command else [str(Path(sys.executable).with_name("fastconv"))]
    done = subprocess.run([*executable, "info"], capture_output=True, text=True, cwd=tempfile.gettempdir(), check=True)
    assert '"Instruction sets"' in done.stdout


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path, capsys):
    from PIL import Image

    Image.new("RGBA", (8, 8), (10, 20, 30, 40)).save(tmp_path / "a.png")
    there = tmp_path / "there.jpg"
    there.write_bytes(b"precious")
    assert main(["filter", str(tmp_path / "a.png"), "--kernel", "sharpen", "-o", str(there)]) == 1
    assert "JPEG has no transparency: choose a name that ends with .png" in capsys.readouterr().err
    assert there.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "there.jpg"]


def test_what_ends_a_command_from_outside_is_one_line(monkeypatch, capsys):
    for error, status, words in (
        (KeyboardInterrupt(), 130, "fastconv: interrupted\n"),
        (MemoryError("no memory for 8 bytes"), 1, "fastconv: not enough memory (no memory for 8 bytes)\n"),
    ):

        def fail(error=error):
            raise error

        monkeypatch.setattr(fastconv, "show_config", fail)
        assert main(["info"]) == status
        assert capsys.readouterr().err == words


def test_a_closed_pipe_ends_without_a_traceback():
    import os
    import subprocess
    import sys

    read, write = os.pipe()
    os.close(read)
    code = "import sys; from fastconv._cli import main; sys.exit(main(['info']))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=tempfile.gettempdir())
    os.close(write)
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="counts memory as Unix does")
@pytest.mark.parametrize("arguments", [[], ["--signed", "--border", "zero"]])
def test_a_large_picture_takes_at_most_four_times_its_size_in_memory(tmp_path, arguments):
    height, width = 3500, 4000
    code = "import resource, sys; from fastconv._cli import main; from PIL import Image; import fastconv.nn;"
    code += "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; assert main(sys.argv[1:]) == 0;"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    Image.new("RGB", (width, height), (9, 200, 77)).save(tmp_path / "large.bmp")
    command = ["filter", "large.bmp", "--kernel", "gaussian-5x5", "-o", "filtered.bmp", *arguments]
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 4 * 3 * height * width
    shade = np.asarray(Image.open(tmp_path / "filtered.bmp"))[17, 23].tolist()
    assert shade == ([136, 255, 204] if arguments else [9, 200, 77])


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("FASTCONV_ISA", "bogus", "FASTCONV_ISA='bogus' is not an instruction set"),
        ("FASTCONV_VERBOSE", "x", "FASTCONV_VERBOSE='x' is not 0, 1 or 2"),
        ("FASTCONV_IMPLEMENTATION", "bogus", "FASTCONV_IMPLEMENTATION: "),
        ("FASTCONV_IMPLEMENTATION", "depthwise", "'depthwise'"),
    ],
)
def test_wrong_environment_variables_end_in_one_line(tmp_path, monkeypatch, variable, value, words):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    monkeypatch.setenv(variable, value)
    command = [sys.executable, "-m", "fastconv", "filter", "a.png", "--kernel", "edge", "-o", "b.png"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("fastconv: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_a_format_cannot_hold_is_told_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fastconv._bands.filtered_bands", None)
    (tmp_path / "folder.png").mkdir()
    for mode, output, words in [
        ("LA", "x.jpg", "JPEG has no transparency"),
        ("RGBA", "x.jpg", "JPEG has no transparency"),
        ("I;16", "x.jpg", "JPEG has 8 bits a pixel"),
        ("L", "folder.png", "it is a folder"),
    ]:
        Image.new(mode, (9, 9)).save(tmp_path / "a.png")
        assert main(["filter", str(tmp_path / "a.png"), "--kernel", "edge", "-o", str(tmp_path / output)]) == 1
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("border", filters.BORDERS)
@pytest.mark.parametrize("shape", [(23, 17, 3), (40, 9, 1), (2, 30, 2)])
def test_bands_of_a_picture_are_those_of_the_whole(monkeypatch, border, shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for taps in ((3, 3), (5, 1), (7, 5)):
        kernel = np.random.default_rng(1).standard_normal(taps).astype(np.float32)
        beyond = [(taps[0] // 2,) * 2, (taps[1] // 2,) * 2, (0, 0)]
        narrow = shape[0] <= taps[0] // 2 or shape[1] <= taps[1] // 2
        mode = "constant" if border == "zero" else "edge" if narrow else border
        padded = np.pad(image.astype(np.float32), beyond, mode=mode).transpose(2, 0, 1)[..., np.newaxis]
        want = fastconv.nn.conv2d(padded, kernel[:, :, None, None], 1, "VALID")[..., 0].transpose(1, 2, 0)
        for elements in (1, 150, 1 << 20):  # a row at a time, some rows, the whole
            monkeypatch.setattr(_bands, "_ELEMENTS", elements)
            assert filters.apply(image, kernel, border=border).tobytes() == want.tobytes(), (taps, elements)
