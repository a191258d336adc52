#!/usr/bin/env bash
# jax 0.10.2: where the rows of a batch are split over devices by a sharding constraint, the gradient of a recurrent
# network through lax.scan is exchanged whole at every step of the backward pass, not once: what the transposed scan adds
# up is kept replicated. The same function mapped over shares of the rows (jax.vmap over an axis that is split, and a
# mean over it) exchanges once. And meshes of jax.make_mesh have explicit axes by default, which with_sharding_constraint
# refuses; those of jax.sharding.Mesh are automatic.
#
# Seen with Python 3.11: "rows constrained: 1 exchange of 4096 bytes or more within a loop, 0 outside; mapped over shares:
# 0 within, 1 outside; with_sharding_constraint on jax.make_mesh: ValueError".
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=2 "$folder/venv/bin/python" - <<'PYTHON'
import math
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

T, B, N = 7, 4, 32
mesh = Mesh(np.array(jax.devices()), ("rows",))
rows = NamedSharding(mesh, P(None, "rows"))


def loss(W, xs):
    """Mean square of the states of a network h <- tanh(h W + x)."""

    def step(h, x):
        h = jnp.tanh(h @ W + x)
        return h, jnp.mean(h**2)

    return jax.lax.scan(step, jnp.zeros(xs.shape[1:]), xs)[1].mean()


def constrained(W, xs):
    return jax.grad(loss)(W, jax.lax.with_sharding_constraint(xs, rows))


def mapped(W, xs):
    xs = jax.lax.with_sharding_constraint(xs.reshape(T, 2, B // 2, N), rows)
    return jax.vmap(lambda part: jax.grad(loss)(W, part), 1)(xs).mean(0)


def exchanges(function):
    """Exchanges as large as W, within loops and outside."""
    arrays = jnp.eye(N), jnp.ones((T, B, N))
    given = jax.device_put(arrays, NamedSharding(mesh, P()))
    compiled = jax.jit(function, out_shardings=NamedSharding(mesh, P())).lower(*given).compile()
    found = [0, 0]
    for line in compiled.as_text().splitlines():
        made = re.search(r"= (.*?) (?:all-reduce|all-gather)\(", line)
        sizes = re.findall(r"f32\[([\d,]+)\]", made[1]) if made else []
        if 4 * sum(math.prod(map(int, dims.split(","))) for dims in sizes) >= 4 * N * N:
            found["while/body" not in line] += 1
    return found


try:
    explicit = NamedSharding(jax.make_mesh((2,), ("rows",)), P(None, "rows"))
    jax.eval_shape(lambda xs: jax.lax.with_sharding_constraint(xs, explicit), jnp.ones((T, B, N)))
    refused = "accepted"
except ValueError as error:
    refused = type(error).__name__
one, other = exchanges(constrained), exchanges(mapped)
print(
    f"rows constrained: {one[0]} exchange of 4096 bytes or more within a loop, {one[1]} outside; mapped over shares: "
    f"{other[0]} within, {other[1]} outside; with_sharding_constraint on jax.make_mesh: {refused}"
)
sys.exit(not (one == [1, 0] and other == [0, 1] and refused == "ValueError"))
PYTHON
