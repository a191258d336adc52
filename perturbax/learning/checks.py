"""What comes in through the public door is checked here once: shapes and dtypes of data, loss, network and
key.

Everything is read off shapes while JAX traces, so a compiled call pays nothing. Raises ArgumentError for
arguments, LayerError for layers.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import PyTree

from perturbax.errors import FAULTS, ArgumentError, LayerError, first_line
from perturbax.learning.estimate import Outer
from perturbax.learning.products import check_own_rounding, full
from perturbax.learning.rule import Rule
from perturbax.network.layer import check_linear, layer_label, weights, words_of
from perturbax.network.network import Network, Site
from perturbax.network.passes import check_sequence_axes

PER_EXAMPLE = "take the mean over outputs only, as in jnp.mean((y - target) ** 2, -1)"


def check_rule(rule: Any) -> None:
    """Refuse what is no learning rule: a name, a class that was not called, or anything else."""
    if isinstance(rule, Rule):
        return
    if isinstance(rule, str):
        hint = f"{rule!r} is a name: px.RULES[{rule!r}]() makes a rule of it"
    elif isinstance(rule, type) and issubclass(rule, Rule):
        hint = f"{rule.__name__} is a class: {rule.__name__}() makes a rule of it"
    else:
        what = words_of(rule)
        hint = f"{what} is no learning rule: derive it from px.StepRule or px.SequenceRule"
    raise ArgumentError(hint)


def check_callable(loss: Any) -> None:
    """Refuse a loss that is no function."""
    if not callable(loss):
        raise ArgumentError(
            f"loss must be a function (y, target) -> (B,), one number per example; got {words_of(loss)}"
        )


def check_state(rule: Rule, net: Network, x: Any, key: Any, state: PyTree) -> None:
    """Refuse a state of another structure or other shapes than `init_state` gives for this rule and network.

    Arguments:
        rule: the rule.
        net: the network.
        x: inputs of one step, `(B, n_in)`.
        key: a random key.
        state: what `update` was given.
    """
    expected = jax.eval_shape(rule.init_state, net, x, key)

    def shapes(tree: PyTree) -> Any:
        leaves, structure = jax.tree.flatten(tree)
        return structure, [jnp.shape(leaf) for leaf in leaves]

    if shapes(state) != shapes(expected):
        raise ArgumentError(
            f"the state given to update is none of rule {type(rule).__name__} on this network: hand on what "
            "init or the last update returned, and call init anew for another rule or network"
        )


def check_network(net: Any) -> None:
    """Refuse what is no network, and complex weights, along which no rule descends."""
    if not isinstance(net, Network):
        raise ArgumentError(f"net must be a px.Network; got {words_of(net)}")
    for i, layer in enumerate(net.layers):
        for path, w in tree_flatten_with_path(weights(layer))[0]:
            if jnp.issubdtype(w.dtype, jnp.complexfloating):
                raise LayerError(
                    f"{layer_label(i, layer)}: the weight {keystr(path).lstrip('.')} is {w.dtype}: "
                    "hold two real arrays, its real and its imaginary part"
                )


def check_inputs(net: Any, x: Any) -> None:
    """Refuse inputs of one step that are not floating-point `(B, n_in)`, or wider than the network's
    weights.

    Arguments:
        net: the network.
        x: the inputs.

    Raises ArgumentError; LayerError for complex weights.
    """
    check_network(net)
    if getattr(x, "ndim", None) != 2:
        raise ArgumentError(f"inputs of one step must have shape (B, n_in): batch, inputs; got {words_of(x)}")
    _check_float("inputs", net, x)


def check_sequence(net: Any, xs: Any, ys: PyTree) -> None:
    """Refuse sequences xs that are not floating-point `(T, B, n_in)`, and targets ys of other T or B.

    Arguments:
        net: the network.
        xs: inputs of the sequence.
        ys: targets, a tree of arrays `(T, B, ...)`.

    Raises ArgumentError; LayerError for complex weights.
    """
    check_network(net)
    check_sequence_axes(xs)
    if 0 in xs.shape[:2]:
        raise ArgumentError(f"xs has shape {xs.shape}: there is no time step or no example in it")
    _check_float("xs", net, xs)
    leaves = jax.tree.leaves(ys)
    if not leaves:
        raise ArgumentError("ys holds no targets: it must be an array (T, B, ...), or a tree of such")
    for leaf in leaves:
        if getattr(leaf, "shape", ())[:2] != xs.shape[:2]:
            raise ArgumentError(
                f"xs has T = {xs.shape[0]} steps of B = {xs.shape[1]} examples: "
                f"ys must start with (T, B), too; got {words_of(leaf)}"
            )


def check_step(net: Network, x: Any, differentiated: bool, noise: Any = None) -> Any:
    """Return the shape and dtype of the output of one step, `(B, n_out)`, of a network that fits its inputs.

    Arguments:
        net: the network.
        x: inputs of one step, `(B, n_in)`.
        differentiated: whether a derivative by weights will be taken, so that a drive that is not linear in
            them, of which other rules hear from `pull_back`, must be refused here.
        noise: standard deviation of the noise under which passes are compared, None without.

    Raises LayerError for layers that do not fit what they read or whose state changes its kind, and for
    complex states and outputs; ArgumentError for noise that is lost in what the network rounds itself.
    """

    def one_step(x: Any) -> tuple[Any, Any, tuple[Site, ...]]:
        return net.step(net.start(x.shape[0]), x)

    with full():
        traced, (state, y, sites) = jax.make_jaxpr(one_step, return_shape=True)(x)
    check_own_rounding(traced, net, noise)
    for i, (layer, kept, site) in enumerate(zip(net.layers, state, sites, strict=True)):
        if any(jnp.issubdtype(s.dtype, jnp.complexfloating) for s in jax.tree.leaves((kept, site.a))):
            raise LayerError(
                f"{layer_label(i, layer)}: its pre-activation, state or output is complex: "
                "hold two real arrays, the real and the imaginary part"
            )
        if differentiated:
            check_linear(i, layer, site.z, site.r, site.a)
    return y


def check_loss(
    loss: Callable, net: Network, x: Any, target: PyTree, differentiated: bool = False, noise: Any = None
) -> None:
    """Refuse a network that does not fit its inputs (see `check_step`), a loss that is not one floating-point
    number per example, and targets that do not fit the outputs.

    A target that is one floating-point array of another shape than the outputs is refused where broadcasting
    would stretch it to fit, as `(B,)` against `(B, 1)`: the loss would compare every example with every
    other.

    Arguments:
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example.
        net: the network.
        x: inputs of one step, `(B, n_in)`.
        target: targets of that step, leaves `(B, ...)`.
        differentiated: whether a derivative by weights will be taken, as for `check_step`.
        noise: as for `check_step`.

    Raises ArgumentError for losses and targets, LayerError for layers.
    """
    y = check_step(net, x, differentiated, noise)
    if hasattr(target, "dtype") and jnp.issubdtype(target.dtype, jnp.inexact):
        if target.shape != y.shape and _stretches(target.shape, y.shape):
            raise ArgumentError(
                f"outputs have shape (B, n_out) = {y.shape} at every step, targets {target.shape}, which "
                "broadcasting would stretch: give ys the shape "
                "(T, B, n_out) of the outputs (or hand them over as a tuple)"
            )
        _check_float("ys", net, target)
    try:
        value = jax.eval_shape(lambda y, target: loss(y, target), y, target)
    except FAULTS as error:
        shapes = ", ".join(words_of(leaf) for leaf in jax.tree.leaves(target))
        raise ArgumentError(
            f"loss(y, target) failed for outputs {words_of(y)} and targets {shapes}: {first_line(error)}"
        ) from error
    if getattr(value, "shape", None) != y.shape[:1]:
        raise ArgumentError(
            f"loss must return one number per example, shape (B,) = {y.shape[:1]}; "
            f"it returned {words_of(value)}: {PER_EXAMPLE}"
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise ArgumentError(f"loss must return floating-point numbers; it returned {words_of(value)}")


def check_estimate(rule: Any, estimate: Any, batch: int) -> None:
    """Refuse what `step` of a rule returned, unless losses, differences and signals are those of B examples.

    Arguments:
        rule: the rule, for errors.
        estimate: its `Estimate`, traced.
        batch: number of examples, B.
    """
    name = type(rule).__name__
    if getattr(estimate.loss, "shape", None) != (batch,):
        raise ArgumentError(
            f"rule {name}: the loss of an Estimate must be one number per example, (B,) = ({batch},); "
            f"it is {words_of(estimate.loss)}"
        )
    if estimate.delta is not None and estimate.delta.shape[1:] != (batch,):
        raise ArgumentError(
            f"rule {name}: the delta of an Estimate must have shape (K, B), with B = {batch}; "
            f"it is {words_of(estimate.delta)}"
        )
    if not isinstance(estimate.parts, Outer):
        return
    for i, signal in enumerate(estimate.parts.signal):
        if signal.ndim < 3 or signal.shape[1] != batch:
            raise ArgumentError(
                f"rule {name}: the signal of layer {i} must have shape (K, B, ...), with B = {batch}; "
                f"it is {words_of(signal)}"
            )


def _check_float(name: str, net: Network, array: Any) -> None:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ArgumentError(
            f"{name} must be floating-point numbers; got {array.dtype}: cast with .astype(jnp.float32)"
        )
    widest = jnp.result_type(*(jax.tree.leaves(weights(net)) or [jnp.float32]))
    if array.dtype == jnp.float64 and widest != jnp.float64:
        raise ArgumentError(
            f"{name} are float64, the network's weights {widest}: cast with .astype(jnp.{widest})"
        )


def _stretches(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether arrays of two shapes can be subtracted by broadcasting."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return all(m == n or 1 in (m, n) for m, n in pairs)
