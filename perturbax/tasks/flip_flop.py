"""The flip-flop task: several bits of memory."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from perturbax.fields import chance, setting, whole
from perturbax.tasks.base import FixedLength, Metrics
from perturbax.tasks.shipped_credit import ONLINE_WINDOW, TO_GO, for_node_rules


class FlipFlop(FixedLength):
    """Flip-flop: every output is the sign of the last pulse on its own input, however long ago that was.

        input    u_t in {-1, 0, 1}^bits,  a pulse with probability `rate`, of either sign;  u_0 has no zero
        target   y_t = u_s of the latest s <= t with u_s != 0, each bit for itself

    Sussillo and Barak 2013. A pulse on every input begins each sequence, so that the answer never hangs on
    what came before and sequences can follow each other in a stream.

    Attributes:
        bits: number of inputs, each with an output.
        length: steps of a sequence, T.
        rate: probability of a pulse, per step and input.
    """

    bits: int = setting(3)
    length: int = setting(50)
    rate: float = setting(0.1)
    summary: ClassVar[str] = "remember the sign of the last pulse on each of several inputs; generated"
    papers: ClassVar[tuple[str, ...]] = ("sussillo2013",)
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 32, "passes": 6000, "lr": 3e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        **for_node_rules(TO_GO, {**ONLINE_WINDOW, "lr": 1e-3}),
        "feedback": ({"gate": False, "discount": 0.9},),
        "mirror": ({"lr": 3e-2},),
        "bptt": ({"lr": 3e-2},),
    }

    def __check_init__(self) -> None:
        """Check the counts and the rate."""
        whole("bits", self.bits)
        whole("length", self.length)
        chance("rate", self.rate)

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): an input and an output per bit."""
        return self.bits, self.bits

    @property
    def unit(self) -> str:
        """Label of the outputs in figures."""
        return "sign of the last pulse"

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return sequences of random pulses."""
        t = jnp.arange(self.length)[:, None, None]
        word = jr.bits(key, (self.length, batch, self.bits), jnp.uint32)  # (T, B, bits)
        chance_of_31_bits = (word >> 1).astype(jnp.result_type(float))
        pulse = (chance_of_31_bits < self.rate * 2.0**31) | (t == 0)  # (T, B, bits)
        sign = 1 - 2 * (word & 1).astype(jnp.result_type(float))  # from the bit that is left
        u = jnp.where(pulse, sign, 0)
        latest = jax.lax.cummax(jnp.where(pulse, t, 0))  # (T, B, bits): step of the last pulse
        return u, jnp.take_along_axis(u, latest, 0)

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss` and `accuracy`: the share of bits with the right sign."""
        return {**super().metrics(y, target), "accuracy": jnp.mean((y > 0) == (target > 0))}
