"""Workers of dask that keep something and answer: one is killed, and another one takes its place."""

import contextlib
import os
import signal

import pytest
from toy_jobs import until

from perturbax.jobs.hosts import NOT_OPEN, workers_at
from perturbax.jobs.job import Job

pytest.importorskip("distributed", reason="no dask.distributed (extra: cluster)")
pytest.importorskip("cryptography", reason="no cryptography (extra: cluster)")

JOB = Job("here", "toy_jobs:open_here", {"name": "here", "word": "ready"})


def asked(hosts, *names, question=b"?", opening=False):
    """What hosts answer, by their names."""
    for name in names:
        hosts.ask(name, question, opening)
    heard = [hosts.heard(60.0) for _ in names]
    return {one.host: one.answer if one.answer is not None else one.error for one in heard}


def test_a_host_that_is_killed_is_gone_and_another_one_comes_which_knows_nothing():
    with contextlib.closing(workers_at("local:2", {}, JOB, "toy_jobs:say")) as hosts:
        first, second = names = sorted(hosts.there())
        assert asked(hosts, first) == {first: NOT_OPEN}
        said = asked(hosts, *names, opening=True)
        processes = {name: int(answer.split()[1]) for name, answer in said.items()}
        assert len({*processes.values(), os.getpid()}) == 3
        assert asked(hosts, second, question=b"who") == {second: f"ready {processes[second]} who".encode()}
        assert asked(hosts, second, question=b"fail") == {second: "nobody knows"}

        os.kill(processes[first], signal.SIGKILL)
        until(lambda: first not in hosts.there())
        until(lambda: len(hosts.there()) == 2)
        (new,) = hosts.there() - {second}
        assert asked(hosts, new) == {new: NOT_OPEN}
        assert int(asked(hosts, new, opening=True)[new].split()[1]) not in processes.values()
        assert hosts.heard(0.0) is None
