"""Layers of a network as synapses and neurons that NIR can say, and what it cannot say of them."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from perturbax.cells import CELLS
from perturbax.errors import ArgumentError
from perturbax.exchange.neurons import Neurons, Population
from perturbax.exchange.own import OF_NEURONS
from perturbax.exchange.synapses import Dense, Sum, Term
from perturbax.network.layer import Fixed, layer_label
from perturbax.network.network import Network


class Piece(NamedTuple):
    """A layer as NIR can say it.

    Attributes:
        layer: its synapses and neurons; matrices D are multiplied into the weights.
        beside: what NIR cannot say of it, for its metadata.
        lost: what a reader of NIR does otherwise, one sentence each; empty where it is said exactly.
    """

    layer: Population
    beside: dict[str, Any]
    lost: tuple[str, ...]


def piece_of(net: Network, i: int) -> Piece:
    """Return a layer as NIR can say it.

    Arguments:
        net: the network.
        i: number of the layer.

    Raises ArgumentError for a layer that NIR cannot say at all.
    """
    if net.residual or net.normalise:
        what = "sums of what layers read (residual)" if net.residual else "normalised inputs (normalise)"
        raise ArgumentError(f"NIR has no {what}: such a network cannot be exported")
    layer = net.layers[i]
    below_D, own_D = net.decor[i], net.decor[i + 1] if i + 1 < len(net.layers) else None
    if isinstance(layer, Population):
        if below_D is not None or own_D is not None:
            raise ArgumentError("matrices D of an imported network cannot be exported")
        return _population(i, layer)
    names = [name for name, cls in CELLS.items() if type(layer) is cls]
    if not names or names[0] not in ("readout", "leaky-readout", "lif", "alif"):
        raise ArgumentError(
            f"{layer_label(i, layer)} has no counterpart in NIR, which knows integrate-and-fire neurons "
            "(cell lif), leaky integrators and linear readouts"
        )
    cell: Any = layer
    below = Dense(_through(below_D, cell.W), cell.b)
    if names[0] in ("readout", "leaky-readout"):
        return _readout(cell, below)
    return _spiking(i, names[0], cell, below, own_D)


def _through(D: Any, weights: Any) -> Any:
    """Return weights `(pre, n)` that read without D what these read through it."""
    return weights if D is None else D.value @ weights


def _readout(layer: Any, below: Dense) -> Piece:
    """Return a readout: no neurons, or a leaky integrator."""
    n = layer.W.shape[1]
    kappa = getattr(layer, "kappa", None)
    if kappa is None:
        return Piece(Population(below, None, Neurons("none"), n), {}, ())
    return Piece(Population(below, None, _membrane("LI", n, kappa), n), {"kappa": float(kappa)}, ())


def _spiking(i: int, name: str, layer: Any, below: Dense, D: Any) -> Piece:
    """Return integrate-and-fire neurons of ours."""
    n = layer.U.shape[1]
    own = Dense(_through(D, _full(layer)), None)
    neurons = _membrane("LIF", n, layer.leak, layer.threshold)
    label = layer_label(i, layer)
    lost = []
    if layer.reset != "zero":
        lost.append(
            f"{label}: NIR has no reset by subtraction, its LIF goes to v_reset after a spike (train with "
            "--cell.reset zero)"
        )
    if layer.refractory:
        lost.append(f"{label}: NIR has no refractory time (train with --cell.refractory 0)")
    if name == "alif":
        lost.append(f"{label}: NIR has no adaptive threshold (train the cell lif)")
    said = ("leak", "threshold", "reset", "refractory", "surrogate", "dampening", "detach_reset", "kappa")
    said += ("rho", "beta") if name == "alif" else ()
    if layer.sparsity and D is None:
        said += ("sparsity", "pattern")
    return Piece(
        Population(below, own, neurons, n), {"cell": name} | {s: getattr(layer, s) for s in said}, tuple(lost)
    )


def _membrane(kind: str, n: int, leak: float, threshold: float | None = None) -> Neurons:
    """Return neurons whose membrane is v = leak v + a, in float64."""
    decay, gain, drift = (Fixed(np.full(n, value)) for value in (leak, 1.0, 0.0))
    if threshold is None:
        return Neurons(kind, decay, gain, drift)
    return Neurons(kind, decay, gain, drift, Fixed(np.full(n, threshold)), Fixed(np.zeros(n)))


def _full(layer: Any) -> Any:
    """Return recurrent weights `(n, n)`: zeros where a sparse layer has none."""
    if not layer.sparsity:
        return layer.U
    n = layer.U.shape[1]
    full = np.zeros((n, n), layer.U.dtype)  # [read, reader]
    full[layer._partners(), np.arange(n)[None]] = layer.U
    return jnp.asarray(full)


def _population(i: int, layer: Population) -> Piece:
    """Return a layer that `from_nir` made."""
    neurons = layer.neurons
    beside = {name: getattr(neurons, name) for name in OF_NEURONS} if neurons.threshold is not None else {}
    lost = []
    if neurons.threshold is not None and neurons.reset is None and neurons.kind != "Threshold":
        lost.append(f"{layer_label(i, layer)}: NIR has no reset by subtraction (read it with reset zero)")
        beside["reset"] = "subtract"
    return Piece(layer, beside, tuple(lost))


def with_r_of_one(i: int, layer: Population) -> Population:
    """Return a layer whose LIF or LI has r = 1, and weights that are r times as large.

    Arguments:
        i: number of the layer, for errors.
        layer: the layer; one of other neurons is returned as it is.

    Raises ArgumentError for weights other than full ones.
    """
    neurons = layer.neurons
    if neurons.kind not in ("LIF", "LI") or neurons.decay is None or neurons.gain is None:
        return layer
    share = 1 - np.asarray(neurons.decay.value, np.float64)  # (n,)
    r = np.asarray(neurons.gain.value, np.float64) / share  # (n,)
    below, own = (_scaled(i, layer, weights, r) for weights in (layer.below, layer.own))
    return Population(below, own, dataclasses.replace(neurons, gain=Fixed(share)), layer.n)


def _scaled(i: int, layer: Population, weights: Any, r: np.ndarray) -> Any:
    """Return weights of a layer that are r times as large, of each unit; None where there are none."""
    if weights is None:
        return None
    if isinstance(weights, Sum) and not any(term.behind for term in weights.terms):
        terms = [Term(_scaled(i, layer, term.weights, r), term.reads) for term in weights.terms]
        if all(term.weights is not None for term in weights.terms):
            return Sum(tuple(terms), weights.size)
    if not isinstance(weights, Dense):
        raise ArgumentError(f"{layer_label(i, layer)}: r goes into weights of Linear and Affine alone")
    b = None if weights.b is None else jnp.asarray(weights.b * r)
    return Dense(jnp.asarray(weights.W * r[None]), b)
