"""What one package makes of NIR files: run by `nir_readers.py` in an environment of that package, without
perturbax.

    python nir_reader.py READER FOLDER

READER is one of `READERS`. FOLDER holds files NAME.nir and inputs.npz with inputs `(T, n_in)` by NAME.
Written there: READER.npz with the spikes `(T, n)` of each, and READER.json with the error of each that is not
read.
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np


def step_by_step(module: Any, xs: np.ndarray) -> list[Any]:
    """Return the outputs of a module that takes and returns its state."""
    import torch

    state, outputs = None, []
    for x in torch.tensor(xs)[:, None]:
        y, state = module(x, state)
        outputs.append(y.detach())
    return outputs


def spikingjelly(graph: Any, xs: np.ndarray) -> Any:
    """spikingjelly: dt of 1e-4 s is its default."""
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return step_by_step(import_from_nir(graph), xs)


def snntorch(graph: Any, xs: np.ndarray) -> Any:
    """snntorch: dt of 1e-4 s is fixed."""
    from snntorch.import_nir import import_from_nir

    return step_by_step(import_from_nir(graph), xs)


def norse(graph: Any, xs: np.ndarray) -> Any:
    """norse, told the dt of the file."""
    import norse.torch

    return step_by_step(norse.torch.from_nir(graph, dt=1e-4), xs)


def sinabs(graph: Any, xs: np.ndarray) -> Any:
    """sinabs: it has no dt."""
    import torch
    from sinabs.nir import from_nir

    module = from_nir(graph, batch_size=1, num_timesteps=len(xs))
    found = module(torch.tensor(xs))
    return (found[0] if isinstance(found, tuple) else found).detach()


def spyx(graph: Any, xs: np.ndarray) -> Any:
    """spyx, told the dt of the file."""
    import jax.numpy as jnp
    from spyx.nir import from_nir

    return from_nir(graph, jnp.asarray(xs)[:, None], dt=1e-4)[1]


READERS: dict[str, Callable[[Any, np.ndarray], Any]] = {
    "spikingjelly": spikingjelly,
    "spikingjelly, r in the weights": spikingjelly,
    "snntorch": snntorch,
    "norse": norse,
    "norse, r in the weights": norse,
    "sinabs": sinabs,
    "sinabs, v_reset deleted": sinabs,
    "spyx": spyx,
}


def delete_v_reset(file: Path) -> None:
    """Delete v_reset of the populations of a file, which nir 1.0.4 does not know."""
    import h5py

    with h5py.File(file, "a") as content:
        for node in content["node/nodes"].values():
            if "v_reset" in node:
                del node["v_reset"]


def main() -> None:
    """Read every file of a folder."""
    reader, folder = sys.argv[1], Path(sys.argv[2])
    inputs, spikes, errors = np.load(folder / "inputs.npz"), {}, {}
    for name in inputs.files:
        file = folder / f"{name}{'-r' if reader.endswith('r in the weights') else ''}.nir"
        if reader.endswith("v_reset deleted"):
            delete_v_reset(file)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = READERS[reader](nir.read(str(file)), inputs[name])
            outputs = np.stack([np.asarray(y) for y in found])
            spikes[name] = outputs.reshape(len(inputs[name]), -1) > 0.5
        except Exception as error:  # whatever a reader says is what is measured
            errors[name] = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    np.savez(folder / f"{reader}.npz", **spikes)
    (folder / f"{reader}.json").write_text(json.dumps(errors, indent=1))


if __name__ == "__main__":
    main()
