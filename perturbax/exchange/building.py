"""Layers as the nodes and edges of a NIR graph."""

from typing import Any

import numpy as np

from perturbax.cells.image import Convolution, Pool
from perturbax.exchange.delays import DelayLine
from perturbax.exchange.graph import ORDER, package
from perturbax.exchange.maps import pool_node, weights_node
from perturbax.exchange.neurons import Population
from perturbax.exchange.pieces import Piece
from perturbax.exchange.populations import population_node
from perturbax.exchange.synapses import Dense, Same, Scale, Slice, Sum, Term, shape_after
from perturbax.network.sources import Source

KINDS = {Dense: "affine", Scale: "scale", Convolution: "conv"}  # how nodes with weights are called
End = tuple[str, tuple[int, ...]]  # a node, and the shape of what it puts out


def graph_of(pieces: list[Piece], dt: float, reads: Any = None) -> Any:
    """Return the graph of layers.

    Arguments:
        pieces: the layers, from below.
        dt: seconds of a step.
        reads: for each layer its `Source`s; None for a stack.
    """
    layers = [piece.layer for piece in pieces]
    sources = [[Source(i - 1)] for i in range(len(layers))] if reads is None else reads
    builder = _Builder(layers, sources, dt)
    resets = set()
    for i, piece in enumerate(pieces):
        builder.add_layer(i, piece.beside)
        if piece.layer.neurons.threshold is not None:
            resets.add(piece.beside.get("reset", "zero"))
    metadata: dict[str, Any] = {"dt": dt, "writer": "perturbax"}
    if resets:
        metadata["reset"] = " and ".join(sorted(resets))
    if reads is not None:
        metadata[ORDER] = "\n".join(builder.order)
    return builder.graph(metadata)


