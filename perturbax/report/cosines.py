"""The figure of a diagnosis: cosine with the exact gradient against forward passes, one panel per point in
training.
"""

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from perturbax.analysis.moments import cosine_at
from perturbax.moved import old_names
from perturbax.report.axes import cut, log_ticks, plain_ticks
from perturbax.report.style import INK, MUTED, Look, canvas, render, swatch

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7570B3", "#66A61E")
_MARKERS = "osD^vPXph8d<>"
_DASHES = ((), (5.0, 2.2), (1.5, 1.5), (7.0, 2.0, 1.5, 2.0))
_BEYOND = 8  # how far past the last measurement the prediction is drawn


def group_looks(data: dict[str, Any]) -> dict[str, Look]:
    """Return a look for every group of weights; all of them together in black."""
    names = [g["name"] for g in data["points"][0]["groups"] if g["name"] != "all"]
    made = {"all": Look(INK, (), "o", False)}
    for i, name in enumerate(names):
        dash = _DASHES[i // len(_COLOURS) % len(_DASHES)]
        made[name] = Look(_COLOURS[i % len(_COLOURS)], dash, _MARKERS[i % len(_MARKERS)], True)
    return made


def legend(data: dict[str, Any]) -> str:
    """Return the names of the groups beside their looks, as HTML."""
    items = "".join(f"<li>{swatch(look)}{escape(name)}</li>" for name, look in group_looks(data).items())
    return f'<ul class="legend">{items}</ul>'


def panels(data: dict[str, Any]) -> list[str]:
    """Draw one panel per point in training, all on the same axes."""
    values = [a["cosine"] for p in data["points"] for g in p["groups"] for a in g["averages"]]
    low = min([0.0, *(v for v in values if v is not None)])
    made = []
    for i, point in enumerate(data["points"]):
        with canvas(3.55, 2.75) as (figure, ax):
            figure.subplots_adjust(0.125, 0.155, 0.97, 0.91)
            ax.axhline(data["target"], color=MUTED, linewidth=0.9, dashes=(1, 2), zorder=1.5)
            for group in reversed(point["groups"]):
                _draw(ax, group, data["cost"], group_looks(data)[group["name"]])
            _axes(ax, data, 1.15 * low - 0.02)
            ax.set_title(cut(f"cosine, {point['name']} (step {point['step']})", 60))
            title = f"Cosine with the exact gradient against forward passes, {point['name']} of training"
            made.append(render(figure, f"cosine-{i}", title))
    return made


def _draw(ax: Axes, group: dict[str, Any], cost: dict[str, int], look: Look) -> None:
    """Draw what was measured as markers, what is predicted as a line."""
    points = [(a["passes"], a["cosine"]) for a in group["averages"] if a["cosine"] is not None]
    if not points:
        return
    wide = 2.2 if group["name"] == "all" else 1.2
    samples = np.geomspace(1, _BEYOND * group["averages"][-1]["samples"], 80)
    curve = [cosine_at(group["along"], group["expected"], group["variance"], k) for k in samples]
    ax.plot(cost["first"] + (samples - 1) * cost["more"], curve, linewidth=wide, **look.line)
    ax.plot(*zip(*points, strict=True), linestyle="", markersize=4.6, **look.point)


def _axes(ax: Axes, data: dict[str, Any], low: float) -> None:
    """Scale and label the axes; low: where the cosine axis begins."""
    averages = data["points"][0]["groups"][0]["averages"]
    first, last = averages[0]["passes"], averages[-1]["passes"]
    ax.set_xscale("log")
    ax.set_xlim(max(first / 1.3, 0.7), last * _BEYOND)
    log_ticks(ax, "x")
    ax.set_ylim(low, 1.04)
    plain_ticks(ax, "y", 6)
    ax.set_xlabel("forward passes")
