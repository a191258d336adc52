"""ETTh1: hourly load and oil temperature of a transformer, forecast over long horizons (Zhou et al. 2021)."""

from typing import Any

from perturbax.bench.base import Benchmark, Measure, Published
from perturbax.experiment.config import Experiment

COLUMNS = "HUFL,HULL,MUFL,MULL,LUFL,LULL,OT"
HORIZONS = (96, 192, 336, 720)
MONTH = 30 * 24  # hours, as the published splits count
MEASURES = {horizon: Measure(f"mse {horizon} h", digits=3) for horizon in HORIZONS}
PUBLIC = {
    "SegRNN (a GRU, BPTT)": (0.368, 0.408, 0.444, 0.446),
    "iTransformer": (0.386, 0.441, 0.487, 0.503),
    "DLinear": (0.386, 0.437, 0.481, 0.519),
}
SOURCES = {"SegRNN (a GRU, BPTT)": "lin2023", "iTransformer": "liu2024", "DLinear": "zeng2023"}


def over_windows(result: Any, task: Any) -> dict[str, float]:
    """Return the mean squared error over all windows of the test months, in training variances.

    Arguments:
        result: of a run.
        task: its task, opened.
    """
    from perturbax.bench.pieces import error_of_windows

    return {MEASURES[task.horizon].name: error_of_windows(result.net, task)}


BENCHMARK = Benchmark(
    name="etth1",
    summary="forecast seven hourly columns of a transformer over the next 96 to 720 hours",
    papers=("zhou2021",),
    needs="ETTh1.csv, with a line of names, 17,420 rows and seven columns of numbers",
    split="12 months for training, 4 for validation, 4 for testing, of 720 hours each; columns are scaled by "
    "the mean and standard deviation of the training months",
    metric="mean squared error of scaled columns, over all of them, all hours of the horizon and all windows "
    "whose forecast hours are test hours; a window reads the 96 hours in front, from a state of zero",
    experiment=Experiment(
        task="perturbax.bench.pieces:Pieces",
        cell="gru",
        units=128,
        passes=3000,
        batch=128,
        lr=3e-3,
        logs=25,
        task_options={
            "target": COLUMNS,
            "look_back": 96,
            "piece": 24,
            "train": 12 * MONTH,
            "valid": 4 * MONTH,
            "test": 4 * MONTH,
        },
    ),
    judge=over_windows,
    measures=tuple(MEASURES.values()),
    published=tuple(
        Published(who, dict(zip((m.name for m in MEASURES.values()), values, strict=True)), SOURCES[who])
        for who, values in PUBLIC.items()
    ),
    parts={f"{horizon}-h": {"horizon": horizon} for horizon in HORIZONS},
    rules=("frozen", "node", "mirror:error=measured", "mirror", "bptt"),
    settings={"node": "lr=1e-3", "frozen": "lr=1e-2"},
)
