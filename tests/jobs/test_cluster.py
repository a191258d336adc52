"""Jobs on dask.distributed: workers of this machine, one that dies, a scheduler that is lost, Slurm's job."""

import os
import signal
import subprocess
import sys
import time

import pytest
from toy_jobs import Told, end_a_script, gone, toy, until

from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.jobs.choice import engine_for
from perturbax.jobs.job import run_jobs
from perturbax.jobs.perform import Surroundings, numpys_threads

distributed = pytest.importorskip("distributed", reason="no dask.distributed (extra: cluster)")
psutil = pytest.importorskip("psutil", reason="no psutil, which distributed brings")
pytest.importorskip("cryptography", reason="no cryptography (extra: cluster)")

from perturbax.jobs.cluster import Cluster, at, local  # noqa: E402


def test_a_worker_that_dies_has_its_job_done_again_and_no_other_is_blamed(tmp_path):
    """Two workers of this machine: all kinds of jobs at once."""
    kept = Told()
    jobs = [toy("kill_once", tmp_path / "once"), toy("kill", tmp_path / "ever")]
    jobs += [toy("write", tmp_path / "in vain", after=("ever",)), toy("break_down", tmp_path / "broken")]
    jobs += [toy("write", tmp_path / "a"), toy("write", tmp_path / "last", after=("a", "once"))]
    before = dict(os.environ)
    listening = set()

    def on_told(job, event, values):
        kept(job, event, values)
        if not listening:
            ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
            listening.update(
                c.laddr.ip for one in ours for c in one.net_connections() if c.status == "LISTEN"
            )

    lost = run_jobs(jobs, Cluster(local(2, numpys_threads()), Surroundings(3), alone=True), on_told)
    assert listening == {"127.0.0.1"}
    assert {one.job.name: one.reason for one in lost} == {
        "ever": "its worker died, perhaps for want of memory",
        "in vain": "it needs ever, which was lost",
        "broken": "ZeroDivisionError: nothing to divide by",
    }
    assert (tmp_path / "once").read_text() == "ended"
    process, threads = (tmp_path / "last").read_text().split()
    assert (process != str(os.getpid()), threads) == (True, "3")
    own = [event for job, event in kept.told if job == "last"]
    assert own == ["begun", "stepped", "printed", "done"]
    assert kept.values[kept.told.index(("last", "stepped"))]["folder"] == os.getcwd()
    assert gone(int(process))
    assert dict(os.environ) == before


def test_ctrl_c_ends_this_process_and_its_workers(tmp_path):
    engine = "Cluster(local(2, 1), surroundings, alone=True)"
    assert end_a_script(tmp_path, engine, signal.SIGINT) == 130


def started(log, *words):
    """A process of dask's command line, which writes into a file what it says."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", *words, "--host", "127.0.0.1", "--no-dashboard"]
    with open(log, "w") as file:
        return subprocess.Popen(command, stderr=file, stdout=file, env=environment)


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler of its own, its address, and what starts a worker of it with so many threads."""
    log = tmp_path / "scheduler.log"
    processes = [started(log, "distributed.cli.dask_scheduler", "--port", "0")]
    until(lambda: "Scheduler at:" in log.read_text())
    address = log.read_text().split("Scheduler at:")[1].split()[0]

    def work(threads):
        options = [address, "--no-nanny", "--nthreads", str(threads)]
        processes.append(started(tmp_path / "worker.log", "distributed.cli.dask_worker", *options))
        return processes[-1]

    yield processes[0], address, work
    for process in processes:
        process.kill()
        process.wait()


