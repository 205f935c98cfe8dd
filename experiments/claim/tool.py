"""Programs that are no claims, such as benchmarks, with flags, `--help`, messages and exit status of experiments."""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..shared import program
from . import options
from .contract import BadFlag, Flag, Settings


def file(name: str, meaning: str, suffix: str = "") -> Flag:
    """Declares a flag of one file that is written; see `writable`.

    Args:
        name: the flag, without dashes.
        meaning: for `--help`.
        suffix: that the path has to end with.

    Returns:
        The flag; its setting is a Path.
    """
    words = f"a {suffix} file in a directory that can be written" if suffix else "a file in a writable directory"

    def read(text: str) -> Path | None:
        try:
            return Path(text).expanduser() if text.endswith(suffix) and not text.startswith("-") else None
        except RuntimeError:  # ~name of nobody
            return None

    return Flag(name, meaning, words, read, many=False)


def writable(flag: str, path: Path) -> None:
    """Makes the folder of a file, and raises BadFlag where the file cannot be written there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadFlag(flag, f"{path} cannot be written ({reason}); allowed: a file in a writable directory") from error
    if path.is_dir():
        raise BadFlag(flag, f"{path} is a directory; allowed: a file")


def settings(
    flags: Sequence[Flag],
    defaults: Mapping[str, Any],
    words: Sequence[str],
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Reads a command line.

    Args:
        flags: all that there are, but for `--help`.
        defaults: a value for each.
        words: the command line, the program's name first.
        presets: other defaults, by the value of `--preset`.

    Returns:
        The settings.

    Raises:
        BadFlag: a flag is unknown or not allowed.
    """
    given = options.read(flags, words)
    preset = (presets or {}).get(given.get("preset", "default"), {})
    return Settings({**defaults, **preset, **given})


def run(
    name: str,
    about: str,
    flags: Sequence[Flag],
    defaults: Mapping[str, Any],
    main: Callable[[Settings], int | None],
    words: Sequence[str] | None = None,
    *,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Runs a program from the command line and ends the process: call it under `__main__`.

    Args:
        name: the module, such as benchmark.
        about: one paragraph for `--help`.
        flags: as in `settings`.
        defaults: as in `settings`; None is shown as nothing.
        main: the work; it may return an exit status. What it raises is one line: BadFlag status 2, OSError and
            ImportError status 3.
        words: the command line; None: the process's.
        presets: as in `settings`.

    Raises:
        SystemExit: always. 0 done, 2 bad input, 3 the environment failed, 130 interrupted, 143 terminated.
    """
    if words is None:
        program.begin(name)
    words = sys.argv if words is None else words
    status = 0
    try:
        if options.HELP & set(words):
            print(options.explain_tool(name, about, flags, defaults, presets), flush=True)
        else:
            status = main(settings(flags, defaults, words, presets)) or 0
    except (BadFlag, OSError, ImportError) as error:
        program.say(f"{name}: {error}")
        status = 2 if isinstance(error, BadFlag) else program.FAILED
    raise SystemExit(status)
