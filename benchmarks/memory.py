"""Memory that does not grow: the compiler's figure against the length of a sequence, the process's on a long
stream.

python benchmarks/memory.py --steps 1000000      # an online run over that many steps, with resident memory
"""

import argparse
import resource
import time
from typing import Any

import cases
import jax
import jax.numpy as jnp
import optax
from cases import CELLS, Size
from harness import table

import perturbax as px

LENGTHS = (100, 1_000, 100_000)
CREDITS = {
    "same-step": {},
    "window 20": {"credit": "window", "window": 20, "discount": 0.95},
    "replay": {"credit": "replay"},
    "to-go": {"credit": "to-go"},
}


def compiled_bytes(run: Any, *args: Any) -> int:
    """Temporary memory that the compiler plans for."""
    found = jax.jit(run).lower(*args).compile().memory_analysis()
    return found.temp_size_in_bytes if found else 0


def growth(quick: bool = False) -> list[dict[str, Any]]:
    """Temporary memory in KiB, planned by the compiler, against the number of steps (tanh, n 256, B 1)."""
    n = 64 if quick else 256
    net, rows = cases.network(CELLS["tanh"][0], n), []
    programs = {
        f"node, {k}": px.value_and_estimate(px.RULES["node"](**o), cases.mse) for k, o in CREDITS.items()
    }
    init, run = px.online(px.RULES["node"](**CREDITS["window 20"]), cases.mse, optax.adam(1e-3), 10)
    programs |= {"node, window 20, online every 10": run, "BPTT": px.bptt(cases.mse)}
    for name, program in programs.items():
        row: dict[str, Any] = {"what": name}
        for T in LENGTHS[:2] if quick else LENGTHS:
            shapes = [jax.ShapeDtypeStruct((T, 1, k), "float32") for k in (cases.INPUTS, cases.OUTPUTS)]
            first: Any = net
            if program is run:
                x, y = (jax.ShapeDtypeStruct(s.shape[1:], s.dtype) for s in shapes)
                first = jax.eval_shape(init, net, x, y, jax.random.key(0))
                row[f"T {T}"] = compiled_bytes(run, first, *shapes) / 1024
            else:
                row[f"T {T}"] = compiled_bytes(program, first, *shapes, jax.random.key(0)) / 1024
        rows.append(row)
    return rows


def by_samples(quick: bool = False) -> list[dict[str, Any]]:
    """Temporary memory in KiB, planned by the compiler, against samples (tanh, n 256, B 8, T 50)."""
    n, samples = (64, (4, 16)) if quick else (256, (16, 64, 256))
    net, rows = cases.network(CELLS["tanh"][0], n), []
    shapes = [jax.ShapeDtypeStruct((50, 8, k), "float32") for k in (cases.INPUTS, cases.OUTPUTS)]
    for name, options in CREDITS.items():
        row: dict[str, Any] = {"what": f"node, {name}"}
        for K in samples:
            estimate = px.value_and_estimate(px.RULES["node"](samples=K, **options), cases.mse)
            row[f"K {K}"] = compiled_bytes(estimate, net, *shapes, jax.random.key(0)) / 1024
        states = (samples[-1] - samples[0]) * 8 * n * 4 / 1024  # of the rows of further samples, in KiB
        more = row[f"K {samples[-1]}"] - row[f"K {samples[0]}"]
        row["growth over that of the rows' states"] = more / states
        rows.append(row)
    return rows


def stream(steps: int, n: int = 256, chunk: int = 10_000) -> list[list[str]]:
    """Learn online from a stream of so many steps; resident memory after each tenth."""
    init, run = px.online(px.RULES["node"](**CREDITS["window 20"]), cases.mse, optax.adam(1e-4), 10)
    net, (xs, _) = cases.network(CELLS["tanh"][0], n), cases.data(Size(n, 1, chunk))
    ys = jnp.roll(xs, 1, 0)  # to be learnt: the input one step ago
    state = init(net, xs[0], ys[0], jax.random.key(0))
    go, began, rows = jax.jit(run, donate_argnums=0), time.perf_counter(), []
    chunks = max(1, steps // chunk)
    for i in range(1, chunks + 1):
        state, losses = jax.block_until_ready(go(state, xs, ys))
        if i % max(1, chunks // 10) == 0:
            rows.append(
                [
                    str(i * chunk),
                    f"{resident():.1f}",
                    f"{time.perf_counter() - began:.1f}",
                    f"{float(losses.mean()):.4g}",
                ]
            )
    return rows


def resident() -> float:
    """Resident memory of the process now, in MiB; its peak where the system does not tell."""
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run the stream."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--units", type=int, default=256)
    args = parser.parse_args()
    print(table(["steps", "resident MiB", "seconds", "loss"], stream(args.steps, args.units)))


if __name__ == "__main__":
    main()
