"""From a network to a NIR graph or file."""

import io
from pathlib import Path
from typing import Any

from perturbax.atomic import write
from perturbax.errors import ArgumentError
from perturbax.exchange.building import graph_of
from perturbax.exchange.graph import package
from perturbax.exchange.measuring import differing_spikes
from perturbax.exchange.pieces import piece_of, with_r_of_one
from perturbax.exchange.populations import DT
from perturbax.exchange.reading import network_of, settings
from perturbax.fields import of_kind, positive
from perturbax.network.network import Network


def to_nir(
    net: Network,
    file: Any = None,
    *,
    dt: float = DT,
    approximate: Any = None,
    r_in_weights: bool = False,
    overwrite: bool = False,
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
        r_in_weights: whether r of LIF and LI is multiplied into the weights and written as 1, for readers
            that take no other (norse). `from_nir` then gives a network of the same spikes, but of other
            weights.
        overwrite: whether the file may be there already.

    Raises ArgumentError for a network that NIR cannot say, and for a file that is there already; StoreError
    for a file that cannot be written.
    """
    of_kind("dt", dt, float)
    positive("dt", dt)
    if file is not None:
        check_target(Path(file), overwrite)
    pieces = [piece_of(net, i) for i in range(len(net.layers))]
    lost = [sentence for piece in pieces for sentence in piece.lost]
    if lost and approximate is None:
        raise ArgumentError(
            f"{lost[0]}; write it all the same with --approximate (in Python approximate=inputs), which "
            "measures how many spikes differ"
        )
    if r_in_weights:
        pieces = [piece._replace(layer=with_r_of_one(i, piece.layer)) for i, piece in enumerate(pieces)]
    graph = graph_of(pieces, dt, net.reads)
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
    made = io.BytesIO()
    package().write(made, graph)
    write(file, made.getvalue())
