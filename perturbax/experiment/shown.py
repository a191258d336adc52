"""How results show themselves: short text where Python prints them, a table in notebooks. Needs no JAX."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

CELL = ' style="text-align: right"'


def short(value: Any) -> str:
    """Return a value in few characters: numbers with four digits, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return ",".join(map(short, value))
    return str(value)


def aligned(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as lines of text whose columns are aligned to the right.

    Arguments:
        head: what stands above each column.
        rows: the values of each row.
    """
    cells = [list(head), *([short(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells
    )


def html_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as HTML, every text in it escaped.

    Arguments:
        caption: what stands above the table.
        head: what stands above each column.
        rows: the values of each row.
    """
    heads = "".join(f'<th scope="col"{CELL}>{escape(name)}</th>' for name in head)
    lines = "".join(
        "<tr>" + "".join(f"<td{CELL}>{escape(short(value))}</td>" for value in row) + "</tr>" for row in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )


def named_values(values: Mapping[str, Any]) -> str:
    """Return names and values as they would be typed in a call, those of text in quotes."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
