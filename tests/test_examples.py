"""The examples do what they say."""

import importlib.util
import os

import numpy as np
import pytest
from problems import run_python

EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "examples")


def example(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(EXAMPLES, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_example(name, *arguments):
    """Runs it as its users do, but away from the source tree."""
    command = ["x", *arguments]
    path = os.path.join(EXAMPLES, name + ".py")
    return run_python(f"import runpy, sys; sys.argv = {command}; runpy.run_path({path!r}, run_name='__main__')")


@pytest.mark.parametrize("network", ["ConvolutionalNetwork", "MultilayerPerceptron"])
def test_gradients_written_by_hand_are_those_of_the_loss(network):
    digits = example("train_digits")
    rng = np.random.default_rng(0)
    learner = getattr(digits, network)(rng)
    learner.weights.update({name: value.astype(np.float64) for name, value in learner.weights.items()})
    images, labels = rng.random((5, digits.SIZE, digits.SIZE, 1)), rng.integers(0, 10, 5)
    _, gradients = learner.gradients(images, labels)
    for name, weight in learner.weights.items():
        place = tuple(rng.integers(0, weight.shape))
        losses = []
        for step in (1e-6, -1e-6):
            changed = weight.copy()
            changed[place] += step
            learner.weights[name] = changed
            losses.append(learner.gradients(images, labels)[0])
        learner.weights[name] = weight
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(gradients[name][place], rel=1e-4, abs=1e-8), name


def test_digits_are_read_wherever_they_are(tmp_path):
    drawing = str(tmp_path / "losses.png")
    epochs = "30" if os.environ.get("FASTCONV_TESTS") else "12"
    result = run_example("train_digits", "--epochs", epochs, "--output", drawing)
    assert result.returncode == 0, result.stderr
    accuracies = {
        line.split(",")[0]: [float(share) for share in line.replace("%", "").split()[-3:]]
        for line in result.stdout.splitlines()
        if line.startswith(("CNN", "MLP"))
    }
    assert min(accuracies["CNN"]) >= 97 and accuracies["CNN"][0] >= 98
    assert max(accuracies["MLP"][1:]) < 60
    assert os.path.getsize(drawing) > 5000


def test_cifar_network_computes_what_tensorflow_does(tmp_path):
    drawing = str(tmp_path / "rates.png")
    result = run_example("cifar10_throughput", "--turns", "1", "--steps", "1", "--output", drawing)
    assert result.returncode == 0, result.stderr
    assert "turn 1 of 1: fastconv" in result.stderr
    assert os.path.getsize(drawing) > 5000
    rows = {
        line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.startswith(("fast", "Tensor"))
    }
    for first in (2, 3):  # the losses before and after two steps
        assert float(rows["fastconv"][first]) == pytest.approx(float(rows["TensorFlow"][first]), rel=1e-4)


def test_a_wrong_count_is_one_line():
    result = run_example("cifar10_throughput", "--threads", "0")
    assert result.returncode == 2
    assert "--threads: 0 is not a positive whole number" in result.stderr
    assert "Traceback" not in result.stderr
