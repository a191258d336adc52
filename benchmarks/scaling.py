"""Time and memory against units, batch, length and samples, beside the floor that arithmetic and bandwidth
set.

    python benchmarks/scaling.py --out runs/scaling            # -> scaling.json, scaling.svg; 10 minutes
    python benchmarks/scaling.py --out runs/scaling --quick    # a few points, under one minute

The floor counts the products that an update cannot do without, 2 + K per step and example (clean, K noisy,
one outer product), at the rate of a large matrix product measured here, and one sweep over the weights per
step, at the rate of repeated matrix-vector products of the same size.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import cases
import jax
import jax.numpy as jnp
import jax.random as jr
from cases import INPUTS, OUTPUTS, Size, network
from harness import alternate, medians, place, save
from memory import compiled_bytes

import perturbax as px

AXES: dict[str, list[tuple[Size, int]]] = {
    "units n (B 16, T 50)": [(Size(n, 16, 50), 1) for n in (64, 128, 256, 512, 1024, 2048)],
    "units n (B 1, T 50)": [(Size(n, 1, 50), 1) for n in (64, 128, 256, 512, 1024, 2048)],
    "batch B (n 256, T 50)": [(Size(256, b, 50), 1) for b in (1, 4, 16, 64, 256)],
    "steps T (n 256, B 4)": [(Size(256, 4, t), 1) for t in (50, 200, 800, 3200)],
    "samples K (n 256, B 8, T 50)": [(Size(256, 8, 50), k) for k in (1, 4, 16, 64)],
}
QUICK = {"units n (B 16, T 50)": AXES["units n (B 16, T 50)"][:3]}


def gemm_rate(n: int = 1024, repeats: int = 9) -> float:
    """Operations per second of a large matrix product."""
    a = jr.normal(jr.key(0), (n, n))
    run = jax.jit(lambda a: a @ a)
    return 2 * n**3 / medians(alternate({"gemm": lambda: run(a)}, repeats, 0.05))["gemm"]


def sweep_rate(n: int, steps: int = 50, repeats: int = 7) -> float:
    """Bytes of weights per second that a loop of matrix-vector products reads."""
    W, h = jr.normal(jr.key(0), (n, n)) / n**0.5, jr.normal(jr.key(1), (1, n))
    run = jax.jit(lambda W, h: jax.lax.scan(lambda h, _: (jnp.tanh(h @ W), None), h, None, length=steps)[0])
    return 4 * n * n * steps / medians(alternate({"sweep": lambda: run(W, h)}, repeats, 0.02))["sweep"]


def floor(size: Size, K: int, gemm: float, sweep: float) -> float:
    """Seconds that an update takes at the least."""
    synapses = size.n * (INPUTS + size.n + OUTPUTS)
    operations = 2 * synapses * size.B * size.T * (2 + K)
    moved = 4 * synapses * (size.T + 1)  # every step reads the weights, the gradient is written once
    return max(operations / gemm, moved / sweep)


def measured(size: Size, K: int, gemm: float, sweep: float, repeats: int) -> dict[str, Any]:
    """One point: milliseconds, share of the floor, and KiB of temporary memory."""
    net, (xs, ys), key = network(cases.CELLS["tanh"][0], size.n), cases.data(size), jr.key(0)
    node = px.value_and_estimate(px.RULES["node"](samples=K), cases.mse)
    programs = {"node": cases.of_rule("node", "tanh", size, samples=K), **cases.of_bptt("tanh", size)}
    taken = medians(alternate(programs, repeats, 0.02))
    least = floor(size, K, gemm, sweep)
    return {
        **size._asdict(),
        "K": K,
        "node ms": taken["node"] * 1e3,
        "BPTT ms": min(taken["bptt 0"], taken["bptt 1"]) * 1e3,
        "floor ms": least * 1e3,
        "share of floor": least / taken["node"],
        "node KiB": compiled_bytes(node, net, xs, ys, key) / 1024,
        "BPTT KiB": compiled_bytes(px.bptt(cases.mse), net, xs, ys, key) / 1024,
    }


def draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Time above, memory below, one column per axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        2, len(found), figsize=(1 + 2.7 * len(found), 5.2), squeeze=False, sharex="col"
    )
    styles = {"node": ("#1f5fa8", "o", "-"), "BPTT": ("#444444", "s", "--"), "floor": ("#999999", "", ":")}
    for column, (axis, points) in zip(panels.T, found.items(), strict=True):
        at = [p[axis.split()[1]] for p in points]
        for row, (panel, unit, names) in enumerate(
            zip(column, ("ms", "KiB"), (styles, ("node", "BPTT")), strict=True)
        ):
            for name in names:
                colour, marker, line = styles[name]
                panel.plot(
                    at, [p[f"{name} {unit}"] for p in points], line, marker=marker, ms=4, c=colour, label=name
                )
            panel.set(xscale="log", yscale="log")
            panel.set_xticks(at, [str(v) for v in at], minor=False)
            panel.minorticks_off()
            low, high = panel.get_ylim()  # whole decades, so that every panel shows at least two numbers
            panel.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
            panel.grid(color="#ddd", lw=0.6)
            panel.spines[["top", "right"]].set_visible(False)
            if row:
                panel.set_xlabel(axis)
    panels[0][0].set_ylabel("time of an update (ms)")
    panels[1][0].set_ylabel("temporary memory (KiB)")
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure all points, write JSON and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--redraw", action="store_true", help="draw again from OUT/scaling.json, without measuring"
    )
    args = parser.parse_args()
    if args.redraw:
        return draw(
            json.loads(place(args.out / "scaling.json").read_text())["axes"], args.out / "scaling.svg"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    gemm, sweeps, found = gemm_rate(), {}, {}
    print(f"matrix product: {gemm / 1e9:.0f} Gop/s")
    for axis, points in (QUICK if args.quick else AXES).items():
        found[axis] = []
        for size, K in points:
            sweeps.setdefault(size.n, sweep_rate(size.n))
            point = measured(size, K, gemm, sweeps[size.n], 3 if args.quick else 9)
            found[axis].append(point)
            shown = ", ".join(
                f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in point.items()
            )
            print(shown, flush=True)
    rates = {"gemm_per_s": gemm, "sweep_bytes_per_s": sweeps}
    save(args.out / "scaling.json", {"rates": rates, "axes": found})
    draw(found, args.out / "scaling.svg")


if __name__ == "__main__":
    main()
