"""The next character of a text."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from perturbax.errors import ArgumentError, DataError
from perturbax.fields import fractions, setting, whole
from perturbax.tasks.base import HeldOut, Metrics
from perturbax.tasks.classify import Classify

PARTS = ("train", "valid", "test")
STREAMS = 32  # pieces that a held-out part is cut into, read side by side
ENTRIES = 2**23  # most one-hot entries of a held-out part: the rest of a long one is left out


class Text(Classify):
    """Character prediction: read a text, and say at every character which one comes next.

        input  one-hot(c_t),      target  one-hot(c_{t+1}),      loss in nats,      bits_per_character = loss / ln 2

    --data is any UTF-8 file. It is cut by position, training | validation | test. The alphabet is that of the
    training part, and one symbol for all other characters. Sutskever, Martens and Hinton 2011.

    Attributes:
        window: characters of one training sequence.
        valid: fraction of the text that is for validation, after the training part.
        test: fraction of the text that is for testing, at the end.
        codes: the opened text as numbers; no setting.
        alphabet: characters by number, the last stands for others; no setting.
    """

    window: int = setting(64)
    valid: float = setting(0.1)
    test: float = setting(0.1)
    codes: Int[Array, " N"] | None = eqx.field(default=None, metadata={"data": True})
    alphabet: str = eqx.field(default="", static=True, metadata={"data": True})
    summary: ClassVar[str] = "say the next character of your own text file (--data FILE.txt)"
    papers: ClassVar[tuple[str, ...]] = ("sutskever2011",)
    settings: ClassVar[dict[str, Any]] = {"units": 128, "batch": 32, "passes": 9000, "lr": 3e-3}

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        whole("window", self.window)
        fractions("text", self.valid, self.test)

    @property
    def opened(self) -> Array:
        """The text as numbers; ArgumentError before `open`."""
        if self.codes is None:
            raise ArgumentError("task Text has no text yet: use the task that open() returns")
        return self.codes

    @property
    def classes(self) -> int:
        """The alphabet, and one for all other characters."""
        return len(self.alphabet) + 1

    @property
    def sizes(self) -> tuple[int, int]:
        """One-hot characters in, one-hot characters out."""
        return self.classes, self.classes

    @property
    def steps(self) -> int:
        """The window."""
        return self.window

    def open(self, data: Path | None) -> "Text":
        """Return the task with the file read.

        Raises ArgumentError without a file or for one too short, DataError for one that is not UTF-8.
        """
        if data is None:
            raise ArgumentError("task text needs --data FILE.txt")
        text = _read(Path(data))
        least = {"train": self.window + 1, "valid": 2, "test": 2}
        bounds = self._cut(len(text))
        for part, (first, end) in bounds.items():
            if end - first < (need := least[part]):
                raise ArgumentError(
                    f"{data}: {len(text)} characters are too few: {end - first} of them are the {part} part, which "
                    f"needs {need}"
                )
        alphabet = "".join(sorted(set(text[slice(*bounds["train"])])))
        number = {character: i for i, character in enumerate(alphabet)}
        codes = jnp.asarray([number.get(character, len(alphabet)) for character in text], int)
        return dataclasses.replace(self, codes=codes, alphabet=alphabet)

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return stretches of the training part that begin anywhere."""
        end = self._cut(len(self.opened))["train"][1]
        starts = jr.randint(key, (1, batch), 0, end - self.window)
        return self._at(starts + jnp.arange(self.window)[:, None])

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return the i-th consecutive stretch of `batch` streams that start equally spaced and wrap
        around.
        """
        length = self._cut(len(self.opened))["train"][1] - 1
        starts = jnp.asarray(np.arange(batch)[None] * length // batch)
        here = jnp.asarray(i) % (length // self.window) * self.window + jnp.arange(self.window)[:, None]
        return self._at((starts + here) % length)

    def held_out(self, part: str) -> HeldOut:
        """Return part `valid` or `test` in up to 32 pieces side by side, each read from its beginning."""
        first, end = self._cut(len(self.opened))[part]
        n = min(end - first - 1, max(1, ENTRIES // self.classes))
        streams = max(1, min(STREAMS, n // self.window))
        length = n // streams
        return HeldOut(*self._at(first + jnp.arange(streams)[None] * length + jnp.arange(length)[:, None]))

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss`, in nats, `bits_per_character`, and `accuracy`: the share of characters foretold."""
        found = super().metrics(y, target)
        return {
            "loss": found["loss"],
            "bits_per_character": found["loss"] / np.log(2),
            "accuracy": found["accuracy"],
        }

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of the frequencies of characters and of pairs, each counted once more than
        seen.
        """
        codes = np.asarray(self.opened[: self._cut(len(self.opened))["train"][1]])
        pairs = np.bincount(codes[:-1] * self.classes + codes[1:], minlength=self.classes**2)
        pairs = pairs.reshape(self.classes, -1) + 1.0
        test = self.held_out("test")
        after = jnp.log(jnp.asarray(pairs / pairs.sum(1, keepdims=True)))[jnp.argmax(test.xs, -1)]
        single = jnp.asarray(np.bincount(codes, minlength=self.classes) + 1.0)
        return {"constant": self.at_frequencies(single / single.sum()), "pairs": self.metrics(after, test.ys)}

    def digest(self) -> str:
        """Return a hash of the text as it is read."""
        codes = np.asarray(self.opened, np.int32).tobytes()
        return hashlib.sha256(self.alphabet.encode() + codes).hexdigest()[:16]

    def _cut(self, n: int) -> dict[str, tuple[int, int]]:
        """Return first character and end of each part."""
        valid, test = round(n * self.valid), round(n * self.test)
        return {"train": (0, n - valid - test), "valid": (n - valid - test, n - test), "test": (n - test, n)}

    def _at(self, places: Array) -> tuple[Array, Array]:
        codes = self.opened
        return jax.nn.one_hot(codes[places], self.classes), jax.nn.one_hot(codes[places + 1], self.classes)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise ArgumentError(f"no such file: {path}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
