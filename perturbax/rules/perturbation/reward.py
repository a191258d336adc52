"""Reward-modulated node perturbation: one noisy pass, and a reward against what was expected."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import one_of, positive, setting
from perturbax.learning.credit import Estimate, Outer
from perturbax.learning.noise import Noise, as_noise, plain
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import Credited, resolved
from perturbax.rules.perturbation.helpers import Average, node_noise, rated

DELAYS = ("step", "end")


class Summed(Outer):
    """Signals whose sequence is judged as one: every step meets the sum of all deltas (credit to-go gives it
    first).
    """

    __slots__ = ()

    def settle(self, net: Network, c: Float[Array, "b K B"] | None) -> Network:
        """Take the sum over the whole sequence."""
        return super().settle(net, c if c is None else jnp.broadcast_to(c[:1], c.shape))


class Reward(Credited):
    """Reward-modulated node perturbation: the noise of the only pass, times the loss that was not expected.

        dL/da_t  ~  xi_t / sigma * sum_{k < window} discount^k (L_{t+k} - Lbar)       L of the noisy network itself
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

    equation: ClassVar[str] = "dA = (L - Lbar) / sigma xi z^T, all of the noisy pass"
    target: ClassVar[str] = "to-go, or delay end: full gradient; same-step: gradient cut at every step"
    uses: ClassVar[tuple[str, ...]] = ("score",)
    cost: ClassVar[str] = "1 pass"
    memory: ClassVar[str] = "constant; to-go: T x B x units"
    papers: ClassVar[tuple[str, ...]] = ("fiete2006", "legenstein2010", "miconi2017", "williams1992")

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        positive("sigma", self.sigma)
        one_of("delay", self.delay, DELAYS)
        rated(self.rate)
        plain(self.noise, "reward")
        if self.delay == "end" and not (self.credit == "to-go" and self.discount == 1):
            raise ArgumentError(
                "delay end credits all noise with the one reward: leave credit to-go and discount 1"
            )

    def aim(self) -> str:
        """Unbiased within the reach of the credit."""
        return self.reach()

    def passes(self) -> int:
        """The noisy pass is the only one, unless it is replayed."""
        return 2 if self.credit == "replay" else 1

    def begin(self, net: Network, x: Array) -> PyTree:
        """The state of the noise, and no average yet."""
        like = node_noise(net, net.start(x.shape[0]), x, 1)
        resolved(self.sigma, like)
        return self.noise.init(like), Average.empty(like[0].dtype)

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network; the rest is what was kept."""
        return net.start(batch), (), (), ()

    def recall(self, carry: PyTree, kept: PyTree) -> PyTree:
        """Expect what was last known: one value for each step that the average must lag behind."""
        left, average = kept
        lag = self.window if self.credit == "window" else 1
        return carry[0], left, average, jnp.broadcast_to(average.value, (lag,))

    def keep(self, carry: PyTree) -> PyTree:
        """The state of the noise and the average of the loss."""
        return carry[1], carry[2]

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Noise for every pre-activation of the block."""
        state, left, *rest = carry
        left, xi = self.noise.draw(left, keys, node_noise(net, state, xs[0], 1))
        return (state, left, *rest), xi

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step the noisy network, the only one."""
        state, left, average, expected = carry
        state, y, sites = net.step(state, x, [self.sigma * e[0] for e in noise])
        loss = score(y)
        delta = (loss - expected[0])[None]
        average = average.seen(loss.mean().astype(average.total.dtype), self.rate)
        if self.credit not in ("to-go", "replay"):
            expected = jnp.concatenate([expected[1:], average.value[None]])
        seen = tuple(site._replace(a=None) for site in sites)
        parts = (Summed if self.delay == "end" else Outer)(seen, tuple(e / self.sigma for e in noise))
        return (state, left, average, expected), Estimate(loss, y, sites, delta, parts)
