"""Axes that read well: ticks in plain text, labels that keep apart."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from perturbax.report.numbers import short

REACH = 30.0  # how far a curve or a line may stretch a logarithmic axis beyond the rest


def cut(text: str, most: int) -> str:
    """Return a text that fits where there is room for so many characters, its end left out for an ellipsis.

    Arguments:
        text: the text.
        most: characters that there is room for.
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def plain_ticks(ax: Axes, which: str, most: int) -> None:
    """Put a few round ticks on a linear axis.

    Arguments:
        ax: the panel.
        which: `x` or `y`.
        most: intervals between ticks.
    """
    axis = ax.yaxis if which == "y" else ax.xaxis
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda v, _: short(float(f"{v:.6g}"))))


def log_ticks(ax: Axes, which: str) -> None:
    """Put readable ticks on a logarithmic axis: powers of ten, and steps between where there are few.

    Arguments:
        ax: the panel, its limits set; those of the axis are above 0.
        which: `x` or `y`.
    """
    axis = ax.yaxis if which == "y" else ax.xaxis
    low, high = ax.get_ylim() if which == "y" else ax.get_xlim()
    decades = math.log10(high / low)
    digits = (1, 2, 5) if decades < 2.5 else (1,)
    stride = max(1, math.ceil(decades / 6))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [d * 10.0**e for e in powers if e % stride == 0 for d in digits]
    inside = [t for t in ticks if low <= t <= high]
    if len(inside) < 2:
        inside = [t for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high and t > 0]
    axis.set_major_locator(FixedLocator(inside))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda v, _: short(float(f"{v:.6g}"))))


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart until neighbours are a gap from each other, where there is room; rising.

    Arguments:
        places: from 0 to 1, rising.
        gap: the least distance; smaller where places would not fit.
    """
    gap = min(gap, 1 / max(len(places) - 1, 1))
    out: list[float] = []
    for place in places:
        out.append(max(place, out[-1] + gap) if out else place)
    ceiling = 1.0
    for i in reversed(range(len(out))):
        out[i] = min(out[i], ceiling)
        ceiling = out[i] - gap
    return out
