"""Other people's benchmarks, a file each: what they ask, and what is published. `perturbax bench` runs them.

A new one is a file with a `Benchmark`, and a line in `BENCHMARKS`.
"""

from perturbax.bench import etth1, mnist, mnist_1d, neurobench, neurogym, shd, tiny_shakespeare
from perturbax.bench.base import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    one.name: one
    for one in (
        mnist_1d.BENCHMARK,
        neurobench.BENCHMARK,
        etth1.BENCHMARK,
        mnist.SEQUENTIAL,
        mnist.PERMUTED,
        tiny_shakespeare.BENCHMARK,
        shd.BENCHMARK,
        neurogym.BENCHMARK,
    )
}
"""Every benchmark by its name."""
