"""Learning in a closed loop: every pass has its own world, rules that can, rules that cannot, and runs."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.analysis.along_training import along_training
from perturbax.cells.stack import stack
from perturbax.errors import ArgumentError
from perturbax.experiment.build import build
from perturbax.loop.in_world import InWorld, check_can_act
from perturbax.report import write_report
from perturbax.report.compare import better

CART = px.tasks.CartPole(length=12)


def network(sizes, units=4, seed=0):
    return eqx.filter_jit(lambda: px.Network(stack(px.CELLS["tanh"], sizes, (units,), jr.key(seed))))()


def test_every_pass_lives_in_a_world_of_its_own():
    """A noisy pass beside a clean one is what it would be alone, step by step, against a loop in Python."""
    net = network(CART.sizes)
    inside = InWorld(net, CART)
    chance = CART.sample(jr.key(1), 2)[0]  # (T, B, 4)
    noise = [3.0 * jr.normal(jr.key(2), (12, 2, n)) for n in (4, 2)]  # strong enough to push otherwise

    @jax.jit
    def side_by_side(chance, noise):
        both = [jnp.stack([jnp.zeros_like(e), e], 1) for e in noise]  # (T, rows, B, n)
        start = jax.tree.map(lambda s: jnp.broadcast_to(s, (2, *s.shape)), inside.start(2))

        def step(state, now):
            x, e = now
            state, y, _ = jax.vmap(inside.step, in_axes=(0, None, 0))(state, x, e)
            return state, (y, state[-1][0].lives.world)

        return jax.lax.scan(step, start, (chance, both))[1]

    rewards, worlds = side_by_side(chance, noise)  # (T, rows, B, 1), (T, rows, B, 4)
    assert not np.allclose(worlds[-1, 0], worlds[-1, 1])
    act, advance = jax.jit(lambda *now: CART.act(*now)), jax.jit(lambda *now: net.step(*now))
    for row in (0, 1):
        world = [CART.begin(c) for c in chance[0]]
        state = net.start(2)
        for t in range(12):
            state, u, _ = advance(state, jnp.stack(world), [row * e[t] for e in noise])
            world = [act(w, o, c)[0] for w, o, c in zip(world, u, chance[t], strict=True)]
            np.testing.assert_allclose(worlds[t, row], jnp.stack(world), atol=1e-5)
    np.testing.assert_array_equal(rewards[:5], 1)


def test_reward_estimates_the_gradient_of_the_expected_return():
    """One decision, one weight: REINFORCE's gradient is that of the probability of the better push."""

    class Once(px.Environment):
        sizes = property(lambda self: (1, 1))
        steps = property(lambda self: 3)
        best = property(lambda self: 3.0)

        def begin(self, chance):
            return jnp.zeros((), int)

        def observe(self, t):
            return (t == 0).astype(float)[None]

        def act(self, t, u, chance):
            return t + 1, (u[0] > 0.2).astype(float), jnp.ones((), bool)  # one step, and it is over

    class Scale(px.Layer):
        w: jax.Array

        def start(self):
            return (), jnp.zeros(1)

        def drive(self, z, r):
            return z * self.w

        def advance(self, h, a):
            return (), a

    rule, env = px.RULES["reward"](sigma=0.3), Once()
    net = InWorld(px.Network([Scale(jnp.array([0.1]))]), env)
    init, update = px.learner(rule, env.loss)
    chance, ys = env.sample(jr.key(0), 40000)
    state = init(net, chance[0], jr.key(1))
    loss, grads = update(state, net, chance, ys, jr.key(2))[1:]
    normal = jax.scipy.stats.norm
    want = -normal.pdf(-1 / 3) / 0.3 / 3  # d/dw of 1 - P(w + sigma xi > 0.2) / 3
    assert float(loss) == pytest.approx(1 - float(normal.cdf(-1 / 3)) / 3, abs=3e-3)
    assert float(grads.layers[0].w[0]) == pytest.approx(float(want), rel=0.06)


