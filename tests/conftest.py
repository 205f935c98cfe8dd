"""What all tests share."""

import gc

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Compiled programs go when their file is done: thousands of them exhaust the memory maps, and XLA crashes."""
    yield
    jax.clear_caches()
    gc.collect()
