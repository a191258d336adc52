"""A recurrent network of snntorch as a device: `python spiking_snntorch.py`.

It has an environment of its own (requirements-snntorch.txt), with a copy of perturbax/devices/driver.py
beside this file. Leaky neurons with recurrent synapses spike; a second, silent layer of them filters the
spikes into outputs. Every layer takes a current, and shows what its synapses saw.
"""

import sys

import numpy as np
import snntorch
import torch
from driver import serve

UNITS = 32


class SpikingNetwork:
    """Neurons of snntorch between synapses that are written to."""

    def hello(self, asked):
        n_in, n_out = asked["inputs"], asked["outputs"]
        rng = np.random.default_rng(0)
        self.weights = {
            "hidden": rng.normal(0, (n_in + UNITS) ** -0.5, (n_in + UNITS, UNITS)).astype(np.float32),
            "out": rng.normal(0, 0.1, (UNITS, n_out)).astype(np.float32),
        }
        return {
            "version": 1,
            "name": "snntorch",
            "inputs": n_in,
            "outputs": n_out,
            "weights": {
                name: {"shape": list(array.shape), "layer": name, "reads": "z"}
                for name, array in self.weights.items()
            },
            "noise": "none",
            "currents": {"hidden": [UNITS], "out": [n_out]},
            "taps": {"hidden": ["z", "a", "y"], "out": ["z", "a"]},
        }

    def write(self, weights):
        self.weights.update({name: np.array(array, np.float32) for name, array in weights.items()})
        return self.weights

    @torch.no_grad()
    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        hidden = snntorch.Leaky(beta=0.9)
        out = snntorch.Leaky(beta=0.9, reset_mechanism="none")
        v, u = hidden.init_leaky(), out.init_leaky()  # from rest: these layers keep their state otherwise
        B = inputs.shape[1]
        spikes = np.zeros((B, UNITS), np.float32)
        found = {name: [] for name in ("hidden.z", "hidden.a", "hidden.y", "out.z", "out.a", "outputs")}
        for t, x in enumerate(np.asarray(inputs, np.float32)):
            z = np.concatenate([x, spikes], 1)  # (B, n_in + units)
            a = z @ self.weights["hidden"] + (currents["hidden"][t] if currents else 0)
            fired, v = hidden(torch.tensor(np.asarray(a, np.float32)), v)
            spikes = fired.numpy()
            b = spikes @ self.weights["out"] + (currents["out"][t] if currents else 0)  # (B, n_out)
            _, u = out(torch.tensor(np.asarray(b, np.float32)), u)
            for name, array in zip(found, (z, a, spikes, spikes, b, u.numpy()), strict=True):
                found[name].append(array)
        return {name: np.stack(found[name]) for name in ("outputs", *taps)}

    def bye(self):
        pass


if __name__ == "__main__":
    serve(SpikingNetwork(), *sys.argv[1:])
