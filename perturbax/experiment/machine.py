"""What a run ran on: enough to judge its times by, and nothing that names the machine."""

import os
import platform
from pathlib import Path

import jax


def machine() -> dict[str, str]:
    """Return Python's version, JAX's devices, the cores this process may use, and the processor's name."""
    kinds = ", ".join(sorted({d.device_kind for d in jax.devices()}))
    return {
        "python": platform.python_version(),
        "devices": f"{jax.device_count()} x {kinds}",
        "cores": str(_cores()),
        "processor": _processor(),
    }


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """Return the processor's name as Linux gives it, else as Python does."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
