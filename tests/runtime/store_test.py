"""The store: complete or absent, the same bytes for the same points, and every damage is named."""

import json
import multiprocessing
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax.runtime import files, lock, store

SCHEMA = pa.schema({"world": pa.string(), "horizon": pa.int64(), "gap": pa.float64()})
IDENTITY = {"claim": "toy", "settings": {"horizons": (4, 8), "seed": 0}, "made_with": {"jax": "1"}}
CELLS = [{"horizon": 4}, {"horizon": 8}]


def _points(cell):
    return [{"world": "cliff", "horizon": cell["horizon"], "gap": cell["horizon"] / 3 + i} for i in range(20)]


def _filled(directory):
    opened = store.open_store(directory, IDENTITY, SCHEMA)
    return opened, [store.write(opened, cell, _points(cell)) for cell in CELLS]


def test_a_block_reads_back_and_existence_means_done(tmp_path):
    opened = store.open_store(tmp_path / "new" / "run", IDENTITY, SCHEMA)
    assert store.read(opened, CELLS[0]) is None
    assert store.lacking(opened, CELLS) == [0, 1]
    written = store.write(opened, CELLS[0], _points(CELLS[0]))
    assert store.lacking(opened, CELLS) == [1]
    read = store.read(opened, CELLS[0])
    assert read is not None
    assert read.equals(written)
    assert store.read(opened, CELLS[1]) is None


def test_merged_points_are_the_same_bytes_whether_written_or_read_back(tmp_path):
    opened, written = _filled(tmp_path)
    table = store.merge(opened, written)
    data = (tmp_path / "points.parquet").read_bytes()
    (tmp_path / "points.parquet").unlink()
    store.merge(opened, [part for cell in CELLS if (part := store.read(opened, cell)) is not None])
    assert (tmp_path / "points.parquet").read_bytes() == data
    assert pq.read_table(tmp_path / "points.parquet").equals(table)
    assert table["horizon"].to_pylist() == [4] * 20 + [8] * 20


def test_missing_columns_are_null_and_unknown_ones_an_error(tmp_path):
    opened = store.open_store(tmp_path, IDENTITY, SCHEMA)
    assert store.write(opened, CELLS[0], [{"gap": np.float32(0.5)}]).to_pylist() == [
        {"world": None, "horizon": None, "gap": 0.5}
    ]
    with pytest.raises(ValueError, match="undeclared column gapp; declared are world, horizon, gap"):
        store.write(opened, CELLS[0], [{"gapp": 1.0}])


@pytest.mark.parametrize("damage", ["flip", "truncate"])
@pytest.mark.parametrize("victim", ["cell", "settings"])
def test_every_damaged_byte_is_detected_and_the_file_named(tmp_path, damage, victim):
    opened, _ = _filled(tmp_path)
    path = store.cell_path(opened, CELLS[0]) if victim == "cell" else tmp_path / "settings.json"
    check = (lambda: store.read(opened, CELLS[0])) if victim == "cell" else (lambda: store.confirm(opened))
    whole = path.read_bytes()
    check()
    for index in range(0, len(whole), 3):
        bad = bytearray(whole)
        bad[index] ^= 1 << index % 8
        path.write_bytes(bad if damage == "flip" else whole[:index])
        with pytest.raises(store.Corrupt, match=path.name):
            check()


def test_damaged_points_are_named_and_left_as_they_are(tmp_path):
    opened, tables = _filled(tmp_path)
    store.merge(opened, tables)
    path = tmp_path / "points.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    damaged = path.read_bytes()
    with pytest.raises(store.Corrupt, match=r"points\.parquet"):
        store.merge(opened, tables)
    assert path.read_bytes() == damaged


def test_another_run_is_refused_and_what_differs_is_named(tmp_path):
    _filled(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = {**IDENTITY, "settings": {"horizons": (4, 16), "seed": 0}, "made_with": {"jax": "2"}}
    with pytest.raises(store.Refused, match=r"--horizons is 4,8 there and 4,16 here; jax is 1 there and 2 here"):
        store.open_store(tmp_path, other, SCHEMA)
    with pytest.raises(store.Refused, match="claim is toy there and other here"):
        store.open_store(tmp_path, {**IDENTITY, "claim": "other"}, SCHEMA)
    with pytest.raises(store.Refused, match="columns is world string,horizon int64,gap double there"):
        store.open_store(tmp_path, IDENTITY, SCHEMA.append(pa.field("more", pa.string())))
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_unusable_directories_are_refused_untouched(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for place, reason in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "below", "Not a directory"),
        (tmp_path / "full", "mine.txt"),
    ):
        with pytest.raises(store.Refused, match=reason):
            store.open_store(place, IDENTITY, SCHEMA)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine.txt"]


