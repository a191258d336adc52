"""A NIR file or graph with its nested graphs written out: nodes by name, and edges between them."""

from pathlib import Path
from typing import Any, NamedTuple

from perturbax.errors import ArgumentError, DataError
from perturbax.exchange.neurons import FILTERING, SPIKING
from perturbax.plugins import import_optional

WEIGHTS = ("Linear", "Affine", "Scale", "Conv1d", "Conv2d")
POOLS = ("SumPool2d", "AvgPool2d")
POPULATIONS = (*SPIKING, *FILTERING)
UNCHANGING = ("Flatten", "Identity")  # examples are flat vectors here
KINDS = (*WEIGHTS, *POOLS, *POPULATIONS, "Delay", "Input", "Output")
ORDER = "order"  # of the metadata of a graph of ours: nodes, in the order of the layers that they end
Edges = set[tuple[str, str]]


class Identity:
    """What stands for a node of a file that changes nothing."""


class Stage(NamedTuple):
    """A node of a graph.

    Attributes:
        name: of the node.
        node: the node of the package nir.
    """

    name: str
    node: Any

    @property
    def kind(self) -> str:
        """Name of the node's class."""
        return type(self.node).__name__


class Graph(NamedTuple):
    """A graph without graphs in it.

    Attributes:
        nodes: by name, in the order in which they are looked at.
        edges: pairs of names.
        metadata: what the graph says beside its nodes, texts as `str`.
    """

    nodes: dict[str, Stage]
    edges: Edges
    metadata: dict[str, Any]

    def without(self, names: list[str]) -> "Graph":
        """Return the graph without nodes that change nothing: what they read is read directly.

        Arguments:
            names: of the nodes.
        """
        edges = self.edges
        for name in names:
            before = {a for a, b in edges if b == name} - {name}
            after = {b for a, b in edges if a == name} - {name}
            edges = {edge for edge in edges if name not in edge} | {(a, b) for a in before for b in after}
        nodes = {name: stage for name, stage in self.nodes.items() if name not in names}
        return Graph(nodes, edges, self.metadata)


def package() -> Any:
    """Return the package nir. Raises ArgumentError, which says what to install, where it is missing."""
    return import_optional("the format nir", "nir", "nir")


def read_graph(file: Path) -> Any:
    """Return the graph of a NIR file.

    Raises ArgumentError for a file that is not there, DataError for one that is no graph of NIR.
    """
    from perturbax.exchange.hdf5 import graph_in

    nir = package()
    if not file.is_file():
        raise ArgumentError(f"no such file: {file}")
    return graph_in(file, nir)


def texts(metadata: Any) -> dict[str, Any]:
    """Return metadata of a node or graph with texts as `str`: a file gives bytes back."""
    known = metadata if isinstance(metadata, dict) else {}
    return {name: v.decode("utf8", "replace") if isinstance(v, bytes) else v for name, v in known.items()}


def written_out(graph: Any) -> Graph:
    """Return a graph of the package nir with nested graphs written out, those of NAME as `NAME.inner`.

    Nodes are looked at in the order of their names, as files hold them, or in that which our metadata say.

    Raises DataError, which names the node, for nodes of a kind that no network here can have, and for edges
    between nodes that are not there.
    """
    nodes, edges, passed = _flat(graph, "")
    metadata = texts(graph.metadata)
    said = str(metadata.get(ORDER, "")).split("\n")
    place = {name: k for k, name in enumerate(said)}
    stages = {}
    for name in sorted(nodes, key=lambda name: (place.get(name, len(said)), name)):
        stages[name] = Stage(name, nodes[name])
    for name, stage in stages.items():
        if stage.kind not in (*KINDS, *UNCHANGING):
            raise DataError(f"node {name!r} is a {stage.kind}, which no network here can have")
    return Graph(stages, edges, metadata).without(passed)


def _flat(graph: Any, prefix: str) -> tuple[dict[str, Any], Edges, list[str]]:
    """Return nodes and edges of a graph and of those within it, and which nodes change nothing."""
    nodes: dict[str, Any] = {}
    edges: Edges = {(prefix + a, prefix + b) for a, b in graph.edges}
    known = {prefix + name for name in graph.nodes}
    for a, b in sorted(edges):
        if absent := {a, b} - known:
            raise DataError(f"an edge leads from {a!r} to {b!r}, but there is no node {min(absent)!r}")
    passed: list[str] = []
    for name, node in graph.nodes.items():
        full, kind = prefix + name, type(node).__name__
        if kind != "NIRGraph":
            nodes[full] = node
            if kind in UNCHANGING:
                passed.append(full)
            continue
        inner, inner_edges, inner_passed = _flat(node, f"{full}.")
        entry, leaving = (_only(full, kind, node) for kind in ("Input", "Output"))
        outside = {edge for edge in edges if full in edge}
        edges = (edges - outside) | inner_edges
        for a, b in outside:
            edges.add((leaving if a == full else a, entry if b == full else b))
        nodes |= inner
        passed += [*inner_passed, entry, leaving]
    return nodes, edges, passed


def _only(name: str, kind: str, graph: Any) -> str:
    """Return the one input or output of a graph within a graph; DataError where there are several or none."""
    found = [inner for inner, node in graph.nodes.items() if type(node).__name__ == kind]
    if len(found) != 1:
        raise DataError(
            f"node {name!r} is a graph with {len(found)} nodes {kind}: edges to it do not say which is "
            "meant; write it out"
        )
    return f"{name}.{found[0]}"
