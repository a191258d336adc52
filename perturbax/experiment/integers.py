"""Weights as whole numbers of few bits, while they are learnt."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, PyTree

from perturbax.devices.updates import rounded
from perturbax.errors import ArgumentError
from perturbax.fields import positive
from perturbax.learning.noise import Rademacher
from perturbax.learning.rule import Rule
from perturbax.network.layer import weights
from perturbax.network.network import Network

MOST = 16  # bits: 32-bit floats hold the sums of more no longer exactly


def rounded_at_random(step: Any, top: Any) -> optax.GradientTransformation:
    """Return a transformation that leads weights from one whole multiple of a step to another.

        W <- step floor((W + update) / step + u),  within -top and top,      u uniform in [0, 1)

    An update below the step is so made now and then as a whole one (`devices.updates.rounded`). It stands
    behind the optimiser: `optax.chain(optax.adam(1e-3), px.rounded_at_random(1 / 127, 1))`.

    Arguments:
        step: distance of neighbouring weights.
        top: largest weight, a multiple of the step.
    """
    positive("step", step)
    positive("top", top)

    def init(params: PyTree) -> Array:
        return jnp.zeros((), int)  # updates so far

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Array]:
        leaves, tree = jax.tree.flatten(params)
        keys = jr.split(jr.fold_in(jr.PRNGKey(0), state), len(leaves))

        def one(key: Array, w: Array, change: Array) -> Array:
            return jnp.clip(rounded(w + change, step, key), -top, top) - w

        moved = [one(*each) for each in zip(keys, leaves, tree.flatten_up_to(updates), strict=True)]
        return tree.unflatten(moved), state + 1

    return optax.GradientTransformation(init, update)


class Integers(NamedTuple):
    """The whole numbers that weights of a run are, times a step that all arrays share.

        W = step k,      k in -(2^(bits - 1) - 1) .. 2^(bits - 1) - 1,      step = top / (2^(bits - 1) - 1)

    Attributes:
        bits: of a weight, 2 to 16.
        top: the largest weight.
    """

    bits: int
    top: float

    @property
    def step(self) -> float:
        """Distance of neighbouring weights."""
        return self.top / (2 ** (self.bits - 1) - 1)

    def check(self, rule: Rule) -> None:
        """Raise ArgumentError for settings that cannot be, and for noise that leads weights off the grid.

        Arguments:
            rule: the rule; one that perturbs weights must add sigma times whole numbers to them.
        """
        if not 2 <= self.bits <= MOST:
            raise ArgumentError(f"bits must be 2 to {MOST}, or 0 for floats, not {self.bits}")
        positive("bits_top", self.top)
        if not rule.perturbs_weights:
            return
        named: Any = rule
        shift = named.sigma / self.step
        if not isinstance(named.noise, Rademacher) or getattr(named, "rank", 0) > 1:
            raise ArgumentError(
                f"with bits {self.bits} weights are moved by whole steps: take noise rademacher, and in "
                "low-rank directions rank 1 (or 0)"
            )
        if shift < 0.5 or abs(shift - round(shift)) > 1e-3 * shift:
            raise ArgumentError(
                f"sigma {named.sigma:g} is {shift:.3g} steps of weights of {self.bits} bits up to "
                f"{self.top:g}: take whole ones, such as --rule.sigma {2 * self.step:.6g}, which are two"
            )

    def rounded(self, net: Network) -> Network:
        """Return a network whose weights are the nearest that there are."""
        held = jax.tree.map(
            lambda w: jnp.clip(self.step * jnp.round(w / self.step), -self.top, self.top), weights(net)
        )
        return eqx.combine(held, net)

    def around(self, optimiser: optax.GradientTransformation, speed: Any) -> optax.GradientTransformation:
        """Return the optimiser with updates that lead from one such weight to another, at any speed."""
        return optax.chain(optimiser, rounded_at_random(self.step, self.top))
