"""Blocks as tasks of a Ray cluster, which schedules them and retries those whose process is lost."""

import importlib
import os
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any

from . import work
from .contract import Claim

_ANSWERERS: dict[tuple[str, ...], Callable[[int], work.Answer]] = {}


def answer(claim: Claim, arguments: tuple[str, ...], index: int) -> work.Answer:
    """A task. A process of Ray's makes the job out once, and then has its compiled programs."""
    if arguments not in _ANSWERERS:
        _ANSWERERS[arguments] = work.answerer(claim, arguments)
    return _ANSWERERS[arguments](index)


def measured(job: work.Job, indices: Sequence[int]) -> Generator[work.Done, None, None]:
    """Measures blocks on the cluster that RAY_ADDRESS names, or on one of this machine alone.

    Args:
        job: the run.
        indices: of the blocks.

    Yields:
        Blocks as they are finished.

    Raises:
        BadFlag, BlockFailed: as in `work.taken`; also where Ray gives a block up.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray: Any = importlib.import_module("ray")
    takes = job.request.sharing.resources
    variables = {name: str(takes.cpus) for name in ("PJRT_NPROC", "JAX_NUM_CPU_DEVICES") if name not in os.environ}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # its daemons; each is another program at once
        ray.init(
            include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": variables}
        )
    try:
        task = ray.remote(num_cpus=takes.cpus, num_gpus=takes.gpus, max_retries=3)(answer)
        claim = ray.put(job.claim)
        waiting = {task.remote(claim, tuple(job.request.arguments), index): index for index in indices}
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            index = waiting.pop(ready)
            try:
                found = ray.get(ready)
            except ray.exceptions.RayError as error:
                why = " ".join(str(error).split())[:200]
                raise work.BlockFailed(f"block {work.label(job.cells[index])} failed: Ray gave it up: {why}") from error
            yield work.taken(job, found, "engine")
    finally:
        ray.shutdown()
