"""Other people's benchmarks: what they say of themselves, and one run of a tiny one from end to end."""

import dataclasses
import json
import math

import pytest
from helpers import error_of, everything

import perturbax as px
from perturbax import bench
from perturbax.bench.base import Benchmark, Measure, Published
from perturbax.bench.running import Row, _added, alike, with_settings
from perturbax.cli import main
from perturbax.experiment.options import provisional
from perturbax.experiment.resolve import resolve
from perturbax.experiment.variants import of_variant, parse_variant
from perturbax.papers import CITATIONS

LOSS = Measure("loss")
TOY = Benchmark(
    name="toy",
    summary="a tiny one",
    papers=("fiete2006",),
    needs="",
    split="fresh sequences",
    metric="mean squared error",
    experiment=px.Experiment(task="probe-now", units=4, batch=4, passes=4, logs=4),
    judge=lambda result, task: {"loss": result.summary["test"]["loss"]},
    measures=(LOSS,),
    published=(Published("somebody", {"loss": 0.25}, "fiete2006", "by hand"),),
    parts={"one": {}, "two": {}},  # the same program
    settings={"frozen": "lr=3e-3"},
)


@pytest.mark.parametrize("name", bench.BENCHMARKS)
def test_a_benchmark_says_all_there_is_to_say(name):
    """Sources exist, published rows have numbers of measures that there are, and every rule can be run."""
    one = bench.BENCHMARKS[name]
    assert one.name == name
    assert all((one.summary, one.split, one.metric, one.measures, one.papers))
    assert set(one.papers) | {row.source for row in one.published} <= set(CITATIONS)
    known = {measure.name for measure in one.measures}
    for row in one.published:
        assert row.values, row
        assert set(row.values) <= known, row
        assert all(math.isfinite(value) and value >= 0 for value in row.values.values()), row
    assert (one.experiment.passes is None) != (one.experiment.steps is None)  # one budget for all rules
    for settings in one.parts.values():
        e = dataclasses.replace(one.experiment, task_options={**one.experiment.task_options, **settings})
        for rule in one.rules:
            run = of_variant(e, with_settings(one, rule), {})
            assert run.steps > 0
            px.RULES[run.rule](
                **provisional(px.RULES[run.rule], run.rule_options)
            )  # settings that it can have
        resolve(e)
    for rule, added in one.settings.items():
        parse_variant(f"{rule}:{added}")


def test_what_is_typed_takes_the_place_of_what_the_benchmark_adds():
    assert with_settings(TOY, "frozen").fields["lr"] == 3e-3
    assert with_settings(TOY, "frozen:lr=1e-2").fields["lr"] == 1e-2
    assert (_added(TOY, "frozen"), _added(TOY, "frozen:lr=1e-2"), _added(TOY, "node")) == ("lr=3e-3", "", "")


def test_a_benchmark_from_end_to_end(monkeypatch, capsys, tmp_path):
    """Runs, the mean over parts for each seed, files, and nothing done twice."""
    monkeypatch.setitem(bench.BENCHMARKS, "toy", TOY)
    words = ["bench", "toy", "--rules", "frozen,frozen:steps=2", "--seeds", "2", "--workers", "1"]
    words += ["--out", str(tmp_path / "toy")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "toy" / "bench.json").read_text())
    frozen, short = found["rows"]
    for row, name in ((frozen, "frozen"), (short, "frozen-steps=2")):
        for seed in (0, 1):
            folders = [tmp_path / "toy" / part / f"{name}-s{seed}" for part in TOY.parts]
            losses = [px.load(folder).summary["test"]["loss"] for folder in folders]
            assert row["values"]["loss"][seed] == sum(losses) / 2
    assert px.load(tmp_path / "toy" / "two" / "frozen-s0").experiment.lr == 3e-3
    assert (frozen["passes"], frozen["derivatives"], frozen["own_budget"]) == (2 * 4, False, False)
    assert (short["passes"], short["own_budget"]) == (2 * 2, True)
    assert "| somebody | 0.25 |" in shown
    assert "so not comparable: frozen:steps=2" in " ".join(shown.split())
    page = (tmp_path / "toy" / "bench.md").read_text()
    assert "4 forward passes over batches of 4" in page
    assert CITATIONS["fiete2006"] in page
    before = everything(tmp_path / "toy")
    assert main(words) == 0
    assert "8 of 8 runs were finished before and are kept" in capsys.readouterr().out
    assert everything(tmp_path / "toy") == before
    status, line = error_of(capsys, [*words, "--steps", "1"])
    assert (status, "holds another run" in line) == (2, True)
    words[3], words[-1] = "frozen", str(tmp_path / "short")
    assert main([*words, "--steps", "2", "--parts", "two"]) == 0
    assert not (tmp_path / "short" / "one").exists()
    assert "not comparable with published" in " ".join(capsys.readouterr().out.split())
    assert not json.loads((tmp_path / "short" / "bench.json").read_text())["comparable"]


def test_benchmarks_are_listed_described_and_refused(capsys):
    assert main(["bench"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(bench.BENCHMARKS)
    assert main(["bench", "mnist-1d"]) == 0
    said = capsys.readouterr().out
    assert "| GRU (BPTT) | 91 |" in said
    assert CITATIONS["greydanus2024"] in said
    for words, part in (
        (["mnist1d"], "did you mean 'mnist-1d'?"),
        (["mnist-1d", "--rules", "node"], "--out FOLDER"),
        (["mnist-1d", "--out", "nowhere"], "needs --data FILE: MNIST-1D as an NPZ file"),
    ):
        status, line = error_of(capsys, ["bench", *words])
        assert (status, part in line) == (2, True), line


def row(*values):
    return Row("a", "", {"loss": list(values)}, 1, 1, "", False, False)


def test_a_benchmark_that_tells_nothing_is_flagged():
    assert alike([row(1.0, 2.0), row(1.5, 2.5)], LOSS)  # half a unit apart, errors of half a unit each
    assert not alike([row(1.0, 1.1), row(1.5, 1.6)], LOSS)
    assert alike([row(1.0), row(1.0)], LOSS)
    assert not alike([row(1.0), row(1.1)], LOSS)
    assert not alike([row(1.0, 2.0)], LOSS)
    assert not alike([row(1.0, 2.0), row(1.5, math.nan)], LOSS)
