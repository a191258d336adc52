"""What all classification tasks share: one-hot targets, cross-entropy, accuracy, the best constant."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from perturbax.tasks.base import Metrics, Task, draw_batch, measure

MOST_CLASSES = 40  # of a confusion matrix that is kept
GAINS = (0.3, 1.0, 3.0, 10.0, 30.0)  # of logits, in the reservoir's readouts


class Classify(Task):
    """Base of the tasks that choose one of several classes.

        loss = -sum_k target_k log softmax(y)_k

    target is one-hot `(T, B, classes)`, NaN where no answer is asked for; outputs y are logits.
    """

    loss_in: ClassVar[str] = "nats"

    @property
    @abc.abstractmethod
    def classes(self) -> int:
        """Number of classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """What reports call the classes: here their numbers."""
        return tuple(str(number) for number in range(self.classes))

    @property
    def unit(self) -> str:
        """Label of the outputs in figures."""
        return "probability of each class"

    def error(
        self, y: Float[Array, "*rows n_out"], target: Float[Array, "*rows n_out"]
    ) -> Float[Array, "*rows"]:
        """Return the cross-entropy in nats."""
        return -jnp.sum(target * jax.nn.log_softmax(y), -1)

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss`, in nats, and `accuracy`: the share of answers whose largest output is the class."""
        return {**super().metrics(y, target), "accuracy": self.over_asked(right, y, target)}

    def details(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> dict[str, Any]:
        """Return `confusion`: the names of the `classes`, and `counts[i][j]`, answers j where i is right.

        Nothing for more than 40 classes.
        """
        if self.classes > MOST_CLASSES:
            return {}
        asked = np.asarray(self.asked(target))  # (T, B)
        truth = np.argmax(np.asarray(target), -1)[asked]  # (answers,)
        answer = np.argmax(np.asarray(y), -1)[asked]  # (answers,)
        counts = np.zeros((self.classes, self.classes), int)
        np.add.at(counts, (truth, answer), 1)
        return {"confusion": {"classes": list(self.class_names), "counts": counts.tolist()}}

    def readouts(self, solved: np.ndarray, mean: np.ndarray) -> list[np.ndarray]:
        """Return readouts whose logits are log(mean) + gain (y - mean) / mean^p, for several gains and two p.

        y is the output of least squares on one-hot targets: about a probability, and useless as a logit.
        """
        share = np.maximum(mean, 1e-6)  # (classes,)
        bias = np.eye(len(solved))[:, -1:]  # (n + 1, 1): 1 in the row of biases
        centred = solved - bias * mean  # (n + 1, classes)
        shift = bias * np.log(share)  # (n + 1, classes)
        return [shift + gain * centred / share**p for gain in GAINS for p in (0, 0.5)]

    def says(self, y: Array) -> Array:
        """Return the probabilities of the classes."""
        return jax.nn.softmax(y)

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of the frequencies of the classes in training, at every step."""
        ys = draw_batch(self, jr.key(0), 4096)[1]
        return {"constant": self.at_frequencies(jnp.nanmean(ys, (0, 1)))}

    def at_frequencies(self, share: Array) -> Metrics:
        """Return the test metrics of predicting each class with a fixed probability.

        Arguments:
            share: the probabilities, `(classes,)`.
        """
        test = self.held_out("test")
        y = jnp.broadcast_to(jnp.log(jnp.maximum(share, 1e-6)), test.ys.shape)
        return measure(self, y[test.warmup :], test.ys[test.warmup :])

    def answers(self, labels: Int[Array, " B"]) -> Float[Array, "T B n_out"]:
        """Return targets of sequences with one label each, `(T, B, classes)`.

        They are asked for in the last `asked_steps` steps, and NaN before.

        Arguments:
            labels: number of the class of each sequence, `(B,)`.
        """
        shape = self.asked_steps, len(labels), self.classes
        asked = jnp.broadcast_to(jax.nn.one_hot(labels, self.classes), shape)
        before = self.steps - self.asked_steps
        return jnp.pad(asked, ((before, 0), (0, 0), (0, 0)), constant_values=jnp.nan)


def right(y: Array, target: Array) -> Array:
    """Return 1 where the largest output is that of the target's class, else 0; `(*rows,)`.

    Arguments:
        y: outputs, `(*rows, classes)`.
        target: one-hot targets, `(*rows, classes)`.
    """
    return (jnp.argmax(y, -1) == jnp.argmax(target, -1)).astype(y.dtype)
