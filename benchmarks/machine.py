"""What the machine can do at most: its CPU, the rate of its multiply-adds, the bandwidth of its memory."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import tempfile
from pathlib import Path


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_family() -> str:
    """Family and model, which tell apart CPUs that a hypervisor gives one name."""
    fields = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    except OSError:
        return ""
    return f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"


def driver_version() -> str:
    """The NVIDIA driver's."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def measure(threads: int, isa: str = "") -> dict[str, object]:
    """CPU, GFLOP/s and GB/s with this many threads, compiled for the machine, or for the instruction set given."""
    found: dict[str, object] = {
        "cpu": cpu_name(),
        "cpu_family": cpu_family(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
    }
    flags = {"avx2": ["-march=haswell"], "generic": ["-march=native", "-mno-avx512f"]}.get(isa, ["-march=native"])
    source = Path(__file__).with_name("peak.c")
    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "peak.so")
        command = ["cc", "-O3", "-ffast-math", *flags, "-fopenmp", "-fPIC", "-shared", str(source), "-o", library]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return found  # no compiler: percentages are left out
        peak = ctypes.CDLL(library)
    for name in ("peak_flops", "copy_bandwidth"):
        function = getattr(peak, name)
        function.restype, function.argtypes = ctypes.c_double, [ctypes.c_int]
        found[name] = function(threads)
    return found


if __name__ == "__main__":
    for key, value in measure(len(os.sched_getaffinity(0))).items():
        print(f"{key}: {value}")
