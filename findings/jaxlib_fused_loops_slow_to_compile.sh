#!/usr/bin/env bash
# jaxlib 0.10.2 on a CPU: the setting that test suites use to compile faster, jax_disable_most_optimizations,
# leaves most of the time in place. That goes into the generator of fused loops, which sets up a compiler of its
# own for every loop that it writes, at every level of optimisation. With the older generator, which is still there,
# the same gradients through a scan compile in less than half of that time; jax_optimization_level O0 alone changes
# nothing. The flag of the older generator is gone from jaxlib 0.12.
#
# Seen with Python 3.11 and jax 0.10.2, seconds of processor time for 12 programs: "as installed 4.7, level O0 4.7,
# most optimisations off 2.9, with the older generator too 1.2".
# Exits 0 while the older generator takes less than two thirds of the time and level O0 saves nothing, 1 once this
# has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
cat > "$folder/compile.py" <<'PYTHON'
import resource

import jax
import jax.numpy as jnp


def loss(weights, xs):
    """Mean squared state of a recurrent network with gates."""

    def step(h, x):
        z = jax.nn.sigmoid(h @ weights[0] + x)
        r = jax.nn.sigmoid(h @ weights[1] + x)
        h = (1 - z) * h + z * jnp.tanh((r * h) @ weights[2] + x)
        return h, jnp.mean(h * h)

    return jnp.mean(jax.lax.scan(step, jnp.zeros(xs.shape[1:]), xs)[1])


def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


jax.jit(jnp.sin)(1.0)
programs = []
for n in range(3, 15):  # 12 sizes, so that no program is found again
    programs.append(jax.jit(jax.grad(loss)).lower(jnp.ones((3, n, n)), jnp.ones((5, 2, n))))
before = used()
for program in programs:
    program.compile()
print(used() - before)
PYTHON
seconds() { env JAX_PLATFORMS=cpu "$@" "$folder/venv/bin/python" "$folder/compile.py"; }
installed=$(seconds A=1)
level=$(seconds JAX_OPTIMIZATION_LEVEL=O0)
off=$(seconds JAX_DISABLE_MOST_OPTIMIZATIONS=1)
older=$(seconds JAX_DISABLE_MOST_OPTIMIZATIONS=1 XLA_FLAGS=--xla_cpu_use_fusion_emitters=false)
"$folder/venv/bin/python" - "$installed" "$level" "$off" "$older" <<'PYTHON'
import sys

installed, level, off, older = map(float, sys.argv[1:])
print(
    f"as installed {installed:.1f}, level O0 {level:.1f}, most optimisations off {off:.1f}, "
    f"with the older generator too {older:.1f}"
)
sys.exit(not (older < off * 2 / 3 and level > installed * 3 / 4))
PYTHON
