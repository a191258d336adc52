"""What the rules at work on a device share: what they draw, what the device does, and what is made of it."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.devices.checked import Checked
from perturbax.devices.network import DeviceNetwork
from perturbax.errors import DeviceError
from perturbax.learning.sequence import Loss
from perturbax.rules.perturbation.node_base import NodeRule

Rows: TypeAlias = Sequence[tuple[int, float]]  # (block of currents, factor) of each row of trials
ALONE: Rows = ((0, 1.0),)


class Drawn(NamedTuple):
    """What is drawn for the passes of an update, before anything is known of the weights.

    Attributes:
        seed: of the device's noise, `()` uint32; None where it takes none, or has no noise.
        noise: what the rule keeps of its noise to judge the passes by.
        sent: what the device is sent of it.
    """

    seed: Any
    noise: Any = ()
    sent: Any = ()


class Passed(NamedTuple):
    """What a device did in the passes of an update.

    Attributes:
        held: the weights that it held, by name, or those asked for where it cannot tell, leaves `(S, ...)`.
        y: outputs, `(T, rows, B, n_out)`.
        taps: what was read, by name, `(T, rows, B, ...)`.
    """

    held: Mapping[str, Any]
    y: Any
    taps: dict[str, Any]


class DeviceLearner(abc.ABC):
    """A rule at work on a device; arguments as in `device_learner`.

    An update is `draw` and `settings`, compiled, `passes`, where the device works, and `judge`, compiled.
    Whoever makes many updates may draw for the next one while the device works (`draws_ahead`).
    """

    def __init__(self, rule: Any, loss: Loss, device: Checked, score: str):
        self.rule, self.device, self.by_device = rule, device, score == "device"
        self.loss: Loss = (lambda y, target: y[:, 0]) if self.by_device else loss
        self._asks = jax.jit(self._drawn_and_settings)
        self._judges = jax.jit(self.judge)

    def init(self, net: DeviceNetwork, x: Array, key: Array) -> PyTree:
        """Return what the rule keeps before its first update; arguments as in `Learner.init`."""
        return self.rule.init_state(net, x, key)

    def update(self, state: PyTree, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Return (state, loss, grads) after the passes of one update; arguments as in `Learner.update`."""
        drawn, settings = self._asks(state, net, xs, key)
        passed = self.passes(drawn, settings, xs, ys)
        return self._judges(state, net, xs, ys, key, drawn, settings, passed)

    def ready(self, state: PyTree, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> PyTree:
        """Return what the rule keeps when its next update can be an estimate; arguments as in `update`."""
        del net, xs, ys, key
        return state

    @abc.abstractmethod
    def draw(self, state: Any, net: DeviceNetwork, xs: Array, key: Array) -> Drawn:
        """Draw what an update needs. Pure, traceable; arguments as in `update`."""

    def draws_ahead(self, state: PyTree) -> bool:
        """Whether `draw` needs neither weights nor what the rule keeps; state: what it keeps."""
        return not jax.tree.leaves(state)

    def settings(self, net: DeviceNetwork, drawn: Drawn) -> dict[str, Array]:
        """Return the weights to write, by name, leaves `(S, ...)`: here the weights as they are, S = 1.

        Pure, traceable.
        """
        del drawn
        return {name: array[None] for name, array in net.named().items()}

    @abc.abstractmethod
    def passes(self, drawn: Drawn, settings: Mapping[str, Any], xs: Array, ys: Any) -> Passed:
        """Let the device run the passes of one update.

        Arguments:
            drawn: what was drawn for it.
            settings: the weights to write.
            xs: inputs `(T, B, n_in)`.
            ys: targets `(T, B, ...)`.
        """

    @abc.abstractmethod
    def judge(
        self,
        state: Any,
        net: DeviceNetwork,
        xs: Array,
        ys: Any,
        key: Array,
        drawn: Drawn,
        settings: Mapping[str, Any],
        passed: Passed,
    ) -> tuple:
        """Return (state, loss, grads) by what the device did in the passes. Pure, traceable."""

    def run_rows(
        self,
        settings: Mapping[str, Any],
        xs: Any,
        ys: Any,
        seed: Any,
        rows: Rows,
        currents: dict[str, Any] | None = None,
        taps: Sequence[str] = (),
        middle: str | None = None,
    ) -> Passed:
        """Write settings of weights, and run the same inputs on each in several rows.

        Arguments:
            settings: weights by name, leaves `(S, ...)`.
            xs: inputs `(T, B, n_in)`.
            ys: targets `(T, B, ...)`.
            seed: of the device's noise, or None.
            rows: (block of currents, factor) of each of the R rows.
            currents: blocks by layer, `(T, K, B, ...)`; None for none.
            taps: names of what to read.
            middle: `first` row or `mean` of the rows of the taps, else all rows.
        """
        T, B = xs.shape[:2]
        targets = np.asarray(ys) if self.by_device else None
        seed = None if seed is None else int(seed)
        asked = {name: np.asarray(array) for name, array in settings.items()}
        held, found = self.device.write_and_run(
            asked, np.asarray(xs), rows, middle, seed, currents, targets, list(taps)
        )
        if self.by_device:
            if "score" not in found:
                raise DeviceError(f"{self.device.can.name} was given targets and returned no score")
            found["outputs"] = self.scored(found.pop("score"), T)
        by_rows = {name: array.reshape(T, -1, B, *array.shape[2:]) for name, array in found.items()}
        if held is None or held is asked:
            held = settings
        return Passed(held, by_rows.pop("outputs"), by_rows)

    def seed(self, key: Array) -> Array | None:
        """Return the seed of the device's noise, `()`; None where it takes none, or has none. Traceable."""
        if not self.device.can.seeded or self.device.can.noise == "none":
            return None
        return jr.bits(jr.fold_in(key, 2), dtype=jnp.uint32) & 0x3FFFFFFF

    def _drawn_and_settings(self, state: Any, net: DeviceNetwork, xs: Array, key: Array) -> tuple:
        """Return what is drawn for an update, and the weights to write. Pure, traceable."""
        drawn = self.draw(state, net, xs, key)
        return drawn, self.settings(net, drawn)

    def scored(self, score: np.ndarray, T: int) -> np.ndarray:
        """Return the device's score as a loss of each step, `(T, trials, 1)`.

        A score per trial is that of its last step, where it becomes known, and counts as much as T steps.
        """
        if score.ndim == 2:
            return score[..., None]
        if isinstance(self.rule, NodeRule) and self.rule.credit not in ("to-go", "trace"):
            raise DeviceError(
                f"{self.device.can.name} returns one score per trial, when it is over, which credit "
                f"{self.rule.credit} gives to few steps: take credit to-go"
            )
        late = np.zeros((T, len(score), 1), score.dtype)
        late[-1, :, 0] = T * score
        return late
