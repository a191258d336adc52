"""`compare` and `report`: what is kept, what is refused, and what the page holds."""

from helpers import QUICK, error_of, everything, series

import perturbax as px
from perturbax.cli import main


def test_compare_resumes_reuses_and_refuses(capsys, tmp_path):
    argv = [
        "compare",
        "--workers",
        "1",
        *QUICK,
        "--rules",
        "node+decor:samples=2,frozen,frozen:lr=3e-3",
        "--seeds",
        "2",
        "--out",
        str(tmp_path / "c"),
    ]
    assert main(argv) == 0
    names = {p.name for p in (tmp_path / "c").iterdir()}
    labels = ("node+decor-samples=2", "frozen", "frozen-lr=3e-3")
    assert names == {"report.html"} | {f"{label}-s{i}" for label in labels for i in (0, 1)}
    assert px.load(tmp_path / "c" / "frozen-lr=3e-3-s1").experiment.lr == 3e-3
    node = px.load(tmp_path / "c" / "node+decor-samples=2-s0").experiment
    assert (node.decorrelate, node.rule_options["samples"]) == ("hidden", 2)
    page = (tmp_path / "c" / "report.html").read_text()
    before = everything(tmp_path / "c")
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if " of 6: " in line]
    assert [line.split(":")[0] for line in lines] == [f"{i} of 6" for i in range(1, 7)]
    assert lines[0].startswith("1 of 6: node+decor:samples=2 seed 0: test loss ")
    assert "beat" in said.out  # the table
    assert "On held-out test data" in said.out
    assert not said.err  # no terminal: a line for every finished run, and no progress
    assert main(argv) == 0
    assert "6 of 6 runs were finished before" in capsys.readouterr().out
    assert everything(tmp_path / "c") == before  # nothing was trained again, the page came out the same
    capsys.readouterr()
    status, line = error_of(capsys, [*argv, "--steps", "13"])
    assert status == 2
    assert "holds another run (steps 13 asked, 12 stored): name another --out" in line
    assert everything(tmp_path / "c") == before
    assert main(["report", str(tmp_path / "c"), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text().count("<svg") == page.count("<svg")


def test_compare_notices_other_data(capsys, tmp_path):
    data = series(tmp_path / "d.csv", rows=300)
    argv = [
        "compare",
        "--workers",
        "1",
        "--task",
        "series",
        "--data",
        data,
        "--task.target",
        "load",
        "--task.window",
        "20",
        "--units",
        "4",
        "--steps",
        "4",
        "--batch",
        "4",
        "--logs",
        "2",
        "--seeds",
        "1",
        "--rules",
        "frozen",
        "--out",
        tmp_path / "c",
    ]
    assert main(list(map(str, argv))) == 0
    page = (tmp_path / "c" / "report.html").read_text()
    assert "persistence" in page
    assert "linear" in page
    before = everything(tmp_path / "c")
    series(tmp_path / "d.csv", rows=299)
    status, line = error_of(capsys, argv)
    assert status == 2
    assert "data" in line
    assert everything(tmp_path / "c") == before


def test_a_rule_that_the_network_cannot_serve_is_refused_before_the_others_are_trained(capsys, tmp_path):
    on_spikes = ["--task", "copy", "--cell", "lif", "--units", "4", "--batch", "2", "--steps", "1"]
    argv = ["compare", *on_spikes, "--workers", "1", "--rules", "node,mirror", "--out", str(tmp_path / "c")]
    assert "a spike has no slope" in error_of(capsys, argv)[1]
    assert not (tmp_path / "c").exists()
    assert (
        "a spike has no slope" in error_of(capsys, ["run", *on_spikes, "--rule", "feedback", "--dry-run"])[1]
    )
