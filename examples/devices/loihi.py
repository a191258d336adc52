"""Spiking units on the Loihi emulator of nengo-loihi, as a device: `python loihi.py`.

It has an environment of its own (requirements-loihi.txt), with a copy of perturbax/devices/driver.py beside
this file. Inputs are spikes, 0 or 1; the outputs are the spikes of the last units in the last ten steps,
halved.
"""

import sys
import warnings

import numpy as np
from driver import serve

warnings.simplefilter("ignore")

from nengo_loihi.block import Axon, LoihiBlock, Synapse  # noqa: E402
from nengo_loihi.builder import Model  # noqa: E402
from nengo_loihi.builder.discretize import discretize_model  # noqa: E402
from nengo_loihi.emulator import EmulatorInterface  # noqa: E402
from nengo_loihi.inputs import SpikeInput  # noqa: E402
from nengo_loihi.probe import LoihiProbe  # noqa: E402

UNITS = 20
STEP, TOP = 0.25, 31.75  # the grid of 8 bits
WINDOW = 10  # steps over which the spikes of an output are counted


class Loihi:
    """Spiking units with recurrent synapses on one core; the last ones are the outputs."""

    def hello(self, asked):
        n_in, self.n_out = asked["inputs"], asked["outputs"]
        rng = np.random.default_rng(0)
        self.weights = {}
        below = rng.normal(3, 6, (n_in, UNITS))
        below[-1] += 12  # the input that asks for the answer is heard
        self.write({"below": below, "recurrent": rng.normal(1, 4, (UNITS, UNITS))})
        grid = {"low": -TOP, "high": TOP, "step": STEP}
        return {
            "version": 1,
            "name": "nengo-loihi emulator",
            "inputs": n_in,
            "outputs": self.n_out,
            "weights": {
                "below": {"shape": [n_in, UNITS], **grid},
                "recurrent": {"shape": [UNITS, UNITS], **grid},
            },
            "noise": "none",
            "seeded": True,
        }

    def write(self, weights):
        for name, array in weights.items():
            self.weights[name] = np.clip(np.round(array / STEP) * STEP, -TOP, TOP)
        return self.weights

    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        trials = [self.spikes(inputs[:, b], seed or 0) for b in range(inputs.shape[1])]
        fired = np.stack(trials, 1)[..., -self.n_out :]  # (T, B, n_out)
        counts = fired.cumsum(0)
        counts[WINDOW:] -= counts[:-WINDOW].copy()
        return {"outputs": counts / 2}

    def bye(self):
        pass

    def spikes(self, inputs, seed):
        """The spikes `(T, units)` of one trial, from rest: the emulator is built anew."""
        n_in = inputs.shape[1]
        model, block = Model(dt=0.001), LoihiBlock(UNITS)
        block.compartment.configure_lif(tau_rc=0.02, tau_ref=0.0, vth=1.0)
        block.compartment.configure_filter(0.005)
        # All weights of a block share one scale, which the largest sets: an input that never spikes pins it.
        pinned = np.full((1, UNITS), TOP)
        below, recurrent = Synapse(n_in + 1), Synapse(UNITS)
        below.set_weights(np.concatenate([self.weights["below"], pinned]).astype(np.float32))
        recurrent.set_weights(
            self.weights["recurrent"].astype(np.float32)
        )  # a copy: it is rewritten in place
        block.add_synapse(below, "below")
        block.add_synapse(recurrent, "recurrent")
        loop, source, wire = Axon(UNITS), SpikeInput(n_in + 1), Axon(n_in + 1)
        loop.target, wire.target = recurrent, below
        block.add_axon(loop)
        source.add_axon(wire)
        for t, row in enumerate(inputs):
            if len(on := np.nonzero(row > 0.5)[0]):
                source.add_spikes(t + 1, list(on))
        probe = LoihiProbe(target=[block], key="spiked", slice=[slice(None)])
        model.add_input(source)
        model.add_block(block)
        model.add_probe(probe)
        discretize_model(model)
        with EmulatorInterface(model, seed=seed) as emulator:
            emulator.run_steps(len(inputs))
            return (np.asarray(emulator.collect_probe_output(probe)) > 0).astype(float)


if __name__ == "__main__":
    serve(Loihi(), *sys.argv[1:])
