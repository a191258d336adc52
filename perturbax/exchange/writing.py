"""From a network to a NIR graph or file."""

import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from perturbax.cells import CELLS
from perturbax.errors import ArgumentError, StoreError, first_line
from perturbax.exchange.graph import package
from perturbax.exchange.maps import pool_node, weights_node
from perturbax.exchange.measuring import differing_spikes
from perturbax.exchange.neurons import Neurons, Population
from perturbax.exchange.own import OF_NEURONS
from perturbax.exchange.populations import DT, population_node
from perturbax.exchange.reading import network_of, settings
from perturbax.exchange.synapses import Convolution, Dense, Scale, shape_after
from perturbax.fields import of_kind, positive
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


def to_nir(
    net: Network, file: Any = None, *, dt: float = DT, approximate: Any = None, overwrite: bool = False
) -> Any:
    """Return the NIR graph of a network, and write it to a file.

    What NIR can say: the cells lif without refractory time and with reset zero, readout and leaky-readout;
    every network that `from_nir` made; matrices D, which are multiplied into the weights. A lif becomes an
    Affine below a LIF with vectors of tau = dt / (1 - leak) s, r = tau / dt, v_threshold and v_reset = 0,
    and an Affine through which the LIF feeds back on itself, one step later; a leaky-readout an Affine and
    an LI. Weights are `(units, inputs)`, the transpose of ours. The metadata of the graph say dt (s) and
    reset, those of a node the settings of ours that NIR does not know. Pedersen et al. 2024.

    Arguments:
        net: the network.
        file: path of the file `.nir` to write; None for none.
        dt: seconds of a step: simulators of 2026 mean 1e-4, norse 1e-3.
        approximate: inputs `(T, B, n_in)` on which is measured how many spikes differ, where NIR cannot say
            what a cell does; the metadata then say `differing_spikes` and `of_spikes`. None to refuse such
            networks.
        overwrite: whether the file may be there already.

    Raises ArgumentError for a network that NIR cannot say, and for a file that is there already; StoreError
    for a file that cannot be written.
    """
    of_kind("dt", dt, float)
    positive("dt", dt)
    if file is not None:
        check_target(Path(file), overwrite)
    pieces = [_piece(net, i) for i in range(len(net.layers))]
    lost = [sentence for piece in pieces for sentence in piece.lost]
    if lost and approximate is None:
        raise ArgumentError(
            f"{lost[0]}; write it all the same with --approximate (in Python approximate=inputs), which "
            "measures how many spikes differ"
        )
    graph = _graph(net, pieces, dt)
    if approximate is not None:
        read = network_of(graph, settings(None, "any", "zero", "triangle", 0.3, ours=False))
        found = differing_spikes(net, read, approximate)
        graph.metadata |= {"differing_spikes": found.differing, "of_spikes": found.of}
    if file is not None:
        _write(Path(file), graph)
    return graph


def check_target(file: Path, overwrite: bool) -> None:
    """Raise ArgumentError for a file that cannot be written, or is there already and may not be replaced.

    Arguments:
        file: its path.
        overwrite: whether it may be replaced.
    """
    if file.is_dir() or (file.exists() and not overwrite):
        raise ArgumentError(f"{file} exists already: name another file, or add --overwrite")
    if not file.parent.is_dir():
        raise ArgumentError(f"no such folder: {file.parent}")


def _write(file: Path, graph: Any) -> None:
    """Write a graph to a file, atomically."""
    nir = package()
    try:
        handle, made = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".tmp", dir=file.parent)
        os.close(handle)
        try:
            nir.write(made, graph)
            os.replace(made, file)
        except BaseException:
            Path(made).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {first_line(error)}") from error


# --- layers of ours as populations


def _piece(net: Network, i: int) -> Piece:
    """Return layer i as NIR can say it; ArgumentError where it cannot at all."""
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


# --- populations as nodes


class _Builder:
    """Collects the nodes of a chain, each behind the one before."""

    def __init__(self, shape: tuple[int, ...]):
        self.nir, self.shape = package(), shape
        self.nodes: dict[str, Any] = {"input": self.nir.Input({"input": np.array(shape)})}
        self.edges: list[tuple[str, str]] = []
        self._last = "input"

    def add(self, name: str, node: Any, shape: tuple[int, ...] | None = None) -> None:
        """Add a node at the end of the chain, behind which examples have this shape (None: as before)."""
        self.nodes[name] = node
        self.edges.append((self._last, name))
        self._last = name
        self.shape = self.shape if shape is None else shape

    def add_feedback(self, name: str, node: Any) -> None:
        """Let the last node read itself through a node; None: as it is."""
        if node is None:
            self.edges.append((self._last, self._last))
            return
        self.nodes[name] = node
        self.edges += [(self._last, name), (name, self._last)]

    def graph(self, metadata: dict[str, Any]) -> Any:
        """Return the graph, closed by an output."""
        self.add("output", self.nir.Output({"output": np.array(self.shape)}))
        return self.nir.NIRGraph(self.nodes, self.edges, metadata=metadata, type_check=False)


def _graph(net: Network, pieces: list[Piece], dt: float) -> Any:
    """Return the graph of layers."""
    builder = _Builder(pieces[0].layer.shape)
    resets = set()
    for i, piece in enumerate(pieces):
        layer = piece.layer
        for k, pool in enumerate(layer.before):
            builder.add(f"pool_{i}_{k}", pool_node(pool), shape_after(pool, builder.shape))
        _add_weights(builder, i, layer.below)
        for k, pool in enumerate(layer.behind):
            builder.add(f"pool_{i}_{k}b", pool_node(pool), shape_after(pool, builder.shape))
        if layer.neurons.kind != "none":
            builder.add(
                f"{layer.neurons.kind.lower()}_{i}",
                population_node(layer.neurons, builder.shape, piece.beside, dt),
            )
        if layer.own is not None:
            own = layer.own if isinstance(layer.own, Dense | Scale) else None
            builder.add_feedback(f"recurrent_{i}", own and weights_node(own, builder.shape))
        if layer.neurons.threshold is not None:
            resets.add(piece.beside.get("reset", "zero"))
    metadata: dict[str, Any] = {"dt": dt, "writer": "perturbax"}
    return builder.graph(metadata | ({"reset": " and ".join(sorted(resets))} if resets else {}))


def _add_weights(builder: _Builder, i: int, below: Any) -> None:
    """Add the weights below a population, behind a Flatten where they read an image as a vector."""
    if below is None:
        return
    if isinstance(below, Dense) and len(builder.shape) > 1:
        size = int(np.prod(builder.shape))
        flatten = builder.nir.Flatten({"input": np.array(builder.shape)}, 0, -1)
        builder.add(f"flatten_{i}", flatten, (size,))
    kind = {Dense: "affine", Scale: "scale", Convolution: "conv"}[type(below)]
    builder.add(f"{kind}_{i}", weights_node(below, builder.shape), shape_after(below, builder.shape))
