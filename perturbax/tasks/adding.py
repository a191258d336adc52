"""The adding problem."""

from typing import Any, ClassVar

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from perturbax.fields import setting, whole
from perturbax.tasks.base import FixedLength


class Adding(FixedLength):
    """Adding problem: of `length` numbers two are marked; report their sum when the sequence ends.

        input    (v_t, m_t)    v_t uniform in [0, 1], m_t is 1 at one step of each half, else 0
        target   sum_t m_t v_t at the last step; nothing is asked for before

    Hochreiter and Schmidhuber 1997, experiment 4, with values and markers as in Arjovsky et al. 2016. The
    best constant, 1, has a mean squared error of 1/6.

    Attributes:
        length: steps of a sequence, T.
    """

    length: int = setting(50)
    summary: ClassVar[str] = "add the two marked ones of a sequence of numbers; generated"
    papers: ClassVar[tuple[str, ...]] = ("hochreiter1997", "arjovsky2016")
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 64, "passes": 9000, "lr": 3e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        "feedback": ({"gate": False, "lr": 1e-3},),
    }

    def __check_init__(self) -> None:
        """Check that two markers have room."""
        whole("length", self.length, 2)

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): value and marker in, the sum out."""
        return 2, 1

    @property
    def asked_steps(self) -> int:
        """Steps whose answer is judged: the last one."""
        return 1

    @property
    def unit(self) -> str:
        """Label of the output in figures."""
        return "sum"

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return sequences of random numbers with two random ones marked."""
        numbers, early, late = jr.split(key, 3)
        half = self.length // 2
        value = jr.uniform(numbers, (self.length, batch))  # (T, B)
        first = jr.randint(early, (1, batch), 0, half)  # (1, B): a step of the first half
        second = jr.randint(late, (1, batch), half, self.length)  # (1, B): a step of the second
        t = jnp.arange(self.length)[:, None]  # (T, 1)
        marker = ((t == first) | (t == second)).astype(value.dtype)  # (T, B)
        total = jnp.sum(marker * value, 0, keepdims=True)  # (1, B)
        target = jnp.where(t == self.length - 1, total, jnp.nan)  # (T, B)
        return jnp.stack([value, marker], -1), target[..., None]
