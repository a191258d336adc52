"""Where strict predictive coding leaves its path: the size of its estimates on spiking networks.

    python benchmarks/strict.py                     # prints
    python benchmarks/strict.py --out strict.json   # and its table into docs/rules.md

One random sequence (T 20, batch 4), 16 `lif` units, weights as drawn and twice as large. Numbers are norms of
the estimate over that of the exact gradient.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from family import RULES_PAGE, with_section
from harness import on_what, save, table

import perturbax as px
from perturbax.cells.stack import stack

SWEEPS = (10, 40, 160)
LINES = (
    ("strict", 0.1, 1.0),
    ("strict", 0.3, 1.0),
    ("strict", 0.1, 2.0),
    ("strict", 0.3, 2.0),
    ("fixed", 0.3, 2.0),
)


def squares(y: jax.Array, target: jax.Array) -> jax.Array:
    """Return the mean squared error of each example, `(B,)`."""
    return jnp.mean((y - target) ** 2, -1)


def norm(grads: px.Network) -> float:
    """Return the length of a gradient, infinite where it is beyond floats."""
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(grads)]
    length = float(np.linalg.norm(np.concatenate(leaves)))
    return length if np.isfinite(length) else float("inf")


def sizes(form: str, rate: float, scale: float) -> list[float]:
    """Return the norm of an estimate over that of the exact gradient, for every number of sweeps."""
    some, rest = px.split(px.Network(stack(px.CELLS["lif"], (3, 2), (16,), jr.key(0))))
    net = px.join(jax.tree.map(lambda w: scale * w, some), rest)
    xs, ys = scale * jr.normal(jr.key(1), (20, 4, 3)), jr.normal(jr.key(2), (20, 4, 2))
    exact = norm(px.bptt(squares)(net, xs, ys)[1])
    found = []
    for sweeps in SWEEPS:
        rule = px.RULES["predictive-coding"](form=form, rate=rate, sweeps=sweeps)
        found.append(norm(px.value_and_estimate(rule, squares)(net, xs, ys, jr.key(0))[1]) / exact)
    return found


def main() -> None:
    """Measure, print the table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file of the results; the table goes into docs/")
    args = parser.parse_args()
    found = {
        f"{form}, rate {rate}, weights x {scale:g}": sizes(form, rate, scale) for form, rate, scale in LINES
    }
    rows = [[name, *(f"{size:.2g}" for size in of_sweeps)] for name, of_sweeps in found.items()]
    text = table(["sweeps", *map(str, SWEEPS)], rows)
    print(on_what(), text, sep="\n\n")
    if args.out:
        save(
            args.out,
            {"sweeps": SWEEPS, "size": {name: list(map(str, sizes)) for name, sizes in found.items()}},
        )
        RULES_PAGE.write_text(with_section(RULES_PAGE.read_text(), "strict", text))


if __name__ == "__main__":
    main()
