"""What a process that runs an experiment does before it imports anything large: how it ends, and where it speaks.

Only the standard library is imported here, and nothing happens before `begin`: who imports `experiments` as a
library keeps signals, streams and hooks of their own.
"""

import functools
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

RESUMES = "finished blocks are stored, the same command resumes"
FAILED = 3  # the exit status of what is neither the claim's fault nor the command line's
called = ""  # how a command line begins, where it is not python -m
again: list[str] = []  # the command that runs this program again, with the same flags
leaving: list[Callable[[int], object]] = []  # what is done before a program ends that a signal of this number ends
later: Callable[[int], bool] = lambda number: False  # whether a program that a signal ends sees to it itself
then = ""  # what follows "interrupted": a claim says here how to go on
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def name() -> str | None:
    """The experiment that `python -m experiments.NAME` is about to run, or None where this is no such process."""
    if sys.argv[:1] != ["-m"]:  # so it is while the packages above the module are imported, and never later
        return None
    found = (re.fullmatch(r"(?:-m)?(?:dagger_jax\.)?experiments\.(\w+)", word) for word in sys.orig_argv)
    return next((match[1] for match in found if match), None)


@functools.cache
def begin(name: str) -> None:
    """Makes this process end in the way of an experiment, whatever happens from here on.

    Interrupted or terminated it says so in one line and ends at once, with status 130 or 143; what nobody caught is
    one line and status 3, its traceback in a file. Standard streams that are closed lead nowhere.

    Args:
        name: the experiment.
    """
    _open_streams()
    # Figures are written to files. The backend of a notebook, which its processes inherit, may not be importable.
    os.environ["MPLBACKEND"] = "agg"
    # Its list of fonts goes beside its settings: a cache folder that cannot be used is one line, of the compile cache.
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if os.path.isabs(settings):
        os.environ.setdefault("MPLCONFIGDIR", os.path.join(settings, "matplotlib"))
    sys.excepthook = lambda _, error, __: _give_up(name, error)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    once = threading.Lock()

    def leave(number: int, _: object = None) -> None:
        if not later(number) and once.acquire(blocking=False):
            # No stream object: the thread that holds its lock may be the one that was interrupted.
            with suppress(OSError):
                os.write(2, f"{name}: {_WORDS[signal.Signals(number)]}{then}\n".encode("ascii", "replace"))
            for last in leaving:
                with suppress(Exception):
                    last(number)
            with suppress(OSError):
                if os.isatty(1):
                    os.write(1, b"\x1b[?25h\n")  # the cursor, which a bar hides
            os._exit(
                128 + number
            )  # an exception could be swallowed by whoever called back; files are complete or absent

    def watch() -> None:
        while (number := os.read(reading, 1)[0]) not in _WORDS:
            pass
        leave(number)

    for number in _WORDS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` or a job in the background has it
            signal.signal(number, leave)
    # Python runs a handler when the main thread next runs Python; a compilation may be minutes away from that.
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()


def say(line: str) -> None:
    """Writes one line to standard error, control characters escaped; where that fails nobody can be told."""
    words = " ".join(line.split())
    try:
        print("".join(c if c.isprintable() else repr(c)[1:-1] for c in words), file=sys.stderr, flush=True)
    except OSError:
        mute(sys.stderr)


def mute(stream: TextIO) -> None:
    """Lets what a stream still holds go nowhere: Python's last flush would fail, and change the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def log(name: str, errors: list[BaseException], folder: Path | None) -> str:
    """Keeps tracebacks.

    Args:
        name: the experiment.
        errors: what was raised.
        folder: where error.log goes; None, or one that cannot be written: a temporary file.

    Returns:
        Words for the line about it, such as "traceback in DIR/error.log".
    """
    text = "\n".join("".join(traceback.format_exception(error)) for error in errors).encode(errors="backslashreplace")
    if folder is not None:
        with suppress(OSError):
            (folder / "error.log").write_bytes(text)
            return f"traceback in {folder / 'error.log'}"
    with suppress(OSError), tempfile.NamedTemporaryFile(prefix=f"{name}-", suffix=".log", delete=False) as file:
        file.write(text)
        return f"traceback in {file.name}"
    return "no traceback, since no file could be written"


def brief(error: BaseException) -> str:
    """An exception in one line of bearable length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{'...' if len(text) > 200 else ''}" if text else type(error).__name__


def _give_up(name: str, error: BaseException) -> None:
    say(f"{name}: failed: {brief(error)}; {log(name, [error], None)}")
    os._exit(FAILED)


def _open_streams() -> None:
    # A file that is opened takes the lowest free number: printed text would go into results.
    for number, (stream, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, stream) is None:
            setattr(sys, stream, os.fdopen(number, mode))
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # a terminal that has no "ε" shows \u03b5
