"""Saved state says whose it is: layout, precision, digests; every kind of leaf; older and newer folders."""

import dataclasses
import json
import shutil
from pathlib import Path

import helpers
import jax
import numpy as np
import pytest

import perturbax as px
from perturbax.cli import main
from perturbax.errors import ArgumentError, PerturbaxError, StoreError
from perturbax.experiment import run_folder
from perturbax.experiment.build import build
from perturbax.experiment.layout import LAYOUT, layout_of, sealed
from perturbax.experiment.resolve import resolve
from perturbax.experiment.run import run_seeds
from perturbax.experiment.seeds import missing

STEPS = 4
NEW = "layout.number", "layout.precision", "layout.run", "layout.digest"


def series(folder):
    """A decorrelated run on a series, whose file lies in the folder."""
    return px.Experiment(
        task="series",
        rule="one-step",
        data=str(folder / "series.csv"),
        units=(3,),
        steps=STEPS,
        batch=2,
        logs=2,
        lr=1e-2,
        decorrelate="hidden+input",
        decor_lr=0.1,
        task_options={"target": "a", "window": 8, "warmup": 4, "lags": 3},
    )


def train(root):
    """Two seeds side by side: finished in 0 and 1; in cut0 and cut1 as a kill after two steps leaves them."""
    rows = helpers.normal(jax.random.key(3), (200, 2)).cumsum(0) * 0.1
    lines = [f"{a:.4f},{b:.4f}" for a, b in np.asarray(rows)]
    (root / "series.csv").write_text("\n".join(["a,b", *lines]) + "\n")

    def copy(done, total, loss):
        if done == 2:
            for seed in "01":
                shutil.copytree(root / seed, root / f"cut{seed}")

    run_seeds(series(root), [0, 1], [root / "0", root / "1"], report=copy)
    return root


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Runs in float32, which no test may change."""
    return train(tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    """Runs in float64, which no test may change."""
    with jax.enable_x64(True):
        return train(tmp_path_factory.mktemp("double"))


def edit(path, **fields):
    """Change settings of a config.json."""
    config = json.loads(path.read_text())
    config["experiment"] |= fields
    path.write_text(json.dumps(config))


def renumber(path, number):
    """Give a config.json another layout number."""
    config = json.loads(path.read_text())
    config["layout"]["number"] = number
    path.write_text(json.dumps(config))


def raw(path):
    """All that a file of arrays holds."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_every_file_says_whose_it_is(single):
    config = json.loads((single / "0" / "config.json").read_text())
    assert config["layout"]["number"] == LAYOUT
    assert config["layout"]["precision"] == "float32"
    for file in ("weights", "predictions.npz", f"checkpoint/step-{STEPS:09d}.npz"):
        content = raw(single / "0" / file)
        assert set(NEW) <= set(content)
        assert content["layout.run"] == config["layout"]["digest"]
        assert not set(NEW) & set(run_folder.read_arrays(single / "0" / file))
    other = json.loads((single / "1" / "config.json").read_text())  # of another seed
    assert config["layout"]["digest"] != other["layout"]["digest"]


def test_what_does_not_change_numbers_may_change(single, tmp_path):
    shutil.copytree(single / "0", tmp_path / "r")
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    config["name"], config["experiment"]["data"] = "mine", str(tmp_path / "moved.csv")
    (tmp_path / "r" / "config.json").write_text(json.dumps(config))
    assert px.load(tmp_path / "r").summary["steps"] == STEPS


def newer_weights(folder, other):
    content = raw(folder / "weights") | {"layout.number": np.asarray(LAYOUT + 1)}
    run_folder.write_arrays(folder / "weights", content)


def changed_weights(folder, other):
    content = raw(folder / "weights")
    content["net.layers[0].W"] = content["net.layers[0].W"] + 1e-3
    run_folder.write_arrays(folder / "weights", content)


def changed_scaling(folder, other):
    content = raw(folder / "weights")
    name = next(name for name in content if name.startswith("scaling."))
    run_folder.write_arrays(folder / "weights", {k: v for k, v in content.items() if k != name})


def bare_weights(folder, other):
    run_folder.write_arrays(folder / "weights", run_folder.read_arrays(folder / "weights"))


