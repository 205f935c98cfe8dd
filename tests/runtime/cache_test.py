"""The persistent compile cache: on, off, broken, nowhere; it changes what is compiled and nothing else."""

import dataclasses
import json
import os
import re
import shutil
import sys
import warnings
import zlib

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from dagger_jax.runtime import cache
from experiments import claim
from experiments.claim.running import execute
from tests.experiments.claim_test import TOY

OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@jax.jit
def growing(horizon):
    return horizon * 1.01


def _measure(settings, cell):
    return claim.Measurement([{**cell, "gap": float(growing(np.float32(cell["horizon"])))}])


CLAIM = dataclasses.replace(TOY, measure=_measure)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user without a cache, and a process that has none yet: the user's cache folder."""
    for name in OPTIONS:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    before = {name: jax.config.values[name] for name in OPTIONS}
    for name, value in zip(OPTIONS, (None, True, 1.0, 0), strict=True):
        jax.config.update(name, value)
    jax.clear_caches()
    yield tmp_path / "home" / "dagger_jax"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def run(out, *flags):
    """The claim as if in a new process: (compiled, loaded, points)."""
    jax.clear_caches()
    assert execute(CLAIM, ["toy", f"--out={out}", *flags]) == 0
    facts = json.loads((out / "run.json").read_text())
    return facts["programs_compiled"], facts["programs_cached"], (out / "points.parquet").read_bytes()


def test_programs_come_from_the_cache_or_are_compiled_and_points_stay(tmp_path, home, capsys):
    options = {name: jax.config.values[name] for name in OPTIONS}
    compiled = run(tmp_path / "cold")
    assert compiled[:2] == (1, 0)
    (entry,) = files(home)
    assert entry.name.startswith("jit_growing-")
    assert entry.parent.stat().st_mode & 0o777 == 0o700
    assert run(tmp_path / "warm") == (0, 1, compiled[2])
    words = "0 compiled, 1 from the cache; tracing, compiling and loading took 0."
    assert f"\nPrograms: {words}" in capsys.readouterr().out
    assert words in (tmp_path / "warm" / "report.html").read_text()

    whole = entry.read_bytes()
    for broken in (b"garbage", zlib.compress(b"garbage"), whole[:-9], b""):
        entry.write_bytes(broken)
        assert run(tmp_path / f"broken{len(broken)}") == compiled
        told = capsys.readouterr().err
        assert told.startswith("toy: trouble reading the compile cache, ignored: jit_growing, ")
        assert told.count("\n") == 1
        assert run(tmp_path / f"healed{len(broken)}") == (0, 1, compiled[2])
        assert capsys.readouterr().err == ""

    entry.unlink()
    assert run(tmp_path / "off", "--nocompile_cache") == compiled
    assert files(home) == []
    assert options == {name: jax.config.values[name] for name in OPTIONS}  # who calls it as a library keeps their own


def _nobody(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative, which does not count")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 9)  # whom no list of users knows


def _shared(monkeypatch):
    with cache.use(True, pytest.fail):
        folder = jax.config.values["jax_compilation_cache_dir"]
    os.chmod(folder, 0o777)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (
            lambda patch: patch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere"),
            r"/dev/null/nowhere/.* \(Not a directory\)",
        ),
        (lambda patch: patch.setattr(os, "access", lambda *_: False), r".*/dagger_jax/.* \(Permission denied\)"),
        (lambda patch: patch.setattr(os, "getuid", lambda: 1 << 30), r".*/dagger_jax/.* \(others may write there\)"),
        (_shared, r".*/dagger_jax/.* \(others may write there\)"),
        (_nobody, r"Could not determine home directory\."),
    ],
    ids=["impossible", "read-only", "another's", "open to others", "homeless"],
)
def test_a_folder_that_cannot_be_used_is_named_once(tmp_path, home, capsys, monkeypatch, spoil, why):
    spoil(monkeypatch)
    assert run(tmp_path / "out")[:2] == (1, 0)
    assert re.fullmatch(rf"toy: no compile cache: {why}\n", capsys.readouterr().err)
    assert files(home) == []


def test_entries_that_cannot_be_written_are_named_once(home, capsys):
    """As on a disk that is full; here the folder goes while it is in use."""
    with cache.use(True, print):
        for factor in range(3):
            assert jax.jit(lambda x, by=factor: x * by)(np.float32(2)) == 2 * factor
            shutil.rmtree(home, ignore_errors=True)
    assert re.fullmatch(
        r"trouble writing the compile cache, ignored: jit__lambda, FileNotFoundError: .*\n", capsys.readouterr().out
    )


def test_other_warnings_stay(home):
    with pytest.warns(UserWarning, match="mine"), cache.use(True, pytest.fail):
        warnings.warn("mine", stacklevel=1)


def test_what_was_not_used_for_longest_goes_first(home, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 3000)
    old = home / "jax-0.0_another_machine"
    old.mkdir(parents=True)
    for day in range(4):
        path = old / f"jit_f-{day}-cache"
        path.write_bytes(bytes(1000))
        os.utime(path, (86400 * day, 86400 * day))
    with cache.use(True, pytest.fail):
        pass
    assert [path.name for path in files(home)] == ["jit_f-3-cache"]
    with cache.use(True, pytest.fail):
        pass
    assert len(files(home)) == 1


CODE = """
import json, sys
import jax, numpy as np
import dagger_jax.walk
assert jax.config.values["jax_compilation_cache_dir"] == (sys.argv[1] or None)  # a library turns nothing on
from dagger_jax.runtime import cache, programs
with cache.use(True, lambda line: print(line, file=sys.stderr)), programs.counting() as count:
    value = float(jax.jit(lambda x: x / 3)(np.float32(1)))
print(json.dumps([count.compiled, count.cached, value]))
"""


def test_processes_share_it(home, tmp_path, spawn):
    """Two at once on nothing; one after them; one of a user who has a folder of their own, and one who wants none."""

    def start(own="", **environment):
        given = {"JAX_COMPILATION_CACHE_DIR": own} if own else {}
        return spawn([sys.executable, "-W", "error::FutureWarning", "-c", CODE, own], env={**given, **environment})

    def end(process):
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
        return json.loads(printed)

    value = float(np.float32(1) / np.float32(3))
    for both in [start(), start()]:
        assert end(both)[2] == value
    assert len(files(home)) == 1
    assert end(start()) == [0, 1, value]
    own = tmp_path / "own"
    assert [end(start(str(own))) for _ in range(2)] == [[1, 0, value], [0, 1, value]]
    assert len(files(own)) == 1
    assert end(start(JAX_ENABLE_COMPILATION_CACHE="0")) == [1, 0, value]
    assert len(files(home)) == 1
