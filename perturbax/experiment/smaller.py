"""Whole units of a network as groups that are pruned, and the smaller network that is left of it.

Which axes of which arrays belong to the units of a layer is found by making the network with one unit more:
those that grow.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.experiment.pruning import Groups, Pruning, pruning_state, removal
from perturbax.network.layer import is_fixed, join, layer_label, split
from perturbax.network.network import Network

Shaped = Callable[[Sequence[int]], Network]  # units of each hidden layer -> the network, as shapes


class Axis(NamedTuple):
    """An axis of an array that lists the units of a layer, several times over where it has gates, say.

    Attributes:
        number: of the axis.
        layer: number of the layer that the units are of.
        times: values per unit, which lie one after the other: all of the first, all of the second, ...
    """

    number: int
    layer: int
    times: int


class Units(Groups):
    """The units of every hidden layer, each with all its weights: what it reads, and what reads it.

    A recurrent unit goes with its column and its row of U, its biases, and its row in the weights of the
    layer above: when all these are 0, nothing is left of it.

    Arguments:
        shaped: units of each hidden layer -> the network with so many, as shapes.
        units: units of each hidden layer.

    Raises ArgumentError for networks of which no smaller one can be made.
    """

    def __init__(self, shaped: Shaped, units: Sequence[int]):
        self.shaped, self.units = shaped, tuple(units)
        net = shaped(units)
        _check(net)
        whole = _arrays(net)
        self.axes: list[list[Axis]] = [[] for _ in whole]
        for i in range(len(units)):
            more = [n + (j == i) for j, n in enumerate(units)]
            grown = _arrays(shaped(more))
            for k, ((name, small), (_, large)) in enumerate(zip(whole, grown, strict=True)):
                for number, (before, after) in enumerate(zip(small.shape, large.shape, strict=True)):
                    times = after - before
                    if times and before != times * units[i]:
                        raise ArgumentError(
                            f"no smaller network can be made by units: axis {number} of {name} has {before} "
                            f"values for {units[i]} units; take prune_groups weights"
                        )
                    if times:
                        self.axes[k].append(Axis(number, i, times))
        learnt = eqx.filter(net, _is_weight, is_leaf=is_fixed)
        names = {keystr(path) for path, _ in tree_flatten_with_path(learnt)[0]}
        self.learnt = [axes for (name, _), axes in zip(whole, self.axes, strict=True) if name in names]

    def sizes(self, some: PyTree) -> list[Array]:
        """Return the mean absolute weight of each unit, `(n,)` for each hidden layer."""
        total = [jnp.zeros(n) for n in self.units]
        count = [0] * len(self.units)
        for w, axes in zip(jax.tree.leaves(some), self.learnt, strict=True):
            for axis in axes:
                others = tuple(k for k in range(w.ndim) if k != axis.number)
                summed = jnp.sum(jnp.abs(w), others).reshape(axis.times, -1).sum(0)  # (n,)
                n = self.units[axis.layer]
                total[axis.layer] = total[axis.layer] + summed.astype(total[axis.layer].dtype)
                count[axis.layer] += w.size // n
        return [t / max(1, c) for t, c in zip(total, count, strict=True)]

    def spread(self, values: list[Array], some: PyTree) -> PyTree:
        """Return for each weight the largest value of the units it belongs to; 0 where it belongs to none.

        Arguments:
            values: one for each unit, `(n,)` for each hidden layer.
            some: the weights of a network.
        """
        leaves, structure = jax.tree.flatten(some)
        found = []
        for w, axes in zip(leaves, self.learnt, strict=True):
            largest = None
            for axis in axes:
                along = [1] * w.ndim
                along[axis.number] = w.shape[axis.number]
                value = jnp.tile(values[axis.layer], axis.times).reshape(along)
                value = jnp.broadcast_to(value, w.shape)
                largest = value if largest is None else jnp.where(value > largest, value, largest)
            found.append(jnp.zeros(w.shape, values[0].dtype) if largest is None else largest)
        return structure.unflatten(found)

    def left(self, net: Network, gone: Sequence[Any]) -> tuple[Network, tuple[int, ...]]:
        """Return the network without the units that are gone, and the units of its hidden layers.

        Its outputs are those of the network in which all weights of these units are 0.

        Arguments:
            net: the network.
            gone: which units go, bool `(n,)` for each hidden layer.
        """
        stay = [np.flatnonzero(~np.asarray(g)) for g in gone]
        units = tuple(len(s) for s in stay)
        cut = []
        for (_, array), axes in zip(_arrays(net), self.axes, strict=True):
            for axis in axes:
                n = self.units[axis.layer]
                places = np.concatenate([stay[axis.layer] + k * n for k in range(axis.times)])
                array = jnp.take(array, places, axis.number)
            cut.append(array)
        return jax.tree.unflatten(jax.tree.structure(self.shaped(units)), cut), units


def shapes_of(make: Callable[[Sequence[int]], Callable]) -> Shaped:
    """Return units -> the network as shapes, of which nothing is computed.

    Arguments:
        make: units of each hidden layer -> (key -> network).
    """
    return lambda units: eqx.filter_eval_shape(make(units), jr.PRNGKey(0))


def _is_weight(leaf: Any) -> bool:
    """Whether a shape is that of weights."""
    return isinstance(leaf, jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _arrays(net: Network) -> list[tuple[str, Any]]:
    """Return the arrays of a network, weights or not, with their names."""
    return [(keystr(path), leaf) for path, leaf in tree_flatten_with_path(net)[0]]


def _check(net: Network) -> None:
    """Raise ArgumentError for a network whose units hang together beyond their weights."""
    if net.residual or net.normalise or any(D is not None for D in net.decor):
        raise ArgumentError(
            "units of a network that is residual, normalised or decorrelated hang together beyond their "
            "weights: take prune_groups weights"
        )
    for i, layer in enumerate(net.layers[:-1]):
        wired = layer.wiring()
        sparse = wired is not None and bool(np.any(wired & ~np.eye(len(wired), dtype=bool)))
        if not layer.unitwise or sparse:
            raise ArgumentError(
                f"{layer_label(i, layer)} has units that hang together beyond their weights (sparse, "
                "or acting on each other within a step): take prune_groups weights"
            )


class Left(NamedTuple):
    """What pruning left of a network.

    Attributes:
        net: the network, without the units that are gone.
        units: units of its hidden layers; None where it has those it began with.
        facts: what result.json says of it.
    """

    net: Network
    units: tuple[int, ...] | None
    facts: dict[str, Any]


def after_pruning(pruning: Pruning, opt: PyTree, net: Network) -> Left | None:
    """Return what pruning left of a network; None where the run ended before anything was removed.

    Arguments:
        pruning: what was to be pruned.
        opt: the last state of the optimiser.
        net: the network that is kept.
    """
    state = pruning_state(opt)
    if state is None or not bool(state.removed):
        return None
    some, rest = split(net)
    goes = removal(state, pruning.groups, some)
    net = join(jax.tree.map(lambda w, gone: jnp.where(gone, 0, w).astype(w.dtype), some, goes), rest)
    counts = [
        (int(w.size), int(gone.sum())) for w, gone in zip(*map(jax.tree.leaves, (some, goes)), strict=True)
    ]
    total, removed = (sum(column) for column in zip(*counts, strict=True))
    facts: dict[str, Any] = {"by": pruning.plan.by, "weights": total, "left": total - removed}
    if not isinstance(pruning.groups, Units):
        return Left(net, None, facts)
    net, units = pruning.groups.left(net, state.gone)
    return Left(net, units, facts | {"units": list(units), "units_before": list(pruning.groups.units)})
