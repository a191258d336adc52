"""Writing files so that none is ever half there, by one command at a time. Needs no JAX."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from perturbax.errors import ArgumentError, StoreError


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


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other commands out of a folder as long as the block lasts; the system itself ends that when this
    process dies. Where the file system knows no locks, nobody is kept out.

    Arguments:
        folder: the folder, which is there.

    Raises ArgumentError where another command works in it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArgumentError(
                    f"another command works in {folder}: wait for it, or start one with more --workers"
                ) from None
        yield
    finally:
        os.close(handle)
