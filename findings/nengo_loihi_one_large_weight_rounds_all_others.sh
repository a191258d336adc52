#!/usr/bin/env bash
# nengo-loihi 1.1.0: all weights of a block share one scale, which the largest of them sets (the threshold is scaled with
# them). Changing ONE weight from 0.5 to 50 changes what the core holds of all others: of 0.25 and 0.1 beside it,
# one grid step and nothing are left. Perturbing one weight perturbs them all, unless an unused synapse at the top of the
# range pins the scale.
#
# Seen with Python 3.11, nengo 4.1.0, numpy 1.26.4: "held, in units of the threshold: 0.0243 0.0123 0.0050; with one
# weight of 50: 2.4423 0.0192 0.0000".
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


def held(first):
    """What the core holds of three weights, in units of its threshold."""
    block, synapse, model = LoihiBlock(3), Synapse(1), Model(dt=0.001)
    block.compartment.configure_lif(tau_rc=0.02, tau_ref=0.0, vth=1.0)
    synapse.set_weights(np.array([[first, 0.25, 0.1]], np.float32))
    block.add_synapse(synapse)
    model.add_block(block)
    discretize_model(model)
    return np.asarray(synapse.weights[0]).ravel() / float(block.compartment.vth[0])


small, large = held(0.5), held(50.0)
words = [" ".join(f"{x:.4f}" for x in row) for row in (small, large)]
print("held, in units of the threshold: {}; with one weight of 50: {}".format(*words))
ratio = small[1] / small[2]
sys.exit(not (abs(ratio - 2.5) < 0.1 and large[1] > 1.3 * small[1] and large[2] == 0))
PYTHON
