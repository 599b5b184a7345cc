"""The build of the extension module; everything else about the package stands in pyproject.toml."""

import concurrent.futures
import contextlib
import glob
import hashlib
import itertools
import os
import re
import shutil
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
NO_COMPILER = """
fastconv is built from C, and this system has no C compiler that works: {command!r} said

    {error}

Install one (Debian and Ubuntu: apt install gcc python3-dev; Fedora: dnf install gcc python3-devel; macOS:
xcode-select --install), and run the same command again.
"""


def object_cache():
    """Where compiled objects are kept from build to build; pip builds each time in a new folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "fastconv-build")


class BuildExt(build_ext):
    """build_ext that compiles sources side by side, with OpenMP where the compiler has it, and says so.

    Objects are kept by all that they depend on, and taken again where none of that has changed.
    """

    def build_extensions(self):
        self.check_compiler()
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
        sources = sorted(sources, key=lambda source: ("_core" not in source, "isa" not in source))
        print(f"fastconv: {len(sources)} sources; the first build takes one to three minutes", flush=True)
        done = itertools.count(1)

        def compile_one(source):
            objects, how = self.compile_or_take(source, **keywords)
            print(f"fastconv: {next(done)} of {len(sources)}: {source} {how}", flush=True)
            return objects

        with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_COMPILERS)) as pool:
            objects = pool.map(compile_one, sources)
            return [found for each in objects for found in each]

    def compile_or_take(self, source, output_dir=None, macros=None, include_dirs=None, extra_postargs=None, **others):
        """The objects of a source: those of an earlier build, if nothing has changed that the preprocessor sees."""
        keywords = {"output_dir": output_dir, "macros": macros, "include_dirs": include_dirs}
        keywords["extra_postargs"] = extra_postargs
        defines = [f"-D{name}" + ("" if value is None else f"={value}") for name, value in macros or []]
        folders = [f"-I{folder}" for folder in include_dirs or []]
        command = [*self.compiler.compiler_so, *defines, *folders, *(extra_postargs or [])]
        try:
            preprocessed = subprocess.run([*command, "-E", "-P", source], capture_output=True, check=True).stdout
            version = subprocess.run([self.compiler.compiler_so[0], "--version"], capture_output=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return self.compile([source], **keywords, **others), "compiled"
        # Not the folders, which pip makes anew each time: what is in them has been preprocessed.
        flags = [*self.compiler.compiler_so, *defines, *(extra_postargs or []), str(others.get("debug"))]
        flags.append(os.environ.get("MACOSX_DEPLOYMENT_TARGET", ""))
        preprocessed = re.sub(rb'"[^"\n]*/([^"/\n]*[.]pxd)"', rb'"\1"', preprocessed)
        key = hashlib.sha256(b"\0".join([version, " ".join(flags).encode(), preprocessed])).hexdigest()
        kept = os.path.join(object_cache(), key + ".o")
        (target,) = self.compiler.object_filenames([source], output_dir=output_dir)
        keeps = os.path.isabs(kept) and "native" not in " ".join(flags)  # else: for this machine alone
        with contextlib.suppress(OSError):  # it is not there, or no longer
            if keeps:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(kept, target)
                return [target], "taken from an earlier build"
        objects = self.compile([source], **keywords, **others)
        if not keeps:
            return objects, "compiled"
        with contextlib.suppress(OSError):  # no place to keep it: the next build compiles it again
            os.makedirs(object_cache(), exist_ok=True)
            shutil.copyfile(objects[0], f"{kept}.{os.getpid()}")
            os.replace(f"{kept}.{os.getpid()}", kept)
            forget_oldest()
        return objects, "compiled"

    def check_compiler(self):
        """Ends the build with what to do if there is no compiler that makes an object."""
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "probe.c")
            with open(source, "w") as file:
                file.write("#include <stddef.h>\nint main(void) { return 0; }\n")
            command = [*self.compiler.compiler_so, "-c", source, "-o", os.path.join(folder, "probe.o")]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                words = getattr(error, "stderr", None) or str(error)
                raise SystemExit(NO_COMPILER.format(command=command[0], error=words.strip())) from None

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


MOST_OBJECTS = 400  # that are kept: those of some ten builds, 20 MB


def forget_oldest():
    """Removes the objects that were not used for longest, where there are many."""
    kept = sorted(glob.glob(os.path.join(object_cache(), "*.o")), key=os.path.getmtime)
    for path in kept[:-MOST_OBJECTS]:
        os.remove(path)


SOURCES = {  # of each module in fastconv/_cpu/, beside its own
    "_core": sorted(glob.glob("src/*/*.c")),
    "_launch": [],
    "_layers": [],
    "_convolution": [],
}
extensions = [
    Extension(
        f"fastconv._cpu.{name}",
        [f"fastconv/_cpu/{name}.pyx", *sources],
        include_dirs=["src", "fastconv/_cpu", numpy.get_include()],
        depends=glob.glob("fastconv/_cpu/*.pxd")
        + glob.glob("fastconv/_cpu/*.h")
        + glob.glob("src/**/*.h", recursive=True)
        + glob.glob("src/**/*.inc", recursive=True),
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
        ],
    )
    for name, sources in SOURCES.items()
]
setup(
    ext_modules=cythonize(extensions, build_dir="build/cython"),
    cmdclass={"build_ext": BuildExt},
)
