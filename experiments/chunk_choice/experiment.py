"""How to choose the chunk length, and change it while training runs: the frontier at an equal price, over prices.

python -m experiments.chunk_choice --out=DIR
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .. import claim
from ..claim import BadFlag, Claim, Drawings, Measurement, Settings
from ..shared import needs
from ..shared.chunk_methods import ETA, Either, Method, methods
from ..shared.chunk_worlds import PLACES, batch
from ..shared.training import Chosen
from . import figures as drawn
from . import findings, training
from .findings import headline

COMPARED_AT = 0.01  # price of a hand-over at which controllers are compared with the best partition
PARTITION_COSTS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # of the best partition's hand-overs, in the world's cost

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": worlds,
        "handover_costs": costs,
        "watch_cost": 1.0,
        "horizon": horizon,
        "rounds": rounds,
        "episodes": episodes,
        "runs": runs,
    }
    for preset, worlds, costs, horizon, rounds, episodes, runs in (
        ("quick", ("recoverable_reset_cliff", "garnet"), (0.0, 1.0, 4.0, 64.0), 16, 16, 16, 32),
        ("default", tuple(PLACES), (0.0, 0.5, 1.0, 4.0, 16.0, 64.0), 32, 24, 16, 48),
        ("full", tuple(PLACES), (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0), 64, 48, 16, 256),
    )
}


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world and method; and one a world for the best partition."""
    if settings.runs < 2:
        raise BadFlag("runs", f"{settings.runs} leaves no interval; allowed: whole numbers, 2 or more")
    names = methods_of(settings)
    learned = [{"world": world, "method": name} for world in settings.worlds for name in names]
    return learned + [{"world": world, "method": "optimal partition"} for world in settings.worlds]


def methods_of(settings: Settings) -> dict[str, Method]:
    """`methods` for a run's settings."""
    return methods(settings.horizon, settings.rounds, settings.episodes, headline(settings))


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Every run's gap, what it asked and detectability after every round; or the best partition for measured errors."""
    problems, samplers, shared = batch(cell["world"], settings)
    common = {"world": cell["world"], "algorithm": "chunked", "learner": "follow_the_leader"}
    common |= {"method": cell["method"], "horizon": settings.horizon}
    planned = cell["method"] == "optimal partition"
    every = methods_of(settings)
    method = every["k = 1" if planned else cell["method"]]
    control = method.controller
    if method.kind == "controller" and control is not None:  # a choice among all of them: one compiled program
        options = {name: each.controller for name, each in every.items() if each.kind == "controller"}
        options = {name: each for name, each in options.items() if each is not None}
        control = Either(np.asarray(list(options).index(cell["method"])), tuple(options.values()))
    gate = method.gate
    if gate is not None:  # likewise
        options = {name: each.gate for name, each in every.items() if each.gate is not None}
        gate = Chosen.of(options, cell["method"])
    keys = jax.random.split(jax.random.key(settings.seed), settings.runs)
    policies, rows, handovers, asked, parted = jax.device_get(
        training.train(
            problems,
            samplers,
            method.schedule,
            control,
            gate,
            keys,
            label=method.label,
            episodes=settings.episodes,
            shared=shared,
        )
    )
    steps = 2 * settings.runs * settings.rounds * settings.episodes * settings.horizon
    if planned:
        values, best = training.plan(problems, policies[:, -1], np.array(PARTITION_COSTS))
        points = [
            common
            | {"kind": "plan", "round": settings.rounds, "run": run, "interpreter": "exact"}
            | {"price": price, "bound": values[run, place], "best_fixed": best[run, place]}
            for run in range(settings.runs)
            for place, price in enumerate(PARTITION_COSTS)
        ]
        return Measurement(points, steps)
    gap, seen = training.judge(problems, policies, rows)
    handovers, asked = np.asarray(handovers, float), np.asarray(asked, float)
    # Where the cut falls is decided by the learner's error at every step: the expert must have watched all of them.
    watched = 0 if method.schedule.patience is None else settings.horizon
    partition = method.kind != "published" and method.schedule.patience is None
    cost = (
        training.over_best(problems, policies[:, -1], rows.join[:, -1], np.float64(COMPARED_AT)) if partition else None
    )
    if method.schedule.patience is not None:  # the exact recursion cannot know where its chunks end
        seen = np.asarray(parted, float)
    points = [
        common
        | {"kind": method.kind, "round": n + 1, "run": run, "gap": gap[run, n], "interpreter": "exact"}
        | {
            "handovers": handovers[run, n],
            "labels": asked[run, n],
            "watched": watched,
            "detectability": None if np.isnan(seen[run, n]) else seen[run, n],
            "over_best": _last(cost, run, n, settings),
        }
        for run in range(settings.runs)
        for n in range(settings.rounds)
    ]
    return Measurement(points, steps)


