"""An agent that lives once: what it does is what it learns from, and what it refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.cells.stack import stack
from perturbax.errors import ArgumentError
from perturbax.learning.online import online


def reward(**settings):
    return px.RULES["reward"](**{"sigma": 0.5, "credit": "trace", "discount": 0.9, **settings})


def test_an_agent_learns_from_what_it_did():
    """It acts as the noisy network whose noise is credited, and its updates are those of `online`."""
    net = eqx.filter_jit(lambda: px.Network(stack(px.CELLS["tanh"], (2, 2), (3,), jr.key(0))))()
    rule, optimiser = reward(), optax.sgd(0.1)
    seen = np.asarray(jr.normal(jr.key(1), (4, 2)))
    earned = [1.0, -0.5, 2.0, 0.0]
    agent = px.Agent(net, rule, optimiser, seed=5, choose=False)
    done = []
    for x, r in zip(seen, earned, strict=True):
        done.append(agent.act(x))
        agent.learn(r)
    init, run = online(rule, lambda y, target: -target[0] + 0 * y[:, 0], optimiser)
    first = init(net, jnp.asarray(seen[:1]), (jnp.zeros(1),), jr.key(5))
    stream, losses = jax.jit(run)(first, jnp.asarray(seen)[:, None], (jnp.asarray(earned)[:, None],))
    for mine, theirs in zip(jax.tree.leaves(agent.net), jax.tree.leaves(stream.net), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(losses, [-1.0, 0.5, -2.0, 0.0])
    quiet = px.forward(net, jnp.asarray(seen[:1])[:, None])[0, 0]
    assert np.abs(done[0] - quiet).max() > 1e-3  # noise is in what it does
    agent.act(seen[0])
    agent.learn(1.0, ended=True)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(agent._stream.carry[0]))
    with pytest.raises(ArgumentError, match="there is no action to reward"):
        agent.learn(1.0)
    agent.act(seen[0])
    with pytest.raises(ArgumentError, match="the last action waits for its reward"):
        agent.act(seen[0])
    with pytest.raises(ArgumentError, match="reward must be a finite number, not nan"):
        agent.learn(float("nan"))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda: px.RULES["node"](credit="trace"), "an agent lives once, and Node compares several passes"),
        (lambda: px.RULES["evolution"](), "an agent lives once, and Evolution compares several passes"),
        (lambda: px.RULES["bptt"](), "BPTT needs output error and derivatives"),
        (lambda: reward(credit="to-go"), "online, use credit window, trace or same-step"),
    ],
)
def test_rules_that_no_agent_can_have(rule, said):
    net = px.Network((px.cells.Readout(1, 2, key=jr.key(0)),))
    with pytest.raises(ArgumentError, match=said):
        px.Agent(net, rule(), optax.sgd(0.1))
