"""Hand-written C for the roll-out of one walker, built when it is asked for: the limit that the sampler is held to."""

import ctypes
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from dagger_jax import sampling
from dagger_jax.randomness import Words
from dagger_jax.types import Array, Problem

SOURCE = Path(__file__).with_name("peers.c")
# As `play` numbers them. The first two draw what the sampler draws, of an alias table; the third its actions.
KERNELS = ("scalar_same_draws", "avx512_same_draws", "inverse_cdf", "scalar", "avx512")


class Absent(Exception):
    """There is no such peer on this machine, or in this installation; the message says why."""


@functools.cache
def library() -> ctypes.CDLL:
    """peers.c as this machine's compiler makes it for this machine's processor.

    Raises:
        Absent: there is no C compiler ($CC, otherwise cc), or it cannot build the file.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(compiler[0]) is None:
        raise Absent(f"no C compiler: {compiler[0]} is not found")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "peers.so"
        command = [*compiler, "-O3", "-march=native", "-shared", "-fPIC", "-pthread", f"-o{built}", str(SOURCE)]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True)
            return ctypes.CDLL(str(built))
        except (subprocess.CalledProcessError, OSError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise Absent(f"{compiler[0]} makes no library of {SOURCE.name}: {said.splitlines()[0]}") from error


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _World(ctypes.Structure):
    """World in peers.c."""

    _fields_: ClassVar = [
        *((name, ctypes.c_uint32) for name in ("states", "actions", "horizon", "width", "action_width")),
        ("key", ctypes.c_uint32 * 2),
        *(
            (name, ctypes.c_void_p)
            for name in ("initial", "next", "act", "below", "initial_below", "next_below", "cost")
        ),
    ]


class Peers:
    """A stationary problem and policy, ready for every kernel."""

    def __init__(self, problem: Problem, policy: Array, key: Words):
        """Builds the tables.

        Args:
          problem: L = 1.
          policy: [1, S, A] the learner's action probabilities.
          key: of the round, from `randomness.for_round`.
        """
        world = problem.world
        law, initial, (acting,) = np.asarray(world.transition)[0], np.asarray(world.initial), np.asarray(policy)
        self._tables = {
            "initial": sampling.alias(initial),
            "next": sampling.alias(law),
            "act": sampling.alias(acting),
            "below": np.array(sampling.thresholds(acting)),
            "initial_below": sampling.exact_thresholds(initial),
            "next_below": sampling.exact_thresholds(law),
            "cost": np.asarray(world.cost[0], np.float32),
        }
        self._tables = {name: np.ascontiguousarray(table) for name, table in self._tables.items()}
        widths = ((self._tables[name].shape[-1]).bit_length() - 1 for name in ("next", "act"))
        keys = (ctypes.c_uint32 * 2)(*(int(word) for word in key))
        sizes = world.states, world.actions, world.horizon, *widths
        self._world = _World(*sizes, keys, *(table.ctypes.data for table in self._tables.values()))

    def play(self, kernel: str, episodes: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Plays episodes 0, 1, ...

        Args:
          kernel: of KERNELS.
          episodes: how many, below 2^32.
          threads: among which they are divided; of no influence on the result.

        Returns:
          Their costs, [B] float32 (0 from those kernels that keep none), and last states, [B] uint32.

        Raises:
          Absent: see `library`; or the compiler, for this processor, has no AVX-512.
          OSError: a thread cannot be started.
        """
        cost, state = np.empty(episodes, np.float32), np.empty(episodes, np.uint32)
        outputs = (ctypes.c_void_p(array.ctypes.data) for array in (cost, state))
        place = KERNELS.index(kernel)
        status = library().play(place, ctypes.byref(self._world), ctypes.c_uint32(episodes), threads, *outputs)
        if status == 1:
            raise Absent("no AVX-512 here, or a compiler without it")
        if status:
            raise OSError(f"{threads} threads cannot be started")
        return cost, state
