"""Figures as inline SVG: predictions, correlation, final test values."""

import math
import re
import textwrap
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perturbax.report.axes import REACH, cut, log_ticks, plain_ticks
from perturbax.report.compare import Section, Stat, VariantRuns
from perturbax.report.document import breakable
from perturbax.report.numbers import metric_name, rounded
from perturbax.report.read import Run
from perturbax.report.style import INK, MUTED, TRUTH, Look, canvas, render

_GAP = "#ececec"  # where a map has no number
_STEPS = 240  # of a prediction: what fits a panel and stays readable


def predicted(variant: VariantRuns) -> Run | None:
    """Return the run whose predictions are shown: the lowest seed that has any."""
    return next((run for run in variant.runs if run.predictions is not None), None)


def is_map(run: Run) -> bool:
    """Whether a run predicts several outputs, drawn as heatmaps."""
    return run.predictions is not None and run.predictions[0].shape[1] > 1


def prediction(section: Section, variant: VariantRuns, look: Look, name: str) -> str | None:
    """Draw a stretch of the test part of one variant, under its name; None when it saved no predictions.

    Of a network that acts these are its rewards, beside which there is no truth.

    Arguments:
        section: the runs that are compared.
        variant: whose forecasts are drawn.
        look: how it is drawn.
        name: name of the figure, for the ids within it.
    """
    run = predicted(variant)
    if run is None or run.predictions is None:
        return None
    truth, guess = (np.where(np.abs(a[:_STEPS]) < 1e100, a[:_STEPS], np.nan) for a in run.predictions)
    metric, shown = section.metric, "Prediction of {} beside the truth, test part, seed {}"
    if section.acts:
        metric, shown, truth = "return", "Rewards of {}, test episodes, seed {}", np.full_like(truth, np.nan)
    error = rounded(run.number("test", metric))
    named = f"{breakable(variant.label)} · seed {run.seed} · {escape(metric)} {error}"
    title = shown.format(variant.label, run.seed)
    with canvas(5.3, 1.5 if truth.shape[1] == 1 else 1.85) as (figure, ax):
        if truth.shape[1] == 1:
            _draw_series(ax, truth[:, 0], guess[:, 0], look)
        else:
            _draw_maps(figure, ax, truth, guess)
        return f'<p class="named">{named}</p>{render(figure, name, title)}'


def _draw_series(ax: Axes, truth: np.ndarray, guess: np.ndarray, look: Look) -> None:
    """Draw one output against time: the truth thick and grey, the prediction thin and coloured."""
    ax.set_position((0.085, 0.2, 0.905, 0.78))
    ax.plot(truth, color=TRUTH, linewidth=3.2)
    ax.plot(guess, color=look.colour, linewidth=1.2)
    known = np.isfinite(np.pad(truth, 1, constant_values=np.nan))
    alone = np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])  # between gaps a line would not show
    if alone.size:
        ax.plot(alone, truth[alone], "o", color=TRUTH, markersize=5)
        ax.plot(alone, guess[alone], "o", color=look.colour, markersize=2.6)
    if np.isfinite(truth).any():
        low, high = np.nanmin(truth), np.nanmax(truth)
        room = 0.35 * (high - low) or 1.0
        ax.set_ylim(low - room, high + room)
    ax.set_xlim(0, max(len(truth) - 1, 1))
    plain_ticks(ax, "y", 4)


