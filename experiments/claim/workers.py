"""Local processes that measure blocks: the same command line, run again as a worker of the process that asks.

A worker reads indices from its standard input and writes answers to its standard output. It ends as soon as its input
does, so that none outlives the process that asks, however that ends. What it says goes into a file; the end of that is
its last words.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NoReturn

from ..shared import program
from . import work

_CALLED = "DAGGER_JAX_WORKER"
_TRIES = 3  # a block on which so many workers died is given up


def called() -> bool:
    """Whether this process is a worker; it is asked once, so that processes of a worker are none."""
    return os.environ.pop(_CALLED, None) is not None


def serve(measure: Callable[[int], work.Answer]) -> NoReturn:
    """Measures what it is asked for until its input ends, which ends the process.

    Args:
        measure: from a block's index to the answer.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an experiment prints is no answer
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()

    def read() -> None:
        try:
            while True:
                asked.put(pickle.load(sys.stdin.buffer))
        finally:
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        pickle.dump(measure(asked.get()), answers)
        answers.flush()


def threads(count: int) -> dict[str, str]:
    """The environment in which each of so many processes takes its share of the processors, and of a GPU's memory."""
    own = str(max(1, len(os.sched_getaffinity(0)) // count))
    return {
        "PJRT_NPROC": own,
        "JAX_NUM_CPU_DEVICES": own,
        **{f"{library}_NUM_THREADS": own for library in ("OMP", "OPENBLAS", "MKL")},
        "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / count:.3f}",
    }


class _Worker:
    def __init__(self, count: int):
        with tempfile.TemporaryFile() as said:
            self.process = subprocess.Popen(
                program.again,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env={**threads(count), **os.environ, _CALLED: "1"},
                process_group=0,  # an interrupt at the terminal is for the process that asks
            )
            self.said = os.dup(said.fileno())

    def ask(self, index: int) -> work.Answer | None:
        """The answer, or None where the worker has died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            pickle.dump(index, self.process.stdin)
            self.process.stdin.flush()
            return pickle.load(self.process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            return None

    def end(self) -> str:
        """Ends it, and says how it ended and its last words."""
        self.process.kill()
        status = self.process.wait()
        with contextlib.suppress(OSError), self.process:  # closes what it could not be asked
            pass
        how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        words = os.pread(self.said, 2000, max(0, os.fstat(self.said).st_size - 2000))
        os.close(self.said)
        last = words.decode(errors="replace").strip().splitlines()[-1:]
        return " ".join((how, *(f"({line[:200]})" for line in last)))


def measured(job: work.Job, indices: Sequence[int], count: int) -> Generator[work.Done, None, None]:
    """Measures blocks by local processes; one that dies is replaced, and its block measured again.

    Args:
        job: the run.
        indices: of the blocks.
        count: how many processes.

    Yields:
        Blocks as they are finished.

    Raises:
        BadFlag, BlockFailed: as in `work.taken`; also where three processes died on a block.
    """
    workers, idle, changing, closed = list[_Worker](), queue.LifoQueue[_Worker](), threading.Lock(), False

    def hired() -> _Worker:
        with contextlib.suppress(queue.Empty):
            return idle.get_nowait()
        with changing:
            if closed:
                raise work.BlockFailed("no worker is hired any more")
            workers.append(_Worker(count))
            return workers[-1]

    def one(index: int) -> work.Done:
        how, block = "", f"block {work.label(job.cells[index])}"
        for _ in range(_TRIES):
            worker = hired()
            answer = worker.ask(index)
            if answer is not None:
                idle.put(worker)
                return work.taken(job, answer, "workers")
            with changing:
                if closed:
                    break
                workers.remove(worker)
            how = worker.end()
            program.say(f"{job.claim.name}: a worker ended {how} in {block}")
        raise work.BlockFailed(f"{block} failed: {_TRIES} workers ended in it, the last {how}")

    with ThreadPoolExecutor(count) as pool:
        try:
            for future in as_completed([pool.submit(one, index) for index in indices]):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            with changing:
                closed = True
                for worker in workers:
                    worker.end()
