"""Runs and NIR files from the command line: export, import, and training what was imported."""

import numpy as np
import pytest
from helpers import error_of

import perturbax as px
from perturbax.cli import main
from perturbax.experiment.result import read_experiment

nir = pytest.importorskip("nir", reason="an optional package: pip install nir")

PROBE = ["run", "--task", "probe-lag1", "--steps", "4", "--batch", "4", "--logs", "2"]


def graph_of_another():
    """A recurrent LIF and an LI, as another package might write them: no cell of ours among them."""
    rng, six = np.random.default_rng(0), np.ones(6)
    lif = nir.LIF(tau=4e-4 * six, r=3 * six, v_leak=0 * six, v_threshold=0.5 * six, v_reset=0 * six)
    nodes = {
        "input": nir.Input([1]),
        "below": nir.Linear(rng.normal(size=(6, 1)).astype("f")),
        "lif": lif,
        "own": nir.Linear(rng.normal(size=(6, 6)).astype("f")),
        "above": nir.Linear(rng.normal(size=(1, 6)).astype("f")),
        "li": nir.LI(tau=np.full(1, 3e-4), r=np.ones(1), v_leak=np.zeros(1)),
        "output": nir.Output([1]),
    }
    names = ["input", "below", "lif", "above", "li", "output"]
    return nir.NIRGraph(nodes, [*zip(names[:-1], names[1:], strict=True), ("lif", "own"), ("own", "lif")])  # noqa: RUF007


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of another package, and a run that trained it; then the file is gone."""
    folder = tmp_path_factory.mktemp("runs")
    nir.write(str(folder / "net.nir"), graph_of_another())
    words = ["--cell", "nir", "--cell.file", str(folder / "net.nir"), "--cell.dampening", "0.5"]
    assert main([*PROBE, *words, "--out", str(folder / "a")]) == 0
    (folder / "net.nir").rename(folder / "moved.nir")
    return folder


def test_the_run_keeps_the_file_and_starts_from_its_weights(folder):
    result = px.load(folder / "a")
    start = px.from_nir(folder / "moved.nir", dampening=0.5)
    assert result.experiment.units == (6,)
    assert result.net.layers[0].neurons.dampening == 0.5
    trained, before = result.net.layers[0].below.W, start.layers[0].below.W
    assert trained.shape == before.shape
    assert 0 < np.abs(trained - before).max() < 0.05
    np.testing.assert_array_equal(
        result.net.layers[0].neurons.decay.value, start.layers[0].neurons.decay.value
    )
    assert (folder / "a" / "network.nir").read_bytes() == (folder / "moved.nir").read_bytes()


def test_the_reservoir_has_a_solved_readout_in_place_of_the_last_layer(folder):
    """The network as it was has a loss far above the one of zeros; with a solved readout it has not."""
    baselines = px.load(folder / "a").summary["baselines"]
    assert baselines["reservoir"]["loss"] < 0.9 * baselines["zero"]["loss"]


def test_a_run_goes_on_and_its_config_starts_another_without_the_file(folder):
    (folder / "a" / "result.json").rename(folder / "result.json")
    assert main(["run", "--resume", str(folder / "a")]) == 0
    assert px.load(folder / "a").summary["test"]
    assert main(["run", "--config", str(folder / "a" / "config.json"), "--dry-run"]) == 0
    kept = read_experiment(folder / "a").cell_options["file"]
    assert kept == str(folder / "a" / "network.nir")


def test_what_was_trained_goes_out_again(folder, capsys):
    assert main(["export", str(folder / "a"), "--nir", str(folder / "out.nir")]) == 0
    assert "dt 0.0001 s, reset zero" in capsys.readouterr().out
    net, read = px.load(folder / "a").net, px.from_nir(folder / "out.nir")
    np.testing.assert_array_equal(read.layers[1].below.W, net.layers[1].below.W)
    assert main(["import", str(folder / "out.nir"), "--dt", "2e-4"]) == 0
    said = capsys.readouterr().out
    assert "1 inputs, 1 outputs" in said
    assert "LIF, decay 0.5, gain 1.5, threshold 0.5; dense, feedback dense, 1 -> 6" in said
    assert f"--cell nir --cell.file {folder / 'out.nir'} --cell.dt 2e-4 --task TASK" in said


def test_one_line_for_what_cannot_be(folder, capsys):
    file = ["--cell", "nir", "--cell.file", folder / "moved.nir"]
    for words, told in (
        ([*PROBE, "--cell", "nir"], "cell nir needs the file: --cell.file FILE.nir"),
        ([*PROBE, *file, "--units", "9"], "cell nir brings layers of 6 units: leave --units out"),
        ([*PROBE, *file, "--cell.written_by", "nest"], "unknown written_by 'nest'"),
        ([*PROBE, *file, "--task", "copy"], "has 1 inputs and 1 outputs; the task has 10 and 10"),
        ([*PROBE, *file[:3], folder / "gone.nir"], "no such file"),
    ):
        status, line = error_of(capsys, [*words, "--out", folder / "b"])
        assert status == 2, line
        assert told in line
        assert not (folder / "b").exists()
    status, line = error_of(capsys, ["export", folder / "a"])
    assert (status, "--nir FILE is needed" in line) == (2, True)
    status, line = error_of(capsys, ["export", folder / "a", "--nir", folder / "moved.nir"])
    assert (status, "exists already" in line) == (2, True)
    status, line = error_of(capsys, ["import", folder / "a" / "config.json"])
    assert (status, "cannot be read as a graph of NIR" in line) == (1, True)
