"""Files that are complete or absent, and JSON that every reader understands."""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What a killed writer leaves behind starts so; readers of a folder pass over names that start with a dot.
TEMPORARY = ".tmp-"


def replace(path: Path, data: bytes) -> None:
    """Puts a file in place atomically and durably: afterwards it is the old one or the new one, complete.

    Args:
        path: where the file shall stand.
        data: what it shall hold.

    Raises:
        OSError: it cannot be written; `filename` names it.
    """
    handle, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            # mkstemp makes files that only their owner reads; results are to be shared.
            os.fchmod(handle, 0o644)
            os.fsync(handle)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a write that fails names no file
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def printable(text: str) -> str:
    """Shows what has no sign of its own, such as control characters, by its escape; line breaks stay.

    Args:
        text: such as a name that somebody else gave.

    Returns:
        Text that changes no terminal and is valid in XML.
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)


def plain(value: Any) -> Any:
    """Turns NumPy and JAX scalars and arrays into Python's own, tuples into lists, at any depth.

    Args:
        value: anything JSON-able but for these.

    Returns:
        The same in plain Python.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def json_bytes(value: Any) -> bytes:
    """Writes strict JSON, readable, ending in a newline; numbers that JSON does not know become null.

    Args:
        value: JSON-able, NumPy scalars allowed.

    Returns:
        UTF-8.
    """
    return (json.dumps(_finite(plain(value)), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