def cut_weights(folder, other):
    (folder / "weights").write_bytes((folder / "weights").read_bytes()[:-40])


def spoil(folder, **fields):
    """Write result.json with other values."""
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def unseal(folder):
    """Write result.json as before there were digests of it."""
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({k: v for k, v in result.items() if k != "layout"}))


def log_anew(folder, line, loss):
    """Write another loss into a line of metrics.jsonl, or leave out the last one."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    if line is None:
        lines.pop()
    else:
        lines[line]["valid_loss"] = loss
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))


LOADED = {
    "weights of a newer version": (newer_weights, "written by a newer perturbax"),
    "an array changed": (changed_weights, "changed after it was written"),
    "an array left out": (changed_scaling, "changed after it was written"),
    "weights without a layout": (bare_weights, "no layout number"),
    "weights cut short": (cut_weights, "cut short"),
    "weights of another seed": (
        lambda folder, other: shutil.copy(other / "weights", folder / "weights"),
        "belongs to another run",
    ),
    "a seed edited": (lambda folder, other: edit(folder / "config.json", seed=1), "edited after"),
    "a rate edited": (lambda folder, other: edit(folder / "config.json", lr=0.5), "edited after"),
    "a newer version": (
        lambda folder, other: renumber(folder / "config.json", LAYOUT + 1),
        "a newer perturbax",
    ),
    "a result edited": (
        lambda folder, other: spoil(folder, test={"loss": 0.0}),
        "changed after it was written",
    ),
    "a result of another seed": (
        lambda folder, other: shutil.copy(other / "result.json", folder / "result.json"),
        "belongs to another run",
    ),
    "a logged line edited": (lambda folder, other: log_anew(folder, -1, 0.0), "changed after the run ended"),
    "the last line left out": (
        lambda folder, other: log_anew(folder, None, 0.0),
        "changed after the run ended",
    ),
    "no number": (lambda folder, other: renumber(folder / "config.json", "two"), "no version writes"),
}


@pytest.mark.parametrize("name", LOADED)
def test_finished_runs_that_are_not_as_written_are_refused(name, single, tmp_path, capsys):
    change, words = LOADED[name]
    shutil.copytree(single / "0", tmp_path / "0")
    change(tmp_path / "0", single / "1")
    for read in (px.load, px.resume):
        with pytest.raises(StoreError, match=words) as caught:
            read(tmp_path / "0")
        assert "\n" not in str(caught.value)
    out = tmp_path / "out.csv"
    assert (
        main(["predict", str(tmp_path / "0"), "--data", str(single / "series.csv"), "--out", str(out)]) == 1
    )
    assert words in capsys.readouterr().err
    assert not out.exists()


MEASURED = ("a result edited", "a result of another seed", "a logged line edited", "the last line left out")


@pytest.mark.parametrize(
    "name", ["a newer version", "a seed edited", "predictions of another seed", *MEASURED]
)
def test_reports_and_comparisons_ask_too(name, single, tmp_path, capsys):
    shutil.copytree(single / "0", tmp_path / "0")
    if name == "predictions of another seed":
        shutil.copy(single / "1" / "predictions.npz", tmp_path / "0" / "predictions.npz")
        words = "belongs to another run"
    elif name in MEASURED:
        change, words = LOADED[name]
        change(tmp_path / "0", single / "1")
    else:
        change, words = LOADED[name]
        change(tmp_path / "0", single / "1")
        e = resolve(series(single))
        data = json.loads((single / "0" / "config.json").read_text())["facts"]["data"]
        with pytest.raises(PerturbaxError, match=words):
            missing(e, {0: tmp_path / "0"}, data)
    assert main(["report", str(tmp_path / "0"), "--out", str(tmp_path / "page.html")]) == 1
    assert words in capsys.readouterr().err


def test_a_result_of_before_there_were_digests_is_read(single, tmp_path):
    shutil.copytree(single / "0", tmp_path / "0")
    unseal(tmp_path / "0")
    log_anew(tmp_path / "0", -1, 0.0)
    assert px.load(tmp_path / "0").summary == px.load(single / "0").summary
    assert "layout" not in px.load(single / "0").summary


def test_a_config_of_a_newer_version_starts_no_run_and_an_edited_one_does(single, tmp_path, capsys):
    shutil.copy(single / "0" / "config.json", tmp_path / "c.json")
    edit(tmp_path / "c.json", seed=1)
    assert main(["run", "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "r")]) == 0
    renumber(tmp_path / "c.json", LAYOUT + 1)
    assert main(["run", "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "s")]) == 1
    assert "a newer perturbax" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


KEPT = f"checkpoint/step-{2:09d}.npz"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder, other: shutil.copy(other / KEPT, folder / KEPT), "belongs to another run"),
        (lambda folder, other: (folder / KEPT).write_bytes(b"PK"), "cut short"),
        (
            lambda folder, other: (folder / KEPT).rename(folder / "checkpoint" / f"step-{3:09d}.npz"),
            "not what its name says",
        ),
        (
            lambda folder, other: run_folder.write_arrays(
                folder / KEPT, raw(folder / KEPT) | {"key": np.zeros(2, np.uint32)}
            ),
            "changed after it was written",
        ),
        (lambda folder, other: edit(folder / "config.json", steps=8), "edited after"),
    ],
)
def test_stopped_runs_that_are_not_as_written_are_refused(change, words, single, tmp_path):
    shutil.copytree(single / "cut0", tmp_path / "r")
    change(tmp_path / "r", single / "cut1")
    before = (tmp_path / "r" / "metrics.jsonl").read_bytes()
    with pytest.raises(StoreError, match=words) as caught:
        px.resume(tmp_path / "r")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "r" / "metrics.jsonl").read_bytes() == before


def age(folder):
    """Make of a folder what a version wrote that had no `residual` yet, and D the other way round."""
    config = json.loads((folder / "config.json").read_text())
    config.pop("layout", None)
    del config["machine"]
    for name in ("residual", "normalise"):
        del config["experiment"][name]
    (folder / "config.json").write_text(json.dumps(config))
    unseal(folder)
    for path in (folder / "weights", *(folder / "checkpoint").glob("*.npz")):
        arrays = {name: a.T if "decor[" in name else a for name, a in run_folder.read_arrays(path).items()}
        run_folder.write_arrays(path, arrays)


def test_a_folder_of_before_D_was_transposed_is_refused(single, tmp_path, capsys):
    shutil.copytree(single / "0", tmp_path / "whole")
    age(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut" / "result.json").unlink()
    for read, folder in ((px.load, "whole"), (px.resume, "whole"), (px.resume, "cut")):
        with pytest.raises(StoreError, match="D was stored the other way round"):
            read(tmp_path / folder)
    out = str(tmp_path / "out.csv")
    assert main(["predict", str(tmp_path / "whole"), "--data", str(single / "series.csv"), "--out", out]) == 1
    assert main(["diagnose", "--run", str(tmp_path / "whole"), "--draws", "4"]) == 1
    words = "--config and another --out"
    assert capsys.readouterr().err.count(words) == 2


def test_a_folder_without_D_of_before_is_read(tmp_path):
    shutil.copytree(Path(__file__).parent / "data" / "compare" / "node-s0", tmp_path / "r")
    want = px.load(tmp_path / "r")
    age(tmp_path / "r")
    got = px.load(tmp_path / "r")
    np.testing.assert_array_equal(got.net.layers[0].U, want.net.layers[0].U)


def forecasts(folder, data, out):
    """What `predict` writes."""
    assert main(["predict", str(folder), "--data", str(data), "--out", str(out)]) == 0
    return out.read_text()


def test_a_float32_run_stays_one_where_x64_is_set(single, tmp_path, capsys):
    shutil.copytree(single / "cut0", tmp_path / "0")
    want = forecasts(single / "0", single / "series.csv", tmp_path / "a.csv")
    with jax.enable_x64(True):
        assert build(series(single)).task.rows.x.dtype == "float64"  # of the same file, by the same process
        px.resume(tmp_path / "0")
        result = px.load(tmp_path / "0")
        assert forecasts(tmp_path / "0", single / "series.csv", tmp_path / "b.csv") == want
        data = json.loads((single / "0" / "config.json").read_text())["facts"]["data"]
        with pytest.raises(ArgumentError, match="JAX_ENABLE_X64=0"):
            missing(resolve(series(single)), {0: tmp_path / "0"}, data)
        assert main(["diagnose", "--run", str(tmp_path / "0"), "--draws", "4"]) == 2
        assert "JAX_ENABLE_X64=0" in capsys.readouterr().err
        assert main(["report", str(tmp_path / "0"), "--out", str(tmp_path / "page.html")]) == 0
    assert {leaf.dtype for leaf in jax.tree.leaves(result.net)} == {np.dtype("float32")}
    for file in ("weights", "predictions.npz"):
        assert (tmp_path / "0" / file).read_bytes() == (single / "0" / file).read_bytes()


def test_a_float64_run_asks_for_x64(double, tmp_path, capsys):
    shutil.copytree(double / "cut0", tmp_path / "0")
    for read, folder in ((px.resume, tmp_path / "0"), (px.load, double / "0"), (px.resume, double / "0")):
        with pytest.raises(ArgumentError, match="JAX_ENABLE_X64=1"):
            read(folder)
    data = json.loads((double / "0" / "config.json").read_text())["facts"]["data"]
    with pytest.raises(ArgumentError, match="JAX_ENABLE_X64=1"):
        missing(resolve(series(double)), {0: double / "0"}, data)
    assert main(["report", str(double / "0"), "--out", str(tmp_path / "page.html")]) == 0
    got = forecasts(double / "0", double / "series.csv", tmp_path / "a.csv")
    with jax.enable_x64(True):
        px.resume(tmp_path / "0")
        assert forecasts(double / "0", double / "series.csv", tmp_path / "b.csv") == got
        assert {leaf.dtype for leaf in jax.tree.leaves(px.load(tmp_path / "0").net)} == {np.dtype("float64")}
    assert (tmp_path / "0" / "weights").read_bytes() == (double / "0" / "weights").read_bytes()


OWN = """
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from typing import Any

