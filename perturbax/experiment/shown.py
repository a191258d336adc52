"""How results show themselves: short text where Python prints them, a table in notebooks. Needs no JAX."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

LEFT, RIGHT = (f' style="text-align: {side}"' for side in ("left", "right"))


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
    """Return a table as lines of text: columns of text begin at the left, those of numbers end at the right.

    Arguments:
        head: what stands above each column.
        rows: the values of each row.
    """
    cells = [list(head), *([short(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    texts = _columns_of_text(head, rows)
    lines = []
    for row in cells:
        placed = [
            cell.ljust(width) if is_text else cell.rjust(width)
            for cell, width, is_text in zip(row, widths, texts, strict=True)
        ]
        lines.append("  ".join(placed).rstrip())
    return "\n".join(lines)


def html_table(said: str | Sequence[str], head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as HTML, every text in it escaped.

    Arguments:
        said: what stands above the table, a line for each sentence.
        head: what stands above each column.
        rows: the values of each row.
    """
    lines = [said] if isinstance(said, str) else list(said)
    caption = "<br>".join(map(escape, lines))
    styles = [LEFT if is_text else RIGHT for is_text in _columns_of_text(head, rows)]
    heads = "".join(
        f'<th scope="col"{style}>{escape(name)}</th>' for style, name in zip(styles, head, strict=True)
    )
    body = ""
    for row in rows:
        cells = [f"<td{style}>{escape(short(value))}</td>" for style, value in zip(styles, row, strict=True)]
        body += f"<tr>{''.join(cells)}</tr>"
    return (
        f"<table><caption{LEFT}>{caption}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _columns_of_text(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[bool]:
    """Return for each column whether its first value is text that is no number."""
    first = rows[0] if rows else [""] * len(head)
    return [isinstance(value, str) and bool(value) for value in first]


def named_values(values: Mapping[str, Any]) -> str:
    """Return names and values as they would be typed in a call, those of text in quotes."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
