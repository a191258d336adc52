"""Run folders of version 0.1.0 (in data/): resumed, loaded, reported, predicted from, and started from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import perturbax as px
from perturbax.cli import main
from perturbax.errors import StoreError
from perturbax.experiment.build import build
from perturbax.experiment.resolve import resolve
from perturbax.experiment.result import describe, read_config, read_experiment
from perturbax.experiment.run_folder import read_arrays, read_metrics

DATA = Path(__file__).parent / "data"
STOPPED = sorted(folder.parent.name for folder in DATA.glob("*/stopped"))
COMPARED = ("node-s0", "node-s1")
# The runs were compiled with other options and, for most readers, by another compiler for another processor:
# sums round differently, in losses by parts in 1e7, which estimates divide by a sigma of 0.1.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}

pytestmark = pytest.mark.filterwarnings("ignore:perturbax.noise is now:DeprecationWarning")


@pytest.fixture
def compared(tmp_path):
    """The folder that `compare` of 0.1.0 wrote, with its data file where config.json says that it is."""
    folder = tmp_path / "compare"
    shutil.copytree(DATA / "compare", folder)
    for name in COMPARED:
        path = folder / name / "config.json"
        config = json.loads(path.read_text())
        config["experiment"]["data"] = str(folder / "weather.csv")
        path.write_text(json.dumps(config))
    return folder


def check_metrics(got, want):
    """Assert that two lists of logged lines agree, times apart."""
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.keys() >= b.keys()
        for key in b.keys() - {"seconds", "compile_seconds"}:
            np.testing.assert_allclose(a[key], b[key], **CLOSE, err_msg=key)


def check_run(folder, whole):
    """Assert that a run came to the metrics, results and weights of one that 0.1.0 made."""
    check_metrics(read_metrics(folder), read_metrics(whole))
    got, want = (json.loads((f / "result.json").read_text()) for f in (folder, whole))
    assert got.keys() >= want.keys()
    for key in ("task", "rule", "cell", "seed", "steps", "status", "updates", "forward_passes", "best_step"):
        assert got[key] == want[key], key
    for group in ("test", "correlation", *(("baselines", name) for name in want["baselines"])):
        a, b = (r[group] if isinstance(group, str) else r[group[0]][group[1]] for r in (got, want))
        assert a.keys() == b.keys()
        for key in b:
            np.testing.assert_allclose(a[key], b[key], **CLOSE, err_msg=f"{group} {key}")
    a, b = read_arrays(folder / "weights"), read_arrays(whole / "weights")
    assert a.keys() == b.keys()
    for key in b:
        np.testing.assert_allclose(a[key], b[key], **CLOSE, err_msg=key)


OTHER_SINCE = "mirror"  # finds its feedback weights in one sequence, which took it many


@pytest.mark.parametrize("name", [name for name in STOPPED if name != "node"])  # which is below, under x64
def test_a_stopped_run_goes_on_to_where_it_would_have_come(name, tmp_path):
    shutil.copytree(DATA / name / "stopped", tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    result = px.resume(tmp_path / "run")
    if name == OTHER_SINCE:
        whole = json.loads((DATA / name / "whole" / "result.json").read_text())
        assert result.summary["steps"] == whole["steps"]
        assert result.summary["test"]["loss"] == pytest.approx(whole["test"]["loss"], rel=0.01)
        assert len(read_metrics(tmp_path / "run")) == len(read_metrics(DATA / name / "whole"))
    else:
        check_run(tmp_path / "run", DATA / name / "whole")
    assert (tmp_path / "run" / "metrics.jsonl").read_text().startswith(before)
    assert px.load(tmp_path / "run").summary == result.summary


def test_a_stopped_run_goes_on_in_float32_where_x64_is_set(x64, tmp_path):
    shutil.copytree(DATA / "node" / "stopped", tmp_path / "run")
    px.resume(tmp_path / "run")
    check_run(tmp_path / "run", DATA / "node" / "whole")
    assert {a.dtype.name for a in read_arrays(tmp_path / "run" / "weights").values()} == {"float32"}


def test_a_configuration_starts_the_run_again(tmp_path, capsys):
    config = DATA / "node" / "stopped" / "config.json"
    assert main(["run", "--config", str(config), "--out", str(tmp_path / "run")]) == 0
    check_run(tmp_path / "run", DATA / "node" / "whole")


@pytest.mark.parametrize("name", [*(f"{name}/stopped" for name in STOPPED), *COMPARED])
def test_a_configuration_is_still_that_run(name, compared):
    folder = compared / name if name in COMPARED else DATA / name
    old = read_config(folder)
    new = json.loads(json.dumps(describe(build(read_experiment(folder)))))
    for key, value in old["experiment"].items():
        now = new["experiment"].get(key)
        assert ({k: now[k] for k in value} if isinstance(value, dict) else now) == value, key
    for fact in ("sizes", "data", "unit"):
        assert new["facts"][fact] == old["facts"][fact]


# What came after version 0.1.0, and the value with which a class does what it did without: its default, or
# what `before` says. A setting that is not here is new: its value belongs here once that is true of it.
YOUNGER = {
    "digits": {"cost": "entropy", "hold": 1},
    "feedback": {"error": "told", "queries": 1, "shift": 1e-4},
    "guided": {"error": "told", "queries": 1, "shift": 1e-4},
    "lif": {"reset": "subtract"},
    "mackey-glass": {"form": "level", "season": 0},
    "mirror": {"error": "told", "queries": 1, "shift": 1e-4, "fit_examples": 0, "fits": 20},
    "reward": {"critic": "none", "critic_rate": 0.1, "lam": 0.95},
}
OF_SERIES = dict.fromkeys(("known", "series", "time"), "") | {"form": "level", "season": 0}
OF_SERIES |= {"calendar": False, "dates": "auto"}
YOUNGER |= {"weather": OF_SERIES, "series": OF_SERIES | {"answer": "row", "classes": False}}
RECORD = Path(__file__).parents[2] / "results" / "full"  # the runs of the reproduced paper


@pytest.mark.parametrize("folder", [DATA, RECORD], ids=["data", "record"])
def test_settings_younger_than_a_run_do_what_was_done_without_them(folder):
    paths = sorted(folder.rglob("config.json"))
    assert paths
    for path in paths:
        old = json.loads(path.read_text())["experiment"]
        now = resolve(read_experiment(path.parent)).to_dict()
        assert old.keys() >= now.keys(), path
        for kind in ("task", "rule", "cell"):
            had, has = old[f"{kind}_options"], now[f"{kind}_options"]
            younger = {name: value for name, value in has.items() if name not in had}
            neutral = YOUNGER.get(old[kind], {})
            assert younger == {name: neutral.get(name, "not in YOUNGER") for name in younger}, path


def test_a_finished_run_is_loaded(compared):
    result = px.load(compared / "node-s0")
    want = read_arrays(compared / "node-s0" / "weights")
    assert result.summary["test"]["mse"] == pytest.approx(18.08, abs=0.01)
    np.testing.assert_array_equal(result.net.layers[0].W, want["net.layers[0].W"])
    assert result.net.layers[0].U.shape == (3, 3, 3)
    assert len(result.metrics) == 2
    assert px.resume(compared / "node-s0").summary == result.summary
    with pytest.raises(StoreError, match="has kept no weights yet"):
        px.load(DATA / "node" / "stopped")


def test_forecasts_are_those_of_then(compared, capsys):
    out = compared / "new.csv"
    data = str(compared / "weather.csv")
    assert main(["predict", str(compared / "node-s0"), "--data", data, "--all", "--out", str(out)]) == 0
    got, want = (path.read_text().splitlines() for path in (out, compared / "forecast.csv"))
    assert got[0] == want[0]
    for a, b in zip(got[1:], want[1:], strict=True):
        (*words, x), (*same, y) = a.split(","), b.split(",")
        assert words == same
        np.testing.assert_allclose(float(x), float(y), rtol=1e-5)


def test_runs_are_reported(compared, capsys):
    folders = [compared / name for name in COMPARED] + [DATA / "node" / "stopped"]
    assert main(["report", *map(str, folders), "--out", str(compared / "page.html")]) == 0
    page = (compared / "page.html").read_text()
    assert "temperature" in page
    assert "has no result yet" in page


def test_compare_keeps_what_is_finished(compared, capsys):
    kept = {path: path.read_bytes() for path in compared.glob("node-s*/*")}
    words = "--task series --task.target temperature --cell gru --rules node --seeds 2 --units 3 --steps 4"
    words += " --batch 4 --logs 2 --optimiser sgd --lr 1e-2 --rule.sigma 0.1 --task.window 12"
    words += " --task.form level --task.lags 24"
    data = ["--data", str(compared / "weather.csv")]
    assert main(["compare", *words.split(), *data, "--out", str(compared)]) == 0
    assert {path: path.read_bytes() for path in compared.glob("node-s*/*")} == kept
    assert (compared / "report.html").exists()
