"""What all tests share."""

import gc
import os
import signal
import subprocess
from pathlib import Path

import jax
import jaxtyping
import pytest

# The shapes, dtypes and types that these modules' functions declare are checked at every call, also inside jit, in this
# process: whatever imports them comes later. An int will do for a float, as for type checkers.
CHECKED = [
    "dagger_jax.agents",
    "dagger_jax.evaluation",
    "dagger_jax.evidence",
    "dagger_jax.randomness",
    "dagger_jax.runs",
    "dagger_jax.sampling",
    "dagger_jax.schedules",
    "dagger_jax.tabular.exact",
    "dagger_jax.tabular.experts",
    "dagger_jax.tabular.joint",
    "dagger_jax.tabular.rollout",
    "dagger_jax.tabular.transitions",
    "dagger_jax.tabular.worlds",
    "dagger_jax.text.losses",
]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture(scope="session", autouse=True)
def _compile_once():
    """What one run of the tests has compiled the next one loads; binaries that tests start do so themselves."""
    from dagger_jax.runtime import cache  # after the hook

    # Where there can be no cache, those binaries need not say so: some tests want nothing on standard error.
    with cache.use(True, lambda _: os.environ.update(JAX_ENABLE_COMPILATION_CACHE="0")):
        yield


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
