"""What every page has in common: its frame, its style sheet, the folder and the list of references."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from perturbax.atomic import write, writing
from perturbax.errors import StoreError
from perturbax.experiment.run_folder import write_json
from perturbax.report.css import CSS

SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
SECURITY = (
    f"default-src 'none'; script-src 'sha256-{_DIGEST}'; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""What a page may do (Content Security Policy): run its own script, and ask nobody but who served it."""


def document(kind: str, title: str, main: str, live: tuple[int, str] | None = None) -> str:
    """Return a page as one HTML file with its style sheet and script inside, nothing to download.

    Arguments:
        kind: the words above the title.
        title: title of the page.
        main: its content as HTML, escaped already.
        live: for a page that is watched, its number and what is said of its state; None for any other.
    """
    version = f' data-version="{live[0]}"' if live else ""
    said = f'<p class="live">{escape(live[1])}</p>' if live else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{SECURITY}">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main{version}>\n"
        f'<header><p class="eyebrow">perturbax {escape(kind)}</p><h1>{escape(title)}</h1>{said}</header>\n'
        f"{main}\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def breakable(name: str) -> str:
    """Return a long name, such as that of a variant with settings, as HTML that breaks where parts begin."""
    return "<wbr>".join(escape(part) for part in re.split(r"(?<=[:,(/_])", name) if part)


def scrolled(content: str, label: str) -> str:
    """Return tables in a box that scrolls sideways where they are too wide; keys reach it as well.

    Arguments:
        content: HTML, escaped already.
        label: what is in the box, for who cannot see it.
    """
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(label)}">{content}</div>'


def references(items: Iterable[str]) -> str:
    """Return a section of references; nothing where there are none. items: HTML, escaped already."""
    listed = "".join(f"<li>{item}</li>" for item in items)
    if not listed:
        return ""
    return f'<section class="references"><h2>References</h2><ol>{listed}</ol></section>'


def network_phrase(experiment: Mapping[str, Any]) -> str:
    """Return task and network of an experiment in words: `copy: tanh cell, 32 units, batch 8`."""
    units = ", ".join(map(str, experiment["units"]))
    return f"{experiment['task']}: {experiment['cell']} cell, {units} units, batch {experiment['batch']}"


def standalone(drawing: str) -> str:
    """Return a figure as a file of its own; with a white ground, for who shows it on a dark page.

    Arguments:
        drawing: SVG as it stands within a page.
    """
    named = drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return named.replace('style="', 'style="background:#fff;', 1)


def write_measurement(folder: Path, name: str, data: dict[str, Any], texts: Mapping[str, str]) -> Path:
    """Write what was measured, and what was drawn from it, into a folder, which is made where it is missing.

    Arguments:
        folder: the folder.
        name: of all files, without ending.
        data: content of the file that ends in `.json`, plain values.
        texts: content of the others by ending, `html` among them.

    Returns the path of the page. Raises StoreError where the folder is a file, or cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise StoreError(f"{folder} is not a folder: name another one")
    write_json(folder / f"{name}.json", data)
    for ending, text in texts.items():
        write(folder / f"{name}.{ending}", text.encode())
    return folder / f"{name}.html"
