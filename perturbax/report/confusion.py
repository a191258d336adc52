"""Confusion matrices of the report, as HTML: which classes were taken for which."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from perturbax.report.compare import Section, VariantRuns
from perturbax.report.document import breakable, scrolled
from perturbax.report.numbers import DASH, count
from perturbax.report.read import as_dict, as_number

LONGEST = 16  # characters of a class name


class Confusion(NamedTuple):
    """A confusion matrix.

    Attributes:
        classes: names.
        counts: for each right class, how often each class was the answer.
    """

    classes: list[str]
    counts: list[list[float]]


def confusion_tables(section: Section) -> str:
    """Return the confusion matrix of the lowest seed of each variant; empty where none has kept one."""
    tables = []
    for variant in section.variants:
        found = _stored(variant)
        if found:
            tables.append(_table(variant.label, found))
    if not tables:
        return ""
    note = (
        "Test part, the lowest seed of each variant. Rows: the right class; columns: the answer; at the end: "
        "the share of the class that was found. Shades: shares of a row."
    )
    return f'{scrolled("".join(tables), "Confusion of classes")}<p class="none">{note}</p>'


def _stored(variant: VariantRuns) -> Confusion | None:
    """Return what the run with the lowest seed has stored; None for nothing, or nothing usable."""
    confusion = as_dict(as_dict(variant.first.result).get("confusion"))
    names, lines = confusion.get("classes"), confusion.get("counts")
    if not isinstance(names, list) or not isinstance(lines, list) or not names or len(lines) != len(names):
        return None
    counts: list[list[float]] = []
    for line in lines:
        numbers = [as_number(entry) for entry in line] if isinstance(line, list) else []
        if len(numbers) != len(names) or not all(math.isfinite(n) and n >= 0 for n in numbers):
            return None
        counts.append(numbers)
    return Confusion([_shown(name) for name in names], counts)


def _table(label: str, confusion: Confusion) -> str:
    """Return a confusion matrix as HTML; label: of its variant."""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in confusion.classes)
    rows = "".join(
        _row(name, number, line)
        for number, (name, line) in enumerate(zip(confusion.classes, confusion.counts, strict=True))
    )
    return (
        f'<table class="confusion"><caption><span>{breakable(label)}</span></caption>'
        f'<thead><tr><th scope="col" class="text">right class</th>{heads}'
        f'<th scope="col">found</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _row(name: str, number: int, line: Sequence[float]) -> str:
    """Return the counts of one right class, as HTML; number: its place in the line."""
    total = sum(line)
    cells = "".join(f'<td style="{_shade(entry, total)}">{count(entry)}</td>' for entry in line)
    found = f"{line[number] / total:.0%}" if total else DASH
    return f'<tr><th scope="row" class="text">{escape(name)}</th>{cells}<td>{found}</td></tr>'


def _shade(entry: float, total: float) -> str:
    """Return the style of a cell: the darker, the larger its share of the row."""
    share = entry / total if total else 0.0
    return f"background:rgba(0,114,178,{0.4 * share:.3f})"


def _shown(name: Any) -> str:
    """Return the name of a class on one line, shortened."""
    text = str(name)
    text = text if text.isprintable() and text.strip() else repr(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "\u2026"
