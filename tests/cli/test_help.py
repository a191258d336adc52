"""Help and lists: from a file that says what the classes say, within two screens, without JAX."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import error_of

import perturbax as px
from perturbax.cli import catalogue, main
from perturbax.cli.help import first_clause
from perturbax.cli.main import COMMANDS, parser_of
from perturbax.experiment.options import typed_form
from perturbax.experiment.resolve import KNOWN

WITH_EXPERIMENT = [name for name in COMMANDS if parser_of(name).experiment]


def said(capsys, *words):
    assert main([*words]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_the_file_says_what_the_classes_say():
    text = catalogue.text_of(catalogue.catalogue())
    assert text == catalogue.FILE.read_text(encoding="utf-8"), "run: make catalogue"
    assert catalogue.names("rule") == list(px.RULES)


def test_help_lists_and_completion_need_no_jax():
    code = """
import io, sys, contextlib
from perturbax.cli import main
for words in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(words.split()) == 0
    assert out.getvalue().count("\\n") > 5, words
    assert "jax" not in sys.modules, words
"""
    asked = [f"{name} --help" for name in WITH_EXPERIMENT]
    asked += ["run --rule bptt --task copy --help all", "compare --rules node,bptt --help rule"]
    asked += ["list", "list rules", "list rules node bptt", "list tasks series", "list cells gru"]
    asked += ["completion bash", "completion zsh"]
    done = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, check=False)
    assert not done.stderr


@pytest.mark.parametrize("command", WITH_EXPERIMENT)
def test_help_fits_two_screens(command, capsys):
    for task in ("series", "weather", "mackey-glass", "evidence"):
        for rule in ("guided", "published-activity", "feedback", "e-prop"):
            rules = ["--rule", rule] if command != "compare" else ["--rules", f"{rule},bptt,frozen,mirror"]
            if command == "taxonomy":
                rules = []
            lines = said(capsys, command, "--task", task, *rules, "--help").splitlines()
            assert len(lines) <= 47, (task, rule)
            assert max(map(len, lines)) < 80


def test_help_has_the_values_that_task_and_rule_ship(capsys):
    from perturbax.experiment.resolve import explain

    for task, rule, mode in (
        ("mackey-glass", "node", None),
        ("mackey-glass", "node", "sequence"),
        ("copy", "bptt", None),
        ("series", "mirror", None),
        ("digits", "published-node", None),
    ):
        named = [] if mode is None else ["--mode", mode]
        out = " ".join(said(capsys, "run", "--task", task, "--rule", rule, *named, "--help", "all").split())
        for name, (value, _) in explain(px.Experiment(task=task, rule=rule, mode=mode)).items():
            if name in ("mode", "cell.readout") or typed_form(value) == "-":
                continue
            explained = out.partition(f" --{name.replace('_', '-') if '.' not in name else name} ")[2]
            default = explained.partition(" --")[0]
            assert f"(default: {typed_form(value)})" in default, (task, rule, name)


def test_help_of_rules_that_differ_says_so(capsys):
    out = said(capsys, "compare", "--task", "mackey-glass", "--rules", "node,bptt+decor:lr=1", "--help")
    assert "--lr        by rule" in out
    assert "steps=4500 lr=0.0005 mode=online" in out
    assert "steps=3000 lr=0.004 mode=sequence" in out


@pytest.mark.parametrize("rule", ["node", "weight", "published-activity"])
def test_help_explains_every_setting(capsys, rule):
    words = " ".join(said(capsys, "run", "--rule", rule, "--help", "all").split())
    from perturbax.experiment.options import options

    assert "settings of rule " + rule in words
    for option in options(px.RULES[rule]).values():
        assert option.help, option.name
        assert f"--rule.{option.name}" in words
        assert option.help[:20] in words
    assert f"--rule.{option.name}" in said(capsys, "run", "--rule", rule, "--help=rule")


def test_help_of_something_else_is_refused(capsys):
    assert "unknown help topic 'ruel'; did you mean 'rule'?" in error_of(capsys, ["run", "--help", "ruel"])[1]
    assert "did you mean 'node'?" in error_of(capsys, ["run", "--rule", "nod", "--help"])[1]
    assert "did you mean 'node'?" in error_of(capsys, ["list", "rules", "nod"])[1]


def test_an_own_class_is_described_as_it_is(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_described.py").write_text(
        "import perturbax as px\n"
        "class Sign(px.NodeRule):\n"
        '    """Sign of the difference.\n\n    Attributes:\n        size: of a step.\n    """\n'
        "    size: float = px.setting(0.25)\n"
        "    def signal(self, net, sites, delta, inject):\n"
        "        return (delta > 0) * 2.0 - 1.0, list(inject)\n"
    )
    out = said(capsys, "list", "rules", "own_described:Sign")
    assert "own_described:Sign: Sign of the difference." in out
    assert "size=0.25" in out
    assert "size=0.25" in said(capsys, "run", "--rule", "own_described:Sign", "--help")


def test_first_clauses():
    assert first_clause("training steps; a step is one batch.") == "training steps"
    assert first_clause("sequence (an update) or online (more).") == "sequence or online"
    assert first_clause("name of a task (`list`), or module:Class of your own.") == "name of a task"


@pytest.mark.parametrize("what", ["rules", "cells", "tasks"])
def test_list_has_one_line_each(capsys, what, monkeypatch):
    group = KNOWN[what.removesuffix("s")]
    lines = said(capsys, "list", what).splitlines()
    assert [line.split()[0] for line in lines] == list(group)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for columns in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = said(capsys, "list", what).splitlines()
        assert len(lines) == len(group)
        assert max(map(len, lines)) <= columns
    every = said(capsys, "list")
    assert all(f"\n  {name} " in every for name in group)


def test_list_says_all_about_one(capsys):
    out = said(capsys, "list", "rules", "node")
    assert "dA = (delta / sigma) xi z^T" in out
    assert "Flower B., Jabri M. (1992)" in out
    assert "px.rules.Node" in out
    assert "sigma=0.001             standard deviation of the injected noise" in out
    for what, kind in (("tasks", "task"), ("cells", "cell")):
        for name in catalogue.names(kind):
            out = said(capsys, "list", what, name)
            assert catalogue.entry(kind, name).path in out
    assert "by rule node, activity, innovation: lr=0.0005" in said(capsys, "list", "tasks", "mackey-glass")


def test_make_help_lists_every_target():
    makefile = Path(__file__).parents[2] / "Makefile"
    text = makefile.read_text()
    phony = text.partition(".PHONY: ")[2].partition("\n")[0].split()
    words = ["make", "--no-print-directory", "-f", str(makefile), "help"]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=2) for line in out.splitlines()]
    assert sorted(target for _, target, _ in lines) == sorted(phony)
    assert all(about for _, _, about in lines)
