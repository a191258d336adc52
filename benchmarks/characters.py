"""Bits per character along training, over forward passes, updates and seconds, for one rule after another.

    python benchmarks/characters.py --data tinyshakespeare.txt --out runs/characters
    python benchmarks/characters.py --data tinyshakespeare.txt --out runs/characters --rules bptt,node

The task, the network and the settings are those of `perturbax bench tiny-shakespeare`: a GRU of 256 units,
1,000 updates over 8 pieces of 64 characters each; one seed. Finished runs are kept, and a stopped one goes on
from its last log. Writes OUT/characters.md and OUT/characters.svg: validation loss as it was logged, and the
loss on test data.
"""

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

from harness import table

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
    "evolution:population=64:lr=1e-2",
)
OVER = {"forward_passes": "forward passes", "updates": "updates", "seconds": "seconds of this machine"}


def trained(label: str, data: str, out: Path) -> Any:
    """Train with a rule, go on with it, or return what an earlier call trained."""
    base = dataclasses.replace(BENCHMARK.experiment, data=data)
    folder = out / label.replace(":", "-").replace("=", "")
    if (folder / "result.json").exists():
        return px.load(folder)
    if (folder / "checkpoint").exists():
        return px.resume(folder)
    return px.run(of_variant(base, with_settings(BENCHMARK, label), {}), folder)


def row(label: str, result: Any) -> list[str]:
    """Return the line of a rule: cost, and loss on test data in both units."""
    s = result.summary
    loss = s["test"]["loss"]
    spent = [f"{s['forward_passes']:,}", f"{s['seconds']:,.0f}"]
    return [f"`{label}`", *spent, f"{loss:.3f}", f"{loss / math.log(2):.3f}"]


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw a panel over each of passes, updates and seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(OVER), figsize=(13, 4.8), sharey=True)
    colours = plt.get_cmap("tab10").colors  # pyright: ignore[reportAttributeAccessIssue]
    for panel, (name, words) in zip(panels, OVER.items(), strict=True):
        for i, (label, result) in enumerate(results.items()):
            x = [line[name] for line in result.metrics]
            y = [line["valid_loss"] / math.log(2) for line in result.metrics]
            wide = 3.5 if i == 0 else 1.5  # the first shows beneath one that covers it
            dashes = "-" if i < len(colours) else "--"  # a colour comes a second time
            panel.plot(x, y, dashes, color=colours[i % len(colours)], lw=wide, label=label)
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
    """Train what is not trained yet, and write the table and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="tinyshakespeare.txt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rules", default=",".join(RULES))
    args = parser.parse_args()
    results = {}
    for label in args.rules.split(","):
        results[label] = trained(label, args.data, args.out)
        print(*row(label, results[label]), flush=True)
    heads = ["rule", "forward passes", "seconds", "test loss, nats per character", "bits per character"]
    text = table(heads, [row(label, result) for label, result in results.items()])
    write(args.out / "characters.md", f"{text}\n".encode())
    draw(results, args.out / "characters.svg")


if __name__ == "__main__":
    main()
