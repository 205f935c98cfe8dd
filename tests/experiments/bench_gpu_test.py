"""The script for a GPU, on whatever device the tests have: parts fail alone, and what is finished stays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.bench_gpu import conduct, same
from experiments.bench_gpu.parts import PARTS, Part
from experiments.bench_gpu.table import table

ROOT = Path(__file__).parents[2]


def tells(small):
    yield {"a": 1}
    yield {"b": 2, "small": small}


def raises(small):
    yield {"before": 1}
    raise ValueError("no such thing")


def dies(small):
    yield {"before": 1}
    time.sleep(0.5)  # what was said is on its way
    os._exit(7)


def hangs(small):
    yield {"before": 1}
    time.sleep(3600)


def goes_on(small):
    for count in range(10**6):
        time.sleep(0.01)
        yield {"count": count}


def test_parts_fail_alone_and_keep_what_they_found(tmp_path):
    parts = {function.__name__: Part(function, 1.0) for function in (tells, raises, dies, hangs, tells)}
    found = conduct.conduct(parts | {"last": Part(tells, 1.0)}, True, 0.0, tmp_path / "gpu.json", least=5.0)
    assert found == json.loads((tmp_path / "gpu.json").read_text())
    assert list(found) == ["tells", "raises", "dies", "hangs", "last"]
    for name in ("tells", "last"):
        assert found[name]["a"] == 1
        assert found[name]["b"] == 2
        assert found[name]["small"] is True
        assert "error" not in found[name]
    assert found["raises"]["error"] == "ValueError: no such thing"
    assert found["dies"]["error"] == "its process ended with status 7"
    assert found["hangs"]["error"] == "it hung, and was stopped"
    assert all(found[name]["before"] == 1 for name in ("raises", "dies", "hangs"))


def test_a_part_that_takes_too_long_ends_between_two_measurements(tmp_path):
    found = conduct.conduct({"goes_on": Part(goes_on, 1.0)}, True, 0.0, tmp_path / "gpu.json", least=1.0)["goes_on"]
    assert found["stopped"].startswith("its ")
    assert 0 < found["count"] < 10**6
    assert "error" not in found


def script(*flags, **popen):
    command = [sys.executable, "-m", "experiments.bench_gpu", *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)


def test_a_killed_run_leaves_the_finished_parts(tmp_path):
    path = tmp_path / "out" / "gpu.json"
    running = script(f"--out={path.parent}", "--small", "--parts=device,ceilings,same_statistics")
    while "ceilings" not in (path.read_text() if path.exists() else ""):
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    found = json.loads(path.read_text())
    assert found["device"]["seconds"] >= 0
    assert found["ceilings"]["bytes_per_second"] > 0
    assert "error" not in found["device"]


def test_every_part_runs_small(tmp_path):
    running = script(f"--out={tmp_path}", "--small")
    printed, errors = running.communicate()
    assert running.returncode == 0, printed + errors
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert list(found) == list(PARTS)
    assert not any("error" in part for part in found.values())
    assert found["same_statistics"]["equal"]
    assert found["same_statistics"]["compared"] == found["same_statistics"]["recorded"] > 400
    assert found["exact_agrees"]["float64_agrees"]
    assert found["exact_agrees"]["sampler"]["within_four_standard_errors"]
    assert found["exact_agrees"]["float32_products"]["full_precision"]
    assert found["main_job"]["status"] == 0
    assert all(line["steps_per_second"] > 0 for line in found["steps"]["measured"])
    assert {line["picked"] for line in found["steps"]["measured"]} >= {True}
    # The table that goes into the documentation, from the file alone.
    reported = script(f"--report={tmp_path / 'gpu.json'}").communicate()[0]
    assert reported.strip() in printed
    assert found["device"]["date"] in reported
    assert "integer statistics equal to a CPU's" in reported


def test_what_differs_is_listed(tmp_path, monkeypatch):
    """The control: other numbers have another digest, and the table says how many differ by how much."""
    drawn = {"one": np.arange(6), "other": np.arange(6)}
    path = tmp_path / "digests.json"
    digests = {name: same.digest(values) for name, values in drawn.items()}
    path.write_text(json.dumps({"digests": digests}))
    monkeypatch.setattr(same, "RECORDED", path)
    shifted = iter([drawn | {"other": np.arange(6) + 2 * (np.arange(6) > 3)}, drawn])
    monkeypatch.setattr(same, "drawn", lambda: next(shifted).items())
    *_, last = same.statistics(True)
    assert last["differences"] == [{"what": "other", "numbers": 6, "differing": 2, "largest": 2}]
    monkeypatch.setattr(same, "drawn", lambda: drawn.items())
    (told,) = same.statistics(True)
    assert told["equal"]
    assert told["differing"] == 0


@pytest.mark.parametrize("found", [{}, {"steps": {"error": "XlaRuntimeError: out of memory\nmore"}}])
def test_a_table_of_what_there_is(found):
    text = table(found)
    assert "unknown device" in text
    assert ("out of memory" in text) == bool(found)
    assert "more" not in text
