"""Every rule on a network of a NIR file with branches and feedback: it trains, or says why not.

    python benchmarks/nir_rules.py --out benchmarks/results/nir-rules-cpu.json

Three populations of 20 units, LIF and CubaLIF: A and B read each other, C reads A, B, the input and itself.
Each rule makes two updates by its default settings. Needs the extra nir.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import nir
import numpy as np
from harness import save, table

import perturbax as px
from perturbax.errors import PerturbaxError

UNITS = 20
EDGES = (
    "input > in_a > a > a_b > b > b_a > a",
    "a > a_c > c, b > b_c > c, c > c_c > c, input > skip > c",
    "c > read > out > output",
)


def graph() -> nir.NIRGraph:
    """Return the network, with one input and one output."""
    rng, one = np.random.default_rng(0), np.ones(UNITS)

    def linear(n: int, n_out: int = UNITS) -> nir.Linear:
        return nir.Linear((rng.normal(size=(n_out, n)) / n**0.5).astype("f"))

    of_population = {"tau": 1e-3 * one, "r": 12 * one, "v_leak": 0.1 * one, "v_threshold": one}
    nodes = {
        "input": nir.Input(np.array([1])),
        "output": nir.Output(np.array([1])),
        "a": nir.LIF(**of_population, v_reset=0 * one),
        "b": nir.CubaLIF(
            tau_syn=5e-4 * one,
            tau_mem=1e-3 * one,
            r=12 * one,
            v_leak=0 * one,
            v_threshold=one,
            v_reset=0 * one,
            w_in=one,
        ),
        "c": nir.LIF(**of_population, v_reset=-0.2 * one),
        "in_a": linear(1),
        "skip": linear(1),
        "read": linear(UNITS, 1),
        "out": nir.LI(tau=3e-4 * np.ones(1), r=np.ones(1), v_leak=np.zeros(1)),
        **{name: linear(UNITS) for name in ("a_b", "b_a", "a_c", "b_c", "c_c")},
    }
    edges = []
    for way in ", ".join(EDGES).split(", "):
        names = way.split(" > ")
        edges += itertools.pairwise(names)
    return nir.NIRGraph(nodes, edges, type_check=False)


def outcome(rule: str, file: Path) -> str:
    """Return an empty text where a rule makes two updates of the network in a file, else why it does not."""
    network = {"cell": "nir", "cell_options": {"file": str(file)}}
    try:
        px.run(px.Experiment("probe-lag1", rule, batch=2, steps=2, logs=1, **network))
    except PerturbaxError as error:
        return str(error)
    return ""


def main() -> None:
    """Print what every rule says, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "branched.nir"
        nir.write(str(file), graph())
        found = {rule: outcome(rule, file) for rule in px.RULES}
    refused = {rule: why for rule, why in found.items() if why}
    print(f"{len(found) - len(refused)} of {len(found)} rules train it; the others say why not:\n")
    print(table(["rule", "says"], [[f"`{rule}`", why] for rule, why in refused.items()]))
    save(given.out, {"trains": [rule for rule in found if not found[rule]], "refused": refused})


if __name__ == "__main__":
    main()
