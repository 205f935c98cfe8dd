"""The contract of every experiment, on a toy claim; run as a script, this file is that experiment."""

import dataclasses
import errno
import io
import itertools
import json
import os
import re
import socket
import sys
import tempfile
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
    if settings.most == 1.5 and cell["run"] == 1:
        raise ArithmeticError("no\nnumber")
    if log := os.environ.get("TOY_LOG"):
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {cell['horizon']} {cell['run']}\n")
    if os.environ.get("TOY_DIES") == f"{cell['horizon']} {cell['run']}":
        print("no way on", file=sys.stderr, flush=True)
        os._exit(7)
    noise = np.random.default_rng([settings.seed, cell["horizon"], cell["run"]]).normal()
    gap = cell["horizon"] * (1 + 0.01 * noise)
    point = {**cell, "world": "cliff", "algorithm": "dagger", "gap": gap, "interpreter": "sampled", "slack": noise}
    return claim.Measurement([point], cell["horizon"])


def _verdict(settings, table):
    worst = np.max(table["gap"].to_numpy() / table["horizon"].to_numpy())
    state = claim.settled(worst <= settings.most)
    return [claim.Finding("gap at most", "1.2", "cliff", settings.most, worst, None, np.nan, state=state)]


def _figures(settings, table):
    def growth():
        figure, (axes,) = report.panels(caption="The gap grows.")
        report.loglog(axes, table["horizon"].to_numpy(), table["gap"].to_numpy(), label="dagger")
        return figure

    def fails():
        raise LookupError("no such line")

    return {"fails": fails, "growth": growth} if settings.most == 1.75 else {"growth": growth}


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


@pytest.fixture
def start(spawn):
    """Starts the toy as a process of its own; with TOY_LOG it writes down every block that it measures."""

    def one(*flags, pause=0.0, command=(), env=None, **options):
        environment = {"TOY_PAUSE": str(pause), **(env or {})}
        return spawn([*command, sys.executable, __file__, *flags], env=environment, bufsize=1, **options)

    return one


def _wait_for_blocks(process, out, count):
    while len(list(out.glob("cells/*.parquet"))) < count:
        assert process.poll() is None
        time.sleep(0.02)


