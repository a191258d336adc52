"""What comes in through the public door is checked here once: shapes and dtypes of data, loss, network and
key.

Everything is read off shapes while JAX traces, so a compiled call pays nothing. Raises ArgumentError
throughout.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from perturbax.errors import ArgumentError
from perturbax.network.layer import weights
from perturbax.network.network import Network

PER_EXAMPLE = "take the mean over outputs only, as in jnp.mean((y - target) ** 2, -1)"


def check_key(key: Any) -> None:
    """Refuse what is no random key of JAX: jax.random.key(seed), or the raw form of
    jax.random.PRNGKey(seed).
    """
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and key.shape == ():
        return
    if dtype == jnp.uint32 and getattr(key, "ndim", 0) == 1:
        return
    raise ArgumentError(f"key must be one key, as jax.random.key(0) makes it; got {_what(key)}")


def check_network(net: Any) -> None:
    """Refuse what is no network."""
    if not isinstance(net, Network):
        raise ArgumentError(f"net must be a px.Network; got {_what(net)}")


def check_inputs(net: Any, x: Any) -> None:
    """Refuse inputs of one step that are not floating-point `(B, n_in)`, or wider than the network's
    weights.
    """
    check_network(net)
    if getattr(x, "ndim", None) != 2:
        raise ArgumentError(f"inputs of one step must have shape (B, n_in): batch, inputs; got {_what(x)}")
    _check_float("inputs", net, x)


def check_sequence(net: Any, xs: Any, ys: PyTree) -> None:
    """Refuse sequences xs that are not floating-point `(T, B, n_in)`, and targets ys of other T or B."""
    check_network(net)
    if getattr(xs, "ndim", None) != 3:
        raise ArgumentError(f"xs must have shape (T, B, n_in): time, batch, inputs; got {_what(xs)}")
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
                f"ys must start with (T, B), too; got {_what(leaf)}"
            )


def check_loss(loss: Callable, net: Network, x: Any, target: PyTree) -> None:
    """Refuse a loss that is not one floating-point number per example, and targets that do not fit the
    outputs.

    loss(y `(B, n_out)`, target) -> `(B,)`; x `(B, n_in)` and target are those of one step. A target that is
    one floating-point array of another shape than the outputs is refused where broadcasting would stretch it
    to fit, as `(B,)` against `(B, 1)`: the loss would compare every example with every other.
    """
    y = jax.eval_shape(lambda x: net.step(net.start(x.shape[0]), x)[1], x)
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
    except (TypeError, ValueError) as error:
        shapes = ", ".join(_what(leaf) for leaf in jax.tree.leaves(target))
        raise ArgumentError(
            f"loss(y, target) failed for outputs {_what(y)} and targets {shapes}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if getattr(value, "shape", None) != y.shape[:1]:
        raise ArgumentError(
            f"loss must return one number per example, shape (B,) = {y.shape[:1]}; "
            f"it returned {_what(value)}: {PER_EXAMPLE}"
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise ArgumentError(f"loss must return floating-point numbers; it returned {_what(value)}")


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


def _what(thing: Any) -> str:
    """Return shape and dtype of an array, else the type."""
    if hasattr(thing, "shape") and hasattr(thing, "dtype"):
        return f"{thing.dtype} of shape {tuple(thing.shape)}"
    return f"{type(thing).__name__}"
