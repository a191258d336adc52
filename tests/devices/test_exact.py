"""Each fault of the simulated device, alone: estimates are unbiased for the gradient of that device.

The gradient of a device is found by central differences of its own loss, one weight after the other, under
the same noise; one with rounded or noisy weights has that of the same device that holds them exactly.
"""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import Signs, strong

import perturbax as px
from perturbax.analysis.on_device import OnDevice
from perturbax.devices import Checked
from perturbax.devices.choice import check_rule
from perturbax.devices.estimates import device_learner
from perturbax.devices.faults import Faults
from perturbax.devices.network import network_of
from perturbax.devices.simulated import Simulated
from perturbax.errors import ArgumentError

T, INPUTS = 3, 8
RNG = np.random.default_rng(1)
XS, YS = (RNG.normal(size=(T, INPUTS, 1)).astype(np.float32) for _ in range(2))
SIGMA = 0.02
WEIGHTS = 11
KEY = jr.PRNGKey(3)


class Aging(Simulated):
    """A simulated device on which time passes between a write and the run after it."""

    def run(self, *args, **named):
        self.memory.age += 3000
        return super().run(*args, **named)


@pytest.fixture(scope="module")
def net():
    return strong("tanh", n_in=1, n=2, n_out=1)


def loss_of(y, target):
    return jnp.sum((y - target) ** 2, -1)


def slopes(device, at, xs, ys, seed, apart=0.03):
    """The gradient of the mean loss by weights as they are written: -> (it, its standard error), by name."""

    def loss(name, place, shift):
        moved = {k: w.copy() for k, w in at.items()}
        moved[name][place] += shift
        device.write(moved)
        each = ((device.run(xs, seed=seed)["outputs"] - ys) ** 2).sum(-1).mean(0)  # (trials,)
        return each.reshape(-1, INPUTS)

    found, error = {}, {}
    for name, w in at.items():
        found[name], error[name] = np.zeros(w.shape), np.zeros(w.shape)
        for place in np.ndindex(*w.shape):
            each = (loss(name, place, apart) - loss(name, place, -apart)) / (2 * apart)  # (repeats, INPUTS)
            found[name][place] = each.mean()
            error[name][place] = (each.var(0).mean() / each.size) ** 0.5
    return found, error


def flat(named):
    """All values of arrays by name, one after the other."""
    return np.concatenate([np.ravel(named[name]) for name in sorted(named)])


# --- weight perturbation along held differences


def balanced():
    """Signs of mean 0 for all weights, uncorrelated among them, `(16, 11)`: columns of a Hadamard matrix."""
    odd = [[bin(row & column).count("1") % 2 for column in range(1, 1 + WEIGHTS)] for row in range(16)]
    return 1.0 - 2.0 * np.asarray(odd)


@pytest.fixture(scope="module")
def shifted(net):
    """A learner by weight perturbation, its network, and the weights by name; each test sets its device."""
    device = Checked(Simulated(net=net), 1, 1, T)
    at = device.write({})
    sizes = [array.size for array in at.values()]
    parts = np.split(balanced(), np.cumsum(sizes)[:-1], 1)
    table = [part.reshape(16, *array.shape) for part, array in zip(parts, at.values(), strict=True)]
    rule = px.RULES["weight"](sigma=SIGMA, noise=Signs(table=table), samples=16, difference="antithetic")
    return device_learner(rule, loss_of, device), network_of(device.can, at), at


@pytest.fixture(scope="module")
def shift_estimate(net, shifted):
    """A function (faults, key) -> the mean over balanced signs of the estimate on such a device."""
    learner, network, _ = shifted
    xs, ys = jnp.asarray(XS), jnp.asarray(YS)

    def estimate(faults, key=KEY, device=None):
        learner.device = device or Checked(Aging(net=net, faults=Faults(**faults)), 1, 1, T)
        return flat(learner.update((), network, xs, ys, key)[2].named())

    return estimate


