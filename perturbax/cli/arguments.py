"""Arguments that several commands share: those of an experiment, the settings of its task, rule and cell
(`--rule.sigma 1e-3`), and lists of numbers and rules.
"""

import argparse
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.config import KINDS, Experiment
from perturbax.experiment.options import coerce, documented

Number = TypeVar("Number", int, float)
ClassSettings = dict[str, dict[str, str]]  # task, rule or cell -> name of a setting -> value as typed

METAVARS = {
    "data": "FILE",
    "units": "N,N,...",
    "steps": "N",
    "passes": "N",
    "batch": "N",
    "lr": "RATE",
    "optimiser": "NAME",
    "schedule": "NAME",
    "clip": "NORM",
    "decorrelate": "off|hidden|hidden+input",
    "decor_lr": "RATE",
    "residual": "true|false",
    "normalise": "true|false",
    "heads": "none|auto|linear|softmax|sparsemax",
    "mode": "sequence|online",
    "every": "N",
    "plateau": "LOSS",
    "attack": "off|fgsm|pgd",
    "attack_eps": "EPS",
    "attack_steps": "N",
    "prune": "SHARE",
    "prune_groups": "weights|units",
    "prune_by": "greg-1|greg-2|magnitude",
    "prune_from": "SHARE",
    "prune_until": "SHARE",
    "prune_ceiling": "LAM",
    "bits": "N",
    "bits_top": "LARGEST",
    "seed": "N",
    "logs": "N",
    "device": "COMMAND",
    "score": "task|device",
    "rounding": "float|stochastic",
    "start": "drawn|held",
}
"""What stands for the value of an argument in the help; its name in capitals where this names nothing."""
TOPICS = ("all", "experiment", *KINDS)
"""What may stand behind --help."""
SUFFIXES = """\
A rule may carry suffixes: activity+decor, node:samples=8,
node:credit=to-go:discount=0.9, bptt:lr=3e-4."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line.

    Attributes:
        experiment: the arguments that are fields of an Experiment, by name; empty where the
            command takes none.
        own_defaults: what the command takes for some of these where they are not typed.
        further: arguments that the short help leaves to the long one.
    """

    experiment: dict[str, argparse.Action]
    own_defaults: Mapping[str, Any]
    further: list[argparse.Action]

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self.experiment, self.own_defaults, self.further = {}, {}, []

    @property
    def has_class_settings(self) -> bool:
        """Whether the command takes settings of a task, rule and cell."""
        return bool(self.experiment)

    def error(self, message: str) -> NoReturn:
        """Raise ArgumentError, which ends the program with status 2."""
        raise ArgumentError(f"{message} (see {self.prog} --help)")


def add_experiment(
    parser: Parser, but: Sequence[str] = (), own_defaults: Mapping[str, Any] | None = None
) -> None:
    """Declare an argument for every field of an Experiment, and take settings of its classes, too.

    Arguments:
        parser: the parser of the command.
        but: fields that the command sets by itself, or declares in its own words.
        own_defaults: what the command takes for a field that is not typed, where that is not the task's.
    """
    docs, group = documented(Experiment), parser.add_argument_group("the experiment")
    parser.own_defaults = own_defaults or {}
    for field in dataclasses.fields(Experiment):
        if field.name.endswith("_options") or field.name in but:
            continue
        parser.experiment[field.name] = group.add_argument(
            f"--{field.name.replace('_', '-')}",
            metavar=METAVARS.get(field.name, field.name.upper()),
            default=argparse.SUPPRESS,
            help=docs[field.name].removesuffix(".").replace("%", "%%"),
        )


def add_cluster(parser: Parser, default: str) -> None:
    """Declare --workers and --cluster, of commands that hand their work to other processes.

    Arguments:
        parser: the parser of the command.
        default: how many processes share the work where nobody says, in words.
    """
    parser.add_argument(
        "--workers",
        metavar="N",
        default="auto",
        help=f"processes that share the work (default: {default})",
    )
    parser.add_argument(
        "--cluster",
        metavar="WHERE",
        help="local, slurm, or a scheduler of dask (tcp://HOST:PORT, which must be trusted)",
    )


