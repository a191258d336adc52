"""Estimates of a rule on a device beside the gradient that is measured there, for a diagnosis."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.analysis.diagnosis import LEAST, Reference, Source
from perturbax.analysis.group import sampled
from perturbax.devices.checked import Checked
from perturbax.devices.estimates import device_learner
from perturbax.devices.gradient import KINDS, GradientMeter, kind_for, weight_count
from perturbax.errors import ArgumentError
from perturbax.fields import one_of
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import Loss

REPEATS = 4  # independent measurements of the gradient, unless a user says so


class OnDevice(Source):
    """Estimates and reference on a device.

    Attributes:
        device: the device.
        kind: how the reference is measured, `differences` or `perturbations`.
        repeats: independent measurements of it.

    Arguments:
        rule: the rule; where it has a setting for the number of samples, that is set to 1.
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
        device: the device.
        score: `task` or `device`, as in a run.
        kind: as above; None for what suits the device.
        repeats: at least 4; None for 4.
        tick: called after every measurement.

    Raises ArgumentError for what the device cannot do, and for too few repeats.
    """

    def __init__(
        self,
        rule: Rule,
        loss: Loss,
        device: Checked,
        score: str,
        kind: str | None = None,
        repeats: int | None = None,
        tick: Callable[[], None] = lambda: None,
    ):
        self.device, self.kind = device, kind or kind_for(device.can)
        self.repeats = REPEATS if repeats is None else repeats
        one_of("reference", self.kind, KINDS)
        if self.repeats < LEAST:
            raise ArgumentError(f"repeats must be {LEAST} or more, not {self.repeats}")
        self._learner = device_learner(sampled(rule, 1), loss, device, score)
        self._meter = GradientMeter(device, loss, score, self.kind, self.repeats, tick)

    def average(
        self, kept: PyTree, net: Any, xs: Array, ys: Any, key: Array, counts: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """Return the means of estimates that the device ran one after the other; see `Source.average`."""
        sums: dict[str, Any] = dict.fromkeys(net.named(), 0.0)
        means: dict[str, list[np.ndarray]] = {name: [] for name in sums}
        done = 0
        for count in counts:
            for j in range(done, count):
                grads = self._learner.update(kept, net, xs, ys, jr.fold_in(key, j))[2]
                for name, array in grads.named().items():
                    sums[name] = sums[name] + np.asarray(array, np.float64)
            done = count
            for name, array in sums.items():
                means[name].append(array / count)
        return {name: np.stack(own) for name, own in means.items()}

    def reference(self, net: Any, xs: Array, ys: Any, key: Array) -> Reference:
        """Return the gradient as it was measured on the device; see `Source.reference`."""
        measured = self._meter(net, xs, ys, jr.fold_in(key, 1))
        return Reference(measured.loss, measured.parts)

    def known(self, kept: PyTree, net: Any, xs: Array, ys: Any, key: Array) -> PyTree:
        """Return what the rule knows of a network as it makes its estimates.

        Learning from the device's own noise makes none before it has seen an update from which it fits the
        weights, where the device does not tell these: a rule that has seen none is given one. What it has
        learnt in training stays as it is: after one more update it would make better estimates than there.

        Arguments:
            kept: what it has learnt; None for a rule that is new there.
            net: the weights.
            xs: inputs `(T, B, n_in)`.
            ys: targets, leaves `(T, B, ...)`.
            key: random key.
        """
        learner = self._learner
        state = learner.init(net, xs[0], key) if kept is None else kept
        return learner.ready(state, net, xs, ys, jr.fold_in(key, 2))

    def told(self) -> dict[str, Any]:
        """Return what a diagnosis says of its reference."""
        return {
            "kind": self.kind,
            "repeats": self.repeats,
            "weights": weight_count(self.device.can),
            "device": self.device.can.name,
        }

    def spent(self) -> dict[str, Any]:
        """Return writes, trials and seconds of the device so far."""
        return dataclasses.asdict(self.device.costs)
