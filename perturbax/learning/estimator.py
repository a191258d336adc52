"""The public door: from a rule and a loss to gradient estimates that optax takes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.learning.checks import check_inputs, check_key, check_loss, check_network, check_sequence
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import Estimator, Loss
from perturbax.network.network import Network


class Learner(NamedTuple):
    """A rule at work, in the manner of an optax transformation: what it keeps between updates goes in and
    comes out.

    init(net, x, key) -> state: what the rule knows before its first update; x `(B, n_in)` is one input
    update(state, net, xs, ys, key) -> (state, loss, grads): xs `(T, B, n_in)`, ys `(T, B, ...)`, grads like
    the weights of net
    """

    init: Callable[[Network, Array, Array], PyTree]
    update: Callable[[PyTree, Network, Array, PyTree, Array], tuple[PyTree, Array, Network]]


def learner(rule: Rule, loss: Loss) -> Learner:
    """Return (init, update) of any rule.

    grads estimate the gradient of the loss averaged over T and B; `update` is compiled, and can be called
    inside jax.jit, jax.vmap and eqx.filter_jit.

    Arguments:
        rule: any learning rule, `px.rules.Node(sigma=1e-3)` say.
        loss: loss(y `(B, n_out)`, target) -> `(B,)`, one number per example and step.

    Raises ArgumentError, once per shape, for data, losses and keys that do not fit.
    """
    learn = rule.learner(loss)

    def init(net: Any, x: Any, key: Any) -> PyTree:
        check_inputs(net, x)
        check_key(key)
        return rule.begin(net, x)

    @eqx.filter_jit
    def update(state: PyTree, net: Any, xs: Any, ys: PyTree, key: Any) -> tuple[PyTree, Array, Network]:
        check_sequence(net, xs, ys)
        check_key(key)
        check_loss(loss, net, *jax.tree.map(lambda s: s[0], (xs, ys)))
        return learn(state, net, xs, ys, key)

    return Learner(init, update)


def value_and_estimate(rule: Rule, loss: Loss) -> Estimator:
    """Return the estimator (net, xs, ys, key) -> (loss, grads) of a rule that keeps nothing between updates.

    Arguments, shapes and errors are those of `learner`; a rule that keeps something is refused.
    """
    init, update = learner(rule, loss)

    def estimate(net: Any, xs: Any, ys: Any, key: Any) -> tuple[Array, Network]:
        check_network(net)
        if getattr(xs, "ndim", 0) == 3:  # update refuses anything else
            state = init(net, xs[0], key)
            if jax.tree.leaves(state):
                name = type(rule).__name__
                raise ArgumentError(
                    f"{name} keeps what it learns between updates: use px.learner(rule, loss), whose "
                    "init and update hand it on"
                )
        else:
            state = ()
        return update(state, net, xs, ys, key)[1:]

    return estimate
