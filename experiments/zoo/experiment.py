"""Every algorithm on every world of the gallery at an equal label budget: the page to cite.

python -m experiments.zoo --out=DIR
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa

from .. import claim
from ..claim import BadFlag, Claim, Drawings, Settings
from . import figures as drawn
from . import findings, needs
from . import worlds as zoo_worlds
from .blocks import measure
from .budget import ROUNDS
from .known import ROWS
from .worlds import PLACES, Sizes

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": worlds,
        "algorithms": tuple(ROWS),
        "horizons": horizons,
        "demonstrations": demonstrations,
        "runs": runs,
        "memory": 1024,
    }
    for preset, worlds, horizons, demonstrations, runs in (
        ("quick", ("cliff", "chunk_reset", "reset_cliff", "recoverable_reset_cliff"), (4, 8, 16), 32, 8),
        ("default", tuple(PLACES), (8, 16, 32), 64, 16),
        ("full", tuple(PLACES), (8, 16, 32, 64), 128, 128),
    )
}


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a group of worlds of equal sizes and a horizon."""
    if settings.runs < 2:
        raise BadFlag("runs", f"{settings.runs} leaves no interval; allowed: whole numbers, 2 or more")
    if settings.demonstrations % ROUNDS:
        raise BadFlag("demonstrations", f"{settings.demonstrations} is not a multiple of the {ROUNDS} rounds")
    found: dict[tuple[int, Sizes], list[str]] = {}
    for horizon in settings.horizons:
        for world in settings.worlds:
            if horizon <= PLACES[world].longest:
                group = zoo_worlds.sizes(world, horizon, settings.demonstrations)
                found.setdefault((horizon, group), []).append(world)
    if missing := set(settings.worlds) - {world for worlds in found.values() for world in worlds}:
        raise BadFlag("horizons", f"all are too long for {', '.join(sorted(missing))}: at most 8 steps there")
    return [
        {"horizon": horizon, "worlds": worlds, "states": group.states, "shared": group.shared}
        for (horizon, group), worlds in found.items()
    ]


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Gaps, exponents and prices."""
    found = findings.summary(settings, table)
    return {
        "gaps": partial(drawn.gaps, found),
        "exponents": partial(drawn.exponents, found),
        "prices": partial(drawn.prices, found),
    }


CLAIM = Claim(
    name="zoo",
    title="The zoo: every algorithm on every world at an equal label budget",
    statement=(
        "Every algorithm of the table, with its own label, learner, gate and controller, is given the labels that a "
        "number of demonstrations would hold, in every world of the gallery. Learners are tables (a table a step, or "
        "one for all steps where the expert does not change), and begin with one label's worth of a uniform prior, so "
        "that n labels leave an error of order 1/n. Gaps are exact; intervals are over runs, which draw new worlds "
        "where worlds are drawn. Labels alone are charged: roll-outs, hand-overs and the expert's own steps are "
        "counted beside them, and who asks for one label a roll-out walks T times as many. A label of costs-to-go is "
        "their exact expectation for every action, and counted as one roll-out for each. A gate that asks less than "
        "the budget is read after its last round, at the lower price, and what it learned is judged alone, without "
        "the gate. Mimic-MD and replay estimation are told the transitions as well, keep a table a step, and are left "
        "out where states look alike. Each algorithm's own theorem is checked against what it bounds, or u T eta where "
        "none is published that could be."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.zoo,
    verdict=findings.verdict,
    figures=figures,
    tables=findings.tables,
    flags=(
        claim.names("worlds", "Worlds of the gallery.", tuple(PLACES)),
        claim.names("algorithms", "Algorithms to compare.", tuple(ROWS)),
        claim.integers("horizons", "Horizons T, in steps; three or more for exponents.", low=2, high=1024),
        claim.integers(
            "demonstrations",
            f"The label budget: the labels of so many demonstrations of T steps. A multiple of {ROUNDS}.",
            low=ROUNDS,
            high=100_000,
            many=False,
        ),
        claim.integers(
            "memory",
            "MiB that the stacked policies of one call may take: runs are trained in slices.",
            low=1,
            many=False,
        ),
    ),
    columns={
        "bounded": pa.float64(),  # what the algorithm's own theorem bounds: its gap, or as the table says
        "rollouts": pa.float64(),  # episodes that the learner or the expert walked, but for roll-outs behind labels
        "labels": pa.float64(),  # asked, all rounds and episodes
        "handovers": pa.float64(),  # or interventions
        "switches": pa.float64(),  # times control changed hands
        "expert_steps": pa.float64(),  # steps that the expert acted, its roll-outs included
    },
)
