"""Cost of drawing noise: jax.random.normal against signs from packed bits, medians in one process.

python benchmarks/noise.py
"""

import statistics
import time

import jax
import jax.numpy as jnp
import jax.random as jr

from perturbax.noise import Gaussian, Independent, Rademacher

SIZES = (10**4, 10**5, 10**6)
REPEATS, INSIDE = 21, 20


def many(noise: Independent, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw inside one compiled loop, as training does, so that calls from Python do not count."""

    def once(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return total + noise.sample(key, shape, jnp.float32), None

    return jax.lax.scan(once, jnp.zeros(shape), jr.split(key, INSIDE))[0]


def main() -> None:
    """Alternate the two, so that both see the same machine."""
    print("| draws | normal (us) | signs (us) | ratio |\n|---|---|---|---|")
    for size in SIZES:
        shape = (size // 1000, 1000)
        runs = {n: jax.jit(lambda key, n=n, shape=shape: many(n, key, shape)) for n in (Gaussian(), Rademacher())}
        taken: dict = {n: [] for n in runs}
        for i in range(REPEATS + 2):
            for n, run in runs.items():
                began = time.perf_counter()
                jax.block_until_ready(run(jr.key(i)))
                taken[n].append(time.perf_counter() - began)
        normal, signs = (statistics.median(t[2:]) * 1e6 / INSIDE for t in taken.values())
        print(f"| {size} | {normal:.0f} | {signs:.0f} | {normal / signs:.1f} |")


if __name__ == "__main__":
    main()
