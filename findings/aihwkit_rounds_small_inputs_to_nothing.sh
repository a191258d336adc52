#!/usr/bin/env bash
# aihwkit 1.1.0, TorchInferenceRPUConfig, in eval mode: a tile divides its inputs by the largest of the row and rounds
# them to 7 bits, so an input below 1/126 of the largest is 0 for it, whatever its weight; and its output noise, 0.06
# times that largest input, is drawn in evaluation, too, and vanishes where all inputs are 0. A small perturbation
# beside an input of 1 (a bias line, say) never arrives.
#
# Seen with Python 3.11, torch 2.13.0: "effect of an input of 0.007 through a weight of 1 beside an input of 1: 0.0000, of
# 0.009: 0.0159; noise beside an input of 1: 0.062, of 0.1: 0.006, at rest: 0".
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 aihwkit==1.1.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import torch
from aihwkit.nn import AnalogLinear
from aihwkit.simulator.configs import TorchInferenceRPUConfig


def tile(noise=None):
    """A tile that reads two inputs: the first through a weight of 1, the second through 0."""
    config = TorchInferenceRPUConfig()
    if noise is not None:
        config.forward.out_noise = noise
        config.forward.out_res = -1  # outputs as they are
    layer = AnalogLinear(2, 1, bias=False, rpu_config=config).eval()
    layer.set_weights(torch.tensor([[1.0, 0.0]]))
    return layer


torch.manual_seed(0)
with torch.no_grad():
    exact, noisy = tile(noise=0.0), tile()
    effect = [float(exact(torch.tensor([[small, 1.0]]))[0, 0]) for small in (0.007, 0.009)]
    spread = [float(noisy(torch.tensor([[0.0, size]]).repeat(20000, 1)).std()) for size in (1.0, 0.1, 0.0)]
print(
    "effect of an input of 0.007 through a weight of 1 beside an input of 1: {:.4f}, of 0.009: {:.4f}; ".format(*effect)
    + "noise beside an input of 1: {:.2g}, of 0.1: {:.1g}, at rest: {:.1g}".format(*spread)
)
white = abs(spread[0] - 0.06) < 0.005 and abs(spread[1] - 0.006) < 0.0005 and spread[2] == 0
sys.exit(not (effect[0] == 0 and abs(effect[1] - 1 / 63) < 1e-3 and white))
PYTHON
