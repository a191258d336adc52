"""Public names: those of version 0.1.0 still give what they gave, and say where it is now."""

import ast
import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import perturbax as px
from perturbax import moved

ROOT = Path(px.__file__).parent
OLD = dict(
    line.split(": ") for line in (Path(__file__).parent / "data/names_0_1_0.txt").read_text().splitlines()
)
"""Modules of 0.1.0 and the public names that each defined."""

CONSTANTS_GONE = {
    "perturbax.cli": "AGAIN CHOICES EPILOG EXPERIMENTS KEPT METAVARS",
    "perturbax.commands": "LISTED RUN_NAMES",
    "perturbax.gradient": "DRAWN PACES ROWS",
    "perturbax.study.claims": "BEAT STALE",
    "perturbax.study.command": "STUDIES",
    "perturbax.study.work": "WAIT",
    "perturbax.study.workers": "Cores SILENT",
    "perturbax.taxonomy_command": "ASKED SETTINGS",
}
"""Texts and choices of the console, and numbers of claims and workers, that nothing stands for."""


def defines(module, name):
    """Whether the source of a module assigns a name, not only imports it."""
    file = ROOT.joinpath(*module.split(".")[1:])
    source = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    for node in ast.parse(source.read_text()).body:
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        parts = [part for target in targets for part in getattr(target, "elts", [target])]
        if name in {getattr(part, "name", getattr(part, "id", None)) for part in parts}:
            return True
    return False


def look_up(module, name):
    """What `from module import name` gives, and the DeprecationWarnings that it raises."""
    sys.modules.pop("perturbax.noise", None)  # warns when it is imported, not at each name
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        value = getattr(importlib.import_module(module), name)
    return value, [str(w.message) for w in seen if w.category is DeprecationWarning]


@pytest.mark.parametrize("module", OLD)
def test_old_names_work_and_say_where_they_are(module):
    for name in OLD[module].split():
        if name in CONSTANTS_GONE.get(module, "").split():
            with pytest.raises(AttributeError):
                look_up(module, name)
            continue
        if instead := moved.GONE.get(f"{module}.{name}".removeprefix("perturbax.")):
            with pytest.raises(AttributeError, match=re.escape(f"{name} is gone: use {instead}")):
                look_up(module, name)
            continue
        value, said = look_up(module, name)
        if not said:
            assert module.removeprefix("perturbax.") not in moved.MODULES
            continue
        old, new = re.match(r"(\S+) is now (\S+);", said[-1]).groups()
        if old == "perturbax.noise":
            old, new = f"{old}.{name}", f"{new}.{name}"
        assert old == f"{module}.{name}"
        home, _, own = new.rpartition(".")
        assert getattr(importlib.import_module(home), own) is value
        assert defines(home, own), f"{new} is imported there, but defined elsewhere"


def test_every_line_of_the_table_is_needed():
    known = {module.removeprefix("perturbax.") for module in OLD}
    assert set(moved.MODULES) <= known
    for name in {**moved.NAMES, **moved.GONE}:
        module, _, own = name.rpartition(".")
        assert own in OLD[f"perturbax.{module}"].split()


def test_what_stands_in_for_a_name_that_went_is_there():
    for instead in moved.GONE.values():
        if (ROOT.parent / instead).is_file():
            continue
        module, *names = re.match(r"(perturbax(?:\.[a-z_]+)*)\.(\w+)(?:\.(\w+))?", instead).groups()
        value = importlib.import_module(module)
        for name in filter(None, names):
            value = getattr(value, name)
        assert callable(value)


def test_each_way_of_asking_for_an_old_module():
    def old(name):
        return pytest.warns(DeprecationWarning, match=re.escape(f"perturbax.{name} is now perturbax."))

    with old("layer.Layer"):
        from perturbax.layer import Layer
    assert Layer is px.Layer
    from perturbax import store

    with old("store.read_arrays"):
        assert callable(store.read_arrays)
    import perturbax.rules.guess

    with old("rules.guess.Guess"):
        assert perturbax.rules.guess.Guess
    with old("rules.node.Node"):
        assert px.rules.node.Node is px.rules.Node
    with old("saved.load"):
        assert px.saved.load is px.load
    with old("rules.feedback.Feedback"):
        from perturbax.rules.feedback import Feedback
    assert Feedback is px.RULES["feedback"]
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = store.nothing
    for ask, near in (
        (lambda: px.learnr, "learner"),
        (lambda: px.rules.Nod, "Node"),
        (lambda: px.cells.GRUU, "GRU"),
    ):
        with pytest.raises(AttributeError, match=f"did you mean '{near}'"):
            ask()
    with pytest.raises(AttributeError, match="_private"):
        _ = store._private
    with pytest.raises(ModuleNotFoundError):
        import perturbax.nowhere


