"""Runs: resumed bit for bit, online, diverged, saved and loaded, several seeds."""

import dataclasses
import json
import os
import shutil

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import copied_at

import perturbax as px
from perturbax.errors import ArgumentError, PerturbaxError, StoreError
from perturbax.experiment import run_folder
from perturbax.experiment.build import build
from perturbax.experiment.program import Compiled
from perturbax.experiment.resolve import resolve
from perturbax.experiment.result import read_experiment
from perturbax.experiment.run import resume, run_seeds
from perturbax.learning.noise import Recorded
from perturbax.network.arrays import to_named_arrays

SMALL = px.Experiment(
    task="probe-lag1",
    rule="node",
    units=(12,),
    steps=30,
    batch=5,
    logs=6,
    lr=1e-2,
    rule_options={"credit": "to-go"},
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of the run of SMALL, which no test may change; beside it lies a copy of after two chunks.

    There was a start that was killed before the folder held anything.
    """
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    (folder / ".config.json.1.tmp").write_text("{")
    return px.run(SMALL, folder, report=copied_at(10, folder)).folder


@pytest.fixture(scope="module")
def abreast(tmp_path_factory):
    """Two seeds of SMALL side by side, in folders that no test may change; copies of after two chunks."""
    root = tmp_path_factory.mktemp("abreast")
    folders = [root / "0", root / "1"]
    return run_seeds(SMALL, [0, 1], folders, report=copied_at(10, *folders))


@pytest.fixture(scope="module")
def in_turn():
    """The same seeds one after the other."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("perturbax.experiment.program.VECTORISE", 0)
        return run_seeds(SMALL, [0, 1])


def untimed(result):
    drop = ("seconds", "compile_seconds")
    return [{k: v for k, v in line.items() if k not in drop} for line in result.metrics]


def test_a_group_pays_for_its_compilation_once(abreast, in_turn):
    first, second = (r.summary["compile_seconds"] for r in abreast)
    assert first == second > 0  # one program, shared
    first, second = (r.summary["compile_seconds"] for r in in_turn)
    assert (first > 0, second) == (True, 0)  # the second finds it compiled


def test_checkpoints_do_not_say_what_the_settings_say(finished):
    (kept,) = sorted((finished / "checkpoint").glob("*.npz"))[-1:]
    with np.load(kept) as arrays:
        assert not [name for name in arrays.files if "pace" in name]
        assert "step" in arrays.files


VARIANTS = {
    "sequence": {},
    "decorrelated": {"decorrelate": "hidden+input"},
    "online decorrelated": {
        "mode": "online",
        "every": 2,
        "decorrelate": "hidden",
        "rule_options": {"credit": "window", "window": 3},
    },
    "bptt gru": {"rule": "bptt", "cell": "gru", "rule_options": {}, "units": (5, 4)},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_run_equals_an_uninterrupted_one(variant, finished, tmp_path):
    if VARIANTS[variant]:
        e = dataclasses.replace(SMALL, **VARIANTS[variant])
        whole = px.run(e, tmp_path / "run", report=copied_at(10, tmp_path / "run"))
    else:
        whole = px.load(finished)
    shutil.copytree(whole.folder.with_name("cut-run"), tmp_path / "cut")
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


def test_resumed_neighbours_equal_an_uninterrupted_group(abreast, tmp_path):
    """Seeds trained abreast, stopped, and resumed one by one: bit for bit those of the whole group."""
    for one in abreast:
        shutil.copytree(one.folder.with_name(f"cut-{one.folder.name}"), tmp_path / one.folder.name)
        again = resume(tmp_path / one.folder.name)
        assert len(again.metrics) == 6
        assert untimed(again) == untimed(one)
        for a, b in zip(jax.tree.leaves(one.net), jax.tree.leaves(again.net), strict=True):
            np.testing.assert_array_equal(a, b)


def test_resume_before_the_first_checkpoint_starts_again(finished, tmp_path):
    parts = build(SMALL)
    from perturbax.experiment.result import describe

    run_folder.create(tmp_path / "cut", describe(parts))
    assert untimed(resume(tmp_path / "cut")) == untimed(px.load(finished))


def test_a_changed_seed_changes_the_run_and_the_same_one_does_not(finished, in_turn):
    one, (same, other) = px.load(finished), in_turn
    assert untimed(one) == untimed(same)
    assert one.summary["test"] != other.summary["test"]


def test_vectorised_seeds_agree_with_single_ones(abreast, in_turn):
    for seed, result, alone in zip((0, 1), abreast, in_turn, strict=True):
        assert result.experiment.seed == alone.experiment.seed == seed
        assert result.summary["test"]["loss"] == pytest.approx(alone.summary["test"]["loss"], rel=1e-3)
        assert px.load(result.folder).summary == result.summary


def test_a_run_that_diverges_keeps_what_was_good(tmp_path):
    e = dataclasses.replace(SMALL, optimiser="sgd", clip=0.0, lr=1e30, schedule="constant", steps=30)
    result = px.run(e, tmp_path / "run")
    assert result.summary["status"] == "diverged"
    assert 1 <= result.summary["diverged_at"] <= 5
    kept = run_folder.read_arrays(tmp_path / "run" / "weights")
    assert all(np.isfinite(v).all() for v in kept.values())
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "diverged"


def test_kept_weights_are_those_of_the_lowest_validation_loss():
    result = px.run(dataclasses.replace(SMALL, lr=0.3))
    losses = [line["valid_loss"] for line in result.metrics]
    assert min(losses) < losses[-1]  # else this test shows nothing
    best = next(line["step"] for line in result.metrics if line["valid_loss"] == min(losses))
    assert result.summary["best_step"] == best
    task = build(result.experiment).task
    valid = task.held_out("valid")
    assert float(task.metrics(px.forward(result.net, valid.xs), valid.ys)["loss"]) == pytest.approx(
        min(losses)
    )


def test_frozen_recurrence_stays_whatever_the_optimiser(tmp_path):
    e = dataclasses.replace(SMALL, rule="frozen", rule_options={}, optimiser="adamw", lr=0.1)
    before = build(e).network(jr.split(jr.PRNGKey(0), 3)[0])
    after = px.run(e).net
    for a, b in zip(jax.tree.leaves(before.layers[0]), jax.tree.leaves(after.layers[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(before.layers[1].W, after.layers[1].W)


def test_counts_of_updates_and_passes(finished):
    online = build(dataclasses.replace(SMALL, mode="online", every=2, rule_options={"samples": 3}))
    assert online.setup.updates == online.task.steps // 2
    assert online.setup.passes == 4
    decorrelated = build(dataclasses.replace(SMALL, rule="bptt", rule_options={}, decorrelate="hidden"))
    assert (decorrelated.setup.updates, decorrelated.setup.passes) == (1, 4)
    last = px.load(finished).metrics[-1]  # of 30 steps
    assert (last["updates"], last["forward_passes"]) == (30, 30 * 2)


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
        ({"optimiser": "momo"}, "cannot be used here"),  # of optax.contrib: it is told the loss
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"mode": "online", "rule": "bptt", "rule_options": {}}, "whole sequences"),
        ({"mode": "online"}, "end of the sequence"),
        ({"mode": "online", "rule": "weight", "rule_options": {}}, "hold_steps"),
        ({"mode": "online", "rule_options": {}, "every": 5}, "must divide"),
        ({"decorrelate": "all"}, "decorrelate"),
        ({"rule": "nowhere:Mine"}, "cannot import"),
        ({"rule": "perturbax.cells:Tanh"}, "is not a rule"),
        ({"data": "x.csv"}, "takes no --data"),
        ({"seed": 2**31}, "seed must be"),
        ({"batch": 10**10}, "batch"),
        ({"schedule": "warmup-cosine", "steps": 1}, "schedule warmup-cosine"),
        ({"rule": ":Foo"}, "cannot import"),
        ({"rule": ".a:Foo"}, "cannot import"),
        ({"rule": "perturbax.rules.perturbation.node_base:NodeRule"}, "base class"),
        ({"cell": "perturbax.network.network:Layer"}, "base class"),
        ({"task": "perturbax.tasks.base:Task"}, "base class"),
        ({"rule": "published-node", "rule_options": {"difference": "noisy"}}, "one-sided"),
    ],
)
def test_bad_settings_are_refused_by_name(fields, message, tmp_path):
    e = SMALL.changed(**fields)
    with pytest.raises(ArgumentError, match=message) as caught:
        px.run(e, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_folders_are_never_overwritten(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ArgumentError, match="holds this run already"):
        px.run(SMALL, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ArgumentError, match="not an empty folder"):
        px.run(SMALL, tmp_path / "mine")
    assert {p: p.read_bytes() for p in before} == before


def test_damaged_and_foreign_weights_are_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "a")
    good = (tmp_path / "a" / "weights").read_bytes()
    wider = build(dataclasses.replace(SMALL, units=(13,))).network(jr.key(0))
    own = run_folder.read_arrays(tmp_path / "a" / "weights")
    run_folder.write_arrays(tmp_path / "a" / "weights", own | to_named_arrays(wider, "net."))
    with pytest.raises(StoreError, match="another run: it has no layout number"):
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


def test_a_full_disk_leaves_the_last_checkpoint(finished, tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 4:  # config, two checkpoints, then the third
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        px.run(SMALL, tmp_path / "run")
    monkeypatch.undo()
    assert run_folder.last_checkpoint(tmp_path / "run")[0] == 10
    assert not list(tmp_path.rglob("*.tmp"))
    assert untimed(resume(tmp_path / "run")) == untimed(px.load(finished))


def test_online_learning_is_the_same_in_pieces():
    """A stream in one piece or in three: the same numbers; and updates really happen."""
    net = helpers.network(px.cells.Tanh, n=4)
    xs, ys = helpers.data(steps=12, batch=3)
    rule = px.RULES["node"](credit="window", window=4, discount=0.9)
    init, run = px.online(rule, helpers.mse, optax.sgd(0.1), every=2)
    run = jax.jit(run)
    first = jax.jit(init)(net, xs[0], ys[0], jr.key(0))
    whole, losses = run(first, xs, ys)
    stream, pieces = first, []
    for i in range(0, 12, 4):
        stream, some = run(stream, xs[i : i + 4], ys[i : i + 4])
        pieces.append(some)
    np.testing.assert_allclose(losses, jnp.concatenate(pieces), rtol=1e-4)
    assert helpers.distance(px.weights(stream.net), px.weights(whole.net)) < 1e-4
    assert helpers.distance(px.weights(net), px.weights(whole.net)) > 1e-3


def test_reservoir_readout_is_the_least_squares_solution(x64):
    from perturbax.experiment.reservoir import solve
    from perturbax.network.passes import activity

    parts = build(SMALL)
    net = parts.network(jr.PRNGKey(0))
    fitted = solve(net, parts.task, parts.task.held_out("valid"), jr.PRNGKey(1))
    xs, ys = parts.task.sample(jr.PRNGKey(9), 4000)
    z = np.asarray(activity(net, xs)[-1].z).reshape(-1, 12)
    z = np.concatenate([z, np.ones((len(z), 1))], 1)
    best = np.linalg.lstsq(z, np.asarray(ys).reshape(len(z), -1), rcond=None)[1].sum() / len(z)
    got = float(jnp.mean((px.forward(fitted, xs) - ys) ** 2))
    assert best * 0.999 < got < best * 1.1
    for a, b in zip(jax.tree.leaves(net.layers[0]), jax.tree.leaves(fitted.layers[0]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_reservoir_under_a_leaky_readout_is_the_least_squares_solution(x64, monkeypatch):
    """No other readout does better on the sequences that it was solved on: the gradient of their loss is
    zero.
    """
    from perturbax.experiment import reservoir

    monkeypatch.setattr(reservoir, "RIDGES", (1e-12,))
    e = dataclasses.replace(SMALL, cell="lif", cell_options={"kappa": 0.8}, rule="one-step", rule_options={})
    parts = build(e)
    net = parts.network(jr.key(0))
    fitted = reservoir.solve(net, parts.task, parts.task.held_out("valid"), jr.key(1))
    drawn = [parts.task.sample(jr.fold_in(jr.key(1), i), reservoir.BATCH) for i in range(reservoir.BATCHES)]
    xs, ys = (jnp.concatenate(part, 1) for part in zip(*drawn, strict=True))

    def slope(net):
        def loss(read):
            moved = eqx.tree_at(lambda net: (net.layers[-1].W, net.layers[-1].b), net, read)
            return jnp.mean((px.forward(moved, xs) - ys) ** 2)

        return max(float(jnp.abs(g).max()) for g in jax.grad(loss)((net.layers[-1].W, net.layers[-1].b)))

    assert slope(fitted) < 1e-3 * slope(net)


@pytest.mark.parametrize("mode", ["sequence", "online"])
def test_decorrelation_follows_the_schedule(mode):
    """D must come to rest with the weights that read through it: from the same state, it moves in proportion
    to the rate that the schedule has at a step. In sequence mode, D after a step is D after one decorrelation
    pass over the batch of that step.
    """
    e = dataclasses.replace(
        SMALL,
        rule="one-step",
        rule_options={},
        decorrelate="hidden",
        decor_lr=0.1,
        lr=1e-9,
        mode=mode,
        schedule="linear",
        steps=40,
        logs=40,
    )
    compiled = Compiled(build(e))
    first = compiled.start(0)
    before = first.learner.net
    after = compiled.advance([first], 1)[0][0].learner.net.decor[1].value
    if mode == "sequence":
        xs, _ = compiled.parts.task.sample(jr.split(jr.fold_in(first.key, 0))[0], 5)
        want = px.decorrelate(before, xs, 0.1).decor[1].value
        np.testing.assert_allclose(after, want, rtol=1e-5, atol=1e-7)

    def moved(step):
        state = first._replace(step=jnp.asarray(step))
        if mode == "online":
            at = jnp.asarray(step * compiled.parts.task.steps)
            state = state._replace(learner=first.learner._replace(t=at))
        D = compiled.advance([state], 1)[0][0].learner.net.decor[1].value
        return float(jnp.abs(D - before.decor[1].value).max())

    moves = [moved(step) for step in range(0, 40, 2)]
    early, late = sum(moves[:5]), sum(moves[-5:])
    assert early > 5e-3
    assert 0.1 < late / early < 0.3  # a rate that stayed would have moved it as far


def test_a_run_that_cannot_start_leaves_no_folder(finished, tmp_path, monkeypatch):
    (tmp_path / "crooked.py").write_text(
        "import jax.numpy as jnp\n"
        "from perturbax.cells import Tanh\n"
        "class Squared(Tanh):\n"
        "    def drive(self, z, r): return z @ self.W**2 + r @ self.U\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PerturbaxError, match="not linear"):
        px.run(dataclasses.replace(SMALL, cell="crooked:Squared"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert px.load(finished).summary["status"] == "finished"  # there had been a start that was killed


EDITS = [
    ("steps", 6.5, "whole number"),
    ("steps", None, "whole number"),
    ("seed", None, "whole number"),
    ("batch", True, "whole number"),
    ("lr", "x", "finite number"),
    ("decor_lr", "x", "finite number"),
    ("task", 5, "must be a name"),
    ("rule", ["node"], "must be a name"),
    ("rule_options", [1], "names and values"),
    ("data", 3, "must be a name"),
    ("units", None, "whole number"),
    ("stesp", 3, "did you mean 'steps'"),
]


@pytest.mark.parametrize(("name", "value", "words"), EDITS, ids=lambda v: str(v))
def test_a_config_edited_by_hand_is_checked(name, value, words, finished, tmp_path):
    config = json.loads((finished / "config.json").read_text())
    config["experiment"][name] = value
    (tmp_path / "c.json").write_text(json.dumps(config))
    with pytest.raises(PerturbaxError, match=words):
        read_experiment(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "[]", "not the configuration"),
        ("config.json", "{", "cannot be read"),
        ("result.json", "[]", "not the result"),
        ("result.json", "{}", "not the result"),
        ("metrics.jsonl", "3\n", "not a line of metrics"),
        ("metrics.jsonl", b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_damaged_run_folders_say_so(file, content, words, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PerturbaxError, match=words) as caught:
        px.load(tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_settings_reach_the_optimiser():
    """Clipping, schedule and, for the published rules, the learning rate times T."""
    grads = jax.tree.map(lambda w: jnp.full_like(w, 100.0), px.weights(build(SMALL).network(jr.PRNGKey(0))))

    def update(**fields):
        parts = build(dataclasses.replace(SMALL, optimiser="sgd", lr=1.0, rule_options={}, **fields))

        @jax.jit
        def norms():
            def step(opt, _):
                updates, opt = parts.optimiser.update(grads, opt, grads)
                return opt, optax.tree.norm(updates)

            return jax.lax.scan(step, parts.optimiser.init(grads), length=30)[1]

        return norms().tolist(), parts.task.steps

    assert update(clip=1.0, schedule="constant")[0] == pytest.approx([1.0] * 30, rel=1e-4)
    assert update(clip=0.0, schedule="constant")[0][0] > 100
    falling = update(clip=1.0, schedule="linear")[0]
    assert falling == pytest.approx(np.linspace(1, 0, 31)[:-1], rel=1e-3, abs=1e-3)
    steps, T = update(clip=1.0, schedule="constant", rule="published-node")
    assert steps == pytest.approx([T] * 30, rel=1e-4)
    assert update(clip=1.0, schedule="constant", rule="published-node", mode="online")[0][0] == pytest.approx(
        1.0
    )


def test_warmup_is_not_scored_and_predictions_are_in_own_units(tmp_path):
    e = px.Experiment(rule="frozen", units=(4,), steps=2, logs=1, batch=2)
    result = px.run(e, tmp_path / "r")
    task = build(e).task
    test = task.held_out("test")
    assert test.warmup == 200
    y = px.forward(result.net, test.xs)[test.warmup :]
    assert result.summary["test"]["loss"] == pytest.approx(
        float(jnp.mean((y - test.ys[test.warmup :]) ** 2)), rel=1e-5
    )
    kept = run_folder.read_arrays(tmp_path / "r" / "predictions.npz")
    np.testing.assert_allclose(
        kept["prediction"], np.asarray(task.in_units(y[:1000, 0])), rtol=1e-5, atol=1e-6
    )
    assert abs(kept["truth"].std() - task.encoding.target_stds[0]) < 0.1 * task.encoding.target_stds[0]


@pytest.mark.parametrize(("every", "window"), [(1, 5), (4, 3), (4, 9)])
def test_online_updates_add_up_to_the_sequence_estimate(x64, every, window):
    """Weights held, losses zero after the data: the updates of a stream sum to T/every estimates of the
    sequence.
    """
    T, pad = 12, 12
    net, (xs, ys) = (
        px.add_decorrelation(helpers.network(px.cells.GRU, n=3, depth=2), "hidden+input", 1),
        helpers.data(steps=T),
    )
    table = [jr.normal(jr.key(i), (T + pad, 1, *s.a.shape)) for i, s in enumerate(net.sites_like(xs[0]))]
    rule = px.RULES["node"](credit="window", window=window, discount=0.8, noise=Recorded(table))
    on = jnp.concatenate([jnp.ones(T), jnp.zeros(pad)])
    weighted = lambda y, target: target[1] * helpers.mse(y, target[0])
    long = (
        jnp.concatenate([xs, xs]),
        (jnp.concatenate([ys, ys]), jnp.broadcast_to(on[:, None], (T + pad, helpers.B))),
    )
    summing = optax.GradientTransformation(
        lambda w: jax.tree.map(jnp.zeros_like, w),
        lambda g, s, w=None: (jax.tree.map(jnp.zeros_like, g), jax.tree.map(jnp.add, s, g)),
    )
    init, run = px.online(rule, weighted, summing, every=every)
    first = long[0][0], jax.tree.map(lambda y: y[0], long[1])
    summed = jax.jit(lambda: run(init(net, *first, jr.key(0)), *long)[0].opt)()
    whole = px.RULES["node"](
        credit="window", window=window, discount=0.8, noise=Recorded([t[:T] for t in table])
    )
    want = helpers.fresh(whole, helpers.mse)(net, xs, ys, jr.key(0))[1]
    assert helpers.distance(jax.tree.map(lambda g: g * every / T, summed), want) < 1e-8


@pytest.mark.parametrize(
    ("asked", "mode", "credit"),
    [
        ({}, "online", "window"),
        ({"mode": "sequence"}, "sequence", "to-go"),
        ({"rule_options": {"credit": "to-go"}}, "sequence", "to-go"),
        ({"rule_options": {"credit": "replay"}}, "sequence", "replay"),
        ({"rule_options": {"noisy_state": "restarted"}}, "sequence", "same-step"),
    ],
)
def test_shipped_settings_give_way_to_what_was_named(asked, mode, credit):
    e = resolve(px.Experiment(task="mackey-glass", rule="node", **asked))
    assert (e.mode, e.rule_options["credit"]) == (mode, credit)


def test_shipped_updates_divide_a_sequence_of_any_length():
    """What nobody typed is no reason to refuse a run; what was typed is never changed."""
    of = {"task": "mackey-glass", "rule": "node"}
    assert resolve(px.Experiment(**of)).every == 10
    short = {**of, "task_options": {"window": 55}}
    assert resolve(px.Experiment(**short)).every == 11
    assert build(px.Experiment(**short)).setup.updates == 5
    with pytest.raises(ArgumentError, match="10 does not, 11 does"):
        build(px.Experiment(**short, every=10))
    text = {"task": "text", "rule": "node", "mode": "online"}
    assert resolve(px.Experiment(**text)).every == 8
    assert resolve(px.Experiment(**text, task_options={"window": 50})).every == 10


def test_a_budget_of_passes_is_spent():
    passes = {"bptt": 3, "node": 2, "frozen": 1}
    for rule, cost in passes.items():
        assert resolve(px.Experiment(task="mackey-glass", rule=rule)).steps == 9000 // cost
        assert resolve(px.Experiment(task="probe-now", rule=rule, passes=600)).steps == 600 // cost
        assert resolve(px.Experiment(task="probe-now", rule=rule)).steps == 1000  # the task ships steps
    decorrelated = px.Experiment(task="probe-now", rule="bptt", passes=600, decorrelate="hidden")
    assert resolve(decorrelated).steps == 150
    with pytest.raises(ArgumentError, match="twice"):
        resolve(px.Experiment(steps=10, passes=10))
