"""The contract of every experiment, on a toy claim; run as a script, this file is that experiment."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax import report
from dagger_jax.runtime import progress, record
from experiments import claim
from experiments.claim.running import execute


def _cells(settings):
    if max(settings.horizons) > 1000:
        raise claim.BadFlag("horizons", f"{max(settings.horizons)} is too long; allowed: at most 1000")
    return [{"horizon": horizon, "run": run} for horizon in settings.horizons for run in range(settings.runs)]


def _measure(settings, cell):
    time.sleep(float(os.environ.get("TOY_PAUSE", "0")))
    noise = np.random.default_rng([settings.seed, cell["horizon"], cell["run"]]).normal()
    gap = cell["horizon"] * (1 + 0.01 * noise)
    point = {**cell, "world": "cliff", "algorithm": "dagger", "gap": gap, "interpreter": "sampled", "slack": noise}
    return claim.Measurement([point], cell["horizon"])


def _verdict(settings, table):
    worst = np.max(table["gap"].to_numpy() / table["horizon"].to_numpy())
    state = claim.settled(worst <= settings.most)
    return [claim.Finding("gap at most", "1.2", "cliff", settings.most, worst, None, np.nan, state=state)]


def _figures(settings, table):
    figure, (axes,) = report.panels(caption="The gap grows.")
    report.loglog(axes, table["horizon"].to_numpy(), table["gap"].to_numpy(), label="dagger")
    return {"growth": figure}


_DEFAULTS = {"horizons": (4, 8), "most": 2.0, "worlds": ("cliff",)}
TOY = claim.Claim(
    name="toy",
    title="A toy",
    statement="The gap of the toy grows linearly with the horizon.",
    sweep={
        "quick": {**_DEFAULTS, "runs": 1},
        "default": {**_DEFAULTS, "runs": 3},
        "full": {**_DEFAULTS, "horizons": (4, 8, 16), "runs": 5},
    },
    cells=_cells,
    measure=_measure,
    verdict=_verdict,
    figures=_figures,
    flags=(
        claim.integers("horizons", "Lengths of an episode, in steps.", low=1),
        claim.numbers("most", "The largest gap a step, in cost.", low=0, high=2, many=False),
        claim.names("worlds", "Where it is measured.", ("cliff", "rb3"), files=".npz"),
    ),
    columns={"slack": pa.float64()},
)


def _run(*flags):
    return execute(TOY, ["toy", *flags])


def _start(*flags, pause=0.0):
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu", "TOY_PAUSE": str(pause)}
    # A shell that starts a job in the background has it ignore interrupts, and a child inherits what is
    # ignored, but not what is handled. (A preexec_fn would fork by hand, of which JAX warns.)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, __file__, *flags],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=1,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_for_blocks(out, count):
    deadline = time.monotonic() + 60
    while len(list(out.glob("cells/*.parquet"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_writes_everything(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert _run(f"--out={out}", "--horizons=4,16", "--seed=7") == 0
    assert {path.name for path in out.iterdir()} == {
        *("cells", "settings.json", "points.parquet", "findings.json", "run.json", "report.html"),
        *("growth.png", "growth.svg"),
    }
    table = pq.read_table(out / "points.parquet")
    assert table.column_names == [*claim.COLUMNS, "slack"]
    assert table["horizon"].to_pylist() == [4, 4, 4, 16, 16, 16]
    assert set(table["claim"].to_pylist()) == {"toy"}
    assert table["chunk"].null_count == 6
    (finding,) = json.loads((out / "findings.json").read_text())
    assert list(finding) == list(claim.Finding._fields)
    assert finding["state"] == "holds"
    assert finding["high"] is None
    run = json.loads((out / "run.json").read_text())
    assert run["seed"] == 7
    assert run["flags"]["horizons"] == [4, 16]
    assert run["environment_steps"] == 60
    assert run["blocks"] == {"measured_now": 6, "found_stored": 0}
    assert {"python", "jax", "jaxlib", "numpy", "dagger_jax"} <= set(run["versions"])
    assert {"device", "git_revision", "steps_per_second", "compile_seconds", "run_seconds"} <= set(run)
    printed = capsys.readouterr().out
    assert "toy: 0 of 6 done, now horizon=4 run=0" in printed
    assert "HOLDS" in printed
    assert "report.html" in printed
    assert "\x1b" not in printed


def test_a_finding_that_fails_is_status_one(tmp_path, capsys):
    assert _run(f"--out={tmp_path}", "--most=0.5") == 1
    assert "REFUTED" in capsys.readouterr().out
    assert json.loads((tmp_path / "findings.json").read_text())[0]["state"] == "refuted"


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--horizons=-3", "--horizons: '-3' is not allowed; allowed: whole numbers, 1 or more"),
        ("--horizons=4,x", "--horizons: 'x'"),
        ("--horizons=4,4", "--horizons: '4' is given twice"),
        ("--horizons=1" + 400 * "0", "--horizons: '1000"),
        ("--most=inf", "--most: 'inf'"),
        ("--horizons=", "--horizons: ''"),
        ("--horizons=5000", "--horizons: 5000 is too long; allowed: at most 1000"),
        ("--most=nan", "--most: 'nan' is not allowed; allowed: a number from 0 to 2"),
        ("--most=3", "--most: '3'"),
        ("--worlds=moon", "--worlds: 'moon' is not allowed; allowed: cliff, rb3, or the path"),
        ("--worlds=missing.npz", "--worlds: 'missing.npz'"),
        ("--preset=huge", "--preset: 'huge' is not allowed; allowed: quick, default, full"),
        ("--seed=-1", "--seed: '-1'"),
        ("--runs=0", "--runs: '0'"),
        ("--horizon=4", "--horizon: there is no such flag; allowed: --horizons"),
        ("--resume=maybe", "--resume: it has no value that can be read; allowed: true, false"),
        ("--flagfile=missing", "--flagfile"),
        ("stray", "--stray: not a flag"),
    ],
)
def test_bad_flags_are_one_line_and_write_nothing(tmp_path, capsys, flag, words):
    assert _run(f"--out={tmp_path / 'out'}", flag) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_bad_directories_are_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    places = (tmp_path / "file", tmp_path / "file" / "below", tmp_path, "/proc/nowhere")
    for flags in ((), ("--out",), ("--out", "--seed=1"), *((f"--out={place}",) for place in places)):
        assert _run(*flags) == 2
        assert re.fullmatch(r"toy: --out: .*allowed: .*\n", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_with_other_flags_is_refused(tmp_path, capsys):
    assert _run(f"--out={tmp_path}") == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for resume in ("--resume", "--noresume"):
        assert _run(f"--out={tmp_path}", "--horizons=4", resume) == 2
        assert "--horizons is 4,8 there and 4 here" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_file_that_changed_is_another_setting(tmp_path, capsys):
    world = tmp_path / "world.npz"
    world.write_bytes(b"one")
    flags = (f"--out={tmp_path / 'out'}", f"--worlds={world}")
    assert _run(*flags) == 0
    world.write_bytes(b"two")
    assert _run(*flags) == 2
    assert "world.npz" in capsys.readouterr().err


def test_damage_is_named_and_repaired_by_deleting(tmp_path, capsys):
    assert _run(f"--out={tmp_path}") == 0
    for name in ("points.parquet", next(tmp_path.glob("cells/*.parquet")).relative_to(tmp_path), "settings.json"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 4]))
        capsys.readouterr()
        assert _run(f"--out={tmp_path}") == 2
        assert str(name) in capsys.readouterr().err
        if str(name) == "settings.json":
            break
        (tmp_path / name).unlink()
        assert _run(f"--out={tmp_path}") == 0
        assert (tmp_path / name).read_bytes() == whole


def test_noresume_measures_all_again(tmp_path, capsys):
    assert _run(f"--out={tmp_path}") == 0
    points = (tmp_path / "points.parquet").read_bytes()
    for flag, stored in (("--resume", 6), ("--noresume", 0)):
        assert _run(f"--out={tmp_path}", flag) == 0
        assert json.loads((tmp_path / "run.json").read_text())["blocks"]["found_stored"] == stored
    assert (tmp_path / "points.parquet").read_bytes() == points


def test_killed_at_any_moment_it_resumes_to_the_same_bits(tmp_path):
    assert _run(f"--out={tmp_path / 'whole'}") == 0
    out = tmp_path / "killed"
    for blocks in (1, 3):
        process = _start(f"--out={out}", pause=0.5)
        _wait_for_blocks(out, blocks)
        process.kill()
        process.communicate()
        assert not (out / "points.parquet").exists()
    found = len(list(out.glob("cells/*.parquet")))
    process = _start(f"--out={out}")
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert f"toy: {found} of 6 blocks were stored before" in printed
    assert (out / "points.parquet").read_bytes() == (tmp_path / "whole" / "points.parquet").read_bytes()
    assert json.loads((out / "run.json").read_text())["blocks"] == {
        "measured_now": 6 - found,
        "found_stored": found,
    }


def test_interrupted_it_says_how_to_go_on(tmp_path):
    process = _start(f"--out={tmp_path / 'out'}", pause=0.2)
    _wait_for_blocks(tmp_path / "out", 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "toy: interrupted; finished blocks are stored, the same command resumes\n"


def test_help_is_for_newcomers():
    process = _start("--help")
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert TOY.statement in printed
    for flag in ("horizons", "most", "worlds", "out", "seed", "runs", "preset", "resume", "help"):
        assert f"--{flag}" in printed
    assert "Default: 4,8 (quick); 4,8 (default); 4,8,16 (full)." in printed
    assert "Allowed: whole numbers, 1 or more." in printed
    assert "--jax" not in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_settings_come_from_flags_then_from_the_preset():
    settings = claim.resolve(TOY, "full", seed=3, horizons=[2])
    assert (settings.horizons, settings.runs, settings.seed, settings.preset) == ((2,), 5, 3, "full")
    with pytest.raises(AttributeError, match="no setting 'missing'"):
        _ = settings.missing


def test_a_claim_is_checked_where_it_is_built():
    parts = {name: getattr(TOY, name) for name in TOY.__dataclass_fields__}
    with pytest.raises(ValueError, match="toy: preset quick has no value for extra"):
        claim.Claim(**{**parts, "flags": (*TOY.flags, claim.integers("extra", "More."))})
    with pytest.raises(ValueError, match="presets quick, default, full"):
        claim.Claim(**{**parts, "sweep": {"quick": {}}})
    with pytest.raises(ValueError, match="gap are columns of every claim"):
        claim.Claim(**{**parts, "columns": {"gap": pa.float64()}})


def test_plain_progress_is_rate_limited():
    stream = io.StringIO()
    assert list(progress.track(range(1000), str, title="job", done=10, stream=stream)) == list(range(1000))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "job: 10 of 1010 blocks were stored before"
    assert lines[1] == "job: 10 of 1010 done, now 0"
    assert re.fullmatch(r"job: 1010 of 1010 done in \d\.\d s", lines[-1])
    assert len(lines) == 3


@pytest.mark.parametrize(("seconds", "words"), [(0.31, "0.3 s"), (59.7, "1 min 00 s"), (11520, "3 h 12 min")])
def test_durations_for_readers(seconds, words):
    assert progress.duration(seconds) == words


def test_the_compile_clock_counts_compiling_only():
    import jax

    double = jax.jit(lambda x: 2 * x)
    with record.compile_clock() as seconds:
        begun = time.perf_counter()
        double(1.0)
        first, elapsed = seconds(), time.perf_counter() - begun
        double(1.0)
        assert 0 < first <= elapsed
        assert seconds() == first


if __name__ == "__main__":
    claim.run(TOY)
