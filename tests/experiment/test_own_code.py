"""Code of one's own: kept in the run folder, and run from there only where the user trusts it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import error_of

import perturbax as px
from perturbax.errors import ArgumentError, PerturbaxError, StoreError
from perturbax.experiment import own_code
from perturbax.experiment.predict import open_for_forecasts
from perturbax.experiment.resolve import resolve
from perturbax.experiment.seeds import missing
from perturbax.network.arrays import from_named_arrays

OLD = Path(__file__).parent / "data" / "node" / "stopped"  # a run of 0.1.0, whose settings carry no digest
TELLTALE = "from pathlib import Path\nPath('ran').touch()\n"  # what an import would leave behind
CELL = (
    TELLTALE
    + "import perturbax as px\nfrom scale_of_it import SCALE\nclass Cell(px.cells.Tanh): scale = SCALE\n"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a module that says when it is imported."""
    (tmp_path / "not_mine.py").write_text(TELLTALE + "def noise(key, shape, dtype): pass\nclass Cell: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path, str(tmp_path)])
    return tmp_path


def naming(folder, **changed):
    """A copy of a run folder, not finished, whose settings name something else."""
    shutil.copytree(OLD, folder)
    config = json.loads((folder / "config.json").read_text())
    for name, value in changed.items():
        own = config["experiment"]
        if "__" in name:
            kind, _, name = name.partition("__")
            own = own[f"{kind}_options"]
        own[name] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


NAMES = [
    {"cell": "not_mine:Cell"},
    {"rule": "not_mine:Cell"},
    {"task": "not_mine:Cell"},
    {"rule__noise": "not_mine:noise"},
    {"rule__noise": "posixpath:join"},
    {"task__env": "not_mine:Env-v0"},
    {"cell": "os:system"},
    {"cell": "perturbax.plugins:os"},
    {"cell": "perturbax.__main__:main"},
    {"rule__noise": "perturbax.plugins:import_object"},
    {"rule": "perturbax.cells.tanh:Tanh"},
]


@pytest.mark.parametrize("changed", NAMES, ids=lambda changed: "=".join(*changed.items()))
def test_a_folder_names_no_module_that_is_not_ours(changed, place, capsys):
    folder = naming(place / "r", **changed)
    (name,) = changed.values()
    words = (
        re.escape(f"{folder} names code that is not part of perturbax: ") + f".*{re.escape(name)}.*--trust"
    )
    with pytest.raises(ArgumentError, match=words):
        px.resume(folder)
    if "cell" in changed:
        with pytest.raises(ArgumentError, match=words):
            px.load(folder)
    if "rule__noise" not in changed and "rule" not in changed:
        with pytest.raises(ArgumentError, match=words):
            open_for_forecasts(folder, place / "no.csv")
    for argv in (
        ["run", "--resume", folder],
        ["run", "--config", folder / "config.json", "--out", place / "out"],
        ["diagnose", "--run", folder],
    ):
        status, line = error_of(capsys, argv)
        assert status == 2
        assert "--trust" in line
    e = resolve(px.Experiment(task="copy", units=(2,), steps=1, batch=1))
    with pytest.raises(ArgumentError, match="holds another run"):
        missing(e, {0: folder}, "")
    assert not (place / "ran").exists()
    assert not (place / "out").exists()


def test_what_is_ours_or_typed_needs_no_trust(place):
    config = json.loads((OLD / "config.json").read_text())
    config["experiment"] |= {"cell": "perturbax.cells.gru:GRU", "rule": "not_mine:Cell"}
    config["experiment"]["rule_options"] = {"noise": "perturbax.learning.noise:Gaussian"}
    with own_code.code_of(place, config, False, kinds=("cell",)):
        pass
    with own_code.code_of(place, config, False, typed=("rule",)):
        pass
    assert not (place / "ran").exists()


def test_arrays_name_nothing(place):
    folder = naming(place / "r")
    kept = next((folder / "checkpoint").iterdir())
    arrays = dict(np.load(kept))
    for file in (folder / "weights", kept):
        with open(file, "wb") as f:
            np.savez(f, **arrays, more=np.array([Path], dtype=object))
        assert b"pathlib" in file.read_bytes()
    with pytest.raises(StoreError, match="weights is damaged"):
        px.load(folder)
    with pytest.raises(StoreError, match="npz is damaged"):
        px.resume(folder)
    for encoding in ("key-not_mine", "key-os", "float-not_mine"):
        with pytest.raises(PerturbaxError):
            from_named_arrays({"a": np.ones(2)}, {f"['a']:{encoding}": np.ones(2, np.uint32)}, "weights")
    assert not (place / "ran").exists()


def test_only_known_places_import_by_name():
    root = Path(px.__file__).parent
    callers = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"\b(import_object|import_attribute)\(", path.read_text())
    }
    own = {"plugins.py", "experiment/options.py", "experiment/own_code.py", "learning/noise.py"}
    sent = {"jobs/perform.py", "jobs/hosts.py", "study/work.py"}  # these import what our own commands sent
    assert callers == own | sent


def test_source_is_kept_and_runs_elsewhere_once_it_is_trusted(place, capsys, monkeypatch):
    (place / "cell_of_mine.py").write_text(CELL)
    (place / "scale_of_it.py").write_text("SCALE = 1\n")
    own = px.Experiment(
        task="probe-now", rule="frozen", cell="cell_of_mine:Cell", units=(2,), steps=2, batch=2
    )
    result = px.run(own, "r")
    files = {"cell_of_mine.py": CELL, "scale_of_it.py": "SCALE = 1\n"}
    assert {p.name: p.read_text() for p in Path("r", "code").iterdir()} == files
    assert json.loads(Path("r", "config.json").read_text())["code"].keys() == files.keys()
    assert px.load("r").net.layers[0].scale == 1  # what this process was told to run
    assert not capsys.readouterr().err

    # Elsewhere, and after the working folder went on.
    monkeypatch.setattr("perturbax.plugins.NAMED", set())
    for name in ("cell_of_mine", "scale_of_it"):
        monkeypatch.delitem(__import__("sys").modules, name)
    (place / "scale_of_it.py").write_text("SCALE = 2\n")
    (place / "ran").unlink()
    with pytest.raises(ArgumentError, match=r"cell cell_of_mine:Cell, kept in r/code; .* trust=True"):
        px.load("r")
    assert not (place / "ran").exists()
    there = px.load("r", trust=True)
    said = "runs code that r names, as you trust it: cell cell_of_mine:Cell from r/code/cell_of_mine.py"
    assert capsys.readouterr().err == f"perturbax: {said}\n"
    assert (place / "ran").exists()
    assert there.net.layers[0].scale == 1
    assert np.array_equal(there.net.layers[0].W, result.net.layers[0].W)
    assert "cell_of_mine" not in __import__("sys").modules
    with pytest.raises(ArgumentError, match="it does not run unless"):
        px.load("r")  # trust is for once

    # A comparison does not go on with other code.
    e = resolve(own)
    with pytest.raises(ArgumentError, match="r holds a run of other code"):
        missing(e, {0: Path("r")}, "")
    Path("r", "code", "scale_of_it.py").write_text("SCALE = 3\n")
    monkeypatch.setattr("perturbax.plugins.NAMED", set())
    monkeypatch.delitem(__import__("sys").modules, "cell_of_mine")
    with pytest.raises(StoreError, match=r"scale_of_it.py was changed after the run was started"):
        px.load("r", trust=True)
