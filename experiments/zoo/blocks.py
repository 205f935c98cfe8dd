"""One block of the zoo: every algorithm trained and judged in a group of worlds of equal sizes."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import evidence, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.precision import float64
from dagger_jax.tabular import rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Array, Problem

from ..claim import Measurement, Settings
from ..shared import study, training
from ..shared.training import Trained
from . import findings, known, theorems
from . import worlds as zoo_worlds
from .budget import CHUNKS, families, prepared, spending
from .known import ROWS, SOLVERS
from .worlds import PLACES, Sizes

MIXED = 16  # policies of a mixture that are judged


class Group(NamedTuple):
    """What a block measures: worlds of equal sizes, a problem and its sampler a run."""

    worlds: list[str]
    horizon: int
    longest: int  # that arrays are padded to
    problems: Problem  # R of them, stacked, as all that follows
    samplers: rollout.Tables
    keys: Array  # [R]
    size: int  # how many runs are trained and judged in one call


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Every algorithm in a group of worlds; programs are compiled beside each other."""
    horizon, names = cell["horizon"], cell["worlds"]
    room = zoo_worlds.sizes(names[0], horizon, settings.demonstrations)
    wide, longest = zoo_worlds.widest(names, room, settings)
    drawn = [
        PLACES[name].build(horizon, settings.demonstrations, (settings.seed, run if PLACES[name].drawn else 0))
        for name in names
        for run in range(settings.runs)
    ]
    problems = study.stacked([tabular.padded(zoo_worlds.padded(problem, wide), longest) for problem in drawn])
    keys = jnp.tile(jax.random.split(jax.random.key(settings.seed), settings.runs), len(names))
    trained = families([name for name in settings.algorithms if name not in SOLVERS])
    size = min((_size(family, wide, longest, settings, len(drawn)) for family in trained), default=1)
    group = Group(names, horizon, longest, problems, rollout.tables(problems), keys, size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        each = pool.map(partial(_family, settings=settings, room=room, group=group), trained)
        points = [point for some in each for point in some]
    points += _known(settings, group, drawn)
    steps = len(settings.algorithms) * len(drawn) * 2 * horizon * settings.demonstrations
    return Measurement(points, steps)


def _family(family: list[str], *, settings: Settings, room: Sizes, group: Group) -> list[dict[str, Any]]:
    """Points of algorithms that share a program."""
    horizon, size, count = group.horizon, group.size, len(group.keys)
    first = study.chosen(group.problems.world, 0)
    spent = [spending(name, horizon, settings.demonstrations) for name in family]
    episodes, rounds = spent[0].episodes, len(spent[0].schedule.join)
    own = [prepared(ALGORITHMS[name], first, room, episodes) for name in family]
    if len(family) > 1:
        own = training.together(own)

    most = len(spending(family[0], group.longest, settings.demonstrations).schedule.join)
    tables = [each.schedule for each in spent]
    tables = [schedules.padded(schedules.filled(table, *tables), most, group.longest) for table in tables]

    def over(trees: Sequence[Any]) -> Any:
        """One tree an algorithm -> one an algorithm and run."""
        return jax.tree.map(lambda *leaves: np.repeat(np.stack([np.asarray(x) for x in leaves]), size, 0), *trees)

    points = []
    for begin in range(0, count, size):
        chosen = np.arange(begin, begin + size) % count  # the last slice is filled up: one program for all
        again = np.tile(chosen, len(family))
        several = study.chosen(group.problems, again), study.chosen(group.samplers, again)
        given = over(own), *several, over(tables), group.keys[again], np.int32(rounds)
        whole = jax.device_get(training.train_batch(*given, episodes=episodes))
        trained = jax.tree.map(lambda leaf: leaf[:, :rounds], whole)._replace(first=whole.first)
        few = study.chosen(group.problems, chosen)
        for place, name in enumerate(family):
            mine = slice(place * size, (place + 1) * size)
            result = jax.tree.map(lambda leaf, mine=mine: leaf[mine], trained)
            judged = judge(name, few, result, episodes, horizon * settings.demonstrations)
            points += [
                {"world": group.worlds[index // settings.runs], "run": int(index % settings.runs), "algorithm": name}
                | {"learner": "table", "horizon": horizon, "interpreter": "exact"}
                | {column: values[where] for column, values in judged.items()}
                for where, index in enumerate(chosen[: count - begin])
            ]
    return points


def _size(family: list[str], room: Sizes, longest: int, settings: Settings, count: int) -> int:
    """How many of `count` runs a family is trained in: all, or as many as its stacks of policies leave room for."""
    tables = room.states * room.actions * (1 if room.shared else longest)
    rounds = len(spending(family[0], longest, settings.demonstrations).schedule.join)
    bytes_a_run = len(family) * rounds * tables * 8 * 3  # newest, played, and what is judged
    slices = -(-count * bytes_a_run // (settings.memory * 2**20))
    return -(-count // min(count, slices))


def _known(settings: Settings, group: Group, drawn: list[Problem]) -> list[dict[str, Any]]:
    """Points of the algorithms that are told the transitions, where states are seen as they are."""
    names = [name for name in SOLVERS if name in settings.algorithms]
    able = [place for place, problem in enumerate(drawn) if names and known.sees_states(problem.world)]
    if not able:
        return []
    problems, horizon, count = study.chosen(group.problems, able), group.horizon, settings.demonstrations
    data = study.demonstrations(problems, study.chosen(group.samplers, able), group.keys[np.array(able)], count)
    cloning = schedules.behavioural_cloning(1, horizon)
    row = schedules.filled(schedules.row(schedules.padded(cloning, 1, group.longest), 0))
    asked = jax.tree.map(float, float64(evidence.prices)(schedules.row(cloning, 0)))
    price = {"labels": asked.labels, "handovers": asked.handovers, "switches": 2 * asked.handovers}
    price |= {"expert_steps": asked.steps, "rollouts": 1.0}
    points = []
    for name in names:
        policies = np.full(problems.expert.shape, 1 / problems.expert.shape[-1])
        for place, own, runs in zip(able, policies, data, strict=True):
            problem = drawn[place]
            own[:horizon, : problem.world.states] = known.policy(name, problem, runs, (settings.seed, place))
        rows = training.repeat(row, len(able))
        gaps, pairs = theorems.of_one(problems, policies, rows, np.zeros_like(rows.join, float))
        bound, bounded = map(np.asarray, pairs[theorems.theorem(name).name])
        points += [
            {"world": group.worlds[place // settings.runs], "run": place % settings.runs, "algorithm": name}
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
    everyone, horizon, longest = np.arange(runs), int(problems.world.steps), problems.world.horizon
    spent = np.cumsum(episodes * trained.labels, axis=1)
    last = np.minimum((spent < budget * (1 - 1e-6)).sum(1), rounds - 1)  # the round that reaches it
    row = schedules.padded(algorithm.judged_by(horizon, max(1, horizon // CHUNKS)), 1, longest)
    row = training.repeat(schedules.filled(schedules.row(row, 0)), runs)
    noise = np.asarray(schedules.filled(trained.rows).noise, float)[everyone, last]
    betas = np.asarray(trained.rows.beta, float)[..., :horizon]
    found = training.results(algorithm, trained._replace(rows=trained.rows._replace(beta=betas)), last, MIXED)
    each = [theorems.of_one(problems, policy, row, noise) for policy in found]
    if theorem.rounds:
        played = training.played(trained)
        betas = betas[..., 0]
        every = played[:, :-1], training.normalised(trained.newest), betas, 1 - betas[:, 1], played[:, -1]
        bound, bounded = theorems.of_rounds(problems, *every)[theorem.name]
    else:
        bound, bounded = np.mean([pairs[theorem.name] for _, pairs in each], axis=0)
    total = {price: np.cumsum(episodes * getattr(trained, price), axis=1)[everyone, last] for price in findings.PRICES}
    gap = np.mean([gaps for gaps, _ in each], axis=0)
    return {"gap": gap, "bound": bound, "bounded": bounded, "rollouts": episodes * (last + 1.0)} | total
