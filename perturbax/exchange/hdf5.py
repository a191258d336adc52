"""The content of a NIR file, every entry looked at before it is read.

An HDF5 file may point elsewhere (soft and external links, values kept in other files, virtual data sets), may
declare arrays that are larger than any memory, and may lead back to itself. None of this is followed.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from perturbax.errors import FAULTS, DataError, first_line
from perturbax.exchange.graph import KINDS, UNCHANGING, Identity
from perturbax.plugins import import_optional

MOST_BYTES = 2**31  # of all arrays of a file together
MOST_OBJECTS = 100_000
DEEPEST = 40  # groups within groups
NUMBERS, STRINGS = "biuf", "SO"


def graph_in(file: Path, nir: Any) -> Any:
    """Return the graph of a NIR file.

    Arguments:
        file: its path.
        nir: the package nir.

    Raises DataError, which names the file and the node, for a file that holds no graph, or more than a graph
    of its own.
    """
    h5py = import_optional("the format nir", "h5py", "nir")
    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        raise DataError(
            f"{file} cannot be read as a graph of NIR: it is no HDF5 file, or cut short ({first_line(error)})"
        ) from error
    with opened:
        try:
            if not isinstance(_linked(file, h5py, opened, "node", "file"), h5py.Group):
                raise DataError(f"{file} cannot be read as a graph of NIR: it has no group 'node'")
            content = _Content(file, h5py).group(opened["node"], "the graph", 0)
        except (*FAULTS, OSError) as error:  # what h5py says of damaged parts
            if isinstance(error, DataError):
                raise
            raise DataError(f"{file} is damaged: {first_line(error)}") from error
    if content.get("type") != "NIRGraph":
        raise DataError(f"{file} holds a node of NIR ({_shown(content.get('type'))}), not a graph")
    return _graph(file, nir, content, "")


class _Content:
    """Reads groups into dictionaries, within bounds."""

    def __init__(self, file: Path, h5py: Any):
        self._file, self._h5py = file, h5py
        self._bytes, self._objects = 0, 0

    def group(self, group: Any, where: str, depth: int) -> dict[str, Any]:
        """Return the entries of a group by name; where: what errors call it."""
        if depth > DEEPEST:
            raise DataError(f"{self._file}: {where} has more than {DEEPEST} groups within groups")
        found: dict[str, Any] = {}
        for name in group:
            self._objects += 1
            if self._objects > MOST_OBJECTS:
                raise DataError(f"{self._file} has more than {MOST_OBJECTS} entries")
            inner = _linked(self._file, self._h5py, group, name, where)
            if isinstance(inner, self._h5py.Group):
                is_node = group.name.endswith("/nodes")
                found[name] = self.group(inner, f"node {name!r}" if is_node else where, depth + 1)
            elif isinstance(inner, self._h5py.Dataset):
                found[name] = self._values(inner, name, where)
        return found

    def _values(self, values: Any, name: str, where: str) -> Any:
        """Return the values of a data set; texts as `str`."""
        said = f"{self._file}: {where}: {name!r}"
        if values.is_virtual or values.external:
            raise DataError(f"{said} keeps its values in another file, which is not read")
        text = self._h5py.check_string_dtype(values.dtype)
        if values.shape is None or (text is None and values.dtype.kind not in NUMBERS):
            raise DataError(f"{said} holds neither numbers nor text, but {values.dtype}")
        self._bytes += math.prod(values.shape) * max(1, values.dtype.itemsize)
        if self._bytes > MOST_BYTES:
            raise DataError(
                f"{said} declares the shape {values.shape}: more than {MOST_BYTES // 2**20} MiB in all"
            )
        read = values[()]
        return read.decode("utf8", "replace") if isinstance(read, bytes) else read


def _linked(file: Path, h5py: Any, group: Any, name: str, where: str) -> Any:
    """Return an entry of a group; None where there is none. Links to elsewhere are refused."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise DataError(
            f"{file}: {where}: {name!r} is a link to another file ({link.filename!r}), which is not read"
        )
    if isinstance(link, h5py.SoftLink):
        raise DataError(f"{file}: {where}: {name!r} is a link to {link.path!r}, which is not followed")
    return None if link is None else group[name]


def _graph(file: Path, nir: Any, content: dict[str, Any], prefix: str) -> Any:
    """Return a graph from its entries; prefix: of the names of its nodes, for errors."""
    where = f"{file}: node {prefix[:-1]!r}" if prefix else f"{file}: the graph"
    nodes, edges = content.get("nodes"), content.get("edges")
    if not isinstance(nodes, dict):
        raise DataError(f"{where} has no group 'nodes'")
    pairs = np.asarray([] if edges is None else edges)
    if edges is None or pairs.dtype.kind not in STRINGS or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise DataError(f"{where} has no 'edges', which are pairs of names")
    made = {name: _node(file, nir, inner, prefix + name) for name, inner in nodes.items()}
    return nir.NIRGraph(made, [(_text(a), _text(b)) for a, b in pairs], _metadata(content), type_check=False)


def _node(file: Path, nir: Any, content: Any, name: str) -> Any:
    """Return a node from its entries."""
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
        raise DataError(f"{file}: node {name!r} has no 'type'")
    kind = content["type"]
    if kind == "NIRGraph":
        return _graph(file, nir, content, f"{name}.")
    if kind not in (*KINDS, *UNCHANGING):
        raise DataError(f"{file}: node {name!r} is a {_shown(kind)}, which no network here can have")
    if kind in UNCHANGING:
        return Identity()
    values = content | {"metadata": _metadata(content)}
    if missing := sorted(_needed(nir, kind) - values.keys()):
        raise DataError(f"{file}: node {name!r} ({kind}) has no {missing[0]!r}")
    if kind.startswith("Conv"):
        values["input_shape"] = None  # what reaches it says it; nir makes other types of it
    try:
        return nir.dict2NIRNode(values)
    except FAULTS as error:
        raise DataError(f"{file}: node {name!r} ({kind}) cannot be read: {first_line(error)}") from error


def _needed(nir: Any, kind: str) -> set[str]:
    """Return the names of the entries that a node must have."""
    if kind in ("Input", "Output"):
        return {"shape"}
    nothing = dataclasses.MISSING
    fields = [f for f in dataclasses.fields(getattr(nir, kind)) if f.init and f.default is nothing]
    return {f.name for f in fields if f.default_factory is nothing} - {"input_shape", "input_type"}


def _metadata(content: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a node; {} for what is none."""
    found = content.get("metadata")
    return found if isinstance(found, dict) else {}


def _text(name: Any) -> str:
    """Return a name, as text."""
    return name.decode("utf8", "replace") if isinstance(name, bytes) else str(name)


def _shown(kind: Any) -> str:
    """Return a kind as errors show it, whatever it is."""
    return repr(kind)[:40] if kind is None or not str(kind).isidentifier() else str(kind)[:40]
