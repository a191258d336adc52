"""The networks, data and programs that the benchmarks time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr

import perturbax as px
from perturbax.cells import GRU, LSTM, Readout, Tanh
from perturbax.cells.base import plus

INPUTS = OUTPUTS = 10


class Size(NamedTuple):
    """Units, batch, steps, outputs."""

    n: int
    B: int
    T: int
    outputs: int = OUTPUTS

    def __str__(self) -> str:
        many = "" if self.outputs == OUTPUTS else f", {self.outputs} outputs"
        return f"n {self.n}, B {self.B}, T {self.T}{many}"


SIZES = (Size(1000, 1, 210), Size(500, 100, 210), Size(256, 64, 50))


def _turn(W: jax.Array) -> jax.Array:
    """Return weights `(presynaptic, ...)` as `(units, presynaptic)`."""
    return W.reshape(len(W), -1).T


class TurnedTanh(Tanh):
    """Weights stored (units, presynaptic), products written W z: the other layout that BPTT may prefer."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.W, self.U = _turn(self.W), _turn(self.U)

    def start(self) -> tuple:
        """As many outputs as rows."""
        return (), jnp.zeros(len(self.U))

    def drive(self, z: jax.Array, r: jax.Array) -> jax.Array:
        """Matrix times vector."""
        return plus(self.W @ z + self.U @ r, self.b)


class TurnedGRU(GRU):
    """As TurnedTanh."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.W, self.U = _turn(self.W), _turn(self.U)

    def start(self) -> tuple:
        """As many outputs as rows, per gate."""
        return jnp.zeros(len(self.U) // 3), jnp.zeros(len(self.U) // 3)

    def drive(self, z: jax.Array, r: jax.Array) -> jax.Array:
        """Matrix times vector."""
        below, own = (self.W @ z).reshape(3, -1), (self.U @ r).reshape(3, -1)
        return plus(jnp.concatenate([below[:2] + own[:2], below[2:], own[2:]]), self.b)


class TurnedLSTM(LSTM):
    """As TurnedTanh."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.W, self.U = _turn(self.W), _turn(self.U)

    def start(self) -> tuple:
        """As many outputs as rows, per gate."""
        return jnp.zeros(len(self.U) // 4), jnp.zeros(len(self.U) // 4)

    def drive(self, z: jax.Array, r: jax.Array) -> jax.Array:
        """Matrix times vector."""
        return plus((self.W @ z + self.U @ r).reshape(4, -1), self.b)


CELLS = {"tanh": (Tanh, TurnedTanh), "gru": (GRU, TurnedGRU), "lstm": (LSTM, TurnedLSTM)}


def mse(y: jax.Array, target: jax.Array) -> jax.Array:
    """Squared error per example."""
    return jnp.mean((y - target) ** 2, -1)


def network(cell: Any, n: int, decor: str = "off", outputs: int = OUTPUTS) -> px.Network:
    """One recurrent layer and a readout."""
    a, b = jr.split(jr.key(0))
    net = px.Network((cell(INPUTS, n, key=a, gain=0.9), Readout(n, outputs, key=b)))
    return px.add_decorrelation(net, decor, INPUTS)


def of_size(cell: Any, size: Size) -> px.Network:
    """A network of that size, without decorrelation."""
    return network(cell, size.n, outputs=size.outputs)


def data(size: Size) -> tuple[jax.Array, jax.Array]:
    """Noise in, noise out: nothing here depends on what is learnt."""
    a, b = jr.split(jr.key(1))
    return jr.normal(a, (size.T, size.B, INPUTS)), jr.normal(b, (size.T, size.B, size.outputs))


def estimating(estimator: Callable, net: px.Network, size: Size) -> Callable[[], Any]:
    """Return a program: one call of the compiled estimator."""
    xs, ys = data(size)
    run, key = jax.jit(estimator), jr.key(2)
    return lambda: run(net, xs, ys, key)


def of_rule(rule: str, cell: str, size: Size, **options: Any) -> Callable[[], Any]:
    """Return a program: one estimate by a rule."""
    return estimating(
        px.value_and_estimate(px.RULES[rule](**options), mse), of_size(CELLS[cell][0], size), size
    )


def of_learner(rule: str, cell: str, size: Size, **options: Any) -> Callable[[], Any]:
    """Return a program: one estimate by a rule that keeps what it learns, from what one estimate has left."""
    net, (xs, ys), key = of_size(CELLS[cell][0], size), data(size), jr.key(2)
    learner = px.learner(px.RULES[rule](**options), mse)
    run = jax.jit(learner.update)
    state = run(learner.init(net, xs[0], key), net, xs, ys, key)[0]
    return lambda: run(state, net, xs, ys, key)


def of_bptt(cell: str, size: Size) -> dict[str, Callable[[], Any]]:
    """Return two programs: BPTT in either layout of the weights."""
    return {f"bptt {i}": estimating(px.bptt(mse), of_size(c, size), size) for i, c in enumerate(CELLS[cell])}


def of_forward(cell: str, size: Size) -> dict[str, Callable[[], Any]]:
    """Return two programs: a pass and its mean loss, in either layout of the weights."""

    def score(net: px.Network, xs: jax.Array, ys: jax.Array, key: jax.Array) -> jax.Array:
        del key
        return jax.vmap(mse)(px.forward(net, xs), ys).mean()

    return {f"forward {i}": estimating(score, of_size(c, size), size) for i, c in enumerate(CELLS[cell])}
