"""What the layers of a network read, where they are no stack but a graph."""

from collections.abc import Sequence
from typing import NamedTuple

from perturbax.errors import ArgumentError


class Source(NamedTuple):
    """One of the things that a layer reads from outside itself.

    Attributes:
        layer: number of the layer whose output is read; -1 for the inputs of the network.
        late: whether it is the output of the last step (at first what `start` of the layer returns): always
            so for layers that do not stand below the reader.
    """

    layer: int
    late: bool = False


def checked_reads(reads: Sequence[Sequence[Source]], n: int) -> tuple[tuple[Source, ...], ...]:
    """Return what each layer of a graph reads.

    Arguments:
        reads: for each layer its sources.
        n: number of layers.

    Raises ArgumentError for sources that are not there when they are read.
    """
    found = tuple(tuple(Source(*source) for source in of_one) for of_one in reads)
    if len(found) != n or not all(found):
        raise ArgumentError(f"reads needs one source or more for each of {n} layers")
    for i, sources in enumerate(found):
        for source in sources:
            there = source.layer < n if source.late else source.layer < i
            if not there or source.layer < -1 or (source.late and source.layer < 0):
                when = "of the last step" if source.late else "of this step"
                raise ArgumentError(f"layer {i} reads layer {source.layer} {when}, which is not there")
    return found
