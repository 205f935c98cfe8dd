"""Runs the parts in a process of their own, each within its share of the time, and keeps what they say.

A part yields what it knows so far, so that a part that is stopped, crashes or is killed leaves its figures. The process
that runs them is watched: one that dies or hangs is replaced, and the next part begins.
"""

import json
import multiprocessing
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dagger_jax.runtime import files

from .parts import Part

GRACE = 2.0  # a part that takes so many times its share of the time hangs, and is killed
CONTEXT = multiprocessing.get_context("spawn")  # JAX's threads do not survive a fork
IMPORTS = 120.0  # seconds within which a new process must begin


def conduct(parts: Mapping[str, Part], small: bool, seconds: float, path: Path, least: float = 20.0) -> dict[str, Any]:
    """Runs the parts and writes `path` anew whenever one of them says something.

    Args:
      parts: by name, in order; functions of modules, which another process can import.
      small: small sizes.
      seconds: for all of them. What a part leaves over goes to the later ones.
      least: seconds that every part may take: a first compilation.
      path: the JSON file, {part: what it found}; `error` in a part that failed.

    Returns:
      What the file holds.
    """
    found: dict[str, Any] = {}
    ends, left = time.monotonic() + seconds, list(parts)

    def note(name: str, value: dict[str, Any]) -> None:
        found[name] = found.get(name, {}) | value
        files.replace(path, json.dumps(files.plain(found), indent=2).encode())

    while left:
        said = CONTEXT.Queue()
        work = {name: parts[name] for name in left}
        child = CONTEXT.Process(target=_work, args=(work, small, ends, least, said), daemon=True)
        child.start()
        try:
            left = _listen(child, said, left, note)
        finally:
            child.kill()
            child.join()
    return found


def _listen(child: Any, said: Any, left: list[str], note: Callable[[str, dict[str, Any]], None]) -> list[str]:
    """Notes what the child says until it has said all, died or hung. Returns the parts that are left."""
    limit = time.monotonic() + IMPORTS
    while left:
        try:
            kind, value = said.get(timeout=0.5)
        except queue.Empty:
            if child.is_alive() and time.monotonic() < limit:
                continue
            why = "it hung, and was stopped" if child.is_alive() else f"its process ended with status {child.exitcode}"
            note(left[0], {"error": why})
            print(f"{left[0]}: {why}", flush=True)
            return left[1:]
        if kind == "begin":
            limit = time.monotonic() + GRACE * value
            continue
        note(left[0], value)
        if kind == "end":
            print(f"{left[0]}: {value.get('error', 'done')}, {value['seconds']} s", flush=True)
            left = left[1:]
    return left


def _share(left: Sequence[Part], ends: float, least: float) -> float:
    """Seconds of the first part."""
    return max(least, (ends - time.monotonic()) * left[0].weight / sum(part.weight for part in left))


def _work(parts: Mapping[str, Part], small: bool, ends: float, least: float, said: Any) -> None:
    """In the child: runs the parts, and tells the parent when each begins, what it finds and when it ends."""
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    for place, part in enumerate(parts.values()):
        begun, share = time.monotonic(), _share(list(parts.values())[place:], ends, least)
        said.put(("begin", share))
        last: dict[str, Any] = {}
        try:
            for value in part.measure(small):
                said.put(("some", value))
                if time.monotonic() > begun + share:
                    last = {"stopped": f"its {share:.0f} s were over: what would follow is left out"}
                    break
        except Exception as error:  # a part fails alone
            last = {"error": f"{type(error).__name__}: {error}"[:1000], "traceback": traceback.format_exc(limit=-3)}
        said.put(("end", last | {"seconds": round(time.monotonic() - begun, 1)}))


def _die_with(parent: int) -> None:
    """Ends this process soon after its parent has ended, however that was: nobody would read what it finds."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
