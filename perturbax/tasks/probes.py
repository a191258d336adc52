"""Tiny tasks with known answers, each of which fails for one reason only."""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from perturbax.fields import setting, whole
from perturbax.tasks.base import FixedLength, Metrics, measure


class Probe(FixedLength):
    """Base of the probes: random signs as inputs, and an answer computed from these and from earlier ones.

    `solved` is the test loss below which a probe counts as solved: a tenth (context: a quarter) of what the
    best constant reaches at length 8, or, in probe-bias, an output of zero.

    Attributes:
        length: steps of a sequence.
    """

    length: int = setting(8)
    shape: ClassVar[tuple[int, int]] = (1, 1)
    solved: ClassVar[float] = 0.1
    settings: ClassVar[dict[str, Any]] = {"units": 32, "batch": 32, "steps": 1000, "lr": 1e-2}

    def __check_init__(self) -> None:
        """Check that the longest lag has room."""
        whole("length", self.length, 4)

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): the class's `shape`."""
        return self.shape

    @property
    def unit(self) -> str:
        """Label of the outputs in figures."""
        return "output"

    def inputs(self, key: Array, batch: int) -> Float[Array, "T B n_in"]:
        """Return the inputs of a batch, `(T, B, n_in)`: here one input, -1 or 1.

        Arguments:
            key: a JAX key, of which the inputs are a function.
            batch: number of sequences, B.
        """
        return jr.rademacher(key, (self.length, batch, 1), jnp.result_type(float))

    @abc.abstractmethod
    def answer(
        self, xs: Float[Array, "T B n_in"], before: Float[Array, "T B n_in"]
    ) -> Float[Array, "T B n_out"]:
        """Return the targets, `(T, B, n_out)`.

        Arguments:
            xs: inputs, `(T, B, n_in)`.
            before: inputs of the T steps that came before, `(T, B, n_in)`, zeros at the start.
        """

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return sequences that start from nothing."""
        xs = self.inputs(key, batch)
        return xs, self.answer(xs, jnp.zeros_like(xs))

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return piece i of endless streams: its lags reach into piece i - 1."""
        i = jnp.asarray(i)
        before = self.inputs(jr.fold_in(key, jnp.maximum(i - 1, 0)), batch)
        xs = self.inputs(jr.fold_in(key, i), batch)
        return xs, self.answer(xs, jnp.where(i > 0, before, 0))

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of an output of zero and of the training mean."""
        ys = self.held_out("test").ys
        return {"zero": measure(self, jnp.zeros_like(ys), ys), **super().baselines()}


class Bias(Probe):
    """A constant without input: y_t = (0.8, -0.4) while x_t = 0. Only a bias can do it."""

    shape: ClassVar[tuple[int, int]] = (1, 2)
    solved: ClassVar[float] = 0.1 * (0.8**2 + 0.4**2) / 2
    summary: ClassVar[str] = "probe: a constant output without input; only a bias can do it"

    def inputs(self, key: Array, batch: int) -> Float[Array, "T B n_in"]:
        """Return zeros."""
        return jnp.zeros((self.length, batch, 1))

    def answer(
        self, xs: Float[Array, "T B n_in"], before: Float[Array, "T B n_in"]
    ) -> Float[Array, "T B n_out"]:
        """Return (0.8, -0.4) at every step."""
        return jnp.broadcast_to(jnp.array([[[0.8, -0.4]]]), (*xs.shape[:2], 2))


class Now(Probe):
    """The input of this step: y_t = x_t, which is -1 or 1. Needs no memory."""

    summary: ClassVar[str] = "probe: repeat the input of this step; needs no memory"

    def answer(
        self, xs: Float[Array, "T B n_in"], before: Float[Array, "T B n_in"]
    ) -> Float[Array, "T B n_out"]:
        """Return the inputs."""
        return xs


class Lag1(Probe):
    """The input of the step before: y_t = x_{t-1}, 0 at first. Needs recurrence."""

    solved: ClassVar[float] = 0.1 * 7 / 8
    summary: ClassVar[str] = "probe: repeat the input of the step before; needs recurrence"

    def answer(
        self, xs: Float[Array, "T B n_in"], before: Float[Array, "T B n_in"]
    ) -> Float[Array, "T B n_out"]:
        """Return the inputs of the step before."""
        return _lagged(xs, before, 1)


class Lag3(Probe):
    """The input of three steps before: y_t = x_{t-3}, 0 at first. Needs memory that lasts."""

    solved: ClassVar[float] = 0.1 * 5 / 8
    summary: ClassVar[str] = "probe: repeat the input of three steps before; needs memory that lasts"

    def answer(
        self, xs: Float[Array, "T B n_in"], before: Float[Array, "T B n_in"]
    ) -> Float[Array, "T B n_out"]:
        """Return the inputs of three steps before."""
        return _lagged(xs, before, 3)


class Context(Probe):
    """A product: y_t = x_t c with bits x_t and a bit c that holds for the sequence. Needs a nonlinear unit.

    The best constant has loss 3/16, the best linear function a third of that, 1/16.
    """

    shape: ClassVar[tuple[int, int]] = (2, 1)
    solved: ClassVar[float] = 0.25 * 3 / 16
    summary: ClassVar[str] = "probe: a bit times the bit of the context; needs a nonlinear unit"

    def inputs(self, key: Array, batch: int) -> Float[Array, "T B n_in"]:
        """Return bits x_t, and a bit c that holds for the sequence, 0 or 1 each."""
        bits, cue = jr.split(key)
        x = jr.bernoulli(bits, 0.5, (self.length, batch, 1))  # (T, B, 1)
        c = jnp.broadcast_to(jr.bernoulli(cue, 0.5, (1, batch, 1)), x.shape)  # (T, B, 1)
        return jnp.concatenate([x, c], -1).astype(jnp.result_type(float))

    def answer(
        self, xs: Float[Array, "T B n_in"], before: Float[Array, "T B n_in"]
    ) -> Float[Array, "T B n_out"]:
        """Return x_t c."""
        return xs[..., :1] * xs[..., 1:]


def _lagged(xs: Array, before: Array, lag: int) -> Array:
    """Return the inputs of `lag` steps earlier, of which the first come from the T steps before."""
    return jnp.concatenate([before[-lag:], xs])[: xs.shape[0]]
