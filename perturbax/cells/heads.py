"""A readout with a head above every hidden layer, whose answers are averaged."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from perturbax.cells.base import reads_no_unit
from perturbax.fields import one_of, setting
from perturbax.network.layer import Layer

HEADS = ("linear", "softmax", "sparsemax")
SMALLEST = 1e-6  # what is added to a probability of sparsemax, which may be 0, before its logarithm


class Heads(Layer):
    """Readout of a network whose hidden layers each have a head; it answers with the mean of what they say.

        a_b = z_b V_b,      y = mean_b a_b (linear), log mean_b softmax(a_b) (softmax),
                            or log(mean_b sparsemax(a_b) + 1e-6) (sparsemax)

    It reads all hidden layers side by side (`reads` of a network), and its pre-activations are `(L, n_out)`,
    one row for each head. The class with the largest y is that with the largest sum of the heads (Zhao et al.
    2023). Weights start at 0: all heads are undecided.

    Attributes:
        V: weights of each head, `(n_b, n_out)`; no biases.
        kind: linear, softmax or sparsemax.
    """

    V: tuple[Array, ...]
    kind: str = setting("softmax")
    equation: ClassVar[str] = "y = log mean softmax(z V)"
    papers: ClassVar[tuple[str, ...]] = ("zhao2023", "martins2016")

    def __init__(self, widths: Sequence[int], n_out: int, kind: str = "softmax"):
        one_of("heads", kind, HEADS)
        self.V = tuple(jnp.zeros((n, n_out)) for n in widths)
        self.kind = kind

    def start(self) -> tuple[Any, Array]:
        """Return no hidden state, and outputs of zero, `(n_out,)`."""
        return (), jnp.zeros(self.V[0].shape[1])

    def drive(self, z: Array, r: Array) -> Array:
        """Return what every head reads from its layer, `(L, n_out)`."""
        cuts = np.cumsum([len(V) for V in self.V])[:-1]
        parts = jnp.split(z, cuts)
        return jnp.stack([part @ V for part, V in zip(parts, self.V, strict=True)])

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state, and the mean of what the heads say."""
        return (), self.logarithm(self.says(a).mean(0))

    def says(self, a: Float[Array, "*rows n_out"]) -> Float[Array, "*rows n_out"]:
        """Return the answers of heads to pre-activations: probabilities, or for linear ones these."""
        answers = {"softmax": jax.nn.softmax, "sparsemax": sparsemax}
        return answers[self.kind](a) if self.kind in answers else a

    def logarithm(self, p: Array) -> Array:
        """Return answers as outputs of a network: logarithms of probabilities, which tasks take as logits."""
        if self.kind == "linear":
            return p
        return jnp.log(p + SMALLEST if self.kind == "sparsemax" else p)

    def loss_of_head(self, a: Array, ys: Array, loss: Callable) -> Array:
        """Return the loss of one head, averaged over steps and examples: what is its own to lower.

        That of the task on the answer of this head alone; of sparsemax heads the loss that belongs to them.

        Arguments:
            a: pre-activations of the head, `(T, B, n_out)`.
            ys: targets, `(T, B, n_out)`; NaN where none is asked for.
            loss: that of the task, step by step.
        """
        if self.kind == "sparsemax":
            asked = ~jnp.isnan(ys).any(-1)  # (T, B)
            losses = sparsemax_loss(a, jnp.where(asked[..., None], ys, 0))
            return jnp.where(asked, losses, 0).sum() / jnp.maximum(1, asked.sum())
        answer = jax.nn.log_softmax(a) if self.kind == "softmax" else a
        return jax.vmap(loss)(answer, ys).mean()

    def wiring(self) -> Bool[np.ndarray, "n n"]:
        """Return that no output reads another."""
        return reads_no_unit(self.V[0].shape[1])


def sparsemax(a: Float[Array, "*rows n"]) -> Float[Array, "*rows n"]:
    """Return probabilities of which many are exactly 0: the point of the simplex nearest to a.

        p = max(a - tau, 0),   tau = (sum_{j<=k} a_(j) - 1) / k,   k = max{j: 1 + j a_(j) > sum_{i<=j} a_(i)}

    with a_(1) >= a_(2) >= ... (Martins, Astudillo 2016).
    """
    return jnp.maximum(a - _threshold(a), 0)


def sparsemax_loss(a: Float[Array, "*rows n"], target: Float[Array, "*rows n"]) -> Float[Array, "*rows"]:
    """Return the loss whose derivative is sparsemax(a) - target: at least 0, and 0 at a margin of 1.

        -a . target + sum_{p>0} (a^2 - tau^2) / 2 + 1/2

    A number added to all of a changes nothing, so the largest is taken off first: squares stay small.

    Arguments:
        a: pre-activations of a head.
        target: which class it is, one-hot.
    """
    a = a - jax.lax.stop_gradient(jnp.max(a, -1, keepdims=True))
    tau = _threshold(a)  # (*rows, 1)
    squares = jnp.where(a > tau, a * a - tau * tau, 0)
    return squares.sum(-1) / 2 - (a * target).sum(-1) + 0.5


def _threshold(a: Array) -> Array:
    """Return tau `(*rows, 1)` of sparsemax."""
    falling = -jnp.sort(-a, -1)  # (*rows, n)
    sums = jnp.cumsum(falling, -1)
    j = jnp.arange(1, a.shape[-1] + 1, dtype=a.dtype).reshape((1,) * (a.ndim - 1) + (-1,))
    k = (1 + j * falling > sums).sum(-1, keepdims=True)  # (*rows, 1)
    return (jnp.take_along_axis(sums, k - 1, -1) - 1) / k.astype(a.dtype)
