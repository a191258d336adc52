"""How weights act on what is carried from step to step: a network's state as one vector, and its Jacobian."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from perturbax.errors import LayerError
from perturbax.network.layer import Layer, layer_label, pull_back, weights
from perturbax.network.network import Network, Site


def reads_itself(layer: Layer) -> bool:
    """Whether a layer reads its own output of the step before."""
    wiring = layer.wiring()
    return wiring is None or bool(wiring.any())


def wiring_of(net: Network, i: int) -> np.ndarray | None:
    """Return which units of layer i read which one step later, `(n, n)` bool [reader, read]; None for all.

    A decorrelating matrix mixes what is read, so that every unit then reads all.

    Arguments:
        net: the network.
        i: number of the layer.
    """
    mixed = i + 1 < len(net.decor) and net.decor[i + 1] is not None
    return None if mixed and reads_itself(net.layers[i]) else net.layers[i].wiring()


def read_late(net: Network, i: int) -> bool:
    """Whether the output of layer i is read one step later, by itself or by another layer."""
    by_others = any(s.late and s.layer == i for j in range(len(net.layers)) for s in net.sources(j))
    return by_others or reads_itself(net.layers[i])


def check_acts_within_step(net: Network) -> None:
    """Raise LayerError for a layer with weights that acts on the output of later steps alone.

    Rules that follow errors within a step give its weights no gradient. It never happens in a stack.

    Arguments:
        net: the network.
    """
    acts = {len(net.layers) - 1}
    for i in reversed(range(len(net.layers))):
        if i in acts:
            acts |= {source.layer for source in net.sources(i) if not source.late}
        elif jax.tree.leaves(weights(net.layers[i])):
            raise LayerError(
                f"{layer_label(i, net.layers[i])} acts on the output one step later alone, and this rule "
                "follows errors within a step: take node, bptt, rtrl or m-order"
            )


def carries(net: Network, i: int) -> bool:
    """Whether anything that the weights of layer i act on is read again in the next step."""
    return bool(jax.tree.leaves(net.layers[i].start()[0])) or read_late(net, i)


class Flat(NamedTuple):
    """What the next step reads of a network's state, as one vector per example.

    Attributes:
        vector: the values, `(B, S)`.
        explicit: which of them are visible outputs r, which cross synapses, `(S,)`; False for hidden state h.
        state: the whole state, for what the vector leaves out (integers, outputs that nobody reads again).
        kept: which leaves of the state are in the vector.
    """

    vector: Float[Array, "B S"]
    explicit: np.ndarray
    state: PyTree
    kept: tuple[bool, ...]

    @classmethod
    def of(cls, net: Network, state: PyTree) -> "Flat":
        """Return the state of a network with what the next step reads as a vector.

        Arguments:
            net: the network.
            state: its state, ((h, r), ...) per layer, leaves `(B, ...)`.
        """
        kinds: list[tuple[bool, bool]] = []
        for i, (h, _) in enumerate(state):
            kinds += [(jnp.issubdtype(s.dtype, jnp.inexact), False) for s in jax.tree.leaves(h)]
            kinds.append((read_late(net, i), True))
        leaves = [s for s, (kept, _) in zip(jax.tree.leaves(state), kinds, strict=True) if kept]
        sizes = [
            (s.size // len(s), explicit)
            for s, explicit in zip(leaves, [e for kept, e in kinds if kept], strict=True)
        ]
        explicit = np.concatenate([np.full(n, e) for n, e in sizes]) if sizes else np.zeros(0, bool)
        rows = [s.reshape(len(s), -1) for s in leaves] or [jnp.zeros((len(jax.tree.leaves(state)[0]), 0))]
        return cls(jnp.concatenate(rows, 1), explicit, state, tuple(kept for kept, _ in kinds))

    def build(self, vector: Float[Array, "B S"]) -> PyTree:
        """Return the state with other values where the next step reads it.

        Arguments:
            vector: values for what the next step reads, `(B, S)`, in the order of `vector`.
        """
        leaves, tree = jax.tree.flatten(self.state)
        at = 0
        for i, kept in enumerate(self.kept):
            if kept:
                n = leaves[i].size // len(leaves[i])
                leaves[i], at = (
                    vector[:, at : at + n].reshape(leaves[i].shape).astype(leaves[i].dtype),
                    at + n,
                )
        return tree.unflatten(leaves)


class Linear(NamedTuple):
    """One step, and its derivatives at the state it started from.

    Attributes:
        after: state after the step.
        y: output, `(B, n_out)`.
        sites: what each layer saw.
        loss: per example, `(B,)`.
        pull: (ds' `(B, S)`, dy) -> (ds `(B, S)`, [da per layer]), the pull-back of the step.
        run: s `(B, S)` -> (s', y), the step itself.
        back: dL/ds of this step's loss, `(B, S)`.
        signal: [dL/da] of this step's loss, like the pre-activations.
        vector: s, `(B, S)`.
    """

    after: PyTree
    y: Array
    sites: tuple[Site, ...]
    loss: Array
    pull: Callable
    run: Callable
    back: Array
    signal: list[Array]
    vector: Array

    def rows(self) -> tuple[Float[Array, "S B S"], list[Array]]:
        """Return ds'/ds as J `(S', B, S)`, and ds'/da per layer, `(S', B, ...)`."""
        B, S = self.vector.shape
        basis = jnp.broadcast_to(jnp.eye(S, dtype=self.vector.dtype)[:, None], (S, B, S))
        return jax.vmap(lambda e: self.pull((e, jnp.zeros_like(self.y))))(basis)


def linearise(net: Network, state: PyTree, x: Array, score: Any) -> Linear:
    """Make one step and keep what its derivatives need.

    Arguments:
        net: the network.
        state: its state before the step.
        x: inputs `(B, n_in)`.
        score: output -> loss per example.
    """
    flat = Flat.of(net, state)
    shapes = jax.eval_shape(net.step, state, x)[2]
    still = [jnp.zeros(site.a.shape, site.a.dtype) for site in shapes]

    def run(vector: Array, noise: list[Array]) -> tuple[tuple, tuple]:
        after, y, sites = net.step(flat.build(vector), x, noise)
        return (Flat.of(net, after).vector, y), (after, sites)

    (vector, y), pull, (after, sites) = jax.vjp(run, flat.vector, still, has_aux=True)
    loss, slope = jax.vjp(score, y)
    back, signal = pull((jnp.zeros_like(vector), slope(jnp.ones_like(loss))[0]))
    sites = tuple(site._replace(a=None) for site in sites)
    return Linear(after, y, sites, loss, pull, lambda v: run(v, still)[0], back, signal, flat.vector)


def per_example(layer: Layer, site: Site, signal: Array) -> Layer:
    """Return signal (x) presynaptic activity per example: leaves `(B, K, ...)` of the weights.

    Arguments:
        layer: the layer.
        site: what it saw, `(B, ...)`.
        signal: K signals, `(K, B, ...)` like its pre-activations.
    """

    def one(z: Array, r: Array, s: Array) -> Layer:
        return jax.vmap(lambda s: pull_back(0, layer, z[None], r[None], s[None]))(s)

    return jax.vmap(one, in_axes=(0, 0, 1))(site.z, site.r, signal)


class Errors(NamedTuple):
    """One step, and the error of its loss within the step, all that was carried over held constant.

    Attributes:
        after: state after the step.
        y: output, `(B, n_out)`.
        sites: what each layer saw.
        loss: per example, `(B,)`.
        q: dL/dy of the visible output of every layer, `(B, n)`.
        error: dL/dy of the network's output, `(B, n_out)`.
    """

    after: PyTree
    y: Array
    sites: tuple[Site, ...]
    loss: Array
    q: list[Array]
    error: Array


def errors(net: Network, state: PyTree, x: Array, score: Any) -> Errors:
    """Make one step, and send the error of its loss down the layers, within the step.

    Arguments:
        net: the network.
        state: its state before the step.
        x: inputs `(B, n_in)`.
        score: output -> loss per example.
    """
    outs = [jax.eval_shape(layer.start)[1] for layer in net.layers]
    still = [jnp.zeros((len(x), *o.shape), r.dtype) for o, (_, r) in zip(outs, state, strict=True)]

    def run(shift: list[Array]) -> tuple[Array, tuple]:
        after, y, sites = net.step(state, x, None, shift)
        return y, (after, sites)

    y, pull, (after, sites) = jax.vjp(run, still, has_aux=True)
    loss, slope = jax.vjp(score, y)
    error = slope(jnp.ones_like(loss))[0]
    return Errors(after, y, sites, loss, pull(error)[0], error)
