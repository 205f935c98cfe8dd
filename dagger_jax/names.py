"""What a text names: a row of a registry, or `module:name`, an object of a user's own module."""

import contextlib
import difflib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

_OWN = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")

Row = TypeVar("Row")


def is_own(text: str) -> bool:
    """Whether a text has the form module:name, both Python's identifiers."""
    return _OWN.fullmatch(text) is not None


def find(kind: str, text: str, registry: Mapping[str, Row]) -> Row | Any:
    """A registry's row, or the object that module:name names.

    Args:
      kind: what the registry is called, such as "worlds".
      text: a name.
      registry: rows by name.

    Raises:
      ValueError: there is no such row, and no such object; in one line.
    """
    if text in registry:
        return registry[text]
    if is_own(text):
        return own(text)
    raise ValueError(f"{_short(text)} is not one of the {kind}; {nearest(kind, text, registry)}")


def nearest(kind: str, text: str, known: Iterable[str]) -> str:
    """Of the known names the three that are nearest to an unknown one, and how to list all."""
    found = ", ".join(difflib.get_close_matches(text, known, 3, cutoff=0.0))
    return f"the nearest are {found}; `dagger-jax list {kind}` lists all"


def own(text: str) -> Any:
    """The object that module:name names; the current folder's modules come first.

    Raises:
      ValueError: the module cannot be imported, or has no such name; in one line.
    """
    found = _OWN.fullmatch(text)
    if found is None:
        raise ValueError(f"{_short(text)} is not of the form module:name")
    module, name = found.groups()
    try:
        with _current_folder():
            made = importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        raise ValueError(f"{_short(text)}: the module {module} cannot be imported ({_told(error)})") from error
    if not hasattr(made, name):
        near = difflib.get_close_matches(name, [each for each in vars(made) if each[0] != "_"], 3, cutoff=0.0)
        raise ValueError(f"{_short(text)}: the module {module} has no {name}; the nearest are {', '.join(near)}")
    return getattr(made, name)


def call(text: str, function: Callable[..., Any], **given: Any) -> Any:
    """Calls a user's object with what it asks for, by name.

    Raises:
      ValueError: it cannot be called so, or raises; in one line.
    """
    try:
        return function(**given)
    except Exception as error:  # a user's function may raise anything
        words = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise ValueError(f"{_short(text)}({words}) failed ({_told(error)})") from error


def source(text: str) -> bytes:
    """What the file of module:name's module holds, or nothing where it has no file; raises as `own`."""
    own(text)
    with contextlib.suppress(TypeError, OSError):
        return Path(inspect.getfile(sys.modules[text.partition(":")[0]])).read_bytes()
    return b""


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """The current folder comes first in the search for modules, and is left out again."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
