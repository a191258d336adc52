"""Noise of unit variance, drawn outside the step from keys.

A function of (key, t) alone, it can be drawn again.
"""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import in_range, one_of, positive, setting
from perturbax.learning.pace import pace
from perturbax.learning.signs import BITS, PackedSigns, draw_signs, flipped
from perturbax.learning.trees import divisor
from perturbax.plugins import import_object


class Noise(eqx.Module):
    """Where perturbations come from; write `Independent.sample`, or `init` and `draw` for noise that has a
    state.

    Attributes:
        replayable: whether the draws can be had a second time; a device's own noise says False.
        bias: what the noise adds to the target of a rule, in words, if it is not white.
        keeps: what the state of the noise holds from one sequence to the next, in words; empty if nothing.
    """

    replayable: ClassVar[bool] = True
    bias: ClassVar[str] = ""
    keeps: ClassVar[str] = ""

    def init(self, like: PyTree) -> PyTree:
        """Return the state before the first step; () where there is none.

        Arguments:
            like: shapes of the noise of one step, leaves `(K, B, ...)`.
        """
        return ()

    @abc.abstractmethod
    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Return (state, xi) for len(keys) steps at once: leaves of xi are `(steps, K, B, ...)`.

        Arguments:
            state: the state of the noise.
            keys: one key per step.
            like: shapes of the noise of one step, leaves `(K, B, ...)`.
        """

    def spread(self, state: PyTree) -> list[Array] | None:
        """Return the scale of the noise of each layer, one factor per pre-activation; None where all are
        1.

        Arguments:
            state: the state of the noise.
        """
        return None

    def adapt(self, state: PyTree, activity: list[Array]) -> PyTree:
        """Return the state after the pre-activations of a step were seen.

        Arguments:
            state: the state of the noise.
            activity: pre-activations, per layer `(B, ...)`.
        """
        return state


class Independent(Noise):
    """Fresh noise at every step, example and unit."""

    @abc.abstractmethod
    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return values of zero mean and unit variance, uncorrelated.

        Arguments:
            key: a random key.
            shape: of the values: `(K, B, ...)` for pre-activations, `(K, ...)` for weights.
            dtype: of the values.
        """

    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Draw every leaf from a key of its own."""
        return state, _from_own_keys(self.sample, keys, like)


class Gaussian(Independent):
    """xi ~ N(0, 1)."""

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return standard normal values."""
        return jr.normal(key, shape, dtype)


class Rademacher(Independent):
    """xi = +1 or -1 with equal probability, one random bit each."""

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Unpack 32 signs from each random word, words along the last axis."""
        return draw_signs(key, shape or (1,), dtype).expand().reshape(shape)

    def packed(self, key: Array, shape: tuple[int, ...], dtype: Any) -> PackedSigns:
        """Return the same signs as `sample`, packed.

        Arguments:
            key: a random key.
            shape: of the signs, `(K, B, ...)`.
            dtype: of their values.
        """
        return draw_signs(key, shape, dtype)


class Orthogonal(Independent):
    """Signs whose K samples are orthogonal: rows of a Hadamard matrix, under signs that the samples share.

        xi_k = H_k * s,   s random signs per example and unit,   H_k . H_l = 0

    Each sample alone is Rademacher noise. Orthogonal within each layer whose size the order of H (the power
    of two from K on) divides, and nearly so in others. Sylvester 1867; Choromanski et al. 2018 for gradient
    estimates.
    """

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw one set of signs, and give each sample a row of H of its own."""
        shared = Rademacher().sample(key, shape[1:], dtype)[None]
        return shared * jnp.asarray(_rows_of_hadamard(shape), dtype)

    def packed(self, key: Array, shape: tuple[int, ...], dtype: Any) -> PackedSigns:
        """Return the same signs as `sample`, packed.

        Arguments:
            key: a random key.
            shape: of the signs, `(K, B, ...)`.
            dtype: of their values.
        """
        shared = draw_signs(key, shape[1:], dtype)
        alone = PackedSigns(shared.words[None], shared.scale, shared.n)
        return flipped(alone, _rows_of_hadamard(shape) < 0)


def _rows_of_hadamard(shape: tuple[int, ...]) -> np.ndarray:
    """Return the row of H of each sample over its units, `(K, 1, ...)`, for noise `(K, B, ...)`."""
    samples, *one = shape
    H = _hadamard(samples)
    columns = np.arange(int(np.prod(one[1:]))).reshape((1, *one[1:]) if one else ()) % len(H)
    return H[:samples][:, columns]


def _hadamard(rows: int) -> np.ndarray:
    """Return the smallest Sylvester matrix with that many rows."""
    H = np.ones((1, 1))
    while len(H) < rows:
        H = np.block([[H, H], [H, -H]])
    return H


