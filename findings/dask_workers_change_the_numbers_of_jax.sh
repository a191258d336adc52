#!/usr/bin/env bash
# A worker of dask.distributed 2026.8.0 that has a nanny, as LocalCluster and `dask worker` start them, finds
# OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1 in its environment, and has loaded NumPy before the first task. JAX takes
# its decompositions on a CPU from SciPy's LAPACK, whose threads these variables set: a QR decomposition, by which
# networks are drawn orthogonal, has other last digits there than in the process that submits the task, though both
# are the same program on the same machine. JAX's own threads (NPROC) have nothing to do with it.
#
# Seen with Python 3.11 on two cores: "here: None, in a worker: 1; NumPy loaded before the task: True; the same QR: False,
# with the variables of this process: True".
# Set the variables for the nanny (distributed.nanny.pre-spawn-environ) to what the submitting process has.
# Needs two cores. Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    distributed==2026.8.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import hashlib
import os
import sys

import dask
from distributed import Client, LocalCluster

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def orthogonal():
    """What a process finds before it imports JAX, and a digest of an orthogonal matrix that JAX draws."""
    loaded, threads = "numpy" in sys.modules, os.environ.get("OMP_NUM_THREADS")
    import jax

    matrix = jax.random.orthogonal(jax.random.key(0), 600)
    return loaded, threads, hashlib.sha256(matrix.tobytes()).hexdigest()


def on_a_worker(settings):
    """The same in a worker."""
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    with dask.config.set(settings), LocalCluster(**options) as cluster, Client(cluster) as client:
        return client.submit(orthogonal).result()


if __name__ == "__main__":
    before = dict(os.environ)
    loaded, threads, theirs = on_a_worker({})
    os.environ.clear()
    os.environ.update(before)  # dask sets them in this process, too
    place = "distributed.nanny.pre-spawn-environ"
    _, _, unset = on_a_worker({f"{place}.{name}": None for name in NAMES})
    _, here, ours = orthogonal()
    print(
        f"here: {here}, in a worker: {threads}; NumPy loaded before the task: {loaded}; "
        f"the same QR: {theirs == ours}, with the variables of this process: {unset == ours}"
    )
    sys.exit(not (here is None and threads == "1" and loaded and theirs != ours and unset == ours))
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/seen.py"
