"""The option --devices of commands that train one network on several devices of JAX."""

import argparse
import contextlib
import os

from perturbax.cli.arguments import Parser
from perturbax.errors import ArgumentError
from perturbax.experiment.options import coerce


def add_devices(parser: Parser) -> None:
    """Declare --devices and --shard."""
    parser.add_argument(
        "--devices",
        metavar="N",
        help="devices of JAX (GPUs, cores of a CPU) that share the run: rows of a batch or samples are split",
    )
    parser.add_argument(
        "--shard",
        metavar="work|weights",
        help="what they share: work, as said (default), or weights, split by units, for large networks",
    )


def devices_of(args: argparse.Namespace) -> int | None:
    """Return how many devices were asked for; None where none were named.

    On a CPU as many are made of its cores, unless the user has said how many there are to be.

    args: the arguments that were typed.

    Raises ArgumentError for what is no number of devices.
    """
    if args.devices is None:
        return None
    n = coerce("devices", args.devices, int)
    if n < 1:
        raise ArgumentError(f"devices must be a whole number of at least 1, not {n}")
    said = "JAX_NUM_CPU_DEVICES" in os.environ or "device_count" in os.environ.get("XLA_FLAGS", "")
    if n > 1 and not said:
        import jax

        with contextlib.suppress(RuntimeError):  # JAX runs already, with as many as it has
            jax.config.update("jax_num_cpu_devices", n)
    return n