import perturbax as px

KINDS = {
    "typed keys": lambda: [jr.key(1), jr.split(jr.key(2, impl="rbg"), 3)],
    "few bits": lambda: [jnp.full(3, 0.3, jnp.bfloat16), jnp.ones(2, jnp.float8_e4m3fn), jnp.int4(3)],
    "whole": lambda: [jnp.arange(3, dtype=jnp.int8), jnp.array([True]), jnp.uint32(7)],
    "numpy": lambda: [np.float16(0.1), np.int32(4), np.ones((0, 2), np.float32)],
    "python": lambda: [True, 3, None],
    "weak": lambda: 0.1,
    "function": lambda: jnp.tanh,
    "text": lambda: "relu",
}
RULE = ("typed keys", "few bits", "whole", "numpy", "python", "weak")


class Cell(px.cells.Tanh):
    extra: Any

    def __init__(self, n_in, n, *, key, kinds: str = "", bias: bool = True):
        super().__init__(n_in, n, key=key, bias=bias)
        made = [KINDS[name]() for name in kinds.split(",") if name]
        self.extra = px.Fixed(made) if "weak" not in kinds else made


class Rule(px.SequenceRule):
    kinds: str = px.setting(",".join(RULE))
    facts = px.Facts(target="full gradient, exact", uses=px.RULES["bptt"].facts.uses)

    def init_state(self, net, x, key):
        return {name: KINDS[name]() for name in self.kinds.split(",")}

    def update(self, state, net, xs, ys, loss, key):
        value, grads = px.bptt(loss)(net, xs, ys)
        if "typed keys" in state:
            state = {**state, "typed keys": [jr.split(state["typed keys"][0])[0], state["typed keys"][1]]}
            value = value + 0 * jr.normal(state["typed keys"][0])
        return state, value, grads
