"""How many images a second the classic CIFAR-10 network trains on, with fastconv and, where installed, with its peers.

    pip install ".[examples]" && python examples/cifar10_throughput.py
    python examples/cifar10_throughput.py --gpu    # fastconv with CuPy arrays too

The network of TensorFlow's old CIFAR-10 tutorial on crops of 24x24x3, 128 at a time: convolution 5x5x64, max pool 3x3
with stride 2, local response normalization (LRN), convolution 5x5x64, LRN, max pool, dense layers of 384, 192 and 10,
trained by gradient descent. The data has CIFAR's shape, not its images. Each library takes a few steps in turn, and
its best turn counts. All start from the same weights, so their first losses agree.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import fastconv
from fastconv import nn

BATCH, SIZE, CLASSES = 128, 24, 10
LEARNING_RATE = np.float32(0.01)
RADIUS, BIAS, ALPHA, BETA = 4, 1.0, 0.001 / 9.0, 0.75  # of the LRN
Step = Callable[[np.ndarray, np.ndarray], float]  # images, labels -> loss


def initial_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {
        "conv1": (5, 5, 3, 64),
        "conv2": (5, 5, 64, 64),
        "dense3": (6 * 6 * 64, 384),
        "dense4": (384, 192),
        "dense5": (192, CLASSES),
    }
    weights = {}
    for name, shape in shapes.items():
        weights[name] = (0.04 * rng.standard_normal(shape)).astype(np.float32)
        weights[name + "_bias"] = np.full(shape[-1], 0.01, np.float32)
    return weights


def fastconv_step(array: Callable[[np.ndarray], np.ndarray] = np.asarray) -> Step:
    """One training step in NumPy and fastconv, its backward pass by hand; for the arrays that `array` makes."""
    weights = {name: array(value) for name, value in initial_weights().items()}

    def normalize(x: np.ndarray) -> np.ndarray:
        return nn.local_response_normalization(x, RADIUS, BIAS, ALPHA, BETA)

    def normalize_grad(dy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return nn.local_response_normalization_grad(dy, x, y, RADIUS, BIAS, ALPHA, BETA)

    def convolve(x: np.ndarray, name: str) -> np.ndarray:
        return nn.conv2d(x, weights[name], 1, "SAME", bias=weights[name + "_bias"], activation="relu")

    def dense(x: np.ndarray, name: str, activation: str | None = "relu") -> np.ndarray:
        """A dense layer is a 1x1 convolution of images of one pixel."""
        return nn.conv2d(x, weights[name][None, None], 1, "VALID", bias=weights[name + "_bias"], activation=activation)

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        w = weights
        conv1 = convolve(images, "conv1")
        pool1 = nn.max_pool2d(conv1, 3, 2, "SAME")
        norm1 = normalize(pool1)
        conv2 = convolve(norm1, "conv2")
        norm2 = normalize(conv2)
        pool2 = nn.max_pool2d(norm2, 3, 2, "SAME")
        flat = pool2.reshape(len(images), 1, 1, -1)
        dense3 = dense(flat, "dense3")
        dense4 = dense(dense3, "dense4")
        logits = dense(dense4, "dense5", activation=None)[:, 0, 0]
        chosen = np.arange(len(images), like=labels), labels
        largest = logits.max(1)
        loss = np.mean(largest + np.log(np.exp(logits - largest[:, None]).sum(1)) - logits[chosen])

        grads = {}

        def differentiate(name: str, x: np.ndarray, grad: np.ndarray, padding: str) -> np.ndarray | None:
            """The gradients of a layer's weights, put into grads, and, but for the first layer, of its input."""
            shape = w[name].shape if padding == "SAME" else (1, 1, *w[name].shape)
            found = nn.conv2d_backprop_filter(x, shape, grad, 1, padding)
            grads[name], grads[name + "_bias"] = found.reshape(w[name].shape), nn.bias_add_grad(grad)
            if x is images:
                return None
            return nn.conv2d_backprop_input(x.shape, w[name].reshape(shape), grad, 1, padding)

        grad = nn.softmax(logits)
        grad[chosen] -= 1
        grad = (grad / np.float32(len(images)))[:, None, None]
        for name, x in (("dense5", dense4), ("dense4", dense3), ("dense3", flat)):
            grad = differentiate(name, x, grad, "VALID")
            if x is not flat:
                nn.relu_grad(grad, x, out=grad)
        grad = nn.max_pool2d_grad(norm2, pool2, grad.reshape(pool2.shape), 3, 2, "SAME")
        grad = normalize_grad(grad, conv2, norm2)
        grad = differentiate("conv2", norm1, nn.relu_grad(grad, conv2, out=grad), "SAME")
        grad = nn.max_pool2d_grad(conv1, pool1, normalize_grad(grad, pool1, norm1), 3, 2, "SAME")
        differentiate("conv1", images, nn.relu_grad(grad, conv1, out=grad), "SAME")
        for name, gradient in grads.items():
            w[name] -= LEARNING_RATE * gradient
        return float(loss)

    return step


def cupy_step() -> Step:
    """The same step with CuPy arrays."""
    import cupy

    step = fastconv_step(cupy.asarray)
    return lambda images, labels: step(cupy.asarray(images), cupy.asarray(labels))


