"""`tune`: what it prints, writes and refuses, and the run that its best settings start."""

import json

import pytest

import perturbax as px
from perturbax.cli import main
from perturbax.experiment.result import read_experiment

QUICK = [
    "tune",
    "--task",
    "probe-lag1",
    "--units",
    "6",
    "--batch",
    "4",
    "--passes",
    "800",
    "--steps",
    "60",
    "--logs",
    "2",
    "--rule.credit",
    "to-go",
]


def test_the_best_wins_and_hands_on_its_settings(capsys, tmp_path):
    out = tmp_path / "t"
    argv = [
        *QUICK,
        "--optimiser",
        "sgd",
        "--clip",
        "0",
        "--lrs",
        "1e-9,0.1,1e30",
        "--discounts",
        "1,0.5",
        "--seeds",
        "2",
        "--out",
        str(out),
    ]
    assert main(argv) == 0
    said = capsys.readouterr()
    assert said.err == ""
    rows = [line.split("│")[1:5] for line in said.out.splitlines() if line.startswith("│")]
    assert [float(row[0]) for row in rows] == [0.1, 0.1, 1e-9, 1e-9, 1e30, 1e30]
    assert ["best" in "".join(row) for row in rows] == [True, *[False] * 5]
    assert ["diverged at step" in row[2] for row in rows] == [False] * 4 + [True] * 2
    found = json.loads((out / "tune.json").read_text())
    assert found["seeds"] == [0, 1]
    assert found["experiment"]["steps"] == 60
    assert {"jax", "perturbax"} <= set(found["versions"])
    first, last = found["candidates"][0], found["candidates"][-1]
    assert (first["lr"], first["loss"]) == (0.1, pytest.approx(sum(first["losses"]) / 2))
    assert first["loss"] < 0.8 * found["candidates"][2]["loss"]  # a hopeless rate learns nothing
    assert last["loss"] is None
    assert all(at >= 1 for at in last["diverged_at"])
    # The whole run has the steps of its budget: a step of node perturbation costs two passes.
    e = read_experiment(out / "config.json")
    assert (e.lr, e.rule_options["discount"], e.steps) == (0.1, first["discount"], 400)
    assert (
        main(["run", "--config", str(out / "config.json"), "--steps", "4", "--out", str(tmp_path / "run")])
        == 0
    )
    assert px.load(tmp_path / "run").experiment.lr == 0.1
    # Neither another search nor a run goes on in the folder.
    before = {p: p.read_bytes() for p in out.iterdir()}
    assert main(argv) == 2
    assert main(["run", "--resume", str(out)]) == 1
    assert {p: p.read_bytes() for p in out.iterdir()} == before


def test_the_rate_of_decorrelation_is_searched_too(capsys, tmp_path):
    out = tmp_path / "t"
    argv = [
        *QUICK,
        "--decorrelate",
        "hidden",
        "--lrs",
        "1e-2",
        "--decor-lrs",
        "1e-4,1e-2",
        "--rule.discount",
        "1",
    ]
    assert main([*argv, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "decor_lr" in said
    rows = [line.split("│")[1:3] for line in said.splitlines() if line.startswith("│")]
    assert sorted(float(row[1]) for row in rows) == [1e-4, 1e-2]
    assert "the best decor_lr is at the edge" in said
    best = json.loads((out / "tune.json").read_text())["best"]
    assert best["decor_lr"] == float(rows[0][1]) == read_experiment(out / "config.json").decor_lr


def test_defaults_lie_around_what_is_shipped(capsys, tmp_path):
    argv = ["tune", "--task", "probe-lag1", "--units", "6", "--rule", "frozen", "--steps", "2"]
    assert main([*argv, "--lr", "0.02", "--out", str(tmp_path / "t")]) == 0
    found = json.loads((tmp_path / "t" / "tune.json").read_text())
    assert sorted(c["lr"] for c in found["candidates"]) == [0.002, 0.006, 0.02, 0.06, 0.2]
    assert {c["discount"] for c in found["candidates"]} == {None}


def test_all_diverged_is_a_failure(capsys, tmp_path):
    argv = [
        *QUICK,
        "--optimiser",
        "sgd",
        "--clip",
        "0",
        "--lrs",
        "1e30,2e30,3e30",
        "--discounts",
        "1,0.5",
        "--seeds",
        "2",
        "--out",
        str(tmp_path / "t"),
    ]
    assert main(argv) == 1
    assert capsys.readouterr().err.strip() == "perturbax: error: every candidate diverged: name lower --lrs"
    assert {p.name for p in (tmp_path / "t").iterdir()} == {"tune.json", "tune.html"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--lrs", "1e-3,x"], "lrs must be a finite number, not 'x'"),
        (["--lrs", "0"], "lrs must be above 0"),
        (["--lrs", "1e-3,0.001"], "lrs names a candidate twice"),
        (["--lrs", ","], "lrs names no candidate"),
        (["--discounts", "1.5"], "discount must be 0 or more and at most 1, not 1.5"),
        (["--discounts", "0.9", "--rule.credit", "same-step"], "no discount to tune"),
        (["--discounts", "0.9", "--rule", "bptt"], "unknown rule setting"),
        (["--decor-lrs", "1e-3"], "nothing is decorrelated here"),
        (["--decor-lrs", "0", "--decorrelate", "hidden"], "decor_lrs must be above 0"),
        (["--seeds", "0"], "seeds must be above 0"),
        (["--steps", "0"], "steps must be above 0"),
        (["--rule.samplse", "2"], "did you mean 'samples'"),
    ],
)
def test_wrong_arguments(capsys, more, message, tmp_path):
    assert main([*QUICK, *more, "--out", str(tmp_path / "t")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "t").exists()