def workers_of(args: argparse.Namespace) -> int | None:
    """Return the number of workers that was typed; None for as many as are best.

    Arguments:
        args: what was typed, of a command with `add_cluster`.

    Raises ArgumentError for what is no number, or no cluster.
    """
    from perturbax.jobs.choice import check_cluster

    check_cluster(args.cluster)
    return None if args.workers == "auto" else coerce("workers", args.workers, int)


def add_dry_run(parser: Parser) -> None:
    """Declare --dry-run, of commands that start runs."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the settings and where each comes from",
    )


def add_folders(parser: Parser) -> None:
    """Declare the run folders, of commands that take several."""
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="run folders, or folders that hold run folders"
    )


def add_trust(parser: Parser) -> None:
    """Declare --trust, of commands that read a run folder."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the code and start the device that the folder names (a rule, cell or task of one's own, a "
        "command): read it first",
    )


def experiment_fields(args: argparse.Namespace) -> dict[str, str]:
    """Return the fields of an Experiment that were typed, as text."""
    names = {field.name for field in dataclasses.fields(Experiment)}
    return {name: value for name, value in vars(args).items() if name in names}


def typed_names(given: Mapping[str, str], settings: ClassSettings) -> set[str]:
    """Return the names of the settings that stand on the command line.

    Arguments:
        given: fields of an Experiment that were typed.
        settings: settings of task, rule and cell that were typed.
    """
    return {*given, *(f"{kind}.{name}" for kind in settings for name in settings[kind])}


def help_topic(parser: Parser, words: Sequence[str]) -> str | None:
    """Return what help is asked for: None for none, "" for the short one, else one of `TOPICS`.

    Arguments:
        parser: the parser of the command.
        words: what was typed.

    Raises ArgumentError for a topic that is none.
    """
    for i, word in enumerate(words):
        flag, equals, topic = word.partition("=")
        if flag not in ("-h", "--help"):
            continue
        following = words[i + 1] if i + 1 < len(words) else ""
        if not equals and not following.startswith("-"):
            topic = following
        if topic and topic not in TOPICS:
            raise unknown("help topic", topic, TOPICS)
        return topic
    return None


def last_value(words: Sequence[str], flag: str) -> str | None:
    """Return the value of the last `FLAG VALUE` or `FLAG=VALUE`, or None.

    Arguments:
        words: what was typed.
        flag: the argument, such as `--task`.
    """
    value = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == flag:
            value = following
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value


def class_settings(parser: Parser, extra: Sequence[str]) -> ClassSettings:
    """Sort the words that the parser does not know, `--rule.sigma 1e-3` and its like, by task, rule and cell.

    Arguments:
        parser: the parser of the command.
        extra: the words that it does not know.

    Raises ArgumentError for every other word, and for a setting without a value.
    """
    found: ClassSettings = {kind: {} for kind in KINDS}
    queue = list(extra)
    while queue:
        flag, equals, value = queue.pop(0).partition("=")
        kind, dot, name = flag.removeprefix("--").partition(".")
        if not (parser.has_class_settings and flag.startswith("--") and dot and kind in KINDS):
            raise _not_an_argument(parser, flag)
        if not equals:
            if not queue:
                raise ArgumentError(f"{flag} needs a value")
            value = queue.pop(0)
        found[kind][name.replace("-", "_")] = value
    return found


def _not_an_argument(parser: Parser, word: str) -> ArgumentError:
    """Return the error for a word that no argument is: it names the nearest argument, or the help."""
    actions = parser._actions
    flags = [flag for action in actions for flag in action.option_strings if flag.startswith("--")]
    near = difflib.get_close_matches(word, flags, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"see {parser.prog} --help"
    return ArgumentError(f"unknown argument {word!r}; {hint}")


def numbers(name: str, text: str, kind: type[Number]) -> list[Number]:
    """Return the numbers of a list separated by commas. Raises ArgumentError for what is not of that kind.

    Arguments:
        name: what errors call the list.
        text: what was typed.
        kind: int or float.
    """
    return [coerce(name, piece.strip(), kind) for piece in text.split(",") if piece.strip()]


def variants(text: str) -> list[Any]:
    """Return the `Variant`s of a list of rules separated by commas. Raises ArgumentError for none."""
    from perturbax.experiment.variants import parse_variant

    found = [parse_variant(entry.strip()) for entry in text.split(",") if entry.strip()]
    if not found:
        raise ArgumentError("--rules names no rule")
    return found
