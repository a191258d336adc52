"""The page of a search for settings: validation loss against each of them, and every candidate in a table.

All depends on the content of tune.json alone, as the command `tune` writes it.
"""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from perturbax.atomic import write
from perturbax.errors import StoreError
from perturbax.experiment.run_folder import read_json, to_json
from perturbax.report.axes import REACH, cut, log_ticks, plain_ticks
from perturbax.report.document import breakable, document, network_phrase, scrolled
from perturbax.report.numbers import rounded
from perturbax.report.read import as_dict, as_number
from perturbax.report.settings import flatten_settings, setting_text
from perturbax.report.style import INK, MUTED, canvas, render
from perturbax.report.tables import settings_rows

BEST, OTHERS, LOST = "#D55E00", "#0072B2", "#B3400A"
OWN = {"lr": "lr", "decor_lr": "decor_lr", "discount": "rule.discount"}  # settings with a key of their own
CAPTION = (
    "Small: every candidate. Line: the lowest loss at each value, whatever the other settings. Large: the "
    "best of all. × at the top: candidates that diverged."
)


class Candidate:
    """What was tried, and how it ended.

    Arguments:
        stored: its entry in tune.json.
    """

    def __init__(self, stored: dict[str, Any]):
        own = {name: stored[key] for key, name in OWN.items() if stored.get(key) is not None}
        self.settings = own | as_dict(stored.get("settings"))
        self.loss = as_number(stored.get("loss"))
        steps = stored.get("diverged_at")
        listed = steps if isinstance(steps, list) else []
        self.diverged_at = next((step for step in listed if isinstance(step, int)), None)


def write_tuning(folder: Path) -> Path:
    """Write tune.html beside tune.json into the folder of a search and return its path.

    Raises ArgumentError for a folder without tune.json, StoreError for one that cannot be read or written.
    """
    data = read_json(folder / "tune.json")
    try:
        html = page(data)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise StoreError(f"{folder / 'tune.json'} is not what tune writes: {error!r}") from error
    write(folder / "tune.html", html.encode())
    return folder / "tune.html"


def page(data: dict[str, Any]) -> str:
    """Return the page as HTML; data: content of tune.json."""
    data = to_json(data)
    experiment = data["experiment"]
    candidates = [Candidate(stored) for stored in data["candidates"]]
    names = list(dict.fromkeys(name for c in candidates for name in c.settings))
    searched = [name for name in names if len({setting_text(c.settings.get(name)) for c in candidates}) > 1]
    panels = "".join(
        f'<div class="panel">{_panel(candidates, name, f"setting-{i}")}</div>'
        for i, name in enumerate(searched)
    )
    drawn = f'<figure class="three"><div class="panels">{panels}</div>'
    drawn += f"<figcaption>{CAPTION}</figcaption></figure>"
    about = f"{network_phrase(experiment)}; {experiment['steps']} steps for each candidate."
    settings = flatten_settings(experiment)
    shared = {name: value for name, value in settings.items() if name not in searched}
    fixed = scrolled(f'<table class="settings">{settings_rows(shared)}</table>', "Settings")
    lead = _lead(candidates, searched, len(data["seeds"]))
    main = (
        f'<p class="task">{escape(about)}</p>\n<p class="lead">{lead}</p>\n'
        f"<h2>Validation loss against each setting</h2>{drawn if panels else _ONE}\n"
        f"<h2>Candidates</h2>{_table(candidates, names)}\n<h2>Settings of all short runs</h2>{fixed}\n"
        "<h2>The best in full</h2><pre>perturbax run --config config.json --out RUN</pre>"
    )
    return document("tune", f"Search for settings: {experiment['rule']} on {experiment['task']}", main)


_ONE = '<p class="none">No setting had more than one candidate.</p>'


def _lead(candidates: Sequence[Candidate], searched: Sequence[str], seeds: int) -> str:
    """Return what was found, in sentences (HTML)."""
    best = candidates[0]
    lost = sum(not math.isfinite(c.loss) for c in candidates)
    if lost == len(candidates):
        return f"All {len(candidates)} candidates diverged: search at lower learning rates."
    named = ", ".join(f"{name}={setting_text(best.settings.get(name))}" for name in searched)
    mean = f", the mean of {seeds} seeds" if seeds > 1 else ""
    said = (
        f'Of {len(candidates)} candidates <b class="rule">{breakable(named or "the only one")}</b> has the '
        f"lowest validation loss, {rounded(best.loss)}{mean}."
    )
    if lost:
        said += f" {lost} diverged."
    edge = [name for name in searched if _at_edge(candidates, name)]
    if edge:
        verb = "are" if len(edge) > 1 else "is"
        named = " and ".join([", ".join(edge[:-1]), edge[-1]] if len(edge) > 1 else edge)
        said += f" {escape(named)} {verb} at the edge of what was tried: the best of all may lie beyond."
    return said


