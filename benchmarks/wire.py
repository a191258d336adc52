"""What the wire costs: the estimate of one update in process, and on the same network as a device.

    python benchmarks/wire.py --out benchmarks/results/wire-cpu.json

Node perturbation (antithetic, credit to the end) and weight perturbation (antithetic), tanh 64, T 50, batch
32: the compiled estimate in process; the same rule on a simulated device within the process; and on one
behind the pipes of a command.
"""

import argparse
import shlex
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
from harness import alternate, medians, ratios, save, table

import perturbax as px
from perturbax.cells.stack import stack
from perturbax.devices import Checked, Remote
from perturbax.devices.estimates import device_learner
from perturbax.devices.network import of_network
from perturbax.devices.simulated import Simulated

UNITS, T, BATCH, N_IN, N_OUT = 64, 50, 32, 3, 2


def mse(y, target):
    """Return the squared error per example, `(B,)`."""
    return jnp.mean((y - target) ** 2, -1)


RULES = {
    "node": px.RULES["node"](sigma=0.05, difference="antithetic", credit="to-go"),
    "weight": px.RULES["weight"](sigma=0.05, difference="antithetic"),
}


def programs(rule):
    """Return the three programs of a rule by name, each the estimate of one update."""
    key = jr.split(jr.PRNGKey(0), 3)[0]
    net = px.Network(stack(px.CELLS["tanh"], (N_IN, N_OUT), (UNITS,), key))
    xs, ys = jr.normal(jr.key(1), (T, BATCH, N_IN)), jr.normal(jr.key(2), (T, BATCH, N_OUT))
    learner = px.learner(rule, mse)
    state = learner.init(net, xs[0], jr.key(3))
    key_update = jr.key(4)
    update = jax.jit(lambda net, key: learner.update(state, net, xs, ys, key)[1:])
    found = {"in process": lambda: update(net, key_update)}
    command = f"{shlex.quote(sys.executable)} -m perturbax.devices.simulated --cell tanh --units {UNITS}"
    for name, device in (
        ("device in process", Simulated("tanh", (UNITS,))),
        ("device behind pipes", Remote(command)),
    ):
        on = Checked(device, N_IN, N_OUT, T)
        there = device_learner(rule, mse, on)
        own = of_network(on.can, net)
        kept = there.init(own, xs[0], jr.key(3))
        found[name] = lambda there=there, own=own, kept=kept: there.update(kept, own, xs, ys, key_update)[1:]
    return found


def largest_difference(found):
    """Return the largest difference between the estimates, as a share of the largest value."""
    grads = [jax.tree.leaves(program()[1]) for program in found.values()]
    largest = max(float(jnp.abs(g).max()) for g in grads[0])
    apart = [float(jnp.abs(g - h).max()) for others in grads for g, h in zip(grads[0], others, strict=True)]
    return max(apart) / largest


def main() -> None:
    """Print a table in Markdown, and write the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    results = {}
    for name, rule in RULES.items():
        found = programs(rule)
        apart = largest_difference(found)
        taken = alternate(found, given.repeats, at_least=0.3)
        against, middle = ratios(taken, "in process"), medians(taken)
        rows = [[program, f"{1e3 * middle[program]:.1f}", f"{against[program]:.2f}"] for program in taken]
        print(table([f"estimate, rule {name}", "ms", "times in process"], rows))
        print(f"Largest difference of the estimates: {apart:.1e} of the largest value.\n")
        results[name] = {"seconds": taken, "ratios": against, "apart": apart}
    save(given.out, results)


if __name__ == "__main__":
    main()
