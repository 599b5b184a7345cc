"""Equality with TensorFlow in both of its modes, each in a process of its own, for a bad call may abort it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "name, onednn, tests",
    [
        ("tensorflow_mode", "0", 500),
        ("tensorflow_mode", "1", 500),
        ("tensorflow_relatives", "0", 100),
        ("tensorflow_relatives", "1", 100),
    ],
)
def test_equals_tensorflow(name, onednn, tests, monkeypatch):
    if onednn == "0" and not os.environ.get("FASTCONV_TESTS"):
        pytest.skip("FASTCONV_TESTS=all compares with TensorFlow without oneDNN, too")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    file = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(file)],
        capture_output=True,
        text=True,
        cwd=file.parent,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > tests
