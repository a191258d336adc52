"""Runs: resumed bit for bit, online, diverged, saved and loaded, several seeds."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import tiny

import perturbax as px
from perturbax import store
from perturbax.build import build
from perturbax.errors import ArgumentError, StoreError
from perturbax.train import Compiled, resume, run_seeds

SMALL = px.Experiment(
    task="probe-lag1", rule="node", units=(8,), steps=30, batch=4, logs=6, lr=1e-2, rule_options={"credit": "to-go"}
)


class Stop(Exception):
    """Stands for a process that is killed."""


def stop_after(chunks):
    seen = []

    def report(done, total, loss):
        if np.isnan(loss):
            return  # nothing done yet
        seen.append(done)
        if len(seen) == chunks:
            raise Stop

    return report


def untimed(result):
    drop = ("seconds", "compile_seconds")
    return [{k: v for k, v in line.items() if k not in drop} for line in result.metrics]


VARIANTS = {
    "sequence": {},
    "online": {"mode": "online", "every": 2, "rule_options": {"credit": "window", "window": 3}},
    "decorrelated": {"decorrelate": "hidden+input"},
    "online decorrelated": {"mode": "online", "decorrelate": "hidden", "rule_options": {}},
    "bptt gru": {"rule": "bptt", "cell": "gru", "rule_options": {}, "units": (5, 4)},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_run_equals_an_uninterrupted_one(variant, tmp_path):
    e = dataclasses.replace(SMALL, **VARIANTS[variant])
    whole = px.run(e, tmp_path / "whole")
    with pytest.raises(Stop):
        px.run(e, tmp_path / "cut", report=stop_after(2))
    # A kill can leave a half-written line, a line past the checkpoint, and temporary files.
    with open(tmp_path / "cut" / "metrics.jsonl", "a") as file:
        file.write('{"step": 29, "loss": 9.0, "seconds": 1}\n{"step": 3')
    (tmp_path / "cut" / "checkpoint" / ".step-000000099.npz.1.tmp").write_bytes(b"half")
    again = resume(tmp_path / "cut")
    for a, b in zip(jax.tree.leaves(whole.net), jax.tree.leaves(again.net), strict=True):
        np.testing.assert_array_equal(a, b)
    assert untimed(again) == untimed(whole) == untimed(px.load(tmp_path / "cut"))
    assert len(whole.metrics) == 6
    assert again.summary["test"] == whole.summary["test"]
    assert not list((tmp_path / "cut" / "checkpoint").glob("*.tmp"))


def test_resume_before_the_first_checkpoint_starts_again(tmp_path):
    whole = px.run(SMALL, tmp_path / "whole")
    parts = build(SMALL)
    from perturbax.saved import describe

    store.create(tmp_path / "cut", describe(parts))
    assert untimed(resume(tmp_path / "cut")) == untimed(whole)


def test_a_changed_seed_changes_the_run_and_the_same_one_does_not():
    one, same, other = (px.run(dataclasses.replace(SMALL, seed=s)) for s in (1, 1, 2))
    assert untimed(one) == untimed(same)
    assert one.summary["test"] != other.summary["test"]


def test_vectorised_seeds_agree_with_single_ones(tmp_path):
    both = run_seeds(SMALL, [3, 4], [tmp_path / "3", tmp_path / "4"])
    for result, seed in zip(both, (3, 4), strict=True):
        alone = px.run(dataclasses.replace(SMALL, seed=seed))
        assert result.experiment.seed == seed
        assert result.summary["test"]["loss"] == pytest.approx(alone.summary["test"]["loss"], rel=1e-3)
        assert px.load(result.folder).summary == result.summary


def test_a_run_that_diverges_keeps_what_was_good(tmp_path):
    e = dataclasses.replace(SMALL, optimiser="sgd", clip=0.0, lr=1e30, schedule="constant", steps=30)
    result = px.run(e, tmp_path / "run")
    assert result.summary["status"] == "diverged"
    assert 1 <= result.summary["diverged_at"] <= 5
    kept = store.read_arrays(tmp_path / "run" / "weights")
    assert all(np.isfinite(v).all() for v in kept.values())
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "diverged"


def test_kept_weights_are_those_of_the_lowest_validation_loss():
    result = px.run(dataclasses.replace(SMALL, lr=0.3, steps=60, schedule="constant"))
    losses = [line["valid_loss"] for line in result.metrics]
    assert min(losses) < losses[-1]  # else this test shows nothing
    best = next(line["step"] for line in result.metrics if line["valid_loss"] == min(losses))
    assert result.summary["best_step"] == best
    task = build(result.experiment).task
    valid = task.held_out("valid")
    assert float(task.metrics(px.forward(result.net, valid.xs), valid.ys)["loss"]) == pytest.approx(min(losses))


def test_frozen_recurrence_stays_whatever_the_optimiser(tmp_path):
    e = dataclasses.replace(SMALL, rule="frozen", rule_options={}, optimiser="adamw", lr=0.1)
    before = build(e).network(jr.split(jr.PRNGKey(0), 3)[0])
    after = px.run(e).net
    for a, b in zip(jax.tree.leaves(before.layers[0]), jax.tree.leaves(after.layers[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(before.layers[1].W, after.layers[1].W)


def test_counts_of_updates_and_passes():
    online = px.run(dataclasses.replace(SMALL, mode="online", every=2, rule_options={"samples": 3}))
    steps = build(SMALL).task.steps
    assert online.metrics[-1]["updates"] == 30 * steps // 2
    assert online.metrics[-1]["forward_passes"] == 30 * 4
    decorrelated = px.run(dataclasses.replace(SMALL, rule="bptt", rule_options={}, decorrelate="hidden"))
    assert decorrelated.metrics[-1]["forward_passes"] == 30 * 4


def test_published_rules_take_their_own_settings():
    e = build(px.Experiment(rule="published-node", task="copy")).experiment
    assert (e.optimiser, e.schedule, e.clip) == ("sgd", "constant", 0.0)
    assert build(px.Experiment(rule="published-node", optimiser="adam")).experiment.optimiser == "adam"


def test_task_ships_settings_that_the_user_overrides():
    e = build(px.Experiment(task="copy", rule="node", rule_options={"sigma": 1e-2})).experiment
    assert e.rule_options["credit"] == "to-go"
    assert e.rule_options["sigma"] == 1e-2
    assert e.units == (128,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "nodes"}, "did you mean 'node'"),
        ({"task": "cpoy"}, "did you mean 'copy'"),
        ({"cell": "grru"}, "did you mean 'gru'"),
        ({"rule_options": {"sgima": 1}}, "did you mean 'sigma'"),
        ({"rule_options": {"sigma": 0}}, "sigma must be above 0"),
        ({"rule_options": {"samples": 1.5}}, "whole number"),
        ({"rule_options": {"credit": "window", "window": 0}}, "window must be above 0"),
        ({"rule_options": {"credit": "later"}}, "unknown credit"),
        ({"batch": 0}, "batch must be above 0"),
        ({"units": (8, -1)}, "units must be above 0"),
        ({"steps": 0}, "steps must be above 0"),
        ({"optimiser": "sgdd"}, "did you mean 'sgd'"),
        ({"optimiser": "lbfgs"}, "cannot be used here"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"mode": "online", "rule": "bptt", "rule_options": {}}, "whole sequences"),
        ({"mode": "online"}, "end of the sequence"),
        ({"mode": "online", "rule": "weight", "rule_options": {}}, "hold_steps"),
        ({"mode": "online", "rule_options": {}, "every": 5}, "must divide"),
        ({"decorrelate": "all"}, "decorrelate"),
        ({"rule": "nowhere:Mine"}, "cannot import"),
        ({"rule": "perturbax.cells:Tanh"}, "is not a rule"),
        ({"data": "x.csv"}, "takes no --data"),
    ],
)
def test_bad_settings_are_refused_by_name(fields, message, tmp_path):
    e = SMALL.changed(**fields)
    with pytest.raises(ArgumentError, match=message) as caught:
        px.run(e, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_folders_are_never_overwritten(tmp_path):
    px.run(SMALL, tmp_path / "run")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ArgumentError, match="holds another run"):
        px.run(SMALL, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ArgumentError, match="not empty"):
        px.run(SMALL, tmp_path / "mine")
    assert {p: p.read_bytes() for p in before} == before


def test_damaged_and_foreign_weights_are_refused(tmp_path):
    px.run(SMALL, tmp_path / "a")
    px.run(dataclasses.replace(SMALL, units=(9,)), tmp_path / "b")
    good = (tmp_path / "a" / "weights").read_bytes()
    (tmp_path / "a" / "weights").write_bytes((tmp_path / "b" / "weights").read_bytes())
    with pytest.raises(StoreError, match="another network"):
        px.load(tmp_path / "a")
    for cut in (0, 10, len(good) // 2, len(good) - 1):
        (tmp_path / "a" / "weights").write_bytes(good[:cut])
        with pytest.raises(StoreError, match="cut short"):
            px.load(tmp_path / "a")
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 0xFF
    (tmp_path / "a" / "weights").write_bytes(flipped)
    with pytest.raises(StoreError):
        px.load(tmp_path / "a")


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    whole = px.run(SMALL, tmp_path / "whole")
    sync, calls = store.os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 4:  # config, two checkpoints, then the third
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        px.run(SMALL, tmp_path / "run")
    monkeypatch.undo()
    assert store.last_checkpoint(tmp_path / "run")[0] == 10
    assert not list(tmp_path.rglob("*.tmp"))
    assert untimed(resume(tmp_path / "run")) == untimed(whole)


def test_online_learning_is_the_same_in_pieces():
    """A stream in one piece or in three: the same numbers; and updates really happen."""
    net = tiny.network(px.cells.Tanh, n=4)
    xs, ys = tiny.data(steps=12, batch=3)
    rule = px.RULES["node"](credit="window", window=4, discount=0.9)
    init, run = px.online(rule, tiny.mse, optax.sgd(0.1), every=2)
    whole, losses = run(init(net, xs[0], ys[0], jr.key(0)), xs, ys)
    stream, pieces = init(net, xs[0], ys[0], jr.key(0)), []
    for i in range(0, 12, 4):
        stream, some = run(stream, xs[i : i + 4], ys[i : i + 4])
        pieces.append(some)
    np.testing.assert_allclose(losses, jnp.concatenate(pieces), rtol=1e-4)
    assert tiny.distance(px.weights(stream.net), px.weights(whole.net)) < 1e-4
    assert tiny.distance(px.weights(net), px.weights(whole.net)) > 1e-3


def test_reservoir_readout_is_the_least_squares_solution(x64):
    from perturbax.gradient import activity
    from perturbax.reservoir import solve

    parts = build(SMALL)
    net = parts.network(jr.PRNGKey(0))
    fitted = solve(net, parts.task, parts.task.held_out("valid"), jr.PRNGKey(1))
    xs, ys = parts.task.sample(jr.PRNGKey(9), 4000)
    z = np.asarray(activity(net, xs)[-1].z).reshape(-1, 8)
    z = np.concatenate([z, np.ones((len(z), 1))], 1)
    best = np.linalg.lstsq(z, np.asarray(ys).reshape(len(z), -1), rcond=None)[1].sum() / len(z)
    got = float(jnp.mean((px.forward(fitted, xs) - ys) ** 2))
    assert best * 0.999 < got < best * 1.1
    for a, b in zip(jax.tree.leaves(net.layers[0]), jax.tree.leaves(fitted.layers[0]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", ["sequence", "online"])
def test_decorrelation_follows_the_schedule(mode):
    """D must come to rest with the weights that read through it."""

    def moved(schedule):
        e = dataclasses.replace(SMALL, rule="one-step", rule_options={}, decorrelate="hidden", decor_lr=1e-4, lr=1e-9,
                                mode=mode, schedule=schedule, steps=40, logs=40)  # fmt: skip
        compiled = Compiled(build(e))
        states = [compiled.start(jnp.asarray(0))]
        D = [states[0].learner.net.decor[1].value]
        for _ in range(40):
            states = compiled.advance(states, 1)[0]
            D.append(states[0].learner.net.decor[1].value)
        steps = [float(jnp.abs(b - a).max()) for a, b in itertools.pairwise(D)]
        return sum(steps[-5:]) / sum(steps[:5])

    assert moved("linear") < 0.2
    assert moved("constant") > 0.4
