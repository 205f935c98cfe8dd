"""Several processes on one folder: no block measured twice, none lost, one judge, the points of one process."""

import os
import socket
import sys
import time
from collections import Counter

import pytest

from dagger_jax.runtime import lock, store
from experiments.claim.running import execute
from tests.experiments import claim_test

TOY = claim_test.TOY
SIZES = ("--horizons=4,8,16", "--runs=4")  # 12 blocks


def _run(*flags):
    return execute(TOY, ["toy", *flags])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of the points that one process measures."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert _run(f"--out={out}", *SIZES) == 0
    return (out / "points.parquet").read_bytes()


def _shard(spawn, number, out, log, pause=0.3):
    command = [sys.executable, claim_test.__file__, f"--out={out}", f"--shard={number}/3", *SIZES]
    return spawn(command, env={"TOY_LOG": str(log), "TOY_PAUSE": str(pause)})


def test_three_shards_killed_and_restarted_are_one_process(tmp_path, spawn, whole):
    """Each block is measured once, but for those in work when their process is killed; the last to finish judges."""
    out, log, killed = tmp_path / "out", tmp_path / "log", []
    shards = {number: _shard(spawn, number, out, log) for number in (1, 2, 3)}
    for number in (2, 3):
        while not log.exists() or f"{shards[number].pid} " not in log.read_text():
            assert shards[number].poll() is None
            time.sleep(0.02)
        shards[number].kill()
        shards[number].wait()
        killed.append(str(shards[number].pid))
        shards[number] = _shard(spawn, number, out, log)
    told = [process.communicate() for process in shards.values()]
    assert [(process.returncode, errors) for process, (_, errors) in zip(shards.values(), told, strict=True)] == [
        (0, "")
    ] * 3
    assert (out / "points.parquet").read_bytes() == whole
    lines = [line.split() for line in log.read_text().splitlines()]
    counts = Counter((horizon, run) for _, horizon, run in lines)
    assert len(counts) == 12
    last = {[tuple(rest) for pid, *rest in lines if pid == each][-1] for each in killed}
    assert {block for block, count in counts.items() if count > 1} <= last
    judged = ["findings hold" in printed for printed, _ in told]
    assert any(judged)
    for printed, _ in told:
        assert (
            "findings hold" in printed
            or "not measured yet; the shard that finishes last judges" in printed
            or ("another process judges them" in printed)
        )


def test_a_shard_without_blocks_says_so_and_ends_well(tmp_path, capsys):
    sizes = ("--horizons=4,8", "--runs=1")
    assert _run(f"--out={tmp_path}", "--shard=4/4", *sizes) == 0
    assert "shard 4/4 has none of the 2 blocks; 2 of 2 blocks are not measured yet" in capsys.readouterr().out
    assert _run(f"--out={tmp_path}", "--shard=1/4", *sizes) == 0
    printed = capsys.readouterr().out
    assert "toy 1/4: 1 of 1 done" in printed
    assert "shard 1/4 is done; 1 of 2 blocks are not measured yet" in printed
    assert not (tmp_path / "points.parquet").exists()
    assert _run(f"--out={tmp_path}", "--shard=2/4", *sizes) == 0
    assert "1 findings hold" in capsys.readouterr().out
    assert _run(f"--out={tmp_path}", *sizes) == 0  # without shards it is the same run
    assert "2 of 2 done" in capsys.readouterr().out


def test_the_judge_measures_nothing(tmp_path, capsys, whole):
    out = tmp_path / "out"
    assert _run(f"--out={out}", "--judge", *SIZES) == 4
    assert capsys.readouterr().err == "toy: --judge: 12 of 12 blocks are not measured yet; nothing was judged\n"
    assert not out.exists()
    for number in (1, 2):
        assert _run(f"--out={out}", f"--shard={number}/3", *SIZES) == 0
    assert _run(f"--out={out}", "--judge", *SIZES) == 4
    assert "4 of 12 blocks" in capsys.readouterr().err
    assert _run(f"--out={out}", "--shard=3/3", *SIZES) == 0
    for name in ("points.parquet", "report.html", "findings.json"):
        (out / name).unlink()
    assert _run(f"--out={out}", "--judge", *SIZES) == 0
    assert (out / "points.parquet").read_bytes() == whole
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--shard=4/3"], "--shard: '4/3' is not allowed; allowed: i/n, whole numbers, i from 1 to n"),
        (["--shard=0/3"], "--shard: '0/3'"),
        (["--shard=1/0"], "--shard: '1/0'"),
        (["--shard=x"], "--shard: 'x'"),
        (["--shard=-1/3"], "--shard: '-1/3'"),
        (["--shard=1/3", "--noresume"], "--shard: with --noresume it would delete what others have measured"),
        (["--judge", "--noresume"], "--judge: with --noresume"),
        (["--judge", "--shard=1/3"], "--judge: it measures nothing"),
    ],
)
def test_what_is_refused(tmp_path, capsys, flags, words):
    assert _run(f"--out={tmp_path / 'out'}", *flags) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
    assert list(tmp_path.iterdir()) == []


def test_who_is_at_work_is_named(tmp_path, capsys):
    """The same shard, shards of another number, a process without shards, a second judge."""
    assert _run(f"--out={tmp_path}", "--shard=1/3", *SIZES) == 0
    opened = store.Store(tmp_path, TOY.schema, {})
    me = f"process {os.getpid()} on {socket.gethostname()}"

    def refused(holder, *flags):
        capsys.readouterr()
        return _run(f"--out={tmp_path}", *flags, *SIZES) == 2 and f"is in use by {holder}" in capsys.readouterr().err

    with lock.share(opened, (2, 3)):
        assert refused(f"shard 2-of-3, {me}; wait", "--shard=2/3")
        assert refused(f"shard 2-of-3, {me}; wait", "--shard=1/2")
        assert refused(f"shard 2-of-3, {me}; wait")
        assert refused(f"shard 2-of-3, {me}; wait", "--noresume")
        with lock.share(opened, (3, 3)):
            assert refused(f"shard 2-of-3, {me} and 1 more; wait")
        assert _run(f"--out={tmp_path}", "--shard=1/3", *SIZES) == 0
    with lock.hold(opened):
        assert refused(f"{me}; wait", "--shard=2/3")
    for number in (2, 3):
        assert _run(f"--out={tmp_path}", f"--shard={number}/3", *SIZES) == 0
    with lock.judge(opened):
        assert refused(f"judge, {me}; wait", "--judge")
        assert _run(f"--out={tmp_path}", "--shard=1/3", *SIZES) == 0
        assert "toy: all blocks are measured, and another process judges them" in capsys.readouterr().out
