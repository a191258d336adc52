"""From a NIR file or graph to a network."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from perturbax.errors import FAULTS, ArgumentError, DataError, PerturbaxError, first_line
from perturbax.exchange.graph import Chain, Stage, chain_of, read_graph
from perturbax.exchange.maps import MAPS, feedback_of, pool_of
from perturbax.exchange.neurons import Neurons, Population
from perturbax.exchange.own import leak_of, own_layer, said_by_us, with_ours
from perturbax.exchange.populations import CONSTANTS, WRITERS, Reading, neurons_of
from perturbax.exchange.synapses import Pool, shape_after
from perturbax.fields import of_kind, one_of, positive
from perturbax.network.layer import Layer
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

    The graph must be a chain from one input to one output, of Linear, Affine, Scale, Conv1d, Conv2d, Flatten,
    SumPool2d, AvgPool2d and of the populations LIF, IF, CubaLIF, LI, I, CubaLI and Threshold, each of which
    may feed back on itself, one step later, through one Linear, Affine or Scale. Nested graphs are written
    out. Continuous time becomes Euler steps of dt (see `perturbax.exchange.neurons.Neurons`); the weights
    become weights that are learnt, the constants of the neurons stay as they are. A graph that `to_nir`
    wrote gives the network that it was written from, its cells and settings included. Pedersen et al. 2024.

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
    graph = read_graph(Path(source)) if isinstance(source, str | os.PathLike) else source
    if type(graph).__name__ != "NIRGraph":
        raise ArgumentError(
            f"a network is read from a path or a nir.NIRGraph, not from {type(source).__name__}"
        )
    try:
        chain = chain_of(graph)
    except PerturbaxError:
        raise
    except FAULTS as error:
        raise DataError(f"the graph cannot be read: {first_line(error)}") from error
    step = dt if dt is not None else _dt_of(chain) or how.writer.dt
    with jax.ensure_compile_time_eval():  # the values are looked at, also where a program is traced
        return Network(_Stack(chain, how._replace(writer=how.writer._replace(dt=step))).layers())


def _dt_of(chain: Chain) -> float | None:
    """Return the dt that a graph says it has, in seconds; None where it says none."""
    found = chain.metadata.get("dt")
    if not isinstance(found, int | float | np.floating | np.integer):
        return None
    if not (np.isfinite(found) and found > 0):
        raise DataError(f"the graph has a dt of {found} s")
    return float(found)


class _Stack:
    """Collects the layers of a chain: weights and pools wait for the population that they belong to."""

    def __init__(self, chain: Chain, how: Reading):
        self._chain, self._how, self._shape = chain, how, chain.shape
        self._made: list[Layer] = []
        self._below: Any = None
        self._before: list[Pool] = []
        self._behind: list[Pool] = []

    def layers(self) -> list[Layer]:
        """Return the layers of the chain."""
        for stage in self._chain.stages:
            try:
                self._add(stage)
            except PerturbaxError:
                raise
            except FAULTS as error:  # values of other types and shapes than nir declares, but does not check
                raise DataError(f"node {stage.name!r} cannot be read: {first_line(error)}") from error
        if self._below is not None or self._before:
            self._close(Neurons("none"))
        if not self._made:
            raise DataError("the graph has neither weights nor populations")
        return self._made

    def _add(self, stage: Stage) -> None:
        """Add a node of the chain."""
        if stage.kind in ("SumPool2d", "AvgPool2d"):
            self._add_pool(stage)
        elif stage.kind in MAPS:
            self._add_weights(stage)
        elif stage.kind in CONSTANTS:
            self._add_population(stage)
        else:
            raise DataError(f"node {stage.name!r} is a {stage.kind}, which no network here can have")

    def _add_pool(self, stage: Stage) -> None:
        """Add a pool, in front of the weights that come or behind those that wait."""
        pool = pool_of(stage, self._shape)
        (self._before if self._below is None else self._behind).append(pool)
        self._shape = shape_after(pool, self._shape)

    def _add_weights(self, stage: Stage) -> None:
        """Add weights; those that wait become a layer without neurons."""
        if self._below is not None:
            self._close(Neurons("none"))
        self._below = MAPS[stage.kind](stage.name, stage.node, self._shape)
        self._shape = shape_after(self._below, self._shape)

    def _add_population(self, stage: Stage) -> None:
        """Add neurons with their feedback, and close the layer; one of our own cells where they are one."""
        n = int(np.prod(self._shape))
        neurons, own = neurons_of(stage, n, self._how), feedback_of(stage, n)
        ours = said_by_us(stage.name, stage.node) if self._how.ours else {}
        neurons = with_ours(neurons, ours)
        self._close(neurons, own, ours)

    def _close(self, neurons: Neurons, own: Any = None, ours: dict[str, Any] | None = None) -> None:
        """Make a layer of all that waits and of neurons: one of our own cells where it is one."""
        n = int(np.prod(self._shape))
        plain = not (self._before or self._behind)
        layer = own_layer(neurons, self._below, own, ours or {}) if plain else None
        pools = tuple(self._before), tuple(self._behind)
        self._made.append(layer or Population(self._below, own, neurons, n, *pools, leak_of(neurons)))
        self._below, self._before, self._behind = None, [], []
