"""Who does jobs: processes of this machine, or those of a cluster."""

from collections.abc import Mapping
from typing import Any

from perturbax.jobs.job import Engine
from perturbax.jobs.perform import Surroundings, own_threads
from perturbax.jobs.pool import Pool


def engine_for(workers: int, computing: Mapping[str, Any]) -> Engine:
    """Return what does jobs in other processes.

    Arguments:
        workers: how many processes.
        computing: settings of JAX that they have, by the names that `jax.config.update` takes.
    """
    return Pool(workers, Surroundings(own_threads(), computing))
