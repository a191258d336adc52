"""Reading the IDX files in which MNIST and its relatives come."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from perturbax.errors import ArgumentError, DataError

TYPES = {
    0x08: ("bytes", np.dtype(np.uint8)),
    0x09: ("signed bytes", np.dtype(np.int8)),
    0x0B: ("16-bit integers", np.dtype(">i2")),
    0x0C: ("32-bit integers", np.dtype(">i4")),
    0x0D: ("32-bit floats", np.dtype(">f4")),
    0x0E: ("64-bit floats", np.dtype(">f8")),
}  # type codes; entries of several bytes are stored largest first


def read_idx(folder: Path, name: str, axes: int) -> np.ndarray:
    """Return the array in an IDX file, in the byte order of this machine.

    The file is two zeros, the type code, the number of axes, each axis as four bytes (largest first), the
    entries. LeCun et al. 1998, http://yann.lecun.com/exdb/mnist.

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
    kind = _type_of_entries(path, content, axes)
    head = 4 + 4 * axes
    if len(content) < head:
        raise DataError(f"{path} is cut off: {len(content)} bytes, the header alone has {head}")
    shape = struct.unpack(f">{axes}I", content[4:head])
    entries, expected = len(content) - head, math.prod(shape) * kind.itemsize
    if entries != expected:
        what = "cut off" if entries < expected else "too long"
        raise DataError(f"{path} is {what}: {entries} bytes of entries, its header says {expected}")
    stored = np.frombuffer(content, kind, offset=head).reshape(shape)
    return stored.astype(kind.newbyteorder("="), copy=False)


def _type_of_entries(path: Path, content: bytes, axes: int) -> np.dtype:
    """Return the type of the entries; DataError for no IDX file, or one with another number of axes."""
    begins = content[:4]
    if len(begins) < 4 or begins[:2] != b"\0\0" or begins[2] not in TYPES:
        found = begins.hex() or "nothing"
        raise DataError(
            f"{path} is no IDX file: it begins with {found}, not with 000008{axes:02x} "
            f"(bytes, {axes} {'axis' if axes == 1 else 'axes'})"
        )
    if begins[3] != axes:
        words = TYPES[begins[2]][0]
        raise DataError(f"{path} must hold an array with {axes} axes, it has one of {words} with {begins[3]}")
    return TYPES[begins[2]][1]


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
