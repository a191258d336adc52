"""What one package makes of NIR files: run by `nir_readers.py` in an environment of that package, without
perturbax.

    python nir_reader.py PACKAGE FOLDER

FOLDER holds files NAME.nir and inputs.npz with inputs `(T, n_in)` by NAME. Written there: PACKAGE.npz with
the spikes `(T, n)` of each, and PACKAGE.json with the error of each that the package does not read.
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
    reader.__name__: reader for reader in (spikingjelly, snntorch, norse, sinabs, spyx)
}


def main() -> None:
    """Read every file of a folder."""
    package, folder = sys.argv[1], Path(sys.argv[2])
    inputs, spikes, errors = np.load(folder / "inputs.npz"), {}, {}
    for name in inputs.files:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = READERS[package](nir.read(str(folder / f"{name}.nir")), inputs[name])
            outputs = np.stack([np.asarray(y) for y in found])
            spikes[name] = outputs.reshape(len(inputs[name]), -1) > 0.5
        except Exception as error:  # whatever a reader says is what is measured
            errors[name] = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    np.savez(folder / f"{package}.npz", **spikes)
    (folder / f"{package}.json").write_text(json.dumps(errors, indent=1))


if __name__ == "__main__":
    main()
