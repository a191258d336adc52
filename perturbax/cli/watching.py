"""The option --watch of commands that run for a while: their report in a browser on this machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from perturbax.cli.arguments import Parser


def add_watch(parser: Parser) -> None:
    """Declare --watch."""
    parser.add_argument(
        "--watch", action="store_true", help="show the report in a browser on this machine meanwhile"
    )


@contextlib.contextmanager
def watching(wanted: bool, folder: str | None) -> Iterator[None]:
    """Serve the report of a run folder, or of those inside, during the block, and print where.

    Arguments:
        wanted: whether --watch was given; nothing happens without.
        folder: the folder, which need not be there yet; None for none.
    """
    if not wanted or folder is None:
        yield
        return
    from perturbax.report.watch import watched

    with watched([Path(folder)]) as address:
        print(f"watched at {address}", flush=True)
        yield
