"""Where the variance of node perturbation comes from, at the start, the middle and the end of training.

    python benchmarks/variance.py --out benchmarks/results/variance.json
    python benchmarks/variance.py --tasks copy --out runs/variance.json      # a part
    python benchmarks/variance.py --tasks text --data kjv.txt --out runs/variance.json

Networks are trained by `node` with the settings that a task ships; what hides what in its estimates is
counted on one batch that no training step drew (perturbax/analysis/variance.py). Beside it: the variance that
draws have at the shipped sigma, what of it rounding makes, that of an output error measured by the score, and
the loss of BPTT and one-step BP with fewer examples in a batch, which is how much noise learning bears.
docs/variance.md shows the tables.
"""

import argparse
import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from harness import geometric_mean, on_what, place, save, table

import perturbax as px
from perturbax.analysis.along_training import DIAGNOSED_STEP, along_training
from perturbax.analysis.group import sampled
from perturbax.analysis.moments import Moments, cosine_at
from perturbax.analysis.variance import Sources, balanced, sources
from perturbax.experiment.build import Parts, build
from perturbax.learning.estimator import learner
from perturbax.network.network import Network
from perturbax.rules.feedback.probe import measured_error, query_signs

TASKS: dict[str, dict[str, Any]] = {
    "copy": {"task": "copy"},
    "copy-stretch": {"task": "copy", "task_options": {"delay": 10, "length": 16}},
    "mackey-glass": {"task": "mackey-glass"},
    "text": {"task": "text", "units": 64, "batch": 16, "task_options": {"window": 32}},
}
NEEDS_DATA = ("text",)
WINDOWS = (1, 2, 5, 10, 20, None)
SAMPLES = (1, 16, 256, 4096)
DRAWS = 64
BATCHES = (1, 4, 16, 64)
YARDSTICKS = ("bptt", "one-step")


def credit_of(rule: Any) -> dict[str, Any]:
    """The window and discount that the count takes for a rule's credit."""
    windows = {"same-step": 1, "to-go": None, "replay": None, "window": rule.window}
    return {"window": windows[rule.credit], "discount": rule.discount}


def measured(rule: Any, parts: Parts, net: Network, batch: tuple, exact: np.ndarray) -> dict[str, float]:
    """The variance over draws at the shipped sigma, and what of it is rounding, over |g|^2."""
    one, keys = sampled(rule, 1), jr.split(jr.key(1), DRAWS)

    def estimates(net: Network, batch: tuple) -> np.ndarray:
        learn, (xs, ys) = learner(one, parts.task.loss), batch
        state = learn.init(net, xs[0], jr.key(0))
        update = jax.jit(lambda key: learn.update(state, net, xs, ys, key)[2])
        return np.stack([flat(update(key)) for key in keys])

    found = estimates(net, batch)
    with jax.enable_x64(True):
        wide = jax.tree.map(in_float64, (net, batch))
        rounded = found - estimates(*wide)
    moments = Moments.of(found, exact)
    return {
        "measured": moments.variance / moments.g,
        "rounding": float(np.mean(np.sum(rounded**2, 1))) / moments.g,
    }


def by_outputs(parts: Parts, net: Network, batch: tuple, exact: np.ndarray) -> float:
    """The variance over |g|^2 of the exact way back from an output error that one query a step measures."""
    loss, (xs, ys) = parts.task.loss, batch
    some, rest = px.split(net)

    def estimate(key: Any) -> Any:
        def error(y: Any, target: Any, key: Any) -> Any:
            signs = query_signs(key, 1, y)
            return measured_error(lambda out: loss(out, target), y, signs, 1e-3)  # (B, n_out)

        y = px.forward(net, xs)  # (T, B, n_out)
        e = jax.vmap(error)(y, ys, jr.split(key, len(xs)))

        def worth(some: Any) -> Any:
            return jnp.sum(e * px.forward(px.join(some, rest), xs)) / e[..., 0].size

        return jax.grad(worth)(some)

    update = jax.jit(estimate)
    found = np.stack([flat(update(key)) for key in jr.split(jr.key(2), DRAWS)])
    moments = Moments.of(found, exact)
    return moments.variance / moments.g


def in_float64(leaf: Any) -> Any:
    """The same array in double precision; what is no array of floats as it is."""
    is_float = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)
    return leaf.astype(jnp.float64) if is_float else leaf


