"""The reference: directives that document the public classes and functions from their docstrings.

`.. public-names:: network` documents every public name whose home is that room, so that a name added to
`perturbax/__init__.py` is documented by that alone. `.. registry:: RULES` documents what a registry holds.
The build fails when a public name stands nowhere.
"""

import inspect
import re
from typing import Any

from docstring_text import to_rst
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import perturbax as px

LOG = logging.getLogger(__name__)
MODULES = {"noise", "report"}  # public names that are modules: pages in docs/api name what is in them
WHOLE = {"devices"}  # public modules whose own names are documented, as px.devices.train


def home_of(name: str) -> str:
    """Return the room of a public name: `network` for `px.Network`."""
    return px._PLACES[name][0].split(".")[0]


def names_of(room: str) -> list[str]:
    """Return the public names of a room, classes and functions alone, by name."""
    modules = {name for name, (_, own) in px._PLACES.items() if own is None}
    registries = {"RULES", "CELLS", "TASKS"}
    found = [name for name in px._PLACES if home_of(name) == room and name not in modules | registries]
    return sorted(found, key=str.lower)


class Documented(SphinxDirective):
    """What the two directives have in common: lines of autodoc, parsed in place."""

    def parse(self, lines: list[str]) -> list[nodes.Node]:
        """Return the nodes of some lines of reStructuredText."""
        parent = nodes.section()
        parent.document = self.state.document
        self.state.nested_parse(StringList(lines, source="the public names"), 0, parent)
        return parent.children


class PublicNames(Documented):
    """`.. public-names:: ROOM` documents the public names of a room, with the methods that they define.

    Of a public module in WHOLE, all names in its `__all__`.
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the entries, one after the other."""
        lines: list[str] = []
        for room in self.arguments[0].split():
            module = getattr(px, room) if room in WHOLE else None
            if module is None:
                found = {f"perturbax.{name}": getattr(px, name) for name in names_of(room)}
                documented(self.env).update(names_of(room))
            else:
                names = sorted(module.__all__, key=str.lower)
                found = {f"perturbax.{room}.{name}": getattr(module, name) for name in names}
                documented(self.env).add(room)
            for place, value in found.items():
                kind = "autoclass" if isinstance(value, type) else "autofunction"
                lines += [f".. {kind}:: {place}"]
                lines += ["   :members:", ""] if kind == "autoclass" else [""]
        return self.parse(lines)


class Registry(Documented):
    """`.. registry:: RULES` documents each class of a registry under its name on the command line."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a section for each name, with its class and settings."""
        found: list[nodes.Node] = []
        room = self.arguments[0].lower()
        for name, cls in sorted(getattr(px, self.arguments[0]).items()):
            section = nodes.section(ids=[f"{room}-{name}"], names=[name])
            section += nodes.title("", "", nodes.literal("", name))
            place = cls.__module__ + "." + cls.__qualname__
            section += self.parse([f".. autoclass:: {place}", ""])
            found.append(section)
        documented(self.env).update({self.arguments[0], room})
        return found


def documented(env: Any) -> set[str]:
    """Return the public names that some page documents, as far as pages were read."""
    if not hasattr(env, "public_names"):
        env.public_names = set()
    return env.public_names


def check_all_documented(app: Sphinx, env: Any) -> None:
    """Warn, which ends the build, where a public name stands on no page."""
    missing = set(px.__all__) - documented(env) - MODULES - {"__version__"}
    if missing:
        LOG.warning("no page of docs/api documents %s", ", ".join(sorted(missing)))


def rewrite_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn the lines of a docstring into reStructuredText, in place."""
    lines[:] = to_rst(lines)


def shorten_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Return a signature without the modules of its types; that of a class, whose settings are explained one
    by one, without any types.
    """
    if what == "class" and signature:
        try:
            plain = inspect.signature(obj)
        except (TypeError, ValueError):
            return signature, returned
        bare = [p.replace(annotation=p.empty) for p in plain.parameters.values()]
        signature = str(plain.replace(parameters=bare, return_annotation=plain.empty))
        return re.sub(r"=<[^>]*>", "=...", signature), returned
    shorten = re.compile(r"\b(?:[a-z_][a-z_0-9]*\.)+(?=[A-Z])")
    return (
        shorten.sub("", signature) if signature else signature,
        shorten.sub("", returned) if returned else returned,
    )


def skip_fields(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what Python says of the fields of a named tuple: the docstring of its class explains them."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives and hooks."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("registry", Registry)
    app.connect("autodoc-process-docstring", rewrite_docstring)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("env-check-consistency", check_all_documented)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
