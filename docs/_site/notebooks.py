"""Notebooks as pages: their text, code and the outputs that are stored in them, as Markdown for MyST.

Only text and pictures are shown of outputs, the two kinds that the notebooks here have.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx


def to_markdown(notebook: dict[str, Any], keep_picture: Any) -> str:
    """Return a notebook as Markdown.

    Arguments:
        notebook: what its file holds, as JSON.
        keep_picture: (bytes of a PNG) -> the path under which the page finds it.
    """
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts.extend(_output(output, keep_picture) for output in cell.get("outputs", []))
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any], keep_picture: Any) -> str:
    """Return one output of a cell as Markdown."""
    if output["output_type"] == "stream":
        return f"```{{code-block}} text\n:class: output\n\n{''.join(output['text']).rstrip()}\n```"
    data = output["data"]
    if "image/png" in data:
        return f"![Output of the code above]({keep_picture(base64.b64decode(''.join(data['image/png'])))})"
    return f"```{{code-block}} text\n:class: output\n\n{''.join(data['text/plain']).rstrip()}\n```"


class NotebookParser(MystParser):
    """Parses a notebook as the Markdown that it amounts to."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parse a notebook into a document; pictures go into the folder of the build."""
        docs = Path(document.settings.env.srcdir)
        pictures = docs / "_build" / "pictures"
        pictures.mkdir(parents=True, exist_ok=True)

        def keep_picture(png: bytes) -> str:
            file = pictures / f"{hashlib.sha256(png).hexdigest()[:12]}.png"
            file.write_bytes(png)
            return "/" + file.relative_to(docs).as_posix()

        super().parse(to_markdown(json.loads(inputstring), keep_picture), document)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register notebooks as sources."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
