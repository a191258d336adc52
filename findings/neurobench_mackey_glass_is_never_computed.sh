#!/usr/bin/env bash
# neurobench 2.3.0: MackeyGlass is to compute its series where the file is not there; but what it asks is
# `os.path.exists(file) is not None`, which is always true. A name without a file ends in FileNotFoundError, and the
# solver of the extra mackey-glass (jitcdde, for which a stub stands here) is imported and never called.
#
# Seen with Python 3.11, torch 2.13.0: "no file: FileNotFoundError; computed: 0 times".
# The series can be computed from the equation, by Runge-Kutta steps of 0.05 (perturbax/bench/chaotic.py).
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 neurobench==2.3.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import types

sys.modules["jitcdde"] = stub = types.ModuleType("jitcdde")
stub.jitcdde = stub.jitcdde_lyap = None
stub.t, stub.y = 1.0, lambda *_: 1.0
from neurobench.datasets.mackey_glass import MackeyGlass  # noqa: E402

computed = []
MackeyGlass.generate_data = lambda self: computed.append(self)
try:
    MackeyGlass("there-is-no-such-file.npy", download=False)
    ended = "goes"
except Exception as error:
    ended = type(error).__name__
print(f"no file: {ended}; computed: {len(computed)} times")
sys.exit(not (ended == "FileNotFoundError" and not computed))
PYTHON
