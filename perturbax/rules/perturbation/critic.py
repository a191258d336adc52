"""A linear critic: the losses to come, as a readout of what the units of a network say."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.learning.shares import ROWS, mean_over

RIDGE = 1e-3  # of the mean square of a feature


def features(state: PyTree) -> Float[Array, "B F"]:
    """Return what the critic reads: the visible outputs of all layers after a step, and 1; `(B, F)`.

    Arguments:
        state: of a network, ((h, r), ...) per layer.
    """
    outputs = [r for _, r in state]  # (B, n) each
    return jnp.concatenate([*outputs, jnp.ones_like(outputs[0][:, :1])], -1)


class Critic(NamedTuple):
    """The critic between two sequences: V(h) = w . phi(h), which solves A w = b.

        A = E[e_t (phi_t - discount phi_{t+1})^T],   b = E[e_t L_t],   e_t = discount lam e_{t-1} + phi_t

    LSTD(lambda), the fixed point of TD(lambda), without a learning rate (Boyan 2002).

    Attributes:
        w: weights, `(F,)`.
        A: running average, `(F, F)`.
        b: running average, `(F,)`.
    """

    w: Float[Array, " F"]
    A: Float[Array, "F F"]
    b: Float[Array, " F"]

    @classmethod
    def empty(cls, size: int, dtype: Any) -> "Critic":
        """Return a critic that expects losses of 0.

        Arguments:
            size: number of features, F.
            dtype: of the network's state.
        """
        zeros = jnp.zeros((size,), dtype)
        return cls(zeros, jnp.zeros((size, size), dtype), zeros)

    def error(
        self, loss: Float[Array, " B"], before: Array, after: Array, discount: Any
    ) -> Float[Array, " B"]:
        """Return delta_t = L_t + discount V(h_{t+1}) - V(h_t), `(B,)`.

        Arguments:
            loss: of the step, `(B,)`.
            before: features before the step, `(B, F)`.
            after: features after it, `(B, F)`.
            discount: weight of a loss one step later.
        """
        return loss + discount * (after @ self.w) - before @ self.w

    def taught(self, A: Array, b: Array, rate: Any) -> "Critic":
        """Return the critic after a sequence.

        Arguments:
            A: mean over steps and examples of the sequence, `(F, F)`.
            b: likewise, `(F,)`.
            rate: weight of this sequence in the running averages, above 0 and at most 1.
        """
        A, b = self.A + rate * (A - self.A), self.b + rate * (b - self.b)
        ridge = RIDGE * (jnp.abs(jnp.diagonal(A)).mean() + jnp.finfo(A.dtype).tiny)
        w = jnp.linalg.solve(A + ridge * jnp.eye(len(b), dtype=A.dtype), b)
        return Critic(jnp.where(jnp.isfinite(w).all(), w, self.w), A, b)


class Heard(NamedTuple):
    """What a critic hears of a sequence while it runs.

    Attributes:
        e: eligibility of each feature, `(B, F)`.
        A: sum over steps of the mean over examples, `(F, F)`.
        b: likewise, `(F,)`.
        steps: steps so far, `()`.
    """

    e: Float[Array, "B F"]
    A: Float[Array, "F F"]
    b: Float[Array, " F"]
    steps: Array

    @classmethod
    def nothing(cls, critic: Critic, batch: int) -> "Heard":
        """Return what it has heard before the first step.

        Arguments:
            critic: the critic.
            batch: number of examples, B.
        """
        e = jnp.zeros((batch, len(critic.w)), critic.w.dtype)
        return cls(e, jnp.zeros_like(critic.A), jnp.zeros_like(critic.b), jnp.zeros((), int))

    def and_step(self, loss: Array, before: Array, after: Array, discount: Any, lam: Any) -> "Heard":
        """Return this with one more step.

        Arguments:
            loss: of the step, `(B,)`.
            before: features before the step, `(B, F)`.
            after: features after it, `(B, F)`.
            discount: weight of a loss one step later.
            lam: decay of the traces beside the discount.
        """
        e = discount * lam * self.e + before  # (B, F)
        A = self.A + e.T @ (before - discount * after) / len(loss)
        b = self.b + loss.astype(e.dtype) @ e / len(loss)
        return jax.tree.map(lambda new, old: new.astype(old.dtype), Heard(e, A, b, self.steps + 1), self)

    def teach(self, critic: Critic, rate: Any) -> Critic:
        """Return the critic after the sequence that was heard.

        Arguments:
            critic: as it was before.
            rate: as for `Critic.taught`.
        """
        A, b = mean_over(ROWS, (self.A, self.b))
        steps = jnp.maximum(self.steps, 1)
        return critic.taught(A / steps, b / steps, rate)
