#!/usr/bin/env bash
# norse 1.1.0: from_nir walks a graph depth first from its input, and returns what the node puts out that it meets
# last, whatever leads to the Output. Of a graph that adds x and, through a second branch, 10 x, it returns 10 x, the
# branch, in place of 11 x. Where the walk is right, as for two populations that read each other, of which one reads
# the input, the edge that closes the cycle takes the output of the last step: A reads B of the last step, B reads A of
# this one.
#
# Seen with Python 3.11, torch 2.13.0, nir 1.0.8, nirtorch 2.6: "x + 10 x of 1, 2, 3: 10, 20, 30; two populations: 0 of
# 400 spikes differ if the closing edge is one step late, 39 if both edges are".
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 norse==1.1.0 nir==1.0.8 nirtorch==2.6
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys

import nir
import norse.torch
import numpy as np
import torch

STEPS, UNITS, DT, TAU = 100, 4, 1e-4, 1e-3


def outputs(nodes, edges, xs):
    """What norse puts out, step by step, for inputs `(T, n_in)`."""
    ends = {"input": nir.Input(np.array([xs.shape[1]])), "output": nir.Output(np.array([1]))}
    module = norse.torch.from_nir(nir.NIRGraph(ends | nodes, edges, type_check=False), dt=DT)
    state, found = None, []
    for x in torch.tensor(xs)[:, None]:
        y, state = module(x, state)
        found.append(y.detach().numpy()[0])
    return np.array(found)


def linear(*values):
    """One weight."""
    return nir.Linear(np.array([values], "f"))


xs = np.array([[1], [2], [3]], "f")
nodes = {"a": linear(1), "b": linear(1), "branch": linear(10)}
edges = [("input", "a"), ("a", "b"), ("b", "output"), ("input", "branch"), ("branch", "b")]
summed = outputs(nodes, edges, xs)[:, 0]

rng = np.random.default_rng(0)
weights = {name: rng.normal(size=(UNITS, UNITS)).astype("f") * 10 for name in ("in", "ab", "ba")}
one = np.ones(UNITS)
neurons = {name: nir.LIF(tau=TAU * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one) for name in "ab"}
nodes = neurons | {f"w_{name}": nir.Linear(w) for name, w in weights.items()}
edges = [("input", "w_in"), ("w_in", "a"), ("a", "w_ab"), ("w_ab", "b"), ("b", "w_ba"), ("w_ba", "a"), ("b", "output")]
xs = rng.normal(size=(STEPS, UNITS)).astype("f")
found = outputs(nodes, edges, xs) > 0.5


def by_hand(both_late):
    """Spikes of B."""
    v, y, spikes = {"a": 0 * one, "b": 0 * one}, {"a": 0 * one, "b": 0 * one}, []
    for x in xs:
        before = dict(y)
        for name in "ab":
            if name == "a":
                current = weights["in"] @ x + weights["ba"] @ before["b"]
            else:
                current = weights["ab"] @ (before if both_late else y)["a"]
            u = v[name] + DT / TAU * (current - v[name])
            y[name] = (u > 1) * 1.0
            v[name] = np.where(u > 1, 0, u)
        spikes.append(y["b"] > 0.5)
    return np.array(spikes)


closing, both = (int((found != by_hand(both_late)).sum()) for both_late in (False, True))
print(
    f"x + 10 x of 1, 2, 3: {', '.join(f'{y:g}' for y in summed)}; two populations: {closing} of {found.size} spikes "
    f"differ if the closing edge is one step late, {both} if both edges are"
)
sys.exit(not (np.allclose(summed, [10, 20, 30]) and closing == 0 and both > 0))
PYTHON
