"""Options of commands that train one network on several devices of JAX, in one process or in several, or on
hosts that exchange scalars alone.
"""

import argparse
import contextlib
import os
from collections.abc import Iterator

from perturbax.cli.arguments import Parser
from perturbax.errors import ArgumentError
from perturbax.experiment.options import coerce
from perturbax.jobs.hosts import check_place

AUTO = "auto"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def add_devices(parser: Parser) -> None:
    """Declare --devices, --shard, --coordinator, --processes, --process and --scalars."""
    group = parser.add_argument_group("several devices of JAX, or hosts (docs/scale.md)")
    group.add_argument(
        "--devices",
        metavar="N",
        help="devices (GPUs, cores of a CPU) that share the run: rows of a batch or samples are split",
    )
    what = group.add_argument(
        "--shard",
        metavar="work|weights",
        help="what they share: work, as said (default), or weights, split by units, for large networks",
    )
    group.add_argument(
        "--coordinator",
        metavar="PLACE",
        help="HOST:PORT where processes meet that share the run: the host of process 0, and a free port "
        "there; auto where Slurm or Open MPI started them",
    )
    number = group.add_argument("--processes", metavar="N", help="with --coordinator: how many there are")
    which = group.add_argument(
        "--process", metavar="I", help="with --coordinator: which this is, from 0; process 0 writes the run"
    )
    group.add_argument(
        "--scalars",
        metavar="PLACE",
        help="hosts that exchange losses alone: they run the passes of node, weight or evolution; local:N (N "
        "processes here), or tcp://HOST:PORT, tls://HOST:PORT of a scheduler of dask (extra cluster)",
    )
    parser.further += [what, number, which]


@contextlib.contextmanager
def devices_of(args: argparse.Namespace) -> Iterator[int | None]:
    """Yield how many devices were asked for, those of all processes; None where none were named.

    On a CPU as many as were asked for are made of its cores, unless the user has said how many there are to
    be. Of several processes all but the first are silent.

    args: the arguments that were typed.

    Raises ArgumentError for what is no number of devices, and for processes that do not meet.
    """
    if args.scalars is not None:
        if (args.devices, args.shard, args.coordinator) != (None, None, None):
            raise ArgumentError("hosts that exchange scalars share a run, or devices do: not both")
        check_place(args.scalars)
    if args.coordinator is None:
        if args.processes is not None or args.process is not None:
            raise ArgumentError("several processes need a place to meet: --coordinator HOST:PORT")
        yield _within_process(args.devices)
        return
    if args.devices is not None or args.shard is not None or getattr(args, "device", None) is not None:
        raise ArgumentError(
            "with --coordinator all devices of all processes share the rows or samples of a run: it takes "
            "neither --devices, --shard nor --device"
        )
    first, devices = _meet(args.coordinator, args.processes, args.process)
    with contextlib.ExitStack() as stack:
        if not first:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield devices


def _within_process(typed: str | None) -> int | None:
    """Return how many devices of this process were asked for."""
    if typed is None:
        return None
    n = _whole("devices", typed, 1)
    said = "JAX_NUM_CPU_DEVICES" in os.environ or "device_count" in os.environ.get("XLA_FLAGS", "")
    if n > 1 and not said:
        import jax

        with contextlib.suppress(RuntimeError):  # JAX runs already, with as many as it has
            jax.config.update("jax_num_cpu_devices", n)
    return n


def _meet(coordinator: str, processes: str | None, process: str | None) -> tuple[bool, int]:
    """Meet the other processes: -> (whether this is the first, devices of all of them)."""
    import jax

    if coordinator == AUTO:
        if processes is not None or process is not None:
            raise ArgumentError("--coordinator auto finds the processes by itself: leave both numbers out")
        settings = {}
    else:
        if processes is None or process is None:
            raise ArgumentError("--coordinator HOST:PORT needs --processes N and --process I (0 to N - 1)")
        host, colon, port = coordinator.rpartition(":")
        n, i = _whole("processes", processes, 1), _whole("process", process, 0)
        if not colon or not port.isdigit():
            raise ArgumentError(f"--coordinator is HOST:PORT, not {coordinator!r}")
        if i >= n:
            raise ArgumentError(f"processes are numbered from 0 to {n - 1}: there is no process {i}")
        settings = {"coordinator_address": coordinator, "num_processes": n, "process_id": i}
        if host in LOOPBACK:  # JAX would listen on every address of this machine
            settings["coordinator_bind_address"] = coordinator
    try:
        jax.distributed.initialize(**settings)
    except (RuntimeError, ValueError) as error:
        raise ArgumentError(f"the processes did not meet: {str(error).splitlines()[0]}") from error
    return jax.process_index() == 0, jax.device_count()


def _whole(name: str, typed: str, least: int) -> int:
    """Return a number that was typed."""
    n = coerce(name, typed, int)
    if n < least:
        raise ArgumentError(f"{name} must be a whole number of at least {least}, not {n}")
    return n
