"""Where measured points live: one parquet file a block of work, merged into one table at the end.

    DIR/settings.json          who may write here: the claim, its settings and the software that measures
    DIR/cells/<sha256>.parquet the points of one block; the name is the digest of the block and the settings
    DIR/points.parquet         the blocks' points, in the blocks' order
    DIR/.lock, DIR/.shards/    who measures here now

A file is complete or absent, whatever moment a process is killed at: it is written under a name that starts
with a dot (readers of a folder pass over it), flushed to the disk, then renamed. So existence means done. Files
that hold the same points are the same bytes, so a damaged one shows: what was read from it does not encode to it
again.
"""

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dagger_jax.runtime.files import TEMPORARY, json_bytes, plain, replace

_METADATA = b"dagger_jax"
_DIGEST = re.compile("[0-9a-f]{64}")
# The disk is at fault, and not the choice of directory.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


class StoreError(Exception):
    """A directory that cannot be used; the message says why and what to do, in one line."""


class Refused(StoreError):
    """The directory holds something else, or cannot be written."""


class Corrupt(StoreError):
    """A stored file is truncated or altered."""


class Store(NamedTuple):
    """A directory that belongs to one claim with one list of settings."""

    directory: Path
    schema: pa.Schema  # of every block and of the merged table
    identity: dict[str, Any]  # {claim, settings, files, made_with, columns}: what two equal runs have in common
    writable: bool = True


def open_store(directory: Path, identity: Mapping[str, Any], schema: pa.Schema, *, anew: bool = False) -> Store:
    """Makes the directory, or takes up the one that holds the same run.

    Args:
        directory: new, empty, or written by a run with this identity.
        identity: all that decides what is measured, JSON-able: the claim, settings {flag: value}, files
            {path: sha256}, made_with {software: version}.
        schema: the one schema of all points.
        anew: a directory that holds another run of the same claim is taken as well; `forget` must then follow.

    Returns:
        The store; it is not writable where this run's directory can only be read.

    Raises:
        Refused: the directory cannot be made, or holds other files or another run; nothing was changed.
        Corrupt: settings.json is damaged.
        OSError: the disk is full, or fails.
    """
    columns = [f"{field.name} {field.type}" for field in schema]
    store = Store(directory, schema, json.loads(json_bytes({**identity, "columns": columns})))
    try:
        if directory.exists() and not directory.is_dir():
            raise Refused(f"{directory} is a file; allowed: a new or empty directory")
        directory.mkdir(parents=True, exist_ok=True)
        foreign = [entry for entry in sorted(os.listdir(directory)) if not entry.startswith(".")]
        if not (directory / "settings.json").exists():
            if foreign:
                raise Refused(f"{directory} holds other files ({foreign[0]}); allowed: a new or empty directory")
            replace(directory / "settings.json", _settings_bytes(store.identity))
        confirm(store, anew=anew)
        try:
            (directory / "cells").mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=directory / "cells", prefix=TEMPORARY):
                pass
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or anew:
                raise
            store = store._replace(writable=False)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in _DISK:
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise Refused(f"cannot write in {directory} ({reason}); allowed: a directory that can be written") from error
    return store


def confirm(store: Store, *, anew: bool = False) -> None:
    """Checks that the directory still belongs to this run.

    Args:
        store: the store.
        anew: another run of the same claim will do.

    Raises:
        Refused: it holds another run; the message names what differs, with both values, and what to do.
        Corrupt: settings.json is damaged.
    """
    path = store.directory / "settings.json"
    data = _bytes(path)
    try:
        found = {key: value for key, value in json.loads(data or b"").items() if key != "sha256"}
        whole = _settings_bytes(found) == data
        unlike, same = differing(found, store.identity), found.get("claim") == store.identity["claim"]
    except (ValueError, TypeError, AttributeError, RecursionError):
        whole, unlike, same = False, [], False
    if not whole:
        raise Corrupt(f"{path} is truncated or altered: the run it belonged to cannot be known; use another directory")
    if unlike and not (anew and same):
        or_else = ", or --noresume to start over" if same else ""
        raise Refused(f"{store.directory} holds another run: {'; '.join(unlike)}; use another directory{or_else}")


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two runs' identities, in words: "there" is the one, "here" the other."""
    there, here = (_flat(json.loads(json_bytes(identity))) for identity in (one, other))
    return [
        f"{name} is {_words(there.get(name))} there and {_words(here.get(name))} here"
        for name in dict.fromkeys((*here, *there))
        if there.get(name) != here.get(name)
    ]


