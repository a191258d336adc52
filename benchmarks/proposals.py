"""Rules that were proposed to lower the noise of node perturbation, tried by candidates.py and not shipped.

Each is told the score alone, and is node perturbation over whole sequences with one part exchanged:

    dL/da_t  ~  mean over samples of c_t xi_t / sigma,     c_t = sum_{s >= t} discount^(s-t) delta_s

A rule here is named as any of one's own: `--rule proposals:Pulses`, from this folder.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, PyTree

from perturbax.fields import positive, setting
from perturbax.learning.blocks import step_keys
from perturbax.learning.credit import Credit, to_go, windowed
from perturbax.learning.estimate import Outer
from perturbax.learning.facts import Facts
from perturbax.learning.rule import SequenceRule
from perturbax.learning.trees import expand_like
from perturbax.network.network import Network
from perturbax.rules.perturbation.node_base import NodeNoise

FORGET = 0.99  # of what is averaged over updates, kept from one to the next
OTHER = 2**31 - 1  # no step of a sequence: names the key of what is drawn beside the noise


class Seen(NamedTuple):
    """What the passes over a sequence showed.

    Attributes:
        loss: of the clean row, `(T, B)`.
        sites: what its layers saw, `(T, B, ...)`.
        delta: loss differences over sigma, `(T, K, B)`.
        xi: the noise as it was drawn, of unit variance, per layer `(T, K, B, n)`.
        size: what it was multiplied with, beside sigma, as from `sizes`.
    """

    loss: Array
    sites: tuple
    delta: Array
    xi: list[Array]
    size: Sequence[Any]


class Proposal(NodeNoise, SequenceRule):
    """Plain node perturbation, whose parts the other rules exchange."""

    credit: str = setting("to-go")

    facts: ClassVar[Facts] = Facts(uses=("score", "stored sequence"), cost="1 + K passes")

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return the state of the noise, and what the rule has learnt: nothing yet."""
        return self.init_noise(net, x), self.nothing_learnt(net, x)

    def nothing_learnt(self, net: Network, x: Array) -> PyTree:
        """Return what the rule knows before the first update; arguments as in `init_noise`."""
        return ()

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: Any, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Run all rows, and make the update of what they showed."""
        noise_state, known = state
        noise_state, xi = self.draw_noise(net, noise_state, xs, step_keys(key, 0, len(xs)))
        size = self.sizes(known, xi)
        restart, xi = self.in_time(xi, jr.fold_in(key, OTHER))
        injected = [s * e for s, e in zip(size, xi, strict=True)]
        seen = Seen(*self.passed(net, xs, ys, loss, injected, restart), xi, size)
        known, signals = self.signals(net, known, seen)
        signals = [(g / s)[:, None] for g, s in zip(signals, size, strict=True)]
        summed = Outer.of(seen.sites, signals).settle(net, None)
        grads = jax.tree.map(lambda g: g / seen.loss.size, summed)
        return (noise_state, known), seen.loss.mean(), grads

    def passed(
        self, net: Network, xs: Array, ys: Any, loss: Any, injected: list[Array], restart: Array
    ) -> tuple[Array, tuple, Array]:
        """Return (loss, sites, delta) of `Seen`, of a clean row and K noisy ones, which go back to the clean
        state where `restart` `(T,)` is 1.
        """
        start = jax.tree.map(lambda s: jnp.broadcast_to(s, (self.rows, *s.shape)), net.start(xs.shape[1]))

        def one_step(states: PyTree, now: tuple) -> tuple[PyTree, tuple]:
            x, target, noise, again = now
            states = jax.tree.map(lambda s: jnp.where(again, jnp.broadcast_to(s[:1], s.shape), s), states)
            states, y, sites = jax.vmap(net.step, in_axes=(0, None, 0))(states, x, self.noise_of_rows(noise))
            value, delta = self.compare(lambda out: loss(out, target), y)
            return states, (value, self.middle(sites), delta / self.sigma)

        return jax.lax.scan(one_step, start, (xs, ys, injected, restart))[1]

    def sizes(self, known: PyTree, xi: list[Array]) -> Sequence[Any]:
        """Return the size of the noise in units of sigma, for each layer a number or one per unit `(n,)`."""
        return [1.0] * len(xi)

    def in_time(self, xi: list[Array], key: Array) -> tuple[Array, list[Array]]:
        """Return (1 where noisy rows restart from the clean one `(T,)`, the noise, 0 where there is none)."""
        return jnp.zeros(len(xi[0])), xi

    def signals(self, net: Network, known: PyTree, seen: Seen) -> tuple[PyTree, list[Array]]:
        """Return (what is known now, the estimate of dL/da times sigma per layer, `(T, B, n)`)."""
        return known, credited(to_go(seen.delta, self.discount), seen.xi)


def credited(c: Array, xi: list[Array]) -> list[Array]:
    """Return the mean over samples of c `(T, K, B)` times the noise of every layer."""
    return [jnp.mean(expand_like(c, e) * e, 1) for e in xi]


class LeaveOneOut(Proposal):
    """The mean of the other samples is taken off each one's loss difference.

    c_k - mean_{j != k} c_j: other noise of the same example, so no bias.
    """

    samples: int = setting(4)

    def signals(self, net: Network, known: PyTree, seen: Seen) -> tuple[PyTree, list[Array]]:
        """Take off what the other samples have in common."""
        c = to_go(seen.delta, self.discount)
        others = (c.sum(1, keepdims=True) - c) / (self.samples - 1)
        return known, credited(c - others, seen.xi)


class Pulses(Proposal):
    """Noise every few steps only, before which noisy rows restart, so that old noise hides nothing new.

    Where pulses begin is drawn for every sequence; a pulse is credited with the losses up to the next.

    Attributes:
        every: steps from one pulse to the next.
    """

    every: int = setting(5)

    def __check_init__(self) -> None:
        """Check the distance."""
        positive("every", self.every)

    def in_time(self, xi: list[Array], key: Array) -> tuple[Array, list[Array]]:
        """Return where pulses are, and the noise there."""
        t = jnp.arange(len(xi[0]))
        pulse = (t % self.every == jr.randint(key, (), 0, self.every)).astype(xi[0].dtype)
        return pulse, [expand_like(pulse, e) * e for e in xi]

    def signals(self, net: Network, known: PyTree, seen: Seen) -> tuple[PyTree, list[Array]]:
        """Credit each pulse with the losses until the next, and count it for the steps without one."""
        credit = Credit(min(self.every, len(seen.delta)), self.discount)
        c = self.every * windowed(seen.delta, len(seen.delta), credit)
        return known, credited(c, seen.xi)


class ShrunkLags(Proposal):
    """Credit that learns how much a loss so many steps later counts, from how samples agree.

        w_k = <G_k^1, G_k^2> / |mean of G_k|^2,      G_k^j: the gradient of lag k from sample j alone

    each averaged over updates: the weight that brings w_k G_k nearest to its expectation. In place of a
    discount.
    """

    samples: int = setting(2)

    def nothing_learnt(self, net: Network, x: Array) -> PyTree:
        """Return one pair of sums per lag; as many as `window`."""
        return jnp.zeros((2, self.window))

    def signals(self, net: Network, known: PyTree, seen: Seen) -> tuple[PyTree, list[Array]]:
        """Weigh lags by what is known, and learn from what the two samples say."""
        T = len(seen.delta)
        lags = jnp.arange(self.window)

        def of_lag(k: Array) -> Array:  # agreement and square of the gradient of one lag
            later = jnp.roll(seen.delta, -k, 0) * expand_like(jnp.arange(T) + k < T, seen.delta)

            def of_sample(j: int) -> Network:
                signals = [expand_like(later[:, j], e[:, j]) * e[:, j] for e in seen.xi]
                return Outer.of(seen.sites, [s[:, None] for s in signals]).settle(net, None)

            one, two = (jax.tree.leaves(of_sample(j)) for j in (0, 1))
            both = sum(jnp.sum(a * b) for a, b in zip(one, two, strict=True))
            square = sum(jnp.sum((a + b) ** 2) / 4 for a, b in zip(one, two, strict=True))
            return jnp.stack([jnp.asarray(both), jnp.asarray(square)])

        agreement, square = known
        some = square > 0
        weight = jnp.where(some, jnp.clip(agreement / jnp.where(some, square, 1), 0, 1), 1)  # (window,)
        lag = jnp.arange(T)[None] - jnp.arange(T)[:, None]
        inside = (lag >= 0) & (lag < self.window)
        table = jnp.where(inside, weight[jnp.clip(lag, 0, self.window - 1)], 0)
        known = FORGET * known + (1 - FORGET) * jax.lax.map(of_lag, lags).T
        return known, credited(jnp.tensordot(table, seen.delta, 1), seen.xi)


class Balanced(Proposal):
    """Noise whose size in each unit follows what the unit is worth to the loss, learnt from the score.

        s_i ~ (g_i^2)^(-power / 2),    g_i^2 from products of two samples,    mean of s_i^2 = 1

    Attributes:
        power: 1 for sizes in inverse proportion, 0.5 for their root; below 0 units that matter get more.
    """

    samples: int = setting(2)
    power: float = 1.0

    def nothing_learnt(self, net: Network, x: Array) -> PyTree:
        """Return zero for every unit."""
        return [jnp.zeros(site.a.shape[1:], site.a.dtype) for site in net.sites_like(x)]

    def sizes(self, known: PyTree, xi: list[Array]) -> Sequence[Any]:
        """Return sizes between a quarter and four, in all of the same power as noise of size 1."""
        every = jnp.concatenate([k.ravel() for k in known])
        middle = jnp.maximum(jnp.mean(every), 1e-30)
        square = [jnp.clip(k / middle, 1 / 256, 256.0) for k in known]
        size = [jnp.clip(q ** (-self.power / 2), 0.25, 4.0) for q in square]
        mean = jnp.mean(jnp.concatenate([s.ravel() for s in size]) ** 2)
        learnt = jnp.any(every > 0)
        return [jnp.where(learnt, s / jnp.sqrt(mean), 1.0) for s in size]

    def signals(self, net: Network, known: PyTree, seen: Seen) -> tuple[PyTree, list[Array]]:
        """Learn from the product of two samples what units are worth."""
        c = to_go(seen.delta, self.discount)
        learnt = []
        for k, s, e in zip(known, seen.size, seen.xi, strict=True):
            one, two = (expand_like(c[:, j], e[:, j]) * e[:, j] / s for j in (0, 1))
            learnt.append(FORGET * k + (1 - FORGET) * jnp.mean(one * two, (0, 1)))
        return learnt, credited(c, seen.xi)


class Heads(Proposal):
    """A head above every hidden layer but the last, by whose own loss the layer learns.

        y_l = H_l r_l,    dL/da_l ~ c_l xi_l / sigma with losses of y_l,    dL/dy_l ~ delta_l xi / sigma

    The last hidden layer and the readout learn from the network's own score, layers below from that of their
    head alone, which noise above does not hide. A head learns by noise of its own in y_l, from the losses of
    the same step, by Adam.

    Attributes:
        rate: learning rate of the heads.
    """

    rate: float = 1e-3

    def nothing_learnt(self, net: Network, x: Array) -> PyTree:
        """Return heads that answer 0, and the state of their optimiser."""
        widths = [layer.width for layer in net.layers]
        heads = [jnp.zeros((n, widths[-1]), x.dtype) for n in widths[:-2]]
        return heads, optax.adam(self.rate).init(heads)

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: Any, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Run all rows, each layer with the loss of its head."""
        noise_state, (heads, opt) = state
        keys = step_keys(key, 0, len(xs))
        noise_state, xi = self.draw_noise(net, noise_state, xs, keys)
        at_heads = []  # noise in the answers of heads
        for i, H in enumerate(heads):
            own = jr.fold_in(jr.fold_in(key, OTHER), i)
            shape = (len(xs), self.samples, xs.shape[1], H.shape[1])
            at_heads.append(jr.rademacher(own, shape, H.dtype))

        def one_step(states: PyTree, now: tuple) -> tuple[PyTree, tuple]:
            x, target, noise, noise_at_heads = now

            def score(out: Array) -> Array:
                return loss(out, target)

            states, y, sites = jax.vmap(net.step, in_axes=(0, None, 0))(states, x, self.noise_of_rows(noise))
            value, delta = self.compare(score, y)
            moved = self.noise_of_rows(noise_at_heads)
            read = [r for _, r in states[: len(heads)]]  # (rows, B, n)
            answers = [r @ H + e for r, H, e in zip(read, heads, moved, strict=True)]
            by_head = [self.compare(score, answer)[1] for answer in answers]
            clean = self.middle(sites), self.middle(read)
            return states, (value, *clean, [d / self.sigma for d in [*by_head, delta, delta]])

        start = jax.tree.map(lambda s: jnp.broadcast_to(s, (self.rows, *s.shape)), net.start(xs.shape[1]))
        _, (value, sites, read, deltas) = jax.lax.scan(one_step, start, (xs, ys, xi, at_heads))
        signals = []
        for delta, e in zip(deltas, xi, strict=True):
            signals.append(credited(to_go(delta, self.discount), [e])[0][:, None])
        summed = Outer.of(sites, signals).settle(net, None)
        errors = [credited(d, [e])[0] for d, e in zip(deltas, at_heads, strict=False)]  # (T, B, n_out)
        of_heads = [jnp.einsum("tbn,tbo->no", r, e) / value.size for r, e in zip(read, errors, strict=True)]
        change, opt = optax.adam(self.rate).update(of_heads, opt)
        heads = jax.tree.map(jnp.add, heads, change)
        grads = jax.tree.map(lambda g: g / value.size, summed)
        return (noise_state, (heads, opt)), value.mean(), grads


