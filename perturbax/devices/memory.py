"""The weights of a simulated device: as asked for, as held, and as in force after some time."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from perturbax.devices.faults import Faults
from perturbax.errors import DeviceError


class Memory:
    """Named arrays of weights with the faults of a device.

    Arguments:
        start: the weights that it starts with, by name.
        layers: the layer of each array.
        faults: what is wrong with it.
        seed: of the noise of writing, and of the exponents of drift.
        device: the name of the device, for errors.

    Attributes:
        age: steps, of all trials together, that the device has run.
        exact: whether it holds, for ever, what was written.
    """

    def __init__(
        self,
        start: Mapping[str, np.ndarray],
        layers: Mapping[str, str],
        faults: Faults,
        seed: int,
        device: str,
    ):
        self.faults, self.device = faults, device
        self.age = 0
        self.exact = faults == Faults()
        self._rng = np.random.default_rng((seed, 0))
        self._asked = dict(start)
        self._blocks = {name: faults.block_of(layers[name], name) for name in start}
        self._exponents = {name: faults.exponents(array.shape, self._rng) for name, array in start.items()}
        self._held: dict[str, np.ndarray] = {}
        self._written: dict[str, int] = {}
        self.write(start)

    def write(self, weights: Mapping[str, Any]) -> None:
        """Write arrays, and with them all others of their blocks.

        Arguments:
            weights: arrays by name.

        Raises DeviceError for a name or shape that is not there; nothing is written then.
        """
        new = {}
        for name, array in weights.items():
            if name not in self._asked:
                raise DeviceError(f"{self.device} has no weights {name!r}, but {', '.join(self._asked)}")
            own = self._asked[name]
            if np.shape(array) != own.shape:
                raise DeviceError(f"{name} has the shape {own.shape}, not {np.shape(array)}")
            new[name] = np.asarray(array, own.dtype)
        if self.exact:
            new = {name: array.copy() for name, array in new.items()}
            self._asked |= new
            self._held |= new
            return
        self._asked |= new
        for block in sorted({self._blocks[name] for name in new}):
            arrays = {name: array for name, array in self._asked.items() if self._blocks[name] == block}
            self._held |= self.faults.held(arrays, self._rng)
            self._written |= dict.fromkeys(arrays, self.age)

    @property
    def names(self) -> list[str]:
        """The names of all arrays, in the order of the network."""
        return list(self._asked)

    def takes_as_they_are(self, weights: Mapping[str, Any]) -> bool:
        """Whether these are settings of all arrays, `(S, ...)`, of their dtypes, or none at all."""
        if not weights:
            return True
        return weights.keys() == self._asked.keys() and all(
            np.shape(array)[1:] == self._asked[name].shape and array.dtype == self._asked[name].dtype
            for name, array in weights.items()
        )

    def read(self) -> dict[str, np.ndarray] | None:
        """Return what a write answers: all arrays as they were written, or None where it cannot tell."""
        if self.faults.readback == "none":
            return None
        found = self._asked if self.faults.readback == "asked" else self._held
        return {name: array.copy() for name, array in found.items()}

    def in_force(self) -> dict[str, np.ndarray]:
        """Return all arrays as they are now, drift included."""
        if not self.faults.drift:
            return dict(self._held)
        return {
            name: self.faults.drifted(held, self._exponents[name], self.age - self._written[name])
            for name, held in self._held.items()
        }
