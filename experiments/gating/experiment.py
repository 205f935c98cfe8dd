"""Gates: who is in control, what it asks, and what is learned from it, beside chunked DAgger at the same price.

python -m experiments.gating --out=DIR
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from .. import claim
from ..claim import BadFlag, Claim, Drawings, Measurement, Settings
from ..shared import needs, training
from ..shared.chunk_worlds import PLACES, batch
from . import figures as drawn
from . import findings, trust
from .findings import PER_LABEL, RESET, SETTLED
from .methods import KINDS, algorithm_of, methods

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": worlds,
        "gates": kinds,
        "horizon": horizon,
        "rounds": rounds,
        "episodes": 4,
        "per_query": 4.0,
        "runs": runs,
    }
    for preset, worlds, kinds, horizon, rounds, runs in (
        ("quick", (RESET, "tightrope"), ("safe", "human", "novelty"), 16, 24, 24),
        ("default", (RESET, "tightrope", "random_mdp"), tuple(KINDS), 32, 48, 48),
        ("full", (RESET, "tightrope", "random_mdp"), tuple(KINDS), 64, 128, 256),
    )
}


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world and method."""
    if settings.runs < 2:
        raise BadFlag("runs", f"{settings.runs} leaves no interval; allowed: whole numbers, 2 or more")
    names = methods(settings.gates, settings.horizon)
    return [{"world": world, "method": name} for world in settings.worlds for name in names]


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Every run's gap and what was asked in every round.

    A label on the walk of a learner that stays in control is a hand-over of its own, as in DAgger: the expert does not
    come to the next state by itself.
    """
    problems, samplers, shared = batch(cell["world"], settings)
    method = methods(settings.gates, settings.horizon)[cell["method"]]
    algorithm = method.algorithm
    schedule = algorithm.build(settings.rounds, settings.horizon, method.chunk or 0)
    keys = jax.random.split(jax.random.key(settings.seed), settings.runs)
    played = {"episodes": settings.episodes, "shared": shared}
    trained = training.train(algorithm, problems, samplers, schedule, keys, **played)
    gap = np.asarray(training.gaps(problems, training.normalised(trained.newest)))
    asked, handovers, switches = (np.asarray(a, float) for a in (trained.labels, trained.handovers, trained.switches))
    if method.asks:
        handovers, switches = asked, 2 * asked
    price = np.cumsum(settings.episodes * (settings.per_query * handovers + PER_LABEL * asked), axis=1)
    points = [
        {"world": cell["world"], "algorithm": algorithm_of(method), "learner": "follow_the_leader"}
        | {"method": cell["method"], "kind": method.kind, "asks": method.asks, "value": method.value}
        | {"chunk": method.chunk, "horizon": settings.horizon, "round": n + 1, "run": run, "interpreter": "exact"}
        | {"gap": gap[run, n], "price": price[run, n], "labels": asked[run, n]}
        | {"handovers": handovers[run, n], "switches": switches[run, n]}
        for run in range(settings.runs)
        for n in range(settings.rounds)
    ]
    if method.kind == "human":
        found = trust.trust(algorithm, problems, samplers, schedule, keys, **played)
        for run, point in enumerate(points[settings.rounds - 1 :: settings.rounds]):
            own = {name: float(values[run]) for name, values in found._asdict().items()}
            point |= {name: value for name, value in own.items() if np.isfinite(value)}
    return Measurement(points, 2 * settings.runs * settings.rounds * settings.episodes * settings.horizon)


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Gap against labels, hand-overs and context switches; and relative to the best fixed length's."""
    found = findings.curves(settings, table)
    names = {key: kind.name for key, kind in KINDS.items()}
    middle = {key: kind.values[1] for key, kind in KINDS.items()}
    against = {world: findings.beside_fixed(settings, methods) for world, methods in found.items()}
    axes = {
        "labels": "labels asked",
        "interventions": "hand-overs and interventions",
        "switches": "context switches of the expert",
    }
    columns = {"labels": "labels", "interventions": "handovers", "switches": "switches"}
    return {
        f"by_{name}": partial(drawn.curves, found, columns[name], title, names, middle) for name, title in axes.items()
    } | {"ratios": partial(drawn.ratios, found, against, names)}


CLAIM = Claim(
    name="gating",
    title="Gates: when the expert takes control",
    statement=(
        "A gate decides in every state whether the learner acts or the expert, whose actions are then labels. Gates "
        "are sold as safe and thrifty: few labels, few interventions, few context switches. What do they leave to "
        "regret, beside DAgger and chunked DAgger at the same price (a hand-over or an intervention costs 4 labels)? "
        "Every gate is measured at three settings, and in the middle one also with a learner that stays in control and "
        "only asks. The gap is that of the learner alone. Gates save labels by far. But a gate that takes over before "
        "the learner errs never shows it what follows an error: on a world where the way back must be learned it ends "
        "where behavioural cloning ends, whatever the labels, and the same gate ends near DAgger if it only asks. "
        "Ensembles guess where nothing was shown, and end in between. HG-DAgger's threshold of doubt, fitted to its "
        "interventions, has no part in who acts: it says afterwards where the learner is to be trusted."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.gating,
    verdict=findings.verdict,
    figures=figures,
    flags=(
        claim.names("worlds", "Worlds to train in.", tuple(PLACES)),
        claim.names("gates", "Gates to measure.", tuple(KINDS)),
        claim.integers("horizon", "Horizon T, in steps.", low=4, high=1024, many=False),
        claim.integers("rounds", "Rounds N of training.", low=SETTLED + 1, high=1000, many=False),
        claim.integers("episodes", "Episodes a round.", low=1, high=100_000, many=False),
        claim.numbers("per_query", "Price of a hand-over or an intervention, in labels.", low=0, high=1e6, many=False),
    ),
    columns={
        "method": pa.string(),  # the gate with its parameter, or the fixed length
        "kind": pa.string(),  # safe, ensemble, lazy, human, thrifty, novelty; chunk for a fixed length
        "asks": pa.bool_(),  # the learner stays in control where the gate is open
        "value": pa.float64(),  # the gate's threshold or rate
        "price": pa.float64(),  # spent so far, in labels
        "labels": pa.float64(),  # per episode of the round
        "handovers": pa.float64(),  # per episode of the round: hand-overs, interventions
        "switches": pa.float64(),  # per episode of the round
        # Of HG-DAgger, after the last round; null where nobody took over, or no state is on that side:
        "tau": pa.float64(),  # threshold of doubt
        "within": pa.float64(),  # mean risk of states where the doubt is at most tau
        "beyond": pa.float64(),  # where it is above
    },
)
