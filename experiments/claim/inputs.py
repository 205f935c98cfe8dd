"""Files and folders that flags name, and objects of a user's modules: read once, known by what they hold.

A setting never holds a path. It holds a key, the beginning of the digest of what was read (and a suffix), so that
random numbers, stored blocks and a run's identity belong to the content, however its path is spelled; every block uses
what was read then. The key of module:name is this text itself, with the digest of the module's file. A name is for
display: `named` puts it in a key's place.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dagger_jax import memory, names
from dagger_jax.runtime import files

_DIGITS = 12  # of a digest, in a key
_KEY = re.compile(rf"\b([0-9a-f]{{{_DIGITS}}})(\.\w+)?")
_LONGEST = 40  # signs of a name


class Input(NamedTuple):
    """What was read."""

    path: str  # as it was given
    name: str  # of the file, made short and safe to show; no two inputs share one
    digest: str  # sha256 of the content
    content: Any  # bytes of a file, or what was loaded


_READ: dict[str, Input] = {}  # by key


def is_key(text: str) -> bool:
    """Whether a text stands for something that was read."""
    return text in _READ


def get(key: str) -> Input:
    """What was read under a key."""
    return _READ[key]


def file(text: str, suffix: str = "") -> str:
    """Reads a file, of at most a quarter of the free memory.

    Args:
        text: its path, in which ~ is a user's folder; or a key, which stays.
        suffix: of the key.

    Returns:
        The key; `get(key).content` holds the bytes.

    Raises:
        ValueError: it is no file, cannot be read, or is too large.
    """
    if is_key(text):
        return text
    try:
        path, most = Path(text).expanduser(), memory.host() // 4
        if not path.is_file():
            raise ValueError(f"{shown(text)} is not a file")
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            content = stream.read(size) if size <= most else b""
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{shown(text)} cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if size > most:
        raise ValueError(f"{shown(text)} has {memory.words(size)}, more than a quarter of the free memory")
    return keep(text, hashlib.sha256(content).hexdigest(), content, suffix)


def own(text: str, finds: Callable[[str], Any] | None = None) -> str:
    """Imports what module:name names, and keeps the digest of the module's file.

    Args:
        text: module:name.
        finds: finds the object, and refuses what it is by a ValueError; None takes any.

    Returns:
        The key: the text.

    Raises:
        ValueError: there is no such object, or it is refused.
    """
    content = (finds or names.own)(text)
    _READ.setdefault(text, Input(text, text, hashlib.sha256(names.source(text)).hexdigest(), content))
    return text


def keep(path: str, digest: str, content: Any, suffix: str = "") -> str:
    """Keeps what was read; of equal contents the first.

    Args:
        path: as it was given.
        digest: sha256 of the content, in hexadecimal digits.
        content: all that will be used of it.
        suffix: of the key.

    Returns:
        The key.
    """
    key = digest[:_DIGITS] + suffix
    known = _READ.get(key) or Input(path, _name(path, digest), digest, content)
    if known.digest != digest:
        raise ValueError(f"the digests of {shown(path)} and {shown(known.path)} begin alike: one run cannot have both")
    _READ[key] = known
    return key


def used(values: Mapping[str, Any]) -> dict[str, Input]:
    """What settings stand for, by key."""
    texts = [text for value in values.values() for text in (value if isinstance(value, tuple) else (value,))]
    return {text: _READ[text] for text in texts if isinstance(text, str) and is_key(text)}


def named(text: str) -> str:
    """A text with names in place of keys; of a key without its suffix the name has none either."""

    def name(found: re.Match[str]) -> str:
        known = next((each for key, each in _READ.items() if key.startswith(found[1])), None)
        if known is None:
            return found[0]
        return known.name if found[2] or "." not in known.name else Path(known.name).stem

    return _KEY.sub(name, text)


def shown(path: str) -> str:
    """A path as a message shows it: not too long; control characters and bytes that are no text are escaped."""
    text = files.printable(path)
    return text if len(text) <= 200 else f"{text[:99]}...{text[-98:]}"


def _name(path: str, digest: str) -> str:
    """The last part of a path, in letters, digits and _ . - alone; with some of the digest where another is alike."""
    name = re.sub(r"[^\w.-]+", "_", Path(path).name.encode(errors="replace").decode()) or "_"
    stem, suffix = Path(name).stem, Path(name).suffix
    if len(name) > _LONGEST:
        stem = f"{stem[: _LONGEST // 2]}..{stem[-8:]}"
        name = stem + suffix[:8]
    return name if name not in {each.name for each in _READ.values()} else f"{stem}-{digest[:6]}{suffix}"
