"""Cost of one update against BPTT and against a bare forward pass: ratios within one process, medians over
rounds.

    make bench                                            # all of it, about 15 minutes on 2 cores
    make bench QUICK=1                                    # under one minute: small networks, few rounds
    JAX_PLATFORMS=cpu make bench                          # on the CPU of a machine that has a GPU
    python benchmarks/step.py --parts update --out step.json     # step-cpu.json, or step-gpu.json
    python benchmarks/slower.py old/step-cpu.json step-cpu.json  # what has become slower

float32, compiled; compile time does not count. BPTT and forward pass are those of the same network in the
faster of two layouts of its weights. Spread is that of the rounds: half the interquartile range over the
median, of the worst program of a row. How to read the tables: docs/performance.md.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import jax
import memory
import noise
import optax
from cases import CELLS, Size, of_bptt, of_forward, of_learner, of_rule
from harness import alternate, medians, on_what, place, ratios, save, spread, table

import perturbax as px

RULES = ("node", "activity", "innovation")
WINDOW = {"credit": "window", "window": 20, "discount": 0.95}
CREDITS: dict[str, tuple[str, dict[str, Any]]] = {
    "window 20": ("node", WINDOW),
    "to-go": ("node", {"credit": "to-go"}),
    "replay": ("node", {"credit": "replay"}),
    "activity, replay": ("activity", {"credit": "replay"}),
}
LEARNT: dict[str, tuple[str, dict[str, Any]]] = {
    "guided": ("guided", {}),
    "feedback": ("feedback", {}),
    "mirror": ("mirror", {}),
    "mirror, error measured": ("mirror", {"error": "measured"}),
    "mirror, every example": ("mirror", {"fit_examples": 0, "fits": 20}),
}
Row = dict[str, Any]


def fastest(taken: dict[str, list[float]], kind: str) -> str:
    """Name the faster of the programs of that kind."""
    found = medians(taken)
    return min((name for name in taken if name.startswith(kind)), key=lambda name: found[name])


def update(sizes: list[Size], repeats: int, cells: list[str]) -> list[Row]:
    """Same-step estimates of three rules, for three cells."""
    rows = []
    for cell in cells:
        for size in sizes:
            programs = (
                of_bptt(cell, size) | of_forward(cell, size) | {r: of_rule(r, cell, size) for r in RULES}
            )
            taken = alternate(programs, repeats, at_least=0.02)
            bptt, forward = fastest(taken, "bptt"), fastest(taken, "forward")
            found, by_bptt, by_forward = medians(taken), ratios(taken, bptt), ratios(taken, forward)
            rows.append(
                {
                    "cell": cell,
                    "size": str(size),
                    "forward ms": found[forward] * 1e3,
                    "BPTT ms": found[bptt] * 1e3,
                    **{f"{r} / BPTT": by_bptt[r] for r in RULES},
                    **{f"{r} / forward": by_forward[r] for r in RULES},
                    "spread": spread(taken),
                }
            )
    return rows


def credit(sizes: list[Size], repeats: int) -> list[Row]:
    """Later losses, against the same rule with same-step credit."""
    rows = []
    for size in sizes:
        programs = {rule: of_rule(rule, "tanh", size) for rule in ("node", "activity")}
        programs |= {
            name: of_rule(rule, "tanh", size, **options) for name, (rule, options) in CREDITS.items()
        }
        taken = alternate(programs, repeats, at_least=0.02)
        against = {name: ratios(taken, rule)[name] for name, (rule, _) in CREDITS.items()}
        rows.append(
            {
                "size": str(size),
                "same-step ms": medians(taken)["node"] * 1e3,
                **against,
                "spread": spread(taken),
            }
        )
    return rows


def feedback(sizes: list[Size], repeats: int, cells: list[str]) -> list[Row]:
    """Rules with learnt feedback, against BPTT."""
    rows = []
    for cell in cells:
        for size in sizes:
            programs = of_bptt(cell, size)
            programs |= {
                name: of_learner(rule, cell, size, **options) for name, (rule, options) in LEARNT.items()
            }
            taken = alternate(programs, repeats, at_least=0.02)
            bptt = fastest(taken, "bptt")
            against = {f"{name} / BPTT": ratios(taken, bptt)[name] for name in LEARNT}
            row = {"cell": cell, "size": str(size), "BPTT ms": medians(taken)[bptt] * 1e3, **against}
            rows.append({**row, "spread": spread(taken)})
    return rows


def abreast(repeats: int, quick: bool) -> list[Row]:
    """Many noisy passes at once: share of the throughput of batched inference on as many sequences."""
    K, n = (8, 64) if quick else (64, 256)
    members, units = (16, 64) if quick else (256, 512)
    rows = []
    for what, rule, options, size, inference in (
        (f"K = {K} samples, n {n}, B 8", "node", {"samples": K}, Size(n, 8, 50), Size(n, 8 * K, 50)),
        (
            f"evolution, rank 1, population {members}, n {units}, B 1",
            "evolution",
            {"population": members},
            Size(units, 1, 50),
            Size(units, members, 50),
        ),
    ):
        taken = alternate(
            {rule: of_rule(rule, "tanh", size, **options)} | of_forward("tanh", inference), repeats
        )
        forward = fastest(taken, "forward")
        rows.append(
            {
                "what": what,
                "ms": medians(taken)[rule] * 1e3,
                "inference ms": medians(taken)[forward] * 1e3,
                "share of its throughput": 1 / ratios(taken, forward)[rule],
                "spread": spread(taken),
            }
        )
    return rows


def online(n: int, decor: str, every: int, steps: int) -> Callable[[], Any]:
    """Return a program: that many online steps."""
    size = Size(n, 1, steps)
    net, (xs, ys) = cases.network(CELLS["tanh"][0], n, decor), cases.data(size)
    init, run = px.online(px.RULES["node"](), cases.mse, optax.sgd(1e-3), every, 1e-4)
    state = init(net, xs[0], ys[0], jax.random.key(0))
    go = jax.jit(run)
    return lambda: go(state, xs, ys)


def decorrelation(repeats: int, quick: bool) -> list[Row]:
    """Online learning with and without decorrelation."""
    rows = []
    for every in (1,) if quick else (1, 10):
        n = 128 if quick else 1000
        programs = {decor: online(n, decor, every, 100) for decor in ("off", "hidden")}
        taken = alternate(programs, repeats)
        rows.append(
            {
                "n": n,
                "an update every": every,
                "us per step": medians(taken)["off"] * 1e4,
                "with decorrelation": ratios(taken, "off")["hidden"],
                "spread": spread(taken),
            }
        )
    return rows


def shown(rows: list[Row]) -> str:
    """Return rows as a table."""
    cells = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    return table(list(rows[0]), cells)


def main() -> None:
    """Measure the parts asked for, print tables, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts", default="update,credit,feedback,decorrelation,abreast,memory,samples,noise"
    )
    parser.add_argument(
        "--out", type=Path, help="JSON file with all numbers; -cpu or -gpu is added to its name"
    )
    parser.add_argument("--quick", action="store_true", help="under one minute: the numbers mean little")
    args = parser.parse_args()
    repeats = 3 if args.quick else 15
    sizes = [Size(64, 1, 50)] if args.quick else list(cases.SIZES)
    parts: dict[str, Callable[[], list[Row]]] = {
        "update": lambda: update(sizes, repeats, ["tanh"] if args.quick else list(CELLS)),
        "credit": lambda: credit(sizes, repeats),
        "feedback": lambda: (
            feedback([Size(64, 64, 40)], repeats, ["tanh"] if args.quick else ["tanh", "gru", "lstm"])
            + ([] if args.quick else feedback([Size(64, 32, 96, outputs=672)], repeats, ["gru"]))
        ),
        "decorrelation": lambda: decorrelation(repeats, args.quick),
        "abreast": lambda: abreast(repeats, args.quick),
        "memory": lambda: memory.growth(args.quick),
        "samples": lambda: memory.by_samples(args.quick),
        "noise": lambda: [noise.measured(size, repeats) for size in noise.SIZES[: 1 if args.quick else None]],
    }
    names = args.parts.split(",")
    if unknown := set(names) - set(parts):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: choose from {', '.join(parts)}")
    found = {}
    print(f"{on_what()}\n")
    for name in names:
        found[name] = parts[name]()
        print(f"{name}: {(parts_doc(name))}\n\n{shown(found[name])}\n", flush=True)
        save(args.out, {"quick": args.quick, **found})
    if args.out:
        print(f"written: {place(args.out)}")


def parts_doc(name: str) -> str:
    """Return what a part measures."""
    of = {
        "update": update,
        "credit": credit,
        "feedback": feedback,
        "decorrelation": decorrelation,
        "abreast": abreast,
        "memory": memory.growth,
        "samples": memory.by_samples,
        "noise": noise.measured,
    }
    return (of[name].__doc__ or "").splitlines()[0].rstrip(".")


if __name__ == "__main__":
    main()
