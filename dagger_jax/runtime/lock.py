"""One process at a time measures into a directory."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dagger_jax.runtime.files import TEMPORARY
from dagger_jax.runtime.store import Refused, Store


@contextmanager
def hold(store: Store) -> Iterator[None]:
    """Keeps the directory to this process while the context is open, and clears what killed writers left.

    The kernel frees it when the process ends, however that is. A file system that knows no locks has none.

    Args:
        store: the store; one that is not writable needs no lock.

    Raises:
        Refused: another process measures there; the message names it.
    """
    if not store.writable:
        yield
        return
    with _open_lock(store.directory / ".lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read(200) or "another process"
            raise Refused(
                f"{store.directory} is in use by {holder}; wait until that ends, or use another directory"
            ) from error
        except OSError:
            pass
        else:
            for folder in (store.directory, store.directory / "cells"):
                for left in folder.glob(f"{TEMPORARY}*"):
                    left.unlink(missing_ok=True)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _open_lock(path: Path) -> TextIO:
    try:
        return open(path, "a+", errors="replace")
    except OSError as error:
        raise Refused(f"{path} cannot be opened ({error.strerror}); delete it and run again") from error
