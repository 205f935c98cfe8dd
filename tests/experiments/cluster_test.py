"""A cluster of jax.distributed: real processes, which end together and leave the points of one process."""

import os
import signal
import socket
import sys
import time
from collections import Counter

import pytest

from experiments.claim.running import execute
from tests.experiments import claim_test

TOY = claim_test.TOY


def _run(*flags):
    return execute(TOY, ["toy", *flags])


@pytest.fixture
def start(tmp_path, spawn):
    """Starts the processes of a cluster, which write down the blocks that they measure."""

    def some(count, pause, only=None, heartbeat=20):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        flags = (
            f"--out={tmp_path / 'out'}",
            f"--coordinator={address}",
            f"--num_processes={count}",
            f"--heartbeat={heartbeat}",
        )
        return [
            spawn(
                [sys.executable, claim_test.__file__, *flags, f"--process_id={own}"],
                env={"TOY_LOG": str(tmp_path / "log"), "TOY_PAUSE": str(pause)},
            )
            for own in (range(count) if only is None else [only])
        ]

    return some


def _stored(tmp_path):
    return len(list(tmp_path.glob("out/cells/*.parquet")))


def _measured(tmp_path):
    """How many blocks each process has measured."""
    log = tmp_path / "log"
    return Counter(line.split()[0] for line in (log.read_text() if log.exists() else "").splitlines())


def _under_way(processes, tmp_path):
    """Both have stored a block, and are in another."""
    while len(seen := _measured(tmp_path)) < 2 or seen.total() > _stored(tmp_path):
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.02)


@pytest.mark.parametrize(("killed", "again"), [(0, 2), (1, 1)])
def test_if_one_is_killed_all_end_and_a_rerun_has_the_same_points(tmp_path, start, killed, again):
    """By the same number of processes, or another."""
    processes = start(2, 2.0)
    _under_way(processes, tmp_path)
    processes[killed].kill()
    other = processes[1 - killed]
    _, errors = other.communicate()
    assert (other.returncode, errors) == (
        3,
        "toy: another process of the cluster has ended or does not answer; finished blocks are stored, the same "
        "command resumes\n",
    )
    assert not (tmp_path / "out" / "points.parquet").exists()
    first, *others = start(again, 0.0)
    assert "1 of 1 findings hold" in first.communicate()[0]
    for other in others:
        assert "toy: all blocks are measured, and the first process judges them\n" in other.communicate()[0]
    assert [process.returncode for process in (first, *others)] == [0] * again
    assert _run(f"--out={tmp_path / 'whole'}") == 0
    assert (tmp_path / "out" / "points.parquet").read_bytes() == (tmp_path / "whole" / "points.parquet").read_bytes()


def test_terminated_it_leaves_at_the_end_of_a_block(tmp_path, start):
    processes = start(2, 1.0)
    _under_way(processes, tmp_path)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [143, 143]
    assert errors == ["toy: terminated; finished blocks are stored, the same command resumes\n"] * 2
    assert min(_measured(tmp_path).values()) >= 2
    assert _stored(tmp_path) == _measured(tmp_path).total()


def test_a_cluster_of_slurm_is_detected(tmp_path, spawn):
    command = [sys.executable, claim_test.__file__, f"--out={tmp_path / 'out'}", "--coordinator=detect"]
    known = {"JOB_ID": str(os.getpid()), "STEP_NODELIST": "127.0.0.1", "NTASKS": "1", "PROCID": "0", "LOCALID": "0"}
    printed, errors = spawn(command, env={f"SLURM_{name}": value for name, value in known.items()}).communicate()
    assert "toy 1/1: 6 of 6 done" in printed
    assert errors == ""


@pytest.mark.parametrize("only", [0, 1])
def test_a_cluster_that_does_not_come_together(tmp_path, start, only):
    """No coordinator answers, or no other process comes."""
    (process,) = start(2, 0.0, only, heartbeat=5)
    _, errors = process.communicate()
    assert process.returncode == 3
    assert errors.startswith("toy: --coordinator: 127.0.0.1:")
    assert errors.endswith("did not answer, or not all processes came, in 5 s; nothing was measured\n")
    assert errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--coordinator=here"], "--coordinator: 'here' is not allowed; allowed: HOST:PORT, detect"),
        (["--coordinator=a:0"], "--coordinator: 'a:0'"),
        (
            ["--coordinator=a:1"],
            "--coordinator: allowed: with --num_processes and --process_id, or",
        ),
        (["--coordinator=detect", "--process_id=0"], "--coordinator: detect finds --num_processes and --process_id"),
        (["--coordinator=detect", "--workers=2"], "--coordinator: allowed: without --shard, --judge, --workers and"),
        (["--coordinator=detect", "--noresume"], "--coordinator: with --noresume it would delete"),
        (["--coordinator=detect"], "--coordinator: a library starts no processes"),
        (
            ["--coordinator=a:1", "--num_processes=2", "--process_id=2"],
            "--process_id: 2 is not allowed",
        ),
        (["--process_id=2"], "--process_id: allowed: only with --coordinator"),
        (["--heartbeat=1"], "--heartbeat: '1' is not allowed; allowed: a whole number from 5"),
    ],
)
def test_what_is_refused(tmp_path, capsys, flags, words):
    assert _run(f"--out={tmp_path / 'out'}", *flags) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
    assert list(tmp_path.iterdir()) == []
