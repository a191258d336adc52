"""Classification of stored sequences: each has one label, asked for at its end."""

import dataclasses
import hashlib
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Num

from perturbax.fields import one_of, setting
from perturbax.tasks.base import HeldOut, Metrics, require_data
from perturbax.tasks.classify import Classify

Opened = TypeVar("Opened", bound="Labelled")


class Part(eqx.Module):
    """Sequences and their labels.

    Attributes:
        x: `(N, T, n_in)`; small integers where the file has them, to save memory.
        label: `(N,)`.
    """

    x: Num[Array, "N T n_in"]
    label: Int[Array, " N"]


class Labelled(Classify):
    """Base of the tasks whose sequences are stored with one label each, in parts that do not overlap.

    Attributes:
        ask: last (the answer is judged at the last step only) or half (at all steps of the second half).
        parts: the opened sequences by part; no setting.
    """

    ask: str = setting("last")
    parts: dict[str, Part] | None = eqx.field(default=None, metadata={"data": True})

    def __check_init__(self) -> None:
        """Check when the answer is asked for."""
        one_of("ask", self.ask, ("last", "half"))

    @property
    def opened(self) -> dict[str, Part]:
        """The sequences by part; ArgumentError before `open`."""
        return require_data(self, self.parts, "data")

    @property
    def unit_of_input(self) -> float:
        """Number that the stored values are divided by."""
        return 1.0

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): inputs per step of a stored sequence, one output per class."""
        return self.opened["train"].x.shape[2], self.classes

    @property
    def steps(self) -> int:
        """Steps of a stored sequence."""
        return self.opened["train"].x.shape[1]

    @property
    def asked_steps(self) -> int:
        """Steps whose answer is judged: 1, or the second half."""
        return 1 if self.ask == "last" else (self.steps + 1) // 2

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return sequences of the training part, each drawn from all of it."""
        rows = jr.randint(key, (batch,), 0, len(self.opened["train"].label))
        return self._read("train", rows)

    def held_out(self, part: str) -> HeldOut:
        """Return all sequences of part `valid` or `test`."""
        return self._stored(part, np.arange(len(self.opened[part].label)))

    def seen(self) -> HeldOut:
        """Return sequences of the training part, as many as there are in the test part, evenly spaced."""
        all_of_them, test = (len(self.opened[part].label) for part in ("train", "test"))
        count = min(all_of_them, test)
        rows = np.linspace(0, all_of_them - 1, count).round().astype(int)  # files may be sorted by label
        return self._stored("train", rows)

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of the frequencies of the classes in training, at every step."""
        counts = np.bincount(np.asarray(self.opened["train"].label), minlength=self.classes)  # (classes,)
        kind = jnp.result_type(float)
        return {"constant": self.at_frequencies(jnp.asarray(counts.astype(kind) / counts.sum().astype(kind)))}

    def digest(self) -> str:
        """Return a hash of sequences and labels."""
        digest = hashlib.sha256()
        for part in self.opened.values():
            digest.update(np.asarray(part.x).tobytes() + np.asarray(part.label).tobytes())
        return digest.hexdigest()[:16]

    def _read(self, part: str, rows: Array) -> tuple[Array, Array]:
        """Return inputs `(T, B, n_in)` and targets of stored sequences by number `(B,)`."""
        stored = self.opened[part]
        xs = jnp.swapaxes(stored.x[rows], 0, 1).astype(jnp.result_type(float)) / self.unit_of_input
        return xs, self.answers(stored.label[rows])

    def _stored(self, part: str, rows: np.ndarray) -> HeldOut:
        """Return stored sequences by number `(B,)`; in numpy, as JAX compiles operations on a new shape."""
        stored = self.opened[part]
        xs = np.asarray(stored.x)[rows].swapaxes(0, 1).astype(jnp.result_type(float))  # (T, B, n_in)
        labels = jnp.asarray(np.asarray(stored.label)[rows])  # (B,)
        return HeldOut(jnp.asarray(xs) / self.unit_of_input, _answers(self, labels))

    def _with_parts(self: Opened, parts: dict[str, tuple[Any, Any]]) -> Opened:
        """Return the task with sequences `(N, T, n_in)` and labels `(N,)` of each part in place."""
        made = {name: Part(jnp.asarray(x), jnp.asarray(label, int)) for name, (x, label) in parts.items()}
        return dataclasses.replace(self, parts=made)


@jax.jit
def _answers(task: Labelled, labels: Array) -> Array:
    """Return `task.answers(labels)`, compiled as one program."""
    return task.answers(labels)
