"""Gradient estimates on a device: it runs the passes, and the rule judges what was recorded of them."""

from collections.abc import Mapping
from typing import Any

import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.devices.checked import Checked
from perturbax.devices.choice import check_rule, learns_from_own_noise
from perturbax.devices.held import check_held, shift_seen
from perturbax.devices.learner import ALONE, DeviceLearner, Drawn, Passed
from perturbax.devices.network import DeviceNetwork
from perturbax.devices.node_learners import NodeLearner, OwnNoiseLearner
from perturbax.devices.recorded import Record, RecordedWeights
from perturbax.learning.sequence import Loss, over_sequence
from perturbax.network.network import Site
from perturbax.rules.perturbation.weight_base import WeightRule

SCORES = ("task", "device")


def device_learner(rule: Any, loss: Loss, device: Checked, score: str = "task") -> "DeviceLearner":
    """Return (init, update) of a rule on a device, in the manner of `px.learner`; update is no pure function.

        on = px.devices.Checked(device, n_in, n_out, T)
        learner = px.devices.device_learner(rule, task.loss, on)
        state = learner.init(net, xs[0], key)
        state, loss, grads = learner.update(state, net, xs, ys, key)

    Arguments:
        rule: a rule that perturbs weights or pre-activations.
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example; not looked at for a score of the
            device's own.
        device: the device.
        score: `task` for the loss on the outputs, or `device` for the score that the device returns.

    Raises ArgumentError for a rule that the device cannot carry out.
    """
    check_rule(rule, device.can, score)
    if isinstance(rule, WeightRule):
        return WeightLearner(rule, loss, device, score)
    if learns_from_own_noise(rule, device.can):
        return OwnNoiseLearner(rule, loss, device, score)
    return NodeLearner(rule, loss, device, score)


class WeightLearner(DeviceLearner):
    """A rule that perturbs weights: a setting of them per row, and the batch run on each."""

    def draw(self, state: Any, net: DeviceNetwork, xs: Array, key: Array) -> Drawn:
        """Draw the shift of each row, by name of the weights, leaves `(rows, ...)`."""
        key_start, _ = jr.split(key)
        xi = self.rule.init_sequence(net, state, xs[0], key_start)[2]
        return Drawn(self.seed(key), self.rule.noise_of_rows(xi).named())

    def draws_ahead(self, state: PyTree) -> bool:
        """Whether noise has no state, and is drawn as our rule draws it."""
        own = type(self.rule).init_sequence is WeightRule.init_sequence
        return super().draws_ahead(state) and own

    def settings(self, net: DeviceNetwork, drawn: Drawn) -> dict[str, Array]:
        """Return the shifted weights of each row, by name, leaves `(rows, ...)`."""
        return {name: w[None] + drawn.noise[name] for name, w in net.named().items()}

    def passes(self, drawn: Drawn, settings: Mapping[str, Any], xs: Array, ys: Any) -> Passed:
        """Write each row of shifted weights, and run the batch on it."""
        passed = self.run_rows(settings, xs, ys, drawn.seed, ALONE)
        if passed.held is settings:
            return passed
        asked = {name: np.asarray(rows) for name, rows in settings.items()}
        held = {name: passed.held[name].astype(rows.dtype) for name, rows in asked.items()}
        check_held(self.rule, self.device.can.name, asked, held)
        return passed._replace(held=held)

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
        """Let the rule judge the rows, along the differences that were held."""
        inject, asked = net.with_named(drawn.noise), net.with_named(settings)
        held = net.with_named(passed.held)
        nothing = tuple(Site(None, None, None) for _ in net.layers)
        shift = shift_seen(self.rule, net, inject, asked, held)
        replayed = RecordedWeights(self.rule, Record(passed.y, nothing), shift)
        return over_sequence(replayed, self.loss)(state, net, xs, ys, key)
