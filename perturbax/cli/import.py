"""The command `import`: what a NIR file holds, and how a run trains its network."""

import argparse
import shlex
from typing import Any

from perturbax.cli.arguments import ClassSettings, Parser
from perturbax.errors import ArgumentError

HELP = "show the network of a NIR file, and how to train it"


def add_arguments(parser: Parser) -> None:
    """Declare the file, and how it is read."""
    parser.add_argument("file", metavar="FILE", help="the file .nir to read")
    said = "seconds of a step (default: what the file says, or 1e-4)"
    parser.add_argument("--dt", metavar="SECONDS", help=said)
    writers = "package that wrote it: any, snntorch, spikingjelly or norse (default: any)"
    parser.add_argument("--written-by", metavar="PACKAGE", default="any", help=writers)
    resets = "what a spike does: zero or subtract (default: zero)"
    parser.add_argument("--reset", metavar="RESET", default="zero", help=resets)


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Print the layers of the network and the command that trains it; return the exit status."""
    from perturbax.experiment.options import coerce

    dt = None if args.dt is None else coerce("dt", args.dt, float)
    if dt is not None and dt <= 0:
        raise ArgumentError(f"dt must be above 0, not {dt:g}")

    from perturbax.exchange.file import inputs_of
    from perturbax.exchange.reading import from_nir

    net = from_nir(args.file, dt=dt, written_by=args.written_by, reset=args.reset)
    inputs = inputs_of(net)
    print(f"{args.file}: {inputs} inputs, {net.layers[-1].width} outputs")
    for i, layer in enumerate(net.layers):
        sources = net.sources(i)
        width = sum(inputs if s.layer < 0 else net.layers[s.layer].width for s in sources)
        print(f"  layer {i}: {_said(layer)}, {width} -> {layer.width}{_read(sources) if net.reads else ''}")
    typed = {"dt": args.dt, "written_by": args.written_by, "reset": args.reset}
    defaults = {"dt": None, "written_by": "any", "reset": "zero"}
    more = "".join(f" --cell.{name} {value}" for name, value in typed.items() if value != defaults[name])
    command = f"perturbax run --cell nir --cell.file {shlex.quote(args.file)}{more} --task TASK --out FOLDER"
    print(f"train it with: {command}")
    return 0


def _read(sources: Any) -> str:
    """Return what a layer of a graph reads."""
    names = []
    for source in sources:
        name = "the inputs" if source.layer < 0 else f"layer {source.layer}"
        names.append(f"{name} of the last step" if source.late else name)
    return f"; reads {' and '.join(names)}"


def _said(layer: Any) -> str:
    """Return what a layer is: its neurons, its weights, and its feedback."""
    from perturbax.exchange.neurons import Population

    if not isinstance(layer, Population):
        return f"cell {type(layer).__name__}"
    neurons = layer.neurons
    weights = "no weights" if layer.below is None else type(layer.below).__name__.lower()
    feedback = "" if layer.own is None else f", feedback {type(layer.own).__name__.lower()}"
    pools = len(layer.before) + len(layer.behind)
    pooled = f", {pools} pool{'s' * (pools > 1)}" if pools else ""
    constants = {"decay": neurons.decay, "gain": neurons.gain, "threshold": neurons.threshold}
    shown = "".join(f", {name} {_range(c.value)}" for name, c in constants.items() if c is not None)
    kind = "linear" if neurons.kind == "none" else neurons.kind
    return f"{kind}{shown}; {weights}{feedback}{pooled}"


def _range(values: Any) -> str:
    """Return the value that all units share, or the smallest and the largest."""
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
