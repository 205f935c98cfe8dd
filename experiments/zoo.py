"""Every algorithm on every world of the gallery at an equal label budget: the page to cite.

python -m experiments.zoo --out=DIR
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from dagger_jax import bounds, evidence, learners, rollout, schedules
from dagger_jax.algorithms import ALGORITHMS, Algorithm
from dagger_jax.precision import exact as precisely
from dagger_jax.types import Array, Problem, Schedule
from experiments import claim, study, zoo_figures, zoo_findings, zoo_known, zoo_training, zoo_worlds
from experiments.claim import BadFlag, Claim, Measurement, Settings
from experiments.zoo_known import PRIOR, ROWS, SOLVERS
from experiments.zoo_training import Parts, Trained
from experiments.zoo_worlds import PLACES, Sizes

ROUNDS = 16  # in which the budget is spent
PATIENT = 4  # times as many for gates, which ask less a round
CHUNKS = 4  # of an episode, in chunked DAgger and in the reset variant
MIXED = 16  # policies of a mixture that are judged

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": worlds,
        "algorithms": tuple(ROWS),
        "horizons": horizons,
        "demonstrations": demonstrations,
        "runs": runs,
    }
    for preset, worlds, horizons, demonstrations, runs in (
        ("quick", ("cliff", "chunk_reset", "reset_cliff", "recoverable_reset_cliff"), (4, 8, 16), 32, 8),
        ("default", tuple(PLACES), (8, 16, 32), 64, 16),
        ("full", tuple(PLACES), (8, 16, 32, 64), 128, 128),
    )
}


# ---- how each algorithm spends the budget -------------------------------------------------------------------------


class Spending(NamedTuple):
    """The same number of labels for everybody: T for each demonstration that behavioural cloning would buy."""

    schedule: Schedule  # [N, T]
    episodes: int  # a round


def spending(name: str, horizon: int, demonstrations: int) -> Spending:
    """How an algorithm spends the labels of a number of demonstrations."""
    algorithm, chunk = ALGORITHMS[name], max(1, horizon // CHUNKS)
    each = demonstrations // ROUNDS
    if algorithm.per_step:
        return Spending(algorithm.build(horizon, horizon, chunk), demonstrations)
    if name.endswith("stagger"):  # one label an episode
        rounds = demonstrations * horizon // (4 * each)
        steps = schedules.spread_steps(rounds, horizon, jax.random.key(0))
        return Spending(schedules.stagger(rounds, horizon, steps, int(name == "warm_stagger")), 4 * each)
    return Spending(algorithm.build(ROUNDS * (PATIENT if algorithm.gate else 1), horizon, chunk), each)


def families(names: Sequence[str]) -> list[list[str]]:
    """Algorithms that one compiled program trains: tables that differ in label, rule and schedule alone."""
    kinds: dict[Any, list[str]] = {}
    for name in names:
        algorithm = ALGORITHMS[name]
        learner = algorithm.learner(study.problem("cliff", 2).world, True)
        table = isinstance(learner, learners.Tabular) and algorithm.controller is None
        rounds = algorithm.per_step, name.endswith("stagger")
        kinds.setdefault((algorithm.gate is None, rounds) if table else name, []).append(name)
    return list(kinds.values())


def prepared(algorithm: Algorithm, world: Any, shared: bool, episodes: int) -> Parts:
    """An algorithm's parts, its table beginning with a prior of one label.

    Otherwise a world whose expert takes the first action everywhere would leave no gap to anybody.
    """
    own = zoo_training.parts(algorithm, world, shared)
    learner = own.learner

    def begun(table: learners.Tabular) -> learners.Tabular:
        return table.replace(rule=learners.Smoothed(table.rule, PRIOR / episodes))

    if isinstance(learner, learners.Tabular):
        return own._replace(learner=begun(learner))
    if isinstance(learner, learners.Ensemble):
        return own._replace(learner=learner.replace(member=begun(learner.member)))
    return own._replace(learner=learners.Cautious(learner, PRIOR / episodes))


# ---- the blocks of work -----------------------------------------------------------------------------------------


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


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Every algorithm in a group of worlds; programs are compiled beside each other."""
    horizon, names = cell["horizon"], cell["worlds"]
    room = zoo_worlds.sizes(names[0], horizon, settings.demonstrations)
    drawn = [
        PLACES[name].build(horizon, settings.demonstrations, (settings.seed, run if PLACES[name].drawn else 0))
        for name in names
        for run in range(settings.runs)
    ]
    grown = [zoo_worlds.padded(problem, room) for problem in drawn]
    problems, samplers = zoo_worlds.batch(grown), study.stacked(list(map(rollout.tables, grown)))
    keys = jax.random.split(jax.random.key(settings.seed), settings.runs)
    keys = jax.numpy.tile(keys, len(names))

    def one(family: list[str]) -> list[dict[str, Any]]:
        return _family(family, names, settings, room, problems, samplers, keys)

    trained = [name for name in settings.algorithms if name not in SOLVERS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        points = [point for each in pool.map(one, families(trained)) for point in each]
    points += _known(names, settings, drawn, problems, samplers, keys)
    steps = len(settings.algorithms) * len(drawn) * 2 * horizon * settings.demonstrations
    return Measurement(points, steps)


def _family(
    family: list[str],
    worlds: list[str],
    settings: Settings,
    room: Sizes,
    problems: Problem,
    samplers: rollout.Tables,
    keys: Array,
) -> list[dict[str, Any]]:
    """Points of algorithms that share a program."""
    horizon, count = problems.world.horizon, keys.shape[0]
    first = jax.tree.map(lambda leaf: leaf[0], problems.world)
    spent = [spending(name, horizon, settings.demonstrations) for name in family]
    episodes = spent[0].episodes
    own = [prepared(ALGORITHMS[name], first, room.shared, episodes) for name in family]
    if len(family) > 1:
        own = zoo_training.together(own)

    def over(trees: Sequence[Any]) -> Any:
        """One tree an algorithm -> one an algorithm, world and run."""
        return jax.tree.map(lambda *leaves: np.repeat(np.stack([np.asarray(x) for x in leaves]), count, 0), *trees)

    def again(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: np.concatenate([leaf] * len(family)), tree)

    trained = zoo_training.train_batch(
        over(own),
        again(problems),
        again(samplers),
        over([each.schedule for each in spent]),
        jax.numpy.tile(keys, len(family)),
        episodes=episodes,
    )
    points = []
    for place, name in enumerate(family):
        mine = jax.tree.map(lambda leaf, place=place: np.asarray(leaf[place * count : (place + 1) * count]), trained)
        judged = judge(ALGORITHMS[name], problems, mine, episodes, horizon * settings.demonstrations)
        points += [
            {"world": world, "algorithm": name, "learner": "table", "horizon": horizon, "run": run}
            | {"interpreter": "exact"}
            | {column: values[settings.runs * index + run] for column, values in judged.items()}
            for index, world in enumerate(worlds)
            for run in range(settings.runs)
        ]
    return points


def _known(
    worlds: list[str],
    settings: Settings,
    drawn: list[Problem],
    problems: Problem,
    samplers: rollout.Tables,
    keys: Array,
) -> list[dict[str, Any]]:
    """Points of the algorithms that are told the transitions, where states are seen as they are."""
    names = [name for name in SOLVERS if name in settings.algorithms]
    able = [place for place, problem in enumerate(drawn) if names and zoo_known.sees_states(problem.world)]
    if not able:
        return []
    chosen: Any = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf)[able], tree)
    problems, horizon, count = chosen(problems), problems.world.horizon, settings.demonstrations
    data = study.demonstrations(problems, chosen(samplers), keys[np.array(able)], count)
    row = schedules.row(schedules.behavioural_cloning(1, horizon), 0)
    asked = jax.tree.map(float, precisely(evidence.prices)(row))
    price = {"labels": asked.labels, "handovers": asked.handovers, "switches": 2 * asked.handovers}
    price |= {"expert_steps": asked.expert_steps}
    points = []
    for name in names:
        policies = np.full(problems.expert.shape, 1 / problems.expert.shape[-1])
        for place, own, runs in zip(able, policies, data, strict=True):
            problem = drawn[place]
            own[:, : problem.world.states] = zoo_known.policy(name, problem, runs, (settings.seed, place))
        gaps, slacks = _judged(problems, policies, zoo_training.repeat(row, len(able)))
        bound = np.asarray(gaps + slacks[ROWS[name].bound])
        points += [
            {"world": worlds[place // settings.runs], "run": place % settings.runs, "algorithm": name}
            | {"learner": "occupancy", "horizon": horizon, "interpreter": "exact"}
            | {"gap": float(gap), "bound": float(limit)}
            | {column: count * value for column, value in price.items()}
            for place, gap, limit in zip(able, np.asarray(gaps), bound, strict=True)
        ]
    return points


@precisely
def _judged(problems: Problem, policies: Array, rows: Schedule) -> tuple[Array, dict[str, Array]]:
    """Gap of each policy [R, L, S, A] under its row [R, T], and the slack of every bound. One program for all rows."""

    def one(problem: Problem, policy: Array, row: Schedule) -> tuple[Array, dict[str, Array]]:
        known = evidence.constants(problem)
        policy = policy / policy.sum(-1, keepdims=True)  # it was fitted in float32, theorems hold to 1e-9
        seen = evidence.measure(problem, policy, row, known)
        return seen.gap, bounds.slacks(row, seen, known)

    return jax.vmap(one)(problems, policies, rows)


def judge(algorithm: Algorithm, problems: Problem, trained: Trained, episodes: int, budget: int) -> dict[str, Array]:
    """Gap, bound and price of each run's result when the label budget is spent, or after the last round. [R] each

    The mixture's gap and bound are means over its policies, of which at most MIXED, spread evenly, are judged.
    """
    runs, rounds = trained.labels.shape
    spent = np.cumsum(episodes * trained.labels, axis=1)
    last = np.minimum((spent < budget * (1 - 1e-6)).sum(1), rounds - 1)  # the round that reaches it
    source = trained.acting if algorithm.output == "acting" else trained.newest
    count = min(MIXED, rounds) if algorithm.output == "mixture" else 1
    chosen = np.round(np.linspace(last if count == 1 else 0 * last, last, count)).astype(int)  # [M, R]
    horizon = problems.world.horizon
    row = schedules.row(algorithm.judged_by(horizon, max(1, horizon // CHUNKS)), 0)
    each = [_judged(problems, source[np.arange(runs), place], zoo_training.repeat(row, runs)) for place in chosen]
    gap = np.mean([gaps for gaps, _ in each], axis=0)
    bound = np.mean([gaps + slacks[algorithm.bound] for gaps, slacks in each], axis=0)
    total = {
        name: np.cumsum(episodes * getattr(trained, name), axis=1)[np.arange(runs), last]
        for name in zoo_findings.PRICES
    }
    return {"gap": gap, "bound": bound} | total


def figures(settings: Settings, table: pa.Table) -> dict[str, Figure]:
    """Gaps, exponents and prices."""
    found = zoo_findings.summary(settings, table)
    return {
        "gaps": zoo_figures.gaps(found),
        "exponents": zoo_figures.exponents(found),
        "prices": zoo_figures.prices(found),
    }


CLAIM = Claim(
    name="zoo",
    title="The zoo: every algorithm on every world at an equal label budget",
    statement=(
        "Every algorithm of the table, with its own label, learner, gate and controller, is given the labels that a "
        "number of demonstrations would hold, in every world of the gallery. Learners are tables (a table a step, or "
        "one for all steps where the expert does not change), and begin with one label's worth of a uniform prior, so "
        "that n labels leave an error of order 1/n. Gaps are exact; intervals are over runs, which draw new worlds "
        "where worlds are drawn. Hand-overs and the expert's own steps, roll-outs behind costs-to-go included, are "
        "counted but not charged. A gate that asks less than the budget is read after its last round, at the lower "
        "price, and what it learned is judged alone, without the gate. Mimic-MD and replay estimation are told the "
        "transitions as well, keep a table a step, and are left out where states look alike."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    verdict=zoo_findings.verdict,
    figures=figures,
    tables=zoo_findings.tables,
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
    ),
    columns={
        "labels": pa.float64(),  # asked, all rounds and episodes
        "handovers": pa.float64(),  # or interventions
        "switches": pa.float64(),  # times the wheel changed hands
        "expert_steps": pa.float64(),  # steps that the expert acted, its roll-outs included
    },
)

if __name__ == "__main__":
    claim.run(CLAIM)