def blocks(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return signs in a random quarter of the units, twice as large, and no noise in the others."""
    on, sign = jr.split(key)
    return 2 * jr.bernoulli(on, 0.25, shape).astype(dtype) * jr.rademacher(sign, shape, dtype)


def averaged_first(lr: Any, momentum: float = 0.9, memory: float = 0.999) -> optax.GradientTransformation:
    """Return Adam whose second moment is that of the averaged estimate, not of the noisy one.

    m <- momentum m + (1 - momentum) g,    v <- memory v + (1 - memory) m^2,    w <- w - lr m / sqrt(v)

    The form of R-AdaZO (Shu et al. 2025), with both moments corrected for their start from zero.

    Arguments:
        lr: learning rate, or its schedule.
        momentum: of the estimate.
        memory: of the square.
    """
    average = optax.ema(momentum, debias=True)
    rms = optax.scale_by_rms(memory, bias_correction=True)
    return optax.chain(average, rms, optax.scale_by_learning_rate(lr))


def one_scale(lr: Any, momentum: float = 0.9, memory: float = 0.999) -> optax.GradientTransformation:
    """Return Adam with a single second moment for all weights, the mean square of the whole estimate (MEAZO).

    Arguments:
        lr: learning rate, or its schedule.
        momentum: of the estimate.
        memory: of the mean square.
    """

    def start(params: Any) -> Any:
        return jnp.zeros(()), jnp.zeros((), int)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        v, t = state
        leaves = jax.tree.leaves(updates)
        mean = sum(jnp.sum(g * g) for g in leaves) / sum(g.size for g in leaves)
        v, t = memory * v + (1 - memory) * mean, t + 1
        scale = 1 / (jnp.sqrt(v / (1 - memory**t)) + 1e-8)
        return jax.tree.map(lambda g: scale * g, updates), (v, t)

    common = optax.GradientTransformation(start, update)
    return optax.chain(optax.ema(momentum, debias=True), common, optax.scale_by_learning_rate(lr))
