"""Who measures the blocks: this process, local workers, or an engine that exists."""

from collections.abc import Generator, Sequence

from ..shared import program
from . import work, workers
from .contract import BadFlag


def check(job: work.Job) -> None:
    """Refuses what cannot be had; raises BadFlag."""
    if job.request.sharing.workers > 1 and job.claim.timed:
        raise BadFlag("workers", "this experiment measures seconds, which others beside it would lengthen; allowed: 1")
    if job.request.sharing.workers > 1 and not program.again:
        raise BadFlag("workers", "a library starts no processes; allowed: 1, or any number from the command line")


def measured(job: work.Job, indices: Sequence[int]) -> Generator[work.Done, None, None]:
    """Measures blocks.

    Args:
        job: the run.
        indices: of the blocks.

    Yields:
        Blocks as they are finished: in order where this process measures, otherwise in any.

    Raises:
        BadFlag, BlockFailed: as in `work.measure` and `work.taken`.
    """
    count = min(job.request.sharing.workers, len(indices))
    if count > 1:
        yield from workers.measured(job, indices, count)
        return
    for index in indices:
        yield work.measure(job, index)
