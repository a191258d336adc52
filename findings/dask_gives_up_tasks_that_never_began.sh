#!/usr/bin/env bash
# When a worker of dask.distributed 2026.8.0 dies, the scheduler counts that against every task that is assigned to the
# worker, also against those that only wait there. Beyond distributed.scheduler.allowed-failures (3) each of them ends
# with KilledWorker, "Attempted to run task ... on 4 different workers, but all those workers died while running it",
# though it never began and there is nothing wrong with it. So a task that runs out of memory takes others with it.
#
# Seen with Python 3.11, one task that ends its process and two that write a file, on a cluster of one worker:
# "errors after how many beginnings: KilledWorker after 4, NoneType after 1, KilledWorker after 0" (one of the two may
# be done in the moment in which a new worker has it alone).
# Hand out no more tasks at a time than there are workers, and count by yourself how often one has begun.
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check distributed==2026.8.0
cat > "$folder/seen.py" <<'PYTHON'
import os
import sys
from pathlib import Path

from distributed import Client, LocalCluster

FOLDER = Path(sys.argv[1])


def end_process(path):
    """What the kernel does to a process that takes too much memory."""
    with open(path, "a") as file:
        file.write("begun\n")
    os.kill(os.getpid(), 9)


def write(path):
    """A task that nothing is wrong with."""
    with open(path, "a") as file:
        file.write("begun\n")


def begun(path):
    """How often a task has begun."""
    return path.read_text().count("begun") if path.exists() else 0


if __name__ == "__main__":
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with LocalCluster(host="127.0.0.1", **options) as cluster, Client(cluster) as client:
        first = client.submit(end_process, str(FOLDER / "first"), priority=1)
        others = [client.submit(write, str(FOLDER / name)) for name in ("second", "third")]
        errors = [type(future.exception(timeout=120)).__name__ for future in (first, *others)]
    counts = [begun(FOLDER / name) for name in ("first", "second", "third")]
    seen = ", ".join(f"{error} after {count}" for error, count in zip(errors, counts, strict=True))
    print(f"errors after how many beginnings: {seen}")
    innocent = any(pair == ("KilledWorker", 0) for pair in zip(errors[1:], counts[1:], strict=True))
    sys.exit(not (errors[0] == "KilledWorker" and counts[0] == 4 and innocent))
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" "$folder"
