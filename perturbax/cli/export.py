"""The command `export`: the trained network of a run as a file that other tools read."""

import argparse
from pathlib import Path
from typing import Any

from perturbax.cli.arguments import ClassSettings, Parser, add_trust
from perturbax.errors import ArgumentError

HELP = "write the network of a run as a NIR file, for neuromorphic tools"
SEQUENCES = 8  # of the test part, on which differing spikes are counted


def add_arguments(parser: Parser) -> None:
    """Declare the run, the file, and how it is written."""
    parser.add_argument("run", metavar="FOLDER", help="folder of a run")
    parser.add_argument("--nir", metavar="FILE", help="the file .nir to write")
    parser.add_argument("--dt", metavar="SECONDS", help="seconds of a step (default: 1e-4, norse means 1e-3)")
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="write a network that NIR cannot say, and count the spikes that differ on test data of the run",
    )
    parser.add_argument(
        "--r-in-weights",
        action="store_true",
        help="write r = 1 and weights times r, for readers that take no other r (norse)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    add_trust(parser)


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Write the file; return the exit status."""
    from perturbax.experiment.options import coerce

    if args.nir is None:
        raise ArgumentError("--nir FILE is needed: the file to write")
    dt: dict[str, Any] = {} if args.dt is None else {"dt": coerce("dt", args.dt, float)}

    from perturbax.exchange.writing import check_target, to_nir
    from perturbax.experiment.result import load

    file, folder = Path(args.nir), Path(args.run)
    check_target(file, args.overwrite)
    net = load(folder, trust=args.trust).net
    inputs = _inputs(folder, args.trust) if args.approximate else None
    options = {"approximate": inputs, "r_in_weights": args.r_in_weights, "overwrite": args.overwrite}
    graph = to_nir(net, file, **options, **dt)
    print(f"{file}: {len(graph.nodes)} nodes, dt {graph.metadata['dt']:g} s{_said(graph.metadata)}")
    return 0


def _said(metadata: dict[str, Any]) -> str:
    """Return what the file says of resets and of spikes that differ."""
    reset = f", reset {metadata['reset']}" if "reset" in metadata else ""
    if "of_spikes" not in metadata:
        return reset
    differing, of = metadata["differing_spikes"], metadata["of_spikes"]
    share = f" ({differing / of:.1%})" if of else ""
    return f"{reset}; read as NIR says, {differing} of {of} spikes differ{share}"


def _inputs(folder: Path, trust: bool) -> Any:
    """Return inputs of the test part of a run's task, `(T, B, n_in)`."""
    from perturbax.experiment import own_code
    from perturbax.experiment.build import open_task
    from perturbax.experiment.result import read_config, read_resolved

    with own_code.code_of(folder, read_config(folder), trust, kinds=("task",)):
        return open_task(read_resolved(folder)).held_out("test").xs[:, :SEQUENCES]
