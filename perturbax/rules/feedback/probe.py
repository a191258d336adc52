"""Responses of neurons, measured by finite differences: no derivative of the dynamics is taken."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.network.layer import Layer, split
from perturbax.network.network import Network, normalised


def outputs_of_rows(layer: Layer, h: PyTree, a: Array) -> Array:
    """Return the visible output of neurons, `(rows, B, n)`, before any decorrelation.

    Arguments:
        layer: the layer.
        h: its hidden states before the step, leaves `(rows, B, ...)`.
        a: its pre-activations, `(rows, B, ...)`.
    """
    neurons = split(layer)[1]
    return jax.vmap(jax.vmap(neurons.advance))(h, a)[1]


def query_signs(key: Array, queries: int, y: Array) -> Array:
    """Return what is added to outputs, in units of the shift, `(queries, B, n_out)`.

    Each output is moved up or down by one query, and each query moves a group of outputs of its own: all of
    them where there is one query, a single one where there are as many queries as outputs.

    Arguments:
        key: a random key.
        queries: how often the score is asked, at most n_out.
        y: outputs `(B, n_out)`, for their shape and dtype.
    """
    n = y.shape[-1]
    up_or_down = jr.rademacher(key, y.shape, y.dtype)
    asks = jax.nn.one_hot(jnp.arange(n) % queries, queries, dtype=y.dtype).T  # (queries, n_out)
    return asks[:, None] * up_or_down[None]


def measured_error(score: Any, y: Array, signs: Array, shift: Any) -> Array:
    """Return dL/dy `(B, n_out)` as the score shows it when outputs are moved.

        e = sum over queries of (L(y + shift s) - L(y)) / shift  s

    Only outputs that one query moves together hide each other. The mean over all signs is without bias up to
    shift^2; the variance is n_out / queries - 1 times the squared length of dL/dy where groups are of one
    size and the error is spread over them evenly, and none with a query for every output.

    Arguments:
        score: output `(B, n_out)` -> loss per example `(B,)`.
        y: outputs, `(B, n_out)`.
        signs: what is added, in units of the shift, `(queries, B, n_out)`, each output by one query.
        shift: how far outputs are moved.
    """
    moved = jax.vmap(lambda s: score(y + shift * s))(signs)  # (queries, B)
    slopes = (moved - score(y)[None]) / shift
    return jnp.sum(slopes[..., None] * signs, 0).astype(y.dtype)  # as a derivative has it


def measured_responses(layer: Layer, h: PyTree, a: Array) -> list[Array]:
    """Return how h' and y of every unit follow its h and a, of one example, by nudging each entry.

        R_eo = (o(e + step) - o(e - step)) / 2 step,     e an entry of h or a, o one of h' or y, of one unit

    Units are taken not to act on each other within a step, so that all are nudged at once. Entries (gates)
    come first in h and a, units last.

    Arguments:
        layer: the layer whose neurons are probed.
        h: hidden state before the step, leaves `(..., n)`.
        a: pre-activation, `(..., n)`.

    Returns R `(entries, outputs, n)` for each leaf of (h, a) but counters.

    Raises LayerError for neurons that spike (no slope to measure), units that act on each other, and hidden
    states without an axis of units.
    """
    neurons, name = split(layer)[1], type(layer).__name__
    inputs, tree = jax.tree.flatten((h, a))
    if any(value.ndim < 1 for value in inputs):
        raise LayerError(f"{name}: a hidden state needs an axis of units, to be nudged one by one")
    _check_unitwise(layer)
    if hasattr(layer, "surrogate"):
        raise LayerError(f"{name}: a spike has no slope that nudging could measure: take node or innovation")
    n = a.shape[-1]
    step = float(jnp.finfo(a.dtype).eps) ** (1 / 3)  # balances rounding and curvature of a central difference
    responses = []
    for i, value in enumerate(inputs):
        if not _flows_through(value):
            continue
        rows = value.reshape(-1, n)

        def with_entry_moved(
            k: int, by: float, i: int = i, value: Array = value, rows: Array = rows
        ) -> Array:
            """Return the outputs `(outputs, n)` with entry k of every unit moved."""
            moved = jnp.concatenate([rows[:k], rows[k : k + 1] + by, rows[k + 1 :]]).reshape(value.shape)
            return _by_unit(neurons.advance(*tree.unflatten([*inputs[:i], moved, *inputs[i + 1 :]])), n)

        # An entry at a time, in plain sight of the compiler: it evaluates only what the moved entry changes.
        of_entries = [
            (with_entry_moved(k, step) - with_entry_moved(k, -step)) / (2 * step) for k in range(len(rows))
        ]
        responses.append(jnp.stack(of_entries))
    return responses


def pulled_back(responses: list[Array], h: PyTree, a: Array, later: PyTree, y: Array) -> tuple:
    """Return dL/dh and dL/da of one example from dL/dh' and dL/dy.

        dL/de = sum over outputs o of the unit of R_eo dL/do

    Arguments:
        responses: R, as `measured_responses` returns it.
        h: hidden state before the step, for its shapes.
        a: pre-activation, likewise.
        later: dL/dh' for the hidden state after the step, like h.
        y: dL/dy for the visible output.
    """
    inputs, tree = jax.tree.flatten((h, a))
    worth = _by_unit((later, y), a.shape[-1])
    gradients, of_leaf = [], iter(responses)
    for value in inputs:
        if not _flows_through(value):
            gradients.append(jnp.zeros_like(value))
            continue
        R = next(of_leaf)
        total = jnp.zeros((len(R), R.shape[-1]), R.dtype)
        for o in range(len(worth)):  # few, and added in plain sight: XLA's own sums of few are slow on a CPU
            total = total + R[:, o] * worth[o][None]
        gradients.append(total.reshape(value.shape))
    return tree.unflatten(gradients)


def through_normalisation(z: Array, worth: Array) -> Array:
    """Return what z is worth, `(B, n)`, from what z shifted and scaled to mean 0 and variance 1 is worth.

        J g = (norm(z + step g) - norm(z - step g)) / 2 step,      J^T = J

    How one value changes another is the same both ways, so a nudge along the worth shows the way back.

    Arguments:
        z: what is normalised over units, `(B, n)`.
        worth: dL/dnorm(z), `(B, n)`.
    """

    def length(values: Array) -> Array:  # root mean square over units, (B, 1)
        return jnp.sqrt(jnp.mean(values**2, -1, keepdims=True))

    size = length(worth)
    along = worth / jnp.where(size > 0, size, 1)
    spread = length(z - z.mean(-1, keepdims=True))
    step = float(jnp.finfo(z.dtype).eps) ** (1 / 3) * jnp.where(spread > 0, spread, 1)  # (B, 1)
    return size * (normalised(z + step * along) - normalised(z - step * along)) / (2 * step)


def _by_unit(outputs: PyTree, n: int) -> Array:
    """Return a hidden state and an output as one array `(outputs, n)`, without counters."""
    return jnp.concatenate([part.reshape(-1, n) for part in jax.tree.leaves(outputs) if _flows_through(part)])


def _flows_through(value: Array) -> bool:
    """Whether a value can be moved a little: nothing flows through a counter."""
    return jnp.issubdtype(value.dtype, jnp.inexact)


def _check_unitwise(layer: Layer) -> None:
    """Raise LayerError for neurons that act on each other within a step: all are nudged at once."""
    if not layer.unitwise:
        raise LayerError(
            f"{type(layer).__name__}: units that act on each other within a step (pooling does) cannot all "
            "be nudged at once: take node or innovation"
        )


def measured_gains(net: Network, before: list[PyTree], sites: tuple) -> list[Array]:
    """Return dy/da of every unit of every layer but the last, `(T, B, ...)` like a: 1 - y^2 for tanh,
    measured.

    Arguments:
        net: the network.
        before: hidden state of every layer one step ago, leaves `(T, B, ...)`.
        sites: what every layer saw, `(T, B, ...)`.

    Raises LayerError for units with more than one output each.
    """

    def of_one(layer: Layer, h: PyTree, a: Array) -> Array:
        _check_unitwise(layer)
        y = split(layer)[1].advance(h, a)[1]
        if y.shape[-1] != a.shape[-1]:
            raise LayerError(
                f"{type(layer).__name__}: this rule is for units with one output each: take mirror"
            )
        to_a = measured_responses(layer, h, a)[-1]  # (entries, outputs, n), y the last of the outputs
        return to_a[:, -1].reshape(a.shape)

    gains = []
    for layer, h, site in zip(net.layers[:-1], before, sites, strict=False):
        over_batch = jax.vmap(lambda h, a, layer=layer: of_one(layer, h, a))
        gains.append(jax.vmap(over_batch)(h, site.a))
    return gains


def through_gains(gain: Array, worth: Array) -> Array:
    """Return dL/da from dL/dy, `(T, B, ..., n)`, of units with one output each.

    Arguments:
        gain: dy/da, `(T, B, ..., n)`, as `measured_gains` returns it.
        worth: dL/dy, `(T, B, n)`.
    """
    return gain * worth.reshape(*worth.shape[:2], *[1] * (gain.ndim - 3), -1)
