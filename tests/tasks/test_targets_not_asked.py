"""A target of NaN is not asked for: nothing that reads targets may depend on it, or be spoilt by it."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.experiment.build import build
from perturbax.experiment.program import Compiled
from perturbax.experiment.reservoir import solve
from perturbax.experiment.result import SHOWN, pictured
from perturbax.experiment.train_step import start
from perturbax.report.compare import sections
from perturbax.report.figures import prediction
from perturbax.report.read import Run
from perturbax.report.style import looks
from perturbax.tasks import Adding, Copy, DelayedXor, Evidence
from perturbax.tasks.base import HeldOut

TASKS = {
    "adding": Adding(length=6),
    "delayed-xor": DelayedXor(gap=1, delay=1),
    "evidence": Evidence(cues=1, cue=2, gap=1, delay=1, recall=3, neurons=2),
}
ASKED = {"adding": 1, "delayed-xor": 1, "evidence": 3}
KINDS = (
    "adding",
    "evidence",
)  # numbers and classes, at one step and at several; delayed-xor has no third kind


def sampled(task, key, batch):
    """Sequences of one compiled program."""
    return jax.jit(lambda key: task.sample(key, batch))(key)


def network(task, seed=0):
    n_in, n_out = task.sizes

    @jax.jit
    def fresh(key):
        one, two = jr.split(key)
        return px.Network((px.cells.Tanh(n_in, 5, key=one), px.cells.Readout(5, n_out, key=two)))

    return fresh(jr.key(seed))


@pytest.mark.parametrize("name", TASKS)
def test_what_is_asked(name):
    task = TASKS[name]
    ys = sampled(task, jr.key(0), 4)[1]
    asked = np.asarray(task.asked(ys))
    assert task.asked_steps == ASKED[name]
    np.testing.assert_array_equal(
        asked, np.arange(task.steps)[:, None] >= task.steps - ASKED[name] + np.zeros((1, 4))
    )
    assert np.isnan(ys).all(-1)[~asked].all()
    assert np.isfinite(ys)[asked].all()


@pytest.mark.parametrize("name", TASKS)
def test_loss_and_metrics_over_what_is_asked(name):
    """Worked out again in numpy, over the steps asked for alone."""
    task = TASKS[name]
    ys = np.asarray(sampled(task, jr.key(0), 7)[1], np.float64)
    y = np.random.default_rng(0).normal(size=ys.shape)
    last, target = y[-ASKED[name] :], ys[-ASKED[name] :]
    each = (
        np.mean((last - target) ** 2, -1)
        if name == "adding"
        else np.log(np.exp(last).sum(-1)) - np.sum(last * target, -1)
    )
    got, losses = jax.jit(lambda y, ys: (task.metrics(y, ys), jax.vmap(task.loss)(y, ys)))(y, ys)
    np.testing.assert_allclose(got["loss"], each.mean(), rtol=1e-5)
    if name != "adding":
        np.testing.assert_allclose(got["accuracy"], np.mean(last.argmax(-1) == target.argmax(-1)), rtol=1e-6)
    assert not losses[: -ASKED[name]].any()
    np.testing.assert_allclose(losses[-ASKED[name] :], each * task.steps / ASKED[name], rtol=1e-5)
    np.testing.assert_allclose(
        losses.mean(), got["loss"], rtol=1e-5
    )  # training's mean is the held-out number


@pytest.mark.parametrize("name", KINDS)
def test_estimators_average_over_what_is_asked(name):
    """The loss that BPTT and node perturbation report is the held-out loss of the same sequences."""
    task = TASKS[name]
    xs, ys = sampled(task, jr.key(1), 8)
    estimators = px.bptt(task.loss), helpers.fresh(px.RULES["node"](), task.loss)

    @jax.jit
    def everything(net):
        found = [estimator(net, xs, ys, jr.key(2)) for estimator in estimators]
        return task.metrics(px.forward(net, xs), ys)["loss"], found

    want, found = everything(network(task))
    for loss, grads in found:
        np.testing.assert_allclose(loss, want, rtol=1e-5)
        leaves = jax.tree.leaves(grads)
        assert all(np.isfinite(g).all() for g in leaves)
        assert any(np.any(g) for g in leaves)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_look_at_outputs_only_where_an_answer_is_asked_for(name):
    task = TASKS[name]
    ys = sampled(task, jr.key(0), 3)[1]
    y = helpers.normal(jr.key(1), ys.shape)
    asked = np.asarray(task.asked(ys))[..., None]
    moved = y + np.where(asked, 0, 1)
    elsewhere = y + np.where(asked, np.arange(1.0, ys.shape[-1] + 1), 0)

    @jax.jit
    @jax.vmap
    def judged(y):
        total = jax.value_and_grad(lambda y: jax.vmap(task.loss)(y, ys).sum())
        return total(y), task.metrics(y, ys)

    (values, slopes), metrics = judged(np.stack([y, moved, elsewhere]).astype(y.dtype))
    value, again, other = values
    assert np.isfinite(slopes[0]).all()
    np.testing.assert_array_equal(np.any(np.asarray(slopes[0]) != 0, -1), asked[..., 0])
    assert again == value
    np.testing.assert_array_equal(slopes[1], slopes[0])
    assert all(of[1] == of[0] for of in metrics.values())
    assert abs(other - value) > 1e-2  # negative control
    assert metrics["loss"][2] != metrics["loss"][0]


def test_a_plain_nan_would_spoil_the_gradient():
    """Negative control: a single where after the error lets NaN into the derivative."""

    def naive(y, target):
        error = jnp.mean((y - target) ** 2, -1)
        return jnp.where(jnp.isnan(error), 0, error)

    task = TASKS["adding"]
    xs, ys = sampled(task, jr.key(1), 8)
    grads = jax.jit(lambda net: px.bptt(naive)(net, xs, ys, jr.key(0))[1])(network(task))
    assert not all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("rule", ["mirror", "one-step", "evolution"])
def test_rules_of_all_kinds_stay_finite(rule):
    """With what they learn from update to update."""
    task = TASKS["adding"]
    learn = px.learner(px.RULES[rule](), task.loss)

    @jax.jit
    def updates(net, xs, ys):
        def update(state, key):
            state, *found = learn.update(state, net, xs, ys, key)
            return state, found

        return jax.lax.scan(update, learn.init(net, xs[0], jr.key(0)), jr.split(jr.key(1), 3))

    state, (losses, grads) = updates(network(task), *sampled(task, jr.key(2), 4))
    assert all(np.isfinite(found).all() for found in jax.tree.leaves((state, losses, grads)))
    assert any(np.any(g) for g in jax.tree.leaves(grads))


def test_online_learning_goes_through_steps_without_an_answer():
    fields = {"rule": "node", "mode": "online", "every": 3, "rule_options": {"credit": "window", "window": 6}}
    sizes = {"units": (4,), "steps": 6, "logs": 2, "batch": 4, "task_options": {"length": 6}}
    program = Compiled(build(px.Experiment(task="adding", **sizes, **fields)))
    first = program.start(0)
    (after,), losses, (metrics,), _ = program.advance([first], 6)
    assert np.isfinite([*np.ravel(losses), *metrics.values()]).all()
    leaves = jax.tree.leaves(px.weights(after.learner.net))
    assert all(np.isfinite(w).all() for w in leaves)
    assert not np.array_equal(leaves[0], jax.tree.leaves(px.weights(first.learner.net))[0])


def test_the_reservoir_is_solved_on_what_is_asked_alone():
    """Ridge regression of the last step's activity, by least squares in numpy on the same sequences."""
    from perturbax.experiment.reservoir import BATCH, BATCHES
    from perturbax.network.passes import activity

    task = TASKS["adding"]
    parts = build(px.Experiment(task="adding", units=(5,), task_options={"length": 6}))
    first = start(parts.setup, jnp.asarray(0))
    got = solve(first.best, task, task.held_out("valid"), jr.key(3)).layers[-1]
    sample = jax.jit(lambda key: task.sample(key, BATCH))
    rows, sums = [], []
    for i in range(BATCHES):
        xs, ys = sample(jr.fold_in(jr.key(3), i))
        rows.append(np.asarray(activity(first.best, xs)[-1].z[-1], np.float64))
        sums.append(np.asarray(ys[-1], np.float64))
    z, y = np.concatenate(rows), np.concatenate(sums)
    z = np.concatenate([z, np.ones((len(z), 1))], 1)
    fits = [
        np.linalg.solve(z.T @ z / len(z) + r * np.eye(6), z.T @ y / len(z)) for r in (1e-8, 1e-6, 1e-4, 1e-2)
    ]
    found = np.concatenate([got.W, got.b[None]])
    assert min(np.abs(found - fit).max() for fit in fits) < 1e-4 * np.abs(found).max()


