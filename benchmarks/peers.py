"""A generation of evosax's Open_ES against one of ours: same network, data, population and optimiser, one
process.

pip install evosax==0.3.2        # in an environment of its own, beside perturbax
python benchmarks/peers.py --out peers.json
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import jax
import jax.random as jr
import optax
from cases import CELLS, Size
from evolution import Strategy, make
from harness import alternate, medians, ratios, save, table
from jax.flatten_util import ravel_pytree

import perturbax as px
from perturbax.rules.perturbation.helpers import mean_loss

SIZES = ((Size(64, 32, 50), 64), (Size(256, 8, 50), 64), (Size(512, 1, 50), 256))


def theirs(size: Size, population: int) -> Callable[[], Any]:
    """Return a program: ask for a population, evaluate it, tell."""
    net, (xs, ys) = cases.network(CELLS["tanh"][0], size.n), cases.data(size)
    some, rest = px.split(net)
    flat, unravel = ravel_pytree(some)
    algorithm, params = make(Strategy("Open_ES", population), flat)
    state = algorithm.init(jr.key(0), flat, params)

    def generation(key: jax.Array, state: Any) -> Any:
        ask, tell = jr.split(key)
        members, state = algorithm.ask(ask, state, params)
        fitness = jax.vmap(lambda m: mean_loss(px.join(unravel(m), rest), xs, ys, cases.mse))(members)
        return algorithm.tell(tell, members, fitness, state, params)[0]

    run = jax.jit(generation)
    return lambda: run(jr.key(1), state)


def ours(size: Size, population: int, **options: Any) -> Callable[[], Any]:
    """Return a program: estimate, and let Adam step."""
    net, (xs, ys) = cases.network(CELLS["tanh"][0], size.n), cases.data(size)
    estimate = px.value_and_estimate(px.RULES["evolution"](population=population, **options), cases.mse)
    optimiser = optax.adam(1e-3)
    state = optimiser.init(px.weights(net))

    def generation(key: jax.Array, net: px.Network, state: Any) -> Any:
        grads = estimate(net, xs, ys, key)[1]
        updates, state = optimiser.update(grads, state)
        return px.apply_updates(net, updates), state

    run = jax.jit(generation)
    return lambda: run(jr.key(1), net, state)


def main() -> None:
    """Print one row per size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    variants = {
        "rank 0, normal noise": {"rank": 0, "noise": "gaussian"},
        "rank 0, signs": {"rank": 0},
        "rank 1, signs (default)": {},
    }
    heads = ["size", "population", "Open_ES ms", *variants]
    found = []
    for size, population in SIZES:
        programs = {name: ours(size, population, **options) for name, options in variants.items()}
        taken = alternate({"Open_ES": theirs(size, population), **programs}, 9)
        by = ratios(taken, "Open_ES")
        values = (str(size), population, medians(taken)["Open_ES"] * 1e3, *(by[name] for name in variants))
        found.append(dict(zip(heads, values, strict=True)))
    print(
        table(
            heads, [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in found]
        )
    )
    save(args.out, {"peers": found})


if __name__ == "__main__":
    main()
