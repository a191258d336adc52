"""What rounding leaves of a loss difference: the error of delta against float64, for every sigma and
precision.

JAX_ENABLE_X64=1 python benchmarks/precision.py
"""

import cases
import jax
import jax.numpy as jnp
import jax.random as jr
from cases import CELLS, Size
from harness import table

import perturbax as px
from perturbax.learning.blocks import step_keys
from perturbax.learning.sequence import run_block
from perturbax.rules.perturbation.node import Node

SIGMAS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-5)
DTYPES = ("float64", "float32", "bfloat16")


def deltas(net: px.Network, xs: jax.Array, ys: jax.Array, sigma: float) -> jax.Array:
    """Return the loss differences of one pair of passes, `(T, B)`."""
    rule = Node(sigma=sigma, credit="to-go")
    state = rule.init_state(net, xs[0], jr.key(0))
    carry = rule.init_sequence(net, state, xs[0], jr.key(0))
    carry, noise = rule.draw(net, carry, xs, step_keys(jr.key(1), 0, len(xs)))
    return run_block(rule, cases.mse, net, carry, (xs, ys, noise))[1].delta[:, 0]


def main() -> None:
    """Print the relative error, root mean square over steps and examples."""
    if not jax.config.read("jax_enable_x64"):
        raise SystemExit("set JAX_ENABLE_X64=1: the reference is float64")
    size = Size(64, 32, 50)
    net, data = cases.network(CELLS["tanh"][0], size.n), cases.data(size)
    rows = []
    for sigma in SIGMAS:
        found = {}
        for dtype in DTYPES:
            cast = jax.tree.map(lambda w, d=dtype: w.astype(d), (net, *data))
            try:
                found[dtype] = deltas(*cast, sigma).astype("float64")
            except px.PerturbaxError:
                found[dtype] = None
        exact = found["float64"]
        errors = [
            found[d] if found[d] is None else jnp.sqrt(jnp.mean((found[d] - exact) ** 2) / jnp.mean(exact**2))
            for d in DTYPES[1:]
        ]
        rows.append([f"{sigma:g}", *("refused" if e is None else f"{float(e):.1e}" for e in errors)])
    print(table(["sigma", *DTYPES[1:]], rows))


if __name__ == "__main__":
    main()
