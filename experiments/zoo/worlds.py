"""The gallery as the zoo walks through it: sizes, learners' tables, and groups of worlds that share a program."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from dagger_jax import gallery
from dagger_jax.sampling import entry_bits
from dagger_jax.types import Problem, World

from ..claim import Settings

Seed = tuple[int, ...]


Build = Callable[[int, int, Seed], Problem]  # (horizon, demonstrations that the budget buys, seed)


class Place(NamedTuple):
    """A world of the zoo."""

    build: Build
    shared: bool  # one table for all steps; where the expert changes with time, a table a step
    drawn: bool  # another world a run
    longest: int  # horizon, in steps


def _plain(name: str, **sizes: int) -> Build:
    entry = gallery.WORLDS[name]

    def build(horizon: int, demonstrations: int, seed: Seed) -> Problem:
        return entry.build(horizon, **sizes, **({"seed": seed} if entry.drawn else {}))

    return build


def _rare(name: str, over_time: bool = False) -> Build:
    """Worlds whose rare states are so rare that the budget shows each of them about once."""

    def build(horizon: int, demonstrations: int, seed: Seed) -> Problem:
        samples = demonstrations * (horizon if over_time else 1)
        return gallery.WORLDS[name].build(horizon, states=8, actions=4, samples=samples, seed=seed)

    return build


def _bought(name: str) -> Build:
    """A world whose rare state the budget shows about once, of a size of its own."""
    return lambda horizon, demonstrations, seed: gallery.WORLDS[name].build(horizon, demonstrations, seed)


def _hidden(name: str) -> Build:
    """A random world that looks alike in two pairs of its states: outside the learner's class."""
    sizes = {"observations": 4, "concentration": 0.2, "stationary": True}
    return lambda horizon, demonstrations, seed: gallery.WORLDS[name].build(horizon, 6, 3, seed, **sizes)


def _place(name: str, ways: Callable[[str], Build]) -> Place:
    entry = gallery.WORLDS[name]
    return Place(ways(name), entry.stationary or ways is _hidden, entry.drawn, entry.longest)


# How each world of the gallery is built, in the order of the report.
PLACES: dict[str, Place] = {
    name: _place(name, ways)
    for name, ways in {
        "cliff": _plain,
        "rb3": _plain,
        "copy_chain": _plain,
        "chunk_reset": _plain,
        "density_ratio": _plain,
        "debt": partial(_plain, most=10),
        "reset_cliff": _rare,
        "recoverable_reset_cliff": _rare,
        "stationary_reset_cliff": partial(_rare, over_time=True),
        "identity_bandit": _rare,
        "stationary_identity_bandit": _rare,
        "two_state_bandit": _bought,
        "random_mdp": _hidden,
        "cheap_and_dear": _plain,
        "easy": _plain,
        "goldilocks": _plain,
        "hard": _plain,
        "tightrope": _plain,
        "hybrid": _plain,
        "leaf_tree": _plain,
        "car": _plain,
        "dyck": _plain,
    }.items()
}


class Sizes(NamedTuple):
    """What decides on a compiled program."""

    actions: int
    over_time: bool  # do transitions change with the step?
    shared: bool
    states: int  # at least so many, rounded up
    observations: int


@cache
def sizes(name: str, horizon: int, demonstrations: int) -> Sizes:
    """The group of a world: worlds of equal sizes are trained in one call."""
    place = PLACES[name]
    world = place.build(horizon, demonstrations, (0, 0)).world
    over_time = np.shape(world.transition)[0] > 1
    # Few sizes, so that few programs are compiled; a transition a step takes T times the memory.
    rooms = (8, 24, 40, 64, 104, 256) if over_time else (24, 40, 64, 104, 256)
    room = next((room for room in rooms if room >= world.states), world.states)
    return Sizes(world.actions, over_time, place.shared, room, room)


def padded(problem: Problem, room: Sizes) -> Problem:
    """The same problem with more states, which nothing leads to, its costs and its expert given at every step.

    Raises:
      ValueError: a world that has more states than there is room for.
    """
    world = problem.world
    more = room.states - world.states
    if more < 0:
        raise ValueError(f"{problem.name} has {world.states} states, more than {room.states}")
    steps = world.horizon if room.over_time else 1
    idle = np.zeros((world.states + more, world.actions, world.states + more))
    idle[np.arange(world.states, room.states), :, np.arange(world.states, room.states)] = 1
    transition = np.broadcast_to(idle, (steps, *idle.shape)).copy()
    transition[:, : world.states, :, : world.states] = world.transition
    expert = np.zeros((world.horizon, room.states, world.actions))
    expert[..., 0] = 1
    expert[:, : world.states] = problem.expert
    cost = np.zeros((world.horizon, room.states, world.actions))
    cost[:, : world.states] = world.cost
    grown = World(
        transition=transition,
        cost=cost,
        initial=np.pad(world.initial, (0, more)),
        # States that nobody sees look like the last observation that there is room for.
        observation=np.pad(world.observation, (0, more), constant_values=room.observations - 1),
        horizon=world.horizon,
        observations=room.observations,
    )
    return Problem(grown, expert, problem.name)


def widest(names: list[str], room: Sizes, settings: Settings) -> tuple[Sizes, int]:
    """Sizes and horizon that a group is padded to: the largest that its worlds have in this run, which share programs.

    As far as alias tables have as many entries: from others a sampler would draw other states.
    """
    found = [
        (other, horizon)
        for horizon in settings.horizons
        for name in names
        if horizon <= PLACES[name].longest
        and entry_bits((other := sizes(name, horizon, settings.demonstrations)).states) == entry_bits(room.states)
    ]
    return max(other for other, _ in found), max(horizon for _, horizon in found)
