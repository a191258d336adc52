"""Lines on standard error that show how far runs are, for terminals only."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleOptions, Group
from rich.live import Live
from rich.text import Text

from perturbax.cli.board import Board


@contextlib.contextmanager
def shown(board: Board) -> Iterator[Board]:
    """Show a board, four times a second, until the block ends; nothing without a terminal.

    What is printed meanwhile stands above it.
    """
    terminal = Console(stderr=True, highlight=False)
    if not terminal.is_terminal:
        yield board
        return
    live = Live(
        _Lines(board),
        console=terminal,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        refresh_per_second=4,
    )
    with live:
        yield board


@contextlib.contextmanager
def progress(label: str, word: str = "loss") -> Iterator[Callable[[int, int, float], None]]:
    """Show how far some work is that has no seeds; nothing without a terminal.

    Arguments:
        label: what the work is called.
        word: what the number is that it reports.

    Yields update(done, total, number): done of total steps, and the latest loss, or NaN for none.
    """
    board = Board(word=word)
    board.compiling(label, ())

    def update(done: int, total: int, number: float) -> None:
        board.advanced(label, (), done, total, number, number)

    with shown(board):
        yield update


class _Lines:
    """The lines of a board as rich draws them: as wide as the terminal is at that moment."""

    def __init__(self, board: Board):
        self.board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Group]:
        """Yield the lines."""
        lines = [Text(line, no_wrap=True, overflow="crop") for line in self.board.lines(options.max_width)]
        yield Group(*lines)
