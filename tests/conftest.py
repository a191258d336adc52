"""Checked annotations, strict shapes, and a compilation cache shared by all test processes."""

import gc
import os
import tempfile
from pathlib import Path

from compiling import fast_compiling

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most tests compile much and compute little: cold, the suite takes two thirds of the time.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Threads of XLA in a process: two test processes run beside each other, each of them programs of tiny arrays,
# whose parts cost more to hand from thread to thread than to compute.
os.environ.setdefault("NPROC", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "perturbax-test-cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # no lines of Python in every operation
os.environ.setdefault("XLA_FLAGS", fast_compiling())

import checking
import jax
import pytest

checking.install()
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes many small objects that stay: looking through all of them often takes a tenth of the time.
gc.freeze()
gc.set_threshold(100_000, 20, 20)


def pytest_sessionfinish():
    """Keep pytest from looking five times through all that JAX has made, for errors in finalizers."""
    gc.freeze()


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


CROWDED = 20_000  # memory maps; Linux allows a process 65,530


@pytest.fixture(autouse=True, scope="module")
def _few_executables():
    """Drop what was compiled before a process has more of it than the system has room for (memory maps)."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > CROWDED:
        jax.clear_caches()
        gc.collect()
