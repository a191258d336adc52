"""Pages as they are run by tests: their Python as one program, their commands with few steps."""

import glob
import importlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.S | re.M)
INDENTED = re.compile(r"^    ((?:perturbax|python|make|pip) (?:.*\\\n)*.*)$", re.M)


def code_of(page: Path) -> list[tuple[int, str]]:
    """The Python of a page or notebook, each block with the number of the line before its first one."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return [(0, "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    return [
        (text[: found.start(2)].count("\n"), found[2])
        for found in FENCED.finditer(text)
        if found[1] == "python"
    ]


def commands_of(page: Path) -> list[str]:
    """The command lines of a page, without comments: those of its fenced blocks, and indented ones."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    blocks = [found[2] for found in FENCED.finditer(text) if not found[1]]
    blocks += [found[1] for found in INDENTED.finditer(FENCED.sub("", text))]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    bare = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    return [line for line in bare if re.match(r"(perturbax|python|make|pip) ", line)]


def run_page(page: Path, folder: Path) -> dict[str, Any]:
    """Run the Python of a page from its first block to its last, and return all names that it leaves.

    A block whose first line is a file's name in a comment is written to that file, in a folder from which
    modules are imported; what it defines is known to the blocks behind it.
    """
    names: dict[str, Any] = {"__name__": "page"}
    for line, block in code_of(page):
        if named := re.match(r"# (\w+)\.py\n", block):
            (folder / f"{named[1]}.py").write_text(block)
            sys.modules.pop(named[1], None)
            names |= vars(importlib.import_module(named[1]))
        else:
            exec(compile("\n" * line + block, str(page), "exec"), names)
    return names


FEW = {"--steps": "2", "--batch": "4", "--units": "4"}
SHORT = {
    "run": FEW,
    "compare": FEW | {"--seeds": "1", "--workers": "1"},  # each process would import JAX anew
    "tune": FEW | {"--lrs": "1e-3", "--workers": "1"},  # --lrs where it is there already
    "diagnose": FEW | {"--samples": "1", "--draws": "4"},
    "taxonomy": FEW | {"--rules": "node", "--draws": "4"},
}
AS_THEY_ARE = {"--resume", "--help"}  # runs whose settings stand elsewhere


def shortened(line: str) -> list[str]:
    """The words of a command `perturbax ...`, with few steps and small networks where it trains some.

    It trains two rules at most, and looks at one candidate.

    Names of files with a star are those that are there, as a shell would have it.
    """
    words = shlex.split(line)[1:]
    shorter = {} if AS_THEY_ARE & set(words) else SHORT.get(words[0], {})
    if "--config" in words:
        shorter = {"--steps": "2"}  # of a network as it was
    if "--device" in words:  # whose network is as the device has it
        shorter = {flag: value for flag, value in shorter.items() if flag != "--units"}
    for flag in {"--rules", "--over"} & set(words):  # each is a program of its own
        at = words.index(flag) + 1
        rules = words[at].split(",")
        words[at] = rules[0] if flag == "--over" or len(rules) == 1 else f"{rules[0]},{rules[-1]}"
    for flag, value in shorter.items():
        if flag in words:
            words[words.index(flag) + 1] = value
        elif flag != "--lrs":
            words += [flag, value]
    return [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]
