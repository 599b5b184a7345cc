"""Compiles CUDA kernels for the host, each once for all processes of a test run."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

HERE = os.path.dirname(os.path.abspath(__file__))
# tests/conftest.py names a folder for all processes.
_own_folder = None if "STANDIN_FOLDER" in os.environ else tempfile.TemporaryDirectory(prefix="fastconv-kernels-")
_folder = os.environ["STANDIN_FOLDER"] if _own_folder is None else _own_folder.name


def built(code: str, options: tuple[str, ...], capability: int) -> ctypes.CDLL:
    """A kernel as a library of the host, which plays a device of this compute capability."""
    flags = [
        "-std=c++17",
        "-O1",
        "-shared",
        "-fPIC",
        f"-I{HERE}",
        "-DFC_HOST",
        f"-DFC_HOST_ARCH={capability}0",
    ]
    flags += ["-Wall", "-Werror", "-Wno-unused-function", "-Wno-unknown-pragmas"]
    # Checks of pointers take as long as all others, and find nothing here: no address is null, and guards see the rest.
    if os.environ.get("FASTCONV_TESTS"):
        flags += ["-fsanitize=undefined", "-fno-sanitize=null,object-size,vptr,pointer-overflow,float-divide-by-zero"]
        flags += ["-fno-sanitize-recover=all"]
    flags += [option for option in options if not option.startswith("-std")]
    name = hashlib.sha256("\0".join([code, *flags]).encode())
    for folder in (flag[2:] for flag in flags if flag.startswith("-I")):
        for header in sorted(Path(folder).glob("*.*h")):
            name.update(header.read_bytes())
    path = os.path.join(_folder, name.hexdigest()[:24] + ".so")
    if not os.path.exists(path):
        new = f"{path}.{os.getpid()}"
        subprocess.run(["g++", *flags, "-x", "c++", "-", "-o", new], input=code.encode(), check=True)
        os.replace(new, path)  # another process may have built it meanwhile
    return ctypes.CDLL(path)
