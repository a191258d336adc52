"""The network of a NIR file as what a run trains: `--cell nir --cell.file FILE.nir`."""

import hashlib
import os
from pathlib import Path
from typing import Any, ClassVar

from perturbax.errors import ArgumentError
from perturbax.exchange.graph import read_graph
from perturbax.exchange.neurons import Population
from perturbax.exchange.reading import from_nir
from perturbax.network.network import Network

KEPT = "network.nir"  # within a run folder


class NirFile:
    """The network of a NIR file, with the weights that it has: it takes the place of cells and readout.

    What is read, and how, is said by `px.from_nir`. The run folder keeps the file.

    Args:
        file: path of the file `.nir`; its inputs and outputs must be as many as those of the task.
        dt: seconds of a step; 0 for what the file says, else for what its writer means.
        written_by: the package that wrote it: any, snntorch, spikingjelly or norse.
        reset: what a spike does: zero (to v_reset, as NIR has it) or subtract (the threshold is taken away).
        surrogate: function that rules which need a derivative use in place of that of a spike: triangle,
            sigmoid, fast-sigmoid or none. Gradient-free rules never ask.
        dampening: factor of that derivative.
        digest: SHA-256 of the file, which a run writes down; "" for whatever the file holds.
    """

    equation: ClassVar[str] = "the graph of the file, in Euler steps of dt"
    papers: ClassVar[tuple[str, ...]] = ("pedersen2024",)

    def __init__(
        self,
        file: str = "",
        *,
        dt: float = 0.0,
        written_by: str = "any",
        reset: str = "zero",
        surrogate: str = "triangle",
        dampening: float = 0.3,
        digest: str = "",
    ):
        if not file:
            raise ArgumentError("cell nir needs the file: --cell.file FILE.nir")
        self.file = Path(os.path.abspath(file))
        self.how: dict[str, Any] = {
            "dt": dt or None,
            "written_by": written_by,
            "reset": reset,
            "surrogate": surrogate,
            "dampening": dampening,
        }
        read_graph(self.file)
        self.digest = hashlib.sha256(self.file.read_bytes()).hexdigest()
        if digest and digest != self.digest:
            raise ArgumentError(f"{self.file} has changed since the run was started: start a new run")

    def network(self) -> Network:
        """Return the network. Raises what `px.from_nir` raises."""
        return from_nir(self.file, **self.how)

    @classmethod
    def settled(cls, options: dict[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Return settings with the file's full path and its digest, and the units of the layers but the last.

        Arguments:
            options: settings by name.
        """
        made = cls(**options)
        widths = tuple(layer.width for layer in made.network().layers)
        return {**options, "file": str(made.file), "digest": made.digest}, widths[:-1] or widths

    @classmethod
    def whole(cls, sizes: Any, options: dict[str, Any]) -> Network:
        """Return the network for a task.

        Arguments:
            sizes: inputs and outputs of the task.
            options: settings by name.

        Raises ArgumentError for a network of other inputs or outputs.
        """
        made = cls(**options)
        net = made.network()
        has = inputs_of(net), net.layers[-1].width
        if has != (sizes[0], sizes[1]):
            raise ArgumentError(
                f"the network of {made.file} has {has[0]} inputs and {has[1]} outputs; the task has "
                f"{sizes[0]} and {sizes[1]}"
            )
        return net


def inputs_of(net: Network) -> int:
    """Return the number of inputs of a network that `from_nir` made."""
    for i, layer in enumerate(net.layers):
        read: Any = layer
        sources = net.sources(i)
        if any(source.layer < 0 for source in sources):
            others = sum(net.layers[source.layer].width for source in sources if source.layer >= 0)
            return (read.inputs if isinstance(read, Population) else read.W.shape[0]) - others
    raise ArgumentError("no layer of the network reads its inputs")


def file_to_keep(cell: str, options: dict[str, Any]) -> bytes | None:
    """Return the file that a cell is read from, which run folders keep as KEPT; None where there is none.

    Arguments:
        cell: the name of the cell.
        options: its settings.
    """
    return Path(options["file"]).read_bytes() if cell == "nir" else None


def kept_options(folder: Path, cell: Any, options: Any) -> Any:
    """Return the settings of a run's cell with the file that the run folder keeps, where it keeps one.

    Arguments:
        folder: the run folder.
        cell: the name of the cell in its config.json.
        options: the settings there.
    """
    kept = folder / KEPT
    if cell == "nir" and isinstance(options, dict) and kept.is_file():
        return {**options, "file": str(kept)}
    return options
