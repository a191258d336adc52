"""The search for a learning rate: candidates side by side, judged as plain runs are."""

import dataclasses

import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.experiment.build import build
from perturbax.experiment.grid import plan_search
from perturbax.experiment.precision import computing
from perturbax.experiment.program import Compiled
from perturbax.experiment.run import run_seeds
from perturbax.experiment.search import discounted, tune
from perturbax.experiment.trials import Attempt
from perturbax.experiment.tuning import attempts_of, search
from perturbax.jobs.perform import Surroundings, own_threads
from perturbax.jobs.pool import Pool
from perturbax.tasks.probes import Lag1

SMALL = px.Experiment(
    task="probe-lag1",
    units=(6,),
    batch=4,
    steps=40,
    logs=3,
    rule_options={"credit": "to-go", "discount": 1.0},
)


def alone(e, compiled=None):
    """Validation loss of the network that a plain run keeps, by the steps that `train.run` takes.

    compiled: the program of a run that differs in learning rates alone.
    """
    parts = build(e)
    compiled = Compiled(parts) if compiled is None else compiled.with_parts(parts)
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
    of_short = Compiled(build(short))
    for trial in trials:  # the matrices have a rate of their own
        own = dataclasses.replace(short, lr=1e-2, decor_lr=trial.decor_lr)
        assert trial.losses[0] == pytest.approx(alone(own, of_short), rel=1e-9)
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
    states = [compiled.start(seed) for seed in (0, 1)]  # as many lanes, but the rule's own discount
    assert len(compiled.advance(states, compiled.length)[0]) == 2
    assert len(compiled._programs) == 2


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


def test_settings_are_checked():
    with pytest.raises(ArgumentError, match="seed must be"):
        tune(SMALL, [1e-3], seeds=[-1])


def test_a_discount_matters_where_credit_reaches_beyond_the_step():
    assert discounted(build(SMALL).experiment)
    assert not discounted(build(dataclasses.replace(SMALL, rule_options={})).experiment)


TINY = px.Experiment(task="probe-lag1", rule="frozen", units=(4,), batch=2, steps=20, logs=1)
OVER = {"lr": [1e-3, 1e-2], "batch": [2, 4]}


def candidates(tuned):
    return [{**one, "losses": tuple(one["losses"])} for one in tuned.candidates]


def test_a_search_that_is_stopped_goes_on_elsewhere_with_the_same_numbers(tmp_path, monkeypatch):
    """Two combinations, each a job; they are tried in memory, in this process, and in another process."""
    want = px.tune(TINY, over=OVER)
    begun = []
    leave = Attempt.leave

    def stopped(self, folder, report):
        begun.append(self.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        leave(self, folder, report)

    with monkeypatch.context() as patched:
        patched.setattr(Attempt, "leave", stopped)
        with pytest.raises(KeyboardInterrupt):
            px.tune(TINY, tmp_path / "t", over=OVER, workers=1)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "t" / "unfinished").iterdir()}
    assert sorted(kept) == ["0-0.json", "plan.json"]
    with pytest.raises(ArgumentError, match="holds another search, which was stopped"):
        px.tune(TINY, tmp_path / "t", over={**OVER, "lr": [1e-3]}, workers=1)
    with pytest.raises(ArgumentError, match="leave what they find in a folder"):
        px.tune(TINY, over=OVER, cluster="local")
    steps = []
    plan = plan_search(TINY, OVER)
    engine = Pool(1, Surroundings(own_threads(), computing()))
    tuned = search(plan, tmp_path / "t", lambda done, total, loss: steps.append((done, total)), engine)
    assert steps == [(4, 4)]  # two steps of each part, the first of which was kept
    assert candidates(tuned) == candidates(want)
    assert {path.name for path in (tmp_path / "t").iterdir()} == {"tune.json", "config.json"}


def test_large_networks_are_searched_one_learning_rate_apart(monkeypatch):
    monkeypatch.setattr("perturbax.experiment.program.VECTORISE", 0)
    plan = plan_search(TINY, {"lr": [1e-3, 1e-2]})
    assert [(one.name, one.lrs) for one in attempts_of(plan)] == [("0-0", (1e-3,)), ("0-1", (1e-2,))]
    apart = candidates(search(plan))
    monkeypatch.setattr("perturbax.experiment.program.VECTORISE", 512)
    assert len(attempts_of(plan)) == 1
    together = candidates(search(plan))
    assert [one["lr"] for one in apart] == [one["lr"] for one in together]
    assert [one["loss"] for one in apart] == pytest.approx([one["loss"] for one in together], rel=1e-5)
