"""Reward-modulated node perturbation: one noisy pass, and a reward against what was expected."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import in_range, one_of, positive, setting
from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.noise import Noise, as_noise, check_white
from perturbax.learning.rule import Rule, StepRule
from perturbax.learning.shares import ROWS, OwnNoise, Share, mean_over
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import Credited
from perturbax.rules.perturbation.critic import Critic, Heard, features
from perturbax.rules.perturbation.helpers import RunningAverage, check_resolution, node_noise_shapes

DELAYS = ("step", "end")
CRITICS = ("none", "linear")


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

        dL/da_t  ~  xi_t / sigma * sum_s (discount lam)^{s-t} delta_s                critic linear
        delta_s  =  L_s + discount V(h_{s+1}) - V(h_s),      V(h) = w . [what all units say, 1]

    V is solved from all earlier sequences (LSTD(lambda)). h_s is the state before the noise of step s, so
    that V(h_s) is a baseline without bias; with lam below 1 later losses are replaced by what V expects of
    them, which is biased where V is wrong, and has less variance. Behind the end of a sequence lies what V
    expects. Barto, Sutton and Anderson 1983; Schulman et al. 2016.

    Attributes:
        sigma: standard deviation of the noise in pre-activations; what the loss varies by for other reasons
            counts as 1 / sigma^2 in the variance.
        delay: step (every step has its loss) or end (only the sum over the sequence is told, when it has
            ended).
        credit: with delay step: same-step, window, to-go, replay or trace, as in node.
        window: number of steps in window credit, the present one included.
        discount: weight of a loss k steps later is discount^k, except in same-step credit.
        rate: how fast the average of the loss follows, per step.
        critic: none (an average of the loss stands in for what was expected) or linear.
        lam: with a critic, what a later delta counts per step beside the discount.
        critic_rate: weight of the last sequence in the averages that the critic is solved from.
        noise: rademacher, gaussian, a Noise, or module:name of your own function.
    """

    sigma: float = 0.1
    delay: str = setting("step")
    credit: str = setting("to-go")
    rate: float = 0.02
    noise: Noise = eqx.field(converter=as_noise, default="gaussian")
    critic: str = setting("none")
    lam: float = 0.95
    critic_rate: float = 0.1

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
        one_of("critic", self.critic, CRITICS)
        in_range("lam", self.lam, 0, 1)
        in_range("critic_rate", self.critic_rate, 0, 1, above=True)
        if self.critic == "linear" and self.delay == "end":
            raise ArgumentError("a critic judges every step: with delay end, leave it out")
        if self.delay == "end" and not (self.credit == "to-go" and self.discount == 1):
            raise ArgumentError(
                "delay end credits all noise with the one reward: leave credit to-go and discount 1"
            )

    def described(self) -> Facts:
        """Return the facts: without bias for what its credit covers, in one pass, or two with replay; with
        a critic, up to what that expects wrongly.
        """
        facts = super().described().but(target=self.credited_target(), keeps=self.facts.keeps)
        facts = facts.but(passes=2 if self.credit == "replay" else 1)
        if self.critic == "none":
            return facts
        return facts.but(
            target=f"{facts.target}, biased by errors of the critic",
            uses=("score", "own activity"),
            keeps="a linear critic",
            papers=(*facts.papers, "barto1983", "boyan2002", "schulman2016"),
        )

    def pairing(self) -> Credit:
        """Return the credit; with a critic deltas decay by lam as well."""
        credit = super().pairing()
        return credit if self.critic == "none" else credit._replace(discount=self.discount * self.lam)

    def compared_noise(self) -> None:
        """Return None: the loss of the one pass meets an average of earlier ones, not another pass."""

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return the state of the noise, and an average of no losses."""
        shapes = node_noise_shapes(net, x, 1)
        check_resolution(self.sigma, shapes)
        average = RunningAverage.empty(shapes[0].dtype)
        if self.critic == "none":
            return self.noise.init(shapes), average
        read = jax.eval_shape(lambda: features(net.start(1)))
        return self.noise.init(shapes), average, Critic.empty(read.shape[1], read.dtype)

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the network's state, the noise's, the average, and one expected loss per step it must lag
        by.
        """
        noise_state, average, *critic = state
        lag = self.window if self.credit == "window" else 1
        heard = [Heard.nothing(one, x.shape[0]) for one in critic]
        start = net.start(x.shape[0])
        return start, noise_state, average, jnp.broadcast_to(average.value, (lag,)), *critic, *heard

    def final_state(self, carry: PyTree) -> PyTree:
        """Return the state of the noise, the average of the loss, and the critic after the sequence."""
        _, noise_state, average, _, *critic = carry
        if not critic:
            return noise_state, average
        return noise_state, average, critic[1].teach(critic[0], self.critic_rate)

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Draw noise for every pre-activation of the block."""
        state, noise_state, *rest = carry
        noise_state, xi = self.noise.draw(noise_state, keys, node_noise_shapes(net, xs[0], 1))
        return (state, noise_state, *rest), xi

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step the noisy network, the only one."""
        before, noise_state, average, expected, *critic = carry
        state, y, sites = net.step(before, x, [self.sigma * e[0] for e in noise])
        loss = score(y)
        delta = (loss - expected[0])[None]  # (1, B)
        if critic:
            of, heard = critic
            judged = loss, features(before), features(state), self.discount
            delta = of.error(*judged)[None]  # (1, B)
            critic = of, heard.and_step(*judged, self.lam)
        average = average.with_value(mean_over(ROWS, loss.mean()).astype(average.total.dtype), self.rate)
        if self.credit not in ("to-go", "replay"):
            expected = jnp.concatenate([expected[1:], average.value[None]])
        signal = [e / self.sigma for e in noise]
        parts = (Summed if self.delay == "end" else Outer).of(sites, signal)
        return (state, noise_state, average, expected, *critic), Estimate(loss, y, sites, delta, parts)
