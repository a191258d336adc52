#!/usr/bin/env bash
# jax 0.10.2: lax.map returns empty arrays like all others, (6, 0) for six calls; with batch_size, which is meant to
# change memory and speed alone, the same function raises ZeroDivisionError, "integer modulo by zero", and names no
# array. It does so for every batch size, and when tracing. A function with an output that may be empty (differences of
# no rows) must leave it out.
#
# Seen with Python 3.11: "plain: (6, 2) and (6, 0); in batches of 1, 2, 4 and 6: 4 of 4 ZeroDivisionError".
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp

SIZES = 1, 2, 4, 6


def one_full_and_one_empty(x):
    return x + 1, x[:0]


xs = jnp.ones((6, 2))
plain = [found.shape for found in jax.lax.map(one_full_and_one_empty, xs)]
refused = 0
for size in SIZES:
    try:
        jax.lax.map(one_full_and_one_empty, xs, batch_size=size)
    except ZeroDivisionError as e:
        refused += "modulo by zero" in str(e)
print(
    f"plain: {plain[0]} and {plain[1]}; in batches of 1, 2, 4 and 6: {refused} of {len(SIZES)} ZeroDivisionError"
)
sys.exit(not (plain == [(6, 2), (6, 0)] and refused == len(SIZES)))
PYTHON
