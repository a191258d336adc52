"""What the rules share that guess the gradient of every pre-activation, and correct the guess by
perturbation.
"""

import abc
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import in_range, one_of, positive, setting
from perturbax.learning.blocks import step_keys
from perturbax.learning.credit import to_go
from perturbax.learning.estimate import Outer
from perturbax.learning.facts import Facts
from perturbax.learning.noise import check_white
from perturbax.learning.rule import SequenceRule
from perturbax.learning.trees import expand_like
from perturbax.network.layer import Layer
from perturbax.network.network import Network, Site
from perturbax.rules.feedback.probe import (
    measured_error,
    measured_responses,
    outputs_of_rows,
    pulled_back,
    query_signs,
)
from perturbax.rules.perturbation.node_base import NodeNoise

ERRORS = ("told", "measured")
QUERIES = 2**31 - 1  # no step of a sequence: names the key of what is added to outputs
Guesses = list[Array]  # one per layer, `(T, B, ...)` like its pre-activations


class Observed(NamedTuple):
    """A sequence as clean and noisy rows saw it; differences are in units of the noise's standard deviation.

    Attributes:
        loss: of the clean row, `(T, B)`.
        error: dL_t/dy_t of the clean row, `(T, B, n_out)`, or an estimate of it.
        sites: what every layer of the clean row saw, `(T, B, ...)`.
        before: its hidden states one step ago.
        y: its visible outputs.
        delta: the loss difference of each pair of rows, `(T, K, B)`.
        noise: the difference in noise, per layer `(T, K, B, ...)`.
        shown: the difference in pre-activation a beyond the noise that was added there: what other noise did.
        output: the difference in visible output.
        read: the difference in what is read from below.
    """

    loss: Array
    error: Array
    sites: tuple
    before: list
    y: list[Array]
    delta: Array
    noise: list[Array]
    shown: list[Array]
    output: list[Array]
    read: list[Array]

    @classmethod
    def of_clean_row(
        cls, loss: Array, error: Array, sites: Sequence[Site], before: list, y: list[Array]
    ) -> "Observed":
        """Return what was seen where no noisy row ran: the rest is None, which nothing may look at.

        Arguments as the attributes.
        """
        noisy: Any = None
        return cls(loss, error, tuple(sites), before, y, noisy, noisy, noisy, noisy, noisy)


