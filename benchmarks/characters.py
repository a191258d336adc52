"""Bits per character along training, over forward passes, updates and seconds, for one rule after another.

    python benchmarks/characters.py --data tinyshakespeare.txt --out runs/characters
    python benchmarks/characters.py --data tinyshakespeare.txt --out runs/characters --rules bptt,node
    python benchmarks/characters.py --known benchmarks/results/characters-cpu.json --out runs/characters

The task, the network and the settings are those of `perturbax bench tiny-shakespeare`: a GRU of 256 units,
1,000 updates over 8 pieces of 64 characters each; one seed. Finished runs are kept, and a stopped one goes on
from its last log; what --known has, an earlier characters.json, is not trained again. Writes
OUT/characters.json (validation loss as it was logged, and the loss on test data), and from it
OUT/characters.md and OUT/characters.svg.
"""

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from harness import save, table

import perturbax as px
from perturbax.atomic import write
from perturbax.bench import BENCHMARKS
from perturbax.bench.running import with_settings
from perturbax.experiment.variants import of_variant

BENCHMARK = BENCHMARKS["tiny-shakespeare"]
RULES = (
    "bptt",
    "mirror",
    "one-step",
    "node",
    "feedback",
    "mirror:error=measured:queries=66",
    "node:samples=16",
    "node:samples=64",
    "node:samples=256",
    "node:samples=1024",
    "node:samples=4096",
    "evolution:population=64:lr=1e-2",
)
OVER = {"forward_passes": "forward passes", "updates": "updates", "seconds": "seconds of this machine"}


def measured(label: str, data: str, out: Path) -> dict[str, Any]:
    """Train with a rule, go on with it, or read what an earlier call trained; return what is kept of it."""
    base = dataclasses.replace(BENCHMARK.experiment, data=data)
    folder = out / label.replace(":", "-").replace("=", "")
    if (folder / "result.json").exists():
        result = px.load(folder)
    elif (folder / "checkpoint").exists():
        result = px.resume(folder)
    else:
        result = px.run(of_variant(base, with_settings(BENCHMARK, label), {}), folder)
    spent = {name: result.summary[name] for name in ("forward_passes", "seconds")}
    logs = [{name: line[name] for name in (*OVER, "valid_loss")} for line in result.metrics]
    return {"rule": label, **spent, "test_loss": result.summary["test"]["loss"], "logs": logs}


def row(run: dict[str, Any]) -> list[str]:
    """Return the line of a rule: cost, and loss on test data in both units."""
    spent = [f"{run['forward_passes']:,}", f"{run['seconds']:,.0f}"]
    losses = [f"{run['test_loss']:.3f}", f"{run['test_loss'] / math.log(2):.3f}"]
    return [f"`{run['rule']}`", *spent, *losses]


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw a panel over each of passes, updates and seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(OVER), figsize=(13, 4.8), sharey=True)
    colours = plt.get_cmap("tab10").colors  # pyright: ignore[reportAttributeAccessIssue]
    for panel, (name, words) in zip(panels, OVER.items(), strict=True):
        for i, run in enumerate(runs):
            x = [line[name] for line in run["logs"]]
            y = [line["valid_loss"] / math.log(2) for line in run["logs"]]
            wide = 3.5 if i == 0 else 1.5  # the first shows beneath one that covers it
            dashes = "-" if i < len(colours) else "--"  # a colour comes a second time
            panel.plot(x, y, dashes, color=colours[i % len(colours)], lw=wide, label=run["rule"])
        panel.set(xlabel=words, xscale="linear" if name == "updates" else "log")
        panel.grid(color="#ddd", lw=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("bits per character, validation")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="lower center", ncol=4, frameon=False, fontsize=9
    )
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Train what is not trained yet, and write results, table and figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="tinyshakespeare.txt")
    parser.add_argument("--known", type=Path, help="characters.json of an earlier call: not trained again")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rules", default=",".join(RULES))
    args = parser.parse_args()
    known = {run["rule"]: run for run in json.loads(args.known.read_text())["runs"]} if args.known else {}
    labels = args.rules.split(",")
    missing = [label for label in labels if label not in known]
    if missing and args.data is None:
        parser.error(f"--data is missing: {', '.join(missing)} is to be trained")
    runs = []
    for label in labels:
        runs.append(known[label] if label in known else measured(label, args.data, args.out))
        print(*row(runs[-1]), flush=True)
    save(args.out / "characters.json", {"runs": runs})
    heads = ["rule", "forward passes", "seconds", "test loss, nats per character", "bits per character"]
    write(args.out / "characters.md", f"{table(heads, [row(run) for run in runs])}\n".encode())
    draw(runs, args.out / "characters.svg")


if __name__ == "__main__":
    main()
