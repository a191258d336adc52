"""Studies: who works on what, what is kept and repeated, what the ledger says of given numbers, and bad
input.
"""

import dataclasses
import json
import math
import os
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from perturbax.atomic import alone_in
from perturbax.cli import main
from perturbax.cli import reproduce as command
from perturbax.errors import ArgumentError
from perturbax.experiment.config import Experiment
from perturbax.study import paper, work
from perturbax.study.gallery import convergence
from perturbax.study.jobs import Job, Measure, Study, searched
from perturbax.study.ledger import FAILS, HOLDS, OPEN, PARTLY, WIDE, ledger
from perturbax.study.page import write_page
from perturbax.study.results import Results, generalisation_gap, halfway_loss, lowest_by, spent_until


@dataclasses.dataclass(frozen=True)
class Note(Job):
    """Writes a line to a file of its own."""

    after: "Note | None" = None
    fails: bool = False

    def path(self, root):
        return root / f"{self.label}.txt"

    def done(self, root):
        return self.path(root).exists()

    @property
    def needs(self):
        return () if self.after is None else (self.after,)

    def run(self, root, report):
        if self.fails:
            raise KeyboardInterrupt
        report(1, 1, 0.0)
        with open(root / "log", "a") as file:
            file.write(self.label + "\n")
        self.path(root).write_text("done")

    def plan(self):
        return {"note": self.label}


def quiet(*_):
    pass


def test_finished_jobs_are_neither_lost_nor_repeated(tmp_path):
    root = tmp_path / "study"
    first = Note("g", "a")
    second = Note("g", "b", after=first)
    stopped = Study("s", "do s", (second, first, Note("g", "c", fails=True)))
    with pytest.raises(KeyboardInterrupt):
        work.complete_study(stopped, root, quiet)
    again = Study("s", "do s", (second, first, Note("g", "c")))
    assert not work.complete_study(again, root, quiet)
    work.complete_study(again, root, quiet)
    assert (root / "log").read_text().split() == ["a", "b", "c"]  # b waited for a


def noted():
    """The study that other processes make anew by the name of this function."""
    first = Note("g", "first")
    jobs = [Note("g", f"j{i}", after=first) for i in range(3)]
    return Study("s", "do s", (*jobs, first), source=("test_study:noted", ()))


