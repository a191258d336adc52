"""A run over several devices: they share rows of a batch, samples or population members, or the weights."""

from typing import Any

import jax
import jax.random as jr

from perturbax.errors import ArgumentError
from perturbax.experiment.build import Parts
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.placement import Placement
from perturbax.fields import one_of
from perturbax.learning.shares import chosen, mesh_of
from perturbax.network.layer import weights

WEIGHTS = "weights"
SHARED = ("work", WEIGHTS)


def placement_of(experiment: Experiment | Resolved, mesh: Any, shard: str | None) -> Placement:
    """Return where the arrays of a run are, before anything of it is built.

    Arguments:
        experiment: the run.
        mesh: number of devices, or a `jax.sharding.Mesh`; None for one device.
        shard: what devices share: work (rows or samples; also None) or weights.

    Raises ArgumentError for more devices than there are, and for a network that lives on a device.
    """
    if isinstance(mesh, Placement):
        return mesh
    one_of("shard", shard or SHARED[0], SHARED)
    devices = mesh_of(mesh)
    if devices is None:
        if shard == WEIGHTS:
            raise ArgumentError("weights are split by units over several devices: say how many (devices)")
        return Placement()
    if experiment.device is not None:
        raise ArgumentError(
            f"a network that lives on a device cannot be shared by {devices.size} devices of JAX: "
            "name device or devices, not both"
        )
    return Placement(devices, shard == WEIGHTS)


def over_devices(parts: Parts, placement: Placement) -> Parts:
    """Return the parts of a run that several devices share.

    Arguments:
        parts: the parts of the run on one device.
        placement: the devices, and what they share.

    Raises ArgumentError for a batch and samples, or weights, that they cannot share.
    """
    e, n = parts.experiment, placement.devices
    if placement.split_weights:
        placement.check_weights(jax.eval_shape(lambda key: weights(parts.network(key)), jr.PRNGKey(0)))
    elif placement.mesh is not None and e.mode == "sequence":
        chosen(parts.rule, placement.mesh, e.batch)
    elif e.batch % n:
        raise ArgumentError(
            f"online, {n} devices share parallel streams: take a batch that divides by {n}, not {e.batch}"
        )
    return parts._replace(setup=parts.setup._replace(placement=placement))
