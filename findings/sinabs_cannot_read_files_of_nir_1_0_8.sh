#!/usr/bin/env bash
# sinabs 3.1.3 asks for nir <= 1.0.4. Files that nir 1.0.8 writes hold v_reset for every LIF, also where none was
# given; the reader of nir 1.0.4 knows no such field. So sinabs, whose own reading of a LIF needs no v_reset, reads no
# LIF that a current nir has written.
#
# Seen with Python 3.11: "v_reset given: False, in the file: True; nir 1.0.4: TypeError: LIF.__init__() got an
# unexpected keyword argument 'v_reset'; 1.0.4 reads it without v_reset: True".
# Delete the dataset v_reset from the file (h5py) if the neurons reset to 0, or write the file with nir 1.0.4.
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 1.0.8 1.0.4; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check "nir==$version" h5py numpy
done
python3 -m venv "$folder/sinabs"
"$folder/sinabs/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps sinabs==3.1.3

asked=$("$folder/sinabs/bin/python" -c 'from importlib.metadata import requires
print(next(r for r in requires("sinabs") if r.split("<")[0].split("=")[0].split(">")[0].strip() == "nir"))')
echo "sinabs 3.1.3 asks for: $asked"
case "$asked" in *"<=1.0.4"*) ;; *) exit 1 ;; esac

"$folder/1.0.8/bin/python" - "$folder/net.nir" <<'PYTHON'
import sys

import h5py
import nir
import numpy as np

one = np.ones(1)
lif = nir.LIF(tau=1e-3 * one, r=10 * one, v_leak=0 * one, v_threshold=one)
nir.write(sys.argv[1], nir.NIRGraph.from_list(nir.Affine(np.ones((1, 1)), np.zeros(1)), lif))
with h5py.File(sys.argv[1]) as file:
    print(f"v_reset given: False, in the file: {'v_reset' in file['node/nodes/lif']}")
PYTHON
"$folder/1.0.4/bin/python" - "$folder/net.nir" <<'PYTHON'
import sys

import h5py
import nir

try:
    nir.read(sys.argv[1])
    refused = "nothing"
except TypeError as error:
    refused = f"TypeError: {error}"
with h5py.File(sys.argv[1], "a") as file:
    del file["node/nodes/lif/v_reset"]
reads = "lif" in nir.read(sys.argv[1]).nodes
print(f"nir 1.0.4: {refused}; 1.0.4 reads it without v_reset: {reads}")
sys.exit(not ("v_reset" in refused and reads))
PYTHON
