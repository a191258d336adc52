"""Workers that Slurm starts, one in each job, through dask-jobqueue."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing.util import Finalize
from typing import Any

from perturbax.errors import ArgumentError, first_line
from perturbax.jobs.cluster import NO_DASHBOARD, Open, configured
from perturbax.jobs.perform import NUMPYS_THREADS
from perturbax.plugins import import_optional

MEMORY = "4GB"  # of each job, where the user's configuration names none
ROLES = ("scheduler", "worker", "client")
PLACE = "jobqueue.slurm"  # in dask's configuration, such as ~/.config/dask/jobqueue.yaml


def slurm(workers: int, threads: int, numpys: int) -> Open:
    """Return what has Slurm start workers, and keeps as many of them.

    Partition, account, time limit and memory are those of dask-jobqueue's own configuration.

    Arguments:
        workers: how many Slurm jobs.
        threads: cores of each.
        numpys: threads of NumPy in each.
    """

    def connect(distributed: Any, closing: contextlib.ExitStack) -> tuple[Any, str]:
        closing.enter_context(configured({}))
        security = closing.enter_context(keys(distributed))
        cluster = slurm_cluster(threads, numpys, security)
        closing.callback(cluster.close)
        cluster.adapt(minimum_jobs=workers, maximum_jobs=workers)  # another one for each that ends
        client = distributed.Client(cluster, set_as_default=False)
        closing.callback(client.close)
        return client, "Slurm"

    return connect


def slurm_cluster(threads: int, numpys: int, security: Any) -> Any:
    """Return the cluster of dask-jobqueue, without workers; its scheduler and they talk through TLS.

    Arguments:
        threads: cores of each Slurm job.
        numpys: threads of NumPy in each.
        security: the keys, as dask has them.

    Raises ArgumentError for a configuration that dask-jobqueue refuses.
    """
    import dask

    jobqueue = import_optional("a run on a cluster", "dask_jobqueue", "dask-jobqueue")
    first = [f"export {name}={numpys}" for name in NUMPYS_THREADS]  # dask would have one
    try:
        return jobqueue.SLURMCluster(
            cores=1,  # one job of ours at a time ...
            processes=1,
            job_cpu=threads,  # ... which has these
            job_script_prologue=[*first, *dask.config.get(f"{PLACE}.job-script-prologue")],
            memory=dask.config.get(f"{PLACE}.memory") or MEMORY,
            security=security,
            scheduler_options={**NO_DASHBOARD, **dask.config.get(f"{PLACE}.scheduler-options")},
            silence_logs=logging.CRITICAL,
        )
    except (ValueError, TypeError, OSError) as error:
        raise ArgumentError(f"dask-jobqueue cannot use its configuration: {first_line(error)}") from error


@contextlib.contextmanager
def keys(distributed: Any) -> Iterator[Any]:
    """Yield keys for TLS, as dask has them, in files that are there as long and that the user alone can read.

    They lie below the folder that dask-jobqueue's configuration names as shared between machines, else below
    the user's own.

    Arguments:
        distributed: the module.
    """
    import dask

    import_optional("a run on a cluster", "dask_jobqueue", "dask-jobqueue")  # which brings the configuration
    made = distributed.Security.temporary().get_tls_config_for_role("worker")
    shared = os.path.expanduser(dask.config.get(f"{PLACE}.shared-temp-directory") or "~")
    with tempfile.TemporaryDirectory(prefix=".perturbax-", dir=shared) as folder:
        Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)  # also when Ctrl-C ends this process
        paths = {}
        for name in ("ca_file", "cert", "key"):
            paths[name] = os.path.join(folder, name)
            with open(paths[name], "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(made[name])
        of_role = {f"tls_{role}_{name}": paths[name] for role in ROLES for name in ("cert", "key")}
        yield distributed.Security(require_encryption=True, tls_ca_file=paths["ca_file"], **of_role)


def threads_of_jobs() -> int:
    """Return the cores that each Slurm job has where nobody has said how many: those of the configuration."""
    import dask

    import_optional("a run on a cluster", "dask_jobqueue", "dask-jobqueue")  # which brings the configuration
    return int(dask.config.get(f"{PLACE}.cores") or 1)
