"""What rounding leaves of a loss difference: the error of delta against float64, for every sigma and
precision, as products come and with passes in full float32; and what the latter costs.

    JAX_ENABLE_X64=1 python benchmarks/precision.py --out precision.json
    python benchmarks/precision.py --time                         # on a GPU: float32 passes by several means

On a CPU products are float32 as they come; coarse ones are made by F16_F16_F16, which has the 11 significant
bits of a GPU's TF32. Columns "as it comes" are of a rule that says it compares nothing.
"""

import argparse
import contextlib
from pathlib import Path
from typing import Any

import cases
import jax
import jax.numpy as jnp
import jax.random as jr
from cases import CELLS, Size, estimating
from harness import alternate, medians, on_what, save, spread, table

import perturbax as px
from perturbax.learning import products
from perturbax.learning.blocks import step_keys
from perturbax.learning.sequence import run_block, visible_loss
from perturbax.rules.perturbation.node import Node

SIGMAS = (2e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-5)
# Settings of jax_default_matmul_precision: the default, and what is as coarse where the default is not.
SETTINGS = {"cpu": ("default", "F16_F16_F16")}
# What passes may be raised to: time is compared for the same error.
RAISED = ("highest", "TF32_TF32_F32_X3", "BF16_BF16_F32_X6")
TIMED = ((Size(256, 1, 64), 1), (Size(256, 64, 64), 256), (Size(1024, 16, 64), 256), (Size(64, 32, 100), 256))
Row = dict[str, Any]


class AsItComes(Node):
    """Node perturbation whose passes run in the precision that all products have."""

    def compared_noise(self) -> None:
        """Return None, so that nothing is raised."""


def deltas(rule: Node, net: px.Network, xs: jax.Array, ys: jax.Array) -> jax.Array:
    """Return the loss differences of one pair of passes, `(T, B)`, in float64."""
    state = rule.init_state(net, xs[0], jr.key(0))
    carry = rule.init_sequence(net, state, xs[0], jr.key(0))
    carry, noise = rule.draw(net, carry, xs, step_keys(jr.key(1), 0, len(xs)))
    score = visible_loss(rule, cases.mse)
    delta: Any = run_block(rule, score, net, carry, (xs, ys, noise))[1].delta
    return delta[:, 0].astype("float64")


def relative_error(rule: Node, net: px.Network, data: tuple, dtype: str, exact: jax.Array) -> float | None:
    """Return the error of deltas in a dtype, root mean square over steps and examples; None where refused."""
    cast = jax.tree.map(lambda w: w.astype(dtype), (net, *data))
    try:
        found = deltas(rule, *cast)
    except px.PerturbaxError:
        return None
    return float(jnp.sqrt(jnp.mean((found - exact) ** 2) / jnp.mean(exact**2)))


def errors(sigmas: tuple[float, ...]) -> list[Row]:
    """Measure the error at every sigma: float32 with each setting and either rule, and bfloat16."""
    size = Size(64, 32, 50)
    net, data = cases.network(CELLS["tanh"][0], size.n), cases.data(size)
    rows = []
    for sigma in sigmas:
        exact = deltas(Node(sigma=sigma, credit="to-go"), net, *data)
        row: Row = {"sigma": sigma}
        for setting in SETTINGS.get(jax.default_backend(), ("default",)):
            for name, kind in (("as it comes", AsItComes), ("in full", Node)):
                rule = kind(sigma=sigma, credit="to-go")
                with jax.default_matmul_precision(setting):
                    row[f"float32, {setting}, {name}"] = relative_error(rule, net, data, "float32", exact)
        rule = Node(sigma=sigma, credit="to-go")
        row["bfloat16"] = relative_error(rule, net, data, "bfloat16", exact)
        rows.append(row)
    return rows


@contextlib.contextmanager
def raised_to(setting: str) -> Any:
    """Let passes that are compared run with another setting than `highest`."""
    before, products.FULL = products.FULL, setting
    try:
        yield
    finally:
        products.FULL = before


def times(repeats: int) -> list[Row]:
    """Time an update of node perturbation as it comes, and with passes raised by each means there is here."""
    rows = []
    for size, samples in TIMED:
        programs = {}
        for raised in (None, *RAISED):
            rule = (Node if raised else AsItComes)(samples=samples)
            net = cases.network(CELLS["tanh"][0], size.n)
            program = estimating(px.value_and_estimate(rule, cases.mse), net, size)
            with raised_to(raised or products.FULL):
                try:
                    jax.block_until_ready(program())  # compiled here; later calls find it
                except (ValueError, NotImplementedError) as problem:
                    print(f"{raised}: not on this backend ({str(problem).splitlines()[0]})")
                    continue
            programs[raised or "as it comes"] = program
        taken = alternate(programs, repeats, at_least=0.02)
        found = medians(taken)
        plain = found.pop("as it comes")
        row: Row = {"size": f"{size}, K {samples}", "as it comes ms": plain * 1e3}
        rows.append(row | {name: s / plain for name, s in found.items()} | {"spread": spread(taken)})
    return rows


def shown(rows: list[Row]) -> str:
    """Return rows as a table; what was refused is said."""
    names = list(rows[0])
    lines = []
    for row in rows:
        cells = [row.get(name) for name in names]
        lines.append(["refused" if c is None else c if isinstance(c, str) else f"{c:.2g}" for c in cells])
    return table(names, lines)


def main() -> None:
    """Print the errors, or the times; write them as JSON with --out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--time", action="store_true", help="time updates instead")
    parser.add_argument("--quick", action="store_true", help="two sigmas, or few rounds")
    parser.add_argument("--out", type=Path, help="also write what was measured as JSON")
    args = parser.parse_args()
    if args.time:
        found = {"times": times(2 if args.quick else 7)}
    elif not jax.config.read("jax_enable_x64"):
        raise SystemExit("set JAX_ENABLE_X64=1: the reference is float64")
    else:
        found = {"errors": errors(SIGMAS[1::4] if args.quick else SIGMAS)}
    print(f"{on_what()}\n")
    for rows in found.values():
        print(shown(rows))
    save(args.out, found)


if __name__ == "__main__":
    main()
