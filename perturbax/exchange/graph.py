"""A NIR file or graph as a chain of stages: nodes from the input to the output, with feedback onto
themselves.

Nested graphs are written out first. Networks are stacks of layers, so what is no chain is refused: branches
that meet again, and feedback from one population to another.
"""

from pathlib import Path
from typing import Any, NamedTuple

from perturbax.errors import ArgumentError, DataError, first_line
from perturbax.exchange.neurons import FILTERING, SPIKING
from perturbax.plugins import import_optional

WEIGHTS = ("Linear", "Affine", "Scale", "Conv1d", "Conv2d")
SHAPES = ("Flatten", "SumPool2d", "AvgPool2d")
POPULATIONS = (*SPIKING, *FILTERING)
Edges = set[tuple[str, str]]
_CHAINS = "only a chain of nodes, in which a population may feed back on itself, can become a network"


class Stage(NamedTuple):
    """A node of the chain, and how it feeds back on itself.

    Attributes:
        name: of the node.
        node: the node of the package nir.
        feedback: whether its output of the step before comes back.
        own_name: name of the node with the weights of the feedback; "" where it comes back as it is.
        own: that node, or None.
    """

    name: str
    node: Any
    feedback: bool = False
    own_name: str = ""
    own: Any = None

    @property
    def kind(self) -> str:
        """Name of the node's class."""
        return type(self.node).__name__


class Chain(NamedTuple):
    """A graph as a chain.

    Attributes:
        shape: of one example of the input.
        stages: from the input to the output.
        metadata: what the graph says beside its nodes, texts as `str`.
    """

    shape: tuple[int, ...]
    stages: list[Stage]
    metadata: dict[str, Any]


def package() -> Any:
    """Return the package nir. Raises ArgumentError, which says what to install, where it is missing."""
    return import_optional("the format nir", "nir", "nir")


def read_graph(file: Path) -> Any:
    """Return the graph of a NIR file.

    Raises ArgumentError for a file that is not there, DataError for one that is no graph of NIR.
    """
    nir = package()
    if not file.is_file():
        raise ArgumentError(f"no such file: {file}")
    try:
        graph = nir.read(str(file))
    except Exception as error:  # the package checks little: anything may be raised
        raise DataError(f"{file} cannot be read as a graph of NIR: {first_line(error)}") from error
    if type(graph).__name__ != "NIRGraph":
        raise DataError(f"{file} holds a node of NIR ({type(graph).__name__}), not a graph")
    return graph


def chain_of(graph: Any) -> Chain:
    """Return a graph of the package nir as a chain.

    Raises DataError, which names the node, for a graph that is no chain.
    """
    nodes, edges = _written_out(graph)
    ends = {
        kind: [name for name in nodes if type(nodes[name]).__name__ == kind] for kind in ("Input", "Output")
    }
    for kind, found in ends.items():
        if len(found) != 1:
            raise DataError(f"a network has one {kind.lower()}; the graph has {len(found)} nodes {kind}")
    (first,), (last,) = ends["Input"], ends["Output"]
    stages, seen, at = [], {first, last}, first
    while True:
        feedback, ways = _feedback(at, nodes, edges) if at != first else ([], _after(at, edges))
        if at != first:
            stages.append(_stage(at, nodes, feedback))
            seen |= {at, *(name for way in feedback for name in way)}
        if len(ways) != 1:
            where = " and ".join(repr(name) for name in sorted(ways)) or "no node"
            raise DataError(f"node {at!r} is read by {where}: {_CHAINS}")
        ahead = ways[0]
        others = sorted(_before(ahead, edges) - {at} - _returning(ahead, nodes, edges))
        if others:
            raise DataError(f"node {ahead!r} reads {at!r} and {others[0]!r}: {_CHAINS}")
        if ahead == last:
            break
        if ahead in seen:
            raise DataError(f"node {at!r} feeds back to {ahead!r}, which is no population")
        at = ahead
    if left := sorted(set(nodes) - seen):
        raise DataError(f"node {left[0]!r} is on no way from the input to the output")
    shape = tuple(int(size) for size in nodes[first].input_type["input"])
    return Chain(shape, stages, texts(graph.metadata))