def tensorflow_step(threads: int) -> Step:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.set_visible_devices([], "GPU")
    weights = {name: tf.Variable(value) for name, value in initial_weights().items()}

    def convolve(x, name):
        sums = tf.nn.conv2d(x, weights[name], 1, "SAME")
        return tf.nn.relu(tf.nn.bias_add(sums, weights[name + "_bias"]))

    @tf.function
    def train(images, labels):
        with tf.GradientTape() as tape:
            x = tf.nn.max_pool2d(convolve(images, "conv1"), 3, 2, "SAME")
            x = tf.nn.local_response_normalization(x, RADIUS, BIAS, ALPHA, BETA)
            x = tf.nn.local_response_normalization(convolve(x, "conv2"), RADIUS, BIAS, ALPHA, BETA)
            x = tf.reshape(tf.nn.max_pool2d(x, 3, 2, "SAME"), [BATCH, -1])
            x = tf.nn.relu(x @ weights["dense3"] + weights["dense3_bias"])
            x = tf.nn.relu(x @ weights["dense4"] + weights["dense4_bias"])
            logits = x @ weights["dense5"] + weights["dense5_bias"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        for variable, gradient in zip(weights.values(), tape.gradient(loss, list(weights.values()))):
            variable.assign_sub(LEARNING_RATE * gradient)
        return loss

    return lambda images, labels: float(train(tf.constant(images), tf.constant(labels)))


def pytorch_step(threads: int) -> Step:
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    weights = {}
    for name, value in initial_weights().items():
        tensor = torch.from_numpy(value)
        if value.ndim == 4:
            tensor = tensor.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        weights[name] = tensor.requires_grad_()

    def convolve(x, name):
        return functional.relu(functional.conv2d(x, weights[name], weights[name + "_bias"], padding=2))

    def normalize(x):
        return functional.local_response_norm(x, 2 * RADIUS + 1, ALPHA * (2 * RADIUS + 1), BETA, BIAS)

    def pool(x):  # SAME: the odd cell comes after
        return functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)

    def step(images, labels):
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        x = normalize(pool(convolve(x, "conv1")))
        x = pool(normalize(convolve(x, "conv2"))).permute(0, 2, 3, 1).reshape(BATCH, -1)
        x = functional.relu(x @ weights["dense3"] + weights["dense3_bias"])
        x = functional.relu(x @ weights["dense4"] + weights["dense4_bias"])
        loss = functional.cross_entropy(x @ weights["dense5"] + weights["dense5_bias"], torch.from_numpy(labels))
        gradients = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for weight, gradient in zip(weights.values(), gradients):
                weight -= float(LEARNING_RATE) * gradient
        return float(loss)

    return step


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Random images of CIFAR's shape, and their labels."""
    rng = np.random.default_rng(1)
    images = rng.standard_normal((BATCH, SIZE, SIZE, 3)).astype(np.float32)
    return images, rng.integers(0, CLASSES, BATCH)


def positive(text: str) -> int:
    """A count from the command line."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def draw(best: dict[str, float], threads: int, output: str) -> None:
    """Draws images a second, a bar for each library."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 1 + 0.6 * len(best)), layout="constrained")
    bars = axes.barh(list(best)[::-1], [BATCH / seconds for seconds in list(best.values())[::-1]])
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.margins(x=0.12)
    axes.set(title=f"Training the CIFAR-10 network, {threads} threads", xlabel="images per second")
    figure.savefig(output, dpi=120)
    print(f"\ndrawn into {output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--turns", type=positive, default=6, help="of each library")
    parser.add_argument("--steps", type=positive, default=4, help="training steps a turn")
    parser.add_argument("--threads", type=positive, default=fastconv.get_num_threads(), help="of each library")
    parser.add_argument("--only", choices=["fastconv", "TensorFlow", "PyTorch"], help="one library")
    parser.add_argument("--gpu", action="store_true", help="fastconv with CuPy arrays, too")
    parser.add_argument("--output", default="cifar10_throughput.png", help="where the rates are drawn")
    arguments = parser.parse_args()
    fastconv.set_num_threads(arguments.threads)

    steps: dict[str, Step] = {}
    for name, make in (
        ("fastconv", fastconv_step),
        ("GPU", cupy_step),
        ("TensorFlow", lambda: tensorflow_step(arguments.threads)),
        ("PyTorch", lambda: pytorch_step(arguments.threads)),
    ):
        if arguments.gpu if name == "GPU" else arguments.only in (None, name):
            try:
                steps[name] = make()
            except ImportError:
                print(f"{name} is not installed")

    images, labels = batch()
    first = {name: step(images, labels) for name, step in steps.items()}
    best = dict.fromkeys(steps, np.inf)
    for turn in range(arguments.turns):
        for name, step in steps.items():
            print(f"turn {turn + 1} of {arguments.turns}: {name}", file=sys.stderr)
            start = time.perf_counter()
            for _ in range(arguments.steps):
                step(images, labels)
            best[name] = min(best[name], (time.perf_counter() - start) / arguments.steps)
    print(f"\nOne training step of {BATCH} images, {arguments.threads} threads, best of {arguments.turns} turns:\n")
    print(f"{'':12}{'images/s':>10}{'ms/step':>10}{'first loss':>12}{'last loss':>12}")
    for name, seconds in best.items():
        last = steps[name](images, labels)
        print(f"{name:12}{BATCH / seconds:10.0f}{1e3 * seconds:10.1f}{first[name]:12.5f}{last:12.5f}")
    draw(best, arguments.threads, arguments.output)


if __name__ == "__main__":
    main()
