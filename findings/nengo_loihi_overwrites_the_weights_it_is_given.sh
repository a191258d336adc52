#!/usr/bin/env bash
# nengo-loihi 1.1.0: Synapse.set_weights keeps the caller's float32 array instead of a copy, and discretize_model writes
# the integers of the chip into its memory: afterwards the caller's weights of 0.5, 0.25 and 0.1 are numbers below 1e-40.
# A training loop that keeps its weights in that array has lost them after the first run. Give it a copy.
#
# Seen with Python 3.11, nengo 4.1.0, numpy 1.26.4: "weights given: 0.5 0.25 0.1; the same array afterwards: 2.3e-41
# 1.1e-41 4.7e-42; of a float64 array: 0.5 0.25 0.1".
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    nengo-loihi==1.1.0 nengo==4.1.0 numpy==1.26.4
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
from nengo_loihi.block import LoihiBlock, Synapse
from nengo_loihi.builder import Model
from nengo_loihi.builder.discretize import discretize_model


def make_ready(weights):
    """Put weights onto the synapses of a core, and make the model ready for the chip."""
    block, synapse, model = LoihiBlock(3), Synapse(1), Model(dt=0.001)
    block.compartment.configure_lif(tau_rc=0.02, tau_ref=0.0, vth=1.0)
    synapse.set_weights(weights)
    block.add_synapse(synapse)
    model.add_block(block)
    discretize_model(model)


given = [0.5, 0.25, 0.1]
single, double = np.array([given], np.float32), np.array([given])
make_ready(single)
make_ready(double)
words = [" ".join(f"{x:.2g}" for x in row) for row in (given, single[0], double[0])]
print("weights given: {}; the same array afterwards: {}; of a float64 array: {}".format(*words))
sys.exit(not (np.all(np.abs(single) < 1e-40) and np.array_equal(double[0], given)))
PYTHON
