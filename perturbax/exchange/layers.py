"""The layers of a network from the wiring of a NIR graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from perturbax.cells.image import Convolution, Pool, size_of
from perturbax.errors import FAULTS, DataError, PerturbaxError, first_line
from perturbax.exchange.delays import DelayLine, delay_line, steps_of
from perturbax.exchange.graph import POPULATIONS, Graph
from perturbax.exchange.maps import MAPS, pool_of
from perturbax.exchange.neurons import Neurons, Population
from perturbax.exchange.own import leak_of, own_layer, said_by_us, with_ours
from perturbax.exchange.populations import Reading, neurons_of
from perturbax.exchange.synapses import Same, Slice, Sum, Term, shape_after
from perturbax.exchange.wiring import Leaf, Part, Path, Wiring, wiring_of
from perturbax.network.layer import Layer
from perturbax.network.network import Network
from perturbax.network.sources import Source

Shape = tuple[int, ...]


def network_from(graph: Graph, how: Reading) -> Network:
    """Return the network of a graph.

    Arguments:
        graph: the graph.
        how: how it is read.

    Raises DataError, which names the node, for a graph that cannot be a network.
    """
    steps: dict[str, np.ndarray] = {}
    for name, stage in graph.nodes.items():
        if stage.kind == "Delay":
            with naming(name):
                steps[name] = steps_of(name, stage.node, how.writer.dt)
    graph = graph.without([name for name, of_units in steps.items() if not of_units.any()])
    closing = [name for name, of_units in steps.items() if of_units.all()]
    return _Builder(graph, wiring_of(graph, closing), how, steps).network()


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Raise DataError, which names a node, for values of other types and shapes than nir declares, but does
    not check.

    name: of the node.
    """
    try:
        yield
    except PerturbaxError:
        raise
    except FAULTS as error:
        raise DataError(f"node {name!r} cannot be read: {first_line(error)}") from error


