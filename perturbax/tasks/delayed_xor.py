"""Exclusive or of two bits seen at different times."""

from typing import Any, ClassVar

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from perturbax.fields import in_range, setting, whole
from perturbax.tasks.classify import Classify


class DelayedXor(Classify):
    """Delayed exclusive or: see a bit, later another, and report after a delay whether they differ.

        input    b1  0 ... 0  b2  0 ... 0  0      bits as -1 or 1
                 0   0 ... 0  0   0 ... 0  1      go
        target                             b1 xor b2 as class 0 or 1, asked for at the last step

    T = gap + delay + 3. Either bit alone says nothing. Normal noise on the first input makes every sequence
    another, and a trace of the bits that fades useless. After the temporal exclusive or of Elman 1990.

    Attributes:
        gap: blanks between the bits.
        delay: blanks between the second bit and the answer.
        noise: standard deviation of the noise.
    """

    gap: int = setting(8)
    delay: int = setting(16)
    noise: float = setting(0.1)
    summary: ClassVar[str] = "exclusive or of two bits seen at different times, after a delay; generated"
    papers: ClassVar[tuple[str, ...]] = ("elman1990",)
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 64, "passes": 6000, "lr": 3e-3}

    def __check_init__(self) -> None:
        """Check the blanks and the noise."""
        whole("gap", self.gap, 0)
        whole("delay", self.delay, 0)
        in_range("noise", self.noise, 0)

    @property
    def classes(self) -> int:
        """Number of classes: equal or different."""
        return 2

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): bit and go in, one output per class."""
        return 2, self.classes

    @property
    def steps(self) -> int:
        """Steps of a sequence: two bits, gap, delay, answer."""
        return self.gap + self.delay + 3

    @property
    def asked_steps(self) -> int:
        """Steps whose answer is judged: the last one."""
        return 1

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return sequences with two random bits."""
        choice, noise = jr.split(key)
        bits = jr.bernoulli(choice, 0.5, (2, batch))
        shown = self.noise * jr.normal(noise, (self.steps, batch))  # (T, B)
        shown = shown.at[jnp.array([0, self.gap + 1])].add(jnp.where(bits, 1.0, -1.0))
        go = jnp.zeros_like(shown).at[-1].set(1)  # (T, B)
        xs = jnp.stack([shown, go], -1)  # (T, B, 2)
        return xs, self.answers((bits[0] ^ bits[1]).astype(int))
