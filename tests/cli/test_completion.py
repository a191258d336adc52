"""The script that completes command lines: bash answers with it, without Python."""

import shutil
import subprocess

import pytest

from perturbax.cli import main
from perturbax.cli.catalogue import names
from perturbax.cli.completion import VALUES, script
from perturbax.cli.main import COMMANDS, parser_of
from perturbax.experiment import adas
from perturbax.experiment.optimiser import SCHEDULES

CASES = {
    "ru": "run",
    "run --rule mi": "mirror",
    "run --rule mirror --rule.f": "--rule.fits --rule.fit_examples",
    "run --mode ": "sequence online",
    "run --mode = on": "online",
    "run --mode =": "sequence online",
    "run --units ": "",
    "run --lr 1 --hel": "--help",
    "run --help ": "all experiment task rule cell",
    "run --cell gru --cell.bi": "--cell.bias",
    "run --cell.bias ": "true false",
    "compare --rules node,mi": "node,mirror",
    "compare --rules snap,mi --rule.": "--rule.n",
    "list ": "rules cells tasks",
    "list rules node bp": "bptt",
    "list tasks co": "copy",
    "report here/a": "here/a.csv",
    "report x here/a": "here/a.csv",
    "run --data here/a": "here/a.csv",
    "completion ": "bash zsh",
    "run --schedule a": "adas",
}


def test_bash_completes(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.csv").write_text("")
    lines = [script("bash")]
    for typed in CASES:
        words = " ".join(f"'{word}'" for word in ["perturbax", *typed.split(" ")])
        lines += [f"COMP_WORDS=({words})", "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _perturbax"]
        lines.append('echo "${COMPREPLY[*]}"')
    text = "\n".join(lines)
    done = subprocess.run(
        ["bash", "--norc"], input=text, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    assert dict(zip(CASES, done.stdout.split("\n"), strict=False)) == CASES


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_knows_every_command_flag_and_name(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        flags = [flag for action in parser_of(command)._actions for flag in action.option_strings]
        line = next(line for line in text.splitlines() if line.startswith(f"        {command}) echo"))
        assert {flag for flag in flags if flag.startswith("--")} <= set(line.replace("'", " ").split())
    assert VALUES["--schedule"] == [*SCHEDULES, adas.NAME]
    assert all(f" {name} " in text or f" {name}'" in text for name in names("rule") if name != "weight")
    if interpreter := shutil.which(shell):
        assert subprocess.run([interpreter, "-n"], input=text, text=True, check=False).returncode == 0