"""


TASK = """
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import perturbax as px


class Task(px.Task):
    fault: str = px.setting("")
    sizes = (1, 1)
    steps = 3

    def sample(self, key, batch):
        xs = jr.normal(key, (3, batch, 1))
        return xs, xs

    def metrics(self, y, target):
        squares = (y - target) ** 2
        loss = squares.mean()
        return {
            "array": {"loss": loss, "each": squares.mean((0, 1))},
            "text": {"loss": loss, "name": "squares"},
            "no loss": {"mse": loss},
            "loss of each": {"loss": squares.mean((0, 2))},
            "no dict": loss,
        }.get(self.fault, {"loss": loss})

    def scaling(self):
        return {"columns": np.array([None, {}])} if self.fault == "scaling" else {}

    def baselines(self):
        return {"mine": {"loss": np.ones(3)} if self.fault == "baseline" else {"loss": 1.0}}
"""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("array", "metric 'each' of task Task must be one number, not an array of shape"),
        ("text", r"task Task: metrics\(y, target\) fails: .* a value of type <class 'str'>"),
        ("no loss", "metrics of task Task must be numbers by name, as a dict, with 'loss' among them"),
        ("loss of each", r"metric 'loss' of task Task must be one number, not an array of shape \(256,\)"),
        ("no dict", "metrics of task Task must be numbers by name"),
        ("scaling", "scaling 'columns' of task own_task:Task cannot be saved"),
        ("baseline", "baseline 'mine': metric 'loss' of task Task must be one number"),
    ],
)
def test_what_cannot_be_logged_is_refused_before_there_is_a_folder(fault, words, tmp_path, monkeypatch):
    (tmp_path / "own_task.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    e = px.Experiment(
        task="own_task:Task", rule="one-step", task_options={"fault": fault}, units=(2,), steps=2, batch=2
    )
    with pytest.raises(PerturbaxError, match=words):
        px.run(e, tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A run whose rule, network and optimiser keep what files of numpy do not know."""
    (tmp_path / "kinds_kept.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return px.Experiment(
        task="probe-lag1",
        rule="kinds_kept:Rule",
        cell="kinds_kept:Cell",
        cell_options={"kinds": "typed keys,few bits,whole,numpy,python"},
        optimiser="noisy_sgd",
        units=(3,),
        steps=4,
        batch=2,
        logs=2,
    )


