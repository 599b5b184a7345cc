"""A small convolutional network, its backward pass written by hand, learns to read digits; a plain network beside it.

    pip install ".[examples]" && python examples/train_digits.py

Trains on scikit-learn's 8x8 digits and draws the losses into train_digits.png. Then both networks read test digits that
are shifted by one and two pixels, which neither has seen: the convolutional network keeps most of its accuracy, for a
window that finds a stroke finds it anywhere; the multilayer perceptron (MLP), whose every weight belongs to one
pixel, does not.
"""

from __future__ import annotations

import argparse
from typing import Any

import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

from fastconv import nn

MARGIN = 3  # empty pixels around each digit, into which it can be shifted
SIZE = 8 + 2 * MARGIN
Weights = dict[str, np.ndarray]


def initial(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights for a layer before a relu (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean loss, and its gradient with respect to the logits."""
    shares = nn.softmax(logits)
    chosen = np.arange(len(labels)), labels
    loss = -np.log(shares[chosen] + 1e-20).mean()
    shares[chosen] -= 1
    return float(loss), shares / np.float32(len(labels))


class ConvolutionalNetwork:
    """Three convolutions of 3x3 with relu, a max pool, the largest response of each feature anywhere, a dense layer.

    All windows move cell by cell, so a digit and a shifted one give the same responses, only elsewhere.
    """

    name = "CNN"

    def __init__(self, rng: np.random.Generator) -> None:
        self.weights: Weights = {
            "filters1": initial(rng, 3, 3, 1, 16),
            "bias1": np.zeros(16, np.float32),
            "filters2": initial(rng, 3, 3, 16, 48),
            "bias2": np.zeros(48, np.float32),
            "filters3": initial(rng, 3, 3, 48, 64),
            "bias3": np.zeros(64, np.float32),
            "dense": initial(rng, 64, 10),
            "bias": np.zeros(10, np.float32),
        }

    def forward(self, images: np.ndarray) -> list[np.ndarray]:
        """The result of every layer, the logits last."""
        w = self.weights
        conv1 = nn.conv2d(images, w["filters1"], 1, "SAME", bias=w["bias1"], activation="relu")
        conv2 = nn.conv2d(conv1, w["filters2"], 1, "SAME", bias=w["bias2"], activation="relu")
        pool = nn.max_pool2d(conv2, 2, 1, "SAME")
        conv3 = nn.conv2d(pool, w["filters3"], 1, "SAME", bias=w["bias3"], activation="relu")
        whole = nn.max_pool2d(conv3, conv3.shape[1:3], 1, "VALID")
        return [conv1, conv2, pool, conv3, whole, whole[:, 0, 0] @ w["dense"] + w["bias"]]

    def gradients(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, Weights]:
        """The loss, and its gradient with respect to every weight."""
        w, found = self.weights, {}
        conv1, conv2, pool, conv3, whole, logits = self.forward(images)
        loss, grad = cross_entropy(logits, labels)
        found["dense"], found["bias"] = whole[:, 0, 0].T @ grad, grad.sum(0)

        grad = (grad @ w["dense"].T)[:, None, None]
        grad = nn.max_pool2d_grad(conv3, whole, grad, conv3.shape[1:3], 1, "VALID")
        grad = nn.relu_grad(grad, conv3)
        found["filters3"] = nn.conv2d_backprop_filter(pool, w["filters3"].shape, grad, 1, "SAME")
        found["bias3"] = nn.bias_add_grad(grad)

        grad = nn.conv2d_backprop_input(pool.shape, w["filters3"], grad, 1, "SAME")
        grad = nn.relu_grad(nn.max_pool2d_grad(conv2, pool, grad, 2, 1, "SAME"), conv2)
        found["filters2"] = nn.conv2d_backprop_filter(conv1, w["filters2"].shape, grad, 1, "SAME")
        found["bias2"] = nn.bias_add_grad(grad)

        grad = nn.relu_grad(nn.conv2d_backprop_input(conv1.shape, w["filters2"], grad, 1, "SAME"), conv1)
        found["filters1"] = nn.conv2d_backprop_filter(images, w["filters1"].shape, grad, 1, "SAME")
        found["bias1"] = nn.bias_add_grad(grad)
        return loss, found


class MultilayerPerceptron:
    """Two dense layers on the pixels, with about as many weights."""

    name = "MLP"

    def __init__(self, rng: np.random.Generator) -> None:
        self.weights: Weights = {
            "dense1": initial(rng, SIZE * SIZE, 192),
            "bias1": np.zeros(192, np.float32),
            "dense2": initial(rng, 192, 10),
            "bias2": np.zeros(10, np.float32),
        }

    def forward(self, images: np.ndarray) -> list[np.ndarray]:
        """The result of every layer, the logits last."""
        w = self.weights
        pixels = images.reshape(len(images), -1)
        hidden = nn.relu(pixels @ w["dense1"] + w["bias1"])
        return [pixels, hidden, hidden @ w["dense2"] + w["bias2"]]

    def gradients(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, Weights]:
        """The loss, and its gradient with respect to every weight."""
        pixels, hidden, logits = self.forward(images)
        loss, grad = cross_entropy(logits, labels)
        found = {"dense2": hidden.T @ grad, "bias2": grad.sum(0)}
        grad = nn.relu_grad(grad @ self.weights["dense2"].T, hidden)
        found["dense1"], found["bias1"] = pixels.T @ grad, grad.sum(0)
        return loss, found


class Adam:
    """Steps of even size (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980)."""

    def __init__(self, weights: Weights, rate: float) -> None:
        self.weights, self.rate, self.steps = weights, rate, 0
        self.mean = {name: np.zeros_like(value) for name, value in weights.items()}
        self.square = {name: np.zeros_like(value) for name, value in weights.items()}

    def step(self, gradients: Weights, rate: float) -> None:
        self.steps += 1
        size = self.rate * rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for name, gradient in gradients.items():
            self.mean[name] += 0.1 * (gradient - self.mean[name])
            self.square[name] += 0.001 * (gradient**2 - self.square[name])
            self.weights[name] -= (size * self.mean[name] / (np.sqrt(self.square[name]) + 1e-8)).astype(np.float32)


def accuracy(network: Any, images: np.ndarray, labels: np.ndarray) -> float:
    return float((network.forward(images)[-1].argmax(1) == labels).mean())


def train(network: Any, images: np.ndarray, labels: np.ndarray, epochs: int, rng: np.random.Generator) -> list[float]:
    """Trains with batches of 64, the steps becoming smaller; the loss of each epoch."""
    batch, losses = 64, []
    optimizer = Adam(network.weights, 0.003)
    progress = tqdm(range(epochs), desc=network.name, unit="epoch")
    for epoch in progress:
        order = rng.permutation(len(images))
        found = []
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            loss, gradients = network.gradients(images[chosen], labels[chosen])
            optimizer.step(gradients, 0.5 * (1 + np.cos(np.pi * epoch / epochs)))
            found.append(loss)
        losses.append(float(np.mean(found)))
        progress.set_postfix(loss=f"{losses[-1]:.4f}")
    return losses


def shifted(images: np.ndarray, pixels: int) -> list[np.ndarray]:
    """The images, shifted by so many pixels along each axis and diagonal; what leaves them is empty margin."""
    steps = [(i, j) for i in (-pixels, 0, pixels) for j in (-pixels, 0, pixels) if i or j]
    return [np.roll(images, step, (1, 2)) for step in steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="train_digits.png", help="where losses and accuracies are drawn")
    arguments = parser.parse_args()

    rng = np.random.default_rng(arguments.seed)
    digits = load_digits()
    images = np.pad(digits.images, [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)])[..., None].astype(np.float32) / 16
    order = rng.permutation(len(images))
    images, labels = images[order], digits.target[order]
    test = len(images) // 5
    losses = {}
    print(f"{len(images) - test} digits to learn from, {test} to test with\n")
    networks = [ConvolutionalNetwork(rng), MultilayerPerceptron(rng)]
    for network in networks:
        losses[network.name] = train(network, images[test:], labels[test:], arguments.epochs, rng)

    print(f"\n{'test accuracy':24}{'as they are':>14}{'shifted by 1':>14}{'shifted by 2':>14}")
    accuracies = {}
    for network in networks:
        found = [accuracy(network, images[:test], labels[:test])]
        for pixels in (1, 2):
            found.append(np.mean([accuracy(network, moved, labels[:test]) for moved in shifted(images[:test], pixels)]))
        accuracies[network.name] = found
        weights = sum(value.size for value in network.weights.values())
        print(f"{network.name + f', {weights} weights':24}" + "".join(f"{100 * share:13.1f}%" for share in found))

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for name, values in losses.items():
        left.semilogy(range(1, len(values) + 1), values, label=name)
        right.plot(range(len(accuracies[name])), [100 * share for share in accuracies[name]], "o-", label=name)
    left.set(title="Both learn the digits", xlabel="epoch", ylabel="training loss (cross entropy)")
    right.set(title="One still reads them when they move", xlabel="shift of the test digits (pixels)", xticks=range(3))
    right.set(ylabel="test accuracy (%)", ylim=(0, 103))
    for axes in (left, right):
        axes.legend()
    figure.savefig(arguments.output, dpi=120)
    print(f"\nlosses and accuracies drawn into {arguments.output}")


if __name__ == "__main__":
    main()