def test_the_warning_points_at_the_line_that_asks():
    code = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("default", "perturbax", DeprecationWarning, "__main__")
from perturbax.store import vacant
import perturbax.files
perturbax.files.write
from perturbax.errors import positive
from perturbax.noise import Gaussian
"""
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT.parent
    )
    assert re.findall(r"<string>:(\d+): DeprecationWarning", run.stderr) == ["5", "7", "8", "9"]


def test_an_old_path_as_setting():
    """As config.json of 0.1.0 says it."""
    from perturbax.learning.noise import Gaussian
    from perturbax.plugins import import_object

    sys.modules.pop("perturbax.noise", None)
    with pytest.warns(DeprecationWarning, match=r"perturbax\.noise is now perturbax\.learning\.noise"):
        assert import_object("noise", "perturbax.noise:Gaussian") is Gaussian
    with pytest.warns(DeprecationWarning, match=r"perturbax\.rules\.node\.Node is now"):
        assert import_object("rule", "perturbax.rules.node:Node") is px.rules.Node
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert px.noise.Gaussian is Gaussian


def test_packages_that_were_modules_keep_their_names():
    from perturbax.experiment import DEFAULTS, Experiment
    from perturbax.network import Network, Site

    assert (Experiment, Network, Site) == (px.Experiment, px.Network, px.Site)
    assert "units" in DEFAULTS


def test_no_module_of_perturbax_uses_an_old_name():
    code = """
import pkgutil, importlib, warnings
warnings.filterwarnings("error", "perturbax", DeprecationWarning)
import perturbax
for module in pkgutil.walk_packages(perturbax.__path__, "perturbax."):
    needs_more = module.name == "perturbax.experiment.sktime_adapter"
    if not (module.name.endswith("__main__") or needs_more):
        importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                paths = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                paths = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            for path in paths:
                old = path.removeprefix("perturbax.")
                public = file == ROOT / "__init__.py" and old == "noise"
                assert public or path == old or (old not in moved.MODULES and old not in moved.NAMES), file


def test_import_perturbax_is_light():
    code = """
import sys, perturbax, perturbax.cli, perturbax.experiment, perturbax.layer, perturbax.store
assert "jax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)


def test_the_table_of_public_names_is_what_type_checkers_see():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (block,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {
        alias.asname: f"{node.module}.{alias.name}".removeprefix("perturbax.")
        for node in block.body
        for alias in node.names
    }
    table = {name: ".".join(filter(None, place)) for name, place in px._PLACES.items()}
    assert table | {"report": "report.calls.report"} == seen  # the module `report` can be called
    assert sorted(seen) == sorted({*px.__all__} - {"__version__"})
    assert set(dir(px)) >= set(seen)
    for name in seen:
        assert getattr(px, name) is not None


def test_no_more_than_eight_files_lie_beside_the_rooms():
    assert len(list(ROOT.glob("*.py"))) <= 8


def test_the_changelog_lists_what_moved():
    text = (ROOT.parent / "CHANGELOG.md").read_text().split("### Moved")[1].split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for old, places in moved.MODULES.items():
        if not places:
            continue
        (row,) = (row for row in rows if row.startswith(f"| `{old}` |"))
        assert re.findall(r"`([\w.]+)`", row) == [old, *places]
    for old, new in moved.NAMES.items():
        module, _, name = old.rpartition(".")
        home, _, own = new.rpartition(".")
        said = name if name == own else rf"{name} \(now {own}\)"
        assert any(re.match(rf"\| `{module}`: .*\b{said}.* \| `{home}` \|", row) for row in rows), old
    for old, instead in moved.GONE.items():
        assert f"| `{old}` | `{instead}` |" in rows


def test_a_public_function_is_called_though_an_old_module_has_its_name(monkeypatch):
    monkeypatch.setattr("perturbax.report.calls.tune", lambda *args, **settings: (args, settings))
    importlib.import_module("perturbax.tune")
    assert px.tune("digits", over=1) == (("digits",), {"over": 1})
    shared = {name for name in moved.MODULES if name in px.__all__}
    assert shared == {"noise", "tune"}  # noise is the public module itself
