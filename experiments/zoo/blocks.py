"""One block of the zoo: every algorithm trained and judged in a group of worlds of equal sizes."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from dagger_jax import evidence, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.precision import float64
from dagger_jax.tabular import rollout
from dagger_jax.types import Array, Problem, World

from ..claim import Measurement, Settings
from ..shared import study, training
from ..shared.training import Parts, Trained
from . import findings, known, theorems
from . import worlds as zoo_worlds
from .budget import CHUNKS, Spending, families, prepared, spending
from .known import ROWS, SOLVERS
from .worlds import PLACES, Sizes

MIXED = 16  # policies of a mixture that are judged


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
    # No other block has these sizes, and programs of all blocks would exhaust the process's memory maps.
    jax.clear_caches()
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
        own = training.together(own)

    tables = [each.schedule for each in spent]
    tables = [schedules.filled(table, *tables) for table in tables]
    size = _slice(own, spent, worlds, settings, first)

    def over(trees: Sequence[Any]) -> Any:
        """One tree an algorithm -> one an algorithm and run."""
        return jax.tree.map(lambda *leaves: np.repeat(np.stack([np.asarray(x) for x in leaves]), size, 0), *trees)

    def again(tree: Any, chosen: np.ndarray) -> Any:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[np.tile(chosen, len(family))], tree)

    points = []
    for begin in range(0, count, size):
        chosen = np.arange(begin, begin + size) % count  # the last slice is filled up: one program for all
        rows, several = over(tables), (again(each, chosen) for each in (problems, samplers))
        keyed = keys[np.tile(chosen, len(family))]
        trained = jax.device_get(training.train_batch(over(own), *several, rows, keyed, episodes=episodes))
        few = jax.tree.map(lambda leaf, chosen=chosen: np.asarray(leaf)[chosen], problems)
        for place, name in enumerate(family):
            mine = slice(place * size, (place + 1) * size)
            result = jax.tree.map(lambda leaf, mine=mine: leaf[mine], trained)
            judged = judge(name, few, result, episodes, horizon * settings.demonstrations)
            points += [
                {"world": worlds[index // settings.runs], "run": int(index % settings.runs), "algorithm": name}
                | {"learner": "table", "horizon": horizon, "interpreter": "exact"}
                | {column: values[where] for column, values in judged.items()}
                for where, index in enumerate(chosen[: count - begin])
            ]
    return points


def _slice(own: list[Parts], spent: list[Spending], worlds: list[str], settings: Settings, world: World) -> int:
    """How many runs are trained in one call: all, or as many as their stacks of policies leave room for."""
    tables = world.states * world.actions * (1 if PLACES[worlds[0]].shared else world.horizon)
    bytes_a_run = len(own) * spent[0].schedule.join.shape[0] * tables * 8 * 3  # newest, played, and what is judged
    count = len(worlds) * settings.runs
    slices = -(-count * bytes_a_run // (settings.memory * 2**20))
    return -(-count // min(count, slices))


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
    able = [place for place, problem in enumerate(drawn) if names and known.sees_states(problem.world)]
    if not able:
        return []
    chosen: Any = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf)[able], tree)
    problems, horizon, count = chosen(problems), problems.world.horizon, settings.demonstrations
    data = study.demonstrations(problems, chosen(samplers), keys[np.array(able)], count)
    row = schedules.row(schedules.behavioural_cloning(1, horizon), 0)
    asked = jax.tree.map(float, float64(evidence.prices)(row))
    price = {"labels": asked.labels, "handovers": asked.handovers, "switches": 2 * asked.handovers}
    price |= {"expert_steps": asked.steps, "rollouts": 1.0}
    points = []
    for name in names:
        policies = np.full(problems.expert.shape, 1 / problems.expert.shape[-1])
        for place, own, runs in zip(able, policies, data, strict=True):
            problem = drawn[place]
            own[:, : problem.world.states] = known.policy(name, problem, runs, (settings.seed, place))
        rows = training.repeat(row, len(able))
        gaps, pairs = theorems.of_one(problems, policies, rows, np.zeros_like(rows.join, float))
        bound, bounded = map(np.asarray, pairs[theorems.theorem(name).name])
        points += [
            {"world": worlds[place // settings.runs], "run": place % settings.runs, "algorithm": name}
            | {"learner": "occupancy", "horizon": horizon, "interpreter": "exact"}
            | {"gap": float(gap), "bound": float(limit), "bounded": float(value)}
            | {column: count * value for column, value in price.items()}
            for place, gap, limit, value in zip(able, np.asarray(gaps), bound, bounded, strict=True)
        ]
    return points


def judge(name: str, problems: Problem, trained: Trained, episodes: int, budget: int) -> dict[str, Array]:
    """Gap, theorem and price of each run's result when the label budget is spent, or after the last round. [R] each

    The mixture's gap and bound are means over its policies, of which at most MIXED are judged.
    """
    algorithm, theorem = ROWS[name], theorems.theorem(name)
    runs, rounds = trained.labels.shape
    everyone, horizon = np.arange(runs), problems.world.horizon
    spent = np.cumsum(episodes * trained.labels, axis=1)
    last = np.minimum((spent < budget * (1 - 1e-6)).sum(1), rounds - 1)  # the round that reaches it
    row = training.repeat(schedules.row(algorithm.judged_by(horizon, max(1, horizon // CHUNKS)), 0), runs)
    noise = np.asarray(schedules.filled(trained.rows).noise, float)[everyone, last]
    found = training.results(algorithm, trained, last, MIXED)
    each = [theorems.of_one(problems, policy, row, noise) for policy in found]
    if theorem.rounds:
        played = training.played(trained)
        betas = np.asarray(trained.rows.beta, float)[..., 0]
        every = played[:, :-1], training.normalised(trained.newest), betas, 1 - betas[:, 1], played[:, -1]
        bound, bounded = theorems.of_rounds(problems, *every)[theorem.name]
    else:
        bound, bounded = np.mean([pairs[theorem.name] for _, pairs in each], axis=0)
    total = {price: np.cumsum(episodes * getattr(trained, price), axis=1)[everyone, last] for price in findings.PRICES}
    gap = np.mean([gaps for gaps, _ in each], axis=0)
    return {"gap": gap, "bound": bound, "bounded": bounded, "rollouts": episodes * (last + 1.0)} | total
