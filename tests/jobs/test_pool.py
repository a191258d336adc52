"""Processes of this machine that do jobs: who gets what, one that dies, errors, Ctrl-C, the end of all."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from toy_jobs import Told, end_a_script, gone, toy, write

from perturbax.errors import ArgumentError
from perturbax.jobs.job import run_here, run_jobs
from perturbax.jobs.perform import Surroundings, own_threads
from perturbax.jobs.pool import Pool
from perturbax.jobs.slots import Slot, choose


def pool(workers, threads=1):
    return Pool(workers, Surroundings(threads))


def test_all_jobs_are_done_once_and_told_of_in_order(tmp_path):
    kept = Told()
    last = toy("write", tmp_path / "last", after=("a", "b"))
    jobs = [last, *(toy("write", tmp_path / name, group=name) for name in "ab")]
    assert not run_jobs(jobs, pool(2, threads=3), kept)
    processes, threads = zip(*((tmp_path / name).read_text().split() for name in "ab"), strict=True)
    assert threads == ("3", "3")
    assert str(os.getpid()) not in processes
    for name in ("a", "b", "last"):
        own = [event for job, event in kept.told if job == name]
        assert own == ["begun", "stepped", "printed", "done"]
    assert kept.told[-3:] == [("last", "stepped"), ("last", "printed"), ("last", "done")]
    assert kept.values[-3]["folder"] == os.getcwd()
    here = Told()
    run_here(jobs, here, {job.name: partial(write, job.settings) for job in jobs})
    assert here.told[-3:] == [("last", "begun"), ("last", "stepped"), ("last", "done")]
    assert (tmp_path / "last").read_text().split()[0] == str(os.getpid())


def test_a_process_that_dies_has_its_job_done_again_three_times_at_most(tmp_path):
    kept = Told()
    jobs = [toy("kill_once", tmp_path / "once"), toy("kill", tmp_path / "ever")]
    jobs += [toy("write", tmp_path / "in vain", after=("ever",)), toy("break_down", tmp_path / "broken")]
    lost = {one.job.name: one.reason for one in run_jobs(jobs, pool(2), kept)}
    assert lost == {
        "ever": "its process was killed, perhaps for want of memory",
        "in vain": "it needs ever, which was lost",
        "broken": "ZeroDivisionError: nothing to divide by",
    }
    assert (tmp_path / "once").read_text() == "ended"
    assert (tmp_path / "ever").read_text() == "begun\n" * 3
    assert [event for job, event in kept.told if job == "once"] == ["begun", "stepped", "begun", "done"]
    assert sum(event == "lost" for _, event in kept.told) == 3


def test_an_error_ends_all_and_keeps_its_kind(tmp_path):
    with pytest.raises(ArgumentError, match="sigma is too small"):
        run_jobs([toy("wait", tmp_path / "pid"), toy("fail", tmp_path / "x")], pool(2), Told())
    path = tmp_path / "pid"
    assert not path.exists() or gone(int(path.read_text()))


def test_a_process_keeps_to_a_group_and_helps_the_others_afterwards():
    first, second = slots = [Slot(), Slot()]
    waiting = [toy("write", Path(name), group=name[0]) for name in ("a1", "a2", "a3", "b1", "b2")]
    given = []
    for ended in (first, second, second, second, first):
        ended.job = None
        slot, job = choose(waiting, slots)
        slot.job, slot.group = job, job.group
        given.append(job.name)
        waiting.remove(job)
    assert given == ["a1", "b1", "b2", "a2", "a3"]
    assert choose([toy("write", Path("c"))], slots) is None


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_process_is_left_when_this_one_ends(tmp_path, number, status):
    assert end_a_script(tmp_path, "Pool(2, surroundings)", number) == status


def test_threads_of_this_process(monkeypatch):
    monkeypatch.setenv("NPROC", "5")
    assert own_threads() == 5
    monkeypatch.setenv("NPROC", "many")
    assert own_threads() >= 1