def _last(values: Any, run: int, n: int, settings: Settings) -> float | None:
    return None if values is None or n < settings.rounds - 1 else float(values[run])


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """What the cost of a hand-over changes, the frontier at one cost, all ratios there, and the best partition."""
    curves, cost = findings.curves(settings, table), headline(settings)
    found = {world: findings.at_budget(settings, own, cost) for world, own in curves.items()}
    plans = table.filter(pc.field("kind") == "plan").to_pylist()
    swept = findings.sweep(settings, curves)
    return {
        "handover_costs": partial(drawn.costs, swept, settings.watch_cost),
        "frontier": partial(drawn.frontier, found, ETA, cost),
        "ratios": partial(drawn.ratios, found, cost),
        "partition": partial(drawn.partition, plans),
    }


CLAIM = Claim(
    name="chunk_choice",
    title="How to choose the chunk length, and change it during training",
    statement=(
        "An expert is expensive to call and a learner that can tell that it is being trained may behave for the "
        "occasion only. At an equal cost, which chunk length leaves the least regret, how detectable is it, and does "
        "it pay to change the length: over rounds, by a controller that reads evidence between rounds, or inside the "
        "episode where the learner disagrees? It depends on the world and on what a hand-over costs, which is swept. "
        "Where mistakes are rare and can be made good (recoverable reset cliff) short chunks win, and to cut a chunk "
        "where the learner disagrees beats every fixed length while a hand-over costs from half a label to 16; if the "
        "expert's watching is paid like labels, from 4 to 16; schedules that grow from 1 to T gain a little up to 1. "
        "Where the expert's own runs show all that matters (Garnets, rooms) long chunks win as soon as hand-overs are "
        "dear, and cutting is worse than any of them. On a walk seen through noise no way gains a tenth. On random "
        "worlds whose states look alike the runs differ too much to tell. Rivals that are the best of several are "
        "chosen on one half of the runs and judged on the other."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.chunk_choice,
    verdict=findings.verdict,
    figures=figures,
    flags=(
        claim.names("worlds", "Worlds to train in.", tuple(PLACES)),
        claim.numbers("handover_costs", "What a hand-over costs, in labels: a comparison at each.", low=0, high=1e6),
        claim.numbers(
            "watch_cost",
            "What it costs, in labels, that the expert watches the learner for a step, where that is paid.",
            low=0,
            high=1e6,
            many=False,
        ),
        claim.integers("horizon", "Horizon T, in steps.", low=4, high=1024, many=False),
        claim.integers("rounds", "Rounds N of training.", low=5, high=1000, many=False),
        claim.integers("episodes", "Episodes a round.", low=1, high=100_000, many=False),
    ),
    columns={
        "method": pa.string(),  # how the chunk length is chosen
        "kind": pa.string(),  # fixed, schedule, controller, published; plan for the best partition
        "price": pa.float64(),  # of a hand-over, in units of the world's cost, where kind is plan
        "handovers": pa.float64(),  # per episode of the round
        "labels": pa.float64(),  # per episode of the round
        "watched": pa.float64(),  # steps per episode at which the expert must see what the learner would do
        "detectability": pa.float64(),  # mean T_j over the steps, of the policy after the round
        "over_best": pa.float64(),  # price of the last round's chunks, relative to the best partition's
        "best_fixed": pa.float64(),  # hand-over cost plus bound of the best equal chunks, where kind is plan
    },
)
