"""From the words typed to a command, and to its exit status.

A command is a module of this folder with

    HELP                            one line, as `perturbax --help` shows it
    add_arguments(parser)           declares its arguments
    execute(args, settings) -> int  does the work and returns the exit status
    interrupted(args, began) -> str optional: how to go on after Ctrl-C, "" where nothing is there to go on
                                    with; began: the time.time() at which the command began

A command imports JAX only in `execute`, so that help and wrong arguments are answered at once.
"""

import argparse
import contextlib
import importlib
import io
import sys
import time
from collections.abc import Sequence
from types import ModuleType

from perturbax.cli.arguments import Parser, class_settings, help_topic
from perturbax.cli.interrupt import STATUS, ends_at_once
from perturbax.cli.lines import broken
from perturbax.errors import DeviceError, HostsError, PerturbaxError, unknown

COMMANDS = {
    name: f"perturbax.cli.{name}"
    for name in (
        "run",
        "compare",
        "report",
        "tune",
        "diagnose",
        "judge",
        "robustness",
        "taxonomy",
        "reproduce",
        "bench",
        "predict",
        "export",
        "import",
        "list",
        "completion",
    )
}
"""Module of every command, in the order of the help."""
OVERVIEW = """\
usage: perturbax COMMAND ...

Train recurrent networks with noise instead of gradients.

commands:
{commands}

perturbax COMMAND --help    explains a command and its arguments
perturbax --version         prints the version"""
OUT_OF_MEMORY = ("MemoryError", "JaxRuntimeError", "XlaRuntimeError")  # by name: JAX may not be imported yet


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Arguments:
        argv: the words after `perturbax`; those of this process by default.

    Returns the exit status, with one line on standard error unless it is 0: 0 on success, 2 on wrong
    arguments, 130 after Ctrl-C, 1 on any other failure.
    """
    if argv is None:  # this process is the program
        began, words = time.time(), sys.argv[1:]
        with ends_at_once(lambda: _interruption(words, began)):
            return _main(words)
    return _main(list(argv))


def _main(argv: list[str]) -> int:
    """Run a command, and say its errors in one line."""
    began = time.time()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names of authors on a terminal that knows ASCII only
    try:
        return _dispatch(argv)
    except (DeviceError, HostsError) as error:  # it may work another time
        hint = _how_to_go_on(argv, began)
        return _fail(f"error: {error}; {hint}" if hint else f"error: {error}", error.exit_code)
    except PerturbaxError as error:
        return _fail(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _fail(_interruption(argv, began), STATUS)
    except (MemoryError, RuntimeError) as error:
        if type(error).__name__ not in OUT_OF_MEMORY:
            raise
        return _fail(f"error: {(str(error) or 'out of memory').splitlines()[0]}", 1)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        return _fail(f"error: {error}", 1)


def load(name: str) -> ModuleType:
    """Return the module of a command."""
    return importlib.import_module(COMMANDS[name])


def parser_of(name: str) -> Parser:
    """Return the parser of a command, without the settings of classes."""
    command = load(name)
    parser = Parser(
        prog=f"perturbax {name}",
        description=command.HELP[0].upper() + command.HELP[1:] + ".",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    if parser.has_class_settings:  # too many to name: they are listed below
        required = [f"{a.option_strings[0]} {a.metavar}" for a in parser._actions if a.required]
        parser.usage = " ".join(["%(prog)s", *required, "[--NAME VALUE ...]"])
    return parser


def _dispatch(argv: list[str]) -> int:
    """Do what the words ask for and return the exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0 if argv else 2
    if argv[0] == "--version":
        from perturbax import __version__

        print(f"perturbax {__version__}")
        return 0
    name, words = argv[0], argv[1:]
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    parser = parser_of(name)
    topic = help_topic(parser, words) if parser.has_class_settings else None
    if topic is not None:
        from perturbax.cli.help import help_of

        print(help_of(parser, words, topic))
        return 0
    args, extra = parser.parse_known_args(words)
    return load(name).execute(args, class_settings(parser, extra))


def _overview() -> str:
    """Return the help of the program: its commands in one line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {load(name).HELP}" for name in COMMANDS]
    return OVERVIEW.format(commands="\n".join(lines))


def _interruption(argv: list[str], began: float) -> str:
    """Return what is said after Ctrl-C: how to go on, where something is there to go on with."""
    hint = _how_to_go_on(argv, began)
    return f"interrupted; {hint}" if hint else "interrupted"


def _how_to_go_on(argv: list[str], began: float) -> str:
    """Return how to go on with a command that has ended too early; empty where nothing is there to do so."""
    hint = ""
    # Ctrl-C may come at any moment: while a module is half imported, or before the arguments are read.
    with contextlib.suppress(Exception, SystemExit):
        command = load(argv[0])
        if hasattr(command, "interrupted"):
            args, _ = parser_of(argv[0]).parse_known_args(argv[1:])
            hint = command.interrupted(args, began)
    return hint


def _fail(message: str, status: int) -> int:
    """Print one line on standard error, broken where a terminal is narrower, and return the exit status."""
    print(broken(f"perturbax: {message}", sys.stderr), file=sys.stderr)
    return status