def test_a_scheduler_that_is_named_and_then_lost(tmp_path, scheduler, monkeypatch, capfd):
    process, address, work = scheduler
    kept, worker = Told(), work(1)

    def engine():
        return engine_for(address, 1, {}, threads=2)

    assert not run_jobs([toy("write", tmp_path / "a")], engine(), kept)
    assert (tmp_path / "a").read_text() == f"{worker.pid} 2"
    # Nobody waits for a job any more: it ends where it next tells something, and the worker is free.
    with pytest.raises(RuntimeError, match="enough"):
        run_jobs([toy("wait", tmp_path / "waiting")], engine(), stop_at_first_step)
    assert not run_jobs([toy("write", tmp_path / "b")], engine(), kept)
    assert (tmp_path / "waiting").read_text() == str(worker.pid)

    def kill(job, event, values):
        if event == "stepped":
            process.send_signal(signal.SIGKILL)

    began = time.monotonic()
    monkeypatch.setattr("perturbax.jobs.cluster.PATIENCE", "1s")
    with pytest.raises(PerturbaxError, match=r"scheduler at tcp://.* is lost; what is done is kept"):
        run_jobs([toy("wait", tmp_path / "lost")], engine(), kill)
    assert time.monotonic() - began < 30
    with pytest.raises(ArgumentError, match=rf"no scheduler of dask answers at {address}"):
        run_jobs([toy("write", tmp_path / "c")], Cluster(at(address), Surroundings(1)), kept)
    until(lambda: worker.poll() is not None)  # workers end with their scheduler
    assert capfd.readouterr().err.strip() in ("", f"waiting for a worker of the scheduler at {address}")


def stop_at_first_step(job, event, values):
    if event == "stepped":
        raise RuntimeError("enough")


def test_a_worker_does_one_job_at_a_time(tmp_path, scheduler):
    _, address, work = scheduler
    work(2)
    with pytest.raises(ArgumentError, match=r"does 2 jobs at once: start it with --nthreads 1"):
        run_jobs([toy("write", tmp_path / "a")], engine_for(address, 1, {}), Told())


def test_a_worker_whose_numpy_has_other_threads_is_refused(tmp_path, scheduler):
    """dask starts workers with one thread of NumPy; runs would start from weights with other last digits."""
    _, address, work = scheduler
    work(1)
    surroundings = Surroundings(2, numpys=numpys_threads() + 1)
    match = rf"start workers with OPENBLAS_NUM_THREADS={numpys_threads() + 1} \(dask sets 1\)"
    with pytest.raises(ArgumentError, match=match):
        run_jobs([toy("write", tmp_path / "a")], Cluster(at(address), surroundings), Told())


def test_what_slurm_is_asked_for(tmp_path, monkeypatch):
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask_jobqueue", reason="no dask-jobqueue (extra: cluster)")
    from perturbax.jobs.slurm import keys, slurm_cluster, threads_of_jobs

    settings = {"queue": "short", "walltime": "02:00:00", "cores": 6, "shared-temp-directory": str(tmp_path)}
    settings["scheduler-options"] = {"host": "127.0.0.1"}
    with dask.config.set({f"jobqueue.slurm.{name}": value for name, value in settings.items()}):
        assert threads_of_jobs() == 6
        with keys(distributed) as security, slurm_cluster(6, 5, security) as cluster:
            script = cluster.job_script()
            modes = {file.stat().st_mode & 0o777 for file in tmp_path.rglob("*")}
            with distributed.Client(cluster) as client:  # with the same keys
                assert client.scheduler_info()["workers"] == {}
    for line in ("-p short", "-n 1", "--cpus-per-task=6", "--mem=4G", "-t 02:00:00"):
        assert f"#SBATCH {line}\n" in script
    assert "export OMP_NUM_THREADS=5\n" in script
    (command,) = (line for line in script.splitlines() if "distributed.cli.dask_worker" in line)
    assert command.startswith(sys.executable)
    for words in ("tls://127.0.0.1:", "--nthreads 1 ", "--tls-key "):
        assert words in command
    assert modes == {0o700, 0o600}
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings(
    "ignore:unclosed cluster:ResourceWarning"
)  # dask-jobqueue leaves it when it fails
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_configuration_of_slurm_that_cannot_be_used():
    dask = pytest.importorskip("dask")
    slurm = pytest.importorskip("perturbax.jobs.slurm")
    pytest.importorskip("dask_jobqueue", reason="no dask-jobqueue (extra: cluster)")
    with (
        dask.config.set({"jobqueue.slurm.memory": "much"}),
        pytest.raises(ArgumentError, match="dask-jobqueue cannot use its configuration"),
    ):
        slurm.slurm_cluster(1, 1, None)
