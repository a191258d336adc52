"""What the wire costs: an update in process, and on the same network as a device.

    python benchmarks/wire.py --out benchmarks/results/wire-cpu.json
    python benchmarks/wire.py --units 256 --length 100 --batch 64 --steps 6 --repeats 9

Node perturbation (antithetic, credit to the end) and weight perturbation (antithetic) of a tanh network: in
process; on a simulated device within the process; and on one behind the pipes of a command. First the
estimate of an update alone, with its parts, then whole training steps as `perturbax run` makes them, with
data, optimiser, and validation after every `--steps` of them.
"""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
from harness import Program, alternate, medians, on_what, ratios, save, table

import perturbax as px
from perturbax.cells.stack import stack
from perturbax.devices import Checked, Remote
from perturbax.devices.estimates import device_learner
from perturbax.devices.network import of_network
from perturbax.devices.simulated import Simulated
from perturbax.experiment.build import build
from perturbax.experiment.device_program import program_of

N_IN, N_OUT = 3, 3
OPTIONS = {
    "node": {"sigma": 0.05, "difference": "antithetic", "credit": "to-go"},
    "weight": {"sigma": 0.05, "difference": "antithetic"},
}
HERE, THERE, BEHIND = "in process", "device in process", "device behind pipes"
LEAST = 0.15  # seconds of a round of estimates


def mse(y, target):
    """Return the squared error per example, `(B,)`."""
    return jnp.mean((y - target) ** 2, -1)


def command(units: int, seed: int = 0) -> str:
    """Return the command of a simulated device; every seed is a device of its own."""
    python = shlex.quote(sys.executable)
    return f"{python} -m perturbax.devices.simulated --cell tanh --units {units} --seed {seed}"


def estimates(name: str, units: int, T: int, batch: int) -> tuple[dict[str, Program], dict[str, Program]]:
    """Return (the estimate of one update on each of the three, the parts of it on a device) by name."""
    rule = px.RULES[name](**OPTIONS[name])
    key = jr.split(jr.PRNGKey(0), 3)[0]
    net = px.Network(stack(px.CELLS["tanh"], (N_IN, N_OUT), (units,), key))
    xs, ys = jr.normal(jr.key(1), (T, batch, N_IN)), jr.normal(jr.key(2), (T, batch, N_OUT))
    learner = px.learner(rule, mse)
    state = learner.init(net, xs[0], jr.key(3))
    key_update = jr.key(4)
    update = jax.jit(lambda net, key: learner.update(state, net, xs, ys, key)[1:])
    whole: dict[str, Program] = {HERE: lambda: update(net, key_update)}
    parts: dict[str, Program] = {}
    for where, device in ((THERE, Simulated("tanh", (units,))), (BEHIND, Remote(command(units)))):
        on = Checked(device, N_IN, N_OUT, T)
        there = device_learner(rule, mse, on)
        own = of_network(on.can, net)
        kept = there.init(own, xs[0], jr.key(3))
        given = kept, own, xs, ys, key_update
        drawn = jax.jit(there.draw)(kept, own, xs, key_update)
        settings = there.settings(own, drawn)
        passed = there.passes(drawn, settings, xs, ys)
        whole[where] = partial(estimate_of, there, given)
        parts[f"passes alone, {where}"] = partial(there.passes, drawn, settings, xs, ys)
        if where == THERE:
            parts["noise alone"] = partial(jax.jit(there.draw), kept, own, xs, key_update)
            parts["judging alone"] = partial(jax.jit(there.judge), *given, drawn, settings, passed)
    return whole, parts


def estimate_of(learner, given):
    """Return (loss, grads) of one update on a device."""
    return learner.update(*given)[1:]


def training(name: str, units: int, T: int, batch: int, steps: int) -> dict[str, Program]:
    """Return what trains for some steps and validates, on each of the three, by name."""
    found: dict[str, Program] = {}
    for where, device in ((HERE, None), (THERE, Simulated("tanh", (units,))), (BEHIND, command(units, 1))):
        experiment = px.Experiment(
            "flip-flop",
            name,
            cell="tanh",
            units=(units,),
            batch=batch,
            steps=20 * steps,
            logs=20,
            decorrelate="off",
            device=device,
            task_options={"length": T},
            rule_options=OPTIONS[name],
        )
        program = program_of(build(experiment))
        state = program.start(0)
        program.prepare([state], steps)
        found[where] = lambda program=program, state=state: program.advance([state], steps)[1]
    return found


def largest_difference(found: dict[str, Program]) -> float:
    """Return the largest difference between the estimates, as a share of the largest value."""
    grads = [jax.tree.leaves(program()[1]) for program in found.values()]
    largest = max(float(jnp.abs(g).max()) for g in grads[0])
    apart = [float(jnp.abs(g - h).max()) for others in grads for g, h in zip(grads[0], others, strict=True)]
    return max(apart) / largest


def rows_of(taken: dict[str, list[float]], each: int = 1) -> list[list[str]]:
    """Return rows of a table: program, median and least milliseconds of one of `each`, times in process."""
    against, middle = ratios(taken, HERE), medians(taken)
    return [
        [
            program,
            f"{1e3 * middle[program] / each:.2f}",
            f"{1e3 * min(times) / each:.2f}",
            f"{against[program]:.2f}",
        ]
        for program, times in taken.items()
    ]


def main() -> None:
    """Print tables in Markdown, and write the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--length", type=int, default=50, help="steps of a trial")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100, help="training steps per round")
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    size = given.units, given.length, given.batch
    results = {}
    print(f"tanh {given.units}, T {given.length}, batch {given.batch}, {on_what()}\n")
    for name in OPTIONS:
        whole, parts = estimates(name, *size)
        apart = largest_difference(whole)
        taken = alternate(whole | parts, given.repeats, at_least=LEAST)
        columns = ["ms", "least", "times in process"]
        print(table([f"estimate, rule {name}", *columns], rows_of(taken)))
        print(f"Largest difference of the estimates: {apart:.1e} of the largest value.\n")
        trained = alternate(training(name, *size, given.steps), given.repeats)
        print(table([f"training step, rule {name}", *columns], rows_of(trained, given.steps)), "\n")
        per_step = {program: [t / given.steps for t in times] for program, times in trained.items()}
        results[name] = {
            "estimate": {"seconds": taken, "ratios": ratios(taken, HERE), "apart": apart},
            "training step": {"seconds": per_step, "ratios": ratios(trained, HERE)},
        }
    save(given.out, {"units": size[0], "T": size[1], "batch": size[2], **results})


if __name__ == "__main__":
    main()
