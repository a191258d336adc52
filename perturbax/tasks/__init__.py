"""Every task by name; a new one is one file and one line."""

from perturbax.task import Task
from perturbax.tasks.copying import Copy
from perturbax.tasks.mackey_glass import MackeyGlass
from perturbax.tasks.probes import Bias, Context, Lag1, Lag3, Now
from perturbax.tasks.series import Series
from perturbax.tasks.weather import Weather

TASKS: dict[str, type[Task]] = {
    "mackey-glass": MackeyGlass,
    "copy": Copy,
    "weather": Weather,
    "series": Series,
    "probe-bias": Bias,
    "probe-now": Now,
    "probe-lag1": Lag1,
    "probe-lag3": Lag3,
    "probe-context": Context,
}

__all__ = ["TASKS", "Bias", "Context", "Copy", "Lag1", "Lag3", "MackeyGlass", "Now", "Series", "Weather"]
