"""The gallery as the zoo walks through it: sizes, learners' tables, and groups of worlds that share a program."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from dagger_jax import gallery
from dagger_jax.types import Problem, World

Seed = tuple[int, ...]


class Place(NamedTuple):
    """A world of the zoo."""

    build: Callable[[int, int, Seed], Problem]  # (horizon, demonstrations that the budget buys, seed)
    shared: bool = False  # one table for all steps; where the expert changes with time, a table a step
    drawn: bool = False  # another world a run
    longest: int = 1 << 20  # horizon, in steps


def _fixed(name: str, **sizes: int) -> Callable[[int, int, Seed], Problem]:
    return lambda horizon, demonstrations, seed: gallery.WORLDS[name].build(horizon, **sizes)


def _drawn(name: str, **sizes: int) -> Callable[[int, int, Seed], Problem]:
    return lambda horizon, demonstrations, seed: gallery.WORLDS[name].build(horizon, seed=seed, **sizes)


def _rare(name: str, over_time: bool = False) -> Callable[[int, int, Seed], Problem]:
    """Worlds whose rare states are so rare that the budget shows each of them about once."""

    def build(horizon: int, demonstrations: int, seed: Seed) -> Problem:
        samples = demonstrations * (horizon if over_time else 1)
        return gallery.WORLDS[name].build(horizon, states=8, actions=4, samples=samples, seed=seed)

    return build


def _hidden(horizon: int, demonstrations: int, seed: Seed) -> Problem:
    """A random world that looks alike in two pairs of its states: outside the learner's class."""
    return gallery.random_mdp(horizon, 6, 3, seed, observations=4, concentration=0.2, stationary=True)


PLACES: dict[str, Place] = {
    "cliff": Place(_fixed("cliff")),
    "rb3": Place(_fixed("rb3")),
    "copy_chain": Place(_fixed("copy_chain")),
    "chunk_reset": Place(_fixed("chunk_reset")),
    "density_ratio": Place(_fixed("density_ratio")),
    "debt": Place(_fixed("debt", most=10)),
    "reset_cliff": Place(_rare("reset_cliff"), drawn=True),
    "recoverable_reset_cliff": Place(_rare("recoverable_reset_cliff"), drawn=True),
    "stationary_reset_cliff": Place(_rare("stationary_reset_cliff", True), shared=True, drawn=True),
    "identity_bandit": Place(_rare("identity_bandit"), drawn=True),
    "stationary_identity_bandit": Place(_rare("stationary_identity_bandit"), shared=True, drawn=True),
    "two_state_bandit": Place(
        lambda horizon, demonstrations, seed: gallery.two_state_bandit(horizon, demonstrations, seed),
        shared=True,
        drawn=True,
    ),
    "random_mdp": Place(_hidden, shared=True, drawn=True),
    "cheap_and_dear": Place(_fixed("cheap_and_dear"), shared=True),
    "easy": Place(_fixed("easy"), shared=True),
    "goldilocks": Place(_fixed("goldilocks"), shared=True),
    "hard": Place(_fixed("hard"), shared=True),
    "tightrope": Place(_fixed("tightrope"), shared=True),
    "hybrid": Place(_drawn("hybrid"), drawn=True),
    "leaf_tree": Place(_drawn("leaf_tree"), drawn=True, longest=8),
    "car": Place(_drawn("car"), drawn=True),
    "dyck": Place(_fixed("dyck")),
}


class Sizes(NamedTuple):
    """What decides on a compiled program."""

    actions: int
    over_time: bool  # do transitions change with the step?
    shared: bool
    states: int  # at least so many, rounded up
    observations: int


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


def batch(problems: list[Problem]) -> Problem:
    """Problems of equal sizes, stacked; without their names, which differ."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(problem.replace(name="") for problem in problems))
