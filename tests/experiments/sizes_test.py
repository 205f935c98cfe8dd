"""What does not fit into memory is refused at once, by the flag to change; and programs that are no claims."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from dagger_jax import memory
from experiments import claim
from experiments.benchmark import __main__ as benchmark
from experiments.claim import BadFlag, Need, options, sizes, tool
from experiments.claim.running import execute
from experiments.shared import catalog

GIB = 2**30
HUGE = {
    "horizon_growth": ["--runs=9223372036854775807"],
    "bound_sweep": ["--runs=9223372036854775807", "--worlds=1000000000"],
    "chunk_price": ["--u=20 --chunks=512 --horizons=625,1000 --eps=1e-4", "--runs=9223372036854775807"],
    "chunk_choice": ["--runs=1000000", "--rounds=1000 --horizon=1024"],
    "detectability": ["--runs=9223372036854775807", "--episodes=262144 --chunks=1,2,512"],
    "sample_complexity": ["--runs=9223372036854775807", "--states=200,256 --horizons=512,1024", "--trained=1000000"],
    "no_regret": ["--replicas=100000 --episodes=10000", "--runs=1000000000"],
    "better_than_expert": ["--rounds=10000 --horizon=256", "--runs=100000000"],
    "gating": ["--runs=1000000", "--rounds=1000 --horizon=1024"],
    "zoo": ["--runs=1000000", "--demonstrations=99840 --horizons=512,1024"],
    "exposure_bias": ["--texts=1048576 --width=1024 --layers=16", "--vocabulary=256 --order=4", "--runs=1000000000"],
    "distillation": ["--batch=100000 --width=1024", "--vocabulary=4096 --order=4", "--runs=100000000"],
    "scheming": ["--runs=9223372036854775807", "--texts=1048576 --width=1024", "--width=4096 --layers=64"],
    "kv_cost": ["--widths=16384 --layers=200", "--runs=9223372036854775807", "--batch=16384 --vocabulary=262144"],
}
CASES = [(name, flags) for name, each in HUGE.items() for flags in each]


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    """8 GiB, whatever this machine has."""
    monkeypatch.setattr(memory, "host", lambda: 8 * GIB)
    monkeypatch.setattr(memory, "device", lambda: None)


@pytest.mark.parametrize(("name", "flags"), CASES, ids=[f"{name} {flags}" for name, flags in CASES])
def test_huge_sizes_are_refused_before_blocks_are_listed(name, flags, tmp_path, capsys, monkeypatch):
    given = flags.split()
    made = catalog.load(name)
    parts = {field: getattr(made, field) for field in made.__dataclass_fields__}
    unlisted = claim.Claim(**{**parts, "cells": lambda settings: pytest.fail("blocks are listed")})
    assert execute(unlisted, [name, "--preset=quick", f"--out={tmp_path / 'out'}", *given]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith(tuple(f"{name}: {flag.split('=')[0]}: " for flag in given))
    assert " needs about " in printed
    assert "8.0 GiB are free; allowed: " in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", HUGE)
def test_quick_and_default_presets_fit_into_a_small_machine(name, monkeypatch):
    monkeypatch.setattr(memory, "host", lambda: 7 * GIB)
    made = catalog.load(name)
    for preset in ("quick", "default"):
        sizes.check(made, claim.resolve(made, preset))


def test_a_large_world_is_refused_by_its_file(tmp_path):
    """The arrays of 20,000 states, said by a small file's headers; nothing is unpacked."""
    made = catalog.load("horizon_growth")
    path = tmp_path / "large.npz"
    np.savez_compressed(path, transition=np.zeros((2500, 1, 2500)), cost=np.zeros((2500, 2)), initial=np.zeros(2500))
    words = ["horizon_growth", f"--worlds={path}", "--out=out", "--runs=64"]
    with pytest.raises(BadFlag, match=r"--worlds: large\.npz needs about 18\.\d GiB of memory for 64 worlds, and 8"):
        sizes.check(made, options.parse(made, words).settings)


