"""Reading the IDX files in which MNIST and its relatives come."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from perturbax.errors import ArgumentError, DataError

BYTES = 8  # the type code of unsigned bytes


def read_idx(folder: Path, name: str, axes: int) -> np.ndarray:
    """Return the array of unsigned bytes in an IDX file.

    The file is two zeros, the type code, the number of axes, each axis as four bytes (largest first), the
    entries.

    Arguments:
        folder: where the file lies.
        name: of the file; `name`.gz will do, too.
        axes: how many axes the array must have.

    Raises ArgumentError where there is no such file, DataError for one that is of another kind, cut
    off or too long.
    """
    candidates = (folder / name, folder / f"{name}.gz")
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise ArgumentError(f"{folder} has no file {name} or {name}.gz")
    content = _content(path)
    head = 4 + 4 * axes
    if content[:4] != bytes((0, 0, BYTES, axes)):
        found = content[:4].hex() or "nothing"
        raise DataError(
            f"{path} is no IDX file of bytes with {axes} axes: "
            f"it begins with {found}, not 00000{BYTES}0{axes}"
        )
    if len(content) < head:
        raise DataError(f"{path} is cut off: {len(content)} bytes, the header alone has {head}")
    shape = struct.unpack(f">{axes}I", content[4:head])
    entries, expected = len(content) - head, math.prod(shape)
    if entries != expected:
        what = "cut off" if entries < expected else "too long"
        raise DataError(f"{path} is {what}: {entries} bytes of entries, its header says {expected}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _content(path: Path) -> bytes:
    """Return the bytes of a file, unpacked; DataError where that cannot be done."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except EOFError as error:
        raise DataError(f"{path} is cut off: the compressed data end too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
