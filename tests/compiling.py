"""Flags of XLA that make compiling faster, for versions that know them."""

import os
import subprocess
import sys

# Most of the time of compiling a small program goes into the generator of fused loops that jaxlib 0.10 has,
# which sets up a compiler for every loop, and into splitting the program for many threads.
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def fast_compiling() -> str:
    """Return these flags where this version of XLA knows all of them, and nothing elsewhere.

    XLA ends every process that names a flag it does not know, so a process of its own tries them. Those that
    pytest-xdist starts, and the commands of tests, inherit what the first one found.
    """
    if "XLA_FLAGS" in os.environ:
        return os.environ["XLA_FLAGS"]
    trial = [sys.executable, "-c", "import jax; jax.devices()"]
    answer = subprocess.run(trial, env={**os.environ, "XLA_FLAGS": FLAGS}, capture_output=True, check=False)
    return FLAGS if answer.returncode == 0 else ""
