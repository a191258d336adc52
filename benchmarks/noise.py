"""Cost of drawing noise: jax.random.normal against signs from packed bits, medians in one process.

python benchmarks/noise.py
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from harness import alternate, medians, ratios, spread, table

from perturbax.learning.noise import Gaussian, Independent, Rademacher

SIZES = (10**4, 10**5, 10**6)
INSIDE = 20


def many(noise: Independent, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw inside one compiled loop, as training does, so that calls from Python do not count."""

    def once(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return total + noise.sample(key, shape, jnp.float32), None

    return jax.lax.scan(once, jnp.zeros(shape), jr.split(key, INSIDE))[0]


def measured(size: int, repeats: int = 21) -> dict[str, float]:
    """Microseconds per draw of so many values, and how many times cheaper signs are."""
    key, shape = jr.key(0), (size // 1000, 1000)
    runs = {n: jax.jit(lambda key, n=n: many(n, key, shape)) for n in (Gaussian(), Rademacher())}
    taken = alternate({type(n).__name__: (lambda run=run: run(key)) for n, run in runs.items()}, repeats)
    us = {name: seconds * 1e6 / INSIDE for name, seconds in medians(taken).items()}
    return {"size": size, **us, "ratio": ratios(taken, "Rademacher")["Gaussian"], "spread": spread(taken)}


def main() -> None:
    """Print one row per size."""
    rows = [[f"{v:.3g}" for v in measured(size).values()] for size in SIZES]
    print(table(["draws", "normal (us)", "signs (us)", "normal / signs", "spread"], rows))


if __name__ == "__main__":
    main()
