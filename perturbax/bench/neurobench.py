"""Chaotic function prediction of NeuroBench: a network goes on with the Mackey-Glass series by itself."""

from typing import Any

from perturbax.bench.base import Benchmark, Measure, Published
from perturbax.experiment.config import Experiment

SOLVED = Measure("sMAPE, readout solved")
LEARNT = Measure("sMAPE, as learnt")
BYTES = Measure("footprint, bytes", digits=0)
MACS = Measure("dense operations a step", digits=0)
STARTS = 30
RIDGE = 1e-10
"""Of the readout; chosen, as are the cell's settings, on pieces of a series with another past (0.9)."""


def closed_loop(result: Any, task: Any) -> dict[str, float]:
    """Return the measures of a network that reads its own forecasts.

    Arguments:
        result: of a run.
        task: its task, opened.
    """
    from perturbax.bench.closed_loop import (
        footprint,
        forecasts,
        operations,
        smape,
        truth,
        with_solved_readout,
    )

    solved = with_solved_readout(result.net, task, RIDGE)
    return {
        SOLVED.name: smape(forecasts(solved, task), truth(task)),
        LEARNT.name: smape(forecasts(result.net, task), truth(task)),
        BYTES.name: footprint(result.net),
        MACS.name: operations(result.net),
    }


BENCHMARK = Benchmark(
    name="neurobench-mackey-glass",
    summary="go on with a chaotic series for ten Lyapunov times, reading one's own forecasts",
    papers=("yik2025", "mackey1977"),
    needs="",
    split="30 pieces of one series, half a Lyapunov time apart, a network for each: 750 samples are learnt "
    "from (the last 75 choose the network that is kept), the 750 behind them are forecast",
    metric="sMAPE, 200 mean(|forecast - truth| / (|forecast| + |truth|)), mean over the 30 pieces. The "
    "network hears what was learnt from and the next sample, then its own forecasts alone. With the readout "
    "solved: by ridge regression on what was learnt from, for every rule alike; as learnt: as the rule has "
    "left it. Bytes are those of weights, constants and state; operations are the multiplications of the "
    "products of a step, zeros included",
    experiment=Experiment(
        task="perturbax.bench.chaotic:Chaotic",
        cell="leaky",
        units=115,
        passes=300,
        batch=4,
        lr=1e-3,
        logs=10,
        task_options={"scale": 0.45},
        cell_options={"form": "rate", "alpha": 0.5, "gain": 0.9},
    ),
    judge=closed_loop,
    measures=(SOLVED, LEARNT, BYTES, MACS),
    published=(
        Published("LSTM (BPTT)", {LEARNT.name: 13.37, BYTES.name: 4.90e5, MACS.name: 6.03e4}, "yik2025"),
        Published(
            "echo state network (readout solved)",
            {SOLVED.name: 14.79, BYTES.name: 2.81e5},
            "yik2025",
            "4.37e3 operations without zeros",
        ),
    ),
    parts={f"start-{start}": {"start": start} for start in range(STARTS)},
    rules=("frozen", "node", "mirror", "bptt"),
)
