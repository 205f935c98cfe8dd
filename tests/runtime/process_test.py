"""How an experiment's process ends: interrupted at any moment, and where its environment is not what it should be."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOY = str(ROOT / "tests" / "experiments" / "claim_test.py")
RESUMES = "finished blocks are stored, the same command resumes"


def shell(command, **environment):
    """A command line of bash that runs the toy as `toy`: its status and what it wrote to standard error."""
    done = subprocess.run(
        ["bash", "-c", f"toy() {{ '{sys.executable}' '{TOY}' \"$@\"; }}; {command}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        errors="replace",
    )
    return done.returncode, done.stderr, done.stdout


@pytest.mark.parametrize(("sign", "word", "status"), [("SIGINT", "interrupted", 130), ("SIGTERM", "terminated", 143)])
def test_a_signal_ends_it_at_once_with_one_line(tmp_path, spawn, sign, word, status):
    """In the midst of a block, and twice."""
    process = spawn([sys.executable, TOY, f"--out={tmp_path}"], env={"TOY_PAUSE": "1000"})
    while "now" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.Signals[sign])
    process.send_signal(signal.Signals[sign])
    printed, errors = process.communicate()
    assert (process.returncode, errors) == (status, f"toy: {word}; {RESUMES}\n")
    assert printed == ""


@pytest.mark.parametrize("where", ["import", "native", "callback"])
def test_a_signal_ends_it_at_any_moment(tmp_path, spawn, where):
    """While modules are imported; in a call that runs no Python; in a callback that swallows every exception."""
    wait = "print('now', flush=True)\n"
    code = {
        "import": "time.sleep(1000)",
        # As compilations do, this runs for minutes without Python, so that no handler of Python's can run.
        "native": "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)",
        "callback": "while True:\n    try: time.sleep(1000)\n    except BaseException: pass",
    }[where]
    for name in ("__init__", "shared/__init__", "shared/program"):
        path = tmp_path / "experiments" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((ROOT / "experiments" / f"{name}.py").read_text())
    (tmp_path / "experiments" / "slow.py").write_text(f"import hashlib, time\n{wait}{code}\n")
    process = spawn(
        [sys.executable, "-m", "experiments.slow"], env={"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    )
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "slow: interrupted\n")


def test_a_library_installs_nothing():
    code = (
        "import signal, sys; hook, mine = sys.excepthook, signal.getsignal(signal.SIGTERM)\n"
        "import experiments.zoo\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert (sys.excepthook, signal.getsignal(signal.SIGTERM)) == (hook, mine)"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        subprocess.run([sys.executable, "-c", code, "-m", "experiments.zoo"], cwd=ROOT, check=True)
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_ignored_stays_ignored(spawn):
    code = "import signal, os; from experiments.shared import program; program.begin('toy'); os.kill(os.getpid(), 2)"
    process = spawn(["bash", "-c", f"trap '' INT; '{sys.executable}' -c \"{code}\""])
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")


def test_an_import_that_fails_is_no_refuted_claim(tmp_path):
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").write_text("raise ImportError('broken\\nscipy')")
    command = [sys.executable, "-m", "experiments.zoo", "--help"]
    paths = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **paths}, capture_output=True, text=True)
    (log,) = re.findall(r"^zoo: failed: ImportError: broken scipy; traceback in (.*)\n$", done.stderr)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" in Path(log).read_text()


def test_a_standard_output_that_takes_nothing(tmp_path):
    status, errors, _ = shell(f"toy --out={tmp_path}/full >/dev/full")
    assert (status, errors) == (3, f"toy: standard output: No space left on device; {RESUMES}\n")
    assert shell("toy --help >/dev/full")[:2] == (3, "toy: standard output: No space left on device\n")
    status, errors, _ = shell(f"toy --out={tmp_path}/closed >&- <&-")
    assert (status, errors) == (0, "")
    assert (tmp_path / "closed" / "report.html").read_text().startswith("<!doctype html>")
    assert shell(f"toy --out={tmp_path}/closed >/dev/full 2>/dev/full")[0] == 3
    assert shell("set -o pipefail; toy --help | true")[:2] in ((141, ""), (0, ""))
    # The summary's reader is gone.
    assert shell(f"set -o pipefail; toy --out={tmp_path}/closed | true")[:2] in ((141, ""), (0, ""))


def test_a_standard_output_of_few_letters(tmp_path):
    status, errors, printed = shell(f"toy --out={tmp_path}/ε", PYTHONIOENCODING="ascii")
    assert (status, errors) == (0, "")
    assert "\\u03b5/report.html" in printed


def test_what_is_no_text_is_refused(tmp_path):
    for flag in ("--out=$'\\xff'", "--out=$'a\\xffb' --worlds=cliff", "--worlds=$'\\xff.npz'", "$'\\xff'"):
        status, errors, _ = shell(f"cd {tmp_path}; toy --out=o {flag}")
        assert status == 2
        assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there(tmp_path):
    status, errors, _ = shell(f"toy --out={tmp_path}/o", JAX_PLATFORMS="no_such_platform")
    assert status == 3
    assert errors.startswith("toy: JAX cannot start on the JAX_PLATFORMS=no_such_platform that the environment asks")
    assert errors.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_the_backend_of_a_notebook(tmp_path):
    command = [sys.executable, "-m", "experiments.kv_cost", "--help"]
    environment = {**os.environ, "MPLBACKEND": "module://no_such_notebook.backend"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_of_files_are_no_markup(tmp_path):
    """On a terminal, whose bar has its own markup."""
    (tmp_path / "a[").mkdir()
    world = tmp_path / "a[" / "red]b$x$.npz"
    world.write_bytes(b"one")
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, TOY, f"--out={tmp_path}/o", f"--worlds={world}"]
    process = subprocess.Popen(command, env=environment, stdout=follower, stderr=subprocess.PIPE, text=True)
    os.close(follower)
    shown = b""
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        while True:
            try:
                part = terminal.read(65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    errors = process.communicate()[1]
    assert (process.returncode, errors) == (0, "")
    assert b"1 of 1 findings hold" in shown
