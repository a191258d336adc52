"""The adding problem."""

from typing import Any, ClassVar

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from perturbax.fields import setting, whole
from perturbax.tasks.base import Task


class Adding(Task):
    """Adding problem: of `length` numbers two are marked; say their sum when the sequence ends.

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

    def __check_init__(self) -> None:
        """Refuse sequences without room for two markers."""
        whole("length", self.length, 2)

    @property
    def sizes(self) -> tuple[int, int]:
        """Value and marker; the sum."""
        return 2, 1

    @property
    def steps(self) -> int:
        """The length."""
        return self.length

    @property
    def asked_steps(self) -> int:
        """The last step."""
        return 1

    @property
    def unit(self) -> str:
        """Label of the output in figures."""
        return "sum"

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return sequences of random numbers with two random ones marked."""
        numbers, early, late = jr.split(key, 3)
        half = self.length // 2
        v = jr.uniform(numbers, (self.length, batch))
        first, second = (
            jr.randint(early, (1, batch), 0, half),
            jr.randint(late, (1, batch), half, self.length),
        )
        t = jnp.arange(self.length)[:, None]
        m = ((t == first) | (t == second)).astype(v.dtype)
        target = jnp.where(t == self.length - 1, jnp.sum(m * v, 0, keepdims=True), jnp.nan)
        return jnp.stack([v, m], -1), target[..., None]
