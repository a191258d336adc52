"""Layers as the nodes and edges of a NIR graph."""

from typing import Any

import numpy as np

from perturbax.exchange.graph import package
from perturbax.exchange.maps import pool_node, weights_node
from perturbax.exchange.pieces import Piece
from perturbax.exchange.populations import population_node
from perturbax.exchange.synapses import Convolution, Dense, Scale, shape_after


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


def graph_of(pieces: list[Piece], dt: float) -> Any:
    """Return the graph of layers.

    Arguments:
        pieces: the layers, from below.
        dt: seconds of a step.
    """
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