def test_a_run_writes_everything(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert _run(f"--out={out}", "--horizons=4,16", "--seed=7") == 0
    assert {path.name for path in out.iterdir()} == {
        *("cells", "settings.json", "points.parquet", "findings.json", "run.json", "report.html"),
        *("growth.png", "growth.svg", ".lock"),
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
    assert {"device", "git_revision", "steps_per_second", "run_seconds", "cpu_seconds", "programs"} <= set(run)
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
        ("--noresume=1", "--resume: it has no value that can be read"),
        ("--flagfile=/bin/ls", "--flagfile: there is no such flag"),
        ("--undefok=foo", "--undefok: there is no such flag"),
        ("--seed=1 --seed=2", "--seed: it is given twice"),
        ("--resume --noresume", "--resume: it is given twice"),
        ("--seed", "--seed: it has no value"),
        ("--worlds=\udcff.npz", "--worlds: '\\udcff.npz' is not UTF-8"),
        ("--worlds=" + 300 * "a" + ".npz", "--worlds: 'aaaa"),
        ("--worlds=a\x1b[31m.npz", "--worlds: 'a\\x1b[31m.npz'"),
        ("--=3", "--=3: not a flag"),
        ("--", "--: not a flag"),
        ("stray", "--stray: not a flag"),
    ],
)
def test_bad_flags_are_one_line_and_write_nothing(tmp_path, capsys, flag, words):
    assert _run(f"--out={tmp_path / 'out'}", *flag.split(" ")) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_bad_directories_are_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    places = (tmp_path / "file", tmp_path / "file" / "below", tmp_path, "/proc/nowhere", "~nosuchuser/x", "\udcff")
    for flags in ((), ("--out",), ("--out", "--seed=1"), *((f"--out={place}",) for place in places)):
        assert _run(*flags) == 2
        assert re.fullmatch(r"toy: --out: .*allowed: .*\n", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_with_other_flags_is_refused(tmp_path, capsys):
    assert _run(f"--out={tmp_path}") == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert _run(f"--out={tmp_path}", "--horizons=4") == 2
    refused = "--horizons is 4,8 there and 4 here; use another directory, or --noresume to start over"
    assert refused in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert _run(f"--out={tmp_path}", "--horizons=4", "--noresume") == 0
    assert pq.read_table(tmp_path / "points.parquet")["horizon"].to_pylist() == [4, 4, 4]
    assert len(list(tmp_path.glob("cells/*.parquet"))) == 3
    assert _run(f"--out={tmp_path}", "--horizons=4") == 0


def test_edited_source_is_another_run(tmp_path, capsys, monkeypatch):
    assert _run(f"--out={tmp_path}") == 0
    monkeypatch.setattr(record, "source", lambda: 64 * "f")
    assert _run(f"--out={tmp_path}") == 2
    assert re.search(r"source is [0-9a-f]{12} there and f{12} here; use another", capsys.readouterr().err)
    assert _run(f"--out={tmp_path}", "--noresume") == 0
    # Each block says what made it, and so do the points.
    for path in (tmp_path / "points.parquet", *tmp_path.glob("cells/*.parquet")):
        made = json.loads(pq.read_schema(path).metadata[b"dagger_jax"])["made_with"]
        assert made["source"] == 64 * "f"
        assert {"python", "jax", "scipy", "flax", "optax", "scikit-learn", "numpy"} <= set(made)


def test_the_digest_of_the_source_is_that_of_what_measures(tmp_path, monkeypatch):
    assert re.fullmatch("[0-9a-f]{64}", record.source())
    files = ("dagger_jax/runtime/record.py", "dagger_jax/report/page.py", "experiments/zoo.py")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(record, "__file__", str(tmp_path / files[0]))
    digests = [record.source.__wrapped__()]
    for name in files:
        (tmp_path / name).write_text("x = 1")
        digests.append(record.source.__wrapped__())
    assert [one == other for one, other in itertools.pairwise(digests)] == [False, True, False]


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


def test_killed_at_any_moment_it_resumes_to_the_same_bits(tmp_path, start):
    assert _run(f"--out={tmp_path / 'whole'}") == 0
    out = tmp_path / "killed"
    for blocks in (1, 3):
        process = start(f"--out={out}", pause=0.5)
        _wait_for_blocks(process, out, blocks)
        process.kill()
        process.communicate()
        assert not (out / "points.parquet").exists()
    found = len(list(out.glob("cells/*.parquet")))
    (out / "cells" / ".tmp-killed").write_bytes(b"PAR1")
    process = start(f"--out={out}")
    printed, errors = process.communicate()
    assert not list(out.rglob(".tmp-*"))
    assert (process.returncode, errors) == (0, "")
    assert f"toy: {found} of 6 blocks were stored before" in printed
    assert (out / "points.parquet").read_bytes() == (tmp_path / "whole" / "points.parquet").read_bytes()
    assert json.loads((out / "run.json").read_text())["blocks"] == {
        "measured_now": 6 - found,
        "found_stored": found,
    }


def test_a_block_that_raises_is_named_and_what_is_finished_is_kept(tmp_path, capsys):
    assert _run(f"--out={tmp_path}", "--most=1.5") == 3
    line = capsys.readouterr().err
    assert line.startswith(
        "toy: block horizon=4 run=1 failed: ArithmeticError: no number; finished blocks are stored, "
    )
    assert line.endswith(f"the same command resumes; traceback in {tmp_path / 'error.log'}\n")
    assert "in _measure" in (tmp_path / "error.log").read_text()
    assert len(list(tmp_path.glob("cells/*.parquet"))) == 1


def test_a_figure_fails_alone(tmp_path, capsys):
    assert _run(f"--out={tmp_path}", "--most=1.75") == 3
    printed = capsys.readouterr()
    assert "HOLDS" in printed.out
    assert printed.err.count("\n") == 1
    assert "toy: not made: figure fails: LookupError: no such line; all else is in" in printed.err
    assert "in fails" in (tmp_path / "error.log").read_text()
    assert {"run.json", "findings.json", "growth.svg"} <= {path.name for path in tmp_path.iterdir()}
    page = (tmp_path / "report.html").read_text()
    assert "fails could not be drawn: LookupError: no such line" in page
    assert "The gap grows." in page


@pytest.mark.parametrize("part", ["verdict", "cells"])
def test_what_nobody_expects_is_one_line_and_a_log(tmp_path, capsys, monkeypatch, part):
    def fails(*_):
        raise RecursionError("deep")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    broken = dataclasses.replace(TOY, **{part: fails})
    assert execute(broken, ["toy", f"--out={tmp_path / 'out'}"]) == 3
    line = capsys.readouterr().err
    (log,) = re.findall(r"toy: failed: RecursionError: deep;.* traceback in (.*)\n", line)
    assert "in fails" in Path(log).read_text()
    assert ("finished blocks are stored" in line) == (part == "verdict")
    assert log.startswith(str(tmp_path / "out")) == (part == "verdict")


def test_a_full_disk_is_one_line_and_finished_blocks_are_kept(tmp_path, capsys, monkeypatch):
    real, left = os.fsync, [6]  # settings.json and two blocks, each with its folder

    def fsync(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    assert _run(f"--out={tmp_path}") == 3
    line = capsys.readouterr().err
    assert re.fullmatch(r"toy: .*/cells/\w+\.parquet: No space left on device; finished blocks are stored, .*\n", line)
    monkeypatch.undo()
    assert _run(f"--out={tmp_path}") == 0
    assert json.loads((tmp_path / "run.json").read_text())["blocks"]["found_stored"] == 2


def test_a_second_process_is_refused_by_name(tmp_path, capsys, start):
    process = start(f"--out={tmp_path}", pause=1000.0)
    while "now" not in process.stdout.readline():
        assert process.poll() is None
    for flags in ((), ("--noresume",)):
        assert _run(f"--out={tmp_path}", *flags) == 2
        assert f"is in use by process {process.pid} on {socket.gethostname()}; wait" in capsys.readouterr().err
    process.kill()
    process.wait()
    assert _run(f"--out={tmp_path}") == 0


def test_a_finished_run_that_can_only_be_read_is_shown_again(tmp_path, capsys, monkeypatch):
    for most, status in (("2", 0), ("0.5", 1)):
        out = tmp_path / most
        assert _run(f"--out={out}", f"--most={most}") == status
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        capsys.readouterr()

        def refuse(*_, **__):
            raise PermissionError(errno.EACCES, "Permission denied")

        # Who runs as root may write everywhere.
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "TemporaryFile", refuse)
            patch.setattr(tempfile, "mkstemp", refuse)
            assert _run(f"--out={out}", f"--most={most}") == status
            assert "1 findings hold" in capsys.readouterr().out
            assert _run(f"--out={out}", f"--most={most}", "--noresume") == 2
            next(out.glob("cells/*.parquet")).rename(tmp_path / "cell")
            assert _run(f"--out={out}", f"--most={most}") == 2
            assert "1 of 6 blocks are not measured yet" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}.items() <= before.items()


def test_a_stray_file_of_the_desktop_is_no_other_file(tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"")
    assert _run(f"--out={tmp_path}") == 0


def test_help_is_for_newcomers(start):
    process = start("--help")
    printed, errors = process.communicate()
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


if __name__ == "__main__":
    claim.run(TOY)
