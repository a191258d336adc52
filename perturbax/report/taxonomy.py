"""The taxonomy of the rules as a page: a grid, a figure, a table.

All depends on the content of taxonomy.json alone, as `analysis.family.measure_family` returns it.
"""

import math
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from perturbax.analysis.taxonomy import CAUSALITY, LOCALITY
from perturbax.report.axes import log_ticks, plain_ticks
from perturbax.report.diagnosis import bias_text, number_or_dash
from perturbax.report.document import document, network_phrase, scrolled, standalone, write_measurement
from perturbax.report.numbers import memory, rounded
from perturbax.report.style import INK, MUTED, canvas, render

HEADS = (
    "rule",
    "a synapse knows",
    "speaks",
    "cosine",
    "bias",
    "variance",
    "us per step",
    "x forward",
    "memory",
)
COLOURS = dict(zip(LOCALITY, ("#E69F00", "#0072B2", "#009E73", "#000000"), strict=True))
"""Colour of each locality class (Okabe and Ito)."""

MARKERS = dict(zip(CAUSALITY, ("o", "s", "^"), strict=True))
"""Marker by when updates are available."""

MEANING = (
    "Single estimates against the exact gradient, all weights together, on one network and batch, over "
    "{draws} draws of the noise. Cosine: mean over draws. Bias: |E x - g| / |g| ± one standard error, or "
    "what it stays below at three. Variance: trace of the covariance over |g|². Time: median of one estimate "
    "over the steps of its sequence, and in forward passes. Memory: what the compiler counts for one "
    "estimate."
)
"""What the columns mean; `draws` of the data is filled in."""


