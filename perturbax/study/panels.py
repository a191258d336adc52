"""What the figures of a study share: panels with one legend, saved as SVG and PNG; means with intervals."""

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from perturbax.atomic import write
from perturbax.report.axes import log_ticks
from perturbax.report.compare import Stat
from perturbax.report.style import INK, Look, canvas
from perturbax.study.results import Results, base_label

WIDE, TALL = 3.3, 2.5  # inches of a panel
CROWDED = 6  # more labels than this overlap on a logarithmic axis
LONG = 30  # characters of a label, of which three do not stand side by side
Series = dict[str, list[tuple[float | int, Stat]]]  # by label: (x, value)


@contextmanager
def grid(
    results: Results, titles: Sequence[str], labels: Iterable[str], path: Path, most: int = 3
) -> Iterator[list[Axes]]:
    """Yield one panel per title, one legend below all; saved as SVG and PNG at the end.

    Arguments:
        results: of the study, for the looks of its rules.
        titles: of the panels.
        labels: of the variants that are drawn, for the legend.
        path: of the files, without ending.
        most: panels in a row.

    Raises StoreError where the file system refuses.
    """
    columns = min(most, len(titles))
    rows = -(-len(titles) // columns)
    shown = sorted({base_label(label) for label in labels})
    abreast = 2 if any(len(label) > LONG for label in shown) else 3
    legend = 0.25 + 0.19 * -(-len(shown) // abreast)
    width, height = max(WIDE * columns, 6.6), TALL * rows + legend
    with canvas(width, height) as (figure, first):
        first.remove()
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for ax in axes[len(titles) :]:
            ax.remove()
        for ax, title in zip(axes, titles, strict=False):
            ax.set_title(title)
        yield axes[: len(titles)]
        figure.tight_layout(rect=(0, (legend - 0.1) / height, 1, 1))
        looks = [(label, results.look(label)) for label in shown]
        handles = [
            Line2D([], [], label=s, linewidth=1.4, markersize=4.5, **k.line, **k.point) for s, k in looks
        ]
        figure.legend(
            handles=handles,
            loc="lower center",
            ncols=abreast,
            frameon=False,
            fontsize=7.5,
            labelcolor=INK,
            handlelength=3.2,
        )
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Save a figure as SVG and PNG: without dates, the same bytes for the same figure."""
    for canvas_of, ending, options in (
        (FigureCanvasSVG, "svg", {"metadata": {"Date": None, "Creator": None}}),
        (FigureCanvasAgg, "png", {"metadata": {"Software": None}}),
    ):
        buffer: Any = io.BytesIO() if ending == "png" else io.StringIO()
        made: Any = canvas_of(figure)
        figure.set_dpi(160 if ending == "png" else 72)
        getattr(made, f"print_{ending}")(buffer, **options)
        data = buffer.getvalue()
        write(path.with_suffix(f".{ending}"), data if isinstance(data, bytes) else data.encode())


def lines(ax: Axes, results: Results, series: Series, xlog: bool = True, ylog: bool = True) -> None:
    """Draw means with 95% intervals over seeds.

    Arguments:
        ax: the panel.
        results: of the study, for the looks of its rules.
        series: by label: (x, value over seeds); values without any number are left out.
        xlog: whether x is logarithmic.
        ylog: whether y is.
    """
    for label, points in series.items():
        look, usable = results.look(label), [(x, s) for x, s in points if s]
        if not usable:
            continue
        xs, means = zip(*((x, s.mean) for x, s in usable), strict=True)
        bars(ax, look, usable, ylog)
        ax.plot(xs, means, linewidth=1.3, markersize=4.5, **look.line, **look.point)
    scales(ax, xlog, ylog)
    if xlog and ax.lines:
        ticks = sorted({float(x) for line in ax.lines for x in np.asarray(line.get_xdata())})
        decades = [x for x in ticks if math.isclose(math.log10(x), round(math.log10(x)), abs_tol=1e-6)]
        ax.xaxis.set_major_locator(FixedLocator(decades if len(ticks) > CROWDED else ticks))


def bars(ax: Axes, look: Look, points: Sequence[tuple[float | int, Stat]], ylog: bool) -> None:
    """Draw 95% intervals as vertical bars; on a logarithmic axis none reaches below a thirtieth of its
    mean.

    Arguments:
        ax: the panel.
        look: of the rule, for the colour.
        points: (x, value over seeds).
        ylog: whether y is logarithmic.
    """
    half = [s.half if math.isfinite(s.half) else 0.0 for _, s in points]
    low = [
        max(s.mean - h, s.mean / 30) if ylog else s.mean - h for (_, s), h in zip(points, half, strict=True)
    ]
    high = [s.mean + h for (_, s), h in zip(points, half, strict=True)]
    ax.vlines([x for x, _ in points], low, high, color=look.colour, alpha=0.6, linewidth=1)


def scales(ax: Axes, xlog: bool, ylog: bool) -> None:
    """Make axes logarithmic, where lines are drawn.

    Arguments:
        ax: the panel.
        xlog: whether x becomes logarithmic.
        ylog: whether y does.
    """
    for which, logarithmic in (("x", xlog), ("y", ylog)):
        if logarithmic and ax.lines:
            getattr(ax, f"set_{which}scale")("log")
            log_ticks(ax, which)
