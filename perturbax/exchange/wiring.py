"""Which layers a NIR graph becomes, what each of them reads, and in which order they are computed.

Populations and delays are layers, as are weights that others with weights read. Between them lie paths:
pools, weights and pools, whose results are added where they meet, as NIR has it. Within a step a layer reads
what the layers before it in the order have just put out. Where the graph has a cycle, the edge that closes it
takes the output of the last step: a layer is computed as soon as it waits for nothing but layers that, in
turn, wait for it. norse does the same. A delay of one step or more closes a cycle by itself.
"""

from collections.abc import Collection
from typing import NamedTuple

from perturbax.errors import DataError
from perturbax.exchange.graph import POOLS, POPULATIONS, WEIGHTS, Graph

MOST_PATHS = 1000  # into one layer, which many pools side by side, one behind the other, would exceed


class Leaf(NamedTuple):
    """Where a path begins.

    Attributes:
        source: name of a layer, or of an input.
        pools: names of the pools in front of the weights, in the order in which they are met.
    """

    source: str
    pools: tuple[str, ...] = ()


class Path(NamedTuple):
    """A way into a layer.

    Attributes:
        leaves: where it begins; what comes from them is added.
        weights: name of the node with weights; "" where there is none.
        behind: names of the pools behind the weights.
    """

    leaves: tuple[Leaf, ...]
    weights: str = ""
    behind: tuple[str, ...] = ()


class Part(NamedTuple):
    """A layer to be.

    Attributes:
        name: of the node that it ends in.
        paths: what it reads.
        own: by which paths it reads its own output of the last step.
    """

    name: str
    paths: tuple[Path, ...]
    own: tuple[Path, ...] = ()

    @property
    def sources(self) -> list[str]:
        """Names of what it reads, each once, in the order of the paths."""
        return list(dict.fromkeys(leaf.source for path in self.paths for leaf in path.leaves))


class Wiring(NamedTuple):
    """The layers of a graph.

    Attributes:
        inputs: names of the inputs.
        parts: the layers, in the order in which they are computed.
        late: pairs (source, reader) where the output of the last step is read.
        outputs: names of the layers whose outputs are those of the network, side by side.
    """

    inputs: tuple[str, ...]
    parts: tuple[Part, ...]
    late: frozenset[tuple[str, str]]
    outputs: tuple[str, ...]


def wiring_of(graph: Graph, closing: Collection[str]) -> Wiring:
    """Return the layers of a graph.

    Arguments:
        graph: the graph.
        closing: names of the delays of one step or more.

    Raises DataError, which names the node, for a graph that cannot be a network.
    """
    return _Wirer(graph).wiring(closing)


