"""Runs side by side: who gets what, a process that dies, errors, the same numbers as one after the other."""

import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest
from helpers import QUICK

import perturbax as px
from perturbax.cli import main
from perturbax.errors import ArgumentError
from perturbax.experiment import workers
from perturbax.experiment.precision import environment
from perturbax.experiment.resolve import resolve
from perturbax.experiment.watch import Watcher
from perturbax.experiment.workers import Piece, default_workers, portable, work_off

STAND_IN = """
import json, os, signal, sys
for line in sys.stdin:
    piece = json.loads(line)
    (seed, folder), *_ = piece["folders"]
    told = {"name": piece["name"], "seeds": [seed]}
    print("a line that is said once", file=sys.stderr, flush=True)
    steps = {"done": 1, "total": 2, "loss": 1.0, "valid_loss": 2.0}
    print(json.dumps({"event": "advanced", **told, **steps}), flush=True)
    if piece["name"] == "dies" and seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if piece["name"] == "fails":
        failed = {"event": "failed", "kind": "ArgumentError", "message": "sigma is too small"}
        print(json.dumps(failed), flush=True)
        continue
    print(json.dumps({"event": "ended", "name": piece["name"], "folder": folder}), flush=True)
    print(json.dumps({"event": "done"}), flush=True)
"""
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


@pytest.fixture
def stand_in(monkeypatch):
    """Processes that pretend: they start in no time and train nothing."""
    monkeypatch.setattr(workers, "COMMAND", [sys.executable, "-c", STAND_IN])
    monkeypatch.setattr(workers, "load", lambda folder: SimpleNamespace(folder=folder))


def pieces(root, **seeds):
    """Pieces of one seed each."""
    return [Piece(name, E, {s: root / f"{name}-s{s}"}, True) for name, n in seeds.items() for s in range(n)]


def test_all_pieces_are_done_once_whoever_does_them(stand_in, tmp_path, capsys):
    kept = Kept()
    assert not work_off(pieces(tmp_path, a=3, b=1), 2, kept)
    ended = sorted(words for words in kept.told if words.startswith("ended"))
    assert ended == [f"ended {run[0]} {tmp_path / run}" for run in ("a-s0", "a-s1", "a-s2", "b-s0")]
    assert kept.told.index("compiling a [0]") < kept.told.index("advanced a [0] 1/2 2.0")
    assert capsys.readouterr().err == "a line that is said once\n"


def test_a_process_that_dies_is_told_of_and_the_rest_goes_on(stand_in, tmp_path):
    kept = Kept()
    (lost,) = work_off(pieces(tmp_path, dies=3), 1, kept)
    assert lost.reason == "its process was killed, perhaps for want of memory"
    assert lost.piece.folders == {1: tmp_path / "dies-s1"}
    assert "lost dies [1]" in kept.told
    assert len([words for words in kept.told if words.startswith("ended")]) == 2


def test_an_error_ends_all_and_keeps_its_kind(stand_in, tmp_path):
    with pytest.raises(ArgumentError, match="sigma is too small"):
        work_off(pieces(tmp_path, fails=3), 2, Watcher())


def test_a_process_works_on_what_it_has_compiled_and_helps_the_others_afterwards(tmp_path):
    crew = workers._Crew(pieces(tmp_path, a=3, b=2), Watcher())
    names = [crew._next(""), crew._next("")]
    assert [piece.name for piece in names] == ["a", "b"]
    assert crew._next("b").name == "b"
    assert crew._next("b").name == "a"
    assert crew._next("a").name == "a"
    assert crew._next("a") is None


def test_how_many_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(workers, "_memory", lambda: 5e9)
    monkeypatch.setattr(workers.jax, "default_backend", lambda: "cpu")
    assert default_workers(pieces(tmp_path, a=2)) == 2
    assert default_workers(pieces(tmp_path, a=9)) == 3  # what memory there is
    assert default_workers([]) == 1
    monkeypatch.setattr(workers, "_memory", lambda: 1e9)
    assert default_workers(pieces(tmp_path, a=9)) == 1
    monkeypatch.setattr(workers, "_memory", lambda: 1e12)
    assert default_workers(pieces(tmp_path, a=9)) == 8
    monkeypatch.setattr(workers.jax, "default_backend", lambda: "gpu")
    assert default_workers(pieces(tmp_path, a=9)) == 1


def test_what_another_process_cannot_be_told_stays_here(tmp_path):
    (piece,) = pieces(tmp_path, a=1)
    assert portable([piece])
    assert json.loads(piece.to_json())["folders"] == [[0, str(tmp_path / "a-s0")]]
    here = dataclasses.replace(E, cell="__main__:Own")
    assert not portable([piece, piece._replace(name="b", experiment=here)])


def test_compare_has_the_same_numbers_side_by_side(tmp_path, capfd):
    """Seeds of one program, which stay together, and two variants; each in a process of its own."""
    argv = ["compare", *QUICK, "--rules", "node,frozen", "--seeds", "2"]
    for n in ("1", "2"):
        assert main([*argv, "--workers", n, "--out", str(tmp_path / n)]) == 0
        said = capfd.readouterr()
        assert not said.err
        assert said.out.count(" of 4: ") == 4
    for name in ("node-s0", "node-s1", "frozen-s0", "frozen-s1"):
        alone, beside = (px.load(tmp_path / n / name) for n in ("1", "2"))
        weights = [(tmp_path / n / name / "weights").read_bytes() for n in ("1", "2")]
        assert weights[0] == weights[1]
        assert alone.summary["test"] == beside.summary["test"]
        same = [[{**line, "seconds": 0} for line in run.metrics] for run in (alone, beside)]
        assert same[0] == same[1]


def test_processes_compute_as_finely_as_this_one():
    """As JAX is set here, in this process alone: numbers, and products of matrices."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        variables = environment()
    assert variables == {"JAX_ENABLE_X64": "1", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    show = "import jax; print(jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision)"
    shown = subprocess.run(
        [sys.executable, "-c", show],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["True", "highest"]
    assert "JAX_DEFAULT_MATMUL_PRECISION" not in environment()