def test_processes_share_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    monkeypatch.setattr("perturbax.study.paper.paper", lambda *_: noted())
    monkeypatch.setattr("perturbax.study.page.write_page", lambda out: out)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    root = tmp_path / "s"
    argv = ["reproduce", "paper", "--out", str(root), "--workers", "2", "--cluster", "pool"]
    assert main(argv) == 0
    first, *others = (root / "log").read_text().split()
    assert (first, sorted(others)) == ("first", ["j0", "j1", "j2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == [f"[{i}/4] g" for i in range(1, 5)]
    assert main(argv) == 0
    assert len((root / "log").read_text().split()) == 4  # nothing was done again


def test_one_command_works_in_a_folder(tmp_path):
    with (
        alone_in(tmp_path),
        pytest.raises(ArgumentError, match="another command works in"),
        alone_in(tmp_path),
    ):
        pass
    with alone_in(tmp_path):
        assert not list(tmp_path.iterdir())


def test_a_folder_holds_one_study(tmp_path):
    work.prepare(Study("s", "do s", (Note("g", "a"),)), tmp_path / "s")
    work.prepare(Study("s", "do s", (Note("g", "a"),)), tmp_path / "s")
    with pytest.raises(ArgumentError, match="holds another study"):
        work.prepare(Study("s", "do s", (Note("g", "b"),)), tmp_path / "s")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="not an empty folder"):
        work.prepare(Study("s", "do s", ()), tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


LABELS = ("published-activity+decor", "bptt")


def measured(n):
    return {"twice": {"n": 2.0 * n}}


def small():
    e = Experiment(
        task="copy",
        task_options={"length": 2, "delay": 1},
        units=(4,),
        batch=2,
        steps=10,
        logs=2,
        mode="sequence",
        optimiser="adam",
        decorrelate="off",
    )
    jobs = searched("fair/copy", e, LABELS, (42, 101), (1e-3, 1e-2), (1e-4, 1e-2))
    return Study(
        "small",
        "perturbax reproduce small",
        (*jobs, Measure("findings", "1-twice", measured, {"n": 3})),
        ("weather is left out",),
        ("test_study:small", ()),
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies") / "one"
    work.complete_study(small(), root, quiet)
    return root, write_page(root).read_text()


def numbers(root):
    found = {}
    for path in sorted(root.glob("fair/copy/*/result.json")):
        result = json.loads(path.read_text())
        found[path.parent.name] = (result["test"], result["seed"])
    return found


def test_a_study_repeated_elsewhere_gives_the_same_numbers(done, tmp_path):
    """In another folder; that other processes compute the same is in tests/experiment/test_pieces.py."""
    root, page = done
    again = tmp_path / "two"
    assert not work.complete_study(small(), again, quiet)
    assert numbers(again) == numbers(root)
    assert len(numbers(root)) == 2 * len(LABELS)
    assert numbers(root)["bptt-s42"][0] != numbers(root)["bptt-s101"][0]  # a changed seed changes them
    for label in LABELS:
        assert f"| `{label}` |" in page
    for words in (
        "weather is left out",
        "1-twice",
        "twice: n 6",
        "## Verdicts\n",
        "| fair | copy |",
        "## Ledger",
        "2 seeds",
        f"small --out {root}",
    ):
        assert words in page
    # learning rates are the best of the search, on validation data, with a seed of its own
    search = json.loads((root / "fair/copy/tuned/bptt.json").read_text())
    assert search["seed"] not in (42, 101)
    assert search["best"]["loss"] == min(c["loss"] for c in search["candidates"])
    assert search["forward_passes"] == 2 * 5 * 3  # candidates, a chunk of steps, passes of BPTT
    trained = json.loads((root / "fair/copy/bptt-s42/config.json").read_text())["experiment"]
    assert trained["lr"] == search["best"]["lr"]
    # decorrelation has a rate of its own, searched with each of the others
    search = json.loads((root / "fair/copy/tuned/published-activity+decor.json").read_text())
    rates = [(c["lr"], c["decor_lr"]) for c in search["candidates"]]
    assert sorted(rates) == [(1e-3, 1e-4), (1e-3, 1e-2), (1e-2, 1e-4), (1e-2, 1e-2)]
    assert len({c["loss"] for c in search["candidates"]}) == 4
    trained = json.loads((root / "fair/copy/published-activity+decor-s42/config.json").read_text())[
        "experiment"
    ]
    assert (trained["lr"], trained["decor_lr"]) == (search["best"]["lr"], search["best"]["decor_lr"])
    assert "| decorrelation lr |" in page


def test_only_what_is_missing_is_done_again(done):
    root, _ = done
    before = {p: p.stat().st_mtime_ns for p in root.glob("fair/copy/*/result.json")}
    lost = root / "fair/copy/bptt-s101"
    was = json.loads((lost / "result.json").read_text())["test"]
    for path in sorted(lost.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    lost.rmdir()
    work.complete_study(small(), root, quiet)
    after = {p: p.stat().st_mtime_ns for p in root.glob("fair/copy/*/result.json")}
    assert {p for p in after if after[p] != before[p]} == {lost / "result.json"}
    now = json.loads((lost / "result.json").read_text())["test"]
    assert now["loss"] == pytest.approx(was["loss"], rel=1e-5)  # alone now, side by side then


def test_pages_and_figures_are_drawn_from_results_alone(done, monkeypatch, capsys):
    root, _ = done
    page = write_page(root).read_text()
    figures = {p.name: p.read_bytes() for p in (root / "figures").glob("*.svg")}
    assert "accuracy-fair.svg" in figures
    assert (root / "figures" / "accuracy-fair.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(command, "work_through", None)
    assert main(["reproduce", "paper", "--out", str(root), "--draw-only"]) == 0
    assert str(root / "reproduction.md") in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in (root / "figures").glob("*.svg")} == figures
    tables = [line for line in page.splitlines() if line.startswith("| `")]
    assert [
        line for line in (root / "reproduction.md").read_text().splitlines() if line.startswith("| `")
    ] == tables


def run_folder(root, label, seed, loss, falls=(3.0, 2.0, 1.0), group="fair/copy", rule_options=()):
    """A finished run with a given test loss and validation losses."""
    rule, decor, _ = label.partition("+decor")
    folder = root / group / f"{label}-s{seed}"
    folder.mkdir(parents=True)
    experiment = {
        "task": "copy",
        "rule": rule,
        "cell": "tanh",
        "units": [8],
        "seed": seed,
        "lr": 1e-3,
        "batch": 1,
        "decorrelate": "hidden" if decor else "off",
        "mode": "sequence",
        "task_options": {},
        "rule_options": dict(rule_options),
    }
    (folder / "config.json").write_text(json.dumps({"experiment": experiment, "name": label, "facts": {}}))
    lines = [
        {"step": i, "updates": i, "forward_passes": 10 * i, "seconds": i / 2, "loss": v, "valid_loss": v}
        for i, v in enumerate(falls, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {"status": "finished", "test": {"loss": loss}, "baselines": {}, "seconds": 1.0, "updates": 3}
    (folder / "result.json").write_text(json.dumps(result))


def judged(tmp_path, losses):
    """The verdicts on runs with these test losses, by the beginning of each claim."""
    jobs = []
    for label, values in losses.items():
        jobs.append({"group": "fair/copy", "label": label, "train": {}, "seeds": list(range(len(values)))})
        for seed, loss in enumerate(values):
            run_folder(tmp_path, label, seed, loss)
    (tmp_path / "plan.json").write_text(json.dumps({"title": "t", "command": "c", "jobs": jobs}))
    return {c.claim: c for c in ledger(Results.of(tmp_path))}


@pytest.mark.parametrize(
    ("had", "former", "shipped"),
    [
        (
            {"fits": 20, "penalty": 0.01},
            "`mirror` ran with fits=20, fit_examples=0",
            "`mirror`: penalty=0.01.",
        ),
        ({}, "`mirror` ran with fits=20, fit_examples=0", None),
        ({"fits": 20, "fit_examples": 8}, None, "`mirror`: fits=20."),
        ({"fits": 5, "fit_examples": 8}, None, None),
    ],
)
def test_a_page_says_former_defaults_and_does_not_call_them_tuned(tmp_path, had, former, shipped):
    run_folder(tmp_path, "mirror", 1, 0.5, rule_options=had)
    job = {"group": "fair/copy", "label": "mirror", "train": {}, "seeds": [1]}
    (tmp_path / "plan.json").write_text(json.dumps({"title": "t", "command": "c", "jobs": [job]}))
    page = write_page(tmp_path).read_text()
    assert (former in page) if former else "former defaults" not in page
    assert (shipped in page) if shipped else "Shipped with the task" not in page


ALIKE = "ANP, with decorrelation or without, performs like BPTT"
SCALES = "ANP scales with units as BPTT does: its distance from BPTT does not grow"
STRONG = "ANP strongly outperforms node and weight perturbation"


@pytest.mark.parametrize(
    ("anp", "cut", "whole", "verdict"),
    [
        ((1.0, 1.1, 0.9), (1.0, 1.1, 0.9), (1.0, 1.1, 1.2), HOLDS),
        ((1.0, 1.1, 0.9), (1.0, 1.1, 0.95), (0.1, 0.11, 0.12), PARTLY),
        ((1.0, 1.1, 0.9), (0.5, 0.51, 0.52), (0.1, 0.11, 0.12), FAILS),
        ((0.05, 0.051, 0.052), (0.5, 0.51, 0.52), (0.1, 0.11, 0.12), HOLDS),
        (
            (1.1, 2.3, 3.2),
            (1.1, 2.2, 3.3),
            (1.0, 2.0, 3.0),
            PARTLY,
        ),  # seeds differ more than rules do: pairs tell
        ((1.0, 2.2, 0.6), (0.1, 0.1, 0.1), (1.0, 1.0, 1.0), WIDE),  # from a fifth to five times BPTT
        (
            (1.0, 2.2, 0.6),
            (1.0, 1.0, 1.0),
            (0.1, 0.1, 0.1),
            WIDE,
        ),  # worse than BPTT, and one-step BP cannot tell
    ],
)
def test_verdicts_follow_from_the_numbers(tmp_path, anp, cut, whole, verdict):
    found = judged(tmp_path, {"published-activity": anp, "one-step": cut, "bptt": whole})
    assert found[ALIKE].verdict == verdict
    assert found[STRONG].verdict == OPEN  # no node perturbation there
    assert found["decorrelation improves ANP"].verdict == OPEN


@pytest.mark.parametrize(
    ("node", "verdict"),
    [
        ((2.0, 2.1, 1.9), HOLDS),
        ((1.0, 1.1, 0.9), FAILS),
        ((1.0, 2.0, 1.5), WIDE),
    ],
)
def test_better_needs_intervals_apart(tmp_path, node, verdict):
    rivals = {"published-node+decor": node, "published-weight": (9.0, 9.1, 9.2)}
    found = judged(tmp_path, {"published-activity": (1.0, 1.05, 0.95), "published-node": node, **rivals})
    assert found[STRONG].verdict == OPEN  # one rival is not there yet
    more = judged(
        tmp_path / "more",
        {
            "published-activity": (1.0, 1.05, 0.95),
            "published-node": node,
            **rivals,
            "published-weight+decor": (9.0, 9.1, 9.2),
        },
    )
    found = more
    assert found[STRONG].verdict == verdict
    assert "published-node" in found[STRONG].numbers


def test_a_seed_that_diverged_is_no_success(tmp_path):
    judged(tmp_path, {"published-activity": (0.1, 0.11), "one-step": (1.0, 1.1), "bptt": (1.0, 1.1)})
    path = tmp_path / "fair/copy/published-activity-s1/result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "diverged"}))
    found = {c.claim: c for c in ledger(Results.of(tmp_path))}
    assert found[ALIKE].verdict == FAILS
    assert "published-activity diverged" in found[ALIKE].numbers
    for label in ("bptt", "one-step"):
        path = tmp_path / f"fair/copy/{label}-s0/result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "diverged"}))
    assert {c.claim: c for c in ledger(Results.of(tmp_path))}[
        ALIKE
    ].verdict == FAILS  # nor where all diverged
    (tmp_path / "claims").mkdir()
    page = write_page(tmp_path).read_text()  # means are over what did not diverge
    row = next(line for line in page.splitlines() if line.startswith("| `published-activity` |"))
    assert "times" not in found[ALIKE].numbers  # no ratio to what diverged
    assert "| 0.100 |" in row
    assert "1 of 2" in row


@pytest.mark.parametrize("loss", [None, 0.0])
def test_losses_that_have_no_ratio(tmp_path, loss):
    judged(tmp_path, {"published-activity": (0.1, 0.11), "one-step": (1.0, 1.1), "bptt": (1.0, 1.1)})
    path = tmp_path / "fair/copy/published-activity-s1/result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test": {"loss": loss}}))
    claim = {c.claim: c for c in ledger(Results.of(tmp_path))}[ALIKE]
    assert claim.verdict == (FAILS if loss is None else WIDE)  # a factor of 1e29 between two seeds
    assert "times" not in claim.numbers or loss == 0
    assert write_page(tmp_path).exists()


def test_unfinished_variants_are_not_judged(tmp_path):
    judged(tmp_path, {"published-activity": (0.1, 0.11), "one-step": (1.0, 1.1), "bptt": (1.0, 1.1)})
    (tmp_path / "fair/copy/bptt-s1/result.json").unlink()
    assert {c.claim: c for c in ledger(Results.of(tmp_path))}[ALIKE].verdict == OPEN


@pytest.mark.parametrize(
    ("anp", "verdict"),
    [
        ((2.0, 2.2), HOLDS),
        ((2.0, 9.0), FAILS),
        ((2.0, None), FAILS),
        ((2.0, 0.5), HOLDS),
    ],
)
def test_scaling_is_judged_by_the_ratio_to_bptt(tmp_path, anp, verdict):
    for n, loss in zip((8, 16), anp, strict=True):
        group = f"scaling/{n}"
        for label, value in (("published-activity", loss or 1.0), ("bptt", 1.0)):
            for seed in (0, 1):
                run_folder(tmp_path, label, seed, value * (1 + seed / 100), group=group)
        if loss is None:
            path = tmp_path / group / "published-activity-s1/result.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "diverged", "updates": 0}))
    jobs = [
        {"group": f"scaling/{n}", "label": label, "train": {}, "seeds": [0, 1]}
        for n in (8, 16)
        for label in ("published-activity", "bptt")
    ]
    (tmp_path / "plan.json").write_text(json.dumps({"title": "t", "command": "c", "jobs": jobs}))
    found = {c.claim: c for c in ledger(Results.of(tmp_path))}
    assert found[SCALES].verdict == verdict
    assert write_page(tmp_path).exists()


def test_scaling_that_seeds_disagree_on_is_not_decided(tmp_path):
    factors = {
        8: (1.0, 1.0, 1.0),
        16: (2.0, 1.0, 0.5),
        32: (4.0, 1.0, 0.25),
    }  # a power of the units: 1, 0, -1
    for n, losses in factors.items():
        for seed, loss in enumerate(losses):
            run_folder(tmp_path, "published-activity", seed, 3 * loss, group=f"scaling/{n}")
            run_folder(tmp_path, "bptt", seed, 1.0, group=f"scaling/{n}")
    jobs = [
        {"group": f"scaling/{n}", "label": label, "train": {}, "seeds": [0, 1, 2]}
        for n in factors
        for label in ("published-activity", "bptt")
    ]
    (tmp_path / "plan.json").write_text(json.dumps({"title": "t", "command": "c", "jobs": jobs}))
    (claim,) = (c for c in ledger(Results.of(tmp_path)) if c.claim == SCALES)
    assert claim.verdict == WIDE
    half = (
        4.303 * math.log(4) / 3**0.5
    )  # t of 2 degrees of freedom, spread of the growth from 8 to 32, root of 3
    assert f"grows by 1.00 ({math.exp(-half):.4f} to {math.exp(half):.1f}) from 8 to 32" in claim.numbers


def test_what_a_run_had_spent(tmp_path):
    judged(tmp_path, {"bptt": (1.0,)})
    (run,) = Results.of(tmp_path).sections["fair/copy"].variants[0].runs
    assert lowest_by(run, "seconds", 1.0) == 2.0
    assert lowest_by(run, "forward_passes", 1e9) == 1.0
    assert lowest_by(run, "seconds", 0.1) != lowest_by(run, "seconds", 0.1)  # nan: nothing that early
    assert spent_until(run, "forward_passes", 2.5) == 20
    assert spent_until(run, "forward_passes", 0.5) == float("inf")
    assert halfway_loss(Results.of(tmp_path).sections["fair/copy"].variants) == pytest.approx(3**0.5)


def test_a_rule_that_fails_does_not_flatten_the_others(tmp_path):
    judged(tmp_path, {"bptt": (1.0,), "node": (1.0,)})
    run_folder(tmp_path, "node", 1, 900.0, falls=(3.0, 30.0, 900.0))
    results, ax = Results.of(tmp_path), Figure().add_subplot()
    convergence(ax, results, results.sections["fair/copy"])
    low, high = ax.get_ylim()
    assert 0.5 < low < 1.0  # the lowest mean
    assert 3.0 < high < 5.0  # where the rules began
    assert ax.get_ylabel() == "validation loss (MSE)"


def test_the_gap_is_to_training_data_where_they_are_not_fresh(tmp_path):
    judged(tmp_path, {"bptt": (3.0,)})
    path = tmp_path / "fair/copy/bptt-s0/result.json"
    assert (
        generalisation_gap(Results.of(tmp_path).sections["fair/copy"].variants[0]).mean == 3.0
    )  # over the last training loss
    result = json.loads(path.read_text())
    path.write_text(
        json.dumps(result | {"train": {"loss": 2.0, "recall": 0.5}, "test": {"loss": 3.0, "recall": 0.25}})
    )
    assert generalisation_gap(Results.of(tmp_path).sections["fair/copy"].variants[0]).mean == 1.5
    lines = write_page(tmp_path).read_text().splitlines()
    heads, row = (next(x for x in lines if x.startswith(s)).split(" | ") for s in ("| rule |", "| `bptt` |"))
    assert dict(zip(heads, row, strict=True))["training recall"] == "0.500"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["reproduce", "papper", "--out", "x"], "did you mean 'paper'?"),
        (["reproduce", "paper", "--out", "x", "--protocol", "fairr"], "did you mean 'fair'?"),
        (["reproduce", "paper", "--out", "x", "--budget", "huge"], "unknown budget"),
        (["reproduce", "paper", "--out", "x", "--data", "nowhere"], "no such file or folder"),
        (["reproduce", "paper", "--out", "x", "--slurm", "many"], "slurm must be a whole number"),
        (["reproduce", "paper", "--out", "x", "--workers", "all"], "workers must be a whole number"),
        (["reproduce", "paper", "--out", "x", "--workers", "0"], "workers must be above 0"),
        (["reproduce", "paper", "--out", "x", "--workers", "5000"], "are more than the"),
        (["reproduce", "paper", "--out", "x", "--cluster", "slrum"], "did you mean 'slurm'?"),
        (["reproduce", "paper", "--out", "x", "--data", "bad.npz"], "NPZ"),
        (["reproduce", "paper", "--out", "x", "--draw-only"], "x is not a run folder"),
        (["reproduce", "paper"], "--out"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, argv, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"nothing of the kind")
    assert main(argv) in (1, 2)
    line = capsys.readouterr().err.strip()
    assert words in line
    assert "\n" not in line
    assert [p.name for p in tmp_path.rglob("*")] == ["bad.npz"]


def test_a_run_with_relative_data_goes_on(tmp_path, monkeypatch):
    """What a stopped run is compared with names its data as the user did."""
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{i},{i % 7}" for i in range(300))
    Path("d.csv").write_text(f"a,b\n{rows}\n")
    e = Experiment(
        task="series",
        data="d.csv",
        task_options={"target": "b", "window": 10, "warmup": 5, "lags": 3},
        units=(3,),
        batch=2,
        steps=4,
        logs=2,
        mode="sequence",
        decorrelate="off",
    )
    study = Study("s", "do s", tuple(searched("fair/series", e, ["one-step"], (1,), (1e-2,))))
    work.complete_study(study, tmp_path / "s", quiet)
    (tmp_path / "s/fair/series/one-step-s1/result.json").unlink()
    (tmp_path / "s/fair/series/one-step-s1/weights").unlink()
    work.complete_study(study, tmp_path / "s", quiet)
    assert (tmp_path / "s/fair/series/one-step-s1/result.json").exists()


def test_a_fair_learning_rate_is_the_same_for_all():
    """Rules whose source sums over time are scaled by T in plain SGD, where the sum is a step; not under
    Adam.
    """
    from perturbax.experiment.build import build

    jobs = [job for job in paper.paper("fair", "quick", None).jobs if job.group.startswith("fair/copy")]
    for job in jobs:
        parts = build(job.experiment)
        assert parts.setup.settings.lr_scale == 1, job.label
    e = dataclasses.replace(jobs[0].experiment, optimiser="sgd")
    assert jobs[0].label == "published-weight"
    parts = build(e)
    assert parts.setup.settings.lr_scale == parts.task.steps


def test_every_run_of_a_quick_study_can_be_built():
    """No setting is refused once the study is on its way."""
    from perturbax.experiment.build import build

    for budget in ("quick", "full"):
        study = paper.paper(None, budget, None)
        assert len({job.name for job in study.jobs}) == len(study.jobs)
        assert {"published/mackey-glass", "published/copy", "fair/copy", "fair/digits"} <= {
            j.group for j in study.jobs
        }
        trained = [job for job in study.jobs if {"train", "tune"} & set(job.plan())]
        small = [
            dataclasses.replace(job.experiment, units=(4,) * len(job.experiment.units)) for job in trained
        ]
        # A search and its runs, and seeds, differ in numbers alone.
        alike = {repr(dataclasses.replace(e, seed=0, lr=1.0, decor_lr=1.0)): e for e in small}
        assert len(alike) > 20
        for e in alike.values() if budget == "quick" else ():
            build(e)
    assert all(
        set(job.seeds) == set(paper.SEEDS)
        for job in study.jobs
        if job.group.startswith("published/") and "train" in job.plan()
    )


@pytest.mark.parametrize(
    ("cores", "asked", "found"),
    [(1, None, (1, 1)), (2, None, (2, 1)), (9, None, (4, 2)), (9, 6, (6, 1)), (9, 1, (1, 9))],
)
def test_workers_have_as_many_cores_each(monkeypatch, cores, asked, found):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.delenv("NPROC", raising=False)
    assert command.shares(asked, None) == found
    assert command.shares(asked, "slurm") == (asked or 4, None)
    monkeypatch.setenv("NPROC", "3")
    assert command.shares(asked, None) == (found[0], 3)
    with pytest.raises(ArgumentError, match="has workers of its own"):
        command.shares(2, "tcp://there:1")


def test_the_former_way_to_name_slurm_has_its_meaning(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr("perturbax.study.paper.paper", lambda *_: Study("s", "do s", (Note("g", "a"),)))
    monkeypatch.setattr("perturbax.study.page.write_page", lambda out: out)
    monkeypatch.setattr(command, "engine", lambda *which: asked.append(which))  # none: done in this process
    with pytest.warns(DeprecationWarning, match="--slurm 3 is now --cluster slurm --workers 3"):
        assert main(["reproduce", "paper", "--out", str(tmp_path / "s"), "--slurm", "3"]) == 0
    assert asked == [("slurm", 3, None)]
    assert "--slurm 3 is now" in capsys.readouterr().err
