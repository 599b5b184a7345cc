"""Builds and runs the tests of the C side: natively, in half the time, under sanitizers, or for AArch64 under QEMU."""

from __future__ import annotations

import argparse
import concurrent.futures
import glob
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WARNINGS = ["-Wall", "-Wextra", "-Wno-psabi", "-Werror"]
MATH = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
COMMON = ["-std=gnu11", *MATH, "-I" + os.path.join(ROOT, "src"), *WARNINGS]
VARIANTS = {
    "native": (["cc", "-O3"], []),
    "quick": (["cc", "-O1"], []),
    "sanitize": (["gcc", "-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], []),
    "aarch64": (["aarch64-linux-gnu-gcc", "-O3", "-static"], ["qemu-aarch64-static"]),
}


def build(compiler: list[str], folder: str) -> str:
    """The library as one object, its sources compiled side by side; CalledProcessError if one does not compile."""
    sources = glob.glob(os.path.join(ROOT, "src", "*", "*.c"))
    sources.sort(key=os.path.getsize)  # those of the kernels, which take longest, are a few lines each: they come first
    objects = [os.path.join(folder, f"{index}.o") for index in range(len(sources))]

    def compile_one(source: str, target: str) -> None:
        subprocess.run([*compiler, *COMMON, "-c", source, "-o", target], check=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, sources, objects))
    library = os.path.join(folder, "library.o")
    subprocess.run([*compiler, "-r", "-nostdlib", *objects, "-o", library], check=True)
    return library


def check(variant: str, convolutions: int) -> str:
    """What the tests printed, which run side by side; CalledProcessError if one failed."""
    compiler, runner = VARIANTS[variant]
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        library = build(compiler, folder)

        def run(test: str) -> str:
            program = os.path.join(folder, os.path.basename(test).removesuffix(".c"))
            subprocess.run([*compiler, *COMMON, test, library, "-o", program, "-lm"], check=True)
            command = [*runner, program, str(convolutions)]
            return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout

        return "".join(pool.map(run, sorted(glob.glob(os.path.join(ROOT, "tests", "c", "test_*.c")))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=sorted(VARIANTS))
    parser.add_argument(
        "--convolutions", type=int, default=300, help="random problems of each kind for each instruction set"
    )
    arguments = parser.parse_args()
    try:
        print(check(arguments.variant, arguments.convolutions), end="")
    except subprocess.CalledProcessError as error:
        print(error.stdout or "", end="")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
