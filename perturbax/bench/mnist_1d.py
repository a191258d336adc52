"""MNIST-1D: sequences of 40 numbers in ten classes (Greydanus and Kobak 2024)."""

from typing import Any

from perturbax.bench.base import Benchmark, Measure, Published
from perturbax.experiment.config import Experiment

ACCURACY = Measure("test accuracy, %", higher=True, digits=1)
PUBLIC = {
    "logistic regression": 32,
    "multilayer perceptron": 68,
    "convolutional network": 94,
    "GRU (BPTT)": 91,
    "people": 96,
}


def accuracy(result: Any, task: Any) -> dict[str, float]:
    """Return the accuracy on the test part, in per cent.

    Arguments:
        result: of a run.
        task: its task; the run itself has judged its network.
    """
    return {ACCURACY.name: 100 * result.summary["test"]["accuracy"]}


BENCHMARK = Benchmark(
    name="mnist-1d",
    summary="say which of ten shapes 40 numbers are, read one at a time",
    papers=("greydanus2024",),
    needs="MNIST-1D as an NPZ file with x, y, x_test, y_test",
    split="4,000 sequences, of which the last 500 choose the network that is kept; 1,000 for testing",
    metric="share of the test sequences whose class is named right at the last of 40 steps",
    experiment=Experiment(
        task="mnist",
        cell="gru",
        units=64,
        passes=9000,
        batch=64,
        logs=15,
        task_options={"order": "pixels", "white": 1, "valid": 500},
    ),
    judge=accuracy,
    measures=(ACCURACY,),
    published=tuple(Published(who, {ACCURACY.name: value}, "greydanus2024") for who, value in PUBLIC.items()),
    rules=("node", "mirror:error=measured", "mirror", "bptt"),
    settings={"mirror": "lr=1e-2", "bptt": "lr=1e-2"},
)
