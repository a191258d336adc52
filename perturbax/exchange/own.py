"""Cells of this package in a NIR graph: what NIR cannot say of them stands in the metadata of their nodes.

    metadata["perturbax"] = '{"cell": "lif", "reset": "zero", "surrogate": "triangle", ...}'

What NIR does say (weights, time constants, thresholds) is read from the node itself, so that a graph that
another program has trained on gives what it has become.
"""

import dataclasses
import json
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from perturbax.cells import CELLS
from perturbax.cells.base import partners
from perturbax.errors import DataError, PerturbaxError
from perturbax.exchange.graph import texts
from perturbax.exchange.neurons import Neurons
from perturbax.exchange.synapses import Dense
from perturbax.fields import of_kind, one_of
from perturbax.network.layer import Layer

ENTRY = "perturbax"  # of the metadata of a node
SPIKING_CELLS = ("lif", "alif")
OF_NEURONS = {"at_threshold": bool, "surrogate": str, "dampening": float}
"""Fields of `Neurons` that NIR cannot say, and their types."""
CLOSE = 1e-6  # relative difference up to which a number is the one that was written


def said_by_us(name: str, node: Any) -> dict[str, Any]:
    """Return what this package wrote beside a node; {} where it wrote nothing.

    Arguments:
        name: of the node, for errors.
        node: the node of the package nir.

    Raises DataError for an entry that this package did not write so.
    """
    text = texts(node.metadata).get(ENTRY)
    if text is None:
        return {}
    try:
        found = json.loads(str(text))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(v, bool | int | float | str) for v in found.values()
    ):
        shown = " ".join(str(text).split())[:60]
        raise DataError(f"node {name!r} has metadata of perturbax that cannot be read: {shown}")
    return found


def with_ours(name: str, neurons: Neurons, ours: dict[str, Any]) -> Neurons:
    """Return neurons with what NIR cannot say of them.

    Arguments:
        name: of the node, for errors.
        neurons: as the node alone has them.
        ours: what stands beside it.

    Raises DataError for values that neurons cannot have.
    """
    fields = {field: ours[field] for field in OF_NEURONS if field in ours}
    if not fields and "reset" not in ours:
        return neurons
    if ours.get("reset") == "subtract":
        fields["reset"] = None
    try:
        for field in sorted(fields.keys() & OF_NEURONS.keys()):
            of_kind(field, fields[field], OF_NEURONS[field])
        return dataclasses.replace(neurons, **fields)
    except PerturbaxError as error:
        raise DataError(f"node {name!r}: metadata of perturbax: {error}") from None


def own_layer(node: str, neurons: Neurons, below: Any, own: Any, ours: dict[str, Any]) -> Layer | None:
    """Return a cell of this package where neurons and synapses are one; None where they are not.

    Arguments:
        node: its name, for errors.
        neurons: the neurons.
        below: weights from below, or None.
        own: weights of the feedback, or None.
        ours: what this package wrote beside the neurons.

    Raises DataError for settings that the cell cannot have.
    """
    if not isinstance(below, Dense):
        return None
    if neurons.kind == "none":
        return _cell(node, "readout", below, None, {}) if own is None else None
    if neurons.kind == "LI":
        kappa = _uniform(neurons.decay, ours.get("kappa"))
        alone = own is None and _uniform(neurons.gain, 1.0) == 1.0 and _uniform(neurons.drift) == 0.0
        return (
            _cell(node, "leaky-readout", below, None, {"kappa": kappa})
            if alone and kappa is not None
            else None
        )
    plain = neurons.kind == "LIF" and not neurons.at_threshold
    cell = ours.get("cell", "lif" if plain else None)
    if cell not in SPIKING_CELLS or not isinstance(own, Dense) or own.b is not None:
        return None
    leak = _uniform(neurons.decay, ours.get("leak"))
    threshold = _uniform(neurons.threshold, ours.get("threshold"))
    as_ours = _uniform(neurons.gain, 1.0) == 1.0 and _uniform(neurons.drift) == 0.0
    resets = neurons.reset is None or _uniform(neurons.reset) == 0.0
    if leak is None or threshold is None or not (as_ours and resets):
        return None
    settings = {
        "surrogate": neurons.surrogate,
        "dampening": neurons.dampening,
        "reset": "subtract" if neurons.reset is None else "zero",
        **{name: value for name, value in ours.items() if name != "cell"},
    }
    return _cell(node, str(cell), below, own, settings | {"leak": leak, "threshold": threshold})


def leak_of(neurons: Neurons) -> float | None:
    """Return the decay of a membrane where all units share one and inputs move it at once; else None.

    neurons: the neurons.
    """
    return _uniform(neurons.decay) if neurons.kind in ("LIF", "IF", "LI") else None


def _uniform(constant: Any, written: Any = None) -> float | None:
    """Return the value that all units share, as it was written where it is close; None for several."""
    values = np.asarray(constant.value, np.float64)
    first = float(values.flat[0])
    if not (values == first).all():
        return None
    close = isinstance(written, int | float) and abs(first - written) <= CLOSE * max(1.0, abs(first))
    return float(written) if close else first


def _cell(node: str, name: str, below: Dense, own: Dense | None, settings: dict[str, Any]) -> Layer:
    """Return a cell with these weights and settings."""
    n_in, n = below.W.shape
    try:
        one_of("cell", name, CELLS)
        bias = below.b is not None
        made: Any = eqx.filter_eval_shape(CELLS[name], n_in, n, key=jr.key(0), bias=bias, **settings)
    except (PerturbaxError, TypeError) as error:
        raise DataError(
            f"node {node!r}: metadata of perturbax name settings that cell {name} cannot have: {error}"
        ) from None
    made = eqx.tree_at(lambda cell: cell.W, made, below.W)
    if below.b is not None:
        made = eqx.tree_at(lambda cell: cell.b, made, below.b)
    if own is None:
        return made
    return eqx.tree_at(lambda cell: cell.U, made, _kept(own.W, made))


def _kept(U: Any, cell: Any) -> Any:
    """Return the recurrent weights as the cell holds them: those of its partners where it is sparse."""
    if not cell.sparsity:
        return U
    k, n = cell.U.shape
    read = partners(n, k, cell.pattern)  # (k, n)
    return U[read, jnp.arange(n)[None]]
