"""Populations of a NIR graph as neurons in steps of dt, and back."""

import json
from typing import Any, NamedTuple

import numpy as np

from perturbax.errors import ArgumentError, DataError, PerturbaxError
from perturbax.exchange.graph import Stage, package
from perturbax.exchange.maps import in_precision
from perturbax.exchange.neurons import Neurons
from perturbax.exchange.own import ENTRY
from perturbax.network.layer import Fixed

DT = 1e-4  # seconds of a step where neither the file nor the user says it, as in snntorch and spikingjelly


class Writer(NamedTuple):
    """What a package means by the graphs it writes, where NIR leaves it open.

    Attributes:
        dt: seconds of a step.
        jumps: whether an input moves a current by its whole value, w_in left out (CubaLIF, CubaLI).
        at_threshold: whether a membrane at its threshold spikes, too.
        per_step: whether r of IF and I counts per step, not per second.
    """

    dt: float = DT
    jumps: bool = False
    at_threshold: bool = False
    per_step: bool = False


WRITERS = {
    "any": Writer(),
    "snntorch": Writer(),
    "spikingjelly": Writer(at_threshold=True),
    "norse": Writer(dt=1e-6, jumps=True, per_step=True),  # it writes tau times its dt of 1e-3 s
}


class Reading(NamedTuple):
    """How a graph is read.

    Attributes:
        writer: what its writer means by it, its dt that of this graph.
        reset: zero (to v_reset, as NIR has it) or subtract.
        surrogate: what stands for the derivative of a spike.
        dampening: factor of that derivative.
        ours: whether what perturbax wrote beside the graph counts.
    """

    writer: Writer
    reset: str
    surrogate: str
    dampening: float
    ours: bool = True


CONSTANTS = {
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "IF": ("r", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "LI": ("tau", "r", "v_leak"),
    "I": ("r",),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "Threshold": ("threshold",),
}
"""The constants of every population, one value per unit."""


def neurons_of(stage: Stage, n: int, how: Reading) -> Neurons:
    """Return the neurons of a population in steps of dt.

    Arguments:
        stage: the node.
        n: number of units.
        how: how the graph is read.

    Raises DataError for constants that no population has, ArgumentError for a surrogate that is none.
    """
    constants = {name: _constant(stage, name, n) for name in CONSTANTS[stage.kind]}
    found: dict[str, Any] = {}
    if stage.kind != "Threshold":
        found |= _membrane(stage, constants, how.writer)
    if "tau_syn" in constants:
        share = _share(stage, "tau_syn", constants, how.writer.dt)  # (n,)
        gain = np.ones_like(share) if how.writer.jumps else share * constants["w_in"]  # (n,)
        found |= {"current_decay": 1 - share, "current_gain": gain}
    if "threshold" in constants:
        found["threshold"] = constants["threshold"]
    if "v_threshold" in constants:
        found["threshold"] = constants["v_threshold"]
        if how.reset == "zero":
            found["reset"] = constants["v_reset"]
    fixed = {name: Fixed(in_precision(stage.name, name, value)) for name, value in found.items()}
    try:
        return Neurons(
            stage.kind,
            **fixed,
            at_threshold=how.writer.at_threshold and "threshold" in found,
            surrogate=how.surrogate,
            dampening=how.dampening,
        )
    except PerturbaxError as error:
        raise ArgumentError(str(error)) from None


def _membrane(stage: Stage, constants: dict[str, np.ndarray], writer: Writer) -> dict[str, np.ndarray]:
    """Return decay, gain and drift of a membrane in steps of dt, `(n,)` each."""
    r = constants["r"]
    name = next((name for name in ("tau", "tau_mem") if name in constants), None)
    if name is None:  # IF and I
        gain = r if writer.per_step else writer.dt * r
        return {"decay": np.ones_like(r), "gain": gain, "drift": np.zeros_like(r)}
    share = _share(stage, name, constants, writer.dt)  # (n,)
    return {"decay": 1 - share, "gain": share * r, "drift": share * constants["v_leak"]}


def _share(stage: Stage, name: str, constants: dict[str, np.ndarray], dt: float) -> np.ndarray:
    """Return dt / tau `(n,)`; DataError for a time constant below the step."""
    tau = constants[name]
    if (tau < dt * (1 - 1e-6)).any():
        raise DataError(
            f"node {stage.name!r}: {name} of {tau.min():g} s is shorter than a step of {dt:g} s: name the dt "
            "that its writer meant"
        )
    return np.minimum(dt / tau, 1.0)


def _constant(stage: Stage, name: str, n: int) -> np.ndarray:
    """Return a constant of a population in float64, `(n,)`; DataError for a time constant that is none."""
    held = np.asarray(getattr(stage.node, name))
    if held.dtype.kind not in "biuf":
        raise DataError(f"node {stage.name!r}: {name} holds no numbers, but {held.dtype}")
    found = held.astype(np.float64).reshape(-1)
    if found.size not in (1, n):
        raise DataError(f"node {stage.name!r}: {name} has {found.size} values for {n} units")
    if not np.isfinite(found).all():
        raise DataError(f"node {stage.name!r}: {name} is not finite everywhere")
    if name.startswith("tau") and not (found > 0).all():
        raise DataError(f"node {stage.name!r}: {name} must be above 0 s, and is {found.min():g} s")
    return np.broadcast_to(found, (n,)).copy()


# --- and back


def population_node(neurons: Neurons, shape: tuple[int, ...], beside: dict[str, Any], dt: float) -> Any:
    """Return neurons as a node, in physical units: seconds, and one value per unit.

    Arguments:
        neurons: the neurons.
        shape: of the population.
        beside: what NIR cannot say of them, for the metadata.
        dt: seconds of a step.
    """

    def vector(fixed: Any) -> np.ndarray:
        """Return a constant in float64, in the shape of the population."""
        return np.asarray(fixed.value, np.float64).reshape(shape)

    values: dict[str, np.ndarray] = {}
    if neurons.kind == "Threshold":
        values["threshold"] = vector(neurons.threshold)
    elif neurons.kind in ("IF", "I"):
        values["r"] = vector(neurons.gain) / dt
    else:
        share = 1 - vector(neurons.decay)
        tau = "tau" if neurons.current_decay is None else "tau_mem"
        values |= {
            tau: dt / share,
            "r": vector(neurons.gain) / share,
            "v_leak": vector(neurons.drift) / share,
        }
    if neurons.current_decay is not None:
        share = 1 - vector(neurons.current_decay)
        values |= {"tau_syn": dt / share, "w_in": vector(neurons.current_gain) / share}
    if neurons.threshold is not None and neurons.kind != "Threshold":
        threshold = vector(neurons.threshold)
        reset = np.zeros_like(threshold) if neurons.reset is None else vector(neurons.reset)
        values |= {"v_threshold": threshold, "v_reset": reset}
    metadata = {ENTRY: json.dumps(beside)} if beside else {}
    return getattr(package(), neurons.kind)(**values, metadata=metadata)
