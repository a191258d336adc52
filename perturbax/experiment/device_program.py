"""What advances a run whose network lives on a device: the device runs all passes, updates are made here."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.devices.checked import Checked
from perturbax.devices.choice import strongest
from perturbax.devices.estimates import device_learner
from perturbax.devices.learner import DeviceLearner, Drawn, Passed
from perturbax.devices.network import DeviceNetwork, as_written
from perturbax.devices.opening import judging_seed, outputs_now
from perturbax.devices.updates import on_grid, within_range
from perturbax.errors import ArgumentError
from perturbax.experiment.build import Parts
from perturbax.experiment.program import Compiled, Program
from perturbax.experiment.train_step import Hyperparameters, Setup, State, Training, score_compiled, start
from perturbax.learning.sequence import apply_estimate
from perturbax.network.network import Network
from perturbax.tasks.base import HeldOut


class OnDevice(Program):
    """The runs of one experiment on a device, one after the other.

    A training step is that of a run in process: the same data, keys, rule and optimiser. The weights here are
    a copy in floats, which keeps updates too small for the grid of the device, unless they are rounded at
    random. The device is written anew before every pass, so that a run that is resumed needs nothing of it.

    Attributes:
        device: the device.
        learner: the rule at work on it.
        judged_with: weights asked for and held at the last evaluation; None before, and where the device
            cannot tell. The last one of a run is that on test data, of the weights that are kept.
    """

    def __init__(self, parts: Parts):
        device = parts.device
        if device is None:
            raise ArgumentError("this run names no device")
        super().__init__(parts)
        e, setup = parts.experiment, parts.setup
        self.device: Checked = device
        self.learner = device_learner(setup.rule, setup.task.loss, device, str(e.score))
        self.judged_with: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None = None
        self._before = (0, 0, 0.0)  # writes, trials and seconds of the process that was stopped
        self._at_start = _cost(device)
        stochastic = e.rounding == "stochastic"
        self._start = jax.jit(partial(start, setup))  # as in process: compiled, last digits are the same
        self._ahead = jax.jit(partial(_ahead, setup.batch, self.learner))
        self._settings = jax.jit(self.learner.settings)
        self._learn = partial(_learn, setup, self.learner, stochastic)
        self._learns: dict[Any, Callable] = {}

    @property
    def side_by_side(self) -> bool:
        """False: there is one device."""
        return False

    def spent(self) -> dict[str, Any]:
        """Return writes, trials and seconds of the device, and how far held weights were off."""
        writes, trials, seconds = self._spent()
        return {"writes": writes, "trials": trials, "device_seconds": seconds, **self._held_off()}

    def begin(self, last_line: dict[str, Any] | None) -> None:
        """Count from here on, beside what a run has asked of its device before it was stopped."""
        line = last_line or {}
        self._before = line.get("writes", 0), line.get("trials", 0), line.get("device_seconds", 0.0)
        self._at_start, self.judged_with = _cost(self.device), None

    def start(self, seed: int, hyperparameters: Hyperparameters | None = None) -> State:
        """Return the state before the first step; hyperparameters None for those of the experiment."""
        setup = self.parts.setup
        state = self._start(jnp.asarray(seed), hyperparameters or setup.hyperparameters)
        net, key = state.learner.net, jr.split(jr.PRNGKey(seed), 3)[2]
        x = jnp.zeros((setup.batch, setup.task.sizes[0]), self.valid.xs.dtype)
        return state._replace(learner=state.learner._replace(kept=self.learner.init(net, x, key)))

    def prepare(self, states: list[State], length: int) -> None:
        """Do nothing: what is compiled is compiled at the first step."""
        del states, length

    def advance(
        self, states: list[State], length: int
    ) -> tuple[list[State], np.ndarray, list[dict[str, Any]], float]:
        """Run a chunk for every state, one after the other; see `Program.advance`."""
        began = time.perf_counter()
        after, losses, metrics = [], [], []
        state = states[0]
        for before in states:
            state, own_losses, own_metrics = self._chunk(before, length)
            after.append(state)
            losses.append(own_losses)
            metrics.append(own_metrics)
        return (
            after,
            np.asarray(losses, state.best_loss.dtype),
            metrics,
            (time.perf_counter() - began) / len(states),
        )

    def outputs(self, net: Network, xs: Any) -> Any:
        """Return what the device puts out with these weights, `(T, B, n_out)`; None where it returns scores.

        Arguments:
            net: the weights.
            xs: inputs `(T, B, n_in)`.
        """
        if self.learner.by_device:
            return None
        self._write(net)
        return jnp.asarray(outputs_now(self.device, xs))

    def judged(self, net: Network, held: HeldOut) -> dict[str, Any]:
        """Return the task's metrics of what the device puts out, or the mean of its own score as `loss`."""
        if self.learner.by_device:
            self._write(net)
            xs, ys = np.asarray(held.xs), np.asarray(held.ys)
            own = self.device.run(xs, judging_seed(self.device), targets=ys)["score"]
            return {"loss": jnp.asarray(own, self.valid.xs.dtype).mean()}
        return self.tested(net, held)[0]

    def tested(self, net: Network, held: HeldOut) -> tuple[dict[str, Any], Any]:
        """Return (metrics, outputs) of one write and one run, so that both are of the same noise."""
        outputs = self.outputs(net, held.xs)
        if outputs is None:
            return self.judged(net, held), None
        return score_compiled(self.parts.task, outputs, held), outputs

    def further(self, first: State, net: Network) -> dict[str, Any]:
        """Return what the device cost; arguments as in `Program.further`."""
        writes, trials, seconds = self._spent()
        found: dict[str, Any] = {
            "name": self.device.can.name,
            "writes": writes,
            "trials": trials,
            "seconds": seconds,
        }
        choice = strongest(self.device.can)
        found["rule"] = choice.why if choice.rule == self.parts.experiment.rule else "named by the user"
        if self.judged_with is not None:
            found["held"] = _differences(*self.judged_with)
        return {"device": found | self._held_off()}

    def _chunk(self, state: State, length: int) -> tuple[State, list[float], dict[str, Any]]:
        """Advance by `length` steps, validate, and keep the weights if they are the best so far."""
        training, first, losses = state.learner, int(state.step), []
        draws_ahead = self.learner.draws_ahead(training.kept)
        leaves, structure = jax.tree.flatten(training)
        learn = self._learning(structure)

        def ahead(done: int) -> Ahead:
            step = np.asarray(first + done, state.step.dtype)
            return self._ahead(self.parts.setup.task, state.key, step, training.kept, training.net)

        now = ahead(0)
        settings = self._settings(training.net, now.drawn)
        for done in range(1, length + 1):
            following: list[Ahead] = []
            if done < length and draws_ahead:
                self.device.meanwhile(lambda done=done, found=following: found.append(ahead(done)))
            passed = self.learner.passes(now.drawn, settings, now.xs, now.ys)
            drawn = following[0].drawn if following else now.drawn
            leaves, loss, settings = learn(leaves, state.hyperparameters, now, settings, passed, drawn)
            losses.append(loss)
            if done < length and not following:
                training = jax.tree.unflatten(structure, leaves)
                following = [ahead(done)]
                settings = self._settings(training.net, following[0].drawn)
            now = following[0] if following else now
        training = jax.tree.unflatten(structure, leaves)
        state = state._replace(learner=training, step=state.step + length)
        losses = [float(loss) for loss in losses]
        net = state.learner.net
        metrics = self.judged(net, self.valid)
        loss = jnp.asarray(metrics["loss"], state.best_loss.dtype)
        if loss < state.best_loss:
            state = state._replace(best=net, best_loss=loss, best_step=state.step)
        return state, losses, metrics

    def _learning(self, structure: Any) -> Callable:
        """Return the compiled update of what has this structure; it is handed over as a list of its leaves.

        Walking through the objects of a network takes as long as updating a small one.
        """
        if structure not in self._learns:
            self._learns[structure] = jax.jit(partial(self._learn, structure))
        return self._learns[structure]

    def _write(self, net: Network) -> None:
        """Write weights that are to be judged, and note those held."""
        asked = as_written(_device_network(net))
        held = self.device.write(asked)
        self.judged_with = None if held is None else (asked, held)

    def _held_off(self) -> dict[str, float]:
        """Return the norm of held minus asked weights over that of the asked ones; empty where unknown."""
        if self.judged_with is None:
            return {}
        return {"held_off": held_off(*self.judged_with)}

    def _spent(self) -> tuple[int, int, float]:
        """Return writes, trials and seconds of this run."""
        now = _cost(self.device)
        added = [b + n - a for b, n, a in zip(self._before, now, self._at_start, strict=True)]
        return int(added[0]), int(added[1]), float(added[2])