@pytest.mark.parametrize(
    "faults",
    [
        {"read_noise": 0.1},
        {"input_bits": 14},
        {"drift": 0.2},
        {"stuck": 0.5, "stuck_at": 0.7},
        {"ambient": 0.2},
        {"delay": True},
        {"telegraph": 0.3},
    ],
    ids=lambda faults: next(iter(faults)),
)
def test_weight_perturbation_under_faults_that_let_weights_be_written(net, shifted, shift_estimate, faults):
    learner, _, at = shifted
    found = shift_estimate(faults)
    device = Aging(net=net, faults=Faults(**faults))
    seed = learner.seed(KEY)
    want = flat(slopes(device, at, XS, YS, seed if seed is None else int(seed), SIGMA)[0])
    sound = flat(slopes(Simulated(net=net), at, XS, YS, None, SIGMA)[0])
    assert np.abs(found - want).max() < 2e-3 * np.abs(want).max()
    if "input_bits" not in faults:  # the control: it is another device
        assert np.abs(found - sound).max() > 2e-2 * np.abs(want).max()


def test_weight_perturbation_on_a_grid_needs_the_weights_held(net, shifted, shift_estimate):
    at = shifted[2]
    want = flat(slopes(Simulated(net=net), at, XS, YS, None, SIGMA)[0])
    pinned = {"bits": 8, "top": 2.0}  # a grid of 0.016: shifts of two or three steps
    size = np.abs(want).max()
    assert np.abs(shift_estimate(pinned) - want).max() < 1e-2 * size
    assert np.abs(shift_estimate(pinned | {"readback": "asked"}) - want).max() > 0.1 * size  # the control
    for bits, share in (
        (8, 0.2),
        (11, 0.03),
    ):  # where the largest weight sets the grid, weights move each other
        assert np.abs(shift_estimate({"bits": bits}) - want).max() < share * size


def test_weight_perturbation_under_noise_of_writing(net, shifted, shift_estimate):
    """The noise of writing is new in every row, so that what was asked for is right on average, too."""
    want = flat(slopes(Simulated(net=net), shifted[2], XS, YS, None, SIGMA)[0])
    device = Checked(Simulated(net=net, faults=Faults(write_noise=0.003)), 1, 1, T)
    draws = np.asarray([shift_estimate({}, jr.PRNGKey(i), device) for i in range(20)])
    z = (draws.mean(0) - want) / (draws.std(0) / len(draws) ** 0.5)
    assert np.abs(z).max() < 5
    assert draws.std(0).max() < 0.2 * np.abs(want).max()


# --- innovation from the noise of the device itself, found in its taps


class SameNoise(Aging):
    """An aging device without currents, whose noise of writing is the same with every write."""

    def hello(self, asked):
        return super().hello(asked) | {"currents": {}}

    def write(self, weights):
        self.memory._rng = np.random.default_rng(5)
        return super().write(weights)


REPEATS = 250
MANY_XS, MANY_YS = (np.tile(s, (1, REPEATS, 1)) for s in (XS, YS))


@pytest.fixture(scope="module")
def own_noise(net):
    """A function (faults, fit, updates) -> mean and standard error of estimates on a device of these faults.

    fit: whether the others know what the taps of a first update tell of the weights.
    """
    device = Checked(SameNoise(net=net, faults=Faults(ambient=0.1)), 1, 1, T)
    at = device.write({})
    rule = px.RULES["innovation"](difference="noisy", credit="to-go")
    learner = device_learner(rule, loss_of, device)
    network = network_of(device.can, at)
    nothing = learner.init(network, jnp.asarray(MANY_XS[0]), KEY)
    xs, ys = jnp.asarray(MANY_XS), jnp.asarray(MANY_YS)

    def estimate(faults, fit, updates):
        learner.device = Checked(SameNoise(net=net, faults=Faults(**faults)), 1, 1, T)
        state = learner.update(nothing, network, xs, ys, jr.PRNGKey(99))[0] if fit else nothing
        keys = [jr.PRNGKey(i) for i in range(updates)]
        draws = [flat(learner.update(state, network, xs, ys, key)[2].named()) for key in keys]
        return np.mean(draws, 0), np.std(draws, 0) / updates**0.5

    return estimate


