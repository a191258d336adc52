"""Reward-modulated node perturbation: one noisy pass, and a reward against what was expected."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import in_range, one_of, positive, setting
from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.noise import Noise, as_noise, check_white
from perturbax.learning.rule import Rule, StepRule
from perturbax.learning.shares import ROWS, OwnNoise, Share, mean_over
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import Credited
from perturbax.rules.perturbation.helpers import RunningAverage, check_resolution, node_noise_shapes

DELAYS = ("step", "end")


class Summed(Outer):
    """Signals whose sequence is judged as one: every step meets the sum of all deltas.

    Credit to-go gives that sum for the first step.
    """

    __slots__ = ()

    def settle(self, net: Network, c: Float[Array, "b K B"] | None) -> Network:
        """Multiply every signal with the sum over the whole sequence."""
        return super().settle(net, c if c is None else jnp.broadcast_to(c[:1], c.shape))


class Reward(Credited, StepRule):
    """Reward-modulated node perturbation: the noise of the only pass, times the loss that was not expected.

        dL/da_t  ~  xi_t / sigma * sum_{k < window} discount^k (L_{t+k} - Lbar)     L of the noisy network
        dL/da_t  ~  xi_t / sigma * sum_{all s} (L_s - Lbar)       delay end: one reward a sequence

    No clean pass: Lbar, a running average of the loss, stands in for it. It must not know the noise it is
    paired with, so it lags by the window, and with credit to-go or delay end is the one from before the
    sequence. (Credit trace reaches back for ever: there a share of each loss, below rate x memory of the
    trace / B, is missing.) Presynaptic activity is the noisy network's own, and xi_t is independent of it:
    with Gaussian noise this is the exact gradient of the expected loss of the noisy network (REINFORCE,
    Williams 1992), so, like node, unbiased up to sigma^2 for the gradient of the clean one; any baseline of
    earlier losses is right, a good one has less variance. Fiete and Seung 2006; Legenstein et al. 2010;
    delayed reward: Miconi 2017.

    Attributes:
        sigma: standard deviation of the noise in pre-activations; what the loss varies by for other reasons
            counts as 1 / sigma^2 in the variance.
        delay: step (every step has its loss) or end (only the sum over the sequence is told, when it has
            ended).
        credit: with delay step: same-step, window, to-go, replay or trace, as in node.
        window: number of steps in window credit, the present one included.
        discount: weight of a loss k steps later is discount^k, except in same-step credit.
        rate: how fast the average of the loss follows, per step.
        noise: rademacher, gaussian, a Noise, or module:name of your own function.
    """

    sigma: float = 0.1
    delay: str = setting("step")
    credit: str = setting("to-go")
    rate: float = 0.02
    noise: Noise = eqx.field(converter=as_noise, default="gaussian")

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="dA = (L - Lbar) / sigma xi z^T, all of the noisy pass",
        target="to-go, or delay end: full gradient; same-step: gradient cut at every step",
        uses=("score",),
        cost="1 pass",
        memory="constant; to-go: T x B x units",
        papers=("fiete2006", "legenstein2010", "miconi2017", "williams1992"),
        keeps="a running average of the loss",
        passes=1,
    )

    def of_share(self, share: Share) -> Rule:
        """Return the rule with the noise of its own rows."""
        return dataclasses.replace(self, noise=OwnNoise(self.noise, share))

    def __check_init__(self) -> None:
        """Check noise, rate and delay."""
        positive("sigma", self.sigma)
        one_of("delay", self.delay, DELAYS)
        in_range("rate", self.rate, 0, 1, above=True)
        check_white(self.noise, "reward")
        if self.delay == "end" and not (self.credit == "to-go" and self.discount == 1):
            raise ArgumentError(
                "delay end credits all noise with the one reward: leave credit to-go and discount 1"
            )

    def described(self) -> Facts:
        """Return the facts: without bias for what its credit covers, in one pass, or two with replay."""
        return (
            super()
            .described()
            .but(
                target=self.credited_target(),
                passes=2 if self.credit == "replay" else 1,
                keeps=self.facts.keeps,
            )
        )

    def compared_noise(self) -> None:
        """Return None: the loss of the one pass meets an average of earlier ones, not another pass."""

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return the state of the noise, and an average of no losses."""
        shapes = node_noise_shapes(net, x, 1)
        check_resolution(self.sigma, shapes)
        return self.noise.init(shapes), RunningAverage.empty(shapes[0].dtype)

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the network's state, the noise's, the average, and one expected loss per step it must lag
        by.
        """
        noise_state, average = state
        lag = self.window if self.credit == "window" else 1
        return net.start(x.shape[0]), noise_state, average, jnp.broadcast_to(average.value, (lag,))

    def final_state(self, carry: PyTree) -> PyTree:
        """Return the state of the noise and the average of the loss."""
        return carry[1], carry[2]

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Draw noise for every pre-activation of the block."""
        state, noise_state, *rest = carry
        noise_state, xi = self.noise.draw(noise_state, keys, node_noise_shapes(net, xs[0], 1))
        return (state, noise_state, *rest), xi

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step the noisy network, the only one."""
        state, noise_state, average, expected = carry
        state, y, sites = net.step(state, x, [self.sigma * e[0] for e in noise])
        loss = score(y)
        delta = (loss - expected[0])[None]  # (1, B)
        average = average.with_value(mean_over(ROWS, loss.mean()).astype(average.total.dtype), self.rate)
        if self.credit not in ("to-go", "replay"):
            expected = jnp.concatenate([expected[1:], average.value[None]])
        signal = [e / self.sigma for e in noise]
        parts = (Summed if self.delay == "end" else Outer).of(sites, signal)
        return (state, noise_state, average, expected), Estimate(loss, y, sites, delta, parts)
