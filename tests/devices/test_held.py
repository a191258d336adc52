"""Weight perturbation along what a device holds: exact over all signs, or refused in a sentence."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import Signs, every_sign

import perturbax as px
from perturbax.devices import Checked
from perturbax.devices.choice import check_rule, defaults
from perturbax.devices.estimates import device_learner
from perturbax.devices.faults import Faults
from perturbax.devices.network import network_of
from perturbax.devices.opening import holds_what_is_asked
from perturbax.devices.simulated import Simulated
from perturbax.errors import ArgumentError, DeviceError
from perturbax.experiment.comparison import plan_comparison
from perturbax.experiment.resolve import resolve
from perturbax.experiment.variants import parse_variant

SLOPE = np.asarray([1.0, -2.0, 0.5, 3.0, -1.0, 2.0])
AT = np.asarray([[0.1, 0.4, -0.2, 0.25, 1.0, -0.7]], np.float32)
SIGMA = 0.4  # four thirds of a step of a grid of 0.3
HOLD = {
    "exact": lambda w: w,
    "rounded": lambda w: np.round(w / 0.3) * 0.3,
    "clipped": lambda w: np.clip(w, -0.9, 1.1),
    "bent": lambda w: w + 0.2 * w**2,
}
EVERY_SIGN = np.asarray(every_sign((1, 6)))  # (64, 1, 6)
EVERY_PAIR = np.concatenate(np.moveaxis(np.asarray(every_sign((2, 1, 3))), 1, 0))  # (2 * 64, 1, 3)


class Holding:
    """A device that puts out its n weights, as `hold` makes them of those that it is asked for.

    Its answers are its own arrays, which it writes into.
    """

    def __init__(self, hold, n=6, **said):
        self.hold, self.n, self.said, self.W = hold, n, said, np.zeros((1, n), np.float32)
        self.tells = True

    def hello(self, asked):
        weights = {"W": {"shape": [1, self.n], **self.said}}
        sizes = {"version": 1, "inputs": 1, "outputs": self.n}
        return {**sizes, "name": "holding", "weights": weights, "noise": "none"}

    def write(self, weights):
        if weights:
            self.W[...] = self.hold(np.asarray(weights["W"]))
        return {"W": self.W} if self.tells else None

    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        return {"outputs": np.broadcast_to(self.W, (*inputs.shape[:2], self.n))}

    def bye(self):
        pass


def learner_of(device, **settings):
    """A learner whose loss is the sum of the weights times SLOPE, and its network."""
    n = device.n
    on = Checked(device, 1, n, 1)
    rule = px.RULES["weight"](
        **{"sigma": SIGMA, "noise": Signs(table=[EVERY_SIGN]), "samples": 64} | settings
    )
    return device_learner(rule, lambda y, target: y @ SLOPE[:n], on), network_of(on.can, {"W": AT[:, :n]})


def estimated(learner, net):
    """The mean over all signs of the estimate of SLOPE, `(n,)`."""
    ys = jnp.zeros((1, 1, learner.device.can.outputs))
    _, _, grads = learner.update((), net, jnp.zeros((1, 1, 1)), ys, jr.PRNGKey(0))
    return np.asarray(grads.named()["W"])[0]


@pytest.mark.parametrize(("difference", "signs"), [("antithetic", EVERY_SIGN), ("noisy", EVERY_PAIR)])
def test_the_mean_over_all_signs_is_the_slope_along_what_is_held_and_not_along_what_is_asked(
    difference, signs
):
    n = signs.shape[-1]
    device = Holding(HOLD["exact"], n)
    learner, net = learner_of(device, difference=difference, noise=Signs(table=[signs]))
    for name, hold in HOLD.items():
        device.hold, device.tells = hold, True
        assert np.allclose(estimated(learner, net), SLOPE[:n], rtol=1e-4), name
        device.tells = False  # what was asked for is taken for held: the control
        right = np.allclose(estimated(learner, net), SLOPE[:n], rtol=1e-2)
        assert right == (name == "exact" or (name, n) == ("clipped", 3)), name  # these are not near the range


def test_a_one_sided_difference_is_the_slope_where_a_device_holds_what_it_is_asked_for_alone():
    device = Holding(HOLD["exact"])
    learner, net = learner_of(device, difference="one-sided")
    assert np.allclose(estimated(learner, net), SLOPE, rtol=1e-4)
    for name in ("rounded", "clipped", "bent"):
        device.hold = HOLD[name]
        with pytest.raises(DeviceError, match="take difference antithetic"):
            estimated(learner, net)


def test_a_one_sided_difference_is_refused_where_hello_says_a_grid_or_a_range():
    for said in ({"step": 0.3}, {"low": -1.0}, {"high": 1.0}):
        for difference in ("one-sided", "linearised"):
            with pytest.raises(ArgumentError, match=rf"difference {difference} .*take antithetic"):
                learner_of(Holding(HOLD["rounded"], **said), difference=difference)
        can = Checked(Holding(HOLD["exact"], **said), 1, 6, 1).can
        assert defaults("weight", can)["difference"] == "antithetic"
        check_rule(px.RULES["weight"](**{"sigma": 0.6} | defaults("weight", can)), can, "task")


def test_whether_a_device_holds_what_it_is_asked_for_is_tried_once_and_leaves_its_weights():
    for name in ("exact", "rounded", "bent"):
        device = Checked(Holding(HOLD[name]), 1, 6, 1)
        before = device.write({"W": AT})["W"]
        assert holds_what_is_asked(device) == (name == "exact")
        assert np.array_equal(
            device.write({})["W"], HOLD["exact"](before) if name != "bent" else device.device.W
        )
        writes = device.costs.writes
        assert holds_what_is_asked(device) == (name == "exact")
        assert device.costs.writes == writes
        found = defaults("weight", device.can, exact=holds_what_is_asked(device))
        assert found.get("difference", "one-sided") == ("one-sided" if name == "exact" else "antithetic")


def test_a_run_by_weight_perturbation_takes_the_difference_that_suits_its_device():
    for faults, taken in (
        (Faults(), "one-sided"),
        (Faults(bits=6), "antithetic"),
        (Faults(bits=6, top=2.0), "antithetic"),
    ):
        device = Simulated("tanh", (3,), faults=faults)
        run = px.Experiment("copy", "weight", task_options={"length": 2}, device=device)
        assert resolve(run).rule_options["difference"] == taken


def test_shifts_that_are_not_held_are_said():
    device = Holding(lambda w: np.round(w / 0.3) * 0.3)
    learner, net = learner_of(device, difference="antithetic", sigma=0.02)
    with pytest.raises(
        DeviceError, match=r"holding holds less than half of the shift .* in 384 of 384 weights"
    ):
        estimated(learner, net)


def test_shifts_that_are_not_held_are_said_before_anything_is_trained():
    class Narrow(Holding):
        def hello(self, asked):
            return super().hello(asked) | {"outputs": 1}

    rounded = Narrow(lambda w: np.round(w / 0.3) * 0.3)
    rounded.run = lambda *arguments, **named: pytest.fail("something was run")

    def planned(variant):
        base = px.Experiment("probe-lag1", device=rounded)
        return plan_comparison([parse_variant(variant)], base, {}, 1, None)

    with pytest.raises(DeviceError, match=r"holds less than half of the shift .* \(take at least 0.\d+"):
        planned("weight:sigma=0.02")
    with pytest.raises(DeviceError, match="a one-sided difference is not the slope"):
        planned("weight:sigma=0.4:difference=one-sided")
    assert list(planned("weight:sigma=0.4").tasks) == ["weight:sigma=0.4"]


def test_synapses_that_are_missing_do_not_end_a_run():
    there = np.asarray([0, 0, 1, 0, 1, 0])
    for hold in (lambda w: w * there, lambda w: np.round(w / 0.3) * 0.3 * there):
        learner, net = learner_of(Holding(hold), difference="antithetic")
        assert np.allclose(estimated(learner, net), SLOPE * there, atol=1e-4)
    learner.device.device.hold = lambda w: 0 * w
    with pytest.raises(DeviceError, match="holds less than half of the shift"):
        estimated(learner, net)


def test_a_device_may_answer_every_run_of_a_batch_that_is_cut_from_the_same_array():
    class Doubling(Holding):
        def hello(self, asked):
            return super().hello(asked) | {"batch": 2}

        def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
            self.out = self.__dict__.get("out", np.zeros((1, 2, 6)))
            self.out[...] = 2 * inputs
            return {"outputs": self.out}

    inputs = np.arange(4.0).reshape(1, 4, 1)
    found = Checked(Doubling(HOLD["exact"]), 1, 6, 1).run(inputs)
    assert np.array_equal(found["outputs"], np.tile(2 * inputs, 6))
