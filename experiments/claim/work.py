"""A run's blocks of work, as every process that has a part in it makes them out of the command line."""

import json
from collections import Counter
from typing import Any, NamedTuple

from dagger_jax.runtime import files, record

from ..shared import program
from . import inputs, options, sizes
from .contract import BadFlag, Claim, Measurement


class BlockFailed(Exception):
    """A block of work raised; the message names the block and what it raised."""


class Job(NamedTuple):
    """What a command line asks for, in blocks."""

    claim: Claim
    request: options.Request
    cells: list[dict[str, Any]]
    identity: dict[str, Any]  # equal in all processes of a run


def job(claim: Claim, request: options.Request) -> Job:
    """Lists the blocks.

    Args:
        claim: the experiment.
        request: what is asked for.

    Returns:
        The job.

    Raises:
        BadFlag: a setting is not allowed, or does not fit into memory.
        Unavailable: JAX has no device.
    """
    record.start()
    sizes.check(claim, request.settings)
    cells = claim.cells(request.settings)
    distinct = Counter(json.dumps(files.plain(cell), sort_keys=True) for cell in cells)
    if len(distinct) < len(cells) or not cells:
        raise ValueError(f"cells must list at least one block, none twice: {distinct.most_common(1)}")
    identity = {
        "claim": claim.name,
        "settings": dict(request.settings.values),
        "files": request.files,
        "made_with": record.software(),
    }
    return Job(claim, request, cells, identity)


def measure(job: Job, index: int) -> Measurement:
    """Measures one block.

    Raises:
        BadFlag: the experiment refuses a setting.
        BlockFailed: it raised anything else.
    """
    try:
        return job.claim.measure(job.request.settings, job.cells[index])
    except BadFlag:
        raise
    except Exception as error:
        raise BlockFailed(f"block {label(job.cells[index])} failed: {program.brief(error)}") from error


def label(cell: dict[str, Any]) -> str:
    """A block in words."""
    words = " ".join(f"{name}={options.shown(value)}" for name, value in cell.items() if value is not None)
    return inputs.named(words)
