"""Which probe every rule solves, and why not the others: one recurrent layer of 24 units, three seeds.

python benchmarks/probes.py --out runs/probes     # goes on where it was stopped; -> docs/taxonomy.md
python benchmarks/probes.py --rules pepita,cascaded --out runs/probes   # the other rows stay
"""

import argparse
import json
from pathlib import Path
from statistics import median

from family import PAGE, with_section
from harness import machine, table

from perturbax.atomic import write
from perturbax.cli import main as perturbax
from perturbax.rules import RULES
from perturbax.tasks import TASKS

RESULTS = PAGE.parents[1] / "benchmarks" / "results" / "probes-cpu.json"
PROBES = [name for name in TASKS if name.startswith("probe-")]
SETTINGS = ["--units", "24", "--lr", "1e-2", "--optimiser", "adam", "--schedule", "cosine", "--clip", "1"]
HOW = ["--logs", "10", "--seeds", "3"]
SPIKING = ("sltt", "ottt")
SETTLING = ("equilibrium",)
HEADS = ("cascaded",)
PUBLISHED = [rule for rule in RULES if rule.startswith("published")]
OWN = {
    **dict.fromkeys(("node", "activity", "innovation", "iterative", "reward"), "credit=to-go"),
    "ou": "steps=6000",  # one pass and no clean one to compare it with: a step costs little, and says little
    "published-weight": "lr=3e-4:steps=6000",
    **dict.fromkeys(("published-node", "published-activity"), "lr=3e-3:steps=6000"),
}
GROUPS = {  # folder: (its rules, its settings)
    "tanh": (
        [r for r in RULES if r not in (*SPIKING, *SETTLING, *HEADS, *PUBLISHED)],
        ["--batch", "16", "--steps", "1500"],
    ),
    "published": (PUBLISHED, ["--batch", "2"]),  # one loss difference for the whole batch
    "lif": (
        SPIKING,
        ["--batch", "16", "--steps", "1500", "--cell", "lif", "--cell.kappa", "0", "--units", "48"],
    ),
    "heads": (HEADS, ["--batch", "16", "--steps", "1500", "--heads", "linear"]),  # values, not classes
    "settling": (SETTLING, ["--batch", "16", "--steps", "1500", "--cell", "settling"]),
}
FADES = "credit fades by a fixed factor at every step back"
BLIND = "one loss difference for all units and steps, and no credit for later losses"
WHY = {
    "dsf": FADES,
    "lra": FADES,
    "published-node": BLIND,
    "published-activity": BLIND,
    "sltt": "no credit through time: what a spike does to later membranes is cut",
    "ottt": "credit through the leak of the membrane alone",
    "cascaded": "heads have no biases and start at 0: without an input nothing learns",
    "equilibrium": "takes the input for held: credit for the input of the last step alone",
}


def losses(folder: Path) -> dict[str, list[float]]:
    """Return test loss over that of the first baseline, for every run of a folder, by rule."""
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*/result.json")):
        result = json.loads(path.read_text())
        base = result["baselines"]["zero"]["loss"]
        found.setdefault(result["rule"], []).append(result["test"]["loss"] / base)
    return found


def main() -> None:
    """Train what is missing, print the table, and put it on the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rules", help="rules to train, as pepita,cascaded; all if not given")
    args = parser.parse_args()
    out, asked = args.out, args.rules.split(",") if args.rules else list(RULES)
    before = json.loads(RESULTS.read_text())
    known: dict[str, dict[str, list[float]]] = before["shares"]
    found = {rule: {} if rule in asked else known[rule] for rule in RULES if rule in asked or rule in known}
    for probe in PROBES:
        for group, (of_group, fields) in GROUPS.items():
            rules = [rule for rule in of_group if rule in asked]
            if not rules:
                continue
            folder = out / f"{probe}-{group}"
            named = ",".join(f"{rule}:{OWN[rule]}" if rule in OWN else rule for rule in rules)
            if perturbax(
                ["compare", "--task", probe, "--rules", named, *SETTINGS, *fields, *HOW, "--out", str(folder)]
            ):
                raise SystemExit(1)
            every = losses(folder)
            for rule in rules:
                found[rule][probe] = every[rule]
    rows = []
    for rule, shares in found.items():
        middle = {probe: median(values) for probe, values in shares.items()}
        solved = {
            probe: value * TASKS[probe]().baselines()["zero"]["loss"] < TASKS[probe].solved
            for probe, value in middle.items()
        }
        why = "" if all(solved.values()) else WHY[rule]
        shown = [f"**{middle[p]:.1g}**" if solved[p] else f"{middle[p]:.2f}" for p in PROBES]
        rows.append([f"`{rule}`", *shown, why])
    said = table(["rule", *(probe.removeprefix("probe-") for probe in PROBES), "what is missing"], rows)
    print(said)
    PAGE.write_text(with_section(PAGE.read_text(), "probes", said))
    partly = {} if set(asked) == set(RULES) else {"new": asked, "machine of the others": before["machine"]}
    write(
        out / "probes.json", json.dumps({"machine": machine(), **partly, "shares": found}, indent=1).encode()
    )


if __name__ == "__main__":
    main()
