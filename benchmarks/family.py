"""The map of the rules as docs/taxonomy.md shows it: who stands where, which rule learns on which cell, and
measured.

perturbax taxonomy --out runs/taxonomy        # the measurements
python benchmarks/family.py runs/taxonomy     # -> docs/taxonomy.md, .svg and benchmarks/results/taxonomy.json
"""

import json
import re
import sys
from pathlib import Path

from harness import table

from perturbax.analysis.compatibility import refusal
from perturbax.analysis.taxonomy import LOCALITY, place
from perturbax.cells import CELLS
from perturbax.report.taxonomy import figure, measured_rows
from perturbax.rules import RULES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "taxonomy.md"


def family() -> str:
    """Return where every rule stands, from its class."""
    places = {name: place(rule()) for name, rule in RULES.items()}
    rows = [
        [f"`{name}`", p.locality, p.causality, p.target, p.cost, p.memory]
        for kind in LOCALITY
        for name, p in places.items()
        if p.locality == kind
    ]
    return table(["rule", "a synapse knows", "speaks", "estimates", "cost", "memory"], rows)


def pairs() -> str:
    """Return which rule learns on which cell, by trying, and why the others do not."""
    cells = [cell for cell in CELLS if not cell.endswith("readout")]
    rows: list[list[str]] = []
    reasons: dict[str, dict[str, list[str]]] = {}
    for rule in RULES:
        refused = {cell: refusal(rule, cell) for cell in cells}
        rows.append([f"`{rule}`", *("no" if refused[cell] else "yes" for cell in cells)])
        for why in sorted(set(refused.values()) - {""}):
            reason = re.sub(r"^layer 0 \(\w+\):? |^\w+: ", "", why)
            cells_of = reasons.setdefault(reason, {}).setdefault(rule, [])
            cells_of += [cell for cell in cells if refused[cell] == why]
    said = []
    for reason, rules in reasons.items():
        by_cells: dict[str, list[str]] = {}
        for rule, mine in rules.items():
            by_cells.setdefault(", ".join(mine), []).append(f"`{rule}`")
        said += [f"- {', '.join(names)} on {where}: {reason}" for where, names in by_cells.items()]
    return "\n".join([table(["rule", *cells], rows), "", *said])


def filled(text: str, name: str, content: str) -> str:
    """Return the page with what stands between two marks replaced."""
    mark = f"<!-- {name} -->"
    before, _, after = text.split(mark)
    return f"{before}{mark}\n{content}\n{mark}{after}"


def main() -> None:
    """Write the page."""
    text = PAGE.read_text()
    text = filled(filled(text, "family", family()), "pairs", pairs())
    if len(sys.argv) > 1:
        data = json.loads((Path(sys.argv[1]) / "taxonomy.json").read_text())
        heads, rows = measured_rows(data)
        text = filled(text, "measured", table(list(heads), [[f"`{row[0]}`", *row[1:]] for row in rows]))
        svg = figure(data).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        (ROOT / "docs" / "taxonomy.svg").write_text(svg)
        (ROOT / "benchmarks" / "results" / "taxonomy.json").write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
