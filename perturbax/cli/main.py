"""The command line. JAX is imported only once a command starts work, so that help comes at once."""

import argparse
import dataclasses
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from perturbax.errors import ArgumentError, PerturbaxError, unknown
from perturbax.experiment.config import DEFAULTS, Experiment

KINDS = ("task", "rule", "cell")
EXPERIMENTS = ("run", "compare", "diagnose", "taxonomy", "tune")  # commands that take settings of classes
METAVARS = {"units": "N,N,...", "data": "FILE", "lr": "RATE", "decor_lr": "RATE", "clip": "NORM"}
CHOICES = {
    "mode": "sequence|online",
    "decorrelate": "off|hidden|hidden+input",
    "residual": "true|false",
    "normalise": "true|false",
}
KEPT = "what is done is kept, the same command goes on"
AGAIN = {"run": "with --out, go on with --resume FOLDER", "compare": KEPT, "reproduce": KEPT}
EPILOG = """every --task.NAME, --rule.NAME and --cell.NAME setting of the chosen classes is listed at the end of
`perturbax run --help`; add --rule activity (say) to see those of another one"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        raise ArgumentError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0 on success, 2 on wrong arguments, 1 on failure."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names of authors on a terminal that knows ASCII only
    try:
        return _dispatch(argv)
    except PerturbaxError as error:
        print(f"perturbax: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        again = AGAIN.get(next(iter(argv), ""), "")
        print(f"perturbax: interrupted{again and '; ' + again}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if type(error).__name__ not in ("MemoryError", "JaxRuntimeError", "XlaRuntimeError"):
            raise
        print(f"perturbax: error: {(str(error) or 'out of memory').splitlines()[0]}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        print(f"perturbax: error: {error}", file=sys.stderr)
        return 1


def _dispatch(argv: list[str]) -> int:
    parser = Parser(
        prog="perturbax",
        description="Train recurrent networks with noise instead of gradients.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    made: dict[str, tuple[Parser, Callable]] = {}
    for name, (text, build, work) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        build(sub)
        made[name] = sub, work
    if argv and argv[0] in made and ("-h" in argv or "--help" in argv) and argv[0] in EXPERIMENTS:
        _add_class_settings(made[argv[0]][0], argv)
    if argv and argv[0] not in made and argv[0] not in ("-h", "--help", "--version"):
        raise unknown("command", argv[0], made)
    args, extra = parser.parse_known_args(argv)
    if args.version:
        from perturbax import __version__

        print(f"perturbax {__version__}")
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    sub, work = made[args.command]
    return work(args, _settings(sub, extra, args.command in EXPERIMENTS))


def _settings(parser: Parser, extra: list[str], allowed: bool) -> dict[str, dict[str, str]]:
    """Sort `--rule.sigma 1e-3` and its like by kind; refuse any other leftover."""
    found: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    queue = list(extra)
    while queue:
        flag, equals, value = queue.pop(0).partition("=")
        kind, dot, name = flag.removeprefix("--").partition(".")
        if not (allowed and flag.startswith("--") and dot and kind in KINDS):
            flags = [o for a in parser._actions for o in a.option_strings if o.startswith("--")]
            raise unknown("argument", flag, flags)
        if not equals:
            if not queue:
                raise ArgumentError(f"{flag} needs a value")
            value = queue.pop(0)
        found[kind][name.replace("-", "_")] = value
    return found


def _docs() -> dict[str, str]:
    from docstring_parser import parse

    return {
        p.arg_name: " ".join((p.description or "").split()) for p in parse(Experiment.__doc__ or "").params
    }


def _add_experiment(parser: argparse.ArgumentParser, but: tuple[str, ...] = ()) -> None:
    docs, group = _docs(), parser.add_argument_group("the experiment")
    for f in dataclasses.fields(Experiment):
        if f.name.endswith("_options") or f.name in but:
            continue
        metavar = CHOICES.get(f.name) or METAVARS.get(f.name) or f.name.upper()
        common = DEFAULTS.get(f.name, f.default)
        common = ",".join(map(str, common)) if isinstance(common, tuple) else common
        default = (
            "" if common is None else f" (default: {common}{', or as the task ships' * (f.name in DEFAULTS)})"
        )
        group.add_argument(
            f"--{f.name.replace('_', '-')}",
            metavar=metavar,
            default=argparse.SUPPRESS,
            help=(docs[f.name] + default).replace("%", "%%"),
        )


def _add_class_settings(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """List the settings of the chosen task, rule and cell in the help."""
    from perturbax.experiment.build import KNOWN
    from perturbax.experiment.options import find, options

    for kind in KINDS:
        named = [
            b if a == f"--{kind}" else a.partition("=")[2]
            for a, b in zip(argv, [*argv[1:], ""], strict=True)
            if a == f"--{kind}" or a.startswith(f"--{kind}=")
        ]
        name = named[-1] if named else getattr(Experiment(), kind)
        if known := options(find(kind, name, KNOWN[kind])):
            group = parser.add_argument_group(f"settings of {kind} {name}")
            for option in known.values():
                default = "" if option.default in ("", option.name) else f" (default: {option.default})"
                group.add_argument(
                    f"--{kind}.{option.name}",
                    metavar=option.kind.__name__.upper(),
                    help=(option.help + default).replace("%", "%%"),
                )


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("--out", metavar="FOLDER", help="run folder to write")
    parser.add_argument("--config", metavar="FILE", help="start from the config.json of another run")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with a run that was stopped")
    _add_experiment(parser)


def _run(args: argparse.Namespace, settings: dict[str, dict[str, str]]) -> int:
    from perturbax.cli.commands import run_command

    return run_command(_given(args), settings, args.out, args.config, args.resume)


def _given(args: argparse.Namespace) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(Experiment)}
    return {k: v for k, v in vars(args).items() if k in names}


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        EPILOG
        + """