class LowRank(Independent):
    """Noise that is a matrix of low rank over the last two axes: cheap directions for weight matrices.

        xi = sum_{i < r} u_i v_i^T / sqrt(r),   u, v random signs

    Entries have unit variance and are uncorrelated, so estimates stay unbiased. Vectors are drawn in full.
    Sarkar et al. 2025, without their hardware.

    Attributes:
        rank: r.
    """

    rank: int = setting(1)

    def __check_init__(self) -> None:
        """Check the rank."""
        positive("rank", self.rank)

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return products of random sides."""
        if len(shape) < 3:  # (samples, units): nothing to factorise
            return Rademacher().sample(key, shape, dtype)
        left, right = (
            Rademacher().sample(k, s, dtype)
            for k, s in zip(
                jr.split(key), ((*shape[:-1], self.rank), (*shape[:-2], self.rank, shape[-1])), strict=True
            )
        )
        return left @ right / self.rank**0.5


class Sampled(Independent):
    """Noise from a function of the user's.

    Attributes:
        function: (key, shape, dtype) -> values of zero mean and unit variance, as in `jax.random`.
    """

    function: Callable = eqx.field(static=True)

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return what the function makes of key, shape and dtype."""
        return self.function(key, shape, dtype)


class Correlated(Noise):
    """Gaussian noise with a memory of `steps` steps, as slow inputs to a neuron have.

        xi_t = sum_{j < m} w_j eps_{t-j},   w_j ~ exp(-j / steps),   sum w_j^2 = 1,   m = 3 steps

    The state is the last keys, so it replays like any other. Estimates see gradients smoothed over this time.

    Attributes:
        steps: time constant, in steps.
    """

    bias: ClassVar[str] = ", biased by the memory of the noise"
    keeps: ClassVar[str] = "the noise's last keys"
    steps: float = setting(3.0)

    def __check_init__(self) -> None:
        """Check the time constant."""
        positive("steps", self.steps)

    @property
    def taps(self) -> int:
        """Length m of the filter."""
        return max(1, round(3 * self.steps))

    def init(self, like: PyTree) -> PyTree:
        """Return keys that stand for no noise before the first step, and step 0."""
        raw_keys = jr.split(jr.PRNGKey(0), self.taps)  # raw, as they are saved in checkpoints
        return raw_keys, jnp.zeros((), int)

    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Draw the last m steps again, and filter."""
        past, t = state
        if jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
            keys = jr.key_data(keys)
        every = jnp.concatenate([past, keys])[-(self.taps - 1 + len(keys)) :]
        eps = Gaussian().draw((), every, like)[1]
        lag = jnp.arange(self.taps)[None]
        w = jnp.exp(-lag / self.steps) * (lag <= (t + jnp.arange(len(keys)))[:, None])
        w = w / jnp.sqrt(jnp.sum(w * w, 1, keepdims=True))
        at = jnp.arange(len(keys))[:, None] + self.taps - 1 - lag

        def mix(e: Array) -> Array:
            return jnp.sum(w.astype(e.dtype).reshape(*w.shape, *[1] * (e.ndim - 1)) * e[at], 1)

        return (every[-self.taps :], t + len(keys)), jax.tree.map(mix, eps)


class Scaled(Noise):
    """Signs times a scale per unit, learnt from activity: units whose pre-activations vary more get more
    noise.

        s_i = rms_i / sqrt(mean_j rms_j^2),    rms_i^2 <- rms_i^2 + rate (mean_b a_i^2 - rms_i^2)

    Node rules divide by s_i^2, so estimates stay unbiased. Nodes only.

    Attributes:
        rate: how fast the running mean square follows.
    """

    keeps: ClassVar[str] = "the scale of each unit's noise"
    rate: float = setting(0.01)

    def __check_init__(self) -> None:
        """Check the rate."""
        in_range("rate", self.rate, 0, 1, above=True)

    def init(self, like: PyTree) -> PyTree:
        """Return equal scales, one per unit."""
        return [jnp.ones(leaf.shape[2:], leaf.dtype) for leaf in like]

    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Return signs; `spread` scales them."""
        return state, Rademacher().draw((), keys, like)[1]

    def spread(self, state: PyTree) -> list[Array]:
        """Return the root mean square of each unit, against that of its layer."""
        floored = [square + 1e-2 * square.mean() + 1e-30 for square in state]
        return [jnp.sqrt(square / square.mean()) for square in floored]

    def adapt(self, state: PyTree, activity: list[Array]) -> PyTree:
        """Return the running mean square of each unit after a step."""
        return [s + self.rate * (jnp.mean(a * a, 0) - s) for s, a in zip(state, activity, strict=True)]


