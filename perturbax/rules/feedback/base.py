"""The base of the rules that guess the gradient of every pre-activation, and correct the guess by
perturbation.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError, LayerError
from perturbax.fields import setting
from perturbax.learning.credit import Outer, to_go
from perturbax.learning.noise import plain
from perturbax.learning.sequence import Learner, Loss, keys_of
from perturbax.network.layer import Layer, split
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import NodePerturbation

Guesses = list[Array]  # one per layer, `(T, B, ...)` like its pre-activations


class Seen(NamedTuple):
    """A sequence as clean and noisy rows saw it; differences are in units of the noise's standard deviation.

    loss `(T, B)`; error dL_t/dy_t `(T, B, n_out)`. Of the clean row, `(T, B, ...)` per layer: sites; before,
    the hidden state one step ago; y, the visible output. Of each pair of rows, `(T, K, B, ...)`: delta; and
    per layer the noise, the difference in drive (of a) and in output (of y).
    """

    loss: Array
    error: Array
    sites: tuple
    before: list
    y: list[Array]
    delta: Array
    noise: list[Array]
    drive: list[Array]
    output: list[Array]


class Guess(NodePerturbation):
    """Base: a guess of the gradient in every pre-activation, as a control variate for node perturbation.

        g_t = ghat_t + lam c_t xi_t
        c_t = sum_{s >= t} discount^(s-t) (delta_s / sigma - <ghat_s, xi_s>) - <ghat_t, da_t - xi_t>

    ghat comes from the clean row and from what was learnt in earlier sequences, so it is independent of the
    noise, and with lam = 1 and discount 1 the mean of g is the full gradient for ANY guess; a good one
    removes the variance. The last term takes out what earlier noise did; it is had in the first layer, whose
    input is clean. The last layer must be linear (its pre-activation is the output): its gradient is the
    output error.

    A rule is its `guess`, and what it learns about it: `know` and `fit`.

    Attributes:
        lam: weight of the correction by perturbation.
        penalty: weight of a local activity penalty, penalty y psi on top of g: the slope of penalty / 2 times
            squared activity. It keeps units in their linear range; biased unless 0.
    """

    penalty: float = 0.0
    difference: str = setting("linearised")
    credit: str = setting("to-go")
    lam: float = 1.0

    memory: ClassVar[str] = "T x B x units"
    fits_first: ClassVar[bool] = (
        False  # learn from a sequence before it is used: quicker, and no longer independent
    )

    def __check_init__(self) -> None:
        """The correction looks at all later losses, and what it takes out at white noise."""
        plain(self.noise, type(self).__name__.lower())
        if isinstance(self.lam, int | float) and not 0 <= self.lam < float("inf"):
            raise ArgumentError(f"lam must be 0 or more, not {self.lam}")
        if isinstance(self.penalty, int | float) and not 0 <= self.penalty < float("inf"):
            raise ArgumentError(f"penalty must be 0 or more, not {self.penalty}")
        if self.credit != "to-go":
            raise ArgumentError(
                f"{type(self).__name__} works on whole sequences: credit is to-go, not {self.credit}"
            )

    @abc.abstractmethod
    def guess(self, net: Network, known: PyTree, seen: Seen) -> Guesses:
        """Return the guess for every layer but the last; it must not look at the noisy rows."""

    def know(self, net: Network, x: Array) -> PyTree:
        """Return what is known before the first sequence."""
        return ()

    def fit(self, net: Network, known: PyTree, seen: Seen) -> PyTree:
        """Return what is known after a sequence."""
        return known

    def weight(self, known: PyTree) -> Any:
        """Return lam, as far as what is known leaves it in place."""
        return self.lam

    def local(self, net: Network, seen: Seen) -> Guesses:
        """Return what the penalty adds to the gradient of each layer but the last, after correction."""
        if isinstance(self.penalty, int | float) and self.penalty == 0:
            return []
        return [through(psi, self.penalty * y) for psi, y in zip(gains(net, seen), seen.y, strict=False)]

    def needs_sequence(self) -> str:
        """It does."""
        return f"{type(self).__name__} works on whole sequences: it cannot learn online (use sequence mode)"

    def begin(self, net: Network, x: Array) -> PyTree:
        """The state of the noise, and what is known."""
        shapes = [site.a for site in jax.eval_shape(net.step, net.start(len(x)), x)[2]]
        if shapes[-1].shape != jax.eval_shape(net.step, net.start(len(x)), x)[1].shape:
            raise ArgumentError(f"{type(self).__name__} needs a linear readout as last layer")
        return super().begin(net, x), self.know(net, x)

    def learner(self, loss: Loss) -> Learner:
        """Watch a sequence, guess, correct, and learn from what was seen."""

        def learn(kept: PyTree, net: Network, xs: Array, ys: Any, key: Array) -> tuple:
            left, known = kept
            left, seen = self.watch(net, left, xs, ys, loss, key)
            after = self.fit(net, known, seen)
            known = after if self.fits_first else known
            ghat = [*self.guess(net, known, seen), seen.error]
            signal = self.corrected(ghat, seen, self.weight(known))
            for i, more in enumerate(self.local(net, seen)):
                signal[i] = signal[i] + more
            rows = len(xs) * xs.shape[1]
            parts = Outer(
                tuple(site._replace(a=None) for site in seen.sites), tuple(s[:, None] for s in signal)
            )
            grads = jax.tree.map(lambda g: g / rows, parts.settle(net, None))
            return (left, after), seen.loss.mean(), grads

        return learn

    def watch(
        self, net: Network, left: PyTree, xs: Array, ys: Any, loss: Loss, key: Array
    ) -> tuple[PyTree, Seen]:
        """Run all rows over the sequence: -> (state of the noise, what was seen)."""
        carry = self.recall(self.init(net, xs.shape[1], key), left)
        keys = keys_of(key, 0, len(xs))
        (states, left), xi = self.draw(net, carry, xs, keys)
        unit = 1 / self.variance**0.5

        def body(states: PyTree, now: tuple) -> tuple[PyTree, Seen]:
            x, target, noise = now
            inject = self.rows(noise)
            after, y, sites = jax.vmap(net.step, in_axes=(0, None, 0))(states, x, inject)
            value, delta = self.compare(lambda out: loss(out, target), y)
            error = jax.grad(lambda out: loss(out, target).sum())(self.middle(y))
            hidden = [h for h, _ in states]
            out = [spoken(layer, h, s.a) for layer, h, s in zip(net.layers, hidden, sites, strict=True)]
            told = [self.pair(rows) for rows in (inject, [s.a for s in sites], out)]
            scaled = jax.tree.map(lambda d: d * unit, (delta, *told))
            return after, Seen(value, error, *(self.middle(rows) for rows in (sites, hidden, out)), *scaled)

        seen = jax.lax.scan(body, states, (xs, ys, list(xi)))[1]
        return left, seen

    def corrected(self, ghat: Guesses, seen: Seen, lam: Any) -> Guesses:
        """Return g, the mean over samples."""

        def along(g: Array, d: Array) -> Array:  # <g, d> per step, sample and example
            return jnp.sum(g[:, None] * d, tuple(range(3, d.ndim)))

        explained = sum(along(g, e) for g, e in zip(ghat, seen.noise, strict=True))
        past = along(ghat[0], seen.drive[0] - seen.noise[0])
        c = lam * (to_go(seen.delta - explained, self.discount) - past)
        return [
            g + jnp.mean(c.reshape(*c.shape, *[1] * (e.ndim - 3)) * e, 1)
            for g, e in zip(ghat, seen.noise, strict=True)
        ]

    def signal(self, net: Network, sites: Any, delta: Array, inject: Any) -> tuple:
        """Not used: the guess is made for the whole sequence at once."""
        raise NotImplementedError


def spoken(layer: Layer, h: PyTree, a: Array) -> Array:
    """Return the visible output of neurons, `(rows, B, n)`, before any decorrelation."""
    return jax.vmap(jax.vmap(split(layer)[1].advance))(h, a)[1]


def worth(layer: Layer, h: PyTree, a: Array, later: PyTree, y: Array) -> tuple[PyTree, Array]:
    """Return what (h, a) of one example are worth when the next h is worth `later` and the output is worth y.

        worth_a = sum over outputs o of unit i of (do_i / da_i) worth_o,     the same for each entry of h

    The responses are measured by nudging the neurons up and down: no derivative of the dynamics is taken, and
    units are taken not to act on each other within a step. Entries (gates) come first in h and a, units last.
    """
    neurons = split(layer)[1]
    inputs, tree = jax.tree.flatten((h, a))
    if any(value.ndim < 1 for value in inputs):
        raise LayerError(
            f"{type(layer).__name__}: a hidden state needs an axis of units, to be nudged one by one"
        )
    if hasattr(layer, "surrogate"):
        raise LayerError(
            f"{type(layer).__name__}: a spike has no slope for nudging to measure (use node, innovation)"
        )
    step = float(jnp.finfo(a.dtype).eps) ** (1 / 3)
    found = []
    for i, value in enumerate(inputs):
        if not jnp.issubdtype(value.dtype, jnp.inexact):  # a counter: nothing flows through it
            found.append(jnp.zeros_like(value))
            continue
        flat = value.reshape(-1, value.shape[-1])

        def nudged(entry: Array, sign: float, i: int = i, value: Array = value) -> PyTree:
            moved = value + sign * step * entry.reshape(value.shape)
            return neurons.advance(*tree.unflatten([*inputs[:i], moved, *inputs[i + 1 :]]))

        def response(entry: Array, nudged: Callable = nudged) -> Array:
            up, down = nudged(entry, 1.0), nudged(entry, -1.0)
            parts = jax.tree.map(lambda p, q, w: (p - q) / (2 * step) * w, up, down, (later, y))
            return sum(part.reshape(-1, a.shape[-1]).sum(0) for part in jax.tree.leaves(parts))  # pyright: ignore

        entries = jnp.eye(len(flat), dtype=value.dtype)[:, :, None] * jnp.ones(
            (1, 1, flat.shape[-1]), value.dtype
        )
        found.append(jax.vmap(response)(entries).reshape(value.shape))
    return tree.unflatten(found)


def gains(net: Network, seen: Seen) -> Guesses:
    """Return dy/da of every unit of every layer but the last, `(T, B, ...)` like a: 1 - y^2 for tanh,
    measured.
    """

    def one(layer: Layer, h: PyTree, a: Array) -> Array:
        after, y = split(layer)[1].advance(h, a)
        if y.shape[-1] != a.shape[-1]:
            raise LayerError(
                f"{type(layer).__name__}: this guess is for units with one output each (use mirror)"
            )
        return worth(layer, h, a, jax.tree.map(jnp.zeros_like, after), jnp.ones_like(y))[1]

    pairs = zip(net.layers[:-1], seen.before, seen.sites, strict=False)
    return [
        jax.vmap(jax.vmap(lambda h, a, layer=layer: one(layer, h, a)))(h, site.a) for layer, h, site in pairs
    ]


def through(psi: Array, worth: Array) -> Array:
    """Return psi times what the units' outputs are worth: `(T, B, ..., n)` and `(T, B, n)`."""
    return psi * worth.reshape(*worth.shape[:2], *[1] * (psi.ndim - 3), -1)
