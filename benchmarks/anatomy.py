"""What an update is made of: its products, draws and outer products timed apart, and what is left over.

python benchmarks/anatomy.py
"""

from typing import Any

import cases
import jax
import jax.numpy as jnp
import jax.random as jr
from cases import CELLS, SIZES, Size
from harness import alternate, medians, table

import perturbax as px
from perturbax.learning.blocks import step_keys


def products(size: Size, rows: int) -> Any:
    """Return a program: the recurrent product of so many rows, step after step, and its tanh."""
    U, h = jr.normal(jr.key(0), (size.n, size.n)) / size.n**0.5, jr.normal(jr.key(1), (rows, size.n))
    run = jax.jit(lambda U, h: jax.lax.scan(lambda h, _: (jnp.tanh(h @ U), None), h, None, length=size.T)[0])
    return lambda: run(U, h)


def outer(size: Size) -> Any:
    """Return a program: signals times activity of the whole sequence in one product."""
    a, b = jr.normal(jr.key(0), (2, size.T * size.B, size.n))
    run = jax.jit(lambda a, b: a.T @ b)
    return lambda: run(a, b)


def draws(size: Size) -> Any:
    """Return a program: the noise of the whole sequence."""
    rule, net = px.RULES["node"](), cases.network(CELLS["tanh"][0], size.n)
    xs = cases.data(size)[0]

    def run(key: jax.Array) -> Any:
        carry = rule.init_sequence(net, rule.init_state(net, xs[0], key), xs[0], key)
        return rule.draw(net, carry, xs, step_keys(key, 0, size.T))[1]

    go = jax.jit(run)
    return lambda: go(jr.key(0))


def main() -> None:
    """Print one column per part."""
    rows = []
    for size in SIZES:
        programs = {
            "update": cases.of_rule("node", "tanh", size),
            "products, two rows": products(size, 2 * size.B),
            "outer product": outer(size),
            "draws": draws(size),
        }
        ms = {name: seconds * 1e3 for name, seconds in medians(alternate(programs, 15, 0.02)).items()}
        rest = ms["update"] - sum(v for name, v in ms.items() if name != "update")
        rows.append([str(size), *(f"{v:.3g}" for v in ms.values()), f"{rest:.3g}"])
    print(table(["ms", "update", "recurrent products and tanh", "outer product", "draws", "the rest"], rows))


if __name__ == "__main__":
    main()
