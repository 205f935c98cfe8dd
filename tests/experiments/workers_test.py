"""Local workers: the points of one process, none outlives the process that asks, one that dies is replaced."""

import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.claim import options, work
from experiments.claim.contract import BadFlag
from experiments.claim.running import execute
from experiments.kv_cost.experiment import CLAIM as TIMED
from tests.experiments import claim_test

TOY = claim_test.TOY


@pytest.fixture
def start(tmp_path, spawn):
    """Starts the toy with two workers, which write down the blocks that they measure."""

    def one(*flags, pause=0.0, **environment):
        command = [sys.executable, claim_test.__file__, f"--out={tmp_path / 'out'}", "--workers=2", *flags]
        return spawn(command, env={"TOY_LOG": str(tmp_path / "log"), "TOY_PAUSE": str(pause), **environment})

    return one


def _seen(process, log, count):
    """The workers that have measured a block, as soon as there are so many."""
    while (
        len(workers := {int(line.split()[0]) for line in (log.read_text() if log.exists() else "").splitlines()})
        < count
    ):
        assert process.poll() is None
        time.sleep(0.02)
    return sorted(workers)


def _alive(pid):
    """Whether a process runs; one that has ended may wait for a parent that takes notice."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")


def test_workers_measure_what_one_process_does(tmp_path, start):
    """One is killed in the midst of a block: another takes its place."""
    assert execute(TOY, ["toy", f"--out={tmp_path / 'whole'}", "--runs=6"]) == 0
    process = start("--runs=6", pause=0.4)
    killed = _seen(process, tmp_path / "log", 2)[0]
    os.kill(killed, signal.SIGKILL)
    printed, errors = process.communicate()
    assert process.returncode == 0
    assert errors.startswith("toy: a worker ended by signal SIGKILL in block horizon=")
    assert errors.count("\n") == 1
    assert printed.count("toy: 0 of 12 done") == printed.count("toy: 12 of 12 done") == 1
    assert "1 of 1 findings hold" in printed
    assert (tmp_path / "out" / "points.parquet").read_bytes() == (tmp_path / "whole" / "points.parquet").read_bytes()
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert len({pid for pid, *_ in lines}) == 3
    assert str(process.pid) not in {pid for pid, *_ in lines}
    blocks = [tuple(block) for _, *block in lines]
    assert len(set(blocks)) == 12
    assert len(blocks) <= 13  # at most the one in work is measured again


def test_a_block_that_ends_every_worker_is_given_up(tmp_path, start):
    process = start(TOY_DIES="4 1")
    _, errors = process.communicate()
    assert process.returncode == 3
    *ended, last = errors.splitlines()
    assert ended == 3 * ["toy: a worker ended with status 7 (no way on) in block horizon=4 run=1"]
    assert last.startswith(
        "toy: block horizon=4 run=1 failed: 3 workers ended in it, the last with status 7 (no way on); finished blocks"
    )
    assert start().wait() == 0
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(("sign", "status"), [("SIGINT", 130), ("SIGKILL", -9)])
def test_no_worker_outlives_the_process_that_asks(tmp_path, start, sign, status):
    process = start(pause=0.5)
    workers = _seen(process, tmp_path / "log", 2)
    process.send_signal(signal.Signals[sign])
    _, errors = process.communicate()
    assert process.returncode == status
    assert errors == ("toy: interrupted; finished blocks are stored, the same command resumes\n" if status > 0 else "")
    while any(map(_alive, workers)):
        time.sleep(0.02)


def test_what_a_worker_says():
    """Blocks with their points; what raised, with its trace; what is refused; other software than ours."""
    arguments = ["toy", "--out=o", "--most=1.5"]
    job = work.job(TOY, options.parse(TOY, arguments))
    answer = work.answerer(TOY, arguments)
    assert work.taken(job, answer(0), "workers")._replace(compiled=None) == work.measure(job, 0)
    with pytest.raises(work.BlockFailed, match="block horizon=4 run=1 failed: ArithmeticError: no number") as caught:
        work.taken(job, answer(1), "workers")
    assert "in _measure" in caught.value.__notes__[0]
    with pytest.raises(BadFlag, match=r"^--horizons: 5000 is too long; allowed: at most 1000$"):
        work.taken(job, work.answerer(TOY, [*arguments, "--horizons=5000"])(0), "workers")
    with pytest.raises(
        BadFlag, match=r"^--workers: a worker's --most is 2\.0 there and 1\.5 here; allowed: workers with"
    ):
        work.taken(job, work.answerer(TOY, ["toy", "--out=o"])(0), "workers")


@pytest.mark.parametrize(
    ("claim", "flag", "words"),
    [
        (TOY, "--workers=0", "--workers: '0' is not allowed; allowed: a whole number from 1 to 1024"),
        (TOY, "--workers=x", "--workers: 'x'"),
        (TOY, "--workers=2", "--workers: a library starts no processes"),
        (TIMED, "--workers=2", "--workers: seconds are measured here"),
    ],
)
def test_what_is_refused(tmp_path, capsys, claim, flag, words):
    assert execute(claim, [claim.name, f"--out={tmp_path / 'out'}", "--preset=quick", flag]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
    assert list(tmp_path.iterdir()) == []