class _Builder:
    """Builds layer after layer; shapes are those of one example that a layer, or an input, puts out."""

    def __init__(self, graph: Graph, wiring: Wiring, how: Reading, steps: dict[str, np.ndarray]):
        self._graph, self._wiring, self._how, self._steps = graph, wiring, how, steps
        self._maps: dict[str, Any] = {}
        self._shapes: dict[str, Shape] = {}
        self._places = dict.fromkeys(wiring.inputs, -1) | {p.name: i for i, p in enumerate(wiring.parts)}
        self._starts: dict[str, int] = {}
        self._inputs = 0
        for name in wiring.inputs:
            with naming(name):
                self._shapes[name] = _shape_of(graph.nodes[name].node)
            self._starts[name] = self._inputs
            self._inputs += size_of(self._shapes[name])

    def network(self) -> Network:
        """Return the network."""
        self._find_shapes()
        layers: list[Layer] = [self._layer(part) for part in self._wiring.parts]
        if not any(path.weights for part in self._wiring.parts for path in (*part.paths, *part.own)):
            kinds = {self._graph.nodes[part.name].kind for part in self._wiring.parts}
            if not kinds & set(POPULATIONS):
                raise DataError("the graph has neither weights nor populations")
        reads = [[source for source, _ in self._sources(part)] for part in self._wiring.parts]
        outputs = self._wiring.outputs
        if outputs != (self._wiring.parts[-1].name,):
            n = sum(size_of(self._shapes[name]) for name in outputs)
            layers.append(Population(None, None, Neurons("none"), n))
            reads.append([Source(self._places[name]) for name in outputs])
        stack = all(sources == [Source(i - 1)] for i, sources in enumerate(reads))
        return Network(layers, reads=None if stack else reads)

    def _sources(self, part: Part) -> list[tuple[Source, int]]:
        """Return what a layer reads, and how many values each of it has; all inputs are one source."""
        found = {}
        for name in part.sources:
            source = Source(self._places[name], (name, part.name) in self._wiring.late)
            found[source] = self._inputs if source.layer < 0 else size_of(self._shapes[name])
        return list(found.items())

    def _find_shapes(self) -> None:
        """Find the shape of what every layer puts out, from whichever of its sources is known first."""
        left = list(self._wiring.parts)
        while left:
            for part in left:
                for path in part.paths:
                    for leaf in path.leaves:
                        if leaf.source in self._shapes and part.name not in self._shapes:
                            self._shapes[part.name] = self._through(path, self._pooled(leaf)[1])[2]
            left = [part for part in left if part.name not in self._shapes]

    def _layer(self, part: Part) -> Layer:
        """Return a layer: one of our own cells where it is one."""
        stage, n = self._graph.nodes[part.name], size_of(self._shapes[part.name])
        sources = self._sources(part)
        size = sum(values for _, values in sources)
        starts, at = {}, 0
        for source, values in sources:
            starts[source.layer] = at
            at += values
        for_leaf = {name: starts[self._places[name]] + self._starts.get(name, 0) for name in part.sources}
        terms = [self._term(part.name, n, path, for_leaf) for path in part.paths]
        own = self._own(part, n)
        neurons, ours = Neurons("none"), {}
        with naming(part.name):
            if stage.kind in POPULATIONS:
                ours = said_by_us(part.name, stage.node) if self._how.ours else {}
                neurons = with_ours(part.name, neurons_of(stage, n, self._how), ours)
        below, before, behind = _below(terms, size)
        if stage.kind == "Delay":
            return Population(below, None, self._delay(part.name, n), n, before, behind)
        layer = None if before or behind else own_layer(part.name, neurons, below, own, ours)
        return layer or Population(below, own, neurons, n, before, behind, leak_of(neurons))

    def _delay(self, name: str, n: int) -> DelayLine:
        """Return the units of a delay."""
        steps = self._steps[name]
        if steps.size not in (1, n):
            raise DataError(f"node {name!r}: delay has {steps.size} values for {n} units")
        closes = any(source == name for source, _ in self._wiring.late)
        return delay_line(np.broadcast_to(steps, (n,)), closes)

    def _own(self, part: Part, n: int) -> Any:
        """Return by what a layer reads itself; None where it does not."""
        if not part.own:
            return None
        terms = [self._term(part.name, n, path, {part.name: 0}) for path in part.own]
        below, before, behind = _below(terms, n)
        if before or behind or isinstance(below, Sum | Convolution):
            return Sum(tuple(terms), n)
        return Same() if below is None else below

    def _term(self, name: str, n: int, path: Path, starts: dict[str, int]) -> Term:
        """Return a path into a layer of n units as a map; starts: where each source lies in what it reads."""
        slices, first = [], None
        for leaf in path.leaves:
            pools, shape = self._pooled(leaf)
            first = shape if first is None else first
            if size_of(shape) != size_of(first):
                raise DataError(
                    f"node {path.weights or name!r} adds {size_of(first)} values and {size_of(shape)}, which "
                    f"come from {path.leaves[0].source!r} and {leaf.source!r}"
                )
            start = starts[leaf.source]
            whole = self._shapes[leaf.source]
            slices.append(Slice(start, start + size_of(whole), whole, pools))
        weights, behind, shape = self._through(path, first or ())
        if size_of(shape) != n:
            what = "reads itself through" if path.leaves[0].source == name else "reads"
            raise DataError(
                f"node {name!r} has {n} units and {what} {path.weights or path.leaves[0].source!r} with "
                f"{size_of(shape)} values"
            )
        return Term(weights, tuple(slices), behind)

    def _pooled(self, leaf: Leaf) -> tuple[tuple[Pool, ...], Shape]:
        """Return the pools at the beginning of a path, and the shape behind them."""
        return self._pools(leaf.pools, self._shapes[leaf.source])

    def _pools(self, names: tuple[str, ...], shape: Shape) -> tuple[tuple[Pool, ...], Shape]:
        """Return pools, one behind the other, and the shape behind them."""
        pools = []
        for name in names:
            with naming(name):
                pool = pool_of(self._graph.nodes[name], shape)
                shape = shape_after(pool, shape)
            pools.append(pool)
        return tuple(pools), shape

    def _through(self, path: Path, shape: Shape) -> tuple[Any, tuple[Pool, ...], Shape]:
        """Return weights, the pools behind them, and the shape behind these, of what has a shape in front."""
        weights, name = None, path.weights
        if name:
            stage = self._graph.nodes[name]
            with naming(name):
                if name not in self._maps:
                    self._maps[name] = MAPS[stage.kind](name, stage.node, shape)
                weights = self._maps[name]
                shape = shape_after(weights, shape)
                size_of(shape)
        behind, shape = self._pools(path.behind, shape)
        return weights, behind, shape


def _below(terms: list[Term], size: int) -> tuple[Any, tuple[Pool, ...], tuple[Pool, ...]]:
    """Return the synapses below a layer that reads so many values: weights, pools in front and behind."""
    (first, *others) = terms
    (read, *more) = first.reads
    if others or more or read.start or read.stop != size:
        return Sum(tuple(terms), size), (), ()
    return first.weights, read.pools, first.behind


def _shape_of(node: Any) -> Shape:
    """Return the shape of one example of an input."""
    shape = tuple(int(size) for size in np.asarray(node.input_type["input"]).reshape(-1))
    if not shape or min(shape) < 1:
        raise ValueError(f"an example has the shape {shape}")
    size_of(shape)
    return shape
