"""How the blocks of a run are divided over processes: the flags."""

import re
from typing import Any, NamedTuple

from .contract import BadFlag, Flag
from .flags import integers, switch


class Sharing(NamedTuple):
    """Which blocks this process answers for, and who measures them."""

    shard: tuple[int, int] | None = None  # (i, n), i from 1 to n
    judge: bool = False
    workers: int = 1

    def own(self, blocks: int) -> range:
        """The blocks that this process answers for, by index."""
        if self.judge:
            return range(0)
        number, count = self.shard or (1, 1)
        return range(number - 1, blocks, count)

    def told(self) -> dict[str, Any]:
        """What differs from a run by one process, by flag."""
        given = {"shard": self.shard and "{}/{}".format(*self.shard), "judge": self.judge, "workers": self.workers}
        return {name: value for name, value in given.items() if value and value != 1}


def _shard(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    shard = (int(found[1]), int(found[2])) if found else (0, 0)
    return shard if 1 <= shard[0] <= shard[1] else None


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

# Each with its default in words.
FLAGS = {SHARD: "all blocks", JUDGE: "--nojudge", WORKERS: "1, this process itself"}


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
    sharing = Sharing(**{flag.name: values.pop(flag.name) for flag in FLAGS if flag.name in values})
    if sharing.judge and sharing.shard:
        raise BadFlag("judge", "it measures nothing, so there is no part to measure; allowed: without --shard")
    if not resume and (sharing.shard or sharing.judge):
        flag = "shard" if sharing.shard else "judge"
        raise BadFlag(flag, "with --noresume it would delete what others have measured; allowed: without --noresume")
    return sharing
