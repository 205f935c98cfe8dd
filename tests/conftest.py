"""What all tests share."""

import gc
import os
import signal
import subprocess
from pathlib import Path

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Compiled programs go when their file is done: thousands of them exhaust the memory maps, and XLA crashes."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def spawn():
    """Starts processes in the checkout; what a failed test leaves is killed, and its pipes are closed."""
    root, started = Path(__file__).parents[1], []

    def one(command, *, env=None, **options):
        # A shell that starts a job in the background has it ignore interrupts, and a child inherits what is
        # ignored, but not what is handled. (A preexec_fn would fork by hand, of which JAX warns.)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
        try:
            process = subprocess.Popen(
                command,
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu", **(env or {})},
                **(pipes | options),
            )
        finally:
            signal.signal(signal.SIGINT, before)
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.communicate()
