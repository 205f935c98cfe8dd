"""How many demonstrations imitation needs: the expected gap against trajectories N, horizon H and states S.

python -m experiments.sample_complexity --out=DIR
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from .. import claim
from ..claim import BadFlag, Claim, Drawings, Finding, Measurement, Settings
from ..shared import needs
from . import cases, classes, findings, known, price_figures, prices
from . import figures as drawn

PARTS = ("cloning", "random_worlds", "interactive", "two_states", "known_transitions", "distances", "stagger")
INTERACTIVE = (
    ("behavioural_cloning", "follow_the_leader"),
    ("behavioural_cloning", "log_loss"),
    ("forward_training", "follow_the_leader"),
    ("dagger", "follow_the_leader"),
)
ASKING = ("behavioural_cloning", "dagger", "stagger")
KNOWN = ("leaky_cliff", "identity_bandit", "random_mdp")

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "parts": PARTS,
        "horizons": horizons,
        "states": states,
        "trajectories": trajectories,
        "runs": runs,  # replicas of cloned tables
        "trained": trained,  # replicas of interactive learners and of linear programs
        "labels": labels,  # what behavioural cloning may ask beside Stagger
        "costs": (1, 2, 3, 10),
        "demonstrations": (8, 64),  # N in random worlds
        "drawn": worlds,  # random worlds
        "matched": matched,  # N where transitions are known
        "known": KNOWN[: 2 if preset == "quick" else 3],  # worlds whose transitions are known
        "rare": 20,  # 1 / probability of the rare of two states
    }
    for preset, horizons, states, trajectories, runs, trained, labels, worlds, matched in (
        ("quick", (4, 8, 16), (4, 8, 16), (160, 320, 640), 2000, 32, 240, 4, 100),
        ("default", (4, 8, 16, 32), (4, 8, 16, 32), (160, 320, 640, 1280, 2560), 10000, 128, 480, 8, 200),
        ("full", (4, 8, 16, 32, 64), (4, 8, 16, 32), (320, 640, 1280, 2560, 5120), 40000, 512, 960, 16, 400),
    )
}


# ---- the blocks of work ---------------------------------------------------------------------------------------------


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a part, world or algorithm, and size."""
    _check(settings)
    horizon, states, trajectories = (middle(settings.values[name]) for name in ("horizons", "states", "trajectories"))
    few, ends = min(settings.trajectories), sorted({min(settings.horizons), max(settings.horizons)})
    asked = ends if settings.preset == "quick" else settings.horizons
    each = {
        "cloning": [
            {"world": world, "horizon": h, "states": s, "trajectories": n}
            for world in ("reset_cliff", "stationary_reset_cliff", "identity_bandit")
            for h, s, n in _sizes(settings, few if world == "stationary_reset_cliff" else trajectories)
            # The other axes are swept in the reset cliff alone; a table that is shared has H labels a demonstration.
            if world == "reset_cliff" or (s, n) == (states, few if world == "stationary_reset_cliff" else trajectories)
        ],
        "random_worlds": [
            {"run": run, "horizon": horizon, "states": states, "trajectories": n}
            for n in settings.demonstrations
            for run in range(settings.drawn)
        ],
        "interactive": [
            {"algorithm": algorithm, "learner": learner, "horizon": h, "states": states, "trajectories": trajectories}
            for algorithm, learner in INTERACTIVE
            for h in settings.horizons
        ],
        "two_states": [{"algorithm": algorithm, "horizon": h} for algorithm in ASKING for h in ends],
        "known_transitions": [
            {"world": world, "horizon": h, "states": states, "trajectories": settings.matched}
            for world in settings.known
            for h in settings.horizons
        ],
        "distances": [{"world": world} for world in classes.SCATTER],
        "stagger": [
            {"horizon": h, "ratio": ratio, "actions": actions}
            for h in asked
            for actions in sorted({cases.ACTIONS, max(cases.ACTIONS, h)})  # few, and as many as steps
            for ratio in classes.RARITIES
        ],
    }
    return [{"part": part} | cell for part in settings.parts for cell in each[part]]


