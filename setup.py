"""The build of the extension module; everything else about the package stands in pyproject.toml."""

import concurrent.futures
import glob
import os
import subprocess
import sysconfig
import tempfile

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# x86-64-v2 is what every wheel may assume; the kernels for more are chosen at run time. Contraction is off because the
# bits of a sum follow from where its fused multiply-adds are written, and from nothing else. Addresses outside an image
# are computed, though never read, and may wrap. Nobody reads errno or floating-point exceptions after a call; without
# them, square roots and comparisons vectorize. Debugging information would be half of a wheel.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fwrapv", "-fvisibility=hidden", "-fno-math-errno"]
FLAGS += ["-fno-trapping-math", "-g0"]
if sysconfig.get_platform().endswith("x86_64"):
    FLAGS.append("-march=x86-64-v2")


MOST_COMPILERS = 8  # at a time: each takes up to half a gigabyte


class BuildExt(build_ext):
    """build_ext that compiles sources side by side, with OpenMP where the compiler has it, and says so."""

    def build_extensions(self):
        self.compile = self.compiler.compile
        self.compiler.compile = self.compile_side_by_side
        openmp = self.openmp_flags()
        print("fastconv: OpenMP " + (f"found ({' '.join(openmp)})" if openmp else "not found: one thread"), flush=True)
        for extension in self.extensions:
            extension.extra_compile_args = FLAGS + openmp
            extension.extra_link_args = openmp
            extension.define_macros.append(("FC_FLAGS", '"' + " ".join(FLAGS + openmp) + '"'))
        super().build_extensions()

    def compile_side_by_side(self, sources, **keywords):
        """The objects of the sources; those that take longest, the module and the kernels, are begun first."""
        sources = sorted(sources, key=lambda source: ("_cpu" not in source, "kernels" not in source))
        with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_COMPILERS)) as pool:
            objects = pool.map(lambda source: self.compile([source], **keywords), sources)
            return [found for each in objects for found in each]

    def openmp_flags(self):
        """The flags with which a program that needs OpenMP compiles and links here; none if there are none."""
        program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
        for flags in (["-fopenmp"], ["-Xpreprocessor", "-fopenmp", "-lomp"]):
            with tempfile.TemporaryDirectory() as folder:
                source = os.path.join(folder, "probe.c")
                with open(source, "w") as file:
                    file.write(program)
                command = [*self.compiler.compiler_so, source, "-o", os.path.join(folder, "probe"), *flags]
                try:
                    subprocess.run(command, check=True, capture_output=True)
                except (OSError, subprocess.CalledProcessError):
                    continue
                return flags
        return []


extension = Extension(
    "fastconv._cpu",
    ["fastconv/_cpu.pyx", *sorted(glob.glob("src/*.c") + glob.glob("src/kernels/*.c"))],
    include_dirs=["src", numpy.get_include()],
    depends=glob.glob("fastconv/*.px[di]")
    + glob.glob("src/**/*.h", recursive=True)
    + glob.glob("src/**/*.inc", recursive=True),
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
        ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
    ],
)
setup(
    ext_modules=cythonize([extension], build_dir="build/cython"),
    cmdclass={"build_ext": BuildExt},
)
