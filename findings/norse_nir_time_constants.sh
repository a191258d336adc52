#!/usr/bin/env bash
# norse 1.1.0: to_nir writes time constants multiplied with dt, from_nir does not. A LIFBoxCell with tau_mem_inv = 100
# per second, hence a time constant of 10 ms, comes out as tau = 1e-5 (dt is 1e-3 s), and what norse reads back from
# its own file has tau_mem_inv = 1e5 per second: with Euler steps of 1 ms its membrane is multiplied by -99 in each.
# A reader that takes tau for seconds, as NIR says, goes wrong likewise; dt = 1e-6 s makes up for it.
#
# Seen with Python 3.11, torch 2.13.0, nir 1.0.8, nirtorch 2.6: "tau_mem_inv 100.0 per s is written as tau 1.0e-05 s
# and read back as 1.0e+05 per s; spikes in 50 steps: 4 before, 50 after".
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 norse==1.1.0 nir==1.0.8 nirtorch==2.6
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys

import norse.torch
import torch
from norse.torch.functional.lif_box import LIFBoxParameters


def spikes(module):
    """Spikes in 50 steps of a constant input."""
    state, count = None, 0
    for _ in range(50):
        y, state = module(torch.full((1, 1), 1.5), state)
        count += int(y.detach().sum())
    return count


one = torch.ones(1)
parameters = LIFBoxParameters(tau_mem_inv=100 * one, v_leak=0 * one, v_th=one, v_reset=0 * one)
net = norse.torch.SequentialState(torch.nn.Linear(1, 1, bias=False), norse.torch.LIFBoxCell(parameters))
net[0].weight.data[:] = 1
graph = norse.torch.to_nir(net, torch.zeros(1))
tau = float(graph.nodes["1"].tau)
back = norse.torch.from_nir(graph)
read = next(float(m.p.tau_mem_inv) for m in back.modules() if hasattr(m, "p"))
before, after = spikes(net), spikes(back)
print(
    f"tau_mem_inv 100.0 per s is written as tau {tau:.1e} s and read back as {read:.1e} per s; "
    f"spikes in 50 steps: {before} before, {after} after"
)
sys.exit(not (abs(tau - 1e-5) < 1e-9 and abs(read - 1e5) < 1 and before != after))
PYTHON
