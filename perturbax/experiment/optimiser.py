"""The optimisers and schedules of optax, by name."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from optax import contrib

from perturbax.errors import ArgumentError, unknown
from perturbax.experiment import adas

SCHEDULES = {
    "constant": "constant_schedule",
    "cosine": "cosine_decay_schedule",
    "linear": "linear_schedule",
    "exponential": "exponential_decay",
    "warmup-cosine": "warmup_cosine_decay_schedule",
}


def _optimisers() -> dict[str, Callable]:
    """Return optax's optimisers by name, those of optax.contrib too: functions that take a learning rate."""
    found = {}
    for module in (contrib, optax):
        names = (n for n in dir(module) if n[0].islower() and not n.startswith("scale_by_"))
        found |= {n: getattr(module, n) for n in names if "learning_rate" in _parameters(getattr(module, n))}
    return found


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function by name; none where it has no signature."""
    try:
        return dict(inspect.signature(function).parameters) if inspect.isfunction(function) else {}
    except (TypeError, ValueError):
        return {}


def make_schedule(name: str, lr: float, total: int) -> Any:
    """Return an optax schedule, update -> learning rate.

    Arguments:
        name: a key of SCHEDULES, or the name of an optax schedule.
        lr: the learning rate at its start, or at its peak where the schedule warms up.
        total: the updates that it spans.

    Raises ArgumentError for an unknown schedule, or one that cannot be made from these numbers alone.
    """
    full = SCHEDULES.get(name, name)
    function = getattr(optax, full, None)
    wanted = _parameters(function)
    if not (full.endswith("_schedule") or full in SCHEDULES.values()) or not wanted:
        also = [n for n in dir(optax) if n.endswith("_schedule")]
        raise unknown("schedule", name, [*SCHEDULES, adas.NAME, *also])
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


class OptimiserSettings(NamedTuple):
    """An optimiser and the schedule of its learning rate, by name.

    Attributes:
        name: an optax optimiser, by name; or one as an object, which has a learning rate of its own.
        schedule: constant, cosine, linear, exponential, warmup-cosine, or an optax schedule; or adas, a rate
            for every array that follows what it has learnt.
        clip: largest global norm of a gradient estimate; 0 for no clipping.
        updates: updates of the whole run, which the schedule spans.
        lr_scale: what the learning rate of the weights is multiplied with.
        around: (optimiser, speed) -> the optimiser that is used in its place, such as one that prunes, behind
            the clip; None for the optimiser itself.
    """

    name: Any
    schedule: str
    clip: float
    updates: int
    lr_scale: int = 1
    around: Callable[[Any, Any], optax.GradientTransformation] | None = None

    def rate(self, peak: Any, speed: Any = 1.0) -> Callable[[Any], Any]:
        """Return update -> learning rate, on the schedule.

        Arguments:
            peak: the learning rate where the schedule is highest; may be traced.
            speed: factor by which the schedule is compressed, for a run over a share of the updates; may be
                traced.
        """
        name = "constant" if self.schedule == adas.NAME else self.schedule
        shape = make_schedule(name, 1.0, self.updates)
        return lambda count: peak * shape(count * speed)  # schedules are linear in their rate

    def optimiser(self, lr: Any, speed: Any = 1.0) -> optax.GradientTransformation:
        """Return the optax optimiser on its schedule, behind a clip of the global norm.

        Arguments:
            lr: the learning rate before it is scaled; may be traced.
            speed: as for `rate`.

        Raises ArgumentError for an unknown optimiser, or one that needs other arguments than a learning rate.
        """
        chosen = self._named(lr, speed) if isinstance(self.name, str) else self.name
        if self.around is not None:
            chosen = self.around(chosen, speed)
        return optax.chain(optax.clip_by_global_norm(self.clip), chosen) if self.clip else chosen

    def _named(self, lr: Any, speed: Any) -> optax.GradientTransformation:
        """Return the optimiser of optax by its name; arguments as for `optimiser`."""
        known = _optimisers()
        if self.name not in known:
            raise unknown("optimiser", self.name, sorted(known))
        peak = lr * self.lr_scale
        rate = self.rate(peak, speed)
        try:
            function = known[self.name]
            key = {"key": 0} if "key" in _parameters(function) else {}  # of noise, the same at every seed
            if self.schedule == adas.NAME:
                rates = adas.by_knowledge_gain(peak, max(1, self.updates // adas.EPOCHS), speed=speed)
                return optax.chain(function(learning_rate=1.0, **key), rates)
            # Some optimisers take a plain number only.
            return function(learning_rate=peak if self.schedule == "constant" else rate, **key)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"optimiser {self.name} cannot be used here: {error}") from error