def test_every_kind_of_state_is_restored_bit_for_bit(own, tmp_path):
    def copy(done, total, loss):
        if done == 2:
            shutil.copytree(tmp_path / "whole", tmp_path / "cut")

    px.run(own, tmp_path / "whole", report=copy)
    px.resume(tmp_path / "cut")
    kept = f"checkpoint/step-{4:09d}.npz"
    got, want = (run_folder.read_arrays(tmp_path / name / kept) for name in ("cut", "whole"))
    assert got.keys() == want.keys()
    for name in want.keys() - {"seconds", "compile_seconds"}:
        assert got[name].dtype == want[name].dtype
        assert got[name].tobytes() == want[name].tobytes(), name
    assert any(name.endswith(":key-rbg") for name in want)
    assert any(name.endswith(":bfloat16") for name in want)
    assert (tmp_path / "cut" / "weights").read_bytes() == (tmp_path / "whole" / "weights").read_bytes()
    assert str(px.load(tmp_path / "cut").net.layers[0].extra.value[0][0].dtype) == "key<fry>"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"rule_options": {"kinds": "function"}},
            r"learner.kept\['function'\] cannot be saved: it is a function",
        ),
        ({"rule_options": {"kinds": "text"}}, r"learner.kept\['text'\] cannot be saved: it is a str"),
        ({"cell_options": {"kinds": "function"}}, "extra.* cannot be saved: it is a function.*static"),
        ({"cell_options": {"kinds": "text"}}, "extra.* cannot be saved: it is a str.*static"),
        ({"cell_options": {"kinds": "weak"}}, "extra.* would become a weight.*static"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_there_is_a_folder(own, options, words, tmp_path):
    with pytest.raises(PerturbaxError, match=words) as caught:
        px.run(dataclasses.replace(own, optimiser="sgd", **options), tmp_path / "r")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_a_seal_is_of_one_run():
    layout = layout_of(Path("config.json"), {"experiment": {"residual": False}})._replace(precision="float32")
    whole = sealed({"a": np.arange(3)}, layout)
    other = sealed({"a": np.arange(3)}, layout._replace(digest="0"))
    assert whole["layout.digest"] != other["layout.digest"]
    assert sealed({"a": np.arange(3.0)}, layout)["layout.digest"] != whole["layout.digest"]
    assert sealed({"a": np.arange(3)[:, None]}, layout)["layout.digest"] != whole["layout.digest"]
