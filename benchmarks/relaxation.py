"""What few sweeps cost: how far errors get that relax, and what a network learns from them.

    python benchmarks/relaxation.py                          # prints
    python benchmarks/relaxation.py --out relaxation.json    # and into docs/: figure and tables

Copying (T 21) with 64 tanh units. First the cosine of one estimate with the exact gradient, once BPTT has
trained the network; then test loss and recall after as many updates with the rules themselves.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np
from family import RULES_PAGE, with_section
from harness import on_what, save, table

import perturbax as px
from perturbax.experiment.build import build
from perturbax.report.style import canvas, render

ROOT = Path(__file__).parents[1]
SWEEPS = (1, 2, 4, 8, 16, 20)
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "predictive-coding": ("predictive-coding", {}),
    "predictive-coding, rate 0.5": ("predictive-coding", {"rate": 0.5}),
    "predictive-coding, strict": ("predictive-coding", {"form": "strict", "rate": 0.5}),
    "activation-relaxation": ("activation-relaxation", {}),
    "activation-relaxation, no slopes": ("activation-relaxation", {"slopes": "none"}),
    "activation-relaxation, random": ("activation-relaxation", {"backward": "random"}),
}
LEARNT: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("frozen", "frozen", {}),
    ("bptt", "bptt", {}),
    ("predictive-coding, 1 sweep", "predictive-coding", {"sweeps": 1}),
    ("predictive-coding, 4 sweeps", "predictive-coding", {"sweeps": 4}),
    ("predictive-coding, 20 sweeps", "predictive-coding", {"sweeps": 20}),
    ("activation-relaxation, 20 sweeps", "activation-relaxation", {"sweeps": 20}),
    ("the same, no slopes", "activation-relaxation", {"sweeps": 20, "slopes": "none"}),
    ("the same, learnt backward weights", "activation-relaxation", {"sweeps": 20, "backward": "learnt"}),
)
SETTINGS: dict[str, Any] = {"units": (64,), "batch": 32, "lr": 8e-3, "logs": 4}
MEASURED = 99  # seed of the batch that is measured


def experiment(rule: str, options: dict[str, Any], steps: int) -> px.Experiment:
    """Return a run on the copying task."""
    return px.Experiment(task="copy", rule=rule, rule_options=options, steps=steps, **SETTINGS)


def flat(grads: px.Network) -> np.ndarray:
    """Return gradients as one vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])


def cosines(steps: int) -> dict[str, list[float]]:
    """Return the cosine with the exact gradient for each line and number of sweeps, after so many updates."""
    parts = build(experiment("bptt", {}, steps))
    net: Any = px.run(parts.experiment).net
    xs, ys = parts.task.sample(jr.key(MEASURED), SETTINGS["batch"])
    loss = parts.task.loss
    exact = flat(px.bptt(loss)(net, xs, ys)[1])
    found: dict[str, list[float]] = {}
    for name, (rule, settings) in LINES.items():
        found[name] = []
        for sweeps in SWEEPS:
            init, update = px.learner(px.RULES[rule](sweeps=sweeps, **settings), loss)
            grads = flat(update(init(net, xs[0], jr.key(0)), net, xs, ys, jr.key(0))[2])
            found[name].append(float(grads @ exact / np.linalg.norm(grads) / np.linalg.norm(exact)))
    return found


def learning(steps: int) -> dict[str, dict[str, float]]:
    """Return the test results after so many updates, by name."""
    return {name: px.run(experiment(rule, o, steps)).summary["test"] for name, rule, o in LEARNT}


def figure(found: dict[str, list[float]]) -> str:
    """Draw cosine against sweeps, one line for each variant."""
    with canvas(6.4, 3.6) as (drawing, ax):
        drawing.subplots_adjust(0.09, 0.14, 0.985, 0.97)
        for name, values in found.items():
            ax.plot(SWEEPS, values, marker="o", markersize=4, label=name)
        ax.set_xlabel("sweeps (T - 1 = 20)")
        ax.set_ylabel("cosine with the exact gradient")
        ax.set_xticks(SWEEPS)
        ax.legend(fontsize=7.5, frameon=False)
        return render(drawing, "relaxation", "Cosine with the exact gradient against sweeps")


def main() -> None:
    """Measure, print both tables, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file of the results; tables and figure go into docs/")
    parser.add_argument("--steps", type=int, default=400, help="updates of every run")
    args = parser.parse_args()
    found, learnt = cosines(args.steps), learning(args.steps)
    aligned = [[name, *(f"{c:.3f}" for c in values)] for name, values in found.items()]
    tested = [[name, f"{test['loss']:.4f}", f"{test['recall']:.2f}"] for name, test in learnt.items()]
    of_cosines = table(["sweeps", *map(str, SWEEPS)], aligned)
    of_tests = table([f"rule, {args.steps} updates", "test loss", "recall"], tested)
    print(on_what(), of_cosines, of_tests, sep="\n\n")
    if args.out:
        save(args.out, {"steps": args.steps, "sweeps": SWEEPS, "cosine": found, "learnt": learnt})
        page = with_section(RULES_PAGE.read_text(), "relaxation", f"{of_cosines}\n\n{of_tests}")
        RULES_PAGE.write_text(page)
        svg = figure(found).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        (ROOT / "docs" / "relaxation.svg").write_text(svg)


if __name__ == "__main__":
    main()
