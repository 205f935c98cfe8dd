"""Who measures the blocks: this process, local workers, or an engine that exists."""

from collections.abc import Generator, Sequence

from dagger_jax.runtime import store

from ..shared import program
from . import cluster, on_ray, on_slurm, work, workers
from .contract import BadFlag


def check(job: work.Job) -> None:
    """Refuses what cannot be had; raises BadFlag."""
    sharing = job.request.sharing
    flag = "workers" if sharing.engine == "local" else "engine"
    if not sharing.alone and job.claim.timed:
        raise BadFlag(flag, "seconds are measured here, which blocks beside each other would lengthen; allowed: none")
    if sharing.workers > 1 and sharing.engine == "local" and not program.again:
        raise BadFlag(flag, "a library starts no processes; allowed: 1, or any number from the command line")


def measured(job: work.Job, kept: store.Store, indices: Sequence[int]) -> Generator[work.Done, None, None]:
    """Measures blocks.

    Args:
        job: the run.
        kept: where they will be stored.
        indices: of the blocks.

    Yields:
        Blocks as they are finished: in order where this process measures, otherwise in any.

    Raises:
        BadFlag, BlockFailed: as in `work.measure` and `work.taken`.
    """
    sharing = job.request.sharing
    count = min(sharing.workers, len(indices))
    if sharing.engine == "ray" and indices:
        yield from on_ray.measured(job, indices)
    elif sharing.engine == "slurm" and indices:
        yield from on_slurm.measured(job, kept, indices)
    elif count > 1:
        yield from workers.measured(job, indices, count)
    else:
        for index in indices:
            with cluster.block:  # until it is stored
                yield work.measure(job, index)