def test_what_a_killed_writer_leaves_behind_does_not_count_and_is_cleared(tmp_path):
    (tmp_path / ".tmp-killed").write_bytes(b"{")
    opened, tables = _filled(tmp_path)
    (tmp_path / "cells" / ".tmp-killed").write_bytes(b"PAR1")
    assert pq.read_table(tmp_path / "cells").num_rows == store.merge(opened, tables).num_rows
    with lock.hold(opened):
        assert not list(tmp_path.rglob(".tmp-*"))


def test_forgetting_removes_the_points_only(tmp_path):
    opened, tables = _filled(tmp_path)
    store.merge(opened, tables)
    (tmp_path / "notes.txt").write_text("mine")
    store.forget(opened)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cells", "notes.txt", "settings.json"]


def test_another_run_of_the_same_claim_is_started_over_if_that_is_asked_for(tmp_path):
    _filled(tmp_path)
    other = {**IDENTITY, "settings": {"horizons": (4, 16), "seed": 0}}
    opened = store.open_store(tmp_path, other, SCHEMA, anew=True)
    with pytest.raises(store.Refused, match="--horizons is 4,8 there"):
        store.confirm(opened)  # nothing has changed before
    store.forget(opened)
    store.confirm(opened)
    assert not list(tmp_path.glob("cells/*"))
    with pytest.raises(store.Refused, match=r"claim is toy there and other here;.*use another directory$"):
        store.open_store(tmp_path, {**IDENTITY, "claim": "other"}, SCHEMA, anew=True)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b"{" + b'"a":{' * 100_000,
        b"[]",
        b"3",
        b"\xff",
        *(files.json_bytes({"claim": "toy", **odd}) for odd in ({"settings": 3}, {"files": []}, {"made_with": [1]})),
    ],
)
def test_settings_of_another_shape_are_damage(tmp_path, text):
    opened, _ = _filled(tmp_path)
    path = tmp_path / "settings.json"
    if text.startswith(b"{\n"):
        path.write_bytes(store._settings_bytes(json.loads(text)))  # a whole file, of which the digest is right
    else:
        path.write_bytes(text)
    with pytest.raises(store.Corrupt, match=r"settings\.json is truncated or altered"):
        store.confirm(opened)


def test_a_directory_in_place_of_a_file_is_named(tmp_path):
    opened, tables = _filled(tmp_path)
    for path, use in (
        (store.cell_path(opened, CELLS[0]), lambda: store.read(opened, CELLS[0])),
        (tmp_path / "points.parquet", lambda: store.merge(opened, tables)),
        (tmp_path / "settings.json", lambda: store.open_store(tmp_path, IDENTITY, SCHEMA)),
    ):
        path.unlink(missing_ok=True)
        path.mkdir()
        with pytest.raises(store.StoreError, match=rf"{path.name} cannot be read \(Is a directory\)"):
            use()
    (tmp_path / ".lock").mkdir()
    with pytest.raises(store.Refused, match=r"\.lock cannot be opened"), lock.hold(opened):
        pass


def _write_often(directory):
    for _ in range(20):
        opened, tables = _filled(directory)
        store.merge(opened, tables)


def test_processes_that_share_a_directory_damage_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_often, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    opened = store.open_store(tmp_path, IDENTITY, SCHEMA)
    assert all(store.read(opened, cell) is not None for cell in CELLS)
    assert not [path for path in tmp_path.rglob(".*")]


def test_one_holds_a_directory_at_a_time(tmp_path):
    opened, _ = _filled(tmp_path)
    with lock.hold(opened):
        with pytest.raises(store.Refused, match=rf"is in use by process {os.getpid()} on .*; wait"), lock.hold(opened):
            pass
        assert store.read(opened, CELLS[0]) is not None  # whoever reads needs no lock
    with lock.hold(opened):
        pass


def test_names_are_shown_by_their_escapes():
    assert files.printable("ε a\x1b[31m\x00\udcff\n\u202e") == r"ε a\x1b[31m\x00\udcff" + "\n" + r"\u202e"


def test_json_is_strict_and_plain():
    value = {"a": np.float64("nan"), "b": (np.int64(1), np.bool_(True)), "c": float("inf"), "d": np.ones(2)}
    assert json.loads(files.json_bytes(value)) == {"a": None, "b": [1, True], "c": None, "d": [1.0, 1.0]}
