"""What differs between the run in a folder and the one asked for is said by name."""

import dataclasses
import json

import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.experiment import run_folder
from perturbax.experiment.build import build
from perturbax.experiment.differences import differences, refuse_other
from perturbax.experiment.resolve import resolve
from perturbax.experiment.result import describe
from perturbax.experiment.seeds import missing

BASE = px.Experiment(task="probe-now", rule="node", units=4, steps=2, batch=2, lr=1e-3)
CHANGES = [
    ({"lr": 2e-3}, ["lr 0.002 asked, 0.001 stored"]),
    ({"units": (4, 4), "seed": 3}, ["units 4,4 asked, 4 stored", "seed 3 asked, 0 stored"]),
    ({"rule": "bptt"}, ["rule bptt asked, node stored"]),
    ({"rule_options": {"sigma": 1e-2}}, ["rule.sigma 0.01 asked, 0.001 stored"]),
    ({"rule_options": {"sigma": "auto"}}, []),
    ({"task_options": {"length": 7}}, ["task.length 7 asked, 8 stored"]),
    ({"cell": "gru", "residual": False}, ["cell gru asked, tanh stored"]),
    ({}, []),
]


@pytest.mark.parametrize(("changes", "said"), CHANGES)
def test_differences_are_said_by_name(changes, said):
    stored = resolve(BASE)
    changed = dataclasses.replace(BASE, **changes)
    assert differences(stored, resolve(changed)) == said


@pytest.fixture
def folder(tmp_path):
    run_folder.create(tmp_path / "run", describe(build(BASE)))
    return tmp_path / "run"


def test_an_occupied_folder_says_what_differs(folder):
    parts = build(BASE)
    data = parts.task.digest()
    other = dataclasses.replace(parts.experiment, lr=5.0, clip=2.0)
    with pytest.raises(
        ArgumentError, match=r"run holds another run \(lr 5 asked, 0.001 stored; clip 2 asked"
    ):
        refuse_other(folder, other, data)
    with pytest.raises(ArgumentError, match=r"holds this run already: .* --resume "):
        refuse_other(folder, parts.experiment, data)
    with pytest.raises(ArgumentError, match=r"holds another run \(other data\): name another"):
        refuse_other(folder, parts.experiment, "of another file")
    with pytest.raises(
        ArgumentError, match=r"another run \(lr 5 asked, 0.001 stored; clip .*\): name another --out$"
    ):
        missing(other, {7: folder}, data)
    assert missing(parts.experiment, {7: folder}, data) == []
    many = dataclasses.replace(other, steps=3, batch=5, units=(8,), every=2, logs=1)
    with pytest.raises(ArgumentError, match="; and 2 more"):
        refuse_other(folder, many, data)


def test_a_folder_that_cannot_be_read_is_refused_as_before(folder, tmp_path):
    e = resolve(BASE)
    (folder / "config.json").write_text(json.dumps({"experiment": 3}))
    with pytest.raises(ArgumentError, match="holds another run: name another --out"):
        refuse_other(folder, e, "")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file").write_text("")
    with pytest.raises(ArgumentError, match="not an empty folder"):
        refuse_other(tmp_path / "some", e, "")
    refuse_other(tmp_path / "none", e, "")
