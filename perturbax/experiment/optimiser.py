"""The optimisers and schedules of optax, by name."""

import inspect
from collections.abc import Callable
from typing import Any

import optax

from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.config import Experiment

SCHEDULES = {
    "constant": "constant_schedule",
    "cosine": "cosine_decay_schedule",
    "linear": "linear_schedule",
    "exponential": "exponential_decay",
    "warmup-cosine": "warmup_cosine_decay_schedule",
}


def _optimisers() -> list[str]:
    names = (n for n in dir(optax) if n[0].islower() and not n.startswith("scale_by_"))
    return [n for n in names if "learning_rate" in _parameters(getattr(optax, n))]


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters) if inspect.isfunction(function) else {}
    except (TypeError, ValueError):
        return {}


def make_schedule(name: str, lr: float, total: int) -> Any:
    """Return an optax schedule that starts (or peaks) at lr and spans `total` updates."""
    full = SCHEDULES.get(name, name)
    function = getattr(optax, full, None)
    wanted = _parameters(function)
    if not (full.endswith("_schedule") or full in SCHEDULES.values()) or not wanted:
        also = [n for n in dir(optax) if n.endswith("_schedule")]
        raise unknown("schedule", name, [*SCHEDULES, *also])
    known = {
        "value": lr,
        "init_value": 0.0 if "peak_value" in wanted else lr,
        "peak_value": lr,
        "end_value": 0.0,
        "decay_steps": total,
        "transition_steps": total,
        "warmup_steps": max(1, total // 20),
        "decay_rate": 0.01,
        "power": 1.0,
    }
    if full == "exponential_decay":
        known.pop("end_value")
    chosen = {k: v for k, v in known.items() if k in wanted}
    missing = [n for n, p in wanted.items() if p.default is p.empty and n not in chosen]
    if missing:
        raise ArgumentError(f"schedule {name} needs {', '.join(missing)}, which has no command-line form")
    try:
        return function(**chosen)  # pyright: ignore[reportOptionalCall]
    except ValueError as error:
        raise ArgumentError(f"schedule {name} cannot span {total} updates: {error}") from error


def make_rate(e: Experiment, updates: int, peak: Any, haste: Any = 1.0) -> Callable[[Any], Any]:
    """Return update -> learning rate on the experiment's schedule; peak and haste may be traced."""
    rate = make_schedule(str(e.schedule), 1.0, (e.steps or 0) * updates)
    return lambda count: peak * rate(count * haste)  # schedules are linear in their rate


def make_optimiser(e: Experiment, updates: int, peak: Any, haste: Any = 1.0) -> optax.GradientTransformation:
    """Return the optax optimiser on its schedule, behind a clip of the global norm; peak and haste may be
    traced.
    """
    name = str(e.optimiser)
    if name not in (names := _optimisers()):
        raise unknown("optimiser", name, names)
    rate = make_rate(e, updates, peak, haste)
    try:
        # Some optimisers take a plain number only.
        optimiser = getattr(optax, name)(learning_rate=peak if e.schedule == "constant" else rate)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"optimiser {name} cannot be used here: {error}") from error
    return optax.chain(optax.clip_by_global_norm(e.clip), optimiser) if e.clip else optimiser
