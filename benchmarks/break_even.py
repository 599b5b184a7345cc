"""From how much work on a second thread pays: small layers on one and on two threads, in turn."""

from __future__ import annotations

import time

import numpy as np

import fastconv
from fastconv import nn
from fastconv._cpu import cost_model


def best(threads: int, x: np.ndarray, w: np.ndarray) -> float:
    """Microseconds of the best call in a few milliseconds."""
    fastconv.set_num_threads(threads)
    shortest, end = float("inf"), time.perf_counter() + 0.02
    while time.perf_counter() < end:
        start = time.perf_counter()
        nn.conv2d(x, w, 1, "SAME")
        shortest = min(shortest, time.perf_counter() - start)
    return 1e6 * shortest


def main() -> None:
    cost_model.WORTH_A_THREAD = 1
    print(f"{'multiply-adds':>14s}{'one thread':>12s}{'two':>8s} microseconds")
    for channels, size in (
        (8, 8),
        (8, 12),
        (16, 8),
        (16, 12),
        (16, 16),
        (16, 24),
        (32, 16),
        (32, 24),
        (32, 32),
        (64, 32),
    ):
        x = np.ones((1, size, size, channels), np.float32)
        w = np.ones((3, 3, channels, channels), np.float32)
        times = {1: float("inf"), 2: float("inf")}
        for _ in range(10):
            for threads in times:
                times[threads] = min(times[threads], best(threads, x, w))
        print(f"{9 * size * size * channels * channels:14d}{times[1]:12.1f}{times[2]:8.1f}")


if __name__ == "__main__":
    main()
