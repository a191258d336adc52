"""Every command of README and docs: those of perturbax run, with few steps; the others name what there is."""

import csv
import importlib.util
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pages
import pytest

ROOT = pages.ROOT
README = ROOT / "README.md"
SITE_PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))]
PAGES = [page for page in [README, ROOT / "CONTRIBUTING.md", *SITE_PAGES] if "_build" not in page.parts]
TOO_LONG = ("perturbax reproduce",)  # tests/study has the same with tiny budgets

OWN = r"--(task|rule|cell)\."  # settings of classes

COMMANDS = {page: pages.commands_of(page) for page in PAGES}


def of(program: str) -> list[str]:
    """Every command line of all pages that begins with a program's name, each once."""
    return sorted({line for lines in COMMANDS.values() for line in lines if line.split()[0] == program})


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a file of data, from which the examples can be imported."""
    with (tmp_path / "file.csv").open("w", newline="") as file:
        rows = ((i, 50 + 10 * (i % 24 < 12) + (i * 37 % 11) / 5) for i in range(24 * 16))
        csv.writer(file).writerows([("row", "COLUMN"), *rows])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", here)  # commands of devices begin with python
    yield tmp_path
    for example in (ROOT / "examples").glob("*.py"):
        sys.modules.pop(example.stem, None)


def ends_well(words: list[str]) -> bool:
    """Whether a command of perturbax ends with status 0."""
    from perturbax.cli import main

    try:
        return main(words) == 0
    except SystemExit as ended:  # --help, --version
        return not ended.code


class IsSetUp(Exception):
    """A run is about to be trained: its parts are made, and its data read."""


def is_set_up(words: list[str]) -> bool:
    """Whether a run gets to where it would be trained."""
    from perturbax.experiment import run

    def train(*_, **__):
        raise IsSetUp

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "train", train)
        try:
            ends_well(words)
        except IsSetUp:
            return True
    return False


def test_commands_of_the_readme_run(workplace, capsys):
    """In their order, in one folder, as a reader would: later ones use the folders of earlier ones.

    A run whose folder no later one names is set up and not trained: on a device, online, from the settings
    that were tuned, and with classes of one's own there are runs in tests/devices, tests/experiment,
    tests/cli/test_tune.py and test_readme.py.
    """
    lines = [line for line in COMMANDS[README] if line.startswith("perturbax ")]
    assert len(lines) >= 20
    trained = 0
    for i, line in enumerate(lines):
        if line.startswith(TOO_LONG):
            continue
        words, folder = pages.shortened(line), line.partition(" --out ")[2]
        is_named = any(folder in later for later in lines[i + 1 :])
        is_run = line.startswith("perturbax run ") and bool(folder)
        trained += is_run and is_named
        ends = is_set_up if is_run and not is_named else ends_well
        assert ends(words), (line, capsys.readouterr().err)
    assert trained >= 1
    assert (workplace / "report.html").exists()


def test_commands_of_the_pages_are_known():
    """Every flag is one that the command has, every rule, cell and task one that there is."""
    from perturbax.cli.main import parser_of
    from perturbax.experiment.resolve import KNOWN

    for line in of("perturbax"):
        _, command, *words = shlex.split(line)
        if command.startswith("-"):
            continue
        known = {flag for action in parser_of(command)._actions for flag in action.option_strings}
        flags = [w for w in words if w.startswith("--") and not re.match(OWN, w)]
        assert set(flags) <= known, line
        if "--help" not in words:
            left = parser_of(command).parse_known_args(words)[1]
            values = zip(left, ["", *left], strict=False)
            stray = [w for w, before in values if not re.match(OWN, w) and not re.match(OWN, before)]
            assert set(stray) <= {"..."}, line  # rules, say, with blanks between them
        named = dict(zip(words, [*words, ""][1:], strict=True))
        for kind, registry in KNOWN.items():
            value = named.get(f"--{kind}", "")
            assert not value or ":" in value or value in registry or value.isupper(), line
        for rule in re.split(r"[, ]", named.get("--rules", "")):  # not all of them are run
            name = rule.split(":")[0].removesuffix("+decor")
            one_of_yours = rule.startswith("own_") or rule.isupper()
            assert one_of_yours or {name, rule} & {"", "...", *KNOWN["rule"]}, line


def test_other_commands_name_what_there_is():
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in of("make"):
        targets = [word for word in shlex.split(line)[1:] if "=" not in word]
        assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets), line
        for path in re.findall(r"tests/[\w/.]+", line):
            assert (ROOT / path).exists(), line
        for path, name in re.findall(r"(tests/[\w/.]+)::(\w+)", line):
            assert f"def {name}(" in (ROOT / path).read_text(), line
    for line in of("pip"):
        assert all(extra in extras for extra in re.findall(r"\.\[(\w+)\]", line)), line
    for line in of("python"):
        script, *words = shlex.split(line)[1:]
        if script == "-m":
            assert importlib.util.find_spec(words[0]) is not None, line
            continue
        text = (ROOT / script).read_text()
        for flag in (word for word in words if word.startswith("--")):
            assert f'"{flag}"' in text, line
    assert of("make")
    assert of("pip")
    assert len(of("python")) > 5