def texts(metadata: Any) -> dict[str, Any]:
    """Return metadata of a node or graph with texts as `str`: a file gives bytes back."""
    known = metadata if isinstance(metadata, dict) else {}
    return {name: v.decode("utf8", "replace") if isinstance(v, bytes) else v for name, v in known.items()}


def _written_out(graph: Any, prefix: str = "") -> tuple[dict[str, Any], Edges]:
    """Return nodes and edges of a graph, those of nested graphs written out under `NAME.`."""
    nodes: dict[str, Any] = {}
    edges: Edges = {(prefix + a, prefix + b) for a, b in graph.edges}
    passed = []
    for name, node in graph.nodes.items():
        full = prefix + name
        kind = type(node).__name__
        if kind == "NIRGraph":
            inner, inner_edges = _written_out(node, f"{full}.")
            entries = [n for n in inner if type(inner[n]).__name__ == "Input"]
            exits = [n for n in inner if type(inner[n]).__name__ == "Output"]
            outside = {edge for edge in edges if full in edge}
            edges = (edges - outside) | inner_edges
            edges |= {(a, entry) for a, b in outside if b == full and a != full for entry in entries}
            edges |= {(leaving, b) for a, b in outside if a == full and b != full for leaving in exits}
            edges |= {
                (leaving, entry) for a, b in outside if a == b for leaving in exits for entry in entries
            }
            nodes |= inner
            passed += [*entries, *exits]
        else:
            nodes[full] = node
            if kind in ("Flatten", "Identity"):  # examples are flat vectors here: it changes nothing
                passed.append(full)
    for name in passed:
        before, after = _before(name, edges) - {name}, set(_after(name, edges)) - {name}
        edges = {edge for edge in edges if name not in edge} | {(a, b) for a in before for b in after}
        del nodes[name]
    return nodes, edges


def _after(name: str, edges: Edges) -> list[str]:
    """Return the nodes that read a node."""
    return sorted(b for a, b in edges if a == name)


def _before(name: str, edges: Edges) -> set[str]:
    """Return the nodes that a node reads."""
    return {a for a, b in edges if b == name}


def _feedback(name: str, nodes: dict[str, Any], edges: Edges) -> tuple[list[list[str]], list[str]]:
    """Return the ways by which a node reads itself, each the nodes in between, and what else reads it."""
    ways, ahead = [], []
    for following in _after(name, edges):
        way = _way_back(name, following, nodes, edges)
        if way is None:
            ahead.append(following)
        else:
            ways.append(way)
    return ways, ahead


def _way_back(name: str, following: str, nodes: dict[str, Any], edges: Edges) -> list[str] | None:
    """Return the nodes without a state between a population and itself, on one way; None for another way."""
    if type(nodes[name]).__name__ not in POPULATIONS:
        return None
    way: list[str] = []
    at = following
    while at != name:
        after = _after(at, edges)
        if type(nodes[at]).__name__ in POPULATIONS or len(after) != 1 or at in way:
            return None
        way.append(at)
        at = after[0]
    return way


def _returning(name: str, nodes: dict[str, Any], edges: Edges) -> set[str]:
    """Return the nodes by which a population reads itself: those that end its feedback."""
    ways, _ = _feedback(name, nodes, edges)
    return {way[-1] if way else name for way in ways}


def _stage(name: str, nodes: dict[str, Any], feedback: list[list[str]]) -> Stage:
    """Return a node with its feedback; DataError where that is more than one map."""
    if not feedback:
        return Stage(name, nodes[name])
    if len(feedback) > 1 or len(feedback[0]) > 1:
        between = sorted(node for way in feedback for node in way)
        raise DataError(
            f"node {name!r} feeds back on itself through {' and '.join(map(repr, between))}: a network knows "
            "feedback through one node Linear, Affine or Scale"
        )
    way = feedback[0]
    return Stage(name, nodes[name], True, way[0], nodes[way[0]]) if way else Stage(name, nodes[name], True)