def cell_path(store: Store, cell: Mapping[str, Any]) -> Path:
    """The file of one block.

    Args:
        store: the store.
        cell: the block, JSON-able.

    Returns:
        The path; the file exists when and only when the block is done.
    """
    return store.directory / "cells" / f"{hashlib.sha256(_metadata(store, cell)).hexdigest()}.parquet"


def lacking(store: Store, cells: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which blocks no process has stored yet, by their place in the list; the folder is read once."""
    folder = store.directory / "cells"
    stored = set(os.listdir(folder)) if folder.exists() else set()
    return [place for place, cell in enumerate(cells) if cell_path(store, cell).name not in stored]


def write(store: Store, cell: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Stores the points of a finished block, at once and atomically.

    Args:
        store: the store.
        cell: the block.
        points: one mapping a row; a missing column is null.

    Returns:
        The stored table.

    Raises:
        ValueError: a point has a column that the schema lacks.
    """
    unknown = sorted({name for point in points for name in point} - set(store.schema.names))
    if unknown:
        raise ValueError(f"undeclared column {', '.join(unknown)}; declared are {', '.join(store.schema.names)}")
    rows = [{name: plain(point.get(name)) for name in store.schema.names} for point in points]
    table = pa.Table.from_pylist(rows, schema=store.schema.with_metadata({_METADATA: _metadata(store, cell)}))
    replace(cell_path(store, cell), _encode(table))
    return table


def read(store: Store, cell: Mapping[str, Any]) -> pa.Table | None:
    """Reads a stored block and checks every byte of it.

    Args:
        store: the store.
        cell: the block.

    Returns:
        Its points, or None where the block has not been finished.

    Raises:
        Corrupt: the file is truncated or altered.
    """
    path = cell_path(store, cell)
    data = _bytes(path)
    if data is None:
        return None
    expected = store.schema.with_metadata({_METADATA: _metadata(store, cell)})
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
        whole = table.schema.equals(expected, check_metadata=True) and _encode(table) == data
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise Corrupt(f"{path} is truncated or altered; delete it, and the same command measures that block again")
    return table


def merge(store: Store, tables: Iterable[pa.Table]) -> pa.Table:
    """Writes points.parquet, the points of all blocks in order.

    Args:
        store: the store.
        tables: every block's points.

    Returns:
        The merged table.

    Raises:
        Corrupt: points.parquet exists and is not what the blocks hold; it is left as it is.
        Refused: another run has taken the directory meanwhile.
    """
    confirm(store)
    bare = store.schema.with_metadata({_METADATA: _metadata(store, None)})
    table = pa.concat_tables([part.replace_schema_metadata(bare.metadata) for part in tables]).combine_chunks()
    data, path = _encode(table), store.directory / "points.parquet"
    if _bytes(path) not in (None, data):
        raise Corrupt(
            f"{path} is truncated or altered: the blocks in cells/ hold other points; delete it and run again"
        )
    if store.writable:
        replace(path, data)
    return table


def forget(store: Store) -> None:
    """Removes the points that are stored, of whatever run of the claim, and what was concluded from them.

    The directory then belongs to this run. Call it while `lock.hold` is open.

    Args:
        store: the store.
    """
    for name in ("report.html", "findings.json", "run.json", "points.parquet", "error.log"):
        (store.directory / name).unlink(missing_ok=True)
    for path in (store.directory / "cells").glob("*.parquet"):
        path.unlink()
    replace(store.directory / "settings.json", _settings_bytes(store.identity))


def _bytes(path: Path) -> bytes | None:
    """What a file holds, or None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Corrupt(f"{path} cannot be read ({error.strerror}); delete it and run again") from error


def _settings_bytes(identity: Mapping[str, Any]) -> bytes:
    return json_bytes({**identity, "sha256": hashlib.sha256(json_bytes(identity)).hexdigest()})


def _metadata(store: Store, cell: Mapping[str, Any] | None) -> bytes:
    return json.dumps({**store.identity, "cell": plain(cell)}, sort_keys=True).encode()


def _encode(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # Uncompressed, because compressors of one version differ between processors; dictionaries keep it small.
    pq.write_table(table, sink, compression="none", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    settings = {f"--{name}": value for name, value in identity.get("settings", {}).items()}
    files = {f"the sha256 of {name}": value for name, value in identity.get("files", {}).items()}
    made_with = identity.get("made_with", {})
    return {"claim": identity.get("claim"), **settings, **files, **made_with, "columns": identity.get("columns")}


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_words, value))
    # Of a digest the beginning is enough to tell.
    return "absent" if value is None else value[:12] if _DIGEST.fullmatch(str(value)) else str(value)
