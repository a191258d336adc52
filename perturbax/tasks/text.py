"""The next character of a text."""

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from perturbax.errors import ArgumentError, DataError
from perturbax.fields import fractions, setting, whole
from perturbax.moved import old_names
from perturbax.tasks.base import HeldOut, Metrics, require_data, split_in_order
from perturbax.tasks.classify import Classify
from perturbax.tasks.shipped_credit import ONLINE_WINDOW, for_node_rules

STREAMS = 32  # pieces that a held-out part is cut into, read side by side
ENTRIES = 2**23  # most one-hot entries of a held-out part: the rest of a long one is left out

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)


class Text(Classify):
    """Character prediction: read a text, and predict at every character which one comes next.

        input  one-hot(c_t),   target  one-hot(c_{t+1}),   loss in nats,   bits_per_character = loss / ln 2

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
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        **for_node_rules({}, {**ONLINE_WINDOW, "every": 8, "window": 16, "lr": 1e-3}),
        "mirror": ({"lr": 1e-2},),
        "bptt": ({"lr": 1e-2},),
    }

    def __check_init__(self) -> None:
        """Check the window and the fractions."""
        whole("window", self.window)
        fractions("text", self.valid, self.test)

    @property
    def opened(self) -> Array:
        """The text as numbers; ArgumentError before `open`."""
        return require_data(self, self.codes, "text")

    @property
    def classes(self) -> int:
        """Number of classes: the alphabet, and one for all other characters."""
        return len(self.alphabet) + 1

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): an entry per class, in and out."""
        return self.classes, self.classes

    @property
    def steps(self) -> int:
        """Steps of a training sequence: the window."""
        return self.window

    def open(self, data: Path | None) -> "Text":
        """Return the task with the file read.

        Arguments:
            data: the text file.

        Raises ArgumentError without a file or for one too short, DataError for one that is not UTF-8.
        """
        if data is None:
            raise ArgumentError("task text needs --data FILE.txt")
        text = _read(Path(data))
        bounds = self._split(len(text))
        least = {"train": self.window + 1, "valid": 2, "test": 2}
        for part, (first, end) in bounds.items():
            if end - first < least[part]:
                raise ArgumentError(
                    f"{data}: {len(text)} characters are too few: {end - first} of them are the {part} part, "
                    f"which needs {least[part]}"
                )
        alphabet = "".join(sorted(set(text[slice(*bounds["train"])])))
        number = {character: i for i, character in enumerate(alphabet)}
        other = len(alphabet)
        codes = jnp.asarray([number.get(character, other) for character in text], int)  # (N,)
        return dataclasses.replace(self, codes=codes, alphabet=alphabet)

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return stretches of the training part that begin anywhere."""
        end = self._split(len(self.opened))["train"][1]
        starts = jr.randint(key, (1, batch), 0, end - self.window)
        return self._at(starts + jnp.arange(self.window)[:, None])

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return the i-th consecutive stretch of `batch` streams through the training part.

        They start equally spaced, and go on at the beginning of the part when they reach its end.
        """
        length = self._split(len(self.opened))["train"][1] - 1
        starts = jnp.asarray(np.arange(batch)[None] * length // batch)  # (1, B)
        first = jnp.asarray(i) % (length // self.window) * self.window
        steps = first + jnp.arange(self.window)[:, None]  # (T, 1)
        return self._at((starts + steps) % length)

    def held_out(self, part: str) -> HeldOut:
        """Return part `valid` or `test` in up to 32 pieces side by side, each read from its beginning."""
        first, end = self._split(len(self.opened))[part]
        n = min(end - first - 1, max(1, ENTRIES // self.classes))  # characters that are read
        pieces = max(1, min(STREAMS, n // self.window))
        length = n // pieces
        places = first + jnp.arange(pieces)[None] * length + jnp.arange(length)[:, None]  # (T, pieces)
        return HeldOut(*self._at(places))

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss`, in nats, `bits_per_character`, and `accuracy`: the share of characters predicted."""
        metrics = super().metrics(y, target)
        return {
            "loss": metrics["loss"],
            "bits_per_character": metrics["loss"] / np.log(2),
            "accuracy": metrics["accuracy"],
        }

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of the frequencies of characters and of pairs of characters in training.

        Each is counted once more than it occurs, so that no frequency is zero.
        """
        end = self._split(len(self.opened))["train"][1]
        codes = np.asarray(self.opened[:end])
        pairs = np.bincount(codes[:-1] * self.classes + codes[1:], minlength=self.classes**2)
        pairs = pairs.reshape(self.classes, -1) + 1.0  # (classes, classes) [character, next]
        log_next = jnp.log(jnp.asarray(pairs / pairs.sum(1, keepdims=True)))
        test = self.held_out("test")
        logits = log_next[jnp.argmax(test.xs, -1)]  # (T, B, classes)
        single = jnp.asarray(np.bincount(codes, minlength=self.classes) + 1.0)  # (classes,)
        constant = self.at_frequencies(single / single.sum())
        return {"constant": constant, "pairs": self.metrics(logits, test.ys)}

    def digest(self) -> str:
        """Return a hash of the text as it is read."""
        codes = np.asarray(self.opened, np.int32).tobytes()
        return hashlib.sha256(self.alphabet.encode() + codes).hexdigest()[:16]

    def _split(self, n: int) -> dict[str, tuple[int, int]]:
        """Return (first character, end) of each part of n characters."""
        return split_in_order(n, self.valid, self.test)

    def _at(self, places: Array) -> tuple[Array, Array]:
        """Return one-hot characters `(T, B, classes)` at places `(T, B)` of the text, and the next ones."""
        codes = self.opened
        return jax.nn.one_hot(codes[places], self.classes), jax.nn.one_hot(codes[places + 1], self.classes)


def _read(path: Path) -> str:
    """Return the text of a file; ArgumentError where there is none, DataError where it is not UTF-8 text."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ArgumentError(f"no such file: {path}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte {error.start} is {content[error.start]:#04x}") from error
    if "\0" in text:
        raise DataError(
            f"{path} is not UTF-8 text: byte {content.index(0)} is 0, as in UTF-16 or no text at all"
        )
    return text
