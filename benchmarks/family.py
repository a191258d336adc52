"""The taxonomy of the rules as docs/taxonomy.md shows it: what each needs and gives, on which cells it
learns, and what was measured.

perturbax taxonomy --out runs/taxonomy        # the measurements
python benchmarks/family.py runs/taxonomy     # -> docs/taxonomy.md, .svg and benchmarks/results/taxonomy.json
"""

import json
import sys
from pathlib import Path

from compatibility import refusals, written
from harness import table

from perturbax.analysis.taxonomy import LOCALITY, taxonomy_of
from perturbax.report.taxonomy import figure, measured_rows
from perturbax.rules import RULES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "taxonomy.md"


def family() -> str:
    """Return where every rule stands, from its class."""
    places = {name: taxonomy_of(rule()) for name, rule in RULES.items()}
    rows = [
        [f"`{name}`", p.locality, p.causality, p.target, p.cost, p.memory]
        for kind in LOCALITY
        for name, p in places.items()
        if p.locality == kind
    ]
    return table(["rule", "a synapse knows", "speaks", "estimates", "cost", "memory"], rows)


def section(page: str, name: str) -> str:
    """Return what stands on the page between the two marks of a name."""
    return page.split(f"<!-- {name} -->\n")[1].removesuffix("\n")


def with_section(page: str, name: str, content: str) -> str:
    """Return the page with what stands between the two marks of a name replaced."""
    mark = f"<!-- {name} -->"
    before, _, after = page.split(mark)
    return f"{before}{mark}\n{content}\n{mark}{after}"


def main() -> None:
    """Write the page."""
    text = PAGE.read_text()
    text = with_section(with_section(text, "family", family()), "pairs", written(refusals()))
    if len(sys.argv) > 1:
        data = json.loads((Path(sys.argv[1]) / "taxonomy.json").read_text())
        heads, rows = measured_rows(data)
        text = with_section(text, "measured", table(list(heads), [[f"`{row[0]}`", *row[1:]] for row in rows]))
        svg = figure(data).retaxonomy_of("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        (ROOT / "docs" / "taxonomy.svg").write_text(svg)
        (ROOT / "benchmarks" / "results" / "taxonomy.json").write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
