"""Generation of a fixed pattern."""

from typing import Any, ClassVar

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from perturbax.fields import setting, whole
from perturbax.tasks.base import FixedLength, HeldOut
from perturbax.tasks.shipped_credit import ONLINE_WINDOW, TO_GO, for_node_rules

CYCLES = (1, 2, 3, 5)  # per sequence


class Pattern(FixedLength):
    """Pattern generation: produce a fixed sum of sinusoids on each output, again and again.

        input    `clock` inputs that are 1 in turn, T / clock steps each; without a clock a constant 1
        target   y_t = c sum_k a_k sin(2 pi f_k t / T + phi_k),   f = 1, 2, 3, 5

    a_k lies in [0.5, 2], and c makes the largest |y_t| 1. As in Bellec et al. 2020; after Nicola and Clopath
    2017. Amplitudes and phases are drawn once, from `pattern_seed`. There is nothing to generalise to:
    validation and test are the pattern itself.

    Attributes:
        outputs: number of outputs.
        length: steps of the pattern, T.
        clock: number of clock inputs; 0 for a constant input.
        pattern_seed: seed of the pattern; not the seed of a run.
    """

    outputs: int = setting(3)
    length: int = setting(100)
    clock: int = setting(5)
    pattern_seed: int = setting(0)
    summary: ClassVar[str] = "play a fixed sum of sinusoids on each output; generated"
    papers: ClassVar[tuple[str, ...]] = ("bellec2020", "nicola2017")
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 16, "passes": 6000, "lr": 3e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        **for_node_rules({**TO_GO, "lr": 1e-3}, {**ONLINE_WINDOW, "lr": 1e-3}),
        "feedback": ({"gate": False, "discount": 0.9, "lr": 1e-3},),
        "mirror": ({"lr": 1e-2},),
        "bptt": ({"lr": 1e-2},),
    }

    def __check_init__(self) -> None:
        """Check the counts; the fastest sinusoid needs more than two steps a cycle."""
        whole("outputs", self.outputs)
        whole("length", self.length, 2 * max(CYCLES) + 1)
        whole("clock", self.clock, 0)
        whole("pattern_seed", self.pattern_seed, 0)

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): the clock, or one constant; the outputs."""
        return max(self.clock, 1), self.outputs

    @property
    def unit(self) -> str:
        """Label of the outputs in figures."""
        return "output"

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return the pattern `batch` times; the key changes nothing."""
        n, t = max(self.clock, 1), np.arange(self.length)
        clock = np.eye(n)[t * n // self.length]  # (T, n_in)
        rng = np.random.default_rng(self.pattern_seed)
        amplitude = rng.uniform(0.5, 2, (self.outputs, len(CYCLES)))
        phase = rng.uniform(0, 2 * np.pi, amplitude.shape)
        angle = 2 * np.pi * np.array(CYCLES) * (t / self.length)[:, None, None]
        waves = np.sin(angle + phase)  # (T, n_out, cycles)
        pattern = np.sum(amplitude * waves, -1)  # (T, n_out)
        pattern /= np.abs(pattern).max(0)
        xs = jnp.repeat(jnp.asarray(clock)[:, None], batch, 1)  # (T, B, n_in)
        ys = jnp.repeat(jnp.asarray(pattern)[:, None], batch, 1)  # (T, B, n_out)
        return xs, ys

    def held_out(self, part: str) -> HeldOut:
        """Return the pattern, once."""
        return HeldOut(*self.sample(jr.key(0), 1))
