"""The complete rules in docstrings run as they stand there, and those without bias follow the gradient."""

import inspect
import re
import textwrap

import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import pytest
from helpers import data, mse, network

import perturbax as px
from perturbax.rules.feedback.base import LearntFeedback
from perturbax.rules.feedback.probe import measured_gains, through_gains

SHOWN_IN = {
    "Expected": px.StepRule,
    "Direction": px.SequenceRule,
    "Sign": px.NodeRule,
    "RandomFeedback": LearntFeedback,
}
IMPORTS = {
    "jax": jax,
    "jnp": jnp,
    "jr": jr,
    "px": px,
    "LearntFeedback": LearntFeedback,
    "measured_gains": measured_gains,
    "through_gains": through_gains,
}
STEPS, BATCH = 4, 6


def rule_shown(name):
    """The rule, made from the indented class in the docstring of its base."""
    docstring = inspect.getdoc(SHOWN_IN[name])
    source = re.search(rf"^    class {name}\(.*?(?=^\S|\Z)", docstring, re.S | re.M)
    names = dict(IMPORTS)
    exec(textwrap.dedent(source[0]), names)
    return names[name]()


def flat(tree):
    return jax.flatten_util.ravel_pytree(tree)[0]


@pytest.mark.parametrize("name", SHOWN_IN)
def test_the_rule_of_the_docstring_learns_twice(name):
    net, (xs, ys) = network(px.cells.Tanh, n=2), data(steps=STEPS, batch=BATCH)
    init, update = px.learner(rule_shown(name), mse)
    state = init(net, xs[0], jr.key(0))
    for key in jr.split(jr.key(1), 2):
        state, loss, grads = update(state, net, xs, ys, key)
        assert jnp.isfinite(loss)
        assert jnp.isfinite(flat(grads)).all()
        assert jax.tree.structure(grads) == jax.tree.structure(px.weights(net))


@pytest.mark.parametrize(
    ("name", "exact"),
    [("Expected", px.truncated_bptt(mse, 1)), ("Direction", px.bptt(mse))],
    ids=["Expected", "Direction"],
)
def test_the_mean_follows_the_gradient(name, exact):
    """Over many keys; the step rule has same-step credit, so its gradient is the one cut at every step."""
    net, (xs, ys) = network(px.cells.Tanh, n=2), data(steps=STEPS, batch=BATCH)
    init, update = px.learner(rule_shown(name), mse)
    state = init(net, xs[0], jr.key(0))

    @jax.jit
    def mean_estimate(keys):
        return jax.vmap(lambda key: flat(update(state, net, xs, ys, key)[2]))(keys).mean(0)

    estimate = mean_estimate(jr.split(jr.key(1), 20_000))
    gradient = flat(exact(net, xs, ys, None)[1])
    cosine = estimate @ gradient / (jnp.linalg.norm(estimate) * jnp.linalg.norm(gradient))
    assert cosine > 0.95
