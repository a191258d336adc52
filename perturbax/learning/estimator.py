"""The public door: from a rule and a loss to gradient estimates that optax takes."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import FAULTS, ArgumentError, PerturbaxError
from perturbax.fields import check_key
from perturbax.learning.checks import (
    check_callable,
    check_inputs,
    check_loss,
    check_network,
    check_rule,
    check_sequence,
    check_state,
)
from perturbax.learning.products import passes_of
from perturbax.learning.rule import Rule, SequenceRule, StepRule
from perturbax.learning.sequence import Estimator, Loss, over_sequence, visible_loss
from perturbax.learning.shares import mesh_of, over_devices
from perturbax.network.layer import words_of
from perturbax.network.network import Network


class Learner(NamedTuple):
    """A rule at work, in the manner of an optax transformation: what it keeps between updates goes in and
    comes out.

    Attributes:
        init: (net, x, key) -> state, what the rule knows before its first update; x `(B, n_in)` is one input,
            for its shape.
        update: (state, net, xs, ys, key) -> (state, loss, grads); xs `(T, B, n_in)`, ys leaves `(T, B, ...)`,
            grads like `weights(net)`.
    """

    init: Callable[[Network, Array, Array], PyTree]
    update: Callable[[PyTree, Network, Array, PyTree, Array], tuple[PyTree, Array, Network]]


def learner(rule: Rule, loss: Loss, mesh: Any = None) -> Learner:
    """Return (init, update) of any rule.

        state = init(net, xs[0], key)
        state, loss, grads = update(state, net, xs, ys, key)      # once per batch

    grads estimate the gradient of the loss averaged over T and B. `update` is compiled, and can be called
    inside jax.jit, jax.vmap and eqx.filter_jit.

    Arguments:
        rule: any learning rule, `px.rules.Node(sigma=1e-3)` say.
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example; called step by step.
        mesh: a `jax.sharding.Mesh`, or a number of devices, that share the work: the rows of a batch where
            their number divides by that of the devices, else the samples of the rule. Weights are on all of
            them, and estimates are those of one device up to rounding (docs/scale.md).

    Raises ArgumentError, once per shape, for networks, data, losses and keys that do not fit, LayerError for
    layers that do not fit each other or cannot be learnt.
    """
    check_rule(rule)
    check_callable(loss)
    devices = mesh_of(mesh)
    learn = _learn_by(loss, rule)
    if devices is not None:
        learn = over_devices(rule, devices, partial(_learn_by, loss))

    differentiated = "derivatives" in rule.described().uses

    def init(net: Any, x: Any, key: Any) -> PyTree:
        check_inputs(net, x)
        check_key(key)
        return rule.init_state(net, x, key)

    @eqx.filter_jit
    def update(state: PyTree, net: Any, xs: Any, ys: PyTree, key: Any) -> tuple[PyTree, Array, Network]:
        check_sequence(net, xs, ys)
        check_key(key)
        x, y = jax.tree.map(lambda s: s[0], (xs, ys))
        check_loss(loss, net, x, y, differentiated, rule.compared_noise())
        try:
            return learn(state, net, xs, ys, key)
        except PerturbaxError:
            raise
        except FAULTS:
            check_state(rule, net, x, key, state)
            raise

    return Learner(init, update)


def _learn_by(loss: Loss, rule: Rule) -> Callable:
    """Return (state, net, xs, ys, key) -> (state, loss, grads) of a rule on one device."""
    if isinstance(rule, SequenceRule):
        return partial(_whole_sequence, rule, visible_loss(rule, loss))
    if isinstance(rule, StepRule):
        return over_sequence(rule, loss)
    raise ArgumentError(
        f"{_name_of(rule)} is no learning rule: derive it from px.StepRule or px.SequenceRule"
    )


def _whole_sequence(
    rule: SequenceRule, loss: Loss, state: PyTree, net: Network, xs: Array, ys: PyTree, key: Array
) -> tuple[PyTree, Array, Network]:
    with passes_of(rule, net):
        found = rule.update(state, net, xs, ys, loss, key)
    if not isinstance(found, tuple) or len(found) != 3 or jnp.shape(found[1]) != ():
        what = words_of(found[1]) if isinstance(found, tuple) and len(found) == 3 else words_of(found)
        raise ArgumentError(
            f"rule {_name_of(rule)}: update must return (state, loss, grads), the loss one number; got {what}"
        )
    return found


def value_and_estimate(rule: Rule, loss: Loss) -> Estimator:
    """Return the estimator (net, xs, ys, key) -> (loss, grads) of a rule that keeps nothing between updates.

    Shapes and errors are those of `learner`.

    Arguments:
        rule: any learning rule that keeps nothing between updates.
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example.

    Raises ArgumentError for a rule that keeps something, which would be lost here.
    """
    check_rule(rule)
    if keeps := rule.described().keeps:
        raise _loses(rule, keeps)
    init, update = learner(rule, loss)

    def estimate(net: Any, xs: Any, ys: Any, key: Any) -> tuple[Array, Network]:
        check_network(net)
        state: PyTree = ()
        if getattr(xs, "ndim", 0) == 3 and len(xs):  # update refuses anything else
            state = init(net, xs[0], key)
        if jax.tree.leaves(state):
            raise _loses(rule, "what it learns")
        return update(state, net, xs, ys, key)[1:]

    return estimate


def first_estimate(rule: Rule, loss: Loss) -> Estimator:
    """Return the estimator (net, xs, ys, key) -> (loss, grads) of a rule that has learnt nothing yet.

    Arguments:
        rule: any learning rule.
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example.

    Raises what `learner` raises.
    """
    init, update = learner(rule, loss)

    def estimate(net: Network, xs: Array, ys: Any, key: Array) -> tuple[Array, Network]:
        return update(init(net, xs[0], key), net, xs, ys, key)[1:]

    return estimate


def _loses(rule: Rule, keeps: str) -> ArgumentError:
    return ArgumentError(
        f"{_name_of(rule)} keeps {keeps} between updates, which value_and_estimate would lose: use "
        "px.learner(rule, loss), whose init and update hand it on"
    )


def _name_of(rule: Any) -> str:
    return type(rule).__name__