def test_of_very_many_sequences_some_choose_the_ridge(monkeypatch):
    """Evenly spaced ones: what the others ask for changes nothing."""
    from perturbax.experiment import reservoir

    task = DelayedXor(gap=0, delay=0)
    e = px.Experiment(task="delayed-xor", units=(4,), task_options={"gap": 0, "delay": 0})
    first, valid = start(build(e).setup, jnp.asarray(0)), task.held_out("valid")
    valid = HeldOut(valid.xs[:, :12], valid.ys[:, :12], valid.warmup)
    of_others = jnp.arange(12) % 4 != 0
    turned = valid._replace(ys=jnp.where(of_others[None, :, None], valid.ys[..., ::-1], valid.ys))

    def chosen(held_out):
        return reservoir.solve(first.best, task, held_out, jr.key(0)).layers[-1].W

    assert not np.array_equal(chosen(valid), chosen(turned))
    monkeypatch.setattr(reservoir, "JUDGED", 3 * len(valid.xs))
    np.testing.assert_array_equal(chosen(valid), chosen(turned))


def test_the_logits_of_a_reservoir_are_no_worse_than_the_frequencies():
    """Least squares alone says probabilities, which as logits are worse; without any gain they are the
    frequencies.
    """
    task = DelayedXor(gap=0, delay=0)
    solved, mean = np.random.default_rng(0).normal(size=(4, 2)), np.array([0.2, 0.8])
    z = np.array([0.3, -0.2, 0.1, 1.0])
    logits = [z @ made for made in task.readouts(solved, mean)]
    np.testing.assert_allclose(logits[2], np.log(mean) + z @ solved - mean, rtol=1e-12)
    np.testing.assert_allclose(logits[5], np.log(mean) + 3 * (z @ solved - mean) / mean**0.5, rtol=1e-12)

    e = px.Experiment(task="delayed-xor", units=(64,), task_options={"gap": 0, "delay": 0})
    first, valid = start(build(e).setup, jnp.asarray(0)), task.held_out("valid")
    plain = type("Plain", (DelayedXor,), {"readouts": lambda self, solved, mean: [solved]})(gap=0, delay=0)
    nets = [solve(first.best, t, valid, jr.key(0)) for t in (task, plain)]
    ours, theirs = (float(task.metrics(px.forward(net, valid.xs), valid.ys)["loss"]) for net in nets)
    assert ours < 0.3 * np.log(2)
    assert ours < 0.5 * theirs