def device_in_force(net, at, faults):
    """The weights of a run, and a device that holds them exactly."""
    device = SameNoise(net=net, faults=Faults(**faults))
    device.write(at)
    device.memory.age += 3000
    exact = {k: v for k, v in faults.items() if k not in ("bits", "top", "write_noise", "drift")}
    return device.memory.in_force(), Simulated(net=net, faults=Faults(**exact))


@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"read_noise": 0.2, "ambient": 0.0},
        {"input_bits": 5},
        {"stuck": 0.5, "stuck_at": 0.7},
        {"delay": True},
        {"bits": 4, "top": 2.0},
        {"write_noise": 0.1},
        {"drift": 0.3},
    ],
    ids=lambda faults: next(iter(faults), "ambient"),
)
def test_learning_from_own_noise(net, shifted, own_noise, faults):
    all_faults = {"ambient": 0.2} | faults
    at, device = device_in_force(net, shifted[2], all_faults)
    want, error = (flat(named) for named in slopes(device, at, MANY_XS, MANY_YS, 7, 0.1))

    def z(fit, updates, **more):
        mean, own_error = own_noise(all_faults | more, fit, updates)
        return np.abs((mean - want) / np.hypot(own_error, error)).max()

    if "drift" not in faults:
        assert z(fit=False, updates=16) < 4
    if {"drift", "bits", "write_noise"} & faults.keys():
        assert (
            z(fit=False, updates=16, readback="asked") > 6
        )  # the control: weights that are not those of a run
        assert z(fit=True, updates=16, readback="asked") < 4


def test_the_first_update_of_a_device_that_drifts_fits_and_changes_nothing(net, shifted):
    device = Checked(SameNoise(net=net, faults=Faults(ambient=0.2, drift=0.3)), 1, 1, T)
    rule = px.RULES["innovation"](difference="noisy", credit="to-go")
    learner, network = device_learner(rule, loss_of, device), shifted[1]
    xs, ys = jnp.asarray(XS), jnp.asarray(YS)
    state, sizes = learner.init(network, xs[0], KEY), []
    for _ in range(2):
        state, loss, grads = learner.update(state, network, xs, ys, KEY)
        sizes.append(np.abs(flat(grads.named())).max())
        assert loss > 0
    assert sizes[0] == 0 < sizes[1]
    fitted = learner.ready(learner.init(network, xs[0], KEY), network, xs, ys, KEY)
    assert learner.ready(fitted, network, xs, ys, KEY) is fitted
    diagnosed = OnDevice(rule, loss_of, device, "task")  # at what it had learnt in training, no more
    assert diagnosed.known(fitted, network, xs, ys, KEY) is fitted
    assert np.abs(flat(learner.update(fitted, network, xs, ys, KEY)[2].named())).max() > 0


def test_telegraph_noise_is_no_noise_to_learn_from_and_drift_none_to_inject_into():
    remembers = Checked(SameNoise("tanh", (2,), faults=Faults(telegraph=0.1)), 1, 1, T).can
    with pytest.raises(ArgumentError, match="takes no current"):
        check_rule(px.RULES["innovation"](difference="noisy", credit="to-go"), remembers, "task")
    drifts = Checked(Simulated("tanh", (2,), faults=Faults(drift=0.1)), 1, 1, T).can
    with pytest.raises(ArgumentError, match=r"its weights drift.*take node"):
        check_rule(px.RULES["innovation"](), drifts, "task")
    check_rule(px.RULES["node"](), drifts, "task")
