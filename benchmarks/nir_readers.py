"""What other packages make of our NIR files: how many of their spikes differ from ours.

python benchmarks/nir_readers.py --out benchmarks/results/nir-readers.json --envs /tmp/nir-readers

Ten networks of each kind, of 16 units, with 4 inputs over 200 steps, hence 3,200 values each, spike or none.
Each package is installed into an environment of its own in the folder --envs, which is made once. Needs the
extra nir.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from harness import machine, table

import perturbax as px
from perturbax.atomic import write
from perturbax.exchange.measuring import _spikes

NETS, UNITS, INPUTS, STEPS = 10, 16, 4, 200
TORCH = "torch==2.13.0"
PACKAGES = {
    "spikingjelly": ("spikingjelly==2.0.0", TORCH, "nir==1.0.8", "nirtorch==2.6"),
    "snntorch": ("snntorch==1.0.0", TORCH, "nir==1.0.8", "nirtorch==2.6"),
    "norse": ("norse==1.1.0", TORCH, "nir==1.0.8", "nirtorch==2.6"),
    "sinabs": ("sinabs==3.1.3", TORCH, "nir==1.0.4"),
    "spyx": ("spyx==1.0.0", "nir==1.0.8"),
}
READERS = {
    "spikingjelly": "spikingjelly",
    "spikingjelly, r in the weights": "spikingjelly",
    "snntorch": "snntorch",
    "norse": "norse",
    "norse, r in the weights": "norse",
    "spyx": "spyx",
    "sinabs": "sinabs",
    "sinabs, v_reset deleted": "sinabs",
}
"""Ways of reading, of `nir_reader.py`, and the package of each."""
KINDS = {
    "feed-forward": "lif, reset zero, without recurrent weights",
    "recurrent": "lif, reset zero",
    "subtracting": "lif, reset subtract, written with `approximate`",
}


def network(kind: str, seed: int) -> px.Network:
    """Return a layer of lif cells that fire.

    Arguments:
        kind: one of `KINDS`.
        seed: of its weights.
    """
    reset = "subtract" if kind == "subtracting" else "zero"
    cell = px.cells.LIF(INPUTS, UNITS, key=jr.key(seed), reset=reset, bias=False)
    factor = 0.0 if kind == "feed-forward" else 0.5
    return px.Network((eqx.tree_at(lambda c: (c.W, c.U), cell, (2 * cell.W, factor * cell.U)),))


def write_files(folder: Path) -> dict[str, np.ndarray]:
    """Write a file and inputs for every network, and return our spikes `(T, n)` by its name."""
    inputs, spikes = {}, {}
    for kind in KINDS:
        for seed in range(NETS):
            name = f"{kind}-{seed}"
            net, xs = network(kind, seed), jr.normal(jr.key(100 + seed), (STEPS, 1, INPUTS))
            for r_in_weights in (False, True):
                graph = px.to_nir(net, approximate=xs, r_in_weights=r_in_weights)
                if kind == "feed-forward":
                    graph = without_feedback(graph)
                write_graph(folder / f"{name}{'-r' * r_in_weights}.nir", graph)
            inputs[name] = np.asarray(xs[:, 0])
            spikes[name] = np.asarray(_spikes(net, jnp.asarray(xs)))[:, 0]
    np.savez(folder / "inputs.npz", **inputs)
    return spikes


def without_feedback(graph: Any) -> Any:
    """Return a graph without its recurrent node, whose weights are zero here."""
    import nir

    nodes = {name: node for name, node in graph.nodes.items() if name != "recurrent_0"}
    edges = [edge for edge in graph.edges if "recurrent_0" not in edge]
    return nir.NIRGraph(nodes, edges, metadata=graph.metadata, type_check=False)


def write_graph(file: Path, graph: Any) -> None:
    """Write a graph to a file."""
    import nir

    nir.write(str(file), graph)


def python_of(package: str, folder: Path) -> Path:
    """Return the interpreter of a package's environment, which is made where it is missing."""
    place = folder / package
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        venv.create(place, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", *PACKAGES[package]]
        subprocess.run(install, check=True)  # noqa: S603
        (place / "ready").touch()
    return python


def measured(reader: str, folder: Path, python: Path, ours: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what a reader made of the files: by kind the differing spikes of each network, or an error."""
    script = Path(__file__).with_name("nir_reader.py")
    command = [python, script, reader, folder]
    ended = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)  # noqa: S603
    if ended.returncode:
        raise SystemExit(f"{reader} ended with status {ended.returncode}: {ended.stderr[-2000:]}")
    spikes = np.load(folder / f"{reader}.npz")
    errors = json.loads((folder / f"{reader}.json").read_text())
    found: dict[str, Any] = {}
    for kind in KINDS:
        names = [f"{kind}-{seed}" for seed in range(NETS)]
        refused = [errors[name] for name in names if name in errors]
        if refused:
            found[kind] = {"error": refused[0], "of": len(refused)}
            continue
        same_shape = all(spikes[name].shape == ours[name].shape for name in names)
        if not same_shape:
            found[kind] = {"error": f"returns {spikes[names[0]].shape[-1]} outputs per step", "of": NETS}
            continue
        differing = [int((spikes[name] != ours[name]).sum()) for name in names]
        late = [int((spikes[name][1:] != ours[name][:-1]).sum()) for name in names]
        found[kind] = {"differing": differing, "one step later": late}
    return found


def words(found: dict[str, Any]) -> str:
    """Return what was measured of one kind, for a table."""
    if "error" in found:
        return f"not read: {found['error']}"
    low, high = min(found["differing"]), max(found["differing"])
    said = f"{low}" if low == high else f"{low} to {high}"
    late = found["one step later"]
    return f"{said} (one step later: {min(late)} to {max(late)})" if high and max(late) < low else said


def main() -> None:
    """Measure all packages, print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument(
        "--envs", type=Path, required=True, help="folder for the environments of the packages"
    )
    args = parser.parse_args()
    args.envs.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = write_files(folder)
        for reader, package in READERS.items():
            results[reader] = measured(reader, folder, python_of(package, args.envs), ours)
            print(f"{reader}: done", file=sys.stderr)
    fired = {kind: [int(ours[f"{kind}-{seed}"].sum()) for seed in range(NETS)] for kind in KINDS}
    rows = []
    for reader, package in READERS.items():
        version = PACKAGES[package][0].partition("==")[2]
        rows.append(
            [reader.replace(package, f"{package} {version}"), *(words(results[reader][k]) for k in KINDS)]
        )
    print(table(["reader", *KINDS], rows))
    if args.out:
        content = {"machine": machine(), "packages": PACKAGES, "fired": fired, "readers": results}
        write(args.out, (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
