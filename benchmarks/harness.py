"""How the benchmarks time: programs that take turns in one process, medians, and ratios taken round by
round.
"""

import json
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from perturbax.atomic import write
from perturbax.experiment.machine import machine as this_machine
from perturbax.study.page import markdown_table as table

__all__ = ["alternate", "machine", "medians", "on_what", "place", "ratios", "save", "spread", "table"]

Program = Callable[[], Any]
"""What is timed: it takes nothing, and returns arrays that are waited for."""


def alternate(
    programs: Mapping[str, Program], repeats: int = 7, at_least: float = 0.0
) -> dict[str, list[float]]:
    """Time every program once per round.

    Programs run in turn, so that a slow minute of the machine hits all of them, and in another order each
    round, since what ran just before leaves caches and threads warm or cold. Each is called once before,
    which compiles it.

    Arguments:
        programs: by name.
        repeats: how many rounds.
        at_least: seconds; a shorter program is called that often per round that a round takes as long.

    Returns the seconds per call in each round, by name.
    """
    counts = {}
    for name, program in programs.items():
        jax.block_until_ready(program())
        counts[name] = max(1, round(at_least / max(_timed(program, 1), 1e-9)))
    taken: dict[str, list[float]] = {name: [] for name in programs}
    order, shuffle = list(programs), random.Random(0).shuffle  # noqa: S311 - no secret
    for _ in range(repeats):
        shuffle(order)
        for name in order:
            taken[name].append(_timed(programs[name], counts[name]))
    return taken


def _timed(program: Program, count: int) -> float:
    """Return the seconds of one call, mean over so many."""
    began = time.perf_counter()
    for _ in range(count):
        jax.block_until_ready(program())
    return (time.perf_counter() - began) / count


def ratios(taken: Mapping[str, list[float]], reference: str) -> dict[str, float]:
    """Return each program's median over rounds of its time over the reference's in the same round."""
    base = taken[reference]
    return {
        name: statistics.median(t / b for t, b in zip(times, base, strict=True))
        for name, times in taken.items()
    }


def medians(taken: Mapping[str, list[float]]) -> dict[str, float]:
    """Return each program's median time in seconds."""
    return {name: statistics.median(times) for name, times in taken.items()}


def spread(taken: Mapping[str, list[float]]) -> float:
    """Return how far rounds lie apart: half the interquartile range over the median, of the worst program."""

    def of_one(times: list[float]) -> float:
        low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
        return (high - low) / 2 / middle

    return max(of_one(times) for times in taken.values())


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean; infinite where a value is not finite (a run diverged)."""
    return statistics.geometric_mean(values) if all(map(math.isfinite, values)) else math.inf


def machine() -> dict[str, str]:
    """What the numbers were measured with."""
    names = ("perturbax", "jax", "jaxlib", "equinox", "numpy")
    return {"backend": jax.default_backend(), **this_machine(), **{n: version(n) for n in names}}


def on_what() -> str:
    """Return in a line what the numbers are measured on."""
    m = machine()
    return f"on {m['backend']}: {m['devices']}, {m['cores']} cores of {m['processor']}, JAX {m['jax']}"


def place(path: Path) -> Path:
    """Return where results of this backend go: `step.json` is `step-cpu.json` on a CPU, `step-gpu.json` on a
    GPU.
    """
    end = f"-{jax.default_backend()}"
    return path if path.stem.endswith(end) else path.with_stem(path.stem + end)


def save(path: Path | None, found: Mapping[str, Any]) -> None:
    """Write what was measured as JSON, beside what it was measured with, to the place of this backend.

    Numbers that are not finite are null there: JSON has none.
    """
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(_in_json({"machine": machine(), **found}), indent=1, allow_nan=False)
        write(place(path), content.encode())


def _in_json(value: Any) -> Any:
    """Return the same with None in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _in_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_in_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
