"""Do networks learn to act? Cart-pole and a bandit that pays 50 steps late, with the settings that ship.

    python benchmarks/acting.py                       # prints
    python benchmarks/acting.py --out acting.json     # and into docs/closed-loop.md

Each line is one rule and three seeds, one after the other; the first one compiles. The return is that of 100
test episodes of the network that did best on 100 others. The updates are those until validation episodes
first reach enough: 475 on cart-pole, where Gymnasium counts it as solved, 0.81 on the bandit, nine tenths
of the best.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from family import with_section
from harness import on_what, save, table

import perturbax as px

PAGE = Path(__file__).parents[1] / "docs" / "closed-loop.md"
LINES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cart-pole, evolution": ("cart-pole", "evolution", {}),
    "cart-pole, reward": ("cart-pole", "reward", {}),
    "cart-pole, weight": ("cart-pole", "weight", {}),
    "cart-pole, pes": ("cart-pole", "pes", {}),
    "cart-pole, node": ("cart-pole", "node", {}),
    "bandit, reward with traces": ("bandit", "reward", {}),
    "bandit, reward, credit window of 20": ("bandit", "reward", {"credit": "window", "window": 20}),
    "bandit, reward, same-step": ("bandit", "reward", {"credit": "same-step"}),
    "bandit, evolution": ("bandit", "evolution", {}),
}
ENOUGH = {"cart-pole": 475.0, "bandit": 0.81}


def lived(task: str, rule: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return what came out of one run."""
    began, cpu = time.perf_counter(), time.process_time()
    result = px.run(px.Experiment(task=task, rule=rule, rule_options=options, seed=seed))
    reached = [line["step"] for line in result.metrics if line["valid_return"] >= ENOUGH[task]]
    return {
        "return": float(result.summary["test"]["return"]),
        "updates": result.summary["updates"],
        "enough_after": reached[0] if reached else None,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
    }


def row(name: str, runs: list[dict[str, Any]]) -> list[str]:
    """Return a line of the table."""
    returns = " ".join(f"{run['return']:.4g}" for run in runs)
    after = " ".join("never" if run["enough_after"] is None else str(run["enough_after"]) for run in runs)
    seconds = " ".join(f"{run['cpu_seconds']:.0f}" for run in runs)
    return [name, returns, after, str(runs[0]["updates"]), seconds]


def main() -> None:
    """Run every line, print the table, write it and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file of the results; the table goes into docs/")
    parser.add_argument("--seeds", type=int, default=3, help="seeds")
    args = parser.parse_args()
    found = {}
    for name, (task, rule, options) in LINES.items():
        found[name] = [lived(task, rule, options, seed) for seed in range(args.seeds)]
        print(*row(name, found[name]), sep=" | ", flush=True)
    heads = [
        "",
        "return, by seed",
        "updates until enough",
        "updates in all",
        "processor seconds, with compiling",
    ]
    text = table(heads, [row(name, runs) for name, runs in found.items()])
    print(on_what(), text, sep="\n\n")
    if args.out:
        save(args.out, {"enough": ENOUGH, "lines": found})
        PAGE.write_text(with_section(PAGE.read_text(), "acting", text))


if __name__ == "__main__":
    main()
