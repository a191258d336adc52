"""The search for a learning rate: candidates side by side, judged, printed, and handed on to a run."""

import dataclasses
import json

import pytest

import perturbax as px
from perturbax.cli import main
from perturbax.errors import ArgumentError
from perturbax.experiment.build import build
from perturbax.experiment.program import Compiled
from perturbax.experiment.result import read_experiment
from perturbax.experiment.run import run_seeds
from perturbax.experiment.search import discounted, tune
from perturbax.tasks.probes import Lag1

SMALL = px.Experiment(
    task="probe-lag1",
    units=(6,),
    batch=4,
    steps=40,
    logs=3,
    rule_options={"credit": "to-go", "discount": 1.0},
)
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


def alone(e):
    """Validation loss of the network that a plain run keeps, by the steps that `train.run` takes."""
    parts = build(e)
    compiled = Compiled(parts)
    state, losses = compiled.start(e.seed), []
    while int(state.step) < parts.experiment.steps:
        (state,), _, (metrics,), _ = compiled.advance([state], compiled.length)
        losses.append(float(metrics["loss"]))
    return min(losses)


def test_a_candidate_equals_a_plain_run(monkeypatch, x64):
    options = {**SMALL.rule_options, "discount": 0.7}
    want = alone(dataclasses.replace(SMALL, lr=3e-2, seed=5, rule_options=options))
    for limit in (512, 0):  # side by side, and in turns
        monkeypatch.setattr("perturbax.experiment.program.VECTORISE", limit)
        parts, trials = tune(SMALL, [3e-3, 3e-2], [0.7, 1.0], [0, 5])
        found = {(t.lr, t.discount): t.losses for t in trials}
        assert found[3e-2, 0.7][1] == pytest.approx(want, rel=1e-9)
        assert len({loss for losses in found.values() for loss in losses}) == 8
        assert [t.loss for t in trials] == sorted(t.loss for t in trials)
        assert parts.experiment.rule_options["discount"] == 1.0


def test_a_search_over_a_share_of_the_steps_is_a_short_run_in_the_program_of_the_long_one(x64):
    long = dataclasses.replace(
        SMALL, steps=12, logs=4, schedule="cosine", decorrelate="hidden", decor_lr=1e-3
    )
    short = dataclasses.replace(long, steps=6, logs=2)
    compiled = Compiled(build(long))
    _, trials = tune(long, [1e-2], decor_lrs=[1e-1, long.decor_lr], steps=6, width=1, compiled=compiled)
    for trial in trials:  # the matrices have a rate of their own
        own = dataclasses.replace(short, lr=1e-2, decor_lr=trial.decor_lr)
        assert trial.losses[0] == pytest.approx(alone(own), rel=1e-9)
    assert trials[0].losses != trials[1].losses
    (result,) = run_seeds(dataclasses.replace(long, lr=1e-2), [0], compiled=compiled)
    assert result.summary["compile_seconds"] == 0  # the search has paid
    again = px.run(dataclasses.replace(long, lr=1e-2))
    assert result.summary["test"] == again.summary["test"]
    assert result.experiment == again.experiment
    other = dataclasses.replace(long, lr=1e-2, decor_lr=1e-1)
    (result,) = run_seeds(other, [0], compiled=compiled)
    assert result.summary["compile_seconds"] == 0
    assert result.summary["test"] == px.run(other).summary["test"] != again.summary["test"]


def test_one_program_for_each_kind_of_pace():
    compiled = Compiled(build(SMALL))
    tune(SMALL, [1e-3], [0.9, 1.0], compiled=compiled)
    assert len(run_seeds(SMALL, [0, 1], compiled=compiled)) == 2  # as many lanes, but the rule's own discount


@pytest.mark.parametrize("steps", [0, -5, 41])
def test_a_search_is_no_longer_than_the_run(steps):
    with pytest.raises(ArgumentError, match="steps"):
        tune(SMALL, [1e-3], steps=steps)


def test_no_candidate_runs_twice():
    with pytest.raises(ArgumentError, match="twice"):
        tune(SMALL, [1e-3], [None, 1.0])  # the rule's own is 1.0
    with pytest.raises(ArgumentError, match="decor_lrs names a candidate twice"):
        tune(dataclasses.replace(SMALL, decorrelate="hidden", decor_lr=1e-3), [1e-3], decor_lrs=[None, 1e-3])


def test_rates_times_t_and_optimisers_that_start_from_the_rate(monkeypatch):
    """The published rules multiply the learning rate with T; rprop's first state depends on it."""
    e = px.Experiment(
        task="probe-lag1",
        rule="published-activity",
        units=(6,),
        batch=4,
        steps=12,
        logs=1,
        lr=1e-4,
        optimiser="rprop",
        schedule="constant",
    )
    held_out = Lag1.held_out

    def only_valid(self, part):
        assert part == "valid"  # test data are never read
        return held_out(self, part)

    with monkeypatch.context() as patched:
        patched.setattr(Lag1, "held_out", only_valid)
        trial = next(t for t in tune(e, [1e-2, 1e-4])[1] if t.lr == 1e-4)
    assert trial.losses[0] == pytest.approx(alone(e), rel=1e-5)


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
    argv = ["tune", "--task", "probe-lag1", "--units", "6", "--rule", "bptt", "--steps", "2", "--lr", "0.02"]
    assert main([*argv, "--out", str(tmp_path / "t")]) == 0
    found = json.loads((tmp_path / "t" / "tune.json").read_text())
    assert sorted(c["lr"] for c in found["candidates"]) == [0.002, 0.006, 0.02, 0.06, 0.2]
    assert {c["discount"] for c in found["candidates"]} == {None}
    assert discounted(build(SMALL).experiment)
    assert not discounted(build(dataclasses.replace(SMALL, rule_options={})).experiment)


def test_all_diverged_is_a_failure(capsys, tmp_path):
    argv = [
        *QUICK,
        "--optimiser",
        "sgd",
        "--clip",
        "0",
        "--lrs",
        "1e30",
        "--rule.discount",
        "1",
        "--out",
        str(tmp_path / "t"),
    ]
    assert main(argv) == 1
    assert capsys.readouterr().err.strip() == "perturbax: error: every candidate diverged: name lower --lrs"
    assert {p.name for p in (tmp_path / "t").iterdir()} == {"tune.json"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--lrs", "1e-3,x"], "lrs must be a finite number, not 'x'"),
        (["--lrs", "0"], "lrs must be above 0"),
        (["--lrs", "1e-3,0.001"], "lrs names a candidate twice"),
        (["--lrs", ","], "lrs names no candidate"),
        (["--discounts", "1.5"], "discount must lie between 0 and 1"),
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


def test_settings_are_checked():
    with pytest.raises(ArgumentError, match="seed must be"):
        tune(SMALL, [1e-3], seeds=[-1])
