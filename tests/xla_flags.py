"""Flags of the compiler, set before JAX starts: the older code generator takes half the time to compile."""

import mmap
from pathlib import Path

import jaxlib

OLDER_GENERATOR = "--xla_cpu_use_fusion_emitters=false"


def is_known(flag: str) -> bool:
    """Whether this jaxlib knows an XLA flag: one that it does not know would end the process."""
    name = flag.removeprefix("--").partition("=")[0].encode()
    library = Path(jaxlib.__file__).with_name("libjax_common.so")
    if not library.exists():
        return False
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(name + b"\0") >= 0


def older_generator() -> str:
    """The flag that asks for the older code generator, or nothing where there is none."""
    return OLDER_GENERATOR if is_known(OLDER_GENERATOR) else ""
