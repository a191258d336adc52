"""The gradient of a device, measured on the device itself: what estimates on it can be compared with.

Nothing is known of its neurons, so that it is measured from losses, M times independently; the spread of
these measurements is the standard error of their mean. Two ways, both with 2 N runs for N weights and each
measurement:

    differences     every weight is shifted up and down by itself; the N differences of the loss are solved
                    for the gradient g along the differences D of all weights that were really held,

                        D g = delta,      delta_i = L(w + h_i e_i) - L(w - h_i e_i)

                    exact up to h^2, with the same seed of the device's noise in both
    perturbations   the mean of N estimates by antithetic weight perturbation (Spall 1992), all weights
                    shifted at once: of a loss that noise blurs, this averages the blur over all weights
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.devices.abilities import Abilities
from perturbax.devices.checked import Checked
from perturbax.devices.choice import defaults
from perturbax.devices.estimates import device_learner
from perturbax.devices.learner import ALONE, DeviceLearner
from perturbax.devices.network import DeviceNetwork, as_written
from perturbax.errors import DeviceError
from perturbax.learning.sequence import Loss
from perturbax.rules import RULES

KINDS = ("differences", "perturbations")
MOST = 4000  # weights up to which differences are solved for the gradient: a square matrix of float64
AT_ONCE = 16  # weights whose shifts go over together
STEP = 0.01  # shift of a weight, in units of the size of weights
SPREAD = (
    2.0  # steps are drawn up to this factor longer or shorter, so that what they leave out is spread, too
)


class MeasuredGradient(NamedTuple):
    """The gradient of a device as it was measured.

    Attributes:
        loss: the mean loss of what was run.
        parts: by name of the array, `(M, ...)`: M independent measurements.
    """

    loss: float
    parts: dict[str, np.ndarray]


def kind_for(abilities: Abilities) -> str:
    """Return how the gradient of a device is measured unless a user says so.

    By differences where two runs have the same noise or none and there are few weights, by perturbations
    elsewhere.

    Arguments:
        abilities: what the device said of itself.
    """
    same_noise = abilities.noise == "none" or abilities.seeded
    return "differences" if same_noise and weight_count(abilities) <= MOST else "perturbations"


def weight_count(abilities: Abilities) -> int:
    """Return the number of weights of a device; abilities: what it said of itself."""
    return sum(int(np.prod(about.shape)) for about in abilities.weights.values())


class GradientMeter:
    """Measures the gradient of the mean loss of batches on a device.

    Arguments:
        device: the device.
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example.
        score: `task` for the loss on the outputs, `device` for the score that the device returns.
        kind: `differences` or `perturbations`.
        repeats: independent measurements, M.
        tick: called after each of them.
    """

    def __init__(
        self,
        device: Checked,
        loss: Loss,
        score: str,
        kind: str,
        repeats: int,
        tick: Callable[[], None] = lambda: None,
    ):
        rule = RULES["weight"](**{"difference": "antithetic", **defaults("weight", device.can)})
        learner = device_learner(rule, loss, device, score)
        self._measure = _Differences(learner) if kind == "differences" else _Perturbations(learner)
        self._repeats, self._tick = repeats, tick

    def __call__(self, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> MeasuredGradient:
        """Return the gradient of one batch.

        Arguments:
            net: the weights.
            xs: inputs `(T, B, n_in)`.
            ys: targets, leaves `(T, B, ...)`.
            key: random key of steps, directions and seeds.

        Raises DeviceError where no weight moves, or some only move together, as they are shifted one by one.
        """
        losses, found = [], []
        for i in range(self._repeats):
            one_loss, arrays = self._measure(net, xs, ys, jr.fold_in(key, i))
            losses.append(one_loss)
            found.append(arrays)
            self._tick()
        parts = {name: np.stack([arrays[name] for arrays in found]) for name in found[0]}
        return MeasuredGradient(float(np.mean(losses)), parts)


class _Perturbations:
    """Means of as many estimates by weight perturbation as there are weights."""

    def __init__(self, learner: DeviceLearner):
        self.learner, self.count = learner, weight_count(learner.device.can)

    def __call__(self, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple[float, dict[str, Any]]:
        """Return the mean loss and one measurement."""
        state = self.learner.init(net, xs[0], key)
        sums: dict[str, Any] = dict.fromkeys(net.named(), 0.0)
        total = 0.0
        for i in range(self.count):
            _, loss, grads = self.learner.update(state, net, xs, ys, jr.fold_in(key, i))
            total += float(loss)
            for name, array in grads.named().items():
                sums[name] = sums[name] + np.asarray(array, np.float64)
        return total / self.count, {name: array / self.count for name, array in sums.items()}


class _Differences:
    """Differences of the loss along every weight, solved for the gradient."""

    def __init__(self, learner: DeviceLearner):
        self.learner, self._tried = learner, False
        loss = learner.loss
        self._losses = jax.jit(lambda outputs, targets: jax.vmap(loss)(outputs, targets))  # (T, B)

    def __call__(self, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple[float, dict[str, Any]]:
        """Return the mean loss and one measurement."""
        asked = {name: np.asarray(array, np.float64) for name, array in as_written(net).items()}
        lengths = self._steps(asked, key)  # (N,)
        n = len(lengths)
        if not self._tried:
            self._refuse_together(net, asked, lengths)
            self._tried = True
        D, delta, total = np.zeros((n, n)), np.zeros(n), 0.0
        for first in range(0, n, AT_ONCE):
            some = range(first, min(first + AT_ONCE, n))
            pairs = [_shifted(asked, i, sign * lengths[i]) for i in some for sign in (1, -1)]
            held, losses = self._at(net, pairs, xs, ys, key)  # (2 some, N), (2 some, T, B)
            D[some.start : some.stop] = held[0::2] - held[1::2]
            delta[some.start : some.stop] = np.mean(losses[0::2] - losses[1::2], (1, 2))
            total += float(np.sum(np.mean(losses, (1, 2)))) / 2
        return total / n, _named(self._solved(D, delta), asked)

    def _refuse_together(self, net: DeviceNetwork, asked: dict[str, np.ndarray], lengths: np.ndarray) -> None:
        """Raise DeviceError where some weights only move together, as far as writing shows: nothing is run.

        Where the largest weight of every array moves by itself, no other is tried.
        """
        device = self.learner.device

        def moved(i: int) -> np.ndarray | None:  # (N,): what moves as weight i is shifted up and down
            both = [_shifted(asked, i, sign * lengths[i]) for sign in (1, -1)]
            held = [device.write(as_written(net.with_named(weights))) for weights in both]
            flat = [None if one is None else _flat(one[name] for name in asked) for one in held]
            return None if flat[0] is None or flat[1] is None else flat[0] - flat[1]

        first = 0
        for array in asked.values():
            largest = first + int(np.argmax(np.abs(array)))
            seen, first = moved(largest), first + array.size
            if seen is None:  # which the measurement will take for weights as asked for
                return
            if np.count_nonzero(np.delete(seen, largest)):
                rows = [moved(i) for i in range(len(lengths))]
                self._solved(np.stack([row for row in rows if row is not None]), np.zeros(len(lengths)))
                return

    def _solved(self, D: np.ndarray, delta: np.ndarray) -> np.ndarray:
        """Return g of D g = delta, `(N,)`; DeviceError where the differences held leave it open.

        g is 0 where a weight stays as it is whatever is written, as a synapse that is not there.
        """
        name, moves = self.learner.device.can.name, D.any(0)
        if not moves.any():
            raise DeviceError(
                f"the weights of {name} stay as they are, whatever is written: it has no gradient"
            )
        g = np.zeros(len(D))
        if np.count_nonzero(D) == np.count_nonzero(np.diag(D)):  # none moves another
            np.divide(delta, np.diag(D), out=g, where=moves)
            return g
        D = D[:, moves]
        g[moves], _, rank, _ = np.linalg.lstsq(D, delta, rcond=None)
        if rank < D.shape[1]:
            raise DeviceError(
                f"{name} holds weights that move together when one is written: "
                "no gradient can be measured by differences (take --reference perturbations)"
            )
        return g

    def _steps(self, asked: dict[str, np.ndarray], key: Array) -> np.ndarray:
        """Return how far each weight is shifted, `(N,)`: no less than its grid lets it move."""
        rng = np.random.default_rng(np.asarray(jr.bits(jr.fold_in(key, 1), (4,))))
        every = _flat(asked.values())
        size = float(np.sqrt(np.mean(every * every))) or 1.0
        lengths = []
        for name, array in asked.items():
            grid = self.learner.device.can.weights[name].step or 0.0
            factor = SPREAD ** rng.uniform(-1.0, 1.0, array.size)
            lengths.append(np.maximum(STEP * size * factor, grid))
        return np.concatenate(lengths)

    def _at(
        self, net: DeviceNetwork, settings: list[dict[str, np.ndarray]], xs: Array, ys: Any, key: Array
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the batch with each of several settings: -> (weights held `(S, N)`, losses `(S, T, B)`)."""
        each = [as_written(net.with_named(weights)) for weights in settings]
        asked = {name: np.stack([own[name] for own in each]) for name in each[0]}
        passed = self.learner.run_rows(asked, xs, ys, self.learner.seed(key), ALONE)
        outputs = np.swapaxes(passed.y, 0, 1)  # (S, T, B, n_out)
        losses = np.stack([np.asarray(self._losses(y, ys), np.float64) for y in outputs])
        flat = [np.asarray(passed.held[name], np.float64).reshape(len(each), -1) for name in asked]
        return np.concatenate(flat, 1), losses


def _flat(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Return the values of arrays end to end, `(N,)`, of float64."""
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in arrays])


def _shifted(arrays: dict[str, np.ndarray], i: int, by: float) -> dict[str, np.ndarray]:
    """Return arrays of which value i of all of them, end to end, is shifted."""
    every = _flat(arrays.values())
    every[i] += by
    return _named(every, arrays)


def _named(every: np.ndarray, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return values that lie end to end as arrays of the names and shapes of others."""
    ends = np.cumsum([array.size for array in like.values()])[:-1]
    pieces = np.split(every, ends)
    return {
        name: piece.reshape(array.shape) for (name, array), piece in zip(like.items(), pieces, strict=True)
    }
