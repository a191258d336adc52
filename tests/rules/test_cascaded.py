"""Cascaded forward: gradients cut between blocks, heads of three kinds, and what they say together."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import drawn, normal, series

import perturbax as px
from perturbax.cells.heads import Heads, sparsemax, sparsemax_loss
from perturbax.cells.stack import below_and_all, stack
from perturbax.errors import LayerError
from perturbax.experiment.predict import future, open_for_forecasts
from perturbax.experiment.resolve import resolve
from perturbax.rules.backprop.cascaded import Cascaded

KINDS = ("linear", "softmax", "sparsemax")
STEPS, BATCH, CLASSES = 3, 5, 4


def network(kind, cell="tanh"):
    def build():
        layers = stack(px.CELLS[cell], (3, CLASSES), (6, 5), jr.key(0), heads=kind)
        return px.Network(layers, reads=below_and_all(3))

    return drawn(build, jr.key(1), 0.5)


def loss_of(kind):
    """What the task of these tests asks of outputs: squares for linear heads, else the cross-entropy."""
    if kind == "linear":
        return lambda y, target: jnp.mean((y - target) ** 2, -1)
    return lambda y, target: -jnp.sum(target * jax.nn.log_softmax(y), -1)


def data():
    classes = np.random.default_rng(3).integers(0, CLASSES, (STEPS, BATCH))
    return normal(jr.key(2), (STEPS, BATCH, 3)), jax.device_put(np.eye(CLASSES)[classes])


def summed_local_losses(net, xs, ys, kind, cut, one_step):
    """The sum of local losses of two tanh layers, written out; cut: whether errors stop between layers."""
    stop = jax.lax.stop_gradient if cut else lambda z: z
    carry = jax.lax.stop_gradient if one_step else lambda h: h
    first, second, heads = net.layers
    h, g, total = jnp.zeros((BATCH, 6)), jnp.zeros((BATCH, 5)), 0.0
    for x, y in zip(xs, ys, strict=True):
        h = jnp.tanh(x @ first.W + carry(h) @ first.U + first.b[None])
        g = jnp.tanh(stop(h) @ second.W + carry(g) @ second.U + second.b[None])
        for z, V in zip((h, g), heads.V, strict=True):
            a = z @ V
            if kind == "linear":
                total += jnp.mean((a - y) ** 2)
            elif kind == "softmax":
                total += jnp.mean(jax.nn.logsumexp(a, -1) - jnp.sum(a * y, -1))
            else:  # by its derivative alone, sparsemax(a) - y
                total += jnp.mean(jnp.sum(jax.lax.stop_gradient(sparsemax(a) - y) * a, -1))
    return total / STEPS


@pytest.mark.parametrize("kind", KINDS)
def test_trained_blocks_are_autodiff_cut_between_layers(kind, x64):
    net, (xs, ys) = network(kind), data()

    @jax.jit
    def all_of_them(net):
        estimates = {}
        for time in ("whole", "step"):
            rule = Cascaded(time=time)
            estimates[time] = rule.update((), net, xs, ys, loss_of(kind), jr.key(0))[2]
        expected = {}
        for cut, one_step in ((True, False), (True, True), (False, False)):
            summed = partial(summed_local_losses, xs=xs, ys=ys, kind=kind, cut=cut, one_step=one_step)
            expected[cut, one_step] = jax.grad(summed)(net)
        return estimates, expected

    estimates, expected = all_of_them(net)

    def distance(a, b):
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return max(float(jnp.abs(one - other).max()) for one, other in pairs)

    assert distance(estimates["whole"], expected[True, False]) < 1e-15
    assert distance(estimates["step"], expected[True, True]) < 1e-15
    assert distance(estimates["whole"], expected[False, False]) > 1e-3  # the control: without the cut
    assert distance(estimates["whole"], expected[True, True]) > 1e-3


def test_random_blocks_learn_heads_alone_and_closed_forms_leave_no_residual_gradient(x64):
    net, (xs, ys) = network("linear"), data()
    rule = Cascaded(blocks="random", solve=True, ridge=1e-12)
    state = rule.init_state(net, xs[0], jr.key(0))

    @jax.jit
    def solved(net, state):
        _, loss, grads = rule.update(state, net, xs, ys, loss_of("linear"), jr.key(0))
        after = px.apply_updates(net, jax.tree.map(jnp.negative, grads))  # SGD at rate 1
        again = Cascaded(blocks="random").update((), after, xs, ys, loss_of("linear"), jr.key(0))
        return grads, loss, again[2], again[1]

    grads, loss, residual, after = solved(net, state)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(residual)) < 1e-10
    assert after < 0.8 * loss
    assert not any(g.any() for g in jax.tree.leaves(grads.layers[:-1]))
    still = rule.modify_updates(jax.tree.map(jnp.ones_like, px.weights(net)), px.weights(net))
    assert not any(u.any() for u in jax.tree.leaves(still.layers[:-1]))
    assert rule.described().passes == 1
    with pytest.raises(LayerError, match="take heads linear"):
        rule.init_state(network("softmax"), xs[0], jr.key(0))
    plain = px.Network(stack(px.CELLS["tanh"], (3, CLASSES), (6, 5), jr.key(0)))
    with pytest.raises(LayerError, match="a head above every layer"):
        Cascaded().init_state(plain, xs[0], jr.key(0))


def test_a_network_answers_with_the_mean_of_its_heads():
    a = normal(jr.key(0), (2, CLASSES))

    @jax.jit
    def answers(a):
        made = {kind: Heads((6, 5), CLASSES, kind).advance((), a)[1] for kind in KINDS}
        return made, sparsemax(a), Heads((2,), CLASSES).advance((), a)[1]

    made, sparse, softmax = jax.tree.map(np.asarray, answers(a))
    for kind, y in made.items():
        a = np.asarray(a)
        soft = np.exp(a) / np.exp(a).sum(-1, keepdims=True)
        says = {"linear": a, "softmax": soft, "sparsemax": sparse}[kind]
        assert y.argmax() == says.sum(0).argmax()
        driven = jax.eval_shape(Heads((6, 5), CLASSES, kind).drive, jnp.zeros(11), y)
        assert driven.shape == (2, CLASSES)
    np.testing.assert_allclose(np.exp(softmax).sum(), 1, rtol=1e-6)


def test_sparsemax_and_its_loss(x64):
    y = jax.device_put(np.eye(6)[np.arange(50) % 6])
    sure, unsure = jnp.array([1.5, 0.5, 0.2]), jnp.array([1.3, 0.5, 0.2])

    @jax.jit
    def all_of_them():
        a = 3 * jr.normal(jr.key(0), (50, 6))
        slopes = jax.grad(lambda a: sparsemax_loss(a, y).sum())(a)
        few = [sparsemax_loss(one, jnp.array([1.0, 0, 0])) for one in (sure, unsure)]
        far = sparsemax_loss((a + 1000).astype(jnp.float32), y.astype(jnp.float32))
        return sparsemax(a), slopes, sparsemax_loss(a, y), far, few

    p, slopes, losses, far, (of_sure, of_unsure) = jax.tree.map(np.asarray, all_of_them())
    np.testing.assert_allclose(far, losses, atol=1e-3)  # what all entries share is not squared
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-12)
    assert 0 < (p == 0).mean() < 1
    np.testing.assert_allclose(slopes, p - y, atol=1e-12)
    assert (losses >= -1e-12).all()
    assert float(of_sure) == pytest.approx(0, abs=1e-12)
    assert float(of_unsure) > 1e-3


@pytest.mark.parametrize(
    ("task", "named", "heads"),
    [("digits", None, "softmax"), ("mackey-glass", None, "linear"), ("digits", "linear", "linear")],
)
def test_heads_answer_in_what_the_task_asks_for(task, named, heads):
    assert resolve(px.Experiment(task=task, rule="cascaded", heads=named)).heads == heads
    assert resolve(px.Experiment(task=task, rule="node")).heads == "none"


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """Runs on whole images of digits: blocks trained, random, and random with heads in closed form."""
    e = px.Experiment(
        task="digits",
        rule="cascaded",
        cell="dense",
        units=(64, 64),
        steps=300,
        batch=64,
        logs=3,
        cell_options={"activation": "relu"},
        task_options={"order": "whole"},
        lr=5e-3,
    )
    root = tmp_path_factory.mktemp("digits")
    solved = e.changed(
        rule_options={"blocks": "random", "solve": True},
        heads="linear",
        optimiser="sgd",
        lr=1.0,
        clip=0.0,
        schedule="constant",
        steps=30,
        task_options={"order": "whole", "cost": "squares"},
    )
    return {
        "trained": px.run(e, root / "trained"),
        "random": px.run(e.changed(rule_options={"blocks": "random"}, lr=5e-2, steps=150)),
        "solved": px.run(solved),
    }


def test_predict_answers_with_the_mean_of_the_heads(tmp_path):
    """Of forecasts by two networks that have one head each as their readout."""
    data = series(tmp_path / "load.csv")
    own = {"target": "load", "inputs": "load", "window": 8, "form": "level"}
    settings = {"task_options": own, "units": (3, 4), "steps": 60, "batch": 8, "logs": 1, "lr": 1e-2}
    e = px.Experiment(task="series", rule="cascaded", data=str(data), **settings)
    run = px.run(e, tmp_path / "run")
    opened = open_for_forecasts(run.folder, data)
    alone = []
    for i, V in enumerate(opened.model.net.layers[-1].V):
        readout = px.cells.Readout(len(V), V.shape[1], key=jr.key(0))
        readout = eqx.tree_at(lambda layer: (layer.W, layer.b), readout, (V, jnp.zeros(V.shape[1])))
        below = [[px.Source(-1)], [px.Source(0)], [px.Source(i)]]
        net = px.Network([*opened.model.net.layers[:-1], readout], reads=below)
        columns = dict(future(opened._replace(model=opened.model._replace(net=net)), ()))
        alone.append(np.array(columns["forecast"], float))
    np.testing.assert_allclose(px.predict(run.folder, data)["forecast"], np.mean(alone, 0), rtol=1e-4)
    assert abs(alone[0] - alone[1]).max() > 0.1


def test_digits_are_learnt_and_reports_and_folders_have_the_sum_of_heads(learnt, tmp_path):
    accuracy = {name: result.summary["test"]["accuracy"] for name, result in learnt.items()}
    assert accuracy["trained"] > 0.95, accuracy
    assert accuracy["random"] > 0.85, accuracy
    assert accuracy["solved"] > 0.85, accuracy
    again = px.load(learnt["trained"].folder)
    assert isinstance(again.net.layers[-1], Heads)
    assert again.summary["test"] == learnt["trained"].summary["test"]
    page = px.report([learnt["trained"].folder], tmp_path / "page.html").read_text()
    assert "Zhao G." in page