def _draw_maps(figure: Figure, ax: Axes, truth: np.ndarray, guess: np.ndarray) -> None:
    """Draw two heatmaps on the scale of the truth."""
    finite = truth[np.isfinite(truth)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    high = high if high > low else low + 1
    ax.set_position((0.085, 0.61, 0.905, 0.37))
    below = figure.add_axes((0.085, 0.185, 0.905, 0.37))
    for axes, values, words in ((ax, truth, "truth"), (below, guess, "prediction")):
        axes.imshow(
            values.T, aspect="auto", cmap="cividis", interpolation="none", origin="lower", vmin=low, vmax=high
        )
        axes.set_facecolor(_GAP)
        axes.grid(visible=False)
        axes.set_yticks([])
        axes.set_ylabel(words)
        axes.spines[["top", "right"]].set_visible(True)
    plain_ticks(below, "x", 8)
    ax.sharex(below)
    ax.tick_params(labelbottom=False)


class Sheet(NamedTuple):
    """The measures of a figure with a row for each variant.

    Attributes:
        width: of the figure, in inches.
        row: height of a row, in inches.
        above: whether names stand above their rows, for narrow screens, not beside them.
        letters: as many as fit on a line of a name.
    """

    width: float
    row: float
    above: bool
    letters: int


WIDE = Sheet(7.6, 0.27, above=False, letters=44)
NARROW = Sheet(3.6, 0.44, above=True, letters=50)


def on_both_sheets(drawn: tuple[str, str] | None) -> str:
    """Return a figure drawn for wide and for narrow screens as HTML: one of them shows; empty for none."""
    if drawn is None:
        return ""
    wide, narrow = drawn
    return f'<div class="panel wide">{wide}</div><div class="panel narrow">{narrow}</div>'


def correlation(section: Section, looks: Sequence[Look], name: str) -> tuple[str, str] | None:
    """Draw the correlation of hidden activity before (hollow) and after training, for wide and narrow
    screens; None when nobody measured it.

    Arguments:
        section: the runs that are compared.
        looks: how each variant is drawn.
        name: name of the figure, for the ids within it.
    """
    pairs = [(v.stat("correlation", "before"), v.stat("correlation", "after")) for v in section.variants]
    if not any(before or after for before, after in pairs):
        return None
    wide = _correlation_on(WIDE, section, pairs, looks, name)
    return wide, _correlation_on(NARROW, section, pairs, looks, f"{name}-narrow")


def _correlation_on(
    sheet: Sheet, section: Section, pairs: Sequence[tuple[Stat, Stat]], looks: Sequence[Look], name: str
) -> str:
    """Draw the means before and after training of each variant on a sheet."""
    with canvas(*_size(sheet, section.variants)) as (figure, ax):
        for y, ((before, after), look) in enumerate(zip(pairs, looks, strict=True)):
            if before and after:
                ax.plot([before.mean, after.mean], [y, y], color=look.colour, linewidth=2, alpha=0.55)
            point = {"color": look.colour, "markersize": 6}
            ax.plot(before.mean, y, "o", markerfacecolor="white", markeredgewidth=1.3, **point)
            ax.plot(after.mean, y, "o", **point)
        _row_axis(figure, ax, sheet, section.variants)
        ax.set_xlim(left=0)
        words = "mean absolute correlation between hidden units"
        ax.set_xlabel(words if sheet.above else f"{words} (hollow: before, filled: after)")
        plain_ticks(ax, "x", 5 if sheet.above else 8)
        return render(figure, name, "Correlation of hidden activity before and after training, per variant")


def final(section: Section, looks: Sequence[Look], name: str) -> tuple[str, str] | None:
    """Draw test values with intervals, seeds as small dots, baselines as vertical lines, for wide and for
    narrow screens; None without any value.

    Arguments:
        section: the runs that are compared.
        looks: how each variant is drawn.
        name: name of the figure, for the ids within it.
    """
    stats = [section.main(v) for v in section.variants]
    if not any(stats):
        return None
    wide = _final_on(WIDE, section, stats, looks, name)
    return wide, _final_on(NARROW, section, stats, looks, f"{name}-narrow")


def _final_on(sheet: Sheet, section: Section, stats: Sequence[Stat], looks: Sequence[Look], name: str) -> str:
    """Draw the test values of each variant on a sheet."""
    lines = {key: s.mean for key, m in section.baselines.items() if (s := m.get(section.metric))}
    with canvas(*_size(sheet, section.variants)) as (figure, ax):
        for y, (stat, look) in enumerate(zip(stats, looks, strict=True)):
            dots = {"color": look.colour, "alpha": 0.45, "markersize": 2.4}
            ax.plot(stat.values, [y + 0.24] * len(stat.values), "o", **dots)
            if math.isfinite(stat.half):
                ends = [stat.low, stat.high]
                ax.plot(ends, [y, y], color=look.colour, linewidth=1.6, solid_capstyle="butt")
            ax.plot(stat.mean, y, markersize=6.5, **look.point)
        _row_axis(figure, ax, sheet, section.variants)
        _final_axis(ax, stats, list(lines.values()), 5 if sheet.above else 8)
        _label_columns(figure, ax, sheet, section.variants, lines)
        ax.set_xlabel(f"test {metric_name(section.metric, section.unit)}")
        title = f"Test {metric_name(section.metric)} per variant with 95% intervals and baselines"
        return render(figure, name, title)


def _final_axis(ax: Axes, stats: Sequence[Stat], lines: list[float], most: int) -> None:
    """Scale the test values: logarithmic where they span a factor of eight; an interval may leave the
    panel.

    Arguments:
        ax: the axes.
        stats: the test values of each variant.
        lines: those of the baselines.
        most: ticks that fit a linear axis.
    """
    means = [s.mean for s in stats if s]
    finite = [v for v in means + lines if math.isfinite(v)]
    if min(means) > 0 and max(finite) > 8 * min(means):
        near = [v for v in lines if min(means) / REACH < v < max(means) * REACH]
        ax.set_xscale("log")
        seeds = [v for s in stats for v in s.values if s.geometric]
        ax.set_xlim(min(means + near + seeds) / 1.5, max(means + near + seeds) * 1.5)
        log_ticks(ax, "x")
        return
    ends = [e for s in stats if s for e in (s.low, s.high) if math.isfinite(e)]
    low, high = min(finite + ends), max(finite + ends)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    ax.set_xlim(low - room, high + room)
    plain_ticks(ax, "x", most)


def _label_columns(
    figure: Figure, ax: Axes, sheet: Sheet, variants: Sequence[VariantRuns], lines: dict[str, float]
) -> None:
    """Draw vertical dashed lines, named above the axes on as many levels as keep the names apart."""
    wide = ax.get_position().width * figure.get_size_inches()[0] * 72
    taken: list[float] = []  # the right end of the last name on each level, in points
    spots = []
    for key in sorted(lines, key=lambda k: lines[k]):
        at = ax.transAxes.inverted().transform(ax.transData.transform((lines[key], 0)))[0]
        if not 0 <= at <= 1:
            continue
        half = 2.1 * len(key) + 4
        middle = min(max(at * wide, half), wide - half)
        level = next((i for i, right in enumerate(taken) if middle - half > right), len(taken))
        taken[level : level + 1] = [middle + half]
        spots.append((key, middle / wide, 4 + 9.5 * level))
        ax.axvline(lines[key], color=MUTED, linewidth=0.9, dashes=(3, 2.5), zorder=1.5)
    width, height = _size(sheet, variants)
    figure.set_size_inches(width, height + 0.135 * len(taken))
    _row_axis(figure, ax, sheet, variants)
    tall = ax.get_position().height * figure.get_size_inches()[1] * 72
    for key, x, above in spots:
        ax.text(x, 1 + above / tall, key, transform=ax.transAxes, ha="center", color=MUTED, fontsize=7.6)


def _size(sheet: Sheet, variants: Sequence[VariantRuns]) -> tuple[float, float]:
    """Return width and height, in inches, of a figure with a row for each variant."""
    lines = max(_name(v, sheet).count("\n") for v in variants)
    return sheet.width, 0.62 + (sheet.row + 0.13 * lines) * len(variants)


def _name(variant: VariantRuns, sheet: Sheet) -> str:
    """Return the name of a variant on as many lines as it needs, at most three."""
    spaced = re.sub(r"(?<=[:,/_])(?! )", "\0", variant.label).replace(" ", " \0")
    lines, line = [], ""
    for part in spaced.split("\0"):
        if line and len(line) + len(part.rstrip()) > sheet.letters:
            lines.append(line.rstrip())
            line = ""
        line += part
    lines += textwrap.wrap(line, sheet.letters) or [""]
    return "\n".join(lines[:2] + [cut(" ".join(lines[2:]), sheet.letters)] * (len(lines) > 2))


def _row_axis(figure: Figure, ax: Axes, sheet: Sheet, variants: Sequence[VariantRuns]) -> None:
    """Name the rows, the first at the top."""
    names = [_name(v, sheet) for v in variants]
    longest = 0 if sheet.above else max(len(line) for name in names for line in name.split("\n"))
    width, height = figure.get_size_inches()
    left = 0.02 + longest * 5.0 / 72 / width
    top = 0.1 / height + max(0.0, height - _size(sheet, variants)[1]) / height
    ax.set_position((left, 0.46 / height, 0.985 - left, 1 - top - 0.46 / height))
    ax.set_yticks(range(len(variants)), ["" if sheet.above else name for name in names], color=INK)
    ax.set_ylim(len(variants) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    if not sheet.above:
        return
    ax.set_ylim(len(variants) - 0.6, -0.85)
    for text in list(ax.texts):
        text.remove()
    for y, name in enumerate(names):
        ax.text(0, y - 0.2, name, transform=ax.get_yaxis_transform(), color=INK, fontsize=8.5, va="bottom")
