"""MNIST pixel by pixel, in the order of the image and in a random one (Le, Jaitly and Hinton 2015)."""

from perturbax.bench.base import Benchmark, Published
from perturbax.bench.mnist_1d import ACCURACY, accuracy
from perturbax.experiment.config import Experiment

SIZE = "70,000 parameters"
# Network -> accuracy in per cent, in the order of the image and in a random one: table 1 of the paper.
PUBLIC = {
    f"GRU (BPTT), {SIZE}": (96.2, 87.3),
    f"LSTM (BPTT), {SIZE}": (87.2, 85.7),
    f"tanh network (BPTT), {SIZE}": (21.5, 25.3),
    f"temporal convolutional network, {SIZE}": (99.0, 97.2),
}


def _benchmark(name: str, summary: str, permuted: bool) -> Benchmark:
    """Return the benchmark in one of the two orders."""
    published = [Published(who, {ACCURACY.name: both[permuted]}, "bai2018") for who, both in PUBLIC.items()]
    return Benchmark(
        name=name,
        summary=summary,
        papers=("le2015", "lecun1998"),
        needs="MNIST, a folder with its four IDX files, or an NPZ file with x_train, y_train, x_test, y_test",
        split="60,000 images, of which the last 5,000 choose the network that is kept; 10,000 for testing",
        metric="share of the test images whose digit is named right at the last of 784 steps",
        experiment=Experiment(
            task="mnist",
            cell="gru",
            units=128,
            passes=9000,
            batch=64,
            logs=30,
            task_options={"order": "pixels", "permuted": permuted, "valid": 5000},
        ),
        judge=accuracy,
        measures=(ACCURACY,),
        published=tuple(published),
    )


SEQUENTIAL = _benchmark(
    "sequential-mnist", "say which digit was read, one pixel of 784 after the other", permuted=False
)
PERMUTED = _benchmark(
    "permuted-mnist", "the same with the pixels in one random order, drawn from a seed of ours", permuted=True
)
