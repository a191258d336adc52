"""Step times of the recurrent rules, beside BPTT and, where it is installed, braintrace; one process, in
turn.

python benchmarks/rules.py --out runs/rules.json
pip install braintrace==0.2.6      # in an environment of its own, beside perturbax: adds its columns
"""

import argparse
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from harness import alternate, medians, save, table

import perturbax as px

T, B, INPUTS = 50, 1, 3
SIZES = (32, 64, 128)
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "bptt": ("bptt", {}),
    "one-step": ("one-step", {}),
    "node": ("node", {}),
    "rtrl": ("rtrl", {}),
    "snap n=1": ("snap", {}),
    "uoro": ("uoro", {}),
    "d-rtrl": ("d-rtrl", {}),
    "d-rtrl mixing": ("d-rtrl", {"mixing": True}),
    "e-prop": ("e-prop", {}),
    "kf-rtrl": ("kf-rtrl", {}),
    "dsf": ("dsf", {}),
}
# What braintrace calls it -> the rule of ours that does the same work. Its D-RTRL leaves r out, as ours does.
PEERS = {
    "rtrl": ("SnAp", {"n": 2}),
    "snap n=1": ("SnAp", {"n": 1}),
    "uoro": ("UORO", {}),
    "d-rtrl": ("D_RTRL", {}),
}


def mse(y: jax.Array, target: jax.Array) -> jax.Array:
    """Return the squared error of each example, `(B,)`, mean over outputs."""
    return jnp.mean((y - target) ** 2, -1)


def ours(n: int, rule: str, options: dict[str, Any]) -> Callable[[], Any]:
    """Return a program: one estimate over T steps."""
    a, b, c, d = jr.split(jr.key(n), 4)
    net = px.Network((px.cells.Tanh(INPUTS, n, key=a), px.cells.Readout(n, 1, key=b)))
    xs, ys = jr.normal(c, (T, B, INPUTS)), jr.normal(d, (T, B, 1))
    run = jax.jit(px.value_and_estimate(px.RULES[rule](**options), mse))
    return lambda: run(net, xs, ys, jr.key(0))


def theirs(n: int, name: str, options: dict[str, Any]) -> Callable[[], Any]:
    """Return a program: the same by braintrace's own driver of sequences, jitted by its own compiler."""
    import brainstate  # pyright: ignore[reportMissingImports]
    import braintrace  # pyright: ignore[reportMissingImports]

    class Net(brainstate.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = braintrace.nn.ValinaRNNCell(INPUTS, n, activation="tanh")
            self.out = braintrace.nn.Linear(n, 1)

        def update(self, x: jax.Array) -> jax.Array:
            return self.out(self.rnn(x))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the readout has no hidden state
        learner = braintrace.compile(
            Net(), getattr(braintrace, name), jnp.zeros((B, INPUTS)), batch_size=B, **options
        )
    xs, ys = jr.normal(jr.key(0), (T, B, INPUTS)), jr.normal(jr.key(1), (T, B, 1))

    def loss(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean((learner.update(x) - y) ** 2)

    run = brainstate.transform.jit(lambda: learner.etrace_grad(xs, ys, step_fn=loss))
    return lambda: run()


def main() -> None:
    """Print microseconds per step, and braintrace's time over ours."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, two sizes")
    args = parser.parse_args()
    sizes = SIZES[:2] if args.quick else SIZES
    peer = importlib.util.find_spec("braintrace") is not None
    found: dict[str, dict[str, Any]] = {name: {} for name in OURS}
    for n in sizes:
        programs = {name: ours(n, *what) for name, what in OURS.items()}
        if peer:
            programs |= {f"braintrace {name}": theirs(n, *what) for name, what in PEERS.items()}
        taken = medians(alternate(programs, 3 if args.quick else 9, at_least=0.01 if args.quick else 0.05))
        for name in OURS:
            found[name][f"n {n}"] = taken[name] / T * 1e6
            if peer and name in PEERS:
                found[name][f"braintrace, n {n}"] = taken[f"braintrace {name}"] / T * 1e6
                found[name][f"braintrace / ours, n {n}"] = taken[f"braintrace {name}"] / taken[name]
    heads = [f"n {n}" for n in sizes]
    if peer:
        heads += [f"braintrace, n {n}" for n in sizes] + [f"braintrace / ours, n {n}" for n in sizes]
    rows = [[name, *(f"{row[h]:.3g}" if h in row else "" for h in heads)] for name, row in found.items()]
    print(f"microseconds per step, tanh, {INPUTS} inputs, T {T}, B {B}")
    print(table(["rule", *heads], rows))
    save(args.out, {"rules": found})


if __name__ == "__main__":
    main()
