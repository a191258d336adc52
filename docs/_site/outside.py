"""Pages that lie outside docs/ (README, CONTRIBUTING, CHANGELOG) as pages of the site.

Such a page names its file in its first line, `<!-- from: ../README.md -->`, and is replaced by it; links are
led to where the site has what they name.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

PAGES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=(?:#[^)]*)?\))")


def moved_link(target: str, file: Path, page: Path, docs: Path) -> str:
    """Return a relative link of a file of the repository as the site has it.

    Arguments:
        target: the link, relative to the folder of the file.
        file: the file it stands in.
        page: the page of the site that shows the file.
        docs: the folder of the site's sources.
    """
    meant = (file.parent / target).resolve()
    if not meant.is_file():
        return target
    if meant.parent == docs.parent and meant.name in PAGES:
        return f"/{PAGES[meant.name]}"
    if meant == docs / "README.md":
        return "/index.md"
    return Path(os.path.relpath(meant, page.parent)).as_posix()


def read_outside(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace a page that names a file by that file, and mend its links."""
    docs = Path(app.srcdir).resolve()
    page = Path(app.env.doc2path(docname)).resolve()
    named = re.match(r"<!-- from: (\S+) -->", source[0])
    file = (docs / named[1]).resolve() if named else page
    if named:
        app.env.note_dependency(str(file))
        source[0] = file.read_text()
    if file.suffix in (".md", ".ipynb"):
        source[0] = LINK.sub(lambda found: moved_link(found[1], file, page, docs), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hook."""
    app.connect("source-read", read_outside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
