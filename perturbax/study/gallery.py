"""The figures of a study, as SVG and PNG, drawn from its results alone: one look per rule throughout."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from perturbax.atomic import writing
from perturbax.report.axes import log_ticks
from perturbax.report.compare import Section, Stat, VariantRuns
from perturbax.report.curves import curve, label_lines
from perturbax.report.style import MUTED
from perturbax.study.panels import Series, bars, grid, lines
from perturbax.study.results import Results, base_label, finished, generalisation_gap, loss_in, per_update


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Draw every figure that there are results for; -> caption by file name without ending.

    Arguments:
        results: of the study.
        folder: where SVG and PNG files are written; made where it is not there.

    Raises StoreError where the file system refuses.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return {name: made for name, figure in FIGURES.items() if (made := figure(results, folder / name))}


def _groups(results: Results, prefix: str) -> list[str]:
    """Return the groups of a study that have runs and whose name begins so."""
    return [g for g in results.sections if g.startswith(prefix)]


def per_task(
    protocol: str, caption: str, panel: Callable[[Axes, Results, Section], None]
) -> Callable[[Results, Path], str]:
    """Return a figure with a panel for each task of a protocol.

    Arguments:
        protocol: `published`, `fair` or `feed-forward`.
        caption: of the figure; `{}` stands for the protocol.
        panel: draws the panel of one task.
    """

    def figure(results: Results, path: Path) -> str:
        found = {g.split("/")[1]: results.sections[g] for g in _groups(results, f"{protocol}/")}
        if not found:
            return ""
        with grid(results, list(found), {v.label for s in found.values() for v in s.variants}, path) as axes:
            for ax, section in zip(axes, found.values(), strict=True):
                panel(ax, results, section)
        return caption.format(protocol)

    return figure


def convergence(ax: Axes, results: Results, section: Section) -> None:
    """Draw validation loss against forward passes; a rule that fails does not flatten the others.

    Arguments:
        ax: the panel.
        results: of the study, for the looks of its rules.
        section: the runs of one task.
    """
    curves = [
        (results.look(v.label), c) for v in section.variants if (c := curve(v, "forward_passes")).x.size
    ]
    for i, (look, c) in enumerate(curves):
        every = max(1, c.x.size // 4)
        own = slice(i % every, None, every)
        marked = [(x, Stat((m,), m, h)) for x, m, h in zip(c.x[own], c.mean[own], c.half[own], strict=True)]
        bars(ax, look, marked, ylog=True)
        ax.plot(
            c.x,
            c.mean,
            linewidth=1.2,
            markevery=(own.start, every),
            markersize=3.6,
            **look.line,
            **look.point,
        )
    if curves and all(np.all(c.mean > 0) for _, c in curves):
        ax.set_yscale("log")
        ax.set_ylim(0.7 * min(c.mean.min() for _, c in curves), 1.3 * max(c.mean[0] for _, c in curves))
        log_ticks(ax, "y")
    ax.set_xlabel("forward passes")
    ax.set_ylabel(f"validation loss{loss_in(section.task)}")


def accuracy(ax: Axes, results: Results, section: Section) -> None:
    """Draw the test loss of each rule with intervals, the lowest first; baselines as lines.

    Arguments:
        ax: the panel.
        results: of the study, for the looks of its rules.
        section: the runs of one task.
    """
    ranked = sorted(finished(section.variants), key=lambda v: v.stat("test", "loss").mean)
    for i, v in enumerate(ranked):
        lines(ax, results, {v.label: [(i, v.stat("test", "loss"))]}, xlog=False)
    ax.set_ylim(*ax.get_ylim())  # baselines far outside become arrows at the edge
    levels = {name: metrics["loss"].mean for name, metrics in section.baselines.items()}
    label_lines(ax.figure, ax, levels)  # pyright: ignore[reportArgumentType]
    ax.set_xticks([])
    ax.set_ylabel(f"test loss{loss_in(section.task)}")


FALLS = (
    "Validation loss against forward passes, {} protocol; means and 95% t intervals over seeds. A curve that "
    "leaves at the top has become worse than any rule was when first measured."
)
ENDS = "Test loss with 95% t intervals over seeds, best rule first, {} protocol; dashed: baselines."


def _by_number(results: Results, prefix: str, value: Callable[[VariantRuns], Stat]) -> Series:
    """Return a value of every label against the number in the name of its group, as 64 in `scaling/64`."""
    series: Series = {}
    for group in sorted(_groups(results, prefix), key=lambda g: float(g.split("/")[1])):
        for v in results.sections[group].variants:
            series.setdefault(base_label(v.label), []).append((float(group.split("/")[1]), value(v)))
    return series


def scaling(results: Results, path: Path) -> str:
    """Draw loss, time and memory against units; -> caption, empty without such runs.

    Arguments:
        results: of the study.
        path: of the files to write, without ending.
    """
    found = _groups(results, "scaling/")
    if not found:
        return ""
    loss = f"test loss{loss_in(results.sections[found[0]].task)}"
    quantities: dict[str, Callable[[VariantRuns], Stat]] = {
        loss: lambda v: v.stat("test", "loss"),
        "ms per update": per_update,
        "MB while training": lambda v: Stat.of(r.number("peak_memory_bytes") / 1e6 for r in v.runs),
    }
    labels = _by_number(results, "scaling/", quantities[loss])
    with grid(results, list(quantities), labels, path) as axes:
        for ax, (name, value) in zip(axes, quantities.items(), strict=True):
            lines(ax, results, _by_number(results, "scaling/", value))
            ax.set_xlabel("units")
            ax.set_ylabel(name)
    return (
        "Test loss, time and memory against the number of units: Mackey-Glass forecast, equal forward "
        "passes, a search over learning rates at every size."
    )


def length(results: Results, path: Path) -> str:
    """Draw recall against sequence length; -> caption, empty without such runs.

    Arguments:
        results: of the study.
        path: of the files to write, without ending.
    """
    series = _by_number(results, "length/", lambda v: v.stat("test", "recall"))
    if not series:
        return ""
    with _one_panel(results, "copy memory", series, path, "symbols, and blanks", "test recall") as ax:
        lines(ax, results, series, ylog=False)
        ax.axhline(1 / 8, color=MUTED, linewidth=0.8, dashes=(3, 2.5))
    return "Recall against the number of symbols (and of blanks); dashed: chance."


@contextmanager
def _one_panel(
    results: Results, title: str, series: Series, path: Path, xlabel: str, ylabel: str
) -> Iterator[Axes]:
    """Yield the only panel of a figure, with the labels of its axes."""
    with grid(results, [title], series, path) as (ax,):
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        yield ax


def _tried(candidates: Sequence[dict[str, Any]]) -> list[tuple[float | int, Stat]]:
    """Return the lowest loss at each learning rate, whatever the rate of decorrelation."""
    by_rate: dict[float, list[float]] = {}
    for c in candidates:
        by_rate.setdefault(c["lr"], []).extend([c["loss"]] if c["loss"] is not None else [])
    return [(lr, Stat.of(sorted(losses)[:1])) for lr, losses in sorted(by_rate.items())]


def sensitivity(results: Results, path: Path) -> str:
    """Draw loss against learning rate, per task, and against sigma; -> caption, empty without such runs.

    Arguments:
        results: of the study.
        path: of the files to write, without ending.
    """
    panels: dict[str, tuple[str, str, Series]] = {}
    for g in (g for g in results.groups("tune") if g.startswith("fair/")):
        if own := results.searches(g):
            task = next(iter(own.values()))["experiment"]["task"]
            tried = {name: _tried(search["candidates"]) for name, search in own.items()}
            panels[g.split("/")[1]] = ("learning rate", f"validation loss{loss_in(task)}", tried)
    if section := results.sections.get("sigma"):
        sigma: Series = {}
        for v in section.variants:
            x = float(v.label.rpartition("sigma=")[2])
            sigma.setdefault(base_label(v.label), []).append((x, v.stat("test", "loss")))
        ordered = {k: sorted(v, key=lambda p: p[0]) for k, v in sigma.items()}
        panels[f"sigma, {section.task}"] = ("sigma", f"test loss{loss_in(section.task)}", ordered)
    shown = {
        k: (x, y, {n: p for n, p in s.items() if base_label(n) in results.looks})
        for k, (x, y, s) in panels.items()
    }
    if not shown:
        return ""
    with grid(results, list(shown), {n for *_, s in shown.values() for n in s}, path) as axes:
        for ax, (x, y, series) in zip(axes, shown.values(), strict=True):
            lines(ax, results, series)
            ax.set_xlabel(x)
            ax.set_ylabel(y)
    return (
        "Sensitivity: validation loss of the short searches against learning rate (with decorrelation, at "
        "the best of its rates), test loss against sigma."
    )


def ambient(results: Results, path: Path) -> str:
    """Draw loss against noise that no rule is told of; -> caption, empty without such runs.

    Arguments:
        results: of the study.
        path: of the files to write, without ending.
    """
    series = _by_number(results, "ambient/", lambda v: v.stat("test", "loss"))
    if not series:
        return ""
    section = results.sections[_groups(results, "ambient/")[0]]
    noise = "standard deviation of the network's own noise"
    loss = f"test loss{loss_in(section.task)}"
    with _one_panel(results, section.task, series, path, noise, loss) as ax:
        lines(ax, results, series, xlog=False)
    return (
        "Test loss after learning under noise of the network's own, which no rule sees (innovation knows its "
        "variance); judged without it, sigma 0.01."
    )


def alignment(results: Results, path: Path) -> str:
    """Draw the cosine with the exact gradient along training; -> caption, empty without measurements.

    Arguments:
        results: of the study.
        path: of the files to write, without ending.
    """
    found = results.measured("alignment") if "alignment" in results.groups("measure") else {}
    series: dict[str, Series] = {}
    for one in found.values():
        points = [
            (p["step"], Stat((p["cosine"],), p["cosine"], 2 * p["cosine_error"])) for p in one["points"]
        ]
        series.setdefault(one["settings"]["task"], {})[one["settings"]["label"]] = points
    series = {t: {n: p for n, p in s.items() if base_label(n) in results.looks} for t, s in series.items()}
    if not series:
        return ""
    with grid(results, list(series), {n for s in series.values() for n in s}, path) as axes:
        for ax, own in zip(axes, series.values(), strict=True):
            lines(ax, results, own, xlog=False, ylog=False)
            ax.set_xlabel("training steps of the rule itself")
            ax.set_ylabel("cosine with the exact gradient")
    return "Alignment of single estimates with the exact gradient along training; bars: two standard errors."


def ratios(results: Results, path: Path) -> str:
    """Draw generalisation gap and correlation with and without decorrelation.

    -> caption, empty without runs of the fair protocol.

    Arguments:
        results: of the study.
        path: of the files to write, without ending.
    """
    groups = _groups(results, "fair/")
    if not groups:
        return ""
    labels = {v.label for g in groups for v in results.sections[g].variants}
    with grid(results, ["generalisation gap", "correlation of hidden activity"], labels, path, most=1) as (
        left,
        right,
    ):
        for i, group in enumerate(groups):
            for j, v in enumerate(results.sections[group].variants):
                x = i + 0.8 * j / len(results.sections[group].variants)
                lines(left, results, {v.label: [(x, generalisation_gap(v))]}, xlog=False)
                lines(
                    right, results, {v.label: [(x, v.stat("correlation", "after"))]}, xlog=False, ylog=False
                )
        for ax, name in ((left, "test loss / training loss"), (right, "mean |correlation| after training")):
            ax.set_xticks([i + 0.4 for i in range(len(groups))], [g.split("/")[1] for g in groups])
            ax.set_ylabel(name)
    return (
        "Test loss over the loss on training data (over the last training loss where all data are fresh), "
        "and correlation after training (hollow: decorrelated)."
    )


FIGURES: dict[str, Callable[[Results, Path], str]] = {
    "accuracy-published": per_task("published", ENDS, accuracy),
    "accuracy-fair": per_task("fair", ENDS, accuracy),
    "convergence-published": per_task("published", FALLS, convergence),
    "convergence-fair": per_task("fair", FALLS, convergence),
    "accuracy-feed-forward": per_task("feed-forward", ENDS, accuracy),
    "scaling": scaling,
    "length": length,
    "sensitivity": sensitivity,
    "ambient": ambient,
    "alignment": alignment,
    "gap-and-correlation": ratios,
}
