"""Every micro-kernel alone, on every instruction set: the C test, built with the C compiler at hand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from problems import SUPPORTED


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_every_kernel_with_odd_sizes_and_guards():
    check = Path(__file__).parent / "c" / "check.py"
    variant, convolutions = ("native", "300") if os.environ.get("FASTCONV_TESTS") else ("quick", "60")
    command = [sys.executable, str(check), variant, "--convolutions", convolutions]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == set(SUPPORTED)