def _at_edge(candidates: Sequence[Candidate], name: str) -> bool:
    """Whether the best value of a setting, a number, is the smallest or the largest that was tried."""
    tried = _numbers(candidates, name)
    return bool(tried) and name != "rule.discount" and candidates[0].settings[name] in (tried[0], tried[-1])


def _numbers(candidates: Sequence[Candidate], name: str) -> list[float]:
    """Return the values of a setting that was tried, rising; none where it is no number everywhere."""
    values = [as_number(c.settings.get(name)) for c in candidates]
    return sorted(set(values)) if all(math.isfinite(value) for value in values) else []


def _panel(candidates: Sequence[Candidate], name: str, figure_name: str) -> str:
    """Draw validation loss against one setting."""
    numbers = _numbers(candidates, name)
    texts = list(dict.fromkeys(setting_text(c.settings.get(name)) for c in candidates))
    if numbers:
        at = [as_number(c.settings[name]) for c in candidates]
    else:
        at = [float(texts.index(setting_text(c.settings.get(name)))) for c in candidates]
    with canvas(3.55, 2.75) as (figure, ax):
        figure.subplots_adjust(0.155, 0.155, 0.97, 0.91)
        good = [(x, c.loss) for x, c in zip(at, candidates, strict=True) if math.isfinite(c.loss)]
        xs = sorted({x for x, _ in good})
        lowest = [min(loss for x, loss in good if x == value) for value in xs]
        ax.plot([x for x, _ in good], [y for _, y in good], "o", color=OTHERS, alpha=0.5, markersize=3.6)
        ax.plot(xs, lowest, color=OTHERS, linewidth=1.3 if numbers else 0.0)
        if good:
            ax.plot(*good[0], "o", color=BEST, markersize=7)
        if numbers and good:  # what diverged far away stands at the edge
            near = sorted(x for x, _ in good)
            at = [min(max(x, near[0] / REACH), near[-1] * REACH) if near[0] > 0 else x for x in at]
        for x in {x for x, c in zip(at, candidates, strict=True) if not math.isfinite(c.loss)}:
            ax.plot(x, 0.965, "x", color=LOST, markersize=6, transform=ax.get_xaxis_transform())
        _scale(ax, at, [y for _, y in good], bool(numbers))
        if not numbers:
            ax.set_xticks(range(len(texts)), [cut(text, 12) for text in texts], color=INK)
        ax.set_title("validation loss")
        ax.set_xlabel(name, color=MUTED)
        return render(figure, figure_name, f"Validation loss against {name}")


def _scale(ax: Axes, xs: Sequence[float], losses: Sequence[float], numbers: bool) -> None:
    """Scale the axes: logarithmic where values above 0 differ eightfold; room above for what diverged."""
    low, high = (min(losses), max(losses)) if losses else (0.0, 1.0)
    if low > 0 and high > 8 * low:
        ax.set_yscale("log")
        room = (high / low) ** 0.12
        ax.set_ylim(low / room, high * room**1.5)
        log_ticks(ax, "y")
    else:
        room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
        ax.set_ylim(low - room, high + 1.5 * room)
        plain_ticks(ax, "y", 5)
    left, right = min(xs), max(xs)
    if numbers and left > 0 and right > 8 * left:
        room = (right / left) ** 0.06
        ax.set_xscale("log")
        ax.set_xlim(left / room, right * room)
        log_ticks(ax, "x")
        return
    room = 0.06 * (right - left) or 0.5
    ax.set_xlim(left - room, right + room)
    if numbers:
        plain_ticks(ax, "x", 5)


def _table(candidates: Sequence[Candidate], names: Sequence[str]) -> str:
    """Return all candidates, the best first, as an HTML table."""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in ("place", *names, "validation loss"))
    rows = []
    for place, candidate in enumerate(candidates, 1):
        ended = rounded(candidate.loss, 4)
        if not math.isfinite(candidate.loss):
            at = f" at step {candidate.diverged_at}" if candidate.diverged_at is not None else ""
            ended = f"diverged{at}"
        cells = [setting_text(candidate.settings.get(name)) for name in names] + [ended]
        strong = place == 1 and math.isfinite(candidate.loss)
        shown = "".join(
            f"<td><strong>{escape(c)}</strong></td>" if strong else f"<td>{escape(c)}</td>" for c in cells
        )
        rows.append(f'<tr><th scope="row">{place}</th>{shown}</tr>')
    return scrolled(
        f'<table class="candidates"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>',
        "Candidates",
    )