def middle(values: tuple[int, ...]) -> int:
    """Where the other axes stand while one is swept."""
    return sorted(values)[(len(values) - 1) // 2]


def _sizes(settings: Settings, trajectories: int) -> list[tuple[int, int, int]]:
    h, s = middle(settings.horizons), middle(settings.states)
    sizes = [(horizon, s, trajectories) for horizon in settings.horizons]
    sizes += [(h, states, trajectories) for states in settings.states]
    sizes += [(h, s, count) for count in settings.trajectories]
    return list(dict.fromkeys(sizes))


def _check(settings: Settings) -> None:
    most, fewest = max(settings.states), min(settings.trajectories)
    if most - 2 > fewest:
        words = f"the rare ones must fit beside a common one of --trajectories={fewest}"
        raise BadFlag("states", f"{most} is too many: {words}; allowed: 3 to {fewest + 2}")
    longest = max(settings.horizons)
    if "stagger" in settings.parts and settings.labels < longest:
        words = f"one demonstration of {longest} steps costs more"
        raise BadFlag("labels", f"{settings.labels} is too few: {words}; allowed: {longest} or more")
    if "stagger" in settings.parts and max(settings.costs) > settings.labels // 8:
        most = settings.labels // 8
        words = f"--labels={settings.labels} would buy fewer than 8 labels"
        raise BadFlag("costs", f"{max(settings.costs)} is too much: {words}; allowed: 1 to {most}")


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """The points of one block: means over replicas of exact gaps, or one point a learner for distances."""
    part, runs, trained, seed = cell["part"], settings.runs, settings.trained, settings.seed
    world, algorithm, horizon = (cell.get(name, "") for name in ("world", "algorithm", "horizon"))
    states, trajectories, longest = cell.get("states", 0), cell.get("trajectories", 0), max(settings.horizons)
    match part:
        case "cloning":
            points, steps = cases.demonstrated(world, horizon, states, trajectories, runs, seed, longest)
        case "random_worlds":
            points, steps = cases.bounded(horizon, states, trajectories, cell["run"], runs, seed)
        case "interactive":
            points, steps = cases.interactive(
                algorithm, cell["learner"], horizon, states, trajectories, trained, seed, longest
            )
        case "two_states":
            points, steps = cases.two_states(algorithm, horizon, settings.rare, runs, seed, longest)
        case "known_transitions":
            points, steps = known.matched(world, horizon, states, trajectories, trained, seed, longest)
        case "distances":
            points, steps = classes.scattered(world, max(trained // 8, 2), seed)
        case _:
            points, steps = classes.staggered(
                horizon, settings.labels, settings.costs, cell["ratio"], cell["actions"], trained, seed, longest
            )
    return Measurement([{"part": part, "interpreter": "exact"} | point for point in points], steps)


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Closed forms, growth in H, S and N, bounds from above and below, and who wins at equal price."""
    rows = table.to_pylist()
    return findings.all_of(settings, rows) + prices.all_of(settings, rows)


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """The rates of cloning, interaction, known transitions, whole trajectories and single labels."""
    rows = table.to_pylist()
    return {**drawn.all_of(settings, rows), **price_figures.all_of(settings, rows)}


CLAIM = Claim(
    name="sample_complexity",
    title="How many demonstrations imitation needs",
    statement=(
        "The expected gap of imitation from N demonstrations of H steps in S states. With a table a step, behavioural "
        "cloning of a deterministic expert pays at most S H (H + 1) / (2 e N), and the reset cliff, whose rare states "
        "are as rare as is worst, has the same growth: slopes 2 in H, 1 in S, -1 in N, equal to its closed form. "
        "Sharing one table over time makes the growth linear for dense costs, and none at all where an episode "
        "succeeds or fails as a whole: the gap is at most R times the squared Hellinger distance of trajectory laws. "
        "Asking the expert on the learner's own states makes it linear where mistakes can be made good. Cloning stays "
        "quadratic there if it keeps a wrong default action in the state that no demonstration shows; a uniform guess "
        "leaves that state after A tries on average, and its gap, too, tends to be linear once H exceeds A. Knowing "
        "the transitions (Mimic-MD) leaves at most H^1.5; two rare states cost every learner H / (8 n). Stagger asks "
        "for one label a roll-out, and its uniform mixture pays at most mu H log B / N; at equal label cost it beats "
        "cloning where a fall into that state lasts longer than e C S / (S - 2) steps on average: it lasts (H + 1) / 2 "
        "with a wrong default, at most A with a guess. Gaps are exact, by recursion in float64, and averaged over "
        "replicas of the sampled data."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.sample_complexity,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names("parts", "What to measure.", PARTS),
        claim.integers("horizons", "Horizons H, in steps; three or more for growth exponents.", low=2, high=1024),
        claim.integers("states", "Numbers of states S of the reset cliff.", low=3, high=256),
        claim.integers("trajectories", "Demonstrations N of the reset cliff.", low=10, high=10**6),
        claim.integers("trained", "Replicas of interactive learners and linear programs.", low=2, many=False),
        claim.integers("labels", "Labels that cloning may buy beside Stagger.", low=240, high=10**5, many=False),
        claim.integers("costs", "Price C of a label on the learner's own walk; a demonstrated one costs 1.", low=1),
    ),
    columns={
        "part": pa.string(),
        "states": pa.int64(),
        "trajectories": pa.int64(),  # demonstrations, or roll-outs, of each replica
        "labels": pa.int64(),  # of each replica
        "shared": pa.bool_(),  # one table for all steps
        "actions": pa.int64(),  # A, of Stagger's worlds
        "rarity": pa.float64(),  # probability of a rare state
        "ratio": pa.float64(),  # the same times the labels that cloning may buy
        "replicas": pa.int64(),  # that `gap` is the mean of; null where it is one learner's
        "closed_form": pa.float64(),  # the expected gap that theory states
        "error": pa.float64(),  # expected error a step under the expert's law
        "middle": pa.float64(),  # sum_h (H - h + 1) sum_s d_h(s) (1 - d_h(s))^N
        "order": pa.float64(),  # min(H sqrt(S / N), S H^1.5 / N), not a bound
        # Mean difference to cloning on the same data (known transitions), to the closed form on the same labels.
        "difference": pa.float64(),
        "difference_stderr": pa.float64(),
        "total_variation": pa.float64(),  # of trajectory laws, learner's and expert's
        "hellinger": pa.float64(),  # D_H^2, in [0, 2]
        "range": pa.float64(),  # R
    },
)
