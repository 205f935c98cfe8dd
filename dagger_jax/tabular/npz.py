"""Arrays from an .npz file that may come from anybody: nothing is read before its size is known and believed."""

import math
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import BinaryIO, NamedTuple

import numpy as np

MOST_MEMBERS = 1000  # arrays in a file whose headers are looked at

_FAULTS = (ValueError, OSError, RuntimeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class Header(NamedTuple):
    """What a member says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype


def headers(stream: BinaryIO) -> dict[str, Header]:
    """The members' types and shapes, by name; where there are very many, of the first.

    Raises:
      ValueError: it is not an .npz file of plain arrays, or a member is not as long as its header says.
    """
    try:
        with zipfile.ZipFile(stream) as archive:  # np.load would take a single array, or a pickle's name, as well
            members = archive.infolist()
            found = dict[str, Header]()
            for member in members[:MOST_MEMBERS]:
                name = member.filename.removesuffix(".npy")
                if name in found:
                    raise ValueError(f"{name[:40]} is in it twice")
                found[name] = _header(archive, member)
            return found
    except _FAULTS as error:
        raise ValueError(f"is not an .npz file of plain arrays: {str(error)[:200]}") from error


def read(
    stream: BinaryIO, check: Callable[[Mapping[str, Header]], None], only: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a file.

    Args:
      stream: of the file, seekable.
      check: raises ValueError for headers whose arrays shall not be read.
      only: names of those to be read; None: all.

    Raises:
      ValueError: as `headers` and `check`, or an array is damaged.
    """
    check(headers(stream))
    try:
        with zipfile.ZipFile(stream) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            return {name: _array(archive, member) for name, member in members.items() if only is None or name in only}
    except _FAULTS as error:
        raise ValueError(f"is not an .npz file of plain arrays: {str(error)[:200]}") from error


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    with archive.open(member) as part:
        version = np.lib.format.read_magic(part)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename[:40]} has an unknown format")
        short = version == (1, 0)
        parse = np.lib.format.read_array_header_1_0 if short else np.lib.format.read_array_header_2_0
        shape, _, dtype = parse(part)
        if dtype.hasobject:
            raise ValueError(f"{member.filename[:40]} holds Python objects")
        claimed = part.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed != member.file_size:
        raise ValueError(f"{member.filename[:40]} has {member.file_size:,} bytes, its header says {claimed:,}")
    return Header(shape, dtype)


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as part:
        return np.asarray(np.lib.format.read_array(part, allow_pickle=False))
