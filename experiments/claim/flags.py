"""How flags are declared, and the flags that every experiment has."""

import functools
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dagger_jax import names as registry

from . import inputs
from .contract import PRESETS, Flag


def integers(name: str, meaning: str, *, low: int | None = None, high: int | None = None, many: bool = True) -> Flag:
    """Declares a flag of whole numbers.

    Args:
        name: the flag, without dashes.
        meaning: for `--help`, with the unit.
        low: the smallest allowed value.
        high: the largest allowed value.
        many: a list, the setting is a tuple; otherwise one value.

    Returns:
        The flag.
    """
    words = "whole numbers" if many else "a whole number"
    return Flag(name, meaning, _range(words, low, high), functools.partial(_number, int, low, high), many)


def numbers(
    name: str,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    many: bool = True,
) -> Flag:
    """Declares a flag of real numbers; the arguments are those of `integers`.

    Args:
        name: the flag, without dashes.
        meaning: for `--help`, with the unit.
        low: the smallest allowed value.
        high: the largest allowed value.
        above: every allowed value is larger; in place of `low`.
        many: a list, the setting is a tuple; otherwise one value.

    Returns:
        The flag.
    """
    words = "numbers" if many else "a number"
    if above is not None:
        allowed = f"{words} above {above:g}" + ("" if high is None else f", {high:g} or less")
        smallest = math.nextafter(above, math.inf)
        return Flag(name, meaning, allowed, functools.partial(_number, float, smallest, high), many)
    return Flag(name, meaning, _range(words, low, high), functools.partial(_number, float, low, high), many)


def names(
    name: str,
    meaning: str,
    allowed: Sequence[str],
    *,
    files: str = "",
    kind: str = "",
    finds: Callable[[str], Any] | None = None,
    many: bool = True,
) -> Flag:
    """Declares a flag of names.

    Args:
        name: the flag, without dashes.
        meaning: for `--help`.
        allowed: the names.
        files: a suffix such as ".npz": paths of existing files that end so are allowed besides the names.
        kind: of a registry whose rows these are, such as "worlds": module:name of a user's own is allowed as well.
        finds: what else is allowed: a text for which this raises no ValueError; it also checks a user's own.
        many: a list, the setting is a tuple; otherwise one value.

    Returns:
        The flag.
    """
    more = [f"the path of an existing {files} file"] * bool(files) + ["module:name of one's own"] * bool(kind)
    words = ", ".join((*allowed, *more[:-1])) + "".join(f", or {each}" for each in more[-1:])

    def found(text: str) -> bool:
        try:  # a path is allowed by `files` alone, for then its content is kept
            return finds is not None and not text.endswith(".npz") and finds(text) is not None
        except ValueError:
            return False

    def read(text: str) -> str | None:
        is_file = files and text.endswith(files) and _is_file(text)
        return text if text in allowed or is_file or (kind and registry.is_own(text)) or found(text) else None

    def load(text: str) -> str:
        if inputs.is_key(text) or text in allowed:
            return text
        if kind and registry.is_own(text):
            return inputs.own(text, finds)
        return inputs.file(text, files) if files else text

    def nearest(text: str) -> str:
        return f"{registry.nearest(kind, text, allowed)}; also allowed: {', or '.join(more)}"

    return Flag(
        name, meaning, words, read, many, load=load if files or kind else None, nearest=nearest if kind else None
    )


def switch(name: str, meaning: str) -> Flag:
    """Declares a flag that is on or off.

    Args:
        name: the flag, without dashes.
        meaning: for `--help`.

    Returns:
        The flag; its setting is a bool.
    """
    return Flag(name, meaning, "true, false", {"true": True, "false": False}.get, many=False, switch=True)


def _is_file(text: str) -> bool:
    try:
        return os.path.isfile(os.path.expanduser(text))
    except ValueError:  # a zero byte
        return False


def _number(kind: Callable[[str], Any], low: float | None, high: float | None, text: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        return None
    # Whole numbers are stored in 64 bits; the largest float is beyond that, and finite.
    size = 2**63 - 1 if kind is int else sys.float_info.max
    inside = (low is None or value >= low) and (high is None or value <= high)
    return value if -size <= value <= size and inside else None


def _directory(text: str) -> Path | None:
    try:
        return None if text.startswith("-") else Path(text).expanduser()
    except RuntimeError:  # ~name of nobody
        return None


def _range(words: str, low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return words
    if high is None:
        return f"{words}, {low} or more"
    return f"{words}, {high} or less" if low is None else f"{words} from {low} to {high}"


SEED = integers("seed", "The seed that all randomness comes from.", low=0, high=2**32 - 1, many=False)
RUNS = integers("runs", "How many independent repetitions there are of everything random.", low=1, many=False)
DEVICES = integers(
    "devices",
    "How many devices share the work: cores of the CPU, or GPUs. What is measured does not depend on it.",
    low=1,
    high=256,
    many=False,
)
PRESET = names("preset", "How much is measured: the defaults of all other flags.", PRESETS, many=False)
OUT = Flag(
    "out",
    "The directory for the results. One that holds an unfinished run of the same command is continued.",
    "a new or an empty directory, or one that the same command has written",
    _directory,
    many=False,
)
RESUME = switch(
    "resume",
    "Continue from the finished blocks in the directory; --noresume starts over, also where another run of the same "
    "experiment is in it.",
)
COMPILE_CACHE = switch(
    "compile_cache",
    "Keep compiled programs for the next run in the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says; "
    "--nocompile_cache, or JAX_ENABLE_COMPILATION_CACHE=0 in the environment, uses none.",
)
