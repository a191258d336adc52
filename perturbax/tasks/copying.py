"""The copying memory task."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from perturbax.fields import setting, whole
from perturbax.tasks.base import HeldOut, Metrics, Shipped, Task, held_out_key, held_out_number
from perturbax.tasks.shipped_credit import for_node_rules

TUNED_FOR = 24  # steps of a sequence up to which the settings below were found
TO_GO = {"credit": "to-go", "lr": 1e-3, "decorrelate": "hidden", "decor_lr": 1e-2}
FEEDBACK = {"lr": 4e-3, "lags": 24, "gate": False, "penalty": 1e-2}


class Copy(Task):
    """Copying memory: see `length` symbols, wait `delay` blanks, then repeat the symbols.

        input    s_1 ... s_L   0 ... 0   M ... M
        target   0   ... 0     0 ... 0   s_1 ... s_L      T = 2 length + delay

    All one-hot with symbols + 2 entries: entry 0 is the blank, entry symbols + 1 the marker M,
    shown while the symbols are repeated. Hochreiter and
    Schmidhuber 1997; Arjovsky et al. 2016. Mean squared error, as in Garcia Fernandez et al. 2024, whose code
    trains on ONE sequence (fresh = false): that measures memorisation, not memory.

    Attributes:
        length: number of symbols to remember, L.
        delay: number of blanks between the symbols and the markers.
        symbols: size of the alphabet.
        fresh: whether every training sequence is new; false trains on one fixed sequence.
    """

    length: int = setting(8)
    delay: int = setting(5)
    symbols: int = setting(8)
    fresh: bool = setting(True)
    summary: ClassVar[str] = "remember a sequence of symbols over a delay; generated"
    papers: ClassVar[tuple[str, ...]] = ("hochreiter1997", "arjovsky2016", "garcia2024")
    settings: ClassVar[dict[str, Any]] = {"units": 128, "batch": 64, "passes": 9000, "lr": 1e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        **for_node_rules(TO_GO),
        "feedback": (FEEDBACK,),
        "mirror": ({"lr": 8e-3, "penalty": 1e-2},),
        "bptt": ({"lr": 8e-3},),
    }

    @classmethod
    def shipped(cls, options: Mapping[str, Any], data: str | None = None) -> Shipped:
        """Return what is shipped for a sequence of that length.

        The activity penalty that helps to hold few symbols keeps units from holding many, and feedback must
        reach as far back as a sequence is long.
        """
        steps = 2 * _count(options, "length", cls.length) + _count(options, "delay", cls.delay)
        if steps <= TUNED_FOR:
            return super().shipped(options, data)
        longer = {"feedback": (FEEDBACK | {"lags": steps},), "mirror": ({"lr": 8e-3},)}
        return Shipped(cls.settings, {**cls.rule_settings, **longer})

    def __check_init__(self) -> None:
        """Check the counts."""
        whole("length", self.length)
        whole("delay", self.delay, 0)
        whole("symbols", self.symbols, 2)

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): an entry per symbol, one for the blank, one for the marker."""
        return self.symbols + 2, self.symbols + 2

    @property
    def steps(self) -> int:
        """Steps of a sequence: 2 length + delay."""
        return 2 * self.length + self.delay

    @property
    def unit(self) -> str:
        """Label of the outputs in figures."""
        return "one-hot symbol"

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return sequences of random symbols, or the one training sequence `batch` times."""
        if self.fresh:
            return self._sequences(key, batch)
        xs, ys = self._sequences(held_out_key(0), 1)
        return jnp.repeat(xs, batch, 1), jnp.repeat(ys, batch, 1)

    def held_out(self, part: str) -> HeldOut:
        """Return sequences that depend on the part only; a single one unless fresh."""
        key = held_out_key(held_out_number(part))
        return HeldOut(*self._sequences(key, self.held_out_sequences if self.fresh else 1))

    def seen(self) -> HeldOut | None:
        """Return the one training sequence; None if fresh."""
        return None if self.fresh else HeldOut(*self._sequences(held_out_key(0), 1))

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss`, `recall` and `error_bits`.

        recall: share of the symbols to be repeated whose entry is the largest of the symbols' entries.
        error_bits: entries of a sequence on the wrong side of 0.5, mean over sequences.
        """
        asked = target[..., 0] < 0.5
        right = jnp.argmax(y[..., 1:-1], -1) == jnp.argmax(target[..., 1:-1], -1)
        return {
            "loss": jnp.mean((y - target) ** 2),
            "recall": jnp.sum(right & asked) / jnp.maximum(jnp.sum(asked), 1),
            "error_bits": jnp.mean(jnp.sum((y > 0.5) != (target > 0.5), (0, 2))),
        }

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of the best constant per step: the blank, then each symbol as likely."""
        test = self.held_out("test").ys
        blank, symbol = jnp.eye(self.symbols + 2)[0], jnp.full(self.symbols, 1 / self.symbols)
        waiting = jnp.tile(blank, (self.length + self.delay, 1))  # (length + delay, symbols + 2)
        repeating = jnp.tile(jnp.pad(symbol, 1), (self.length, 1))  # (length, symbols + 2)
        constant = jnp.broadcast_to(jnp.concatenate([waiting, repeating])[:, None], test.shape)
        chance = {"recall": 1 / self.symbols}  # the largest of equal entries is anyone's
        return {"constant": {**self.metrics(constant, test), **chance}}

    def _sequences(self, key: Array, batch: int) -> tuple[Array, Array]:
        """Return sequences of random symbols: (inputs, targets), `(T, B, symbols + 2)` each."""
        symbols = jr.randint(key, (self.length, batch), 1, self.symbols + 1)  # (length, B)
        blanks = jnp.zeros((self.delay, batch), symbols.dtype)
        markers = jnp.full_like(symbols, self.symbols + 1)
        inputs = jnp.concatenate([symbols, blanks, markers])
        targets = jnp.concatenate([jnp.zeros_like(symbols), blanks, symbols])
        return jax.nn.one_hot(inputs, self.symbols + 2), jax.nn.one_hot(targets, self.symbols + 2)


def _count(options: Mapping[str, Any], name: str, otherwise: int) -> int:
    """Return a whole number among settings as typed; what is none is refused where the task is made."""
    try:
        return int(options.get(name, otherwise))
    except (TypeError, ValueError):
        return otherwise