def test_the_front_door():
    loop = px.closed_loop(px.RULES["evolution"](population=4, sigma=0.3), CART, optax.adam(0.1))
    net = network(CART.sizes)
    state = loop.init(net, jr.key(0))
    after, mean = loop.update(state, jr.key(1), 3)
    assert type(after.net) is px.Network
    assert 5 < float(mean) <= 12
    assert not np.array_equal(after.net.layers[0].W, net.layers[0].W)
    again, same = loop.update(state, jr.key(1), 3)
    np.testing.assert_array_equal(again.net.layers[0].W, after.net.layers[0].W)
    assert loop.play(after.net, jr.key(2), 5).shape == (5,)
    with pytest.raises(ArgumentError, match="CartPole reads 2 outputs of a network that sees 4 numbers"):
        loop.init(network((4, 3)), jr.key(0))
    with pytest.raises(ArgumentError, match=r"environment must be a px\.Environment"):
        px.closed_loop(px.RULES["reward"](), px.tasks.Copy(), optax.sgd(1.0))
    with pytest.raises(ArgumentError, match="optimiser must be an optax transformation"):
        px.closed_loop(px.RULES["reward"](), CART, 0.1)


LEARN = ("activity", "evolution", "innovation", "node", "pes", "reward", "weight")
NEED = ("bptt", "e-prop", "feedback", "frozen", "one-step", "pepita", "predictive-coding", "rtrl", "uoro")


def test_who_can_learn_in_a_world():
    for name in LEARN:
        check_can_act(px.RULES[name]())
    for name in NEED:
        with pytest.raises(ArgumentError, match=r"needs .*, and a world has none to give: take a rule"):
            check_can_act(px.RULES[name]())
    with pytest.raises(ArgumentError, match="Node needs output error"):
        check_can_act(px.RULES["node"](difference="linearised"))


def experiment(**fields):
    plain = {"task": "bandit", "rule": "reward", "task_options": {"arms": 2, "delay": 3}, "units": (4,)}
    return px.Experiment(**{**plain, "steps": 4, "logs": 2, "batch": 4, **fields})


def whole_task():
    return px.tasks.Bandit(**experiment().task_options)


def test_a_run_ends_resumes_and_is_reported(tmp_path):
    whole = px.run(experiment(), tmp_path / "whole")
    px.run(experiment(), tmp_path / "part", on_log=lambda step, *_: step == 2)
    for name in ("result.json", "predictions.npz", "weights"):
        (tmp_path / "part" / name).unlink()
    px.resume(tmp_path / "part")
    summaries = [json.loads((tmp_path / f / "result.json").read_text()) for f in ("whole", "part")]
    assert summaries[0]["test"] == summaries[1]["test"]
    assert set(summaries[0]["test"]) == {"loss", "return"}
    assert set(summaries[0]["baselines"]) == {"random"}
    page = write_report([tmp_path / "whole"], tmp_path / "report.html").read_text()
    assert "paid much later" in page
    assert "Rewards" in page
    assert "frozen" not in page  # no advice to run a rule that is refused
    assert "truth" not in page
    assert better("return", 0.8, 0.5)  # the most is set in bold
    opened = px.load(tmp_path / "whole")
    returns = opened.play(5, seed=3)
    chance = whole_task().sample(jr.key(3), 5)[0]
    np.testing.assert_array_equal(returns, px.forward(InWorld(opened.net, whole_task()), chance).sum((0, 2)))
    with pytest.raises(
        ArgumentError, match=r"predict is for series; let it act by px\.load\('.*'\)\.play\(\)"
    ):
        px.predict(tmp_path / "whole", tmp_path / "whole" / "config.json")
    loaded = opened.net
    np.testing.assert_array_equal(loaded.layers[0].W, whole.net.layers[0].W)
    assert loaded.step(loaded.start(1), jnp.zeros((1, 5)))[1].shape == (1, 2)


def test_what_a_run_in_a_world_cannot_have():
    with pytest.raises(ArgumentError, match="what actions do to bandit has no derivative"):
        along_training(experiment())
    with pytest.raises(ArgumentError, match="BPTT needs output error and derivatives"):
        build(experiment(rule="bptt"))
    with pytest.raises(ArgumentError, match="a world in this process"):
        px.run(experiment(device="true", units=None))
