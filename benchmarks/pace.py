"""Which constants of what is run, drawn and multiplied out at once (`perturbax/learning/pace.py`) are fastest
here.

    python benchmarks/pace.py                     # all constants, about 10 minutes on 2 cores
    python benchmarks/pace.py --parts loops       # steps of a block and per turn of its loop, by size
    JAX_PLATFORMS=cpu python benchmarks/pace.py   # on the CPU of a machine that has a GPU

Times an estimate by `node` under each candidate, all in turn in one process, and prints the time of each over
that of the constants in the table. Another value is worth taking where it gains more than the spread.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from cases import Size, of_rule
from harness import alternate, medians, on_what, ratios, spread, table

from perturbax.learning import pace as paces
from perturbax.learning.pace import Loop, Pace

UNROLLS, STEPS = (1, 2, 5, 10), (64, 256)
SIZES = (Size(32, 16, 50), Size(64, 16, 50), Size(128, 16, 50), Size(256, 16, 50), Size(512, 1, 200))
WINDOW = {"credit": "window", "window": 20}
# What each constant is tried on: a size, settings of node, and candidates.
CONSTANTS: dict[str, tuple[Size, dict[str, Any], tuple[int, ...]]] = {
    "rows": (Size(256, 64, 50), {}, (512, 1024, 2048)),
    "values": (Size(256, 8, 50), {"samples": 64, **WINDOW}, (2**18, 2**20, 2**22)),
    "words": (Size(256, 8, 50), {"samples": 64}, (2**15, 2**17, 2**19)),
    "carried": (Size(256, 8, 50), {"samples": 256}, (2**18, 2**22)),
}
Row = dict[str, Any]


@contextmanager
def in_force(pace: Pace) -> Iterator[None]:
    """Trace programs with these constants."""
    backend, before = jax.default_backend(), paces.PACES
    paces.PACES = {**before, backend: pace}
    try:
        yield
    finally:
        paces.PACES = before


def compiled(pace: Pace, size: Size, options: dict[str, Any]) -> Callable[[], Any]:
    """Return a program that was compiled with these constants."""
    program = of_rule("node", "tanh", size, **options)
    with in_force(pace):
        jax.block_until_ready(program())
    return program


def compared(candidates: dict[str, Pace], size: Size, options: dict[str, Any], repeats: int) -> Row:
    """Time candidates: each over the constants in the table."""
    now = paces.pace()
    programs = {name: compiled(pace, size, options) for name, pace in {"now": now, **candidates}.items()}
    taken = alternate(programs, repeats, at_least=0.05)
    found = ratios(taken, "now")
    return {
        "size": str(size),
        "now ms": f"{medians(taken)['now'] * 1e3:.3g}",
        **{name: f"{found[name]:.3f}" for name in candidates},
        "spread": f"{spread(taken):.2f}",
    }


def loops(repeats: int) -> list[Row]:
    """Measure steps of a block and per turn of its loop, by size of network."""
    now = paces.pace()
    rows = []
    for size in SIZES:
        candidates = {
            f"{steps} steps, {unroll} a turn": now._replace(loops=(Loop(0, steps, unroll),))
            for steps in STEPS
            for unroll in UNROLLS
        }
        rows.append(compared(candidates, size, {}, repeats))
    return rows


def constant(name: str, repeats: int) -> list[Row]:
    """Measure one of the other constants."""
    size, options, values = CONSTANTS[name]
    candidates = {f"{name} {value}": paces.pace()._replace(**{name: value}) for value in values}
    return [compared(candidates, size, options, repeats)]


def main() -> None:
    """Print one table per part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(("loops", *CONSTANTS)))
    parser.add_argument("--repeats", type=int, default=11)
    args = parser.parse_args()
    names = args.parts.split(",")
    if unknown := set(names) - {"loops", *CONSTANTS}:
        parser.error(f"unknown part {', '.join(sorted(unknown))}: choose from loops, {', '.join(CONSTANTS)}")
    print(f"{on_what()}; now: {paces.pace()}\n")
    for name in names:
        rows = loops(args.repeats) if name == "loops" else constant(name, args.repeats)
        print(
            f"{name}\n\n{table(list(rows[0]), [list(map(str, row.values())) for row in rows])}\n", flush=True
        )


if __name__ == "__main__":
    main()
