"""PEPITA on MNIST, 784-1024-10: test error over seeds.

python benchmarks/pepita.py --data mnist.npz --out runs/pepita   # goes on where it was stopped
"""

import argparse
import json
from pathlib import Path

import numpy as np
import optax
from harness import machine

import perturbax as px
from perturbax.atomic import write

IMAGES, BATCH = 58_000, 64  # 2,000 of the 60,000 are kept for validation
LR, MOMENTUM, DROPOUT = 0.1, 0.9, 0.1  # of Dellaferrera and Kreiman 2022, as their code has them
DROPS = (0.6, 0.9)  # shares of the run after which the learning rate is a tenth of what it was


def main() -> None:
    """Train what is missing; print and write test errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    steps = args.epochs * IMAGES // BATCH
    rate = optax.piecewise_constant_schedule(LR, {int(share * steps): 0.1 for share in DROPS})
    optimiser = optax.sgd(rate, momentum=MOMENTUM)
    network = {"cell": "dense", "cell__activation": "relu", "units": 1024}
    plan = {"steps": steps, "batch": BATCH, "clip": 0.0, "logs": 20, "optimiser": optimiser}
    errors, seconds = [], []
    for seed in range(args.seeds):
        folder = args.out / f"{args.epochs}-epochs-s{seed}"
        if (folder / "config.json").exists():
            result = px.resume(folder, optimiser=optimiser)
        else:
            result = px.run(
                task="mnist",
                task__order="whole",
                data=args.data,
                rule="pepita",
                rule__dropout=DROPOUT,
                seed=seed,
                out=folder,
                **network,
                **plan,
            )
        errors.append(100 * (1 - result.summary["test"]["accuracy"]))
        seconds.append(result.summary["seconds"])
        print(f"seed {seed}: test error {errors[-1]:.2f} %, {seconds[-1]:.0f} s", flush=True)
    mean = float(np.mean(errors))
    print(f"{args.epochs} epochs: {mean:.2f} % ({min(errors):.2f}-{max(errors):.2f})")
    found = {"epochs": args.epochs, "test error in percent": errors, "seconds": seconds}
    write(args.out / "pepita.json", json.dumps({"machine": machine(), **found}, indent=1).encode())


if __name__ == "__main__":
    main()