class LearntFeedback(NodeNoise, SequenceRule):
    """Base: a guess of the gradient in every pre-activation, as a control variate for node perturbation.

        g_t = ghat_t + lam c_t xi_t
        c_t = sum_{s >= t} discount^(s-t) (delta_s / sigma - <ghat_s, xi_s>) - <ghat_t, da_t - xi_t>

    ghat comes from the clean row and from what was learnt in earlier sequences, so it is independent of the
    noise, and with lam = 1 and discount 1 the mean of g is the full gradient for ANY guess; a good one
    removes the variance. The last term takes out what earlier noise did; it is known in the first layer,
    whose input is clean. The last layer must be linear (its pre-activation is the output): its gradient is
    the output error.

    That error may be told (the derivative of the loss by the outputs), or measured, by the score alone: what
    becomes of it when small signs are added to the outputs. The network is not run again for that,
    and each step's score shows its own outputs alone, so that only n_out places hide each other:

        e_t = sum over queries of (L(y_t + shift s) - L(y_t)) / shift  s,      exact for n_out queries

    where each query moves a group of outputs of its own, n_out / queries of them. A query counts as a pass.

    A rule is its `guess`, and what it learns about it: `init_knowledge` and `fit`. A complete rule, whose
    guess is the present error sent back through fixed random weights:

        class RandomFeedback(LearntFeedback):
            def init_knowledge(self, net, x):
                keys = jr.split(jr.key(0), len(net.layers))
                return [jr.normal(k, (layer.width, net.layers[-1].width)) for k, layer in zip(keys,
                net.layers[:-1])]

            def guess(self, net, known, seen):
                gains = measured_gains(net, seen.before, seen.sites)
                return [through_gains(gain, seen.error @ B.T) for gain, B in zip(gains, known)]

    Attributes:
        error: told (dL/dy is given) or measured (from the score).
        queries: how often the score is asked for one step, where the error is measured; at most once for each
            output, which is exact.
        shift: how far outputs are moved for that, in units of the outputs.
        lam: weight of the correction by perturbation.
        penalty: weight of a local activity penalty, penalty y psi on top of g: the slope of penalty / 2 times
            squared activity. It keeps units in their linear range; biased unless 0.
        fits_first: whether to learn from a sequence before it is used: quicker, and no longer independent of
            its noise (of the class).
    """

    penalty: float = 0.0
    difference: str = setting("linearised")
    credit: str = setting("to-go")
    lam: float = 1.0
    error: str = setting("told")
    queries: int = setting(1)
    shift: float = 1e-4

    fits_first: ClassVar[bool] = False

    def __check_init__(self) -> None:
        """Check noise (the correction assumes that it is white), lam, penalty, and that credit is to-go."""
        name = type(self).__name__
        check_white(self.noise, name.lower())
        in_range("lam", self.lam, 0, below=True)
        in_range("penalty", self.penalty, 0, below=True)
        one_of("error", self.error, ERRORS)
        positive("queries", self.queries)
        positive("shift", self.shift)
        if self.credit != "to-go":
            raise ArgumentError(f"{name} works on whole sequences: credit is to-go, not {self.credit}")

    @abc.abstractmethod
    def guess(self, net: Network, known: PyTree, seen: Observed) -> Guesses:
        """Return the guess of dL/da for every layer but the last, `(T, B, ...)` like its pre-activations.

        It must not look at the noisy rows (delta, noise, shown, output and read of what was seen).

        Arguments:
            net: the network.
            known: what `init_knowledge`, or the last `fit`, returned.
            seen: the sequence as its rows saw it.
        """

    def init_knowledge(self, net: Network, x: Array) -> PyTree:
        """Return what the rule knows before the first sequence.

        Arguments:
            net: the network.
            x: one input `(B, n_in)`, for its shape and dtype.
        """
        return ()

    def fit(self, net: Network, known: PyTree, seen: Observed) -> PyTree:
        """Return what the rule knows after a sequence.

        Arguments:
            net: the network.
            known: what it knew before.
            seen: the sequence as its rows saw it, the noisy ones too.
        """
        return known

    def correction_weight(self, known: PyTree) -> Any:
        """Return lam, or less where what is known needs no correction.

        Arguments:
            known: what the rule knows.
        """
        return self.lam

    def described(self) -> Facts:
        """Return the facts: the noisy passes, whole sequences, and what is learnt."""
        facts = super().described()
        name = type(self).__name__
        offline = f"{name} works on whole sequences: it cannot learn online (use sequence mode)"
        passes = self.rows + (self.queries if self.error == "measured" else 0)
        uses = tuple(use for use in facts.uses if use != "output error" or self.error == "told")
        return facts.but(offline=offline, passes=passes, uses=uses, keeps=self.facts.keeps or facts.keeps)

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return the state of the noise, and what is known.

        Raises ArgumentError without a linear readout, and for more queries than outputs.
        """
        y = jax.eval_shape(net.step, net.start(len(x)), x)[1]
        if net.sites_like(x)[-1].a.shape != y.shape:
            raise ArgumentError(f"{type(self).__name__} needs a linear readout as last layer")
        if self.error == "measured" and self.queries > y.shape[-1]:
            most = f"{y.shape[-1]}, which is exact"
            raise ArgumentError(f"queries must be at most the number of outputs, {most}: not {self.queries}")
        known = self.init_knowledge(net, x)
        jax.eval_shape(lambda x: self.guess(net, known, _of_one_step(net, x)), x)  # what it cannot serve
        return self.init_noise(net, x), known

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: Any, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Watch a sequence, guess, correct, and learn from what was seen."""
        noise_state, known = state
        noise_state, fitted, seen = self.watched(net, noise_state, known, xs, ys, loss, key)
        used = fitted if self.fits_first else known
        guesses = [*self.guess(net, used, seen), seen.error]
        signal = self.corrected(guesses, seen, self.correction_weight(used))
        for i, more in enumerate(self.penalty_gradient(net, seen)):
            signal[i] = signal[i] + more
        steps_and_examples = len(xs) * xs.shape[1]
        summed = Outer.of(seen.sites, [s[:, None] for s in signal]).settle(net, None)
        grads = jax.tree.map(lambda g: g / steps_and_examples, summed)
        return (noise_state, fitted), seen.loss.mean(), grads

    def watched(
        self, net: Network, noise_state: PyTree, known: PyTree, xs: Array, ys: Any, loss: Any, key: Array
    ) -> tuple[PyTree, PyTree, Observed]:
        """Run a sequence and learn from it: -> (state of the noise, what is known after it, what was seen).

        Arguments:
            net: the network.
            noise_state: state of the noise before the sequence.
            known: what the rule knows before it.
            xs: inputs `(T, B, n_in)`.
            ys: targets, leaves `(T, B, ...)`.
            loss: (y `(B, n_out)`, target) -> `(B,)`.
            key: a random key.
        """
        noise_state, seen = self.observe(net, noise_state, xs, ys, loss, key)
        return noise_state, self.fit(net, known, seen), seen

    def observe(
        self, net: Network, noise_state: PyTree, xs: Array, ys: Any, loss: Any, key: Array
    ) -> tuple[PyTree, Observed]:
        """Run all rows over the sequence: -> (state of the noise, what was seen).

        Arguments:
            net: the network.
            noise_state: state of the noise before the sequence.
            xs: inputs `(T, B, n_in)`.
            ys: targets, leaves `(T, B, ...)`.
            loss: (y `(B, n_out)`, target) -> `(B,)`; differentiated by y where the error is told.
            key: a random key.
        """
        start = net.start(xs.shape[1])
        states = jax.tree.map(lambda s: jnp.broadcast_to(s, (self.rows, *s.shape)), start)
        noise_state, xi = self.draw_noise(net, noise_state, xs, step_keys(key, 0, len(xs)))
        in_units_of_noise = 1 / self.variance**0.5

        def one_step(states: PyTree, now: tuple) -> tuple[PyTree, Observed]:
            x, target, noise, asking = now
            noise, ambient = noise if self.ambient else (noise, None)
            inject = added = self.noise_of_rows(noise)
            if ambient is not None:
                added = [i + self.ambient * o for i, o in zip(inject, ambient, strict=True)]
            after, y, sites = jax.vmap(net.step, in_axes=(0, None, 0))(states, x, added)
            value, delta, error = self.judged(lambda out: loss(out, target), y, asking)
            hidden = [h for h, _ in states]
            out = [
                outputs_of_rows(layer, h, site.a)
                for layer, h, site in zip(net.layers, hidden, sites, strict=True)
            ]
            drives, reads = [site.a for site in sites], [site.z for site in sites]
            differences = delta, *(self.pair(rows) for rows in (inject, drives, out, reads))
            delta, xi, da, dy, dz = jax.tree.map(lambda d: d * in_units_of_noise, differences)
            shown = [d - x for d, x in zip(da, xi, strict=True)]
            at, before, said = (self.middle(rows) for rows in (sites, hidden, out))
            return after, Observed(value, error, at, before, said, delta, xi, shown, dy, dz)

        asking = step_keys(jr.fold_in(key, QUERIES), 0, len(xs))
        return noise_state, jax.lax.scan(one_step, states, (xs, ys, xi, asking))[1]

    def observe_clean(self, net: Network, xs: Array, ys: Any, loss: Any, key: Array) -> Observed:
        """Run the clean row alone; arguments as in `observe`."""

        def one_step(state: PyTree, now: tuple) -> tuple[PyTree, Observed]:
            x, target, asking = now
            after, y, sites = net.step(state, x)
            value, _, error = self.judged(lambda out: loss(out, target), y[None], asking)
            hidden = [h for h, _ in state]
            out = [
                outputs_of_rows(layer, jax.tree.map(lambda s: s[None], h), site.a[None])[0]
                for layer, h, site in zip(net.layers, hidden, sites, strict=True)
            ]
            return after, Observed.of_clean_row(value, error, sites, hidden, out)

        asking = step_keys(jr.fold_in(key, QUERIES), 0, len(xs))
        return jax.lax.scan(one_step, net.start(xs.shape[1]), (xs, ys, asking))[1]

    def judged(self, score: Any, y: Array, key: Array) -> tuple[Array, Array, Array]:
        """Return the loss `(B,)`, delta `(K, B)`, and the output error `(B, n_out)`, told or measured.

        Arguments:
            score: output `(B, n_out)` -> loss per example `(B,)`.
            y: outputs of all rows, `(rows, B, n_out)`.
            key: for the signs that are added to outputs.
        """
        middle = self.middle(y)
        if self.error == "told":
            loss, delta = self.compare(score, y)
            return loss, delta, jax.grad(lambda out: score(out).sum())(middle)
        signs = query_signs(key, self.queries, middle)
        error = measured_error(score, middle, signs, self.shift)
        if self.difference != "linearised":
            return *self.compare(score, y), error
        return score(middle), jnp.sum(error[None] * self.pair(y), -1), error

    def corrected(self, guesses: Guesses, seen: Observed, lam: Any) -> Guesses:
        """Return g of every layer, `(T, B, ...)`: the guess and its correction, averaged over samples.

        Arguments:
            guesses: ghat of every layer, the last one's the output error, `(T, B, ...)`.
            seen: the sequence as its rows saw it.
            lam: weight of the correction.
        """

        def along(guess: Array, d: Array) -> Array:  # <guess, d>, (T, K, B)
            return jnp.sum(guess[:, None] * d, tuple(range(3, d.ndim)))

        def with_correction() -> Guesses:
            explained = sum(along(g, xi) for g, xi in zip(guesses, seen.noise, strict=True))
            by_earlier_noise = along(guesses[0], seen.shown[0])
            c = lam * (to_go(seen.delta - explained, self.discount) - by_earlier_noise)
            return [
                g + jnp.mean(expand_like(c, xi) * xi, 1) for g, xi in zip(guesses, seen.noise, strict=True)
            ]

        # A weight that is computed may be 0 as well: what that makes needless is skipped as it runs.
        return jax.lax.cond(lam == 0, lambda: list(guesses), with_correction)

    def penalty_gradient(self, net: Network, seen: Observed) -> Guesses:
        """Return what the activity penalty adds to dL/da of each layer but the last, `(T, B, ...)`.

            penalty sum over the unit's outputs of y dy/da

        Nothing where the penalty is 0.

        Arguments:
            net: the network.
            seen: the sequence as its rows saw it.
        """
        if isinstance(self.penalty, int | float) and self.penalty == 0:
            return []

        def of_one(layer: Layer, h: PyTree, a: Array, y: Array) -> Array:  # of one example at one step
            nothing_later = jax.tree.map(jnp.zeros_like, h)
            return pulled_back(measured_responses(layer, h, a), h, a, nothing_later, self.penalty * y)[1]

        gradients = []
        for layer, h, site, y in zip(net.layers[:-1], seen.before, seen.sites, seen.y, strict=False):
            gradients.append(jax.vmap(jax.vmap(functools.partial(of_one, layer)))(h, site.a, y))
        return gradients


def _of_one_step(net: Network, x: Array) -> Observed:
    """Return what is seen in one step, leaves `(1, B, ...)`, without noisy rows: as much as a guess needs."""
    start = net.start(len(x))
    after, y, sites = net.step(start, x)
    hidden, outputs = [h for h, _ in start], [r for _, r in after]
    seen = Observed.of_clean_row(y[:, 0], y, sites, hidden, outputs)
    return jax.tree.map(lambda leaf: leaf[None], seen)
