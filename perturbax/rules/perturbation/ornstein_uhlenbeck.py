"""Ornstein-Uhlenbeck adaptation: weights that wander around their means, and means that follow what paid."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.fields import in_range, positive, setting
from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Direct, Estimate
from perturbax.learning.facts import Facts
from perturbax.learning.noise import Noise, as_noise, check_white
from perturbax.learning.rule import StepRule
from perturbax.learning.shares import ROWS, mean_over
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.rules.perturbation.helpers import (
    RunningAverage,
    check_resolution,
    draw_once,
    shift_weights,
    weight_noise_shapes,
)


class OU(StepRule):
    """Ornstein-Uhlenbeck adaptation: one noisy trajectory of the weights, its deviation times the surprise of
    the loss.

        e <- rho e + sqrt(1 - rho^2) xi                 every `hold_steps` steps: variance 1, correlation rho
        dL/dw  ~  (e / sigma) (L_t(w + sigma e) - Lbar)    Lbar: running average of the loss, to the last move

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

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="dW = (L - Lbar) e / sigma, e <- rho e + sqrt(1 - rho^2) xi",
        target="rho 0, one deviation per sequence: full gradient; else paths weighted by rho per move",
        uses=("score",),
        cost="1 pass",
        memory="weights, constant in T",
        papers=("garcia2024ou",),
        keeps="the deviation of the weights, and a running average of the loss",
        passes=1,
    )

    def __check_init__(self) -> None:
        """Check noise, rates and hold."""
        positive("sigma", self.sigma)
        in_range("rate", self.rate, 0, 1, above=True)
        check_white(self.noise, "ou")
        in_range("rho", self.rho, 0, 1, below=True)
        in_range("hold_steps", self.hold_steps, 0)

    def described(self) -> Facts:
        """Return the facts: the target depends on how long a deviation lasts, and one that never moves is
        offline.
        """
        always_new = isinstance(self.rho, int | float) and self.rho == 0 and self.hold_steps < 2
        target = "biased: paths weighted by rho per move of the weights, less what the baseline knows"
        if always_new:
            target = "gradient cut at every step" if self.hold_steps else "full gradient"
        offline = "ou keeps one deviation per sequence: online, set hold_steps to move it"
        return self.facts.but(target=target, offline="" if self.hold_steps else offline)

    def compared_noise(self) -> None:
        """Return None: the loss of the one pass meets an average of earlier ones, not another pass."""

    def pairing(self) -> Credit:
        """Return same-step credit; a longer block would hold a copy of the deviation for each of its
        steps.
        """
        return Credit(block=1)

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return a deviation of zero, and an average of no losses."""
        some = weights(net)
        check_resolution(self.sigma, some)
        return jax.tree.map(jnp.zeros_like, some), RunningAverage.empty(
            jnp.result_type(*jax.tree.leaves(some))
        )

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Move on from the deviation of the last sequence; the first is from the stationary distribution."""
        deviation, average = state
        noise_state, fresh = self._fresh(net, self.noise.init(weight_noise_shapes(net, 1)), key)
        moved = self._moved(deviation, fresh)
        deviation = jax.tree.map(lambda e, xi: jnp.where(average.weight > 0, e, xi), moved, fresh)
        return net.start(x.shape[0]), noise_state, deviation, average, average.value, jnp.zeros((), int)

    def final_state(self, carry: PyTree) -> PyTree:
        """Return the deviation and the average of the loss."""
        return carry[2], carry[3]

    def _fresh(self, net: Network, noise_state: PyTree, key: Array) -> tuple[PyTree, Network]:
        """Draw noise for every weight."""
        noise_state, xi = draw_once(self.noise, noise_state, key, weight_noise_shapes(net, 1))
        return noise_state, jax.tree.map(lambda e: e[0], xi)

    def _moved(self, deviation: Network, xi: Network) -> Network:
        """Return rho e + sqrt(1 - rho^2) xi."""
        stay = jnp.asarray(self.rho)
        move = jnp.sqrt(1 - stay**2)
        return jax.tree.map(lambda e, xi: stay.astype(e.dtype) * e + move.astype(e.dtype) * xi, deviation, xi)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step the one network that there is; noise is a key, for a move of the weights where one is due."""
        state, noise_state, deviation, average, expected, t = carry
        if self.hold_steps:

            def move() -> tuple[PyTree, Network, Array]:
                """Move the deviation; the loss to compare with is the average until now."""
                after, xi = self._fresh(net, noise_state, noise)
                return after, self._moved(deviation, xi), average.value

            def stay() -> tuple[PyTree, Network, Array]:
                """Return all as it is, between two moves."""
                return noise_state, deviation, expected

            due = (t > 0) & (t % self.hold_steps == 0)
            noise_state, deviation, expected = jax.lax.cond(due, move, stay)
        shift = jax.tree.map(lambda d: self.sigma * d, deviation)
        state, y, sites = shift_weights(net, shift).step(state, x)
        loss = score(y)
        parts = Direct(jax.tree.map(lambda d: d[None] / self.sigma, deviation))
        estimate = Estimate(loss, y, sites, (loss - expected)[None], parts)
        average = average.with_value(mean_over(ROWS, loss.mean()).astype(average.total.dtype), self.rate)
        return (state, noise_state, deviation, average, expected, t + 1), estimate