def test_a_sparse_world_of_as_many_states_fits(tmp_path):
    """20,000 states: refused as a table, not as lists; and one long row makes all lists as long."""
    made, states, actions = catalog.load("horizon_growth"), 20_000, 4
    rows = states * actions
    arrays: dict[str, Any] = {"cost": np.zeros((states, actions)), "initial": np.eye(1, states)[0]}
    even: dict[str, Any] = {
        "indptr": 3 * np.arange(rows + 1),
        "indices": np.zeros(3 * rows, int),
        "data": np.full(3 * rows, 1 / 3),
    }
    uneven: dict[str, Any] = even | {"indptr": np.append(np.zeros(rows, int), 3 * rows)}
    np.savez_compressed(tmp_path / "even.npz", **arrays, **even)
    np.savez_compressed(tmp_path / "uneven.npz", **arrays, **uneven)
    words = ["horizon_growth", "--out=out", "--runs=4", "--horizons=8,16", "--preset=quick"]
    sizes.check(made, options.parse(made, [*words, f"--worlds={tmp_path}/even.npz"]).settings)
    with pytest.raises(BadFlag, match=r"--worlds: uneven\.npz needs about .* TiB of memory for 4 worlds"):
        sizes.check(made, options.parse(made, [*words, f"--worlds={tmp_path}/uneven.npz"]).settings)


def test_what_would_fit_is_told():
    def needs(settings):
        return (Need("all", settings.runs * settings.width * 2**20),)

    usual = {"runs": 8, "width": 4}
    sizes.fit({"runs": 2048, "width": 4}, usual, needs)
    with pytest.raises(
        BadFlag, match=r"^--runs: 5000 needs about 19\.5 GiB .*; allowed: 20\d\d or less, other flags as"
    ):
        sizes.fit({"runs": 5000, "width": 4}, usual, needs)
    with pytest.raises(
        BadFlag, match=r"^--width: .*; allowed: 2 or less|^--width: .*; allowed: less, or less of other"
    ):
        sizes.fit({"runs": 8192, "width": 10**9}, usual, needs)


def test_the_device_has_its_own_memory(monkeypatch):
    monkeypatch.setattr(memory, "device", lambda: GIB)
    needs = lambda settings: (Need("arrays", settings.runs * GIB), Need("rows", settings.runs * GIB, device=False))
    with pytest.raises(BadFlag, match=r"--runs: 2 needs about 2\.0 GiB of memory for arrays, and 1\.0 GiB are free"):
        sizes.fit({"runs": 2}, {"runs": 1}, needs)


def test_memory_is_told_of_this_machine():
    assert 2**26 < memory._machine() < 2**50
    assert all(left > 0 for left in memory._groups())
    assert [memory.words(size) for size in (1000, 2**20, 1.5 * 2**40)] == ["1000 bytes", "1.0 MiB", "1.5 TiB"]


# ---- programs that are no claims -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--batches=0", "--batches: '0' is not allowed; allowed: whole numbers from 1"),
        ("--batches=4294967296", "--batches: 4294967296 needs about"),
        ("--token_batches=1,x", "--token_batches: 'x'"),
        ("--repeats=0", "--repeats: '0'"),
        ("--nosuch", "--nosuch: there is no such flag; allowed: --out, --preset"),
        ("--out=~nosuchuser/x.json", "--out: '~nosuchuser/x.json' is not allowed"),
        ("--out=/proc/none/x.json", "--out: /proc/none/x.json cannot be written"),
        ("stray", "--stray: not a flag"),
    ],
)
def test_benchmark_refuses_as_experiments_do(flag, says, capsys):
    with pytest.raises(SystemExit) as end:
        tool.run("benchmark", benchmark.ABOUT, benchmark.FLAGS, benchmark.DEFAULTS, benchmark.main, ["benchmark", flag])
    printed = capsys.readouterr()
    assert end.value.code == 2
    assert printed.err.startswith(f"benchmark: {says}")
    assert (printed.err.count("\n"), printed.out) == (1, "")


def test_tools_explain_themselves_and_say_what_failed(capsys, tmp_path):
    def fails(settings):
        raise ModuleNotFoundError("No module named 'gymnasium'")

    flags = (tool.file("out", "Where it goes.", ".npz"),)
    for words, code in ((["tool", "--help"], 0), (["tool"], 3)):
        with pytest.raises(SystemExit) as end:
            tool.run("tool", "makes a file.", flags, {"out": None}, fails, words)
        assert end.value.code == code
    printed = capsys.readouterr()
    assert "tool: makes a file." in printed.out
    assert "--out=VALUE" in printed.out
    assert printed.err == "tool: No module named 'gymnasium'\n"
    tool.writable("out", tmp_path / "deep" / "x.npz")
    with pytest.raises(BadFlag, match="is a directory; allowed: a file"):
        tool.writable("out", tmp_path)


def test_the_benchmark_is_a_program_with_help():
    done = subprocess.run([sys.executable, "-m", "experiments.benchmark", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--token_batches=A,B,..." in done.stdout
