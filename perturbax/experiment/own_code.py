"""Code of the user's own that a run names, as module:Class: its source is kept in the run folder, and what a
folder names is imported only where the user trusts it.

A folder may come from anybody. Its arrays are plain numbers; the names in its config.json are the only way
by which it could make Python run anything, and the command of its device that by which it could start another
program. So whoever is about to use these does so inside `code_of`: names of this package pass, and so do
classes that the user has imported, or named, in this process. All others need `trust`, which first says on
standard error which code is run, and then runs what was kept, not what lies in the working folder by now.
"""

import ast
import contextlib
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from perturbax.atomic import write, writing
from perturbax.devices.opening import vouch_for
from perturbax.errors import ArgumentError, PerturbaxError, StoreError
from perturbax.experiment.config import KINDS
from perturbax.experiment.named import names_of as names_of
from perturbax.learning.noise import Noise
from perturbax.learning.rule import Rule
from perturbax.network.layer import Layer
from perturbax.plugins import (
    NAMED,
    Kept,
    import_attribute,
    import_object,
    kept_object,
    names_standing,
    standing_for,
)
from perturbax.tasks.base import Task

FOLDER = "code"  # within a run folder
BASES: dict[str, type] = {"task": Task, "rule": Rule, "cell": Layer, "rule.noise": Noise}


# --- keeping the source


