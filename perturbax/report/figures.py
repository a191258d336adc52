"""Figures as inline SVG: predictions, correlation, final test values."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perturbax.report.axes import REACH, cut, log_ticks, plain_ticks
from perturbax.report.compare import Section, Stat, VariantRuns
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
    """Draw a stretch of the test part for one variant; None when it saved no predictions."""
    run = predicted(variant)
    if run is None or run.predictions is None:
        return None
    truth, guess = (np.where(np.abs(a[:_STEPS]) < 1e100, a[:_STEPS], np.nan) for a in run.predictions)
    error = rounded(run.number("test", section.metric))
    heading = f"{cut(variant.label, 44)} · seed {run.seed} · {section.metric} {error}"
    title = f"Prediction of {variant.label} beside the truth, test part, seed {run.seed}"
    with canvas(5.3, 1.75 if truth.shape[1] == 1 else 2.1) as (figure, ax):
        figure.text(0.075, 0.94, heading, color=INK, fontsize=8.5, va="center", weight="bold")
        if truth.shape[1] == 1:
            _draw_series(ax, truth[:, 0], guess[:, 0], look)
        else:
            _draw_maps(figure, ax, truth, guess)
        return render(figure, name, title)


def _draw_series(ax: Axes, truth: np.ndarray, guess: np.ndarray, look: Look) -> None:
    """Draw one output against time: the truth thick and grey, the prediction thin and coloured."""
    ax.set_position((0.075, 0.2, 0.915, 0.66))
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
    ax.set_position((0.075, 0.545, 0.915, 0.32))
    below = figure.add_axes((0.075, 0.165, 0.915, 0.32))
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


def correlation(section: Section, looks: Sequence[Look], name: str) -> str | None:
    """Draw the correlation of hidden activity before (hollow) and after training; None when nobody measured
    it.
    """
    pairs = [(v.stat("correlation", "before"), v.stat("correlation", "after")) for v in section.variants]
    if not any(before or after for before, after in pairs):
        return None
    with canvas(*_rows(section.variants)) as (figure, ax):
        for y, ((before, after), look) in enumerate(zip(pairs, looks, strict=True)):
            if before and after:
                ax.plot([before.mean, after.mean], [y, y], color=look.colour, linewidth=2, alpha=0.55)
            ax.plot(
                before.mean,
                y,
                "o",
                color=look.colour,
                markerfacecolor="white",
                markersize=6,
                markeredgewidth=1.3,
            )
            ax.plot(after.mean, y, "o", color=look.colour, markersize=6)
        _row_axis(figure, ax, section.variants)
        ax.set_xlim(left=0)
        ax.set_xlabel("mean absolute correlation between hidden units (hollow: before, filled: after)")
        plain_ticks(ax, "x", 8)
        return render(figure, name, "Correlation of hidden activity before and after training, per variant")


def final(section: Section, looks: Sequence[Look], name: str) -> str | None:
    """Draw test values with intervals, seeds as small dots, baselines as vertical lines; None without any
    value.
    """
    stats = [section.main(v) for v in section.variants]
    if not any(stats):
        return None
    lines = {key: s.mean for key, m in section.baselines.items() if (s := m.get(section.metric))}
    with canvas(*_rows(section.variants)) as (figure, ax):
        for y, (stat, look) in enumerate(zip(stats, looks, strict=True)):
            ax.plot(
                stat.values, [y + 0.24] * len(stat.values), "o", color=look.colour, alpha=0.45, markersize=2.4
            )
            if math.isfinite(stat.half):
                ends = [stat.mean - stat.half, stat.mean + stat.half]
                ax.plot(ends, [y, y], color=look.colour, linewidth=1.6, solid_capstyle="butt")
            ax.plot(stat.mean, y, markersize=6.5, **look.point)
        _row_axis(figure, ax, section.variants)
        _final_axis(ax, stats, list(lines.values()))
        _label_columns(figure, ax, section.variants, lines)
        ax.set_xlabel(f"test {metric_name(section.metric, section.unit)}")
        return render(
            figure, name, f"Test {metric_name(section.metric)} per variant with 95% intervals and baselines"
        )


def _final_axis(ax: Axes, stats: Sequence[Stat], lines: list[float]) -> None:
    """Scale the test values: logarithmic where they span a factor of eight; an interval may leave the
    panel.
    """
    means = [s.mean for s in stats if s]
    finite = [v for v in means + lines if math.isfinite(v)]
    if min(means) > 0 and max(finite) > 8 * min(means):
        near = [v for v in lines if min(means) / REACH < v < max(means) * REACH]
        ax.set_xscale("log")
        ax.set_xlim(min(means + near) / 1.5, max(means + near) * 1.5)
        log_ticks(ax, "x")
        return
    ends = [e for s in stats if s for e in (s.mean - s.half, s.mean + s.half) if math.isfinite(e)]
    low, high = min(finite + ends), max(finite + ends)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    ax.set_xlim(low - room, high + room)
    plain_ticks(ax, "x", 8)


def _label_columns(
    figure: Figure, ax: Axes, variants: Sequence[VariantRuns], lines: dict[str, float]
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
    width, height = _rows(variants)
    figure.set_size_inches(width, height + 0.135 * len(taken))
    _row_axis(figure, ax, variants)
    tall = ax.get_position().height * figure.get_size_inches()[1] * 72
    for key, x, above in spots:
        ax.text(x, 1 + above / tall, key, transform=ax.transAxes, ha="center", color=MUTED, fontsize=7.6)


def _rows(variants: Sequence[VariantRuns]) -> tuple[float, float]:
    """Return width and height, in inches, of a figure with a row for each variant."""
    return 7.6, 0.62 + 0.27 * len(variants)


def _row_axis(figure: Figure, ax: Axes, variants: Sequence[VariantRuns]) -> None:
    """Name the rows, the first at the top."""
    longest = max(len(v.label) for v in variants)
    width, height = figure.get_size_inches()
    left = min(0.02 + longest * 5.2 / 72 / width, 0.42)
    top = 0.1 / height + max(0.0, height - _rows(variants)[1]) / height
    ax.set_position((left, 0.46 / height, 0.985 - left, 1 - top - 0.46 / height))
    limit = int(0.42 * width * 72 / 5.2)
    ax.set_yticks(range(len(variants)), [cut(v.label, limit) for v in variants], color=INK)
    ax.set_ylim(len(variants) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
