"""Docstrings as they are written here, as reStructuredText.

They are plain words, `code` in single backticks, indented blocks of code, and sections such as `Arguments:`.
"""

import ast
import re

SECTIONS = {
    "Arguments:": "Arguments",
    "Args:": "Arguments",
    "Attributes:": "Attributes",
    "Returns:": "Returns",
    "Raises:": "Raises",
}
CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
ENTRY = re.compile(r"^\s*(\*{0,2}[\w.,* ]+?):\s+(.*)$")


def indent_of(line: str) -> int:
    """Return how many spaces a line begins with."""
    return len(line) - len(line.lstrip())


def escaped(text: str) -> str:
    """Return text in which nothing but `code` means anything to reStructuredText.

    Code that touches a letter is set off by an escaped space, which is not shown.
    """
    out = ""
    for part in CODE.split(text):
        if not part.startswith("`"):
            after_code = out.endswith("``") and re.match(r"[\w\^*]", part)
            out += ("\\ " if after_code else "") + re.sub(r"([\\*|_])", r"\\\1", part)
            continue
        touches = re.search(r"[\w\])^=+.,;]$", out)
        out += ("\\ " if touches else "") + "``" + part.strip("`") + "``"
    return out


def is_python(code: list[str]) -> bool:
    """Return whether lines of a docstring are Python; the others are equations or tables."""
    try:
        ast.parse("\n".join(code))
    except SyntaxError:
        return False
    return True


def to_rst(lines: list[str]) -> list[str]:
    """Return the lines of a docstring as reStructuredText."""
    out: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        if line.strip() in SECTIONS and indent_of(line) == 0:
            i = _section(lines, i, out)
        elif indent_of(line) >= 4 and not line.isspace():
            i = _code(lines, i, out)
        else:
            i = _paragraph(lines, i, out)
    return out


def _paragraph(lines: list[str], i: int, out: list[str]) -> int:
    """Append the lines up to a blank one, a section or a block of code; code may break across lines."""
    taken = []
    while i < len(lines) and lines[i].strip() and lines[i].strip() not in SECTIONS:
        if taken and indent_of(lines[i]) >= 4:
            break
        taken.append(lines[i].strip())
        i += 1
    if taken:
        out.append(escaped(" ".join(taken)))
    out.append("")
    return i + 1 if i < len(lines) and not lines[i].strip() else i


def _code(lines: list[str], i: int, out: list[str]) -> int:
    """Append an indented block as code, with the blank lines inside it."""
    first = i
    while i < len(lines) and (not lines[i].strip() or indent_of(lines[i]) >= 4):
        i += 1
    block = lines[first:i]
    while block and not block[-1].strip():
        block.pop()
    margin = min(indent_of(line) for line in block if line.strip())
    code = [line[margin:] for line in block]
    out += ["", f".. code-block:: {'python' if is_python(code) else 'text'}", ""]
    out += ["   " + line if line.strip() else "" for line in code]
    out.append("")
    return i


def _section(lines: list[str], i: int, out: list[str]) -> int:
    """Append a section of named things as a list of definitions."""
    out += ["", f".. rubric:: {SECTIONS[lines[i].strip()]}", ""]
    i += 1
    out += [".. rst-class:: settings", ""]
    margin = indent_of(lines[i]) if i < len(lines) else 0
    while i < len(lines) and (not lines[i].strip() or indent_of(lines[i]) >= max(margin, 1)):
        entry = [lines[i]]
        i += 1
        while i < len(lines) and lines[i].strip() and indent_of(lines[i]) > margin:
            entry.append(lines[i])
            i += 1
        if not entry[0].strip():
            continue
        named = ENTRY.match(entry[0])
        if not named:
            out += [escaped(" ".join(part.strip() for part in entry)), ""]
            continue
        words = " ".join([named[2], *(part.strip() for part in entry[1:])])
        out += [f"``{named[1].strip()}``", "   " + escaped(words), ""]
    return i
