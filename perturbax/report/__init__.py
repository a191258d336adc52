"""Reports: saved runs to one self-contained HTML page that opens offline.

The module can be called, as `px.report(folders, out)`: see `perturbax.report.calls.report`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from perturbax.atomic import write, writing
from perturbax.errors import ArgumentError


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write the comparison of some run folders as one HTML page and return its path.

    The page depends on the folders alone: the same folders give the same bytes. Raises ArgumentError for
    something that is not a run folder or a variant that has one seed twice, StoreError for a file that cannot
    be read or written.

    Arguments:
        folders: the run folders.
        out: the page to write.
    """
    from perturbax.report.compare import (
        sections,  # matplotlib takes a while; importing perturbax.report should not
    )
    from perturbax.report.page import page
    from perturbax.report.read import read_runs

    if out.is_dir():
        raise ArgumentError(f"{out} is a folder; name a file for the report, such as {out / 'report.html'}")
    runs = read_runs(folders)
    html = page(sections(runs), [run.folder for run in runs], out)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write(out, html.encode())
    return out


class _Callable(ModuleType):
    """A module that can be called: `px.report` is this module and the function of that name."""

    def __call__(self, folders: Any, out: Path | str = "report.html") -> Path:
        """Return what `perturbax.report.calls.report` returns."""
        from perturbax.report.calls import report

        return report(folders, out)


sys.modules[__name__].__class__ = _Callable
