"""Accuracy under attack as a table, a figure and a page.

All depends on the content of robustness.json alone, as `analysis.robustness.robustness_of_runs` returns it.
"""

from html import escape
from pathlib import Path
from typing import Any

from perturbax.papers import CITATIONS
from perturbax.report.axes import plain_ticks
from perturbax.report.document import document, references, scrolled, standalone, write_measurement
from perturbax.report.style import INK, canvas, render

HEADS = ("network", "eps", "natural", "random", "fgsm", "pgd", "margin", "worst", "no gradient")
MEANING = (
    "Accuracy in percent on test images, and on the same images changed by at most eps per pixel: random, by "
    "random signs; fgsm, one step along the sign of the gradient of the cross-entropy; pgd, {attack_steps} "
    "steps from a random start; margin, the same against the margin of the class; worst, the least of all, "
    "image by image. No gradient: share of images, in percent, whose cross-entropy has a gradient of 0."
)
"""What the columns mean; `attack_steps` of the data is filled in."""
STYLES = {"pgd": "-", "margin": "--", "random": ":"}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of the networks (Okabe and Ito)."""
MARKERS = ("o", "s", "^", "D", "v")
"""Points of the first seven networks, of the next seven, and so on."""


def labels(data: dict[str, Any]) -> list[str]:
    """Return what the networks are called: the names of their folders, after those of as many folders above
    as tell them apart.
    """
    paths = [Path(run["folder"]).parts for run in data["runs"]]
    depth = 1
    while len({parts[-depth:] for parts in paths}) < len(paths) and depth < max(map(len, paths)):
        depth += 1
    return ["/".join(parts[-depth:]) for parts in paths]


def lines(data: dict[str, Any]) -> list[list[str]]:
    """Return the lines of the table, cells as `HEADS`; what does not depend on eps stands in the first."""
    found = []
    for run, name in zip(data["runs"], labels(data), strict=True):
        for i, eps in enumerate(data["eps"]):
            percent = [_percent(run[attack][i]) for attack in ("random", "fgsm", "pgd", "margin", "worst")]
            first = (name, _percent(run["natural"])) if i == 0 else ("", "")
            found.append(
                [first[0], f"{eps:g}", first[1], *percent, _percent(run["zero_gradient"]) if i == 0 else ""]
            )
    return found


def warnings(data: dict[str, Any]) -> list[str]:
    """Return a sentence for every network whose accuracy under attack says little: its gradient is masked."""
    return [
        f"{name}: its gradients are masked, and it is less robust than fgsm and pgd make it look: "
        f"{'; '.join(run['masked'])}."
        for run, name in zip(data["runs"], labels(data), strict=True)
        if run["masked"]
    ]


def write_robustness(data: dict[str, Any], folder: Path) -> Path:
    """Write robustness.json, robustness.svg and robustness.html into a folder and return the page's path.

    Arguments:
        data: content of robustness.json.
        folder: made where it is missing.

    Raises StoreError where the folder is a file, or cannot be written.
    """
    texts = {"svg": standalone(figure(data)), "html": page(data)}
    return write_measurement(folder, "robustness", data, texts)


def look(i: int) -> tuple[str, str]:
    """Return the colour and the point of a network, by its place in the list; 35 differ."""
    return COLOURS[i % len(COLOURS)], MARKERS[i // len(COLOURS) % len(MARKERS)]


def figure(data: dict[str, Any]) -> str:
    """Draw accuracy against eps: one colour and point per network, one kind of line per attack."""
    apart = min(0.06, 0.78 / len(data["runs"]))  # lines of names, above the kinds of line
    with canvas(7.2, 4.0) as (drawing, ax):
        drawing.subplots_adjust(0.08, 0.13, 0.7, 0.97)
        for i, (run, name) in enumerate(zip(data["runs"], labels(data), strict=True)):
            colour, marker = look(i)
            for attack, style in STYLES.items():
                accuracy = [100 * value for value in (run["natural"], *run[attack])]
                ax.plot([0, *data["eps"]], accuracy, style, color=colour, marker=marker, markersize=3)
            height = 0.95 - apart * i
            point = {"markersize": 4, "clip_on": False}
            ax.plot(1.04, height, marker, color=colour, transform=ax.transAxes, **point)
            ax.text(1.07, height, name, color=colour, transform=ax.transAxes, fontsize=8, va="center")
        for i, (attack, style) in enumerate(STYLES.items()):
            height = 0.02 + 0.06 * i
            ax.plot([1.03, 1.12], [height, height], style, color=INK, transform=ax.transAxes, clip_on=False)
            ax.text(1.14, height, attack, color=INK, transform=ax.transAxes, fontsize=8, va="center")
        ax.set_xlim(0, 1.03 * max(data["eps"]))
        ax.set_ylim(0, 103)
        plain_ticks(ax, "x", 6)
        plain_ticks(ax, "y", 6)
        ax.set_xlabel("largest change of a pixel, eps")
        ax.set_ylabel("accuracy, %")
        return render(drawing, "robustness", "Accuracy against the size of the attack")


def page(data: dict[str, Any]) -> str:
    """Return the page as HTML."""
    tasks = sorted({run["task"] for run in data["runs"]})
    most = max(run["images"] for run in data["runs"])
    about = f"{', '.join(tasks)}: {most} test images, attacked along the true gradient of each network."
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in HEADS)
    body = "".join(
        f'<tr><th scope="row">{escape(line[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in line[1:])
        + "</tr>"
        for line in lines(data)
    )
    table = f'<table class="results"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    said = "".join(f"<p><strong>{escape(text)}</strong></p>" for text in warnings(data))
    drawing = f'<div class="panel keep">{figure(data)}</div>'
    main = (
        f'<p class="task">{escape(about)}</p>\n{said}<figure>{scrolled(drawing, "Figure")}</figure>\n'
        f'<h2>Measurements</h2><p class="none">{escape(MEANING.format(**data))}</p>'
        f"{scrolled(table, 'Measurements')}"
    )
    main += references(escape(CITATIONS[key]) for key in ("goodfellow2015", "madry2018", "athalye2018"))
    return document("robustness", "Accuracy on images changed on purpose", main)


def _percent(share: float) -> str:
    """Return a share as percent with one decimal."""
    return f"{100 * share:.1f}"