def program_of(parts: Parts) -> Program:
    """Return what advances a run: its device where it has one, else a program that is compiled for it.

    parts: the parts of the run.
    """
    return Compiled(parts) if parts.device is None else OnDevice(parts)


def held_off(asked: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray]) -> float:
    """Return the norm of held minus asked weights over that of the asked ones.

    Arguments:
        asked: weights by name.
        held: those that the device holds instead.
    """
    size = _norm(asked.values())
    return _norm(held[name] - asked[name] for name in asked) / size if size else 0.0


def _cost(device: Checked) -> tuple[int, int, float]:
    """Return writes, trials and seconds of a device in this process."""
    return device.costs.writes, device.costs.trials, device.costs.seconds


def _norm(arrays: Iterable[np.ndarray]) -> float:
    """Return the norm of all values of some arrays."""
    return sum(float(np.sum(array**2.0)) for array in arrays) ** 0.5


def _device_network(net: Network) -> DeviceNetwork:
    """Return a network as what it is on a device."""
    if not isinstance(net, DeviceNetwork):
        raise ArgumentError("this network does not live on a device")
    return net


def _differences(asked: dict[str, np.ndarray], held: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return, for each array, the root mean square of the weights asked for and of held minus asked."""
    return {
        name: {
            "asked": float(np.sqrt(np.mean(asked[name] ** 2.0))),
            "difference": float(np.sqrt(np.mean((held[name] - asked[name]) ** 2.0))),
        }
        for name in asked
    }


class Ahead(NamedTuple):
    """What a training step needs that can be had before the step before it is over.

    Attributes:
        xs: inputs, `(T, B, n_in)`.
        ys: targets, `(T, B, ...)`.
        key: of the noise.
        drawn: the noise.
    """

    xs: Array
    ys: Any
    key: Array
    drawn: Drawn


def _ahead(
    batch: int, learner: DeviceLearner, task: Any, key: Array, step: Array, kept: Any, net: DeviceNetwork
) -> Ahead:
    """Return the data and the noise of a training step, as in a run in process."""
    data_key, noise_key = jr.split(jr.fold_in(key, step))
    xs, ys = task.sample(data_key, batch)
    return Ahead(xs, ys, noise_key, learner.draw(kept, net, xs, noise_key))


def _learn(
    setup: Setup,
    learner: DeviceLearner,
    stochastic: bool,
    structure: Any,
    leaves: list[Array],
    given: Hyperparameters,
    now: Ahead,
    settings: Mapping[str, Array],
    passed: Passed,
    drawn: Drawn,
) -> tuple[list[Array], Array, dict[str, Array]]:
    """Judge the passes and update the weights, within what the device holds.

    Weights and optimiser come and go as the leaves of a `Training` of this structure.

    -> (leaves, loss, the weights to write for the next step, of which `drawn` is the noise).
    """
    training: Training = jax.tree.unflatten(structure, leaves)
    setup, can, before = setup.at(given), learner.device.can, _device_network(training.net)
    xs, ys, key = now.xs, now.ys, now.key
    kept, loss, grads = learner.judge(training.kept, before, xs, ys, key, now.drawn, settings, passed)
    after, opt = apply_estimate(before, setup.optimiser, training.opt, grads, setup.rule)
    net = within_range(_device_network(after), can)
    if stochastic:
        net = on_grid(net, can, jr.fold_in(key, 3))
    return jax.tree.leaves(Training(net, opt, kept)), loss, learner.settings(net, drawn)