def test_pictures_lay_sequences_end_to_end():
    task = Copy(length=2, delay=1, symbols=3)
    _, ys = task._sequences(jr.key(0), 6)
    kept = pictured(task, ys, ys + 1)
    np.testing.assert_array_equal(kept["truth"], np.concatenate([ys[:, b] for b in range(6)]))
    np.testing.assert_array_equal(kept["prediction"], kept["truth"] + 1)
    many = task._sequences(jr.key(0), 300)[1]
    assert pictured(task, many, many)["truth"].shape == (SHOWN, 5)


def test_pictures_leave_out_what_is_rarely_asked_and_show_probabilities():
    sparse, task = DelayedXor(gap=20, delay=20), DelayedXor(gap=1, delay=1)
    ys = sampled(sparse, jr.key(0), 9)[1]
    np.testing.assert_array_equal(pictured(sparse, ys, jnp.zeros_like(ys))["truth"], ys[-1])
    ys = sampled(task, jr.key(0), 9)[1]
    y = jr.normal(jr.key(1), ys.shape)
    kept = pictured(task, ys, y)
    np.testing.assert_array_equal(kept["truth"], np.swapaxes(ys, 0, 1).reshape(-1, 2))
    np.testing.assert_allclose(kept["prediction"].sum(1), 1, rtol=1e-6)
    e = np.exp(np.swapaxes(np.asarray(y), 0, 1).reshape(-1, 2))
    np.testing.assert_allclose(kept["prediction"], e / e.sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("outputs", [1, 3])
def test_figures_show_gaps(outputs, tmp_path):
    """A lone answer between gaps is a dot; in a map, a gap is left to the grey behind it."""
    truth = np.full((30, outputs), np.nan)
    truth[4::5] = np.arange(6.0)[:, None]
    guess, config = np.ones((30, outputs)), {"experiment": {"task": "adding", "rule": "node", "seed": 0}}
    drawn = []
    for shown in (truth, np.where(np.isnan(truth), 0.0, truth)):
        result = {"status": "finished", "test": {"loss": 0.1}}
        section = sections([Run(tmp_path, config, [], result, (shown, guess))])[0]
        drawn.append(prediction(section, section.variants[0], looks(section.variants)[0], "p"))
    gaps, whole = (svg.count("<use") for svg in drawn)
    assert drawn[0] != drawn[1]
    if outputs == 1:
        assert gaps >= whole + 2 * 6
