"""`--dry-run` says which settings would be used and where each comes from, and writes nothing."""

import json

import pytest
from helpers import error_of

from perturbax.cli import main


@pytest.fixture
def lines(capsys, tmp_path, monkeypatch):
    """A function that runs a command in an empty folder, and returns the words of each line it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words):
        before = sorted(tmp_path.rglob("*"))
        assert main([*words, "--dry-run"]) == 0
        assert sorted(tmp_path.rglob("*")) == before
        return [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]

    return run


def test_a_run_says_where_its_settings_come_from(lines, tmp_path):
    found = lines("run", "--task", "mackey-glass", "--clip", "1", "--rule.sigma", "1e-2", "--out", "r")
    for line in (
        ["task", "mackey-glass", "typed"],
        ["rule", "node", "default"],
        ["steps", "4500", "from 9000 forward passes"],
        ["passes", "9000", "task mackey-glass"],
        ["clip", "1", "typed"],
        ["lr", "0.0005", "task mackey-glass for rule node"],
        ["rule.sigma", "0.01", "typed"],
        ["rule.credit", "window", "task mackey-glass for rule node"],
        ["cell.gain", "1", "default"],
        ["nothing", "was", "trained or written (--dry-run)"],
    ):
        assert line in found, line
    typed = {"task": "probe-now", "rule": "published-node", "lr": 0.5}
    (tmp_path / "config.json").write_text(json.dumps({"experiment": typed}))
    found = lines("run", "--config", "config.json", "--batch", "3")
    assert ["lr", "0.5", "config.json"] in found
    assert ["optimiser", "sgd", "rule published-node"] in found
    assert ["batch", "3", "typed"] in found


def test_a_comparison_says_what_its_runs_share(lines):
    found = lines("compare", "--rules", "node,bptt+decor:lr=2", "--task", "probe-now", "--out", "c")
    common = found[: found.index([])]
    assert ["task", "probe-now", "typed"] in common
    assert not [line for line in common if line[0] in ("rule", "lr")]
    own = found[found.index(["settings", "of", "bptt+decor:lr=2:"]) :]
    assert ["lr", "2", "--rules bptt+decor:lr=2"] in own
    assert ["decorrelate", "hidden", "--rules bptt+decor:lr=2"] in own


def test_tune_diagnose_and_taxonomy_say_theirs(lines):
    small = ["--task", "probe-now", "--units", "4"]
    found = lines(
        "tune", *small, "--over", "batch=2;4", "--over", "units=4;4,4", "--seeds", "2", "--out", "t"
    )
    for line in (
        ["batch", "2", "4                       tried"],
        ["steps", "100", "one in ten of the whole run's"],
        ["4", "candidates,", "each with 2 seeds"],
        ["nothing", "was", "trained or written (--dry-run)"],
    ):
        assert [" ".join(words).split() for words in found].count(" ".join(line).split()) == 1, line
    found = lines("tune", *small, "--steps", "7", "--lrs", "1e-3,1e-2", "--out", "t")
    assert ["steps", "7", "typed"] in found
    assert ["2", "candidates"] in found
    found = lines("diagnose", *small, "--rule.sigma", "1e-2", "--out", "d")
    for line in (
        ["steps", "300", "command diagnose"],
        ["rule.sigma", "0.01", "typed"],
        ["task", "probe-now", "typed"],
    ):
        assert line in found, line
    found = lines("taxonomy", *small, "--rules", "bptt,snap:n=2")
    assert ["steps", "200", "command taxonomy"] in found
    own = found[found.index(["settings", "of", "snap:n=2:"]) :]
    assert ["rule.n", "2", "--rules snap:n=2"] in own


def test_a_dry_run_refuses_what_a_run_would(lines, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    small = ["run", "--task", "probe-now", "--dry-run"]
    assert "not an empty folder" in error_of(capsys, [*small, "--out", "full"])[1]
    assert "takes no other argument" in error_of(capsys, ["run", "--resume", "full", "--dry-run"])[1]
    assert "lr must be above 0" in error_of(capsys, [*small, "--lr", "0"])[1]
    online = [*small, "--mode", "online", "--every", "11"]
    assert "every must divide" in error_of(capsys, online)[1]  # which only building the run can see
    search = ["tune", "--task", "probe-now", "--dry-run", "--out", "t"]
    assert "batch must be a whole number" in error_of(capsys, [*search, "--over", "batch=2,x"])[1]
    assert "draws must be" in error_of(capsys, ["diagnose", *small[1:], "--draws", "1"])[1]