class _Wirer:
    """Finds the layers of a graph and the paths between them."""

    def __init__(self, graph: Graph):
        self._kinds = {name: stage.kind for name, stage in graph.nodes.items()}
        self._before: dict[str, list[str]] = {name: [] for name in self._kinds}
        self._after: dict[str, list[str]] = {name: [] for name in self._kinds}
        place = {name: k for k, name in enumerate(self._kinds)}
        for a, b in sorted(graph.edges, key=lambda edge: (place[edge[0]], place[edge[1]])):
            self._before[b].append(a)
            self._after[a].append(b)
        self._inputs, self._outputs = self._of("Input"), self._of("Output")
        self._check()
        self._ends = {name for name, kind in self._kinds.items() if kind in (*POPULATIONS, "Delay", "Input")}
        self._ends |= {name for name in self._of(*WEIGHTS) if self._stands_alone(name)}

    def wiring(self, closing: Collection[str]) -> Wiring:
        """Return the layers; closing: names of the delays of one step or more."""
        parts: dict[str, Part] = {}
        outputs = []
        for name in self._kinds:
            if name in self._ends and name not in self._inputs:
                parts[name] = self._part(name)
        for name in self._outputs:
            paths = self._into(name)
            source = paths[0].leaves[0].source
            if paths == [Path((Leaf(source),))] and source not in self._inputs:
                outputs.append(source)
            else:
                parts[name] = self._part(name)
                outputs.append(name)
        order, late = _in_order(parts, self._inputs, closing)
        closed_by = {source for source, _ in late} & set(closing)
        for name, part in parts.items():
            late |= {(source, name) for source in part.sources if source in closed_by}
        for source, reader in sorted(late):
            if self._kinds[source] == "Delay" and source not in closing:
                raise DataError(
                    f"node {source!r} closes a cycle, and delays some units by no step ({reader!r})"
                )
        if len(outputs) == 1:
            order = _with_last(order, outputs[0], parts, late)
        return Wiring(
            tuple(self._inputs), tuple(parts[name] for name in order), frozenset(late), tuple(outputs)
        )

    def _of(self, *kinds: str) -> list[str]:
        """Return the names of the nodes of some kinds."""
        return [name for name, kind in self._kinds.items() if kind in kinds]

    def _check(self) -> None:
        """Refuse graphs without input or output, nodes on no way between them, and cycles without a state."""
        for kind, found in (("Input", self._inputs), ("Output", self._outputs)):
            if not found:
                raise DataError(f"a network has one {kind.lower()} or more; the graph has 0 nodes {kind}")
        ahead, back = reached(self._inputs, self._after), reached(self._outputs, self._before)
        for name, kind in self._kinds.items():
            if name not in ahead or name not in back:
                raise DataError(f"node {name!r} is on no way from the input to the output")
            if (kind == "Input" and self._before[name]) or (kind == "Output" and self._after[name]):
                raise DataError(f"node {name!r} is an {kind.lower()} in the middle of the graph")
        stateless = {name: [b for b in self._after[name] if self._is_map(b)] for name in self._kinds}
        left = {name for name in self._kinds if self._is_map(name)}
        while ends := {name for name in left if not left & set(stateless[name])}:
            left -= ends
        for first in sorted(left):  # which lead to a cycle, or lie in one
            behind = reached(stateless[first], stateless)
            if first not in behind:
                continue
            cycle = [name for name in behind if first in reached([name], stateless)]
            names = " and ".join(map(repr, sorted(cycle)[:4]))
            raise DataError(
                f"nodes {names} lead back to themselves without a population or a delay in between: no step "
                "could be computed"
            )

    def _is_map(self, name: str) -> bool:
        """Whether a node is a linear map."""
        return self._kinds[name] in (*WEIGHTS, *POOLS)

    def _stands_alone(self, name: str) -> bool:
        """Whether weights are a layer by themselves: other weights, or more than one layer, read them."""
        met: list[str] = []
        ahead = list(self._after[name])
        while ahead and len(met) < 2:
            node = ahead.pop()
            if self._kinds[node] in POOLS:
                ahead += self._after[node]
            else:
                met.append(node)
        return len(met) != 1 or self._kinds[met[0]] in WEIGHTS

    def _part(self, name: str) -> Part:
        """Return a layer with what it reads."""
        paths, own = [], []
        for path in self._into(name):
            itself = {leaf.source for leaf in path.leaves} == {name} and self._kinds[name] in POPULATIONS
            (own if itself else paths).append(path)
        if self._kinds[name] in WEIGHTS:
            leaves = tuple(leaf for path in paths for leaf in path.leaves)
            paths = [Path(leaves, name)]
        return Part(name, tuple(paths), tuple(own))

    def _into(self, name: str) -> list[Path]:
        """Return the paths that lead into a node."""
        found: list[Path] = []
        for before in self._before[name]:
            found += self._from(before)
            if len(found) > MOST_PATHS:
                raise DataError(f"more than {MOST_PATHS} paths lead into node {name!r}")
        return found

    def _from(self, name: str) -> list[Path]:
        """Return the paths that lead out of a node, as whatever reads it sees them."""
        if name in self._ends:
            return [Path((Leaf(name),))]
        paths = self._into(name)
        if self._kinds[name] in WEIGHTS:
            return [Path(tuple(leaf for path in paths for leaf in path.leaves), name)]
        pooled = []
        for path in paths:
            if path.weights:
                pooled.append(path._replace(behind=(*path.behind, name)))
            else:
                (leaf,) = path.leaves
                pooled.append(Path((leaf._replace(pools=(*leaf.pools, name)),)))
        return pooled


def reached(start: Collection[str], after: dict[str, list[str]]) -> set[str]:
    """Return what is reached from some nodes, these included.

    Arguments:
        start: names of the nodes.
        after: what follows each node directly.
    """
    found, ahead = set(start), list(start)
    while ahead:
        for name in after[ahead.pop()]:
            if name not in found:
                found.add(name)
                ahead.append(name)
    return found


def _in_order(
    parts: dict[str, Part], inputs: list[str], closing: Collection[str]
) -> tuple[list[str], set[tuple[str, str]]]:
    """Return the names of layers in the order of a step, and which (source, reader) are one step late."""
    after: dict[str, list[str]] = {name: [] for name in (*inputs, *parts)}
    waits: dict[str, set[str]] = {}
    late = set()
    for name, part in parts.items():
        waits[name] = set(part.sources) - {name, *inputs}
        if name in part.sources:
            late.add((name, name))
        for source in part.sources:
            after[source].append(name)
    touched = reached_directly(inputs, after)
    order: list[str] = []
    while waits:
        name = _next(waits, touched, after, closing)
        late |= {(source, name) for source in waits.pop(name)}
        order.append(name)
        touched |= set(after[name])
        for waiting in after[name]:
            if waiting in waits:
                waits[waiting].discard(name)
    return order, late


def reached_directly(names: Collection[str], after: dict[str, list[str]]) -> set[str]:
    """Return what follows some nodes directly.

    Arguments:
        names: of the nodes.
        after: what follows each node directly.
    """
    return {reader for name in names for reader in after[name]}


def _next(
    waits: dict[str, set[str]], touched: set[str], after: dict[str, list[str]], closing: Collection[str]
) -> str:
    """Return the layer to compute next: one that waits for none, or for delays, or in a cycle alone."""
    for name, missing in waits.items():
        if not missing:
            return name
    left = {name: [reader for reader in after[name] if reader in waits] for name in waits}
    in_cycles = [name for name, missing in waits.items() if missing <= reached([name], left)]
    by_delays = [name for name in in_cycles if waits[name] <= set(closing)]
    return (by_delays or [name for name in in_cycles if name in touched])[0]


def _with_last(
    order: list[str], last: str, parts: dict[str, Part], late: Collection[tuple[str, str]]
) -> list[str]:
    """Return an order that ends in a layer, where no other one reads what that puts out in the step."""
    for name, part in parts.items():
        if last in part.sources and (last, name) not in late:
            return order
    return [*(name for name in order if name != last), last]
