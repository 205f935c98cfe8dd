"""What every experiment is: one claim, the blocks of work that measure it, and a verdict.

An experiment is one file that builds a `Claim` and hands it to `run`; everything around the claim (flags,
storage, resuming, progress, findings, report, exit status) is here and the same for all.
"""

from experiments.claim.contract import (
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
from experiments.claim.flags import integers, names, numbers
from experiments.claim.options import resolve
from experiments.claim.running import run
from experiments.claim.sizes import blocks, points

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
    "integers",
    "names",
    "numbers",
    "points",
    "resolve",
    "run",
    "settled",
]
