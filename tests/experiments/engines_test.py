"""Engines that exist: Ray, and SLURM by submitit, whose local executor stands for a cluster here."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.claim.running import execute
from tests.experiments import claim_test

TOY = claim_test.TOY


def _needs(module, extra):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"the extra [{extra}] is not installed")


def _run(*flags):
    return execute(TOY, ["toy", *flags])


@pytest.fixture
def start(tmp_path, spawn):
    """Starts the toy, which writes down the blocks that it measures."""

    def one(*flags, pause):
        command = [sys.executable, claim_test.__file__, f"--out={tmp_path / 'out'}", *flags]
        return spawn(command, env={"TOY_LOG": str(tmp_path / "log"), "TOY_PAUSE": str(pause)})

    return one


def _blocks(tmp_path):
    log = tmp_path / "log"
    return [line.split() for line in (log.read_text() if log.exists() else "").splitlines()]


def _worker(process, tmp_path):
    """A process that has measured a block, as soon as there is one."""
    while not (found := _blocks(tmp_path)):
        assert process.poll() is None
        time.sleep(0.02)
    return int(found[0][0])


def _ends(pid):
    while True:
        done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
        if done.stdout.strip()[:1] in ("", "Z"):
            return
        time.sleep(0.02)


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_an_extra_that_is_not_installed_is_named(tmp_path, capsys, monkeypatch, engine):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert _run(f"--out={tmp_path / 'out'}", f"--engine={engine}") == 2
    line = f"toy: --engine: {engine} needs the extra [{engine}], which is not installed: pip install "
    assert capsys.readouterr().err.startswith(line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--engine=dask"], "--engine: 'dask' is not allowed; allowed: local, ray, slurm"),
        (["--resources=cpus=2"], "--resources: allowed: each once, and only with --engine=ray or --engine=slurm"),
        (["--resources=cpus=2,cpus=3", "--engine=ray"], "--resources: allowed: each once"),
        (["--resources=cpus=0", "--engine=ray"], "--resources: 'cpus=0' is not allowed; allowed: cpus=N, gpus=N, min"),
        (["--resources=hours=1", "--engine=ray"], "--resources: 'hours=1'"),
        (["--engine=ray", "--workers=2"], "--workers: how many blocks are measured at a time is Ray's to say"),
    ],
)
def test_what_is_refused(tmp_path, capsys, monkeypatch, flags, words):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found")
    assert _run(f"--out={tmp_path / 'out'}", *flags) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def slurm(monkeypatch, tmp_path):
    """Jobs are local processes, whatever this machine has."""
    submitit = pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
    monkeypatch.setattr(submitit.AutoExecutor, "which", staticmethod(lambda: "local"))
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))


def test_jobs_of_slurm_measure_what_one_process_does(tmp_path, slurm, capsys):
    out = tmp_path / "out"
    assert _run(f"--out={out}", "--engine=slurm", "--workers=2", "--resources=cpus=1,minutes=5") == 0
    assert "the jobs are local processes" in capsys.readouterr().out
    assert len({pid for pid, *_ in _blocks(tmp_path)}) == 2
    assert len({tuple(block) for _, *block in _blocks(tmp_path)}) == len(_blocks(tmp_path)) == 6
    assert not (out / ".slurm").exists()
    run = json.loads((out / "run.json").read_text())
    assert (run["blocks"], run["environment_steps"]) == ({"measured_now": 6, "found_stored": 0}, 36)
    assert run["flags"]["resources"] == {"cpus": 1, "gpus": 0, "minutes": 5}
    assert _run(f"--out={tmp_path / 'whole'}") == 0
    assert (out / "points.parquet").read_bytes() == (tmp_path / "whole" / "points.parquet").read_bytes()


def test_a_job_that_ends_every_time_is_given_up(tmp_path, slurm, capsys, monkeypatch):
    """What it leaves goes into another array, which brings no block."""
    monkeypatch.setenv("TOY_DIES", "8 0")
    flags = (f"--out={tmp_path / 'out'}", "--engine=slurm", "--horizons=4,8,16", "--runs=1")
    assert _run(*flags) == 3
    assert "toy: block horizon=8 run=0 failed: no job finished it: " in capsys.readouterr().err
    assert len(list(tmp_path.glob("out/cells/*.parquet"))) == 1
    monkeypatch.delenv("TOY_DIES")
    assert _run(*flags) == 0
    assert len(_blocks(tmp_path)) == 1 + 2 + 2


def test_an_interrupt_ends_the_jobs(tmp_path, slurm, start):
    process = start("--engine=slurm", pause=0.5)
    job = _worker(process, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    _ends(job)


@_needs("ray", "ray")
def test_tasks_of_ray_measure_what_one_process_does(tmp_path, start):
    """One is killed in the midst of a block: Ray starts another."""
    process = start("--engine=ray", pause=0.5)
    os.kill(_worker(process, tmp_path), signal.SIGKILL)
    printed, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert "toy: 6 of 6 done" in printed
    assert len({pid for pid, *_ in _blocks(tmp_path)}) >= 2
    assert len({tuple(block) for _, *block in _blocks(tmp_path)}) == 6
    assert _run(f"--out={tmp_path / 'whole'}") == 0
    assert (tmp_path / "out" / "points.parquet").read_bytes() == (tmp_path / "whole" / "points.parquet").read_bytes()


@_needs("ray", "ray")
def test_an_interrupt_ends_ray(tmp_path, start):
    process = start("--engine=ray", pause=0.5)
    worker = _worker(process, tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (
        130,
        "toy: interrupted; finished blocks are stored, the same command resumes\n",
    )
    _ends(worker)
