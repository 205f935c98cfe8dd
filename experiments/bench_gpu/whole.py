"""What a user waits for: whole experiments by the thousand, token worlds, and the main job."""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from dagger_jax.text.transformer import Config

from .. import claim
from ..shared import catalog, timed_rollouts, timed_tokens

BATCHES = (1, 64, 1024)
WIDTHS = (64, 256, 1024)


def schedules(small: bool) -> Iterator[dict[str, Any]]:
    """Whole experiments (4 rounds of 8 episodes of 32 steps) per second, by how many partitions are one call."""
    measured: list[dict[str, Any]] = []
    for count in (1, 64) if small else (1, 64, 2048, 16384):
        measured += timed_rollouts.whole(1 if small else 3, (count,))
        yield {"measured": measured}


def tokens(small: bool) -> Iterator[dict[str, Any]]:
    """Tokens written, and trained on by the pass over two streams, per second; shares of the device's peak."""
    measured: list[dict[str, Any]] = []
    on_cpu = jax.default_backend() == "cpu"
    dtype = "float32" if on_cpu else "bfloat16"
    for width in WIDTHS[:1] if small else WIDTHS:
        config = Config(timed_tokens.VOCABULARY, 256, width, layers=2 if width < 1024 else 8, heads=8, dtype=dtype)
        facts = {"width": width, "layers": config.layers, "dtype": dtype}
        for batch in (1, 4) if small else BATCHES:
            written = timed_tokens.generation([batch], 1, config)
            measured += [facts | line for line in written]
            yield {"measured": measured}
        trained = timed_tokens.learning(1, 2 if small else None, config)
        measured += [facts | line for line in trained]
        yield {"measured": measured}


def main_job(small: bool) -> Iterator[dict[str, Any]]:
    """`horizon_growth` at its quick preset, end to end; small: two worlds of it."""
    job = catalog.load("horizon_growth")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        flags = ["horizon_growth", f"--out={out}", "--preset=quick", "--nocompile_cache"]
        with contextlib.redirect_stdout(io.StringIO()):
            status = claim.execute(job, [*flags, *(["--worlds=cliff,chunk_reset"] if small else [])])
        run = json.loads((out / "run.json").read_text())
        found = json.loads((out / "findings.json").read_text())
    seconds = {name: run[name] for name in ("compile_seconds", "run_seconds", "environment_steps")}
    total = run["compile_seconds"] + run["run_seconds"]
    refuted = [finding["claim"] for finding in found if finding["state"] in ("refuted", "not shown")]
    yield {
        "status": status,
        **seconds,
        "compile_share": run["compile_seconds"] / total,
        "findings": run["findings"],
        "not_holding": refuted,
    }
