"""Who does jobs: processes of this machine, or those of a cluster."""

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from perturbax.errors import ArgumentError, unknown
from perturbax.jobs.job import Engine
from perturbax.jobs.perform import THREADS, Surroundings, own_threads
from perturbax.jobs.pool import Pool

CLUSTERS = ("local", "pool", "slurm", "tcp://HOST:PORT")
EXTRA = ("distributed", "cryptography")  # what a cluster of this machine needs; without, there is a pool


def check_cluster(cluster: str | None) -> None:
    """Raise ArgumentError for a cluster that is none.

    Arguments:
        cluster: as for `engine_for`.
    """
    if cluster is not None and not isinstance(cluster, str):
        raise ArgumentError(f"cluster must be one of {', '.join(CLUSTERS)}; not {cluster!r}")
    if cluster is not None and cluster not in CLUSTERS and not is_address(cluster):
        raise unknown("cluster", cluster, CLUSTERS)


def is_address(cluster: str | None) -> bool:
    """Whether a cluster is named by the address of its scheduler."""
    return cluster is not None and cluster.startswith(("tcp://", "tls://")) and cluster not in CLUSTERS


def is_elsewhere(cluster: str | None) -> bool:
    """Whether the workers of a cluster are not processes of this machine."""
    return cluster == "slurm" or is_address(cluster)


def engine_for(
    cluster: str | None, workers: int, computing: Mapping[str, Any], threads: int | None = None
) -> Engine:
    """Return what does jobs in other processes.

    Arguments:
        cluster: `local`, or None, for processes of this machine: dask's where the extra `cluster` is
            installed, else a `pool` of the standard library; `slurm` for jobs of Slurm; or the address of a
            scheduler of dask, tcp://HOST:PORT or tls://HOST:PORT, which must be trusted.
        workers: how many processes; a scheduler that is named has workers of its own.
        computing: settings of JAX that they have, by the names that `jax.config.update` takes.
        threads: of each, in JAX, NumPy and SciPy; None for as many as this process has, or what is configured
            for Slurm.

    Raises ArgumentError for a cluster that is none, or without the extra that it needs.
    """
    check_cluster(cluster)
    has_extra = all(importlib.util.find_spec(module) for module in EXTRA)
    numpys = threads
    if threads is None:
        threads = own_threads()
        if cluster == "slurm" and THREADS not in os.environ:
            from perturbax.jobs.slurm import threads_of_jobs

            threads = numpys = threads_of_jobs()
    surroundings = Surroundings(threads, computing, numpys)
    if cluster == "pool" or (not is_elsewhere(cluster) and not has_extra):
        return Pool(workers, surroundings)
    from perturbax.jobs.cluster import Cluster, at, local
    from perturbax.jobs.slurm import slurm

    if cluster == "slurm":
        return Cluster(slurm(workers, threads, surroundings.numpys), surroundings)
    if cluster is not None and is_address(cluster):
        return Cluster(at(cluster), surroundings)
    return Cluster(local(workers, surroundings.numpys), surroundings, alone=True)
