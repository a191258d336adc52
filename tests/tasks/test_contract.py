"""What a task of one's own returns is checked before the first step, and a target is NaN output by output."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.experiment.program import Compiled
from perturbax.tasks.base import HeldOut
from perturbax.tasks.contract import check_task, held_out

T, B = 6, 4
NAN = jnp.nan


class Own(px.Task):
    """A sound task of two outputs, which siblings spoil."""

    sizes = property(lambda self: (1, 2))
    steps = property(lambda self: T)
    held_out_sequences = 3

    def sample(self, key, batch):
        xs = jr.normal(key, (T, batch, 1))
        return xs, jnp.concatenate([xs, -xs], -1)


def own(**changed):
    return type("Own", (Own,), {"__module__": __name__, **changed})()


def sampled(make):
    """Return a task whose samples are made from (xs, ys) of the sound one."""
    return own(sample=lambda self, key, batch: make(*Own.sample(self, key, batch)))


def holding(make):
    return own(held_out=lambda self, part: make(*Own.sample(self, jr.key(0), 3)))


def by_loss(loss):
    return own(loss=lambda self, y, target: loss(y, target))


WRONG = {
    "one size": (own(sizes=3), r"task Own: sizes must be \(n_in, n_out\).*it is 3"),
    "size of zero": (own(sizes=(0, 2)), r"sizes must be.*\(0, 2\)"),
    "no steps": (own(steps=0), "steps must be a count above 0; it is 0"),
    "half steps": (own(steps=2.5), "steps must be a count"),
    "nothing asked": (own(asked_steps=0), "asked_steps must be above 0"),
    "batch first": (
        sampled(lambda xs, ys: (xs.swapaxes(0, 1), ys.swapaxes(0, 1))),
        r"task Own: sample\(key, 4\) must return xs of shape \(T, B, n_in\) = \(6, 4, 1\).*time comes first"
        r".*its xs is float32 of shape \(4, 6, 1\)",
    ),
    "wrong steps": (sampled(lambda xs, ys: (xs[1:], ys[1:])), r"xs of shape .*\(6, 4, 1\).*\(5, 4, 1\)"),
    "no steps drawn": (sampled(lambda xs, ys: (xs[:0], ys[:0])), r"\(0, 4, 1\)"),
    "no batch drawn": (sampled(lambda xs, ys: (xs[:, :0], ys[:, :0])), r"\(6, 0, 1\)"),
    "no batch axis": (sampled(lambda xs, ys: (xs[:, 0], ys[:, 0])), r"its xs is float32 of shape \(6, 1\)"),
    "wrong n_in": (sampled(lambda xs, ys: (ys, ys)), r"xs of shape.*\(6, 4, 1\).*\(6, 4, 2\)"),
    "wrong n_out": (
        sampled(lambda xs, ys: (xs, xs)),
        r"ys of shape \(T, B, n_out\) = \(6, 4, 2\).*\(6, 4, 1\)",
    ),
    "no n_out": (sampled(lambda xs, ys: (xs, ys[..., 0])), r"its ys is float32 of shape \(6, 4\)"),
    "inputs alone": (sampled(lambda xs, ys: xs), r"must return \(inputs, targets\); it is float32"),
    "whole inputs": (sampled(lambda xs, ys: (xs.astype(int), ys)), "floating-point xs; its xs is int32"),
    "sample fails": (sampled(lambda xs, ys: (xs @ xs, ys)), r"sample\(key, 4\) fails: \w+Error"),
    "all NaN": (sampled(lambda xs, ys: (xs, ys * NAN)), r"all targets of sample\(\) are NaN"),
    "loss of the batch": (by_loss(lambda y, t: jnp.mean((y - t) ** 2)), r"loss must.*\(B,\) = \(4,\).*\(\)"),
    "loss of one": (by_loss(lambda y, t: jnp.mean((y - t) ** 2)[None]), r"loss must.*shape \(1,\)"),
    "loss with a tail": (
        by_loss(lambda y, t: jnp.mean((y - t) ** 2, -1, keepdims=True)),
        r"loss must.*shape \(4, 1\)",
    ),
    "loss of all steps": (by_loss(lambda y, t: jnp.zeros((T, B))), r"loss must.*shape \(6, 4\)"),
    "whole loss": (by_loss(lambda y, t: jnp.zeros(B, int)), "loss must return one floating-point.*int32"),
    "loss fails": (by_loss(lambda y, t: y @ t), r"loss\(y, target\) fails: \w+Error"),
    "loss of NaN": (
        own(
            sample=lambda self, key, batch: (lambda xs, ys: (xs, ys.at[::2, :, 0].set(NAN)))(
                *Own.sample(self, key, batch)
            ),
            error=lambda self, y, target: jnp.abs(y - target).mean(-1),
        ),
        "loss is NaN where some outputs of a target are NaN",
    ),
}
WRONG_HELD_OUT = {
    "no HeldOut": (
        holding(lambda xs, ys: (xs, ys)),
        r"held_out\('valid'\) must return a .*HeldOut; it is tuple",
    ),
    "none": (own(held_out=lambda self, part: None), "HeldOut; it is NoneType"),
    "wrong width": (
        holding(lambda xs, ys: HeldOut(xs, xs)),
        r"ys \(T, B, 2\).*its ys is float32 .*\(6, 3, 1\)",
    ),
    "other T": (holding(lambda xs, ys: HeldOut(xs, ys[1:])), r"its ys is float32 of shape \(5, 3, 2\)"),
    "other B": (holding(lambda xs, ys: HeldOut(xs, ys[:, 1:])), r"its ys is float32 of shape \(6, 2, 2\)"),
    "no B": (
        holding(lambda xs, ys: HeldOut(xs[:, :0], ys[:, :0])),
        r"its xs is float32 of shape \(6, 0, 1\)",
    ),
    "no T": (holding(lambda xs, ys: HeldOut(xs[:0], ys[:0])), r"its xs is float32 of shape \(0, 3, 1\)"),
    "long warmup": (
        holding(lambda xs, ys: HeldOut(xs, ys, 6)),
        "has 6 steps and must warm up over fewer; it is 6",
    ),
    "all NaN": (holding(lambda xs, ys: HeldOut(xs, ys * NAN)), r"all targets of held_out\('valid'\) are NaN"),
    "masked": (holding(lambda xs, ys: HeldOut(xs, np.ma.masked_less(ys, 9))), "ys of .* is a masked array"),
    "fails": (holding(lambda xs, ys: HeldOut(xs @ xs, ys)), r"held_out\('valid'\) fails: \w+Error"),
    "metrics of steps": (
        own(metrics=lambda self, y, t: {"loss": y[..., 0]}),
        r"metric 'loss' of task Own must be one number, not an array of shape \(6, 3\)",
    ),
    "metrics without loss": (
        own(metrics=lambda self, y, t: {"mse": y.mean()}),
        "metrics of task Own must be numbers by name",
    ),
    "metrics alone": (
        own(metrics=lambda self, y, t: y.mean()),
        r"metrics of task Own must be numbers by name, as a dict, with 'loss'",
    ),
    "metrics fail": (own(metrics=lambda self, y, t: y @ t), r"metrics\(y, target\) fails: \w+Error"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_task_returns_is_refused_in_one_sentence(case):
    task, message = WRONG[case]
    with pytest.raises(ArgumentError, match=message) as caught:
        check_task(task, B, "sequence")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", WRONG_HELD_OUT)
def test_held_out_sequences_that_do_not_fit_are_refused(case):
    task, message = WRONG_HELD_OUT[case]
    with pytest.raises(ArgumentError, match=message) as caught:
        held_out(task, "valid")
    assert "\n" not in str(caught.value)


def test_streams_are_checked_where_they_are_used():
    task = own(stream=lambda self, key, i, batch: Own.sample(self, key, batch + 1))
    check_task(task, B, "sequence")
    with pytest.raises(ArgumentError, match=r"stream\(key, 0, 4\) must return xs .*\(6, 4, 1\).*\(6, 5, 1\)"):
        check_task(task, B, "online")


def test_sound_tasks_pass():
    check_task(Own(), B, "online")
    assert held_out(Own(), "valid").xs.shape == (T, 3, 1)
    check_task(px.TASKS["adding"](), B, "online")
    check_task(px.TASKS["evidence"](), B, "online")


def test_a_run_says_it_before_the_first_step(tmp_path, monkeypatch, capsys):
    """The command line, at every door of a task: nothing is trained and no folder is left."""
    from perturbax.cli import main

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_wrong_tasks.py").write_text(
        "import jax.numpy as jnp, jax.random as jr, perturbax as px\n"
        "from perturbax.tasks.base import HeldOut\n"
        "class Base(px.Task):\n"
        "    sizes = property(lambda self: (1, 1))\n"
        "    steps = property(lambda self: 4)\n"
        "    def sample(self, key, batch):\n"
        "        xs = jr.normal(key, (4, batch, 1))\n"
        "        return xs, xs\n"
        "class BatchFirst(Base):\n"
        "    def sample(self, key, batch):\n"
        "        xs = jr.normal(key, (batch, 4, 1))\n"
        "        return xs, xs\n"
        "class BadTest(Base):\n"
        "    def held_out(self, part):\n"
        "        xs = jnp.ones((4, 2, 1))\n"
        "        return HeldOut(xs, xs if part == 'valid' else xs[1:])\n"
        "class NoSample(px.Task):\n"
        "    sizes = property(lambda self: (1, 1))\n"
    )
    for name, words in {
        "BatchFirst": "must return xs of shape (T, B, n_in) = (4, 2, 1)",
        "BadTest": "held_out('test') must hold",
        "NoSample": "has no sample and steps",
    }.items():
        words_of_run = ["--task", f"own_wrong_tasks:{name}", "--rule", "node", "--steps", "2", "--batch", "2"]
        out = tmp_path / name
        assert main(["run", *words_of_run, "--units", "2", "--out", str(out)]) == 2, name
        said = capsys.readouterr().err
        assert words in said
        assert "Traceback" not in said
        assert not out.exists()


# --- targets that are NaN in some outputs


class Partial(Own):
    """The second output is asked for at every other step."""

    def sample(self, key, batch):
        xs, ys = Own.sample(self, key, batch)
        return xs, ys.at[::2, :, 1].set(NAN)


def by_hand(y, target):
    """The mean over rows of the mean over outputs asked for, in numpy."""
    y, target = np.asarray(y, float), np.asarray(target, float)
    rows = []
    for one, wanted in zip(y.reshape(-1, y.shape[-1]), target.reshape(-1, target.shape[-1]), strict=True):
        known = ~np.isnan(wanted)
        if known.any():
            rows.append(np.mean((one[known] - wanted[known]) ** 2))
    return np.mean(rows)


def test_the_error_is_the_mean_over_outputs_asked_for():
    task = Partial()
    ys = task.sample(jr.key(0), B)[1].at[1].set(NAN)  # and one step of which nothing is asked
    y = jr.normal(jr.key(1), ys.shape)
    np.testing.assert_allclose(task.metrics(y, ys)["loss"], by_hand(y, ys), rtol=1e-6)
    scale = own(sample=Partial.sample, asked_steps=T - 1)
    losses = jax.vmap(scale.loss)(y, ys)  # (T, B)
    np.testing.assert_allclose(losses.mean(), by_hand(y, ys), rtol=1e-6)
    np.testing.assert_array_equal(losses[1], 0)
    slope = jax.grad(lambda y: jax.vmap(task.loss)(y, ys).sum())(y)
    np.testing.assert_array_equal(slope != 0, ~jnp.isnan(ys))
    assert jnp.isfinite(slope).all()


def test_whole_targets_give_the_numbers_of_a_plain_mean():
    task = Own()
    ys = task.sample(jr.key(0), B)[1]
    y = jr.normal(jr.key(1), ys.shape)
    plain = jnp.mean((y - ys) ** 2, -1)
    np.testing.assert_array_equal(jax.jit(task.error)(y, ys), jax.jit(lambda: plain)())
    np.testing.assert_array_equal(jax.vmap(task.loss)(y, ys), plain)


@pytest.mark.parametrize("rule", ["bptt", "node", "weight", "mirror", "one-step"])
def test_every_label_counts_for_every_rule(rule):
    """Moving one label of the first output, at a step where the second is NaN, moves the loss."""
    task, key = Partial(), jr.key(0)
    xs, ys = task.sample(key, B)
    net = helpers.network(px.cells.Tanh, n_in=1, n=3, n_out=2)
    learn = px.learner(px.RULES[rule](), task.loss)
    state = learn.init(net, xs[0], key)
    _, loss, grads = learn.update(state, net, xs, ys, key)
    moved = learn.update(state, net, xs, ys.at[0, :, 0].add(10.0), key)[1]
    assert jnp.isfinite(loss)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert moved > loss + 1
    if rule == "bptt":
        np.testing.assert_allclose(loss, by_hand(px.forward(net, xs), ys), rtol=1e-5)


def test_a_run_with_targets_known_in_part():
    """All of a run: training, metrics, the mean as baseline, and the reservoir, solved output by output."""
    from perturbax.experiment import reservoir
    from perturbax.experiment.build import build

    e = px.Experiment(task=f"{__name__}:Partial", rule="bptt", units=(3,), steps=4, logs=2, batch=B)
    s = px.run(e).summary
    assert s["status"] == "finished"
    assert np.isfinite([s["test"]["loss"], *(b["loss"] for b in s["baselines"].values())]).all()

    compiled = Compiled(build(e))
    first = compiled.start(0)
    z, y, asked = (np.asarray(v, float) for v in reservoir._read(first.best, Partial(), first.key))
    assert asked.all()
    sums = reservoir._Sums.of(first.best, Partial(), first.key)
    assert set(sums.unknown) == {1}
    assert sums.unknown[1][0] * 2 == sums.rows
    rows = [
        reservoir._read(first.best, Partial(), jr.fold_in(first.key, i)) for i in range(reservoir.BATCHES)
    ]
    z = np.concatenate([np.asarray(r[0], float).reshape(-1, 4) for r in rows])
    y = np.concatenate([np.asarray(r[1], float).reshape(-1, 2) for r in rows])
    for k in (0, 1):
        known = ~np.isnan(y[:, k])
        want = np.linalg.solve(
            z[known].T @ z[known] / known.sum() + 1e-4 * np.eye(4), z[known].T @ y[known, k] / known.sum()
        )
        np.testing.assert_allclose(sums.solution(1e-4)[:, k], want, rtol=1e-6, atol=1e-9)
