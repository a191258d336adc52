"""The engine of the rules that relax: a whole sequence as one graph, its errors settled in sweeps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.learning.estimate import Outer, averaged
from perturbax.learning.jacobian import read_late
from perturbax.learning.trees import expand_like
from perturbax.network.network import Network, Site


class Around(NamedTuple):
    """All steps of a sequence, each from the values it reads, and their derivatives there.

    Attributes:
        predicted: what each step says of the values, like them.
        loss: per example, `(T, B)`.
        slope: dL/dy of the outputs, `(T, B, n_out)`.
        sites: what each layer saw, leaves `(T, B, ...)`.
        pull: (errors of what is predicted, of outputs) -> (what they send to the values, like these,
            [dL/da `(T, B, ...)` per layer]).
    """

    predicted: PyTree
    loss: Array
    slope: Array
    sites: tuple[Site, ...]
    pull: Callable[[tuple[PyTree, Array]], tuple[PyTree, list[Array]]]


class Graph(NamedTuple):
    """A sequence as a graph: a value s_t for every step, which step t predicts and step t + 1 reads.

        p_t, y_t = step(s_{t-1}, x_t),   all t side by side

    Vertices `layers` cut the step, too: what a layer says is a value that the layer above reads in this step.

    Attributes:
        net: the network.
        first: its state before the first step, leaves `(B, ...)`.
        values: ((h, r), ...) per layer after every step of a forward pass, the floats of it, leaves
            `(T, B, ...)`.
        rest: the integers of it.
        xs: inputs, `(T, B, n_in)`.
        ys: targets, leaves `(T, B, ...)`.
        loss: (y, target) -> `(B,)`.
        by_layer: whether the vertices are `layers`.
    """

    net: Network
    first: PyTree
    values: PyTree
    rest: PyTree
    xs: Array
    ys: PyTree
    loss: Any
    by_layer: bool

    @classmethod
    def of(cls, net: Network, xs: Array, ys: PyTree, loss: Any, by_layer: bool) -> "Graph":
        """Run forward, and return the graph with the values found.

        Arguments:
            net: the network.
            xs: inputs, `(T, B, n_in)`.
            ys: targets, leaves `(T, B, ...)`.
            loss: (y `(B, n_out)`, target) -> `(B,)`.
            by_layer: whether every layer of a step has values of its own.
        """

        def one_step(state: PyTree, x: Array) -> tuple[PyTree, PyTree]:
            after = net.step(state, x)[0]
            return after, after

        first = net.start(xs.shape[1])
        states = jax.lax.scan(one_step, first, xs)[1]
        values, rest = eqx.partition(states, eqx.is_inexact_array)
        return cls(net, first, values, rest, xs, ys, loss, by_layer)

    def at(self, values: PyTree, back: Network | None = None) -> Around:
        """Return all steps from the values given, and their derivatives there.

        Arguments:
            values: like `values`.
            back: a network of the same layers whose synapses and neurons carry errors in place of this one's;
                its pre-activations are set to those of this one.
        """
        no_noise = [jnp.zeros((len(self.xs), *s.a.shape), s.a.dtype) for s in self.net.sites_like(self.xs[0])]
        net = self.net if back is None else back
        noise = no_noise if net is self.net else self._missing(values, net, no_noise)

        def run(values: PyTree, noise: list[Array]) -> tuple[tuple, tuple]:
            after, y, sites = self._steps(net, values, noise)
            return (eqx.filter(after, eqx.is_inexact_array), y), sites

        (predicted, y), pull, sites = jax.vjp(run, values, noise, has_aux=True)
        loss, slope = jax.vjp(lambda y: jax.vmap(self.loss)(y, self.ys), y)
        return Around(predicted, loss, slope(jnp.ones_like(loss))[0], sites, pull)

    def _steps(self, net: Network, values: PyTree, noise: list[Array]) -> tuple:
        """Run every step from the values it reads: what `net.step` returns, with T in front."""
        states = eqx.combine(values, self.rest)

        def shifted(first: Array, s: Array) -> Array:
            return jnp.concatenate([first[None], s[:-1]])

        before = jax.tree.map(shifted, self.first, states)
        held = [r for _, r in values[:-1]] if self.by_layer else None

        def step(before: PyTree, x: Array, noise: list[Array], held: list[Array] | None) -> tuple:
            return net.step(before, x, noise, held=held)

        return jax.vmap(step)(before, self.xs, noise, held)

    def _missing(self, values: PyTree, back: Network, no_noise: list[Array]) -> list[Array]:
        """Return what pre-activations of another network lack to be those of this one, per layer."""
        sites = self._steps(self.net, values, no_noise)[2]
        return [
            site.a - jax.vmap(jax.vmap(layer.drive))(site.z, site.r)
            for layer, site in zip(back.layers, sites, strict=True)
        ]

    def gradient(self, sites: tuple[Site, ...], signals: list[Array]) -> Network:
        """Return the mean over steps and examples of signal (x) presynaptic activity.

        Arguments:
            sites: what each layer saw, leaves `(T, B, ...)`.
            signals: dL/da per layer, `(T, B, ...)`.
        """
        summed = Outer.of(sites, [s[:, None] for s in signals]).settle(self.net, None)
        return averaged(summed, self.xs.shape[0] * self.xs.shape[1], None)

    def vertices(self, values: PyTree) -> PyTree:
        """Return values, or errors, with zeros where nothing reads them: those are no vertices of the graph.

        Arguments:
            values: like `values`.
        """
        is_last = jnp.arange(len(self.xs)) == len(self.xs) - 1
        kept = []
        for i, (h, r) in enumerate(values):
            held = self.by_layer and i < len(values) - 1
            r_is_read = jnp.full(is_last.shape, True) if held else ~is_last & read_late(self.net, i)
            kept.append((jax.tree.map(lambda s: _where(~is_last, s), h), _where(r_is_read, r)))
        return tuple(kept)

    def distances(self) -> list[Array]:
        """Return how many sweeps an error takes at most to the vertices of each layer of a stack, `(T,)`."""
        from_end = jnp.arange(len(self.xs))[::-1]
        above = range(len(self.net.layers))[::-1] if self.by_layer else [0] * len(self.net.layers)
        return [from_end + layers for layers in above]


def _where(steps: Array, s: Array) -> Array:
    """Return s `(T, ...)` at the steps that are True `(T,)`, zeros at others."""
    return jnp.where(expand_like(steps, s), s, jnp.zeros_like(s))


def towards(X: PyTree, goal: PyTree, rate: Any) -> PyTree:
    """Return X + rate (goal - X).

    Arguments:
        X: a tree of arrays.
        goal: a tree like it.
        rate: the share of the way that is gone.
    """
    return jax.tree.map(lambda x, g: (x + rate * (g - x)).astype(x.dtype), X, goal)


def relaxed(start: PyTree, arriving: Callable[[PyTree], PyTree], sweeps: Any, rate: Any) -> PyTree:
    """Return X after sweeps of X <- X + rate (arriving(X) - X), of all vertices at once.

    Arguments:
        start: X before the first sweep.
        arriving: X -> q + J^T X, what the errors of later vertices send to earlier ones.
        sweeps: how many.
        rate: of every sweep; 1 lets a sweep hand every error on by one edge, whole.
    """
    return jax.lax.fori_loop(0, sweeps, lambda _, X: towards(X, arriving(X), rate), start)