a rule may carry a suffix: activity+decor, node:samples=8, node:credit=to-go:discount=0.9, bptt:lr=3e-4"""
    )
    parser.add_argument(
        "--rules", metavar="RULE,RULE,...", required=True, help="rules to compare, comma separated"
    )
    parser.add_argument(
        "--seeds", metavar="N", default="3", help="number of seeds, counted from --seed (default: 3)"
    )
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder for the runs and report.html")
    _add_experiment(parser, ("rule",))


def _compare(args: argparse.Namespace, settings: dict[str, dict[str, str]]) -> int:
    from perturbax.cli.commands import compare_command

    return compare_command(_given(args), settings, args.rules, args.seeds, Path(args.out))


def _tune_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "--lrs", metavar="RATE,RATE,...", help="learning rates to try (default: five around --lr)"
    )
    parser.add_argument(
        "--decor-lrs",
        metavar="RATE,RATE,...",
        help="rates of the decorrelating matrices to try, with "
        "each of the learning rates (default: --decor-lr alone)",
    )
    parser.add_argument(
        "--discounts",
        metavar="D,D,...",
        help="discounts to try (default: 0.9, 0.95, 1 and the one "
        "shipped, where the rule's credit has one and --rule.discount does not name it)",
    )
    parser.add_argument(
        "--seeds", metavar="N", default="1", help="seeds of each candidate, from --seed (default: 1)"
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        default=argparse.SUPPRESS,
        help="training steps of the short runs (default: a tenth of a whole run, which --passes sets)",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", required=True, help="folder for tune.json and the best config.json"
    )
    _add_experiment(parser, ("steps",))


def _tune(args: argparse.Namespace, settings: dict[str, dict[str, str]]) -> int:
    from perturbax.cli.tune import tune_command

    return tune_command(
        _given(args), settings, args.lrs, args.decor_lrs, args.discounts, args.seeds, Path(args.out)
    )


def _diagnose_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "--samples",
        metavar="K,K,...",
        default="1,8,64",
        help="numbers of samples to average over (default: 1,8,64)",
    )
    parser.add_argument(
        "--draws", metavar="N", default="32", help="independent draws of each average (default: 32)"
    )
    parser.add_argument(
        "--train",
        metavar="rule|bptt",
        default="rule",
        help="diagnose along training by the rule itself, or by the exact gradient (default: rule; "
        "300 steps unless --steps or --passes is given)",
    )
    parser.add_argument("--run", metavar="FOLDER", help="diagnose the kept network of a run instead")
    parser.add_argument("--out", metavar="FOLDER", help="also write diagnosis.json and diagnosis.html")
    _add_experiment(parser)


def _diagnose(args: argparse.Namespace, settings: dict[str, dict[str, str]]) -> int:
    from perturbax.cli.diagnose import diagnose_command

    return diagnose_command(_given(args), settings, args.samples, args.draws, args.train, args.run, args.out)


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="run folders, or folders that hold run folders"
    )
    parser.add_argument(
        "--out", metavar="FILE", default="report.html", help="page to write (default: report.html)"
    )


def _report(args: argparse.Namespace, settings: dict[str, dict[str, str]]) -> int:
    from perturbax.cli.commands import report_command

    return report_command([Path(f) for f in args.folders], Path(args.out))


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="FOLDER", help="folder of a trained run on a series task")
    parser.add_argument(
        "--data", metavar="FILE", required=True, help="CSV file with the input columns of the run"
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="CSV file to write")


def _predict(args: argparse.Namespace, settings: dict[str, dict[str, str]]) -> int:
    from perturbax.cli.commands import predict_command

    return predict_command(Path(args.run), Path(args.data), Path(args.out))


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="rules|cells|tasks", help="what to list")


def _list(args: argparse.Namespace, settings: dict[str, dict[str, str]]) -> int:
    from perturbax.cli.commands import list_command

    return list_command(args.what)


def _taxonomy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "without arguments: the family as a table; with --out its members are measured on one network"
    )
    parser.add_argument(
        "--rules",
        metavar="RULE,RULE,...",
        help="rules to measure, with suffixes as in compare (default: one of each kind)",
    )
    parser.add_argument("--draws", metavar="N", help="independent draws of the noise (default: 32)")
    parser.add_argument(
        "--out", metavar="FOLDER", help="measure, and write taxonomy.json, .svg and .html there"
    )
    _add_experiment(parser, ("rule", "mode", "every", "logs"))


def _taxonomy(args: argparse.Namespace, settings: dict[str, dict[str, str]]) -> int:
    from perturbax.cli.taxonomy import taxonomy_command

    return taxonomy_command(_given(args), settings, args.rules, args.draws, args.out)


def _reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "what is finished is kept: the same command goes on where it was stopped, and several on one "
        "folder share the work"
    )
    parser.add_argument("what", metavar="paper", help="what to reproduce")
    parser.add_argument(
        "--protocol",
        metavar="published|fair",
        help="as in the public code, or one protocol for all rules (default: both)",
    )
    parser.add_argument(
        "--budget",
        metavar="quick|full",
        default="quick",
        help="how much to spend: on two cores, less than 20 minutes, or hours (default: quick)",
    )
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="the weather file WTH.csv, images as an NPZ file, or a folder "
        "with WTH.csv and an NPZ file or the IDX files of MNIST",
    )
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder for the results")
    parser.add_argument("--draw-only", action="store_true", help="train nothing: draw what the folder has")
    parser.add_argument(
        "--workers",
        metavar="N",
        default="auto",
        help="processes on this machine that share the "
        "work, each on cores of its own (default: auto, one for each core, at most 4)",
    )
    parser.add_argument(
        "--slurm", metavar="N", help="hand the work to an array of N Slurm jobs (extra: slurm)"
    )


def _reproduce(args: argparse.Namespace, settings: dict[str, dict[str, str]]) -> int:
    from perturbax.cli.reproduce import reproduce_command

    out = Path(args.out)
    return reproduce_command(
        args.what, args.protocol, args.budget, args.data, out, args.draw_only, args.workers, args.slurm
    )


COMMANDS: dict[str, tuple[str, Callable, Callable]] = {
    "run": ("train one network and write a run folder", _run_arguments, _run),
    "compare": (
        "train several rules over several seeds, then write the report",
        _compare_arguments,
        _compare,
    ),
    "report": ("draw a page of pictures and tables from run folders", _report_arguments, _report),
    "tune": ("search learning rates and a discount by short runs on validation data", _tune_arguments, _tune),
    "diagnose": ("measure a rule's estimates against the exact gradient", _diagnose_arguments, _diagnose),
    "taxonomy": ("place the rules on a map, and measure them on one network", _taxonomy_arguments, _taxonomy),
    "reproduce": ("repeat a published comparison, as published and fairly", _reproduce_arguments, _reproduce),
    "predict": ("forecast new data with a trained network", _predict_arguments, _predict),
    "list": ("list rules, cells or tasks with their equations and sources", _list_arguments, _list),
}

if __name__ == "__main__":
    sys.exit(main())
