"""Runs side by side: who gets what, a process that dies, errors, the same numbers as one after the other."""

import dataclasses
from types import SimpleNamespace

import jax
import pytest
from helpers import QUICK

import perturbax as px
from perturbax.cli import main
from perturbax.errors import ArgumentError
from perturbax.experiment import pieces as module
from perturbax.experiment import telling
from perturbax.experiment.pieces import Piece, default_workers, portable, work_off
from perturbax.experiment.precision import computing
from perturbax.experiment.resolve import resolve
from perturbax.experiment.watch import Watcher
from perturbax.jobs.job import Engine, Heard

E = resolve(px.Experiment(task="probe-lag1", rule="node", units=(4,)))


class Kept(Watcher):
    """What a watcher was told, as words."""

    def __init__(self):
        self.told = []

    def compiling(self, name, seeds):
        self.told.append(f"compiling {name} {seeds}")

    def advanced(self, name, seeds, done, total, loss, valid_loss):
        self.told.append(f"advanced {name} {seeds} {done}/{total} {valid_loss}")

    def ended(self, name, result):
        self.told.append(f"ended {name} {result.folder}")

    def lost(self, name, seeds):
        self.told.append(f"lost {name} {seeds}")


class StandIn(Engine):
    """An engine that trains nothing: of each job it says what the test wants."""

    def __init__(self, *said):
        self.said = said

    def start(self, heard):
        self.heard = heard

    def give(self, ready):
        for event, values in self.said:
            self.heard.put(Heard(ready[0].name, event, dict(values)))
        return ready[0]

    def stop(self):
        pass


def told(event, **values):
    return "told", {"event": event, **values}


def pieces(root, **seeds):
    """Pieces of one seed each."""
    return [Piece(name, E, {s: root / f"{name}-s{s}"}) for name, n in seeds.items() for s in range(n)]


def test_a_watcher_is_told_what_happens_elsewhere(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(telling, "load", lambda folder: SimpleNamespace(folder=folder))
    kept, (piece,) = Kept(), pieces(tmp_path, a=1)
    steps = {"name": "a", "seeds": [0], "done": 1, "total": 2, "loss": 1.0, "valid_loss": 2.0}
    line = told("printed", line="a line that is said once")
    folder = str(tmp_path / "a-s0")
    engine = StandIn(told("begun"), told("advanced", **steps), line, line, ("done", {}))
    assert not work_off([piece], engine, kept)
    assert kept.told == ["compiling a [0]", "advanced a [0] 1/2 2.0", f"ended a {folder}"]
    assert capsys.readouterr().err == "a line that is said once\n"
    # The result is told of once; a piece that goes on tells of itself.
    kept.told.clear()
    (tmp_path / "a-s0").mkdir()
    (tmp_path / "a-s0" / "config.json").write_text("{}")
    work_off([piece], StandIn(told("begun"), told("ended", name="a", folder=folder), ("done", {})), kept)
    assert kept.told == [f"ended a {folder}"]


def test_what_was_lost_is_told_of(tmp_path):
    kept = Kept()
    died = ("broke", {"message": "its process was killed"})
    ((job, reason),) = work_off(pieces(tmp_path, dies=1), StandIn(died), kept)
    assert (job.name, reason) == (str(tmp_path / "dies-s0"), "its process was killed")
    assert kept.told == ["lost dies [0]"]


def test_how_many_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(module, "_memory", lambda: 5e9)
    monkeypatch.setattr(module.jax, "default_backend", lambda: "cpu")
    assert default_workers(pieces(tmp_path, a=2)) == 2
    assert default_workers(pieces(tmp_path, a=9)) == 3  # what memory there is
    assert default_workers([]) == 1
    monkeypatch.setattr(module, "_memory", lambda: 1e9)
    assert default_workers(pieces(tmp_path, a=9)) == 1
    monkeypatch.setattr(module, "_memory", lambda: 1e12)
    assert default_workers(pieces(tmp_path, a=9)) == 8
    monkeypatch.setattr(module.jax, "default_backend", lambda: "gpu")
    assert default_workers(pieces(tmp_path, a=9)) == 1


def test_what_another_process_cannot_be_told_stays_here(tmp_path):
    (piece,) = pieces(tmp_path, a=1)
    assert portable([piece])
    assert piece.job().settings["folders"] == [[0, str(tmp_path / "a-s0")]]
    here = dataclasses.replace(E, cell="__main__:Own")
    assert not portable([piece, piece._replace(name="b", experiment=here)])


def test_a_device_at_a_socket_is_for_one_process(tmp_path):
    for device in ("unix:/run/chip", "tcp:5000", object()):
        on_it = Piece("a", dataclasses.replace(E, device=device), {0: tmp_path, 1: tmp_path})
        assert not portable([on_it])
        assert default_workers([on_it]) == 1
        with pytest.raises(ArgumentError, match="cannot be handed to another process: workers must be 1"):
            module.workers_for([on_it], 2)


def test_compare_has_the_same_numbers_side_by_side(tmp_path, capfd):
    """Seeds of one program, which stay together, and two variants; each in a process of its own. Workers of
    dask are sent the same jobs (tests/jobs).
    """
    argv = ["compare", *QUICK, "--rules", "node,frozen", "--seeds", "2"]
    ways = {"alone": ["1"], "beside": ["2", "--cluster", "pool"]}
    for way, words in ways.items():
        assert main([*argv, "--workers", *words, "--out", str(tmp_path / way)]) == 0
        said = capfd.readouterr()
        assert not said.err
        assert said.out.count(" of 4: ") == 4
    for name in ("node-s0", "node-s1", "frozen-s0", "frozen-s1"):
        alone = px.load(tmp_path / "alone" / name)
        for way in ways:
            beside = px.load(tmp_path / way / name)
            weights = [(tmp_path / n / name / "weights").read_bytes() for n in ("alone", way)]
            assert weights[0] == weights[1]
            assert alone.summary["test"] == beside.summary["test"]
            same = [[{**line, "seconds": 0} for line in run.metrics] for run in (alone, beside)]
            assert same[0] == same[1]


def test_processes_compute_as_finely_as_this_one():
    """As JAX is set here, in this process alone: numbers, and products of matrices."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        settings = computing()
    assert settings == {"jax_enable_x64": True, "jax_default_matmul_precision": "highest"}
    for name in settings:
        jax.config.update(name, getattr(jax.config, name))  # these names are known, and None is a value
    assert computing()["jax_default_matmul_precision"] is None
