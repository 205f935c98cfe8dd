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
from scipy import stats

from dagger_jax import bounds, evidence, growth, learners, rollout, schedules
from dagger_jax.algorithms import ALGORITHMS, Algorithm
from dagger_jax.precision import exact as precisely
from dagger_jax.types import Array, Problem, Schedule
from experiments import chunk_choice, claim, study, zoo_figures, zoo_training, zoo_worlds
from experiments.claim import BadFlag, Claim, Finding, Measurement, Settings
from experiments.zoo_training import Parts, Trained
from experiments.zoo_worlds import PLACES, Sizes

ROUNDS = 16  # in which the budget is spent
PATIENT = 4  # times as many for gates, which ask less a round
CHUNKS = 4  # of an episode, in chunked DAgger and in the reset variant
PRIOR = 1.0  # labels, spread over the actions, that every table begins with
MIXED = 16  # policies of a mixture that are judged
PRICES = ("labels", "handovers", "switches", "expert_steps")
MEASURED = 1e-6  # a gap below this is none

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": worlds,
        "algorithms": tuple(ALGORITHMS),
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
    return own


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

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        points = [point for each in pool.map(one, families(settings.algorithms)) for point in each]
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
    total = {name: np.cumsum(episodes * getattr(trained, name), axis=1)[np.arange(runs), last] for name in PRICES}
    return {"gap": gap, "bound": bound} | total


# ---- what the points say ----------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """An algorithm in a world: what the page shows."""

    world: str
    algorithm: str
    horizon: int  # the longest
    gaps: np.ndarray  # [R] there
    low: float  # 95% interval of the mean
    high: float
    versus: tuple[float, float, float]  # ratio of its mean gap to behavioural cloning's, with a 95% interval
    growth: growth.Growth | None  # over the horizons
    labels: float
    handovers: float
    switches: float
    expert_steps: float
    share: float  # the largest share of its bound that any run at any horizon used
    slack: float  # the least, over all runs and horizons


def summary(settings: Settings, table: pa.Table) -> dict[tuple[str, str], Cell]:
    """By (world, algorithm), at the longest horizon that the world was measured at."""
    rows: dict[tuple[str, str], dict[int, list[dict[str, Any]]]] = {}
    for row in table.to_pylist():
        rows.setdefault((row["world"], row["algorithm"]), {}).setdefault(row["horizon"], []).append(row)
    found = {}
    for (world, algorithm), by_horizon in rows.items():
        horizons = sorted(by_horizon)
        last = by_horizon[horizons[-1]]
        gaps = {h: np.array([row["gap"] for row in by_horizon[h]]) for h in horizons}
        cloning = rows.get((world, "behavioural_cloning"), by_horizon)
        reference = np.array([row["gap"] for row in cloning[horizons[-1]]])
        mean, error = gaps[horizons[-1]].mean(), stats.sem(gaps[horizons[-1]])
        width = stats.t.ppf(0.975, settings.runs - 1) * error
        every = [row for own in by_horizon.values() for row in own]
        found[world, algorithm] = Cell(
            world,
            algorithm,
            horizons[-1],
            gaps[horizons[-1]],
            mean - width,
            mean + width,
            chunk_choice.ratio(gaps[horizons[-1]], reference) if reference.mean() > MEASURED else (1.0, 1.0, 1.0),
            _growth(horizons, np.stack([gaps[h] for h in horizons], axis=1)),
            *(float(np.mean([row[name] for row in last])) for name in PRICES),
            share=max(row["gap"] / row["bound"] if row["bound"] > MEASURED else 0.0 for row in every),
            slack=min(row["bound"] - row["gap"] for row in every),
        )
    return found


def _growth(horizons: list[int], gaps: np.ndarray) -> growth.Growth | None:
    try:
        return growth.fit(horizons, gaps)
    except ValueError:  # fewer than three horizons, or no gap
        return None


class Prediction(NamedTuple):
    """What the theory of a world says about two algorithms in it."""

    world: str
    better: str
    worse: str
    why: str
    source: str


