"""The command line: the demo, filters over images, and one-line errors."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastconv
from fastconv import filters
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
    assert printed.count("agrees, ") == len(filters.NAMES) + 1
    sheet = Image.open(tmp_path / "fastconv-demo.png")
    assert sheet.width == 3 * 512
    assert sheet.height > 3 * 512


def test_demo_takes_a_picture_of_yours(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80), dtype=np.uint8)).save("mine.png")
    assert main(["demo", "mine.png"]) == 0
    assert "80 x 60 pixels, 1 channels" in capsys.readouterr().out
    assert main(["demo", "none.png"]) == 1


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
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 1 and done.stderr == ""
