"""What runs on a device cost, and what it made of the weights: a table."""

import math
from collections.abc import Mapping
from html import escape

from perturbax.report.numbers import count, rounded
from perturbax.report.read import Run, as_number

HEADS = ("run", "device", "seed", "writes", "trials", "seconds on it", "held off by", "rule")
TEXT = ("run", "device", "rule")


def device_table(runs: Mapping[str, list[Run]]) -> str:
    """Return the table of all runs on a device, as HTML; empty where there is none.

    Held off by: root mean square of held minus asked weights, as a share of that of the weights asked for.

    runs: the runs of each variant, by its name.
    """
    every = [(name, run) for name, of_variant in runs.items() for run in of_variant]
    rows = [_row(name, run) for name, run in every if run.device]
    if not rows:
        return ""
    heads = "".join(f'<th scope="col"{_aligned(head)}>{head}</th>' for head in HEADS)
    caption = (
        "Writes of weights, trials (sequences from rest) and time while the device was waited for, judging "
        "included. Held off by: root mean square of held minus asked weights, over that of the asked ones."
    )
    return (
        f'<table class="settings"><caption><span>{caption}</span></caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _row(name: str, run: Run) -> str:
    """Return the row of one run."""
    told = run.device
    off = as_number(told.get("held_off"))
    cells = (
        name,
        str(told.get("name", "")),
        str(run.seed),
        count(as_number(told.get("writes"))),
        count(as_number(told.get("trials"))),
        rounded(as_number(told.get("seconds"))),
        "not told" if math.isnan(off) else rounded(off),
        str(told.get("rule", "")),
    )
    aligned = (f"<td{_aligned(head)}>{escape(cell)}</td>" for head, cell in zip(HEADS, cells, strict=True))
    return f"<tr>{''.join(aligned)}</tr>"


def _aligned(head: str) -> str:
    """Return the attribute of a column that holds text."""
    return ' class="text"' if head in TEXT else ""
