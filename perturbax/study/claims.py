"""Who works on what: a claim is a file that one worker alone can create, on a folder that several machines share."""

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from perturbax.files import writing

STALE = 3600.0  # seconds without a sign of life after which another machine's worker counts as gone


@contextlib.contextmanager
def claim(path: Path) -> Iterator[Callable[[], None] | None]:
    """Yield None where another worker holds the claim, else a function that shows that this one is alive.

    A claim is given back at the end. One whose worker is gone (its process on this machine has ended, or nothing was
    heard from another machine for an hour) is taken over.
    """
    if not (_create(path) or (_gone(path) and _take_over(path))):
        yield None
        return
    try:
        yield lambda: os.utime(path)
    finally:
        path.unlink(missing_ok=True)


def _create(path: Path) -> bool:
    """Create the file with our name in it, whole at once, unless it exists."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        try:
            os.link(draft, path)  # fails where the name is taken, also over a network file system
        except FileExistsError:
            return False
        finally:
            draft.unlink()
    return True


def _gone(path: Path) -> bool:
    """Whether the worker that holds a claim is gone."""
    try:
        holder, heard = json.loads(path.read_text()), path.stat().st_mtime
    except (FileNotFoundError, ValueError):
        return False  # just given back: the next look will tell
    if holder.get("host") == socket.gethostname():
        return not _alive(int(holder.get("pid", 0)))
    return time.time() - heard > STALE


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _take_over(path: Path) -> bool:
    """Replace a claim whose worker is gone; of several that try, one succeeds."""
    lock = path.with_name(f"{path.name}.taking")
    if not _create(lock):
        if _gone(lock):
            lock.unlink(missing_ok=True)  # died in the act: the next look will tell
        return False
    try:
        if not _gone(path):
            return False  # somebody was faster
        path.unlink(missing_ok=True)
        return _create(path)
    finally:
        lock.unlink(missing_ok=True)