def flat(grads: Any) -> np.ndarray:
    """All arrays of a gradient, one after the other, in double precision."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)]).astype(np.float64)


def shares(found: Sources) -> dict[str, Any]:
    """Where the variance comes from, in shares of its own sum."""
    whole = found.parts.sum()
    earlier, same, later = found.parts.sum((0, 1)) / whole
    by_layer = found.parts.sum(2) / whole  # (L, L): hidden, hides
    return {
        "V": found.variance,
        "bias": found.bias,
        "cosines": [found.cosine(k) for k in SAMPLES],
        "examples": found.examples,
        "earlier": earlier,
        "same step": same,
        "later": later,
        "own unit": found.own_unit,
        "layers": by_layer.tolist(),
        "lags": found.lags.tolist(),
        "balanced layers": balanced(found.parts.sum(2)),
        "balanced units": balanced(found.units),
    }


def at_points(name: str, seed: int, data: str | None) -> list[dict[str, Any]]:
    """What is counted and measured at the start, the middle and the end of a run by `node`."""
    e = px.Experiment(rule="node", seed=seed, data=data, **TASKS[name])
    plan = along_training(e)
    parts = plan.parts
    own = parts.experiment
    batch = parts.task.sample(jr.fold_in(jr.PRNGKey(own.seed), DIAGNOSED_STEP), own.batch)
    found = []
    for point in plan.walk(batch[0]):
        net, loss = point.net, parts.task.loss
        counted = sources(loss, net, *batch, **credit_of(parts.rule))
        row = {"point": point.name, "step": point.step, "batch": own.batch, **shares(counted)}
        value, gradient = px.bptt(loss)(net, *batch)
        exact = flat(gradient)
        row["loss"] = float(value)
        row |= measured(parts.rule, parts, net, batch, exact)
        row["outputs"] = by_outputs(parts, net, batch, exact)
        row["credits"] = []
        for window in WINDOWS:
            other = sources(loss, net, *batch, window=window)
            row["credits"].append(
                {"window": window, "V": other.variance, "bias": other.bias, "along": other.along}
            )
        only = sources(loss, net, *batch, window=1, restarted=True)
        row["restarted"] = {"V": only.variance, "bias": only.bias, "along": only.along}
        found.append(row)
        print(
            f"{name} seed {seed} {point.name}: V {row['V']:.3g}, measured {row['measured']:.3g}", flush=True
        )
    return found


def yardstick(name: str, rule: str, batch: int, seeds: int, data: str | None) -> float:
    """The test loss of a rule with derivatives after training with so many examples in a batch."""
    losses = []
    for seed in range(seeds):
        e = px.Experiment(rule=rule, seed=seed, data=data, **TASKS[name])
        shipped = build(e).experiment
        e = dataclasses.replace(e, batch=min(batch, shipped.batch), steps=shipped.steps)
        losses.append(px.run(e).summary["test"]["loss"])
    return geometric_mean(losses)


def main() -> None:
    """Count and measure what the file does not hold yet, writing it after every part; print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/variance.json"))
    parser.add_argument("--tasks", default=",".join(name for name in TASKS if name not in NEEDS_DATA))
    parser.add_argument("--data", help="a text file, for the task text")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    print(on_what())
    path = place(args.out)
    found: dict[str, Any] = json.loads(path.read_text())["tasks"] if path.exists() else {}
    for name in args.tasks.split(","):
        data = args.data if name in NEEDS_DATA else None
        task = found.setdefault(name, {"points": [], "yardsticks": {}})
        for seed in range(len(task["points"]), args.seeds):
            task["points"].append(at_points(name, seed, data))
            save(args.out, {"tasks": found})
        for rule, batch in itertools.product(YARDSTICKS, BATCHES):
            of_rule = task["yardsticks"].setdefault(rule, {})
            if str(batch) not in of_rule:
                of_rule[str(batch)] = yardstick(name, rule, batch, args.seeds, data)
                print(f"{name} {rule} batch {batch}: {of_rule[str(batch)]:.3g}", flush=True)
                save(args.out, {"tasks": found})
    show(found)


