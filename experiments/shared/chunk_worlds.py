"""Where chunk lengths are compared: worlds of the gallery, random Garnets, and rooms with doors."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dagger_jax import gallery
from dagger_jax.tabular import rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.experts import optimal
from dagger_jax.types import Problem

from ..claim import Settings
from . import study

DOORS = ((3, 1), (3, 5), (1, 3), (5, 3))  # of four rooms of 3 x 3 cells, in walls along row and column 3 of 7 x 7
SLIP = 0.1  # chance that a move in the rooms goes in a direction drawn at random


class Place(NamedTuple):
    """What a figure says of a world, and whether its learner has one table for all steps or one per step."""

    title: str
    shared: bool


PLACES: Mapping[str, Place] = {
    "recoverable_reset_cliff": Place("recoverable reset cliff:\nrare mistakes, can be made good", False),
    "tightrope": Place("tightrope:\na walk seen through noise", True),
    "random_mdp": Place("random worlds, states look alike:\noutside the learner's class", True),
    "garnet": Place("Garnets:\nrandom sparse worlds, fully seen", False),
    "rooms": Place("four rooms:\na goal behind doors", False),
}


def batch(world: str, settings: Settings) -> tuple[Problem, rollout.Tables, bool]:
    """A problem per run, stacked, with their samplers; and whether the learner shares one table over time."""
    own = (getattr(settings, name) for name in ("horizon", "runs", "rounds", "episodes", "seed"))
    return *_drawn(world, *own), PLACES[world].shared


@lru_cache(maxsize=2)  # methods share them
def _drawn(
    world: str, horizon: int, count: int, rounds: int, episodes: int, seed: int
) -> tuple[Problem, rollout.Tables]:
    runs = range(count)
    if world == "recoverable_reset_cliff":
        asked = rounds * episodes
        each = [gallery.reset_cliff(horizon, 6, 4, asked, (seed, run), recoverable=True) for run in runs]
    elif world == "random_mdp":
        each = [
            gallery.random_mdp(horizon, 8, 3, (seed, run), observations=5, concentration=0.1, stationary=True)
            for run in runs
        ]
    elif world == "garnet":
        each = [garnet(horizon, 20, 3, 3, (seed, run)) for run in runs]
    elif world == "rooms":
        each = [rooms(horizon)] * count
    else:
        each = [gallery.WORLDS[world].build(horizon)] * count
    drawn = study.stacked(each)
    return drawn, rollout.tables(drawn)


def garnet(horizon: int, states: int, actions: int, branches: int, seed: tuple[int, ...]) -> Problem:
    """A Garnet (Archibald, McKinnon and Thomas 1995): every action leads to a few states; uniform costs and start."""
    rng = np.random.default_rng(seed)
    transition = np.zeros((states, actions, states))
    for law in transition.reshape(-1, states):
        law[rng.choice(states, branches, replace=False)] = np.diff(
            np.sort(rng.random(branches - 1)), prepend=0, append=1
        )
    made = tabular.world(transition, rng.random((states, actions)), np.full(states, 1 / states), horizon)
    return Problem(made, optimal(made), "garnet")


def rooms(horizon: int) -> Problem:
    """Four rooms of 3 x 3 cells: from anywhere in the first one to the far corner of the last, at cost 1 per step."""
    cells = [(y, x) for y in range(7) for x in range(7) if (y != 3 and x != 3) or (y, x) in DOORS]
    place = {cell: number for number, cell in enumerate(cells)}
    goal = place[6, 6]
    moved = np.zeros((len(cells), 4, len(cells)))
    for (y, x), state in place.items():
        for action, (down, right) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            moved[state, action, place.get((y + down, x + right), state)] = 1
    transition = (1 - SLIP) * moved + SLIP * moved.mean(1, keepdims=True)
    transition[goal] = np.eye(len(cells))[goal]
    cost = np.ones((len(cells), 4))
    cost[goal] = 0
    start = np.array([1 / 9 if y < 3 and x < 3 else 0 for y, x in cells])
    made = tabular.world(transition, cost, start, horizon)
    return Problem(made, optimal(made), "rooms")
