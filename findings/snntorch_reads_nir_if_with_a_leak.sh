#!/usr/bin/env bash
# snntorch 1.0.0: import_from_nir makes a Leaky with beta = 0.9 of nir.IF, the integrate-and-fire neuron without a leak,
# and it is reset by subtraction, not to v_reset. An input of 0.09 per step drives v to 0.9 at most and never over a
# threshold of 1, where the neuron of the graph spikes in every 12th step (1 / 0.09 = 11.1). Nothing is said about it.
#
# Seen with Python 3.11, torch 2.13.0, nir 1.0.8, nirtorch 2.6: "beta 0.9, reset subtract; spikes in 120 steps: 0, of
# the neuron in the graph: 10".
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 snntorch==1.0.0 nir==1.0.8 nirtorch==2.6
"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import sys

import nir
import numpy as np
import snntorch
import torch
from snntorch.import_nir import import_from_nir

STEPS, INPUT = 120, 0.09
one = np.ones(1)
neuron = nir.IF(r=one, v_threshold=one, v_reset=0 * one)
graph = nir.NIRGraph.from_list(nir.Affine(np.ones((1, 1), "f"), np.zeros(1, "f")), neuron)
with contextlib.redirect_stdout(io.StringIO()):
    module = import_from_nir(graph)
leaky = next(m for m in module.modules() if isinstance(m, snntorch.Leaky))
# Leaky returns (spikes, membrane), and takes the membrane of before.
membrane, found = leaky.init_leaky(), 0
for _ in range(STEPS):
    spike, membrane = leaky(torch.full((1, 1), INPUT), membrane)
    found += int(spike.sum())
v, wanted = 0.0, 0
for _ in range(STEPS):
    v += INPUT
    if v > 1:
        v, wanted = 0.0, wanted + 1
print(
    f"beta {float(leaky.beta):.1f}, reset {leaky.reset_mechanism}; spikes in {STEPS} steps: {found}, of the neuron in "
    f"the graph: {wanted}"
)
sys.exit(not (abs(float(leaky.beta) - 0.9) < 1e-6 and found == 0 and wanted == 10))
PYTHON
