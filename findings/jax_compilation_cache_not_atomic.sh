#!/usr/bin/env bash
# JAX 0.10.2: an entry of the persistent compilation cache is written in place, without a lock and
# without a rename, unless a largest size of the cache is set. Of two processes that share a folder, as the workers
# of pytest-xdist do, one can read an entry that the other is still writing. It then warns (UserWarning: Error
# reading persistent compilation cache entry ...) and compiles anew: the numbers are right, but where warnings are
# errors the process ends.
#
# Seen with Python 3.11 and jax 0.10.2: "saw an unfinished entry: True; warning on reading one: True; value 6.0".
# Bear the warning (a filter), or set jax_compilation_cache_max_size, which locks (needs the package filelock).
# Exits 0 while this is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import threading
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
from jax._src.lru_cache import LRUCache

folder = Path(sys.argv[1])

# A second thread looks at the file while an entry of 400 MB is put.
content, sizes = bytes(400_000_000), set()
cache = LRUCache(str(folder / "large"), max_size=-1)
writer = threading.Thread(target=cache.put, args=("entry", content))
writer.start()
while writer.is_alive():
    sizes |= {path.stat().st_size for path in (folder / "large").glob("entry*")}
unfinished = any(size < len(content) for size in sizes)

# What a reader of such an entry does: it warns and compiles.
jax.config.update("jax_compilation_cache_dir", str(folder / "small"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
double = lambda x: 2 * x + jnp.sin(0 * x)
jax.jit(double)(jnp.float32(3))
for path in (folder / "small").iterdir():
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
jax.clear_caches()
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    value = float(jax.jit(double)(jnp.float32(3)))
warned = any("persistent compilation cache" in str(warning.message) for warning in seen)

print(f"saw an unfinished entry: {unfinished}; warning on reading one: {warned}; value {value}")
sys.exit(not (unfinished and warned and value == 6.0))
PYTHON
