"""A network together with its world: to every rule an ordinary network, whose output is a reward."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from perturbax.errors import ArgumentError
from perturbax.learning.rule import Rule
from perturbax.network.layer import Fixed, Layer, weights
from perturbax.network.network import Network
from perturbax.tasks.environment import Environment, Life


class Embodied(NamedTuple):
    """What the last layer carries: its own hidden state, and one copy of the world per example.

    Attributes:
        h: hidden state of the last layer.
        lives: the worlds, leaves `(B, ...)`.
    """

    h: Any
    lives: Life


class InWorld(Network):
    """A network that lives in an environment: inputs are chance, `(B, draws)`; outputs are rewards, `(B, 1)`.

        o_t = observe(w_t),   u_t = net(o_t),   w_{t+1}, r_t = act(w_t, u_t)

    The worlds are part of the state, in that of the last layer. Whoever runs several passes with states of
    their own so runs several worlds, one per row and example; and noise that is injected anywhere acts on the
    world through the outputs.

    Attributes:
        environment: the environment; its fields are settings.

    Raises ArgumentError for an environment that holds arrays.
    """

    environment: Environment = eqx.field(static=True)  # pyright: ignore[reportGeneralTypeIssues]

    def __init__(self, net: Network, environment: Environment):
        super().__init__(
            net.layers, net.decor, residual=net.residual, normalise=net.normalise, reads=net.reads
        )
        if jax.tree.leaves(environment):
            raise ArgumentError(
                f"{type(environment).__name__} holds arrays or numbers that are no settings: make its fields "
                "px.setting(...), and arrays in its methods"
            )
        self.environment = environment

    @property
    def net(self) -> Network:
        """The network without its world: from observations to outputs."""
        return super().like(self.layers, self.decor)

    def like(self, layers: Sequence[Layer], decor: Sequence[Fixed | None] | None = None) -> "InWorld":
        """Return a network of other layers and matrices D in the same world.

        Arguments:
            layers: from the input to the readout.
            decor: for each layer a D or None; by default there is none.
        """
        return InWorld(super().like(layers, decor), self.environment)

    def start(self, batch: int) -> tuple:
        """Return the state before the first step; the worlds begin with it.

        Arguments:
            batch: number of examples, B.
        """
        *below, (h, r) = super().start(batch)
        unborn = self.environment.unborn()
        lives = jax.tree.map(lambda s: jnp.broadcast_to(s, (batch, *s.shape)), unborn)
        return (*below, (Embodied(h, lives), r))

    def step(
        self,
        state: tuple,
        x: Inexact[Array, "B draws"],
        noise: Sequence[Array] | None = None,
        shift: Sequence[Array] | None = None,
        held: Sequence[Array] | None = None,
        masks: Sequence[Array] | None = None,
    ):
        """Let the network see, act, and be paid: -> (state, rewards `(B, 1)`, one `Site` per layer).

        Arguments:
            state: as `start` returns it.
            x: chance, `(B, draws)`.
            noise: as for `Network.step`.
            shift: as for `Network.step`.
            held: as for `Network.step`.
            masks: as for `Network.step`.
        """
        *below, (last, r) = state
        lives, seen = jax.vmap(self.environment.awake)(last.lives, x)  # (B, n_in)
        dtype = jnp.result_type(*jax.tree.leaves(weights(self)))
        inner = (*below, (last.h, r))
        inner, outputs, sites = super().step(inner, seen.astype(dtype), noise, shift, held, masks)
        lives, rewards = jax.vmap(self.environment.lived)(lives, outputs, x)  # (B,)
        *below, (h, r) = inner
        return (*below, (Embodied(h, lives), r)), rewards[:, None].astype(dtype), sites


def check_can_act(rule: Rule) -> None:
    """Raise ArgumentError for a rule that cannot learn from rewards alone.

    Arguments:
        rule: the rule.
    """
    uses = rule.described().uses
    needs = [use for use in ("output error", "derivatives", "transposed weights") if use in uses]
    if needs:
        raise ArgumentError(
            f"{type(rule).__name__} needs {' and '.join(needs)}, and a world has none to give: take a rule "
            "that is told its score alone, such as reward or evolution"
        )
