"""How the benchmarks time: works that alternate in one process, medians, and ratios taken round by round."""

import json
import random
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from perturbax.experiment.atomic import write
from perturbax.experiment.machine import machine as this_machine
from perturbax.study.page import table

__all__ = ["alternate", "machine", "medians", "ratios", "save", "table"]

Work = Callable[[], Any]


def alternate(works: Mapping[str, Work], repeats: int = 7, at_least: float = 0.0) -> dict[str, list[float]]:
    """Time every work once per round: -> seconds per call, one number per round.

    Works run in turn, so that a slow minute of the machine hits all of them, and in another order each round,
    since what ran just before leaves caches and threads warm or cold. Each is warmed up first (which compiles
    it); a work shorter than `at_least` seconds is called that often per round that a round takes as long.
    """
    counts = {}
    for name, work in works.items():
        jax.block_until_ready(work())
        counts[name] = max(1, round(at_least / max(_timed(work, 1), 1e-9)))
    taken: dict[str, list[float]] = {name: [] for name in works}
    order, shuffle = list(works), random.Random(0).shuffle  # noqa: S311 - no secret
    for _ in range(repeats):
        shuffle(order)
        for name in order:
            taken[name].append(_timed(works[name], counts[name]))
    return taken


def _timed(work: Work, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        jax.block_until_ready(work())
    return (time.perf_counter() - began) / count


def ratios(taken: Mapping[str, list[float]], reference: str) -> dict[str, float]:
    """Return each work's median over rounds of its time over the reference's in the same round."""
    base = taken[reference]
    return {
        name: statistics.median(t / b for t, b in zip(times, base, strict=True))
        for name, times in taken.items()
    }


def medians(taken: Mapping[str, list[float]]) -> dict[str, float]:
    """Return each work's median time in seconds."""
    return {name: statistics.median(times) for name, times in taken.items()}


def machine() -> dict[str, str]:
    """What the numbers were measured with."""
    names = ("perturbax", "jax", "jaxlib", "equinox", "numpy")
    return {**this_machine(), **{n: version(n) for n in names}}


def save(path: Path | None, found: Mapping[str, Any]) -> None:
    """Write what was measured as JSON, beside what it was measured with."""
    if path:
        write(path, json.dumps({"machine": machine(), **found}, indent=1).encode())