def measured_rows(data: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return heads and lines of the measured table, from what knows least to what knows most."""
    lines = [
        [
            row["name"],
            row["locality"],
            row["causality"],
            number_or_dash(row["cosine"]),
            bias_text(row),
            number_or_dash(row["variance"]),
            rounded(row["seconds_per_step"] * 1e6),
            rounded(row["forwards"]),
            memory(float(row["bytes"])),
        ]
        for row in ordered(data)
    ]
    return HEADS, lines


def ordered(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the measured rules by what they know, then by cosine."""
    order = list(LOCALITY)
    return sorted(data["rules"], key=lambda row: (order.index(row["locality"]), -(row["cosine"] or -1)))


def write_taxonomy(data: dict[str, Any], folder: Path) -> Path:
    """Write taxonomy.json, taxonomy.svg and taxonomy.html into a folder and return the page's path.

    Arguments:
        data: content of taxonomy.json.
        folder: made where it is missing.

    Raises StoreError where the folder is a file, or cannot be written.
    """
    texts = {"svg": standalone(figure(data)), "html": page(data)}
    return write_measurement(folder, "taxonomy", data, texts)


def figure(data: dict[str, Any]) -> str:
    """Draw cosine against time, one marker per rule."""
    with canvas(8.6, 4.6) as (drawing, ax):
        drawing.subplots_adjust(0.06, 0.115, 0.985, 0.97)
        rows = [row for row in ordered(data) if row["cosine"] is not None]
        for row in rows:
            colour, marker = COLOURS[row["locality"]], MARKERS[row["causality"]]
            ax.plot(row["forwards"], row["cosine"], marker, color=colour, markersize=5.5, zorder=3)
        ax.set_xscale("log")
        low = min([0.0, *(row["cosine"] for row in rows)])
        times = [row["forwards"] for row in rows] or [1.0]
        ax.set_xlim(min(times) / 1.25, max(times) * 2.2)
        ax.set_ylim(1.15 * low - 0.04, 1.06)
        log_ticks(ax, "x")
        plain_ticks(ax, "y", 6)
        ax.set_xlabel("time of one estimate, in forward passes")
        ax.set_ylabel("cosine of one estimate with the exact gradient")
        _label(ax, rows)
        for i, (kind, colour) in enumerate(COLOURS.items()):
            _key(ax, 0.985, i, f"● {kind}", colour)
        for i, (kind, shape) in enumerate(zip(CAUSALITY, "●■▲", strict=True)):
            _key(ax, 0.885, i, f"{shape} {kind}", MUTED)
        return render(drawing, "taxonomy", "Cosine with the exact gradient against time, every rule")


def _key(ax: Axes, right: float, line: int, text: str, colour: str) -> None:
    """Write one line of the key, so far from the top of it; right: where it ends, in shares of the axes."""
    ax.text(right, 0.30 - 0.045 * line, text, color=colour, transform=ax.transAxes, ha="right", fontsize=8)


def _label(ax: Axes, rows: list[dict[str, Any]]) -> None:
    """Write names beside markers, moved up or down until none lies on another."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    wide, tall = 0.0085, 0.036  # of a letter and a line, in shares of the axes
    spots = [
        (math.log(row["forwards"] / left) / math.log(right / left), (row["cosine"] - low) / (high - low), row)
        for row in rows
    ]
    boxes = [(x - 0.008, y, 0.016) for x, y, _ in spots]  # left end, height, width: the markers first
    for x, y, row in sorted(spots, key=lambda s: (-s[1], s[0])):
        width, at = wide * len(row["name"]), y
        for step in range(60):
            at = y + tall * ((step + 1) // 2) * (-1 if step % 2 else 1)
            free = all(
                abs(at - b) > tall * 0.95 or x + 0.012 + width < a or x + 0.012 > a + w for a, b, w in boxes
            )
            if free and 0.01 < at < 0.99:
                break
        boxes.append((x + 0.012, at, width))
        ax.annotate(
            row["name"],
            (x, y),
            (x + 0.012, at),
            xycoords="axes fraction",
            textcoords="axes fraction",
            fontsize=7.5,
            color=INK,
            va="center",
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkB": 3}
            if abs(at - y) > tall / 2
            else None,
        )


def page(data: dict[str, Any]) -> str:
    """Return the page as HTML."""
    title = "The family of recurrent learning rules"
    experiment = data["experiment"]
    about = (
        f"Measured on {network_phrase(experiment)}, after {experiment['steps']} steps of training by the "
        f"exact gradient, seed {experiment['seed']}."
    )
    heads, lines = measured_rows(data)
    header = "".join(f'<th scope="col"{_text(i)}>{escape(h)}</th>' for i, h in enumerate(heads))
    body = "".join(
        f'<tr><th scope="row">{escape(line[0])}</th>'
        + "".join(f"<td{_text(i + 1)}>{escape(cell)}</td>" for i, cell in enumerate(line[1:]))
        + "</tr>"
        for line in lines
    )
    left = "".join(f"<li>{escape(r['name'])}: {escape(r['reason'])}</li>" for r in data["refused"])
    drawing = f'<div class="panel keep">{figure(data)}</div>'
    table = f'<table class="results"><thead><tr>{header}</tr></thead>'
    main = (
        f'<p class="task">{escape(about)}</p>\n<h2>The map</h2>{_grid(data)}\n'
        f"<h2>Alignment and time</h2><figure>{scrolled(drawing, 'Figure')}"
        f"<figcaption>Colour: what a synapse must know. Shape: when the rule speaks.</figcaption></figure>\n"
        f'<h2>Measurements</h2><p class="none">{escape(MEANING.format(**data))}</p>'
        + scrolled(f"{table}<tbody>{body}</tbody></table>", "Measurements")
        + (f'<h2>Left out</h2><ul class="plain">{left}</ul>' if left else "")
    )
    return document("taxonomy", title, main)


def _text(i: int) -> str:
    """Return the attribute of a cell of column i: the first three are text, the others numbers."""
    return ' class="text"' if i < 3 else ""


def _grid(data: dict[str, Any]) -> str:
    """Return what is known by when it is said, as an HTML table."""
    head = "".join(
        f'<th scope="col" class="text">{escape(c)}: {escape(m)}</th>' for c, m in CAUSALITY.items()
    )
    rows = []
    for locality, meaning in LOCALITY.items():
        mine = [r for r in data["rules"] if r["locality"] == locality]
        inside = [sorted(r["name"] for r in mine if r["causality"] == c) for c in CAUSALITY]
        cells = "".join(f'<td class="text">{escape(", ".join(names))}</td>' for names in inside)
        rows.append(
            f'<tr><th scope="row">{escape(locality)}</th><td class="text">{escape(meaning)}</td>{cells}</tr>'
        )
    table = (
        '<table class="settings"><thead><tr><th scope="col">a synapse knows</th><td></td>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolled(table, "The rules by what a synapse knows")
