"""What the points of better_than_expert say: statements about a value a run, and how they are judged."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dagger_jax import intervals

from ..claim import INFORMATION, Finding, compared, settled

ZERO = 1e-9  # costs nearer than this are equal, computed in float64
EXPERTS = ("good", "corrupted")
COMPARED = ("dagger", "aggrevate", "lols", "searn", "nrpi")
ALIASED, STATIONARY, REALIZABLE, TWO = "random_aliased", "random_stationary", "random_realizable", "cheap_and_dear"
RANDOM = (REALIZABLE, STATIONARY, ALIASED)

Found = dict[tuple[str, str, str], dict[str, np.ndarray]]


def columns(table: pa.Table) -> Found:
    """By world, expert and way: the measured columns, a value a run."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault((row["world"], row["expert"], row["algorithm"]), []).append(row)
    names = ("gap", "over_best", "local", "loss", "room", "bound")
    return {key: {name: np.array([row[name] for row in own]) for name in names} for key, own in rows.items()}


class Statement(NamedTuple):
    """What is said of a value a run: its sign or size; None: reported only."""

    text: str
    source: str
    worlds: tuple[str, ...]
    values: Callable[[Callable[[str, str, str], np.ndarray]], np.ndarray]  # of (expert, way, column) -> [R]
    expected: str | float | None

    def judge(self, world: str, found: Found) -> Finding:
        """The finding in one world."""
        values = self.values(lambda expert, way, column: found[world, expert, way][column])
        value, low, high = intervals.mean(values)
        match self.expected:
            case "above 0":
                state = compared(low, high, least=0.0, strict=True)
            case "below 0":
                state = compared(low, high, most=0.0, strict=True)
            case float(wanted):  # without sampling error
                state = settled(bool(np.abs(values - wanted).max() < ZERO * max(1.0, abs(wanted))))
            case _:
                state = INFORMATION
        return Finding(self.text, self.source, world, self.expected, value, low, high, state=state)


LOLS, HERE = "Chang et al. 2015, arXiv 1502.02206, table 1; docs/theory.md#lols", "this experiment"
AGGREVATE = "Ross and Bagnell 2014, arXiv 1406.5979, Theorem 2.1; docs/theory.md#aggrevate"
LEARNED, BY_REFERENCE = "learned, learned", "learned, reference"

STATEMENTS = (
    # ---- closed forms
    Statement(
        "AggreVaTe: its cost-weighted loss equals the gap, DAgger's bound u T eta is so many times the gap",
        "closed form of cheap_and_dear, docs/theory.md#cheap-and-dear-mistakes, after arXiv 1406.5979",
        (TWO,),
        lambda get: get("good", "aggrevate", "bound") / get("good", "aggrevate", "gap"),
        100.0,
    ),
    Statement(
        "fewest mistakes are not least cost: DAgger's gap is so many times AggreVaTe's",
        "closed form of cheap_and_dear, docs/theory.md#cheap-and-dear-mistakes, after arXiv 1406.5979",
        (TWO,),
        lambda get: get("good", "dagger", "gap") / get("good", "aggrevate", "gap"),
        200 / 3,
    ),
    # ---- the rows of the table
    *(
        Statement(
            f"reference roll-in, {out} roll-out, good reference: what one-step deviations gain, over learned roll-in",
            LOLS,
            (ALIASED,),
            functools.partial(
                lambda out, get: get("good", f"reference, {out}", "local") - get("good", f"learned, {out}", "local"),
                out,
            ),
            "above 0",
        )
        for out in ("reference", "mixture", "learned")
    ),
    *(
        Statement(
            f"reference roll-in, {out} roll-out, good reference: J above that of learned roll-in; where the interval "
            "contains 0 neither is shown to be worse",
            HERE,
            (ALIASED,),
            functools.partial(
                lambda out, get: get("good", f"reference, {out}", "gap") - get("good", f"learned, {out}", "gap"), out
            ),
            None,
        )
        for out in ("reference", "mixture", "learned")
    ),
    Statement(
        "reference roll-in and roll-out, good reference: consistent where the class has the expert; J above the best",
        HERE,
        (REALIZABLE,),
        lambda get: get("good", "reference, reference", "over_best"),
        0.0,
    ),
    # ---- its columns
    Statement(
        "learned roll-in, reference roll-out: J above the best of the class is larger if the reference is corrupted",
        LOLS,
        RANDOM,
        lambda get: get("corrupted", BY_REFERENCE, "over_best") - get("good", BY_REFERENCE, "over_best"),
        "above 0",
    ),
    Statement(
        "learned roll-in, corrupted reference: roll-out by the reference leaves more to one-step deviations than LOLS'",
        LOLS,
        RANDOM,
        lambda get: get("corrupted", BY_REFERENCE, "local") - get("corrupted", "learned, mixture", "local"),
        "above 0",
    ),
    Statement(
        "LOLS is not locally optimal either, with a corrupted reference: what one-step deviations gain, over RL's",
        HERE,
        (REALIZABLE,),
        lambda get: get("corrupted", "learned, mixture", "local") - get("corrupted", LEARNED, "local"),
        "above 0",
    ),
    Statement(
        "a good reference that is not asked is missed: learned roll-out costs more than reference roll-out",
        LOLS,
        (REALIZABLE,),
        lambda get: get("good", LEARNED, "gap") - get("good", BY_REFERENCE, "gap"),
        "above 0",
    ),
    # ---- better than the expert
    *(
        Statement(
            f"{name} is better than a corrupted expert: J(pi) - J(expert)",
            AGGREVATE,
            RANDOM,
            functools.partial(lambda name, get: get("corrupted", name, "gap"), name),
            "below 0",
        )
        for name in COMPARED[1:-1]  # NRPI is a cell of the table: reference roll-in, learned roll-out
    ),
    Statement(
        "AggreVaTe, LOLS and SEARN are better than a corrupted expert: J(pi) - J(expert), the largest of the three",
        AGGREVATE,
        (TWO,),  # where they find the same policies
        lambda get: np.max([get("corrupted", name, "gap") for name in COMPARED[1:-1]], axis=0),
        "below 0",
    ),
    Statement(
        "DAgger copies the mistakes that it can represent: J(pi) - J(expert), corrupted",
        HERE,
        (REALIZABLE,),
        lambda get: get("corrupted", "dagger", "gap"),
        0.0,
    ),
    Statement(
        "DAgger outvotes mistakes that it cannot represent: J(pi) - J(expert), corrupted",
        HERE,
        (STATIONARY, ALIASED),
        lambda get: get("corrupted", "dagger", "gap"),
        "below 0",
    ),
    Statement(
        "SEARN, whose roll-out is a mixture drawn anew at every step, costs less than LOLS, corrupted reference",
        HERE,
        RANDOM,
        lambda get: get("corrupted", "searn", "gap") - get("corrupted", "lols", "gap"),
        "below 0",
    ),
)
