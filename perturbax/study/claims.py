"""Who works on what: a claim is a file that one worker alone can create, on a folder that several machines
share.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from perturbax.atomic import writing

BEAT = 20.0  # seconds between signs of life
STALE = 900.0  # seconds without one after which a worker counts as gone


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Yield whether the claim is ours; it is given back at the end.

    One whose worker is gone is taken over: its process has ended (seen from the same machine), or it has
    given no sign of life for a quarter of an hour.

    Arguments:
        path: of the file; its folder may be shared by several machines.

    Raises StoreError where the file system refuses.
    """
    own = json.dumps({"place": _place(), "pid": os.getpid(), "id": uuid.uuid4().hex})
    if not (_create(path, own) or (_gone(path) and _take_over(path, own))):
        yield False
        return
    done = threading.Event()
    threading.Thread(target=_live, args=(path, own, done), daemon=True).start()
    try:
        yield True
    finally:
        done.set()
        if _read(path) == own:
            path.unlink(missing_ok=True)


def _live(path: Path, own: str, done: threading.Event) -> None:
    """Show every now and then that this worker is alive, as long as the claim is its own."""
    while not done.wait(BEAT) and _read(path) == own:
        with contextlib.suppress(OSError):
            os.utime(path)


def _place() -> str:
    """Where process numbers mean the same: the machine since it was started, and the container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            os.readlink("/proc/self/ns/pid"),
        ]
    return " ".join(parts)


def _read(path: Path) -> str | None:
    """Return the text of a claim; None where there is none."""
    try:
        return path.read_text()
    except OSError:
        return None


def _create(path: Path, own: str) -> bool:
    """Create the file with our name in it, whole at once, unless it exists."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(own)
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
        text, silent = path.read_text(), time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False  # just given back: the next look will tell
    if silent > STALE:
        return True
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        holder = json.loads(text)
        return holder.get("place") == _place() and not _alive(int(holder["pid"]))
    return False


def _alive(pid: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _take_over(path: Path, own: str) -> bool:
    """Replace a claim whose worker is gone; of several that try, one succeeds."""
    lock = path.with_name(f"{path.name}.taking")
    if not _create(lock, own):
        if _gone(lock):
            lock.unlink(missing_ok=True)  # died in the act: the next look will tell
        return False
    try:
        if not _gone(path):
            return False  # somebody was faster
        path.unlink(missing_ok=True)
        return _create(path, own)
    finally:
        lock.unlink(missing_ok=True)
