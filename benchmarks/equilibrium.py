"""Equilibrium propagation beside backpropagation through the same settling steps, on MNIST: 784-512-10.

python benchmarks/equilibrium.py --data mnist.npz --out runs/equilibrium   # goes on where it was stopped
"""

import argparse
import json
from pathlib import Path

import numpy as np
from harness import machine, table

from perturbax.atomic import write
from perturbax.cli import main as perturbax

# Two epochs of 58,000 images (2,000 are kept for validation) in batches of 50, each held for 30 steps;
# outputs are in the network and judged by squares: the two-layer network of Laborieux et al. 2021. Of
# their learning rate, 5e-4, and twice it, the larger has the lower validation loss (symmetric rule, seed 0).
TASK = "--task mnist --task.order whole --task.hold 30 --task.cost squares"
NETWORK = "--cell settling --units 522 --cell.outputs 10"
RUN = "--steps 2320 --batch 50 --optimiser adam --lr 1e-3 --schedule constant --clip 0 --logs 10 --workers 1"
RULES = {
    "`equilibrium`, symmetric, 10 nudged steps": "equilibrium:beta=0.1:nudged=10",
    "`bptt`, through all 30 steps": "bptt",
}


def main() -> None:
    """Train what is missing and print test errors: means over seeds, lowest and highest, and seconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="3")
    args = parser.parse_args()
    rows, every = [], {}
    for i, (name, rule) in enumerate(RULES.items()):
        out = args.out / str(i)
        plan = ["--data", args.data, "--rules", rule, "--seeds", args.seeds, "--out", str(out)]
        if perturbax(["compare", *f"{TASK} {NETWORK} {RUN}".split(), *plan]):
            raise SystemExit(1)
        results = [json.loads(path.read_text()) for path in sorted(out.glob("*/result.json"))]
        errors = [100 * (1 - result["test"]["accuracy"]) for result in results]
        seconds = float(np.mean([result["seconds"] for result in results]))
        every[name] = {"test error in percent": errors, "seconds": seconds}
        rows.append([name, f"{np.mean(errors):.2f} ({min(errors):.2f}-{max(errors):.2f})", f"{seconds:.0f}"])
    print(table(["rule", "test error, %", "seconds"], rows))
    write(args.out / "equilibrium.json", json.dumps({"machine": machine(), "runs": every}, indent=1).encode())


if __name__ == "__main__":
    main()
