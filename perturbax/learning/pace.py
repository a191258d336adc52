"""How much is run, drawn and multiplied out at once: measured constants of each backend, in one table."""

from typing import NamedTuple

import jax


class Loop(NamedTuple):
    """How a block of steps is run, of networks of so many weights or more.

    Attributes:
        weights: least number of weights.
        steps: most steps in a block. Where weights leave the cache, writing their gradient costs more than
            holding more steps.
        unroll: most steps per turn of its loop: unrolled, the loop copies its state less, and launches of a
            GPU follow each other closer.
    """

    weights: int
    steps: int
    unroll: int


class Pace(NamedTuple):
    """What is fast on a backend.

    Attributes:
        rows: a block of steps is multiplied out at once: about this many steps x examples.
        values: most values of noise that are arrays at once, drawn or expanded: fresh memory costs more than
            the draws.
        words: most words of packed signs drawn at once.
        carried: most values carried from step to step by a loop that takes several steps per turn, and keeps
            those of each.
        loops: by number of weights, ascending.
    """

    rows: int
    values: int
    words: int
    carried: int
    loops: tuple[Loop, ...]


CPU = Pace(1024, 2**20, 2**17, 2**18, (Loop(0, 64, 1), Loop(2**16, 64, 5), Loop(2**18, 256, 5)))
PACES = {"cpu": CPU}


def pace() -> Pace:
    """Return the pace of the backend at hand; one that was not measured has that of a CPU."""
    return PACES.get(jax.default_backend(), CPU)
