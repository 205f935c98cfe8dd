"""What every experiment is: one claim, the blocks of work that measure it, and a verdict.

An experiment is a folder whose `experiment` builds a `Claim` and whose `__main__` hands it to `run`; everything around
the claim (flags, storage, resuming, progress, findings, report, exit status) is here and the same for all.
"""

from .contract import (
    COLUMNS,
    HOLDS,
    INFORMATION,
    NOT_SHOWN,
    REFUTED,
    BadFlag,
    Claim,
    Drawings,
    Finding,
    Flag,
    Measurement,
    Need,
    Settings,
    State,
    compared,
    settled,
)
from .flags import integers, names, numbers, switch
from .options import resolve
from .running import execute, run
from .sizes import blocks, points

__all__ = [
    "COLUMNS",
    "HOLDS",
    "INFORMATION",
    "NOT_SHOWN",
    "REFUTED",
    "BadFlag",
    "Claim",
    "Drawings",
    "Finding",
    "Flag",
    "Measurement",
    "Need",
    "Settings",
    "State",
    "blocks",
    "compared",
    "execute",
    "integers",
    "names",
    "numbers",
    "points",
    "resolve",
    "run",
    "settled",
    "switch",
]
