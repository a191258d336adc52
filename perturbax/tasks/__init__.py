"""Tasks: problems to train on.

The classes are used directly, `px.tasks.Copy(length=5).open(None)`; `TASKS` has them by name, as the command
line does. A new task is one file with one class, and one line here.
"""

from typing import TYPE_CHECKING

from perturbax.moved import old_names
from perturbax.plugins import Registry
from perturbax.tasks.adding import Adding
from perturbax.tasks.bandit import Bandit
from perturbax.tasks.base import Task
from perturbax.tasks.cart_pole import CartPole
from perturbax.tasks.copying import Copy
from perturbax.tasks.delayed_xor import DelayedXor
from perturbax.tasks.digits import Digits
from perturbax.tasks.evidence import Evidence
from perturbax.tasks.flip_flop import FlipFlop
from perturbax.tasks.gym import Gym
from perturbax.tasks.lorenz import Lorenz
from perturbax.tasks.mackey_glass import MackeyGlass
from perturbax.tasks.mnist import Mnist
from perturbax.tasks.narma import Narma
from perturbax.tasks.neurogym import NeuroGym
from perturbax.tasks.pattern import Pattern
from perturbax.tasks.probes import Bias, Context, Lag1, Lag3, Now
from perturbax.tasks.series import Series
from perturbax.tasks.shd import Shd
from perturbax.tasks.text import Text
from perturbax.tasks.weather import Weather

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

TASKS: Registry[Task] = Registry(
    "task",
    {
        "mackey-glass": MackeyGlass,
        "narma": Narma,
        "lorenz": Lorenz,
        "copy": Copy,
        "adding": Adding,
        "delayed-xor": DelayedXor,
        "flip-flop": FlipFlop,
        "evidence": Evidence,
        "pattern": Pattern,
        "digits": Digits,
        "mnist": Mnist,
        "shd": Shd,
        "text": Text,
        "neurogym": NeuroGym,
        "bandit": Bandit,
        "cart-pole": CartPole,
        "gym": Gym,
        "weather": Weather,
        "series": Series,
        "probe-bias": Bias,
        "probe-now": Now,
        "probe-lag1": Lag1,
        "probe-lag3": Lag3,
        "probe-context": Context,
    },
)

__all__ = ["TASKS", *(cls.__name__ for cls in TASKS.values())]  # pyright: ignore[reportUnsupportedDunderAll]
