"""The command `python -m perturbax.devices.simulated`: serves a simulated device with settings as flags."""

import argparse
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from docstring_parser import parse

from perturbax.devices.faults import Faults
from perturbax.devices.serving import serve_or_say
from perturbax.devices.simulated import Simulated
from perturbax.errors import ArgumentError, unknown


def main(words: Sequence[str] | None = None) -> None:
    """Serve the device that the arguments describe; ends the process with a line for wrong ones.

    Arguments:
        words: arguments of the command line; by default those of this process.
    """
    parser = _parser()
    arguments, others = parser.parse_known_args(words)
    flags = [flag for flag in parser._option_string_actions if flag.startswith("--")]
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # there is nothing else to do meanwhile
    serve_or_say("simulated device", lambda: _device(arguments, _cell_options(others, flags)), arguments.at)


def _parser() -> argparse.ArgumentParser:
    """Return the parser: a flag for the cell, the units, the seed, the place, and each fault."""
    parser = argparse.ArgumentParser(
        prog="python -m perturbax.devices.simulated",
        description="Serve a simulated device: a network of one of our cells, and what is wrong with it.",
        epilog="Settings of the cell: --cell.NAME VALUE. Inputs and outputs are those of the trainer's task.",
        allow_abbrev=False,
    )
    parser.add_argument("--cell", default="tanh", help="cell of the hidden layers (tanh)")
    parser.add_argument("--units", default="16", help="units of each hidden layer: 16, or 16,16 (16)")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of the faults (0)")
    parser.add_argument("--at", help="unix:PATH, tcp:PORT or tcp:HOST:PORT to wait at; without it, pipes")
    described = {entry.arg_name: entry.description for entry in parse(Faults.__doc__ or "").params}
    for field in dataclasses.fields(Faults):
        flag = "--" + field.name.replace("_", "-")
        text = f"{described[field.name]} ({field.default})".replace("%", "%%")
        if field.type is bool:
            parser.add_argument(flag, action="store_true", help=text)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default, help=text)
    return parser


def _device(arguments: argparse.Namespace, options: dict[str, Any]) -> Simulated:
    """Return the device; ArgumentError for settings that cannot be used."""
    try:
        units = tuple(int(n) for n in arguments.units.split(","))
    except ValueError:
        raise ArgumentError(f"--units must be numbers such as 16 or 16,16, not {arguments.units!r}") from None
    faults = Faults(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Faults)})
    return Simulated(arguments.cell, units, seed=arguments.seed, options=options, faults=faults)


def _cell_options(words: Sequence[str], flags: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the cell in arguments like --cell.alpha 0.3 or --cell.alpha=0.3.

    Raises ArgumentError for any other, with the nearest of the flags that there are.
    """
    options: dict[str, Any] = {}
    rest = list(words)
    while rest:
        flag, sign, value = rest.pop(0).partition("=")
        if not flag.startswith("--cell."):
            raise unknown("argument", flag, flags)
        if not (sign or rest):
            raise ArgumentError(f"{flag} needs a value")
        options[flag.removeprefix("--cell.")] = _value(value if sign else rest.pop(0))
    return options


def _value(text: str) -> Any:
    """Return a number, true or false, or else the text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
