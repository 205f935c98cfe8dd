"""Blocks in jobs of a SLURM cluster, an array that submitit submits; each job stores the blocks of its part itself."""

import functools
import importlib
import shutil
import time
from collections.abc import Generator, Sequence
from typing import Any

from dagger_jax.runtime import programs, store

from ..shared import program
from . import options, work
from .contract import BadFlag, Claim

_PAUSE = 1.0  # seconds between two looks


def share(claim: Claim, arguments: tuple[str, ...], indices: Sequence[int]) -> list[work.Answer]:
    """A job: measures and stores those of the blocks that are not stored, up to the first that fails."""
    answers: list[work.Answer] = []
    try:
        request = options.parse(claim, arguments)
        with work.ready(claim, request):
            job = work.job(claim, request)
            kept = store.open_store(request.out, job.identity, claim.schema)
            for index in (each for each in indices if store.lacking(kept, [job.cells[each]])):
                answers.append(work.answer(job, index))
                if (done := answers[-1].done) is None:
                    break
                work.keep(kept, job, done)
                answers[-1] = answers[-1]._replace(done=done._replace(points=None))
    except (BadFlag, store.StoreError) as error:
        answers.append(work.Answer(refused=str(error) if isinstance(error, BadFlag) else f"--out: {error}"))
    return answers


def measured(job: work.Job, kept: store.Store, indices: Sequence[int]) -> Generator[work.Done, None, None]:
    """Measures blocks in an array of jobs; what jobs leave, killed or out of time, goes into another array.

    Args:
        job: the run.
        kept: where blocks are stored, a directory that the jobs see.
        indices: of the blocks.

    Yields:
        Blocks as they are stored; the last one when all jobs have ended, with what all of them counted.

    Raises:
        BadFlag, BlockFailed: as in `work.taken`; also where an array of jobs ends without a new block.
    """
    submitit: Any = importlib.import_module("submitit")
    folder = kept.directory / ".slurm"
    executor = submitit.AutoExecutor(folder)
    if executor.cluster == "local":
        print(f"{job.claim.name}: no SLURM on this machine: the jobs are local processes", flush=True)
    takes, count = job.request.sharing.resources, job.request.sharing.workers
    executor.update_parameters(
        name=job.claim.name, timeout_min=takes.minutes, cpus_per_task=max(1, takes.cpus), gpus_per_node=takes.gpus
    )
    task = functools.partial(share, job.claim, tuple(job.request.arguments))
    left, ready, tried = list(indices), list[work.Done](), list[work.Answer]()
    while left:
        before, jobs = len(left), executor.map_array(task, [left[part::count] for part in range(min(count, len(left)))])

        def cancel(_: int = 0, jobs: Sequence[Any] = jobs) -> None:
            for each in jobs:
                each.cancel(check=False)

        program.leaving.append(cancel)
        try:
            over = False
            while not over:
                over = all(each.done() for each in jobs)  # asked first, for a job stores a block and then ends
                lacking = [left[place] for place in store.lacking(kept, [job.cells[index] for index in left])]
                ready += [work.Done(index, None) for index in left if index not in lacking]
                left = lacking
                yield from ready[:-1]
                ready = ready[-1:]
                time.sleep(0 if over else _PAUSE)
        finally:
            program.leaving.remove(cancel)
            cancel()
        lost = [error for each in jobs if (error := each.exception()) is not None]
        tried += [found for each in jobs if each.exception() is None for found in each.result()]
        for found in tried:
            work.taken(job, found, "engine")
        if len(left) == before:
            words = " ".join(str(lost[-1] if lost else "").split())[-200:]
            raise work.BlockFailed(f"block {work.label(job.cells[left[0]])} failed: no job finished it: {words}")
    counted, steps = programs.Programs(), 0
    for done in (found.done for found in tried if found.done is not None):
        steps += done.environment_steps
        counted.add(done.compiled or programs.Programs())
    shutil.rmtree(folder, ignore_errors=True)
    yield from (each._replace(environment_steps=steps, compiled=counted) for each in ready)
