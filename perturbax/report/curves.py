"""Learning curves as inline SVG: validation loss against what it cost."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from perturbax.report.axes import REACH, cut, log_ticks, plain_ticks, spread
from perturbax.report.compare import DECADE, Section, Stat, VariantRuns
from perturbax.report.numbers import short
from perturbax.report.read import Run, as_number
from perturbax.report.style import MUTED, Look, canvas, render

AXES = {"updates": "updates", "forward_passes": "forward passes", "seconds": "seconds"}


@dataclass(frozen=True)
class Curve:
    """A variant's validation loss over its logged steps: mean with interval, lowest and highest of the
    seeds.
    """

    x: np.ndarray
    mean: np.ndarray
    half: np.ndarray  # of the 95% t interval
    low: np.ndarray
    high: np.ndarray
    ends: list[tuple[float, float]]  # where a seed diverged


def over_decades(section: Section) -> bool:
    """Whether validation losses, all above 0, differ tenfold between seeds of a variant at the same step."""
    wide = False
    for variant in section.variants:
        found = curve(variant, "step")
        if found.low.size and found.low.min() <= 0:
            return False
        wide = wide or bool((found.high >= DECADE * found.low).any())
    return wide


def curve(variant: VariantRuns, axis: str, geometric: bool = False) -> Curve:
    """Average the seeds of a variant at each logged step where the loss is a number.

    Arguments:
        variant: the runs.
        axis: name of the horizontal axis in metrics.jsonl.
        geometric: whether to take geometric means of losses.
    """
    rows: dict[float, list[tuple[float, float]]] = {}
    ends = []
    for run in variant.runs:
        points = _points(run, axis)
        for step, x, y in points:
            rows.setdefault(step, []).append((x, y))
        if run.status == "diverged" and points:
            ends.append(points[-1][1:])
    columns = [np.array(rows[step]).T for step in sorted(rows)]
    x = np.array([c[0].mean() for c in columns])
    stats = [Stat.of(c[1], geometric) for c in columns]
    mean, half = np.array([s.mean for s in stats]), np.array([s.half for s in stats])
    low, high = (np.array([extreme(c[1]) for c in columns]) for extreme in (np.min, np.max))
    return Curve(x, mean, half, low, high, ends)


def _points(run: Run, axis: str) -> list[tuple[float, float, float]]:
    """Return (step, x, validation loss) of each logged step where all are numbers."""
    rows = [tuple(as_number(m.get(key)) for key in ("step", axis, "valid_loss")) for m in run.metrics]
    usable = [(step, x, y) for step, x, y in rows if all(map(math.isfinite, (step, x, y)))]
    if run.status != "diverged" or not usable:
        return usable
    sane = max(i for i, row in enumerate(usable) if row[2] <= usable[0][2])
    return usable[: sane + 1]  # beyond the loss it started from, a lost seed would only bend the mean


def learning_curves(section: Section, looks: Sequence[Look], name: str) -> list[str]:
    """Draw validation loss against updates, forward passes and seconds; empty when nothing was logged.

    Arguments:
        section: the runs that are compared.
        looks: how each variant is drawn.
        name: name of the figure, for the ids within it.
    """
    panels = []
    geometric = over_decades(section)
    for axis, words in AXES.items():
        curves = [curve(v, axis, geometric) for v in section.variants]
        if not any(c.x.size for c in curves):
            continue
        with canvas(3.55, 2.75) as (figure, ax):
            figure.subplots_adjust(0.135, 0.155, 0.745, 0.91)
            _draw_curves(ax, curves, looks)
            label_lines(figure, ax, _levels(section))
            ax.set_title("validation loss")
            ax.set_xlabel(words)
            title = f"Validation loss of every variant against {words}"
            panel = f"{name}-{axis.replace('_', '-')}"
            data = escape(json.dumps(_to_hover(ax, section, curves, looks, panel, words)))
            drawing = render(figure, panel, title)
            label = escape(f"{title}; arrow keys read values")
            panels.append(
                f'<div class="panel" role="group" aria-label="{label}" data-curves="{data}">{drawing}</div>'
            )
    return panels


def _to_hover(
    ax: Axes, section: Section, curves: Sequence[Curve], looks: Sequence[Look], panel: str, words: str
) -> dict[str, Any]:
    """Return what the script of the page needs to say values of a panel, and to hide variants.

    Arguments:
        ax: the axes, drawn and scaled.
        section: the task.
        curves: of its variants.
        looks: of its variants.
        panel: name of the panel.
        words: name of the horizontal axis.
    """
    box = ax.get_position()
    lines = [
        {
            "name": variant.label,
            "id": f"{panel}-v{i}",
            "colour": look.colour,
            **{key: [_short_float(v) for v in getattr(c, key)] for key in ("x", "mean", "low", "high")},
        }
        for i, (variant, c, look) in enumerate(zip(section.variants, curves, looks, strict=True))
    ]
    return {
        "words": words,
        "box": [_short_float(v) for v in (box.x0, 1 - box.y1, box.x1, 1 - box.y0)],
        "xlim": [float(v) for v in ax.get_xlim()],
        "xlog": ax.get_xscale() == "log",
        "lines": lines,
    }


def _short_float(value: float) -> float:
    """Return a number with five significant digits."""
    return float(f"{value:.5g}")


def _draw_curves(ax: Axes, curves: list[Curve], looks: Sequence[Look]) -> None:
    """Draw mean curves with the band from lowest to highest seed, and scale the axes."""
    for i, (c, look) in enumerate(zip(curves, looks, strict=True)):
        every = max(1, c.x.size // 5)
        ax.fill_between(c.x, c.low, c.high, color=look.colour, alpha=0.14, linewidth=0, gid=f"v{i}-band")
        marks = {"markevery": (i % every, every), "markersize": 3.6, **look.point}
        ax.plot(c.x, c.mean, linewidth=1.4, gid=f"v{i}-line", **look.line, **marks)
        for number, (x, y) in enumerate(c.ends):
            cross = {"markersize": 7, "markeredgewidth": 1.8, "gid": f"v{i}-end-{number}"}
            ax.plot(x, y, "x", color=look.colour, **cross)
    _value_axis(ax, curves)
    last = [c.x[-1] for c in curves if c.x.size]
    if min(last) > 0 and max(last) > 20 * min(last):
        ax.set_xscale("log")
        ax.set_xlim(min(c.x[c.x > 0].min() for c in curves if c.x.size), max(last) * 1.1)
        ax.xaxis.set_major_locator(LogLocator(numticks=5))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.set_xlim(0, max(last) * 1.02 or 1)
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))


def _value_axis(ax: Axes, curves: list[Curve]) -> None:
    """Scale the loss: logarithmic where all is above 0; a curve that runs away leaves the panel."""
    drawn = [c for c in curves if c.x.size]
    low = min(float(c.low.min()) for c in drawn)
    start = max(float(c.mean[0]) for c in drawn)
    high = max(float(c.high.max()) for c in drawn)
    if low > 0:
        ax.set_yscale("log")
        ax.set_ylim(low / 1.3, min(high, start * 2) * 1.3)
        log_ticks(ax, "y")
    else:
        ax.set_ylim(low - 0.05 * (start - low), min(high, start + (start - low)) or 1)
        plain_ticks(ax, "y", 5)


def _levels(section: Section) -> dict[str, float]:
    """Return the losses that no recurrent training is needed for, by the name of who reaches them: those of
    validation data where runs have measured them, else of test data.
    """
    if section.valid_baselines:
        return {name: s.mean for name, m in section.valid_baselines.items() if (s := m.get("loss"))}
    frozen = {
        v.label: s.mean for v in section.variants if v.rule == "frozen" and (s := v.stat("test", "loss"))
    }
    return frozen | {name: s.mean for name, m in section.baselines.items() if (s := m.get("loss"))}


def label_lines(figure: Figure, ax: Axes, levels: dict[str, float]) -> None:
    """Draw dashed lines with their names at the right, moved apart; one far outside becomes an arrow at the
    edge.

    Arguments:
        figure: the figure.
        ax: its axes.
        levels: the height of each line, by what it is called.
    """
    (low, high), logarithmic = ax.get_ylim(), ax.get_yscale() == "log"
    if logarithmic:
        inside = [y for y in levels.values() if low / REACH < y < high * 3]
        low, high = min([low, *(y / 1.3 for y in inside)]), max([high, *(y * 1.3 for y in inside)])
        ax.set_ylim(low, high)
        log_ticks(ax, "y")
    span = math.log(high / low) if logarithmic else high - low
    names = sorted(levels, key=lambda key: levels[key])
    values = [levels[key] for key in names]
    place = [(math.log(max(y, 1e-300) / low) if logarithmic else y - low) / span for y in values]
    spots = spread([min(max(p, 0.0), 1.0) for p in place], 0.062)
    for key, y, at, spot in zip(names, values, place, spots, strict=True):
        arrow = "↓ " if at < 0 else "↑ " if at > 1 else ""
        if not arrow:
            ax.axhline(y, color=MUTED, linewidth=0.8, dashes=(3, 2.5), zorder=1.5)
            ax.plot([1, 1.035], [at, spot], color=MUTED, linewidth=0.6, transform=ax.transAxes, clip_on=False)
        text = arrow + cut(key, 14)
        ax.text(1.045, spot, text, transform=ax.transAxes, va="center", color=MUTED, fontsize=7.2)
