"""From a NIR file or graph to a network."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from perturbax.errors import FAULTS, ArgumentError, DataError, PerturbaxError, first_line
from perturbax.exchange.graph import Graph, read_graph, written_out
from perturbax.exchange.layers import network_from
from perturbax.exchange.populations import WRITERS, Reading
from perturbax.fields import of_kind, one_of, positive
from perturbax.network.network import Network


def from_nir(
    source: Any,
    *,
    dt: float | None = None,
    written_by: str = "any",
    reset: str = "zero",
    surrogate: str = "triangle",
    dampening: float = 0.3,
) -> Network:
    """Return the network of a NIR file or graph, which every rule trains.

    The graph may hold Linear, Affine, Scale, Conv1d, Conv2d, Flatten, SumPool2d, AvgPool2d, Delay and the
    populations LIF, IF, CubaLIF, LI, I, CubaLI and Threshold; nested graphs are written out. What arrives at
    a node is added. Populations become layers, as do weights that other weights read, with the paths between
    them as their synapses. A layer reads what others have put out in the same step; the edge that closes a
    cycle takes the output of the last step. A Delay must be whole steps. Several inputs lie side by side in
    the order of their names, as do several outputs.

    Continuous time becomes Euler steps of dt (see `perturbax.exchange.neurons.Neurons`); the weights become
    weights that are learnt, the constants of the neurons stay as they are. A graph that `to_nir` wrote gives
    the network that it was written from, its cells and settings included. Pedersen et al. 2024.

    Arguments:
        source: path of a file `.nir`, or a graph of the package nir.
        dt: seconds of a step; None for what the graph says, else for what its writer means.
        written_by: the package that wrote it, where it means something else than NIR says: any, snntorch,
            spikingjelly (spikes at the threshold, too) or norse (time constants times its dt, inputs that
            move a current by their whole value, r of IF per step).
        reset: what a spike does: zero (the membrane goes to v_reset, as NIR has it) or subtract (the
            threshold is taken away, which NIR cannot say: for files of networks that were trained so).
        surrogate: function that rules which need a derivative use in place of that of a spike: triangle,
            sigmoid, fast-sigmoid or none.
        dampening: factor of that derivative.

    Raises ArgumentError for a file that is not there and for settings that cannot be used, DataError for a
    file that is no graph of NIR, and for a graph that cannot become a network.
    """
    return network_of(source, settings(dt, written_by, reset, surrogate, dampening), dt)


def settings(
    dt: float | None, written_by: str, reset: str, surrogate: str, dampening: float, ours: bool = True
) -> Reading:
    """Return how a graph is read; the arguments are those of `from_nir`. Raises ArgumentError."""
    one_of("written_by", written_by, WRITERS)
    one_of("reset", reset, ("zero", "subtract"))
    of_kind("dampening", dampening, float)
    if dt is not None:
        of_kind("dt", dt, float)
        positive("dt", dt)
    return Reading(WRITERS[written_by], reset, surrogate, dampening, ours)


def network_of(source: Any, how: Reading, dt: float | None = None) -> Network:
    """Return the network of a file or graph: see `from_nir`.

    Arguments:
        source: path of a file, or a graph of the package nir.
        how: how it is read.
        dt: seconds of a step; None for what the graph or its writer says.
    """
    if isinstance(source, str | os.PathLike):
        graph = read_graph(Path(source))
        try:
            return network_of(graph, how, dt)
        except DataError as error:
            raise DataError(f"{source}: {error}") from error
    graph = source
    if type(graph).__name__ != "NIRGraph":
        raise ArgumentError(
            f"a network is read from a path or a nir.NIRGraph, not from {type(source).__name__}"
        )
    try:
        flat = written_out(graph)
    except PerturbaxError:
        raise
    except FAULTS as error:
        raise DataError(f"the graph cannot be read: {first_line(error)}") from error
    step = dt if dt is not None else _dt_of(flat) or how.writer.dt
    with jax.ensure_compile_time_eval():  # the values are looked at, also where a program is traced
        return network_from(flat, how._replace(writer=how.writer._replace(dt=step)))


def _dt_of(graph: Graph) -> float | None:
    """Return the dt that a graph says it has, in seconds; None where it says none."""
    found = graph.metadata.get("dt")
    if not isinstance(found, int | float | np.floating | np.integer):
        return None
    if not (np.isfinite(found) and found > 0):
        raise DataError(f"the graph has a dt of {found} s")
    return float(found)
