"""Faults of a simulated device: settings, and what they do to weights that are written."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perturbax.fields import chance, in_range, one_of, whole

BLOCKS = ("array", "layer", "all")
READBACK = ("held", "asked", "none")
LARGEST = 1e6  # output of a stuck unit: sums of such outputs stay far from the largest float32


@dataclass(frozen=True)
class Faults:
    """What is wrong with a simulated device; by default nothing.

    Weights, when they are written; s is the largest absolute weight of a block, or `top`:

        w_held = step round(w / step) + write_noise s xi,      step = s / (2^(bits - 1) - 1)

    Weights, when they are used; age is the number of steps since they were written:

        w = w_held (1 + age / drift_time)^-nu,      nu = drift |1 + 0.3 xi|, fixed for each weight

    Synapses of a layer, in every step; m is the largest absolute value that they read, z and r together:

        z_seen = step round(z / step),      step = m / (2^(input_bits - 1) - 1)
        a = drive(z_seen, r_seen) + read_noise m xi + ambient xi + telegraph s_t

    xi is standard normal noise, independent for every weight, or unit, step and trial. s_t is 1 or -1, one
    for each unit and trial, and changes its sign between steps with the chance `telegraph_rate`.

    Row noise and rounding as in analog crossbars (Rasch et al. 2021, aihwkit), drift as in phase-change
    memory (Nandakumar et al. 2019), one scale for a block of weights as on Loihi (Davies et al. 2018).

    Attributes:
        bits: of the weights, 2 or more; 0 for weights as they are written.
        block: whose largest weight sets the scale of the grid: that of an array, of a layer, or of all.
        top: the largest weight of a scale that is set once and for all, to which others are clipped; 0 where
            the largest weight sets it, so that writing one weight may move all others.
        write_noise: standard deviation of the noise of writing, as a share of s.
        read_noise: standard deviation of the noise of reading, as a share of m.
        input_bits: of what synapses read, 2 or more; 0 for what it is.
        drift: mean exponent of the power law of drift; 0 for none.
        drift_time: steps, of all trials together, until drift sets in; above 0.
        stuck: share of the units of hidden layers whose output is always `stuck_at`.
        stuck_at: the output of stuck units.
        stuck_after: steps, of all trials together, after which they stick.
        ambient: standard deviation of noise that is added to every pre-activation.
        delay: whether every layer reads the layer below as it was one step ago.
        telegraph: size of the telegraph noise of every pre-activation.
        telegraph_rate: chance that it changes its sign from step to step, above 0 and at most 1.
        readback: what a write answers: the weights really held, those asked for, or none.

    Raises ArgumentError for values out of range.
    """

    bits: int = 0
    block: str = "layer"
    top: float = 0.0
    write_noise: float = 0.0
    read_noise: float = 0.0
    input_bits: int = 0
    drift: float = 0.0
    drift_time: float = 10_000.0
    stuck: float = 0.0
    stuck_at: float = 0.0
    stuck_after: int = 0
    ambient: float = 0.0
    delay: bool = False
    telegraph: float = 0.0
    telegraph_rate: float = 0.05
    readback: str = "held"

    def __post_init__(self) -> None:
        """Check all values."""
        for name in ("bits", "input_bits"):
            if getattr(self, name) != 0:
                whole(name, getattr(self, name), 2)
        for name in ("top", "write_noise", "read_noise", "drift", "ambient", "telegraph"):
            in_range(name, getattr(self, name), 0)
        in_range("drift_time", self.drift_time, 0, above=True)
        in_range("stuck", self.stuck, 0, 1)
        in_range("stuck_at", self.stuck_at, -LARGEST, LARGEST)
        whole("stuck_after", self.stuck_after, 0)
        chance("telegraph_rate", self.telegraph_rate)
        one_of("block", self.block, BLOCKS)
        one_of("readback", self.readback, READBACK)

    @property
    def noise(self) -> str:
        """What hello says of the noise; telegraph noise remembers, so that no rule can learn from it."""
        if self.telegraph:
            return "unknown"
        return "own" if self.ambient or self.read_noise else "none"

    @property
    def step(self) -> float | None:
        """The distance of neighbouring weights where the scale is set once and for all, else None."""
        return self.top / _levels(self.bits) if self.bits and self.top else None

    def block_of(self, layer: str, name: str) -> str:
        """Return the block that an array of weights belongs to.

        Arguments:
            layer: its layer.
            name: its own name.
        """
        return {"array": name, "layer": layer, "all": ""}[self.block]

    def held(self, asked: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the weights of a block that are really held once they are written, noise included.

        Arguments:
            asked: all arrays of the block, by name.
            rng: where the noise comes from.
        """
        scale = self.top or max(float(np.max(np.abs(array), initial=0)) for array in asked.values())
        return {name: self._held_array(array, scale, rng) for name, array in asked.items()}

    def _held_array(self, array: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
        """Return one array as it is held, on the grid of this scale."""
        held = array
        if self.top:
            held = np.clip(held, -self.top, self.top)
        if self.bits and scale:
            step = held.dtype.type(scale / _levels(self.bits))
            held = np.round(held / step) * step
        if self.write_noise:
            held = held + self.write_noise * scale * rng.standard_normal(held.shape)
        return held.astype(array.dtype)

    def exponents(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return the exponent of drift of every weight of an array.

        Arguments:
            shape: of the array.
            rng: where they come from.
        """
        return self.drift * np.abs(1 + 0.3 * rng.standard_normal(shape))

    def drifted(self, held: np.ndarray, exponents: np.ndarray, age: int) -> np.ndarray:
        """Return weights as they are after some time.

        Arguments:
            held: as they were written.
            exponents: of each weight.
            age: steps since they were written.
        """
        return (held * (1 + age / self.drift_time) ** -exponents).astype(held.dtype)


def _levels(bits: int) -> int:
    """Return the steps from 0 to the largest weight of a grid that is symmetric about 0."""
    return 2 ** (bits - 1) - 1


def some_of(rng: np.random.Generator, n: int, share: float) -> np.ndarray:
    """Return a random choice of n units, `(n,)` bool, of about this share.

    Arguments:
        rng: what draws them.
        n: units.
        share: of them that are chosen.
    """
    chosen = np.zeros(n, bool)
    chosen[rng.permutation(n)[: round(share * n)]] = True
    return chosen