class Recorded(Noise):
    """Noise that was recorded: leaf `table[t]` at step t, in the shapes that the rule asks for; the last row
    stays.

    Attributes:
        table: a tree like the noise of one step, leaves `(steps, K, B, ...)`.
    """

    keeps: ClassVar[str] = "the place in the record"
    table: PyTree

    def init(self, like: PyTree) -> PyTree:
        """Return t = 0."""
        return jnp.zeros((), int)

    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Return the next len(keys) rows of the table."""
        at = state + jnp.arange(len(keys))
        return state + len(keys), jax.tree.map(lambda rows: jnp.take(rows, at, 0, mode="clip"), self.table)


def draw_packed(noise: Noise, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
    """Return what `noise.draw` returns, of noise that is signs with `PackedSigns` as leaves.

    Arguments:
        noise: the noise; of a kind of one's own, derived from these or not, the draws are arrays.
        state: its state.
        keys: one key per step.
        like: shapes of the noise of one step, leaves `(K, B, ...)`.
    """
    own: Any = getattr(noise, "draw_packed", None)  # of a share of signs
    if own is not None:
        return own(state, keys, like)
    kind = {Rademacher: Rademacher, Scaled: Rademacher, Orthogonal: Orthogonal}.get(type(noise))
    if kind is None:
        return noise.draw(state, keys, like)
    words = sum(math.ceil(leaf.size / BITS) for leaf in jax.tree.leaves(like))
    return state, _from_own_keys(kind().packed, keys, like, pace().words // words)


def _from_own_keys(sample: Callable, keys: Array, like: PyTree, at_once: int | None = None) -> PyTree:
    """Return draws of every leaf, from a key of its own, so many steps at once: leaves `(steps, ...)`."""
    leaves, tree = jax.tree.flatten(like)

    def one(key: Array) -> PyTree:
        own = [jr.fold_in(key, i) for i in range(len(leaves))]
        return tree.unflatten(
            [sample(k, leaf.shape, leaf.dtype) for k, leaf in zip(own, leaves, strict=True)]
        )

    batch = len(keys) if at_once is None else divisor(len(keys), at_once)
    return jax.vmap(one)(keys) if batch == len(keys) else jax.lax.map(one, keys, batch_size=batch)


def check_white(noise: Noise, rule: str) -> None:
    """Raise ArgumentError for noise with a scale of its own per unit, or with a memory.

    Arguments:
        noise: the noise.
        rule: name of the rule that it is for, in errors.
    """
    if noise.bias or noise.spread(noise.init([jnp.ones((1, 1, 1))])) is not None:
        raise ArgumentError(f"rule {rule} takes white noise of unit variance, not {type(noise).__name__}")


plain = check_white  # its name in 0.1.0, for one release


NOISES: dict[str, type[Noise]] = {
    "rademacher": Rademacher,
    "gaussian": Gaussian,
    "orthogonal": Orthogonal,
    "low-rank": LowRank,
    "correlated": Correlated,
    "scaled": Scaled,
}


def as_noise(noise: Any) -> Noise:
    """Return noise of whatever kind a user names.

    Arguments:
        noise: a name in NOISES, `module:name` of a function or of a Noise class, the function (key, shape,
            dtype) -> values or the class itself, or a Noise, which passes through.

    Raises ArgumentError for anything else, and for a function that returns another shape or dtype than asked
    for.
    """
    if isinstance(noise, Noise):
        return noise
    if isinstance(noise, str):
        if ":" not in noise:
            one_of("noise", noise, NOISES)
            return NOISES[noise]()
        noise = import_object("noise", noise)
    if isinstance(noise, type) and issubclass(noise, Noise):
        try:
            return noise()
        except TypeError as error:
            raise ArgumentError(
                f"noise {noise.__name__} cannot be made without arguments: {error}"
            ) from error
    if not callable(noise):
        raise ArgumentError("noise must be a name, a Noise, or a function (key, shape, dtype) -> values")
    _try(noise)
    return Sampled(noise)


def _try(function: Callable) -> None:
    """Refuse a function that does not return an array of the shape and type asked for."""
    shape, dtype = (2, 3, 4), jnp.dtype("float32")
    try:
        made = jax.eval_shape(lambda key: function(key, shape, dtype), jr.PRNGKey(0))
    except Exception as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ArgumentError(f"noise function (key, shape, dtype) -> values failed: {first}") from error
    if getattr(made, "shape", None) != shape or made.dtype != dtype:
        raise ArgumentError(
            f"the noise function must return float32 of shape {shape} when asked to, not {made}"
        )
