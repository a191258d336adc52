"""AdaS: a learning rate for every array of weights, which follows what the array has learnt.

Hosseini, Plataniotis 2020 (arXiv:2006.06587). Once per epoch the singular values of each array are taken
apart into noise and a part of low rank; where that part grew, the array learns on, else its rate decays.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import tree_flatten_with_path
from jaxtyping import Array, Float, PyTree

from perturbax.fields import in_range, positive, whole

NAME = "adas"  # among the schedules
EPOCHS = 50  # parts of a run after which rates change, where data have no epochs of their own
LEAST = 1e-20  # rate below which none falls
POINTS, ROUNDS = 128, 4  # candidates of the variance of the noise in each round, each between two of the last


class Knowledge(NamedTuple):
    """What an array of weights has learnt.

    Attributes:
        gain: G, the mean over both modes of sum_i sigma_i / sigma_1 / (size of the mode); 0 to 1.
        condition: kappa = sigma_1 / sigma_r, the mapping condition; 0 where nothing is above the noise.
        rank: r, the number of singular values above the noise.
    """

    gain: Array
    condition: Array
    rank: Array


def above_noise(s: Float[Array, " L"], M: int) -> Float[Array, " L"]:
    """Return singular values without the noise in them: shrunk, and 0 where they are noise.

    The variance v of the noise minimises, with x = s^2 / (M v), alpha = L / M and
    t = (x - 1 - alpha + sqrt((x - 1 - alpha)^2 - 4 alpha)) / 2,

        sum over x <= x_ub of x - log x
        + sum over x > x_ub of x - t + log((t + 1) / x) + alpha log(t / alpha + 1)

    with x_ub = (1 + tau) (1 + alpha / tau), tau = 2.5129 sqrt(alpha). What is above sqrt(M v x_ub) stays, as

        s / 2 (1 - (L + M) v / s^2 + sqrt((1 - (L + M) v / s^2)^2 - 4 L M v^2 / s^4))

    Analytic variational Bayes of matrix factorisation (Nakajima, Sugiyama, Babacan, Tomioka 2013).

    Arguments:
        s: the singular values of a matrix `(L, M)` with L <= M, the largest first.
        M: its longer side.
    """
    L = len(s)
    alpha = L / M
    tau = 2.5129 * alpha**0.5
    bound = (1 + tau) * (1 + alpha / tau)
    rounding = s[0] * jnp.finfo(s.dtype).eps * M
    squares = jnp.maximum(jnp.maximum(s, rounding) ** 2, 1e3 * jnp.finfo(s.dtype).tiny)  # (L,)
    above = min(
        max(-int(-L // (1 + alpha)) - 1, 0), L - 1
    )  # no more values than these can be above the noise
    low = jnp.maximum(squares[above] / (M * bound), squares[above:].mean() / M)
    high = jnp.maximum(squares.sum() / (L * M), low)
    v = _minimum(squares, M, alpha, bound, low, high)
    share = (L + M) * v / squares  # (L,)
    under_root = (1 - share) ** 2 - 4 * L * M * (v / squares) ** 2
    shrunk = s / 2 * (1 - share + jnp.sqrt(jnp.maximum(under_root, 0)))
    return jnp.where((squares > M * v * bound) & (s > rounding), shrunk, 0)


def _minimum(squares: Array, M: int, alpha: float, bound: float, low: Array, high: Array) -> Array:
    """Return the variance between two that explains singular values best: the best of ever finer grids."""
    grid = jnp.linspace(0, 1, POINTS, dtype=squares.dtype)
    low, high = jnp.log(low), jnp.log(high)
    v = jnp.exp(low)
    for _ in range(ROUNDS):
        candidates = low + (high - low) * grid  # (POINTS,)
        x = squares[None] / (M * jnp.exp(candidates)[:, None])  # (POINTS, L)
        centred = jnp.maximum(x - 1 - alpha, 2 * alpha**0.5)
        t = (centred + jnp.sqrt(jnp.maximum(centred**2 - 4 * alpha, 0))) / 2
        signal = x - t + jnp.log((t + 1) / x) + alpha * jnp.log(t / alpha + 1)
        cost = jnp.where(x > bound, signal, x - jnp.log(x)).sum(1)  # (POINTS,)
        best = jnp.argmin(cost)
        v = jnp.exp(candidates[best])
        low, high = candidates[jnp.maximum(best - 1, 0)], candidates[jnp.minimum(best + 1, POINTS - 1)]
    return v


def knowledge_of(s: Float[Array, " L"], sides: Sequence[int]) -> Knowledge:
    """Return gain, mapping condition and rank of singular values.

    Arguments:
        s: singular values without their noise, the largest first.
        sides: sizes of both modes of the array.
    """
    first = jnp.maximum(s[0], jnp.finfo(s.dtype).tiny)
    total = jnp.where(s[0] > 0, (s / first).sum(), 0)
    gain = total * sum(1 / n for n in sides) / len(sides)
    rank = (s > 0).sum()
    last = jnp.where(s > 0, s, jnp.inf).min()
    return Knowledge(gain, jnp.where(rank > 0, s[0] / last, 0), rank)


def knowledge(W: Float[Array, "..."]) -> Knowledge:
    """Return what an array of weights has learnt, from its singular values above the noise.

    A matrix has the same singular values both ways round. Gates `(pre, gates, n)` are unfolded as
    `(pre, gates x n)`; convolutions of this package are matrices, `(patch, maps)`.

    Arguments:
        W: weights of two axes or more, presynaptic first.
    """
    matrix = W.reshape(len(W), -1).astype(jnp.promote_types(W.dtype, jnp.float32))
    s = jnp.linalg.svd(matrix, compute_uv=False)
    return knowledge_of(above_noise(s, max(matrix.shape)), matrix.shape)


class AdasState(NamedTuple):
    """What is carried from update to update.

    Attributes:
        made: updates so far.
        rates: learning rate of every array of two axes or more.
        gains: their knowledge gains at the last epoch.
        conditions: their mapping conditions then.
    """

    made: Array
    rates: list[Array]
    gains: list[Array]
    conditions: list[Array]


def by_knowledge_gain(
    lr: Any, every: int, beta: float = 0.8, zeta: float = 1.0, speed: Any = 1.0
) -> optax.GradientTransformation:
    """Return a transformation that scales the updates of every array by a learning rate of its own.

        rate <- max(beta rate + zeta (G now - G one epoch ago), 1e-20),      rate = lr at first

    Chained behind an optimiser of learning rate 1: `optax.chain(optax.sgd(1.0, momentum=0.9),
    px.by_knowledge_gain(0.03, every=500))` is AdaS as published. Biases have the mean rate of the arrays
    beside them in their layer.

    Arguments:
        lr: the rate that all start with (0.03 in the source); may be traced.
        every: updates of an epoch.
        beta: share of the rate that stays without a gain (0.8 to 0.95).
        zeta: what a gain of knowledge adds.
        speed: factor by which epochs are compressed, for a run over a share of the updates; may be traced.

    Raises ArgumentError for settings that cannot be.
    """
    in_range("beta", beta, 0, 1)
    positive("zeta", zeta)
    whole("every", every)

    def init(params: PyTree) -> AdasState:
        arrays = [w for w in jax.tree.leaves(params) if w.ndim > 1]
        first = jnp.asarray(lr, jnp.result_type(float))
        found = [knowledge(w) for w in arrays]
        gains = [k.gain.astype(first.dtype) for k in found]
        conditions = [k.condition.astype(first.dtype) for k in found]
        return AdasState(jnp.zeros((), int), [first for _ in arrays], gains, conditions)

    def epoch(state: AdasState, arrays: list[Array]) -> AdasState:
        found = [knowledge(w) for w in arrays]
        rates = [
            jnp.maximum(beta * rate + zeta * (now.gain.astype(rate.dtype) - before), LEAST)
            for rate, now, before in zip(state.rates, found, state.gains, strict=True)
        ]
        gains = [k.gain.astype(g.dtype) for k, g in zip(found, state.gains, strict=True)]
        conditions = [k.condition.astype(g.dtype) for k, g in zip(found, state.gains, strict=True)]
        return AdasState(state.made, rates, gains, conditions)

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, AdasState]:
        arrays = [w for w in jax.tree.leaves(params) if w.ndim > 1]
        done, before = state.made * speed // every, (state.made - 1) * speed // every
        due = (state.made > 0) & (done > before)
        state = jax.lax.cond(due, lambda: epoch(state, arrays), lambda: state)
        scaled = _scaled(updates, state.rates, lr)
        return scaled, state._replace(made=state.made + 1)

    return optax.GradientTransformation(init, update)


def _scaled(updates: PyTree, rates: list[Array], lr: Any) -> PyTree:
    """Return updates times the rates of their arrays; biases times the mean rate beside them, or `lr`."""
    paths, structure = tree_flatten_with_path(updates)
    beside: dict[tuple, list[Array]] = {}
    left = list(rates)
    own = []
    for path, leaf in paths:
        own.append(left.pop(0) if leaf.ndim > 1 else None)
        if own[-1] is not None:
            beside.setdefault(path[:-1], []).append(own[-1])
    scaled = []
    for (path, leaf), rate in zip(paths, own, strict=True):
        others = beside.get(path[:-1])
        shared = jnp.mean(jnp.stack(others)) if others else lr
        scaled.append((leaf * (shared if rate is None else rate)).astype(leaf.dtype))
    return structure.unflatten(scaled)


def has_levelled(losses: Sequence[float], least: float, patience: int = 10) -> bool:
    """Whether the training loss has not fallen by `least` in the last `patience` epochs: the rule of AdaS for
    ending a run without validation data.

    Arguments:
        losses: mean training loss of every epoch so far.
        least: what the loss must fall below the lowest one before; 0 or less never ends a run.
        patience: epochs in a row in which it did not.
    """
    best, since = float("inf"), 0
    for loss in losses:
        since = 0 if loss < best - least else since + 1
        best = loss if since == 0 else best
    return least > 0 and since >= patience