def show(found: dict[str, Any]) -> None:
    """Print the tables of docs/variance.md: means over seeds (of V geometric)."""
    for name, task in found.items():
        stages = list(zip(*task["points"], strict=True))  # one tuple of seeds for every point
        print(f"\n### {name}\n")
        head = ["point", "step", "loss", "V", "by draws", "rounding", "outputs", "examples", "BPTT batch"]
        print(table(head, [first_row(seeds) for seeds in stages]) + "\n")
        print(table(["cosine", *(f"K {k}" for k in SAMPLES)], [cosine_row(seeds) for seeds in stages]) + "\n")
        head = ["point", "earlier", "same step", "later", "own unit", "hidden by hidden", "hidden by readout"]
        head += ["readout", "best per layer", "best per unit"]
        print(table(head, [second_row(seeds) for seeds in stages]) + "\n")
        head = ["credit"]
        for seeds in stages:
            head += [
                f"V, {seeds[0]['point']}",
                f"bias, {seeds[0]['point']}",
                f"cosine, K 256, {seeds[0]['point']}",
            ]
        rows = [credit_row(number, stages) for number in range(len(WINDOWS))]
        rows.append(["same-step, restarted", *restarted_cells(stages)])
        print(table(head, rows) + "\n")
        rows = [[rule, *(f"{own[str(b)]:.3g}" for b in BATCHES)] for rule, own in task["yardsticks"].items()]
        if rows:
            print(table(["test loss", *(f"batch {b}" for b in BATCHES)], rows))


def mean(seeds: tuple, key: str) -> float:
    """The mean of a number over seeds."""
    return float(np.mean([row[key] for row in seeds]))


def first_row(seeds: tuple) -> list[str]:
    """How much variance there is, and what it amounts to."""
    V = geometric_mean([row["V"] for row in seeds])
    examples = geometric_mean([row["examples"] for row in seeds])
    cells = [f"{geometric_mean([row['measured'] for row in seeds]):.3g}", f"{mean(seeds, 'rounding'):.1g}"]
    cells.append(f"{geometric_mean([row['outputs'] for row in seeds]):.3g}")
    alike = seeds[0]["batch"] * examples / V  # examples in a batch of BPTT that is as noisy
    first = [seeds[0]["point"], str(seeds[0]["step"]), f"{mean(seeds, 'loss'):.2g}", f"{V:.3g}"]
    return [*first, *cells, f"{examples:.2g}", f"{alike:.2g}"]


def cosine_row(seeds: tuple) -> list[str]:
    """The cosines that averages over samples reach."""
    means = np.mean([row["cosines"] for row in seeds], 0)
    return [seeds[0]["point"], *(f"{cosine:.3f}" for cosine in means)]


def second_row(seeds: tuple) -> list[str]:
    """Which noise it is, in shares."""
    by_layer = np.mean([row["layers"] for row in seeds], 0)  # (L, L): what is hidden, by what
    cells = [f"{mean(seeds, key):.2f}" for key in ("earlier", "same step", "later", "own unit")]
    cells += [
        f"{by_layer[:-1, :-1].sum():.2f}",
        f"{by_layer[:-1, -1].sum():.2f}",
        f"{by_layer[-1].sum():.2f}",
    ]
    return [
        seeds[0]["point"],
        *cells,
        *(f"{mean(seeds, f'balanced {of}'):.2f}" for of in ("layers", "units")),
    ]


def credit_row(number: int, stages: list[tuple]) -> list[str]:
    """What credit for so many losses would have."""
    window = WINDOWS[number]
    cells = ["to-go" if window is None else "same-step" if window == 1 else f"window {window}"]
    for seeds in stages:
        cells += of_credit([row["credits"][number] for row in seeds])
    return cells


def restarted_cells(stages: list[tuple]) -> list[str]:
    """What same-step credit has where noise is forgotten after its step."""
    return [cell for seeds in stages for cell in of_credit([row["restarted"] for row in seeds])]


def of_credit(rows: list[dict[str, float]]) -> list[str]:
    """Variance, bias, and the cosine that 256 samples reach."""
    cosines = [cosine_at(r["along"], r["bias"] + 2 * r["along"] - 1, r["V"], 256) for r in rows]
    bias = math.sqrt(float(np.mean([r["bias"] for r in rows])))
    return [f"{geometric_mean([r['V'] for r in rows]):.3g}", f"{bias:.2f}", f"{np.mean(cosines):.3f}"]


if __name__ == "__main__":
    main()
