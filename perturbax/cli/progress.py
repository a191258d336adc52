"""A progress bar on standard error, for terminals only."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextlib.contextmanager
def progress(label: str) -> Iterator[Callable[[int, int, float], None]]:
    """Show a bar with the loss, the speed in steps per second and the time left; nothing without a terminal.

    Yields update(done, total, loss): done of total steps, and the latest loss, or NaN for none.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} steps/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task(label, total=None, loss="-", speed="-")

    def update(done: int, total: int, loss: float) -> None:
        bar.start()  # not before there is something to show: errors come without a bar
        speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
        words: dict[str, Any] = {
            "loss": "-" if math.isnan(loss) else f"{loss:.3g}",
            "speed": f"{speed:.0f}" if speed else "-",
        }
        bar.update(task, completed=done, total=total, **words)

    try:
        yield update
    finally:
        bar.stop()
