"""An Experiment is what was typed, a Resolved what is run: made once, and saved as runs always were."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError, StoreError
from perturbax.experiment import Experiment, Resolved
from perturbax.experiment.build import build
from perturbax.experiment.config import OF_ATTACKS, OF_BITS, OF_DEVICES, OF_PRUNING
from perturbax.experiment.resolve import resolve
from perturbax.experiment.result import read_experiment, read_resolved

SMALL = px.Experiment(task="probe-lag1", rule="frozen", units=3, steps=2, batch=2, logs=1)
NAMES = [field.name for field in dataclasses.fields(Experiment)]


def test_every_field_is_set():
    resolved = resolve(px.Experiment())
    assert [field.name for field in dataclasses.fields(Resolved)] == NAMES
    assert [name for name in NAMES if getattr(resolved, name) is None] == ["data", *OF_DEVICES]
    assert set(resolved.rule_options) == set(px_options("node"))
    assert resolved.units == (64,)


def px_options(rule):
    from perturbax.experiment.options import options

    return options(px.RULES[rule])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rule": "bptt", "passes": 60},
        {"mode": "online", "every": 1},
        {"passes": 60, "rule_options": {"samples": "auto"}},
        {"units": (4, 4), "residual": True, "normalise": True, "decorrelate": "hidden"},
    ],
)
def test_resolving_again_changes_nothing(fields):
    resolved = resolve(px.Experiment(task="probe-lag1", **fields))
    assert resolve(resolved) == resolved
    assert resolve(resolved.to_experiment()) == resolved


def test_a_run_resolves_once(monkeypatch):
    calls = []

    def counted(experiment):
        calls.append(experiment)
        return resolve(experiment)

    for module in ("run", "build"):
        monkeypatch.setattr(f"perturbax.experiment.{module}.resolve", counted)
    px.run(SMALL)
    assert calls == [SMALL]


def test_a_result_starts_another_run():
    first = px.run(SMALL)
    assert isinstance(first.experiment, Resolved)
    assert px.run(first.experiment).summary["test"] == first.summary["test"]
    longer = px.run(dataclasses.replace(first.experiment, steps=3))
    assert longer.experiment.steps == 3
    for budget in (
        dataclasses.replace(first.experiment, passes=3),
        first.experiment.changed(steps=None, passes=3),
    ):
        paid = px.run(budget).experiment
        assert (paid.steps, paid.passes) == (3, 0)
    other = first.experiment.changed(rule="bptt")
    assert isinstance(other, Experiment)
    assert other.rule_options == {}
    assert build(other).experiment.rule == "bptt"
    with pytest.raises(ArgumentError, match="batch must be above 0"):
        px.run(dataclasses.replace(first.experiment, batch=0))


def test_a_budget_waits_for_what_is_measured():
    waits = resolve(px.Experiment(task="probe-lag1", passes=60, rule_options={"samples": "auto"}))
    assert (waits.steps, waits.passes) == (30, 60)
    assert (waits.to_dict()["steps"], waits.to_dict()["passes"]) == (None, 60)
    stands = resolve(px.Experiment(task="probe-lag1", passes=60))
    assert (stands.steps, stands.passes) == (30, 0)
    assert (stands.to_dict()["steps"], stands.to_dict()["passes"]) == (30, None)


def test_a_saved_run_has_the_fields_of_an_experiment(tmp_path):
    result = px.run(SMALL, tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "config.json").read_text())["experiment"]
    not_done = ("heads", "plateau", "attack", *OF_ATTACKS, "prune", *OF_PRUNING, "bits", *OF_BITS)
    unsaid = (*OF_DEVICES, *not_done)
    assert list(saved) == [name for name in NAMES if name not in unsaid]
    assert saved["passes"] is None
    assert saved["steps"] == 2
    assert read_resolved(tmp_path / "run") == result.experiment == px.load(tmp_path / "run").experiment
    assert resolve(read_experiment(tmp_path / "run")) == result.experiment


def as_version_0_1_0_left_it(folder, config):
    """Write a run's configuration anew, and its arrays without the seals that are younger."""
    result = json.loads((folder / "result.json").read_text())
    for name, content in (("config.json", config), ("result.json", result)):
        (folder / name).write_text(json.dumps({k: v for k, v in content.items() if k != "layout"}))
    for path in (folder / "weights", folder / "predictions.npz", *folder.glob("checkpoint/*.npz")):
        with np.load(path) as arrays:
            kept = {name: arrays[name] for name in arrays.files if not name.startswith("layout.")}
        with path.open("wb") as file:
            np.savez(file, **kept)


def test_settings_younger_than_a_run_were_at_their_defaults(tmp_path):
    px.run(SMALL, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["experiment"]["normalise"]
    as_version_0_1_0_left_it(tmp_path / "run", config)
    loaded = px.load(tmp_path / "run").experiment
    assert (loaded.residual, loaded.normalise) == (False, False)
    del config["experiment"]["steps"]
    as_version_0_1_0_left_it(tmp_path / "run", config)
    with pytest.raises(StoreError, match="it has no steps"):
        px.load(tmp_path / "run")


def test_a_network_is_loaded_where_its_rule_is_unknown(tmp_path):
    px.run(SMALL, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    config["experiment"]["rule"] = "elsewhere:Mine"
    as_version_0_1_0_left_it(tmp_path / "run", config)
    assert px.load(tmp_path / "run").experiment.rule == "elsewhere:Mine"


def test_build_takes_what_was_typed_and_what_is_resolved():
    assert build(SMALL).experiment == build(resolve(SMALL)).experiment == resolve(SMALL)


def test_descriptions_need_no_jax():
    code = "import sys; from perturbax.experiment import Experiment, Resolved; print('jax' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_what_is_no_rule_is_refused():
    with pytest.raises(ArgumentError, match="is not a rule: it must derive from"):
        resolve(px.Experiment(rule="perturbax.cells:Tanh"))