PREDICTIONS = (
    Prediction(
        "recoverable_reset_cliff",
        "dagger",
        "behavioural_cloning",
        "mistakes can be made good, if training shows them",
        "theory 4.3(a), 4.4",
    ),
    Prediction(
        "recoverable_reset_cliff",
        "chunked",
        "behavioural_cloning",
        "chunks of T / 4 show the learner's states at their starts",
        "theory 7.2",
    ),
    Prediction(
        "stationary_reset_cliff",
        "log_loss_cloning",
        "stagger",
        "one label an episode buys little where nothing is recovered",
        "theory 6.1: C mu against R",
    ),
    Prediction(
        "cheap_and_dear", "aggrevate", "dagger", "costs-to-go tell dear mistakes from cheap ones", "theory E3.1"
    ),
    Prediction(
        "goldilocks",
        "reweighed_cloning",
        "behavioural_cloning",
        "a bounded ratio of laws, mended by weights",
        "theory 6.5; arXiv 2102.02872",
    ),
    Prediction(
        "hard",
        "dagger",
        "reweighed_cloning",
        "an unbounded ratio of laws: only asking helps",
        "theory 6.5; arXiv 2102.02872",
    ),
    Prediction("tightrope", "dagger", "behavioural_cloning", "seen through noise, outside the class", "theory E2.4"),
)


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """No bound is broken, the budget is kept, and what theory predicts of two algorithms in a world is seen."""
    found, findings = summary(settings, table), []
    for name in settings.algorithms:
        own = [cell for (_, algorithm), cell in found.items() if algorithm == name]
        tightest = max(own, key=lambda cell: cell.share)
        text = f"{name}: no gap is above its bound, {ALGORITHMS[name].bound} (largest share: {tightest.world})"
        source = bounds.BOUNDS[ALGORITHMS[name].bound].source
        holds = min(cell.slack for cell in own) >= -1e-9
        findings.append(Finding(text, source, "all", "at most 1", tightest.share, None, None, holds=holds))
    most = max(row["labels"] / (row["horizon"] * settings.demonstrations) for row in table.to_pylist())
    text = "nobody is read after more labels than the budget and one round (largest multiple of the budget)"
    limit = 1 + 4 / ROUNDS
    findings.append(Finding(text, "this experiment", "all", f"at most {limit}", most, None, None, most <= limit + 1e-6))
    for each in PREDICTIONS:
        if (each.world, each.better) in found and (each.world, each.worse) in found:
            better, worse = (found[each.world, name].gaps for name in (each.better, each.worse))
            value, low, high = chunk_choice.ratio(better, worse)
            text = f"{each.better} beats {each.worse}: {each.why}; ratio of gaps"
            findings.append(Finding(text, each.source, each.world, "below 1", value, low, high, holds=high < 1))
    if ("cliff", "behavioural_cloning") in found:
        fair = [cell for (world, _), cell in found.items() if world == "cliff" and cell.growth is not None]
        least = min(fair, key=lambda cell: cell.growth.exponent if cell.growth else np.inf)
        exponent = least.growth.exponent if least.growth else None
        text = f"on the cliff nothing grows linearly (least exponent: {least.algorithm})"
        findings.append(
            Finding(text, "theory 7.2 WARNING", "cliff", "above 1.5", exponent, None, None, (exponent or 0) > 1.5)
        )
    return findings


def tables(settings: Settings, table: pa.Table) -> dict[str, pa.Table]:
    """The one table: every algorithm in every world."""
    rows = [
        {
            "world": cell.world,
            "algorithm": cell.algorithm,
            "T": cell.horizon,
            "gap": float(cell.gaps.mean()),
            "gap_low": float(cell.low),
            "gap_high": float(cell.high),
            "gap / cloning's": cell.versus[0],
            "exponent": cell.growth.exponent if cell.growth else None,
            "exponent_low": cell.growth.low if cell.growth else None,
            "exponent_high": cell.growth.high if cell.growth else None,
            "labels": cell.labels,
            "hand-overs": cell.handovers,
            "context switches": cell.switches,
            "expert steps": cell.expert_steps,
            "bound": ALGORITHMS[cell.algorithm].bound,
            "share of bound": cell.share,
            "slack": cell.slack,
        }
        for cell in summary(settings, table).values()
    ]
    return {"every_algorithm_in_every_world": pa.Table.from_pylist(rows)}


def figures(settings: Settings, table: pa.Table) -> dict[str, Figure]:
    """Gaps, exponents and prices."""
    found = summary(settings, table)
    return {
        "gaps": zoo_figures.gaps(found),
        "exponents": zoo_figures.exponents(found),
        "prices": zoo_figures.prices(found, ALGORITHMS),
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
        "price, and what it learned is judged alone, without the gate."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    verdict=verdict,
    figures=figures,
    tables=tables,
    flags=(
        claim.names("worlds", "Worlds of the gallery.", tuple(PLACES)),
        claim.names("algorithms", "Algorithms to compare.", tuple(ALGORITHMS)),
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