class _Builder:
    """Collects nodes and edges, layer by layer."""

    def __init__(self, layers: list[Population], sources: Any, dt: float):
        self.nir, self.dt = package(), dt
        self._layers, self._sources = layers, sources
        self._terms = [terms_of(layer) for layer in layers]
        self._inputs = self._input_slices()
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        several = len(self._inputs) > 1
        for k, read in enumerate(self._inputs.values()):
            self.nodes[f"input_{k}" if several else "input"] = self.nir.Input({"input": np.array(read.shape)})
        self.order = [*self.nodes]
        self._ends: dict[int, list[End]] = {}

    def graph(self, metadata: dict[str, Any]) -> Any:
        """Return the graph, closed by its outputs."""
        last = len(self._layers) - 1
        if self._puts_side_by_side(last):
            outputs = [self._ends_of(source.layer) for source in self._sources[last]]
        else:
            outputs = [self._ends[last]]
        for k, ends in enumerate(outputs):
            shape = np.array(ends[0][1])
            name = f"output_{k}" if len(outputs) > 1 else "output"
            self._behind([end for end, _ in ends], name, self.nir.Output({"output": shape}))
        return self.nir.NIRGraph(self.nodes, self.edges, metadata=metadata, type_check=False)

    def add_layer(self, i: int, beside: dict[str, Any]) -> None:
        """Add the nodes of a layer.

        Arguments:
            i: its number.
            beside: what NIR cannot say of its neurons.
        """
        layer = self._layers[i]
        if self._puts_side_by_side(i) and i == len(self._layers) - 1:
            return
        ends = []
        for t, term in enumerate(self._terms[i]):
            suffix = f"{i}_{t}" if isinstance(layer.below, Sum) else f"{i}"
            ends += self._mapped(suffix, term, [self._read(i, part) for part in term.reads])
        if layer.neurons.kind != "none":
            name, shape = f"{layer.neurons.kind.lower()}_{i}", ends[0][1]
            self._behind([end for end, _ in ends], name, self._node_of(layer, shape, beside))
            self._add_feedback(i, name, shape)
            ends = [(name, shape)]
        self._ends[i] = ends
        self.order.append(ends[0][0])

    def _node_of(self, layer: Population, shape: tuple[int, ...], beside: dict[str, Any]) -> Any:
        """Return the node of neurons, or of a delay."""
        if isinstance(layer.neurons, DelayLine):
            return self.nir.Delay(np.asarray(layer.neurons.steps.value).reshape(shape) * self.dt)
        return population_node(layer.neurons, shape, beside, self.dt)

    def _add_feedback(self, i: int, name: str, shape: tuple[int, ...]) -> None:
        """Let a population read itself."""
        own = self._layers[i].own
        if isinstance(own, Sum):
            for t, term in enumerate(own.terms):
                reads = [[(name, shape)] for _ in term.reads]
                self.edges += [(end, name) for end, _ in self._mapped(f"own_{i}_{t}", term, reads)]
        elif isinstance(own, Same):
            self.edges.append((name, name))
        elif own is not None:
            self._behind([name], f"recurrent_{i}", weights_node(own, shape))
            self.edges.append((f"recurrent_{i}", name))

    def _mapped(self, suffix: str, term: Term, reads: list[list[End]]) -> list[End]:
        """Add pools, weights and pools behind the nodes that each part is read from; return the ends."""
        pooled: list[End] = []
        for s, (part, ends) in enumerate(zip(term.reads, reads, strict=True)):
            one = suffix if len(reads) == 1 else f"{suffix}_{s}"
            ends = self._pooled(f"pool_{one}", "", part.pools, ends)
            shape = ends[0][1]
            if isinstance(term.weights, Dense) and len(shape) > 1:
                flatten = self.nir.Flatten({"input": np.array(shape)}, 0, -1)
                name = self._behind([end for end, _ in ends], f"flatten_{one}", flatten)
                ends = [(name, (int(np.prod(shape)),))]
            pooled += ends
        if term.weights is not None:
            shape = pooled[0][1]
            node = weights_node(term.weights, shape)
            name = self._behind([end for end, _ in pooled], f"{KINDS[type(term.weights)]}_{suffix}", node)
            pooled = [(name, shape_after(term.weights, shape))]
        return self._pooled(f"pool_{suffix}", "b", term.behind, pooled)

    def _pooled(self, start: str, end: str, pools: tuple[Pool, ...], ends: list[End]) -> list[End]:
        """Add pools behind some nodes; return the last of them."""
        for k, pool in enumerate(pools):
            name = self._behind([node for node, _ in ends], f"{start}_{k}{end}", pool_node(pool))
            ends = [(name, shape_after(pool, ends[0][1]))]
        return ends

    def _behind(self, before: list[str], name: str, node: Any) -> str:
        """Add a node that reads others; return its name."""
        self.nodes[name] = node
        self.edges += [(one, name) for one in before]
        return name

    def _read(self, i: int, part: Slice) -> list[End]:
        """Return the nodes that a part of what layer i reads comes from, which are added."""
        at = 0
        for source in self._sources[i]:
            size = self._size_of(i, source)
            if at <= part.start < at + size:
                ends = self._ends_of(source.layer, part.start - at)
                return [(name, part.shape) for name, _ in ends]
            at += size
        raise IndexError(part.start)

    def _ends_of(self, layer: int, start: int = 0) -> list[End]:
        """Return the nodes that put out what a layer does, or the input that begins at a place."""
        if layer < 0:
            names, starts = [name for name in self.nodes if name.startswith("input")], [*self._inputs]
            return [(names[starts.index(start)], self._inputs[start].shape)]
        if layer in self._ends:
            return self._ends[layer]
        made = self._layers[layer]  # read before it is there, of the last step
        if made.neurons.kind != "none":
            return [(f"{made.neurons.kind.lower()}_{layer}", (made.n,))]
        suffix = f"{layer}_0" if isinstance(made.below, Sum) else f"{layer}"
        return [(f"{KINDS[type(self._terms[layer][0].weights)]}_{suffix}", (made.n,))]

    def _size_of(self, i: int, source: Source) -> int:
        """Return how many values of what layer i reads come from a source."""
        if source.layer >= 0:
            return self._layers[source.layer].n
        others = sum(self._layers[s.layer].n for s in self._sources[i] if s.layer >= 0)
        return self._layers[i].inputs - others

    def _input_slices(self) -> dict[int, Slice]:
        """Return the inputs by where they begin in the vector of all of them."""
        found: dict[int, Slice] = {}
        for i, sources in enumerate(self._sources):
            at = 0
            for source in sources:
                size = self._size_of(i, source)
                for part in [part for term in self._terms[i] for part in term.reads]:
                    if source.layer < 0 and at <= part.start < at + size:
                        found[part.start - at] = part
                at += size
        return {start: found[start] for start in sorted(found)}

    def _puts_side_by_side(self, i: int) -> bool:
        """Whether a layer only puts the outputs of others side by side."""
        layer = self._layers[i]
        return layer.below is None and layer.neurons.kind == "none" and not (layer.before or layer.behind)


def terms_of(layer: Population) -> tuple[Term, ...]:
    """Return the ways into a layer.

    layer: the layer.
    """
    if isinstance(layer.below, Sum):
        return layer.below.terms
    read = Slice(0, layer.inputs, layer.shape, layer.before)
    return (Term(layer.below, (read,), layer.behind),)
