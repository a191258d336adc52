"""The page of a finished study as part of the docs.

perturbax reproduce paper --budget full --data WTH.csv --out results/full
python benchmarks/reproduction.py results/full     # -> docs/reproduction.md, with the figures of the study
"""

import argparse
from pathlib import Path

from perturbax.atomic import write

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write the page, its figures linked to where they lie."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="folder of the study, below the repository")
    study = parser.parse_args().study
    inside = study.resolve().relative_to(ROOT)
    page = (study / "reproduction.md").read_text().replace("](figures/", f"](../{inside}/figures/")
    write(ROOT / "docs" / "reproduction.md", page.encode())


if __name__ == "__main__":
    main()
