"""`taxonomy`: the family as a table, measured on a network, and what is refused."""

import json

import pytest

from perturbax.analysis.taxonomy import CAUSALITY, LOCALITY, taxonomy_of
from perturbax.cli import main
from perturbax.rules import RULES


def test_every_rule_has_a_taxonomy_of(capsys):
    assert main(["taxonomy"]) == 0
    printed = capsys.readouterr().out
    for name, rule in RULES.items():
        assert name in printed
        where = taxonomy_of(rule())
        assert where.locality in LOCALITY
        assert where.causality in CAUSALITY
        assert where.target
        assert where.cost
        assert where.memory


def test_measured_on_a_network(tmp_path, capsys):
    folder = tmp_path / "map"
    arguments = [
        "taxonomy",
        "--rules",
        "bptt,one-step,rtrl,node:credit=to-go",
        "--task",
        "probe-lag1",
        "--units",
        "4",
        "--steps",
        "3",
        "--draws",
        "4",
        "--out",
        str(folder),
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    data = json.loads((folder / "taxonomy.json").read_text())
    found = {row["name"]: row for row in data["rules"]}
    assert found["bptt"]["cosine"] == pytest.approx(1, abs=1e-6)
    assert found["rtrl"]["cosine"] == pytest.approx(1, abs=1e-5)
    assert found["one-step"]["cosine"] < 0.999
    assert found["one-step"]["biased"]
    assert found["node:credit=to-go"]["variance"] > 1
    assert all(row["seconds_per_step"] > 0 for row in found.values())
    page = (folder / "taxonomy.html").read_text()
    for name in found:
        assert name in printed
        assert name in page
    assert "node:credit=to-go" in (folder / "taxonomy.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--units", "8"], "name --out"),
        (["--rule.sigma", "1", "--out", "x"], "belong in --rules"),
        (["--rules", "nothing", "--out", "x"], "unknown rule"),
        (["--rules", ",", "--out", "x"], "names no rule"),
        (["--draws", "abc"], "whole number"),
        (["--draws", "8"], "name --out"),
        (["--mode", "online", "--out", "x"], "unknown argument"),
        (["--draws", "2", "--rules", "bptt", "--out", "x"], "draws"),
    ],
)
def test_what_is_refused(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--task", "probe-lag1", "--units", "2", "--steps", "1"] if "--out" in arguments else []
    assert main(["taxonomy", *arguments, *small]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
