"""Delays of a NIR graph: shift registers of whole steps."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from perturbax.errors import DataError
from perturbax.network.layer import Fixed

MOST = 10_000_000  # values that a register may hold
CLOSE = 1e-3  # of a step: what rounding of seconds may make of a whole one


class DelayLine(eqx.Module):
    """The units of a `nir.Delay`, which stand in the place of neurons: y_t = a_{t-k}, k of each unit; zeros
    before.

    Where a delay closes a cycle, its readers take its output of the last step, and one step less is held.

    Attributes:
        steps: k of each unit, `(n,)` whole numbers.
        length: how many steps are held.
        closes: whether readers take the output of the last step.
    """

    steps: Fixed
    length: int = eqx.field(static=True)
    closes: bool = eqx.field(static=True)
    kind: ClassVar[str] = "Delay"
    decay: ClassVar[None] = None
    gain: ClassVar[None] = None
    threshold: ClassVar[None] = None
    reset: ClassVar[None] = None

    def start(self, n: int) -> tuple[Array, ...]:
        """Return what was held before the first step, zeros `(length, n)`.

        Arguments:
            n: number of units.
        """
        return (jnp.zeros((self.length, n)),) if self.length else ()

    def advance(self, h: tuple[Array, ...], a: Array) -> tuple[tuple[Array, ...], Array]:
        """Return what is held after the step, and y.

        Arguments:
            h: what was held, the last step first, `(length, n)`.
            a: pre-activation `(n,)`.
        """
        if not self.length:
            return (), a
        held = jnp.concatenate([a[None], h[0]])  # (length + 1, n)
        back = self.steps.value - self.closes  # (n,)
        y = jnp.take_along_axis(held, back[None], 0)[0]  # (n,)
        return (held[:-1],), y


def delay_line(steps: np.ndarray, closes: bool) -> DelayLine:
    """Return the units of a delay.

    Arguments:
        steps: of each unit, `(n,)` whole numbers; 1 or more where it closes a cycle.
        closes: whether readers take its output of the last step.
    """
    return DelayLine(Fixed(jnp.asarray(steps, int)), int(steps.max()) - closes, closes)


def steps_of(name: str, node: Any, dt: float) -> np.ndarray:
    """Return the steps of a delay, whole numbers, one for each value that the node holds.

    Arguments:
        name: of the node.
        node: the node `Delay` of the package nir.
        dt: seconds of a step.

    Raises DataError for what is no delay, and for one that is no whole number of steps.
    """
    seconds = np.asarray(node.delay, np.float64).reshape(-1)
    if not seconds.size or not np.isfinite(seconds).all() or (seconds < 0).any():
        raise DataError(f"node {name!r}: delay must be seconds, 0 or more, of every unit")
    steps = np.round(seconds / dt)
    off = np.abs(seconds / dt - steps)
    if (off > CLOSE).any():
        worst = int(off.argmax())
        raise DataError(
            f"node {name!r}: a delay of {seconds[worst]:g} s is no whole number of steps of {dt:g} s; the "
            f"nearest is {steps[worst] * dt:g} s"
        )
    if steps.max() * steps.size > MOST:
        raise DataError(
            f"node {name!r}: a delay of {steps.max():g} steps is too long to be held ({MOST} values at most)"
        )
    return steps.astype(int)
