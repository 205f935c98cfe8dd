"""A run's blocks of work, as every process that has a part in it makes them out of the command line."""

import json
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pyarrow as pa

from dagger_jax.runtime import cache, files, programs, record, store

from ..shared import program
from . import devices, inputs, options, sizes
from .contract import BadFlag, Claim


class BlockFailed(Exception):
    """A block of work raised; the message names the block and what it raised."""


class Job(NamedTuple):
    """What a command line asks for, in blocks."""

    claim: Claim
    request: options.Request
    cells: list[dict[str, Any]]
    identity: dict[str, Any]  # equal in all processes of a run


class Done(NamedTuple):
    """A finished block."""

    index: int
    points: list[dict[str, Any]] | None  # None: the process that measured it has stored it
    environment_steps: int = 0
    compiled: programs.Programs | None = None  # what another process has compiled for it


class Answer(NamedTuple):
    """What another process says of a block that it was asked for."""

    identity: dict[str, Any] | None = None  # of the job that it made out
    done: Done | None = None
    refused: str = ""  # the words of a BadFlag
    failed: str = ""  # what was raised, in a line
    trace: str = ""


@contextmanager
def ready(claim: Claim, request: options.Request) -> Iterator[programs.Programs]:
    """JAX with its devices and its cache of programs, while the context is open.

    Yields:
        What is compiled.

    Raises:
        BadFlag: there are fewer devices than asked for.
        Unavailable: JAX has no device.
    """
    record.start()
    devices.check()
    say = lambda line: program.say(f"{claim.name}: {line}")
    with cache.use(request.compile_cache, say), programs.counting() as count:
        yield count


def job(claim: Claim, request: options.Request) -> Job:
    """Lists the blocks.

    Args:
        claim: the experiment.
        request: what is asked for.

    Returns:
        The job.

    Raises:
        BadFlag: a setting is not allowed, or does not fit into memory.
    """
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


def measure(job: Job, index: int) -> Done:
    """Measures one block here.

    Raises:
        BadFlag: the experiment refuses a setting.
        BlockFailed: it raised anything else.
    """
    try:
        points, steps = job.claim.measure(job.request.settings, job.cells[index])
        return Done(index, points, int(steps))
    except BadFlag:
        raise
    except Exception as error:
        raise BlockFailed(f"block {label(job.cells[index])} failed: {program.brief(error)}") from error


def answer(job: Job, index: int) -> Answer:
    """Measures one block for another process; raises nothing."""
    try:
        with programs.counting() as count:
            done = measure(job, index)
            return Answer(job.identity, done._replace(points=files.plain(done.points), compiled=count))
    except Exception as error:
        return _failed(error)


def answerer(claim: Claim, arguments: Sequence[str]) -> Callable[[int], Answer]:
    """What measures blocks for another process.

    Args:
        claim: the experiment.
        arguments: the command line, which is read when the first block is asked for.

    Returns:
        From a block's index to the answer; it raises nothing.
    """
    made, kept = list[Job](), ExitStack()

    def one(index: int) -> Answer:
        try:
            if not made:
                request = options.parse(claim, arguments)
                kept.enter_context(ready(claim, request))
                made.append(job(claim, request))
        except Exception as error:
            return _failed(error)
        return answer(made[0], index)

    return one


def _failed(error: Exception) -> Answer:
    if isinstance(error, BadFlag):
        return Answer(refused=str(error))
    words = str(error) if isinstance(error, BlockFailed | record.Unavailable) else program.brief(error)
    return Answer(failed=words, trace="".join(traceback.format_exception(error)))


def taken(job: Job, answer: Answer, flag: str) -> Done:
    """The block that another process has measured.

    Args:
        job: this process's.
        answer: what the other says.
        flag: the one that brought it in.

    Raises:
        BadFlag: the other refuses a setting, or has other software or files.
        BlockFailed: it raised anything else, which is in the exception's notes.
    """
    if answer.refused:
        raise BadFlag(*answer.refused.removeprefix("--").split(": ", 1))
    if answer.done is None or answer.identity is None:
        error = BlockFailed(answer.failed)
        error.add_note(answer.trace)
        raise error
    if unlike := store.differing(answer.identity, job.identity):
        raise BadFlag(flag, f"a worker's {'; '.join(unlike)}; allowed: workers with the same software and files")
    return answer.done


def keep(kept: store.Store, job: Job, done: Done) -> pa.Table | None:
    """Stores a finished block, if it is not stored; returns what is stored."""
    cell = job.cells[done.index]
    if done.points is None:
        return store.read(kept, cell)
    return store.write(kept, cell, [{"claim": job.claim.name, **point} for point in done.points])


def label(cell: dict[str, Any]) -> str:
    """A block in words."""
    words = " ".join(f"{name}={options.shown(value)}" for name, value in cell.items() if value is not None)
    return inputs.named(words)
