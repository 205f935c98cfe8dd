"""Who measures into a directory: one process alone, or shards side by side, each the only one of its name.

    DIR/.lock          held alone by a process without shards, together by all shards
    DIR/.shards/NAME   held by one shard, such as 2-of-3, or by whoever judges

The kernel frees a lock when its process ends, however that is. A file system that knows no locks has none: blocks may
then be measured twice, to the same bytes, since files are complete or absent whoever writes them.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dagger_jax.runtime.files import TEMPORARY
from dagger_jax.runtime.store import Refused, Store

_JUDGE = "judge"


@contextmanager
def hold(store: Store) -> Iterator[None]:
    """Keeps the directory to this process while the context is open, and clears what killed writers left.

    Args:
        store: the store; one that is not writable needs no lock.

    Raises:
        Refused: another process measures there; the message names it.
    """
    if not store.writable:
        yield
        return
    with _open_lock(store.directory / ".lock") as file:
        if not _locked(file, fcntl.LOCK_EX):
            raise _in_use(store, [path for path in _shards(store) if _is_held(path)] or [store.directory / ".lock"])
        for folder in (store.directory, store.directory / "cells"):
            for left in folder.glob(f"{TEMPORARY}*"):
                left.unlink(missing_ok=True)
        _sign(file)
        yield


@contextmanager
def share(store: Store, shard: tuple[int, int]) -> Iterator[None]:
    """Keeps one shard of the directory to this process while the context is open; others may hold the others.

    Args:
        store: the store.
        shard: (i, n).

    Raises:
        Refused: another process is this shard, shards of another number are at work, or a process without shards is;
            the message names it.
    """
    number, count = shard
    with _beside(store, f"{number}-of-{count}"):
        # Shards of the same number are not asked: asking takes their lock for a moment.
        unlike = [path for path in _shards(store) if not path.name.endswith((f"-of-{count}", _JUDGE))]
        if others := [path for path in unlike if _is_held(path)]:
            raise _in_use(store, others)
        yield


@contextmanager
def judge(store: Store) -> Iterator[None]:
    """Keeps judging to this process while the context is open; shards may be at work beside it.

    Args:
        store: the store; one that is not writable needs no lock.

    Raises:
        Refused: another process judges, or one without shards is at work; the message names it.
    """
    with _beside(store, _JUDGE):
        yield


@contextmanager
def _beside(store: Store, name: str) -> Iterator[None]:
    if not store.writable:
        yield
        return
    with _open_lock(store.directory / ".lock") as common:
        if not _locked(common, fcntl.LOCK_SH):
            raise _in_use(store, [store.directory / ".lock"])
        path = store.directory / ".shards" / name
        path.parent.mkdir(exist_ok=True)
        with _open_lock(path) as own:
            if not _locked(own, fcntl.LOCK_EX):
                raise _in_use(store, [path])
            _sign(own, f"{'' if name == _JUDGE else 'shard '}{name}, ")
            yield


def _locked(file: TextIO, kind: int) -> bool:
    """Whether the lock is ours, also where there are none; who only asks holds it for a moment, so try again."""
    for pause in (0.05, 0.1, 0.0):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        except OSError:
            return True
        else:
            return True
    return False


def _shards(store: Store) -> list[Path]:
    return sorted((store.directory / ".shards").glob("*"))


def _is_held(path: Path) -> bool:
    with _open_lock(path) as file:
        return not _locked(file, fcntl.LOCK_SH)


def _in_use(store: Store, paths: list[Path]) -> Refused:
    holder = paths[0].read_text(errors="replace")[:200] or "another process"
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return Refused(f"{store.directory} is in use by {holder}{more}; wait until that ends, or use another directory")


def _sign(file: TextIO, role: str = "") -> None:
    file.seek(0)
    file.truncate()
    file.write(f"{role}process {os.getpid()} on {socket.gethostname()}")
    file.flush()


def _open_lock(path: Path) -> TextIO:
    try:
        return open(path, "a+", errors="replace")
    except OSError as error:
        raise Refused(f"{path} cannot be opened ({error.strerror}); delete it and run again") from error
