#!/usr/bin/env bash
# nir 1.0.8: the type of a Conv2d is inferred from the first side of its kernel alone, and from the channels of one
# group. A kernel of 3 x 5 over 6 x 8 gives 4 x 4, and nir says 4 x 6; a convolution of 4 channels in 4 groups reads 4
# channels, and nir says 1. Such graphs are written without a word (with type_check=False), and nir.read then refuses
# the file, as it always checks types.
#
# Seen with Python 3.11 and numpy 2.4.6: "3 x 5 over 6 x 8: [1, 4, 6]; 4 groups of 4 channels: [1, 6, 6]; files read:
# False, False".
# Write square kernels, and one Conv2d per group, or a dense matrix.
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check nir==1.0.8
"$folder/venv/bin/python" - "$folder/net.nir" <<'PYTHON'
import sys

import nir
import numpy as np


def read(conv, before, after):
    """Whether nir reads a graph of one convolution that it wrote itself, with the shapes that it really has."""
    nodes = {"input": nir.Input(before), "conv": conv, "output": nir.Output(after)}
    graph = nir.NIRGraph(nodes, [("input", "conv"), ("conv", "output")], type_check=False)
    nir.write(sys.argv[1], graph)
    try:
        nir.read(sys.argv[1])
    except ValueError:
        return False
    return True


oblong = nir.Conv2d((6, 8), np.zeros((1, 1, 3, 5)), 1, 0, 1, 1, np.zeros(1))
grouped = nir.Conv2d((6, 6), np.zeros((4, 1, 3, 3)), 1, 0, 1, 4, np.zeros(4))
says, reads = oblong.output_type["output"].tolist(), grouped.input_type["input"].tolist()
files = read(oblong, [1, 6, 8], [1, 4, 4]), read(grouped, [4, 6, 6], [4, 4, 4])
print(f"3 x 5 over 6 x 8: {says}; 4 groups of 4 channels: {reads}; files read: {files[0]}, {files[1]}")
sys.exit(not (says == [1, 4, 6] and reads == [1, 6, 6] and not any(files)))
PYTHON
