"""Runs one layer on the host, with the kernels of a device, and says whether its values are right.

python tests/cuda/reproduce.py n1h9w9c8_k3x3f8_s1x1_d1x1_p1,1,1,1_g1 --dtype float16 --capability 90
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import standin
from problems import DTYPES, inputs
from test_cuda_kernels import check

from fastconv import options
from fastconv._options import PRECISIONS
from fastconv._problem import ConvProblem


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem")
    parser.add_argument("--direction", choices=["forward", "backprop_input", "backprop_filter"], default="forward")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--precision", choices=PRECISIONS, default="default")
    parser.add_argument("--implementation", help="such as warpgroup; the choice of the device otherwise")
    parser.add_argument("--capability", type=int, default=80, help="the device's compute capability: 90, say")
    parser.add_argument("--multiprocessors", type=int, default=108, help="the device's")
    arguments = parser.parse_args()
    standin.settings.capability, standin.settings.multiprocessors = arguments.capability, arguments.multiprocessors
    cupy = standin.install()
    with options(precision=arguments.precision, implementation=arguments.implementation):
        try:
            check(cupy, inputs(ConvProblem.parse(arguments.problem), arguments.dtype), (arguments.direction,))
        except AssertionError as error:
            print(f"wrong: {error}")
            return 1
        finally:
            for launch in dict.fromkeys(standin.launches):
                print(launch.entry, *launch.options, f"grid {launch.grid}, {launch.block[0]} threads")
    print("right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
