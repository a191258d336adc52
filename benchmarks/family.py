"""The tables of rules in docs/rules.md and docs/taxonomy.md: what each rule is, needs and gives, on which
cells it learns, and what was measured.

python benchmarks/family.py                # -> docs/rules.md and docs/taxonomy.md, but for what is measured
perturbax taxonomy --out runs/taxonomy     # the measurements
python benchmarks/family.py runs/taxonomy  # also docs/taxonomy.svg and benchmarks/results/taxonomy.json
"""

import json
import re
import sys
from pathlib import Path

from compatibility import refusals, written
from harness import table

from perturbax.analysis.taxonomy import LOCALITY, taxonomy_of
from perturbax.report.taxonomy import figure, measured_rows
from perturbax.rules import RULES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "taxonomy.md"
RULES_PAGE = ROOT / "docs" / "rules.md"


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


def rules_table() -> str:
    """Return what every rule says of itself: one row per rule, from `rule.facts`."""
    lines = [
        "| rule | class | equation | estimates | passes | memory | keeps between updates | sources |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rule in RULES.items():
        facts = rule.facts
        equation = facts.equation.replace("|", "\\|")  # a bar would end the cell of the table
        sources = ", ".join(re.sub(r"([a-z]+)(\d+).*", r"\1 \2", key).title() for key in facts.papers)
        named = [f"`{name}`", f"`px.rules.{rule.__name__}`", f"`{equation}`"]
        row = [*named, facts.target, facts.cost, facts.memory, facts.keeps or "nothing", sources]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def section(page: str, name: str) -> str:
    """Return what stands on the page between the two marks of a name."""
    return page.split(f"<!-- {name} -->\n")[1].removesuffix("\n")


def with_section(page: str, name: str, content: str) -> str:
    """Return the page with what stands between the two marks of a name replaced."""
    mark = f"<!-- {name} -->"
    before, _, after = page.split(mark)
    return f"{before}{mark}\n{content}\n{mark}{after}"


def main() -> None:
    """Write both pages."""
    RULES_PAGE.write_text(with_section(RULES_PAGE.read_text(), "rules", rules_table()))
    text = PAGE.read_text()
    text = with_section(with_section(text, "family", family()), "pairs", written(refusals()))
    if len(sys.argv) > 1:
        data = json.loads((Path(sys.argv[1]) / "taxonomy.json").read_text())
        heads, rows = measured_rows(data)
        text = with_section(text, "measured", table(list(heads), [[f"`{row[0]}`", *row[1:]] for row in rows]))
        svg = figure(data).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        (ROOT / "docs" / "taxonomy.svg").write_text(svg)
        (ROOT / "benchmarks" / "results" / "taxonomy.json").write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
