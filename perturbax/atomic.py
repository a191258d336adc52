"""Writing files so that none is ever half there. Needs no JAX."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from perturbax.errors import StoreError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise StoreError, one line, for what the file system refuses inside; path: what is written."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def write(path: Path, data: bytes) -> None:
    """Write a whole file or none: into a temporary file beside it, which is then renamed.

    Arguments:
        path: the file.
        data: its content.

    Raises StoreError where the file system refuses.
    """
    unique = uuid.uuid4().hex  # several machines may share the folder
    temporary = path.with_name(f".{path.name}.{unique}.tmp")
    with writing(path):
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
