"""How the blocks of a run are divided over processes: the flags."""

import importlib.util
import re
from typing import Any, NamedTuple

from .contract import BadFlag, Flag
from .flags import integers, names, switch

DETECT = "detect"


class Resources(NamedTuple):
    """What one block takes of an engine that has a cluster."""

    cpus: int = 1
    gpus: int = 0
    minutes: int = 60  # after which SLURM ends a job


class Sharing(NamedTuple):
    """Which blocks this process answers for, and who measures them."""

    shard: tuple[int, int] | None = None  # (i, n), i from 1 to n
    judge: bool = False
    workers: int = 1
    engine: str = "local"
    resources: Resources = Resources()
    coordinator: str | None = None  # HOST:PORT, or DETECT
    num_processes: int | None = None
    process_id: int | None = None
    heartbeat: int = 100  # seconds

    @property
    def alone(self) -> bool:
        """Whether this process measures the blocks itself."""
        return self.workers == 1 and self.engine == "local"

    def own(self, blocks: int) -> range:
        """The blocks that this process answers for, by index."""
        if self.judge:
            return range(0)
        number, count = self.shard or (1, 1)
        return range(number - 1, blocks, count)

    def told(self) -> dict[str, Any]:
        """What differs from a run by one process, by flag."""
        given = {name: value for name, value in self._asdict().items() if value != self._field_defaults[name]}
        if self.shard:
            given["shard"] = "{}/{}".format(*self.shard)
        return given | ({"resources": self.resources._asdict()} if self.engine != "local" else {})


def _shard(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    shard = (int(found[1]), int(found[2])) if found else (0, 0)
    return shard if 1 <= shard[0] <= shard[1] else None


def _resource(text: str) -> tuple[str, int] | None:
    found = re.fullmatch(r"(cpus|gpus|minutes)=([0-9]{1,6})", text)
    return (found[1], int(found[2])) if found and (int(found[2]) or found[1] == "gpus") else None


def _address(text: str) -> str | None:
    found = re.fullmatch(r"(?:[\w.-]+|\[[\w:.%]+\]):([0-9]{1,5})", text)
    return text if text == DETECT or (found and 1 <= int(found[1]) <= 65535) else None


SHARD = Flag(
    "shard",
    "Measure only the i-th of n parts of the blocks: i, i + n, and so on. Processes with the other parts share the "
    "directory, on one machine or on many (a SLURM array); the last to finish judges and reports.",
    "i/n, whole numbers, i from 1 to n",
    _shard,
    many=False,
)
JUDGE = switch("judge", "Measure nothing: judge and report what shards have stored. All blocks must be there.")
WORKERS = integers(
    "workers",
    "How many local processes measure blocks, each with its share of the processors. One that dies is replaced.",
    low=1,
    high=1024,
    many=False,
)

ENGINE = names(
    "engine",
    "Who measures blocks: this machine's processes (local); a Ray cluster, the one that RAY_ADDRESS names or else this "
    "machine (ray, needs the extra [ray]); jobs of SLURM, of which there are so many as --workers says (slurm, needs "
    "the extra [slurm]; SBATCH_ variables are heeded, such as SBATCH_PARTITION).",
    ("local", "ray", "slurm"),
    many=False,
)
RESOURCES = Flag(
    "resources",
    "What Ray or SLURM is asked for, for a block or a job: processors, GPUs, and SLURM's time limit in minutes.",
    "cpus=N, gpus=N, minutes=N, whole numbers",
    _resource,
)

COORDINATOR = Flag(
    "coordinator",
    "Where the first of several processes, which jax.distributed makes one cluster, waits for the others; or detect, "
    "where JAX knows the cluster, such as SLURM's srun. Each measures a share of the blocks, the first one judges. If "
    "one ends, all do.",
    "HOST:PORT, detect",
    _address,
    many=False,
)
NUM_PROCESSES = integers("num_processes", "How many processes --coordinator=HOST:PORT has.", low=1, many=False)
PROCESS_ID = integers("process_id", "Which of them this is; 0 is the coordinator.", low=0, many=False)
HEARTBEAT = integers(
    "heartbeat",
    "How long processes of a cluster wait for each other at the start, and for a sign of life later, in seconds.",
    low=5,
    high=86400,
    many=False,
)

# Each with its default in words.
FLAGS = {
    SHARD: "all blocks",
    JUDGE: "--nojudge",
    WORKERS: "1, this process itself",
    ENGINE: "local",
    RESOURCES: "cpus=1,gpus=0,minutes=60",
    COORDINATOR: "none",
    NUM_PROCESSES: "none",
    PROCESS_ID: "none",
    HEARTBEAT: "100",
}


def take(values: dict[str, Any], *, resume: bool) -> Sharing:
    """Takes what the command line says of sharing out of its values.

    Args:
        values: of the flags that are given.
        resume: whether finished blocks are kept.

    Returns:
        The rest are the presets' values.

    Raises:
        BadFlag: two flags do not go together.
    """
    given = {flag.name: values.pop(flag.name) for flag in FLAGS if flag.name in values}
    if asked := given.get("resources"):
        given["resources"] = Resources(**dict(asked))
        if len(dict(asked)) < len(asked) or given.get("engine", "local") == "local":
            raise BadFlag("resources", "allowed: each once, and only with --engine=ray or --engine=slurm")
    sharing = Sharing(**given)
    needs = {"ray": "ray", "slurm": "submitit"}.get(sharing.engine)
    if needs and importlib.util.find_spec(needs) is None:
        extra = f"the extra [{sharing.engine}], which is not installed: pip install 'dagger_jax[{sharing.engine}]'"
        raise BadFlag("engine", f"{sharing.engine} needs {extra}; allowed: local, or after that {sharing.engine}")
    if sharing.engine == "ray" and sharing.workers > 1:
        raise BadFlag("workers", "how many blocks are measured at a time is Ray's to say, see --resources; allowed: 1")
    if sharing.coordinator:
        _check_cluster(sharing)
    elif unused := {"num_processes", "process_id", "heartbeat"} & given.keys():
        raise BadFlag(min(unused), "allowed: only with --coordinator")
    if sharing.judge and sharing.shard:
        raise BadFlag("judge", "it measures nothing, so there is no part to measure; allowed: without --shard")
    flag = next((name for name in ("shard", "judge", "coordinator") if getattr(sharing, name)), None)
    if flag and not resume:
        raise BadFlag(flag, "with --noresume it would delete what others have measured; allowed: without --noresume")
    return sharing


def _check_cluster(sharing: Sharing) -> None:
    if sharing.shard or sharing.judge or not sharing.alone:
        raise BadFlag("coordinator", "allowed: without --shard, --judge, --workers and --engine")
    count, own = sharing.num_processes, sharing.process_id
    if sharing.coordinator == DETECT:
        if count is not None or own is not None:
            raise BadFlag("coordinator", "detect finds --num_processes and --process_id; allowed: without these")
    elif count is None or own is None:
        raise BadFlag("coordinator", "allowed: with --num_processes and --process_id, or --coordinator=detect")
    elif own >= count:
        raise BadFlag("process_id", f"{own} is not allowed; allowed: a whole number from 0 to {count - 1}")
