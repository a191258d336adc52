"""Ornstein-Uhlenbeck adaptation: weights that wander around their means, and means that follow what paid."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import positive, setting
from perturbax.learning.credit import Direct, Estimate
from perturbax.learning.noise import Noise, as_noise, plain
from perturbax.learning.rule import Rule
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import resolved
from perturbax.rules.perturbation.helpers import Average, drawn, rated, shifted, weight_noise


class OU(Rule):
    """Ornstein-Uhlenbeck adaptation: one noisy trajectory of the weights, its deviation times the surprise of
    the loss.

        e <- rho e + sqrt(1 - rho^2) xi                 every `hold_steps` steps: variance 1, correlation rho per move
        dL/dw  ~  (e / sigma) (L_t(w + sigma e) - Lbar)    Lbar: running average of the loss, up to the last move

    w is the mean mu of the process, -L the reward, optimisers do the rest; e and Lbar outlive sequences.
    Discretised exactly, rho = exp(-lambda dt). No clean pass. Up to sigma^2 the mean estimate for loss L_t is

        sum_s rho^m(s,t) dL_t/dw_s - rho-weighted gradients of the earlier losses in Lbar

    where w_s is the weight as used at step s and m counts the moves between s and t. So rho = 0 gives the
    full gradient for one deviation per sequence, the gradient cut at every step for one per step; rho > 0
    reaches back through time, and is shrunk by about rate rho / (1 - rho (1 - rate)), rate per move, as the
    baseline knows the deviation too: rate must be well below 1 - rho. Garcia Fernandez, Ahmad and van Gerven
    2024.

    Attributes:
        sigma: standard deviation of the weights around their means.
        rho: correlation of a deviation with the one before it, from 0 (always new) to below 1.
        hold_steps: steps before the deviation moves, 0 to keep it for a sequence.
        rate: how fast the average of the loss follows, per step.
        noise: rademacher, gaussian, low-rank, a Noise, or module:name of your own function.
    """

    sigma: float = 0.05
    rho: float = 0.0
    hold_steps: int = setting(0)
    rate: float = 0.02
    noise: Noise = eqx.field(converter=as_noise, default="gaussian")

    equation: ClassVar[str] = "dW = (L - Lbar) e / sigma, e <- rho e + sqrt(1 - rho^2) xi"
    target: ClassVar[str] = (
        "rho 0, one deviation per sequence: full gradient; else paths weighted by rho per move"
    )
    uses: ClassVar[tuple[str, ...]] = ("score",)
    cost: ClassVar[str] = "1 pass"
    memory: ClassVar[str] = "weights, constant in T"
    papers: ClassVar[tuple[str, ...]] = ("garcia2024ou",)
    block: ClassVar[int] = 1  # a longer block would hold a copy of the deviation for each of its steps

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        positive("sigma", self.sigma)
        rated(self.rate)
        plain(self.noise, "ou")
        if isinstance(self.rho, int | float) and not 0 <= self.rho < 1:
            raise ArgumentError(f"rho must be from 0 to below 1, not {self.rho}")
        if self.hold_steps < 0:
            raise ArgumentError(f"hold_steps must be 0 or more, not {self.hold_steps}")

    def aim(self) -> str:
        """Depends on how long a deviation lasts."""
        if isinstance(self.rho, int | float) and self.rho == 0 and self.hold_steps < 2:
            return "gradient cut at every step" if self.hold_steps else "full gradient"
        return "biased: paths weighted by rho per move of the weights, less what the baseline knows"

    def passes(self) -> int:
        """The noisy pass is the only one."""
        return 1

    def needs_sequence(self) -> str:
        """A deviation that never moves cannot be judged."""
        return (
            ""
            if self.hold_steps
            else "ou keeps one deviation per sequence: online, set hold_steps to move it"
        )

    def begin(self, net: Network, x: Array) -> PyTree:
        """No deviation yet, and no average."""
        some = weights(net)
        resolved(self.sigma, some)
        return jax.tree.map(jnp.zeros_like, some), Average.empty(jnp.result_type(*jax.tree.leaves(some)))

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """A deviation from the stationary distribution."""
        left, fresh = self._fresh(net, self.noise.init(weight_noise(net, 1)), key)
        average = Average.empty(jnp.result_type(*jax.tree.leaves(fresh)))
        return net.start(batch), left, fresh, average, average.value, jnp.zeros((), int)

    def _fresh(self, net: Network, left: PyTree, key: Array) -> tuple[PyTree, Network]:
        left, xi = drawn(self.noise, left, key, weight_noise(net, 1))
        return left, jax.tree.map(lambda e: e[0], xi)

    def _moved(self, e: Network, xi: Network) -> Network:
        stay = jnp.asarray(self.rho)
        move = jnp.sqrt(1 - stay**2)
        return jax.tree.map(lambda e, xi: stay.astype(e.dtype) * e + move.astype(e.dtype) * xi, e, xi)

    def recall(self, carry: PyTree, kept: PyTree) -> PyTree:
        """Move on from the deviation of the last sequence, if there was one."""
        state, left, fresh, _, _, t = carry
        e, average = kept
        e = jax.tree.map(lambda e, xi: jnp.where(average.weight > 0, e, xi), self._moved(e, fresh), fresh)
        return state, left, e, average, average.value, t

    def keep(self, carry: PyTree) -> PyTree:
        """The deviation and the average of the loss."""
        return carry[2], carry[3]

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step the one network that there is."""
        state, left, e, average, expected, t = carry
        if self.hold_steps:

            def move() -> tuple[PyTree, Network, Array]:
                after, xi = self._fresh(net, left, noise)
                return after, self._moved(e, xi), average.value

            due = (t > 0) & (t % self.hold_steps == 0)
            left, e, expected = jax.lax.cond(due, move, lambda: (left, e, expected))
        state, y, sites = shifted(net, jax.tree.map(lambda d: self.sigma * d, e)).step(state, x)
        loss = score(y)
        parts = Direct(jax.tree.map(lambda d: d[None] / self.sigma, e))
        estimate = Estimate(loss, y, sites, (loss - expected)[None], parts)
        average = average.seen(loss.mean().astype(average.total.dtype), self.rate)
        return (state, left, e, average, expected, t + 1), estimate