def sources_of(experiment: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the source of the user's own modules that a run names, and of what they import from beside them.

    Packages that are installed are not the user's own. Modules without a file, as those of a notebook, have
    no source to keep.

    experiment: the fields of an Experiment, by name.

    Returns the content of each file by its path under `code/`, such as `mine.py` or `package/rules.py`.
    """
    kept: dict[str, bytes] = {}
    for name in names_of(experiment).values():
        if stands := kept_object(name):
            kept |= stands.files
            continue
        module = sys.modules.get(name.partition(":")[0])
        if module is not None and (root := _root_of(module)) is not None:
            _keep(module, root, kept)
    return kept


def write_sources(folder: Path, sources: Mapping[str, bytes]) -> None:
    """Write the source of the user's own modules into a run folder; raises StoreError where that fails.

    Arguments:
        folder: the run folder.
        sources: the content of each file by its path under `code/`.
    """
    for path, content in sources.items():
        file = folder / FOLDER / path
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write(file, content)


def digests(sources: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file, in hexadecimal, as config.json holds them."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in sorted(sources.items())}


def _file_of(module: ModuleType) -> Path | None:
    """Return the source file of a module; None where it has none."""
    file = getattr(module, "__file__", None)
    path = None if file is None else Path(file).resolve()
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _root_of(module: ModuleType) -> Path | None:
    """Return the folder from which a module of the user's own is imported; None for any other module."""
    file = _file_of(module)
    if file is None:
        return None
    parts = 0 if module.__name__ == "__main__" else module.__name__.count(".")
    root = file.parents[parts + (file.name == "__init__.py")]
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
    ours = Path(__file__).resolve().parents[1]
    places = [file, *file.parents]
    return None if any(place in places for place in (*installed, ours)) else root


def _keep(module: ModuleType, root: Path, kept: dict[str, bytes]) -> None:
    """Add the source of a module, of the packages around it, and of what they import from that folder."""
    file = _file_of(module)
    if file is None or not file.is_relative_to(root):
        return
    path = file.relative_to(root).as_posix()
    if module.__name__ == "__main__":
        path = "__main__.py"
    if path in kept:
        return
    kept[path] = file.read_bytes()
    package = module.__name__ if file.name == "__init__.py" else module.__name__.rpartition(".")[0]
    for name in _imported(kept[path], package) | {package}:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            other = sys.modules.get(".".join(parts[:end]))
            if other is not None:
                _keep(other, root, kept)


def _imported(source: bytes, package: str) -> set[str]:
    """Return the full names of what a source imports, modules and perhaps names in them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{home}.{alias.name}" for alias in node.names}
    return found


# --- using what a folder names


@contextlib.contextmanager
def code_of(
    folder: Path,
    config: Mapping[str, Any],
    trust: bool,
    *,
    kinds: Collection[str] = KINDS,
    typed: Collection[str] = (),
) -> Iterator[None]:
    """Let the names of a run folder be imported inside; refuse those that are not ours, unless trusted.

    Where the folder is trusted, so is the command of its device, which `opened` refuses to start elsewhere.

    Arguments:
        folder: the run folder.
        config: the content of its config.json, or the part of it that is used, as `experiment`.
        trust: whether the user has said that code named by the folder may run.
        kinds: which names are used: of the task, the rule, the cell, each with its settings.
        typed: names that the user has typed instead of those of the folder, such as `rule` or `rule.noise`.

    Raises ArgumentError for names that are not trusted or cannot be imported, StoreError for kept source that
    was changed.
    """
    experiment = config.get("experiment")
    experiment = experiment if isinstance(experiment, Mapping) else {}
    device = experiment.get("device")
    if trust and isinstance(device, str):
        vouch_for(device)
    named = names_of(experiment)
    named = {place: name for place, name in named.items() if place.partition(".")[0] in kinds}
    named = {place: name for place, name in named.items() if place not in typed}
    code = config.get("code")
    kept = dict(code) if isinstance(code, Mapping) else {}
    foreign = {p: name for p, name in named.items() if not _is_ours(p, name) and not _is_known(p, name, kept)}
    if not foreign:
        yield
        return
    if not trust:
        raise ArgumentError(_refusal(folder, foreign, kept))
    print(f"perturbax: {_announcement(folder, foreign, kept)}", file=sys.stderr, flush=True)
    with standing_for(_loaded(folder, foreign, kept)):
        yield


def same_code(experiment: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether the source of the user's own modules is that which a run has kept, if it kept any.

    Arguments:
        experiment: the fields of an Experiment, by name; what it names has been imported.
        config: the content of the run's config.json.
    """
    kept = config.get("code")
    return not kept or kept == digests(sources_of(experiment))


def _is_ours(place: str, name: str) -> bool:
    """Whether a name is that of a class which this package defines, and which is of the kind asked for."""
    module, _, attribute = name.partition(":")
    parts = module.split(".")
    if parts[0] != "perturbax" or "__main__" in parts or place not in BASES:
        return False
    try:
        found = import_attribute(place, name)
    except ArgumentError:
        return False
    home = getattr(found, "__module__", None)
    ours = isinstance(home, str) and home.split(".")[0] == "perturbax" and not attribute.startswith("_")
    return ours and isinstance(found, type) and issubclass(found, BASES[place])


def _is_known(place: str, name: str, kept: Mapping[str, str]) -> bool:
    """Whether the user has named or imported this in this process, with the source that the run has kept."""
    module, _, attribute = name.partition(":")
    stands = kept_object(name)
    if stands is None:
        found = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
        of_kind = place in BASES and isinstance(found, type) and issubclass(found, BASES[place])
        if found is None or not (name in NAMED or of_kind):
            return False
    elif name not in names_standing():
        return False
    kind, _, setting = place.partition(".")
    own = {kind: name} if not setting else {f"{kind}_options": {setting: name}}
    now = digests(sources_of(own))
    return not kept or all(kept.get(path) == digest for path, digest in now.items())


def _refusal(folder: Path, foreign: Mapping[str, str], kept: Mapping[str, str]) -> str:
    """Return why a folder's names are not imported, and what to do."""
    listed = ", ".join(f"{place} {name}" for place, name in foreign.items())
    where = f", kept in {folder / FOLDER}" if kept else ""
    return (
        f"{folder} names code that is not part of perturbax: {listed}{where}; it does not run unless you "
        "have read and trust it: add --trust (in Python trust=True)"
    )


def _announcement(folder: Path, foreign: Mapping[str, str], kept: Mapping[str, str]) -> str:
    """Return the line that says which code is going to run."""
    pieces = []
    for place, name in foreign.items():
        module = name.partition(":")[0]
        path = next((path for path in kept if _module_of(path) == _module_of(f"{module}.py")), None)
        if path is not None:
            pieces.append(f"{place} {name} from {folder / FOLDER / path}")
            continue
        try:
            spec = importlib.util.find_spec(module.split(".")[0])  # of the package above: imports nothing
        except (ImportError, ValueError):
            spec = None
        pieces.append(
            f"{place} {name} from {spec.origin if spec and spec.origin else 'where Python finds it'}"
        )
    return f"runs code that {folder} names, as you trust it: {'; '.join(pieces)}"


def _loaded(folder: Path, foreign: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, Any]:
    """Return the objects that a folder names, imported from its kept source where there is one."""
    files = {}
    for path, digest in kept.items():
        place = PurePosixPath(path)
        if place.is_absolute() or ".." in place.parts or place.suffix != ".py":
            raise StoreError(f"{folder / 'config.json'} keeps code outside its folder: {path}")
        file = folder / FOLDER / path
        try:
            files[path] = file.read_bytes()
        except OSError as error:
            raise StoreError(f"{file} cannot be read: {error.strerror}") from error
        if hashlib.sha256(files[path]).hexdigest() != digest:
            raise StoreError(
                f"{file} was changed after the run was started: it no longer matches config.json"
            )
    modules = {_module_of(path) for path in files}
    found = {}
    with _KeptModules(folder / FOLDER, files).importable():
        for place, name in foreign.items():
            module, _, attribute = name.partition(":")
            if _module_of(f"{module}.py") in modules:
                module = _module_of(f"{module}.py")
                found[name] = Kept(import_attribute(place, f"{module}:{attribute}"), files)
            elif place != "task.env":  # that is imported by the package of the task
                found[name] = Kept(import_object(place, name), {})
    return found


def _module_of(path: str) -> str:
    """Return the name of the module that a kept file is imported as; a script is none that Python runs."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return "script_of_a_run" if name == "__main__" else name


class _KeptModules(MetaPathFinder, InspectLoader):
    """Imports modules from source that a run has kept, apart from modules of the same names."""

    def __init__(self, place: Path, files: Mapping[str, bytes]):
        self._place = place
        self._files = {_module_of(path): (path, content) for path, content in files.items()}
        for name in list(self._files):  # packages without an __init__.py
            while name := name.rpartition(".")[0]:
                self._files.setdefault(name, (f"{name.replace('.', '/')}/__init__.py", b""))

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Find the kept modules inside, and those of before again afterwards."""
        before = {name: sys.modules.pop(name) for name in self._files if name in sys.modules}
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)
            for name in self._files:
                sys.modules.pop(name, None)
            sys.modules.update(before)

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how to import a kept module; None for any other."""
        if fullname not in self._files:
            return None
        origin = str(self._place / self._files[fullname][0])
        return ModuleSpec(fullname, self, origin=origin, is_package=self.is_package(fullname))

    def is_package(self, fullname: str) -> bool:
        """Whether a kept module is a package."""
        return self._files[fullname][0].endswith("__init__.py")

    def get_source(self, fullname: str) -> str:
        """Return the source of a kept module."""
        path, content = self._files[fullname]
        try:
            return importlib.util.decode_source(content)
        except (SyntaxError, UnicodeDecodeError) as error:
            raise PerturbaxError(
                f"{self._place / path} is no source that Python can read: {error}"
            ) from error
