"""Long tasks with one verdict at the end: a road with obstacles, and words of brackets."""

import itertools

import numpy as np

from dagger_jax.tabular import experts
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.gallery.parts import leads_to
from dagger_jax.types import Problem

MOST_STACKS = 2000  # a transition table has the square of it, times actions


def car(
    horizon: int,
    lanes: int = 3,
    view: int = 2,
    density: float = 0.3,
    seed: int | tuple[int, ...] = 0,
) -> Problem:
    """A road with obstacles and a short view: one collision ends it, the goal is all that counts.

    States: lane + lanes x column, columns 0..T, and crashed (last). Start: middle lane, column 0. Actions keep,
    left, right (0, 1, 2) move on by one column; beyond the road's edge a car keeps its lane. It collides where it
    lands on an obstacle, and stays crashed. Obstacles have probability `density` each, drawn by seed; one path is
    kept free. Cost 1, once, at step T, unless the car reaches column T (a return of R = 1). The learner sees its
    lane and the obstacles in the next `view` columns, or that it has crashed. The expert sees the state and is
    optimal (lowest action at ties). Whether it is in the learner's class depends on the view: one of T columns is
    enough, a shorter one hides dead ends (of 3 lanes and the default density, a view of 1 on long roads; 2 see
    nearly all). u <= 1 and D <= 1; both are 0 or 1.

    There is no closed form: the gap is the probability of a collision. After the Car of Foster, Block and Misra
    (arXiv 2407.15007; docs/theory.md#log-loss); the law of obstacles is ours.
    """
    if lanes < 2 or view < 0 or not 0 <= density < 1:
        raise ValueError(
            f"car needs lanes >= 2, view >= 0 and 0 <= density < 1, got lanes = {lanes}, view = {view}, "
            f"density = {density}"
        )
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 step, got {horizon}")
    road = car_road(horizon, lanes, density, seed)
    crashed = road.size
    lands = np.clip(np.arange(lanes)[:, None] + np.array([0, -1, 1]), 0, lanes - 1)
    targets = np.full((crashed + 1, 3), crashed)
    ahead = np.arange(1, horizon + 1)[:, None, None]
    targets[: horizon * lanes] = np.where(road[1:][:, lands], crashed, ahead * lanes + lands).reshape(-1, 3)
    targets[horizon * lanes : crashed] = np.arange(horizon * lanes, crashed)[:, None]
    costs = np.zeros((horizon, *targets.shape))
    costs[-1] = targets // lanes != horizon
    padded = np.concatenate([road[1:], np.zeros((view + 1, lanes), bool)])
    seen = np.full((crashed + 1, 1 + view * lanes), lanes)
    for state in range(crashed):
        column, lane = divmod(state, lanes)
        seen[state] = lane, *padded[column : column + view].reshape(-1)
    observation = np.unique(seen, axis=0, return_inverse=True)[1].reshape(-1)
    world = tabular.world(leads_to(targets), costs, np.eye(crashed + 1)[lanes // 2], horizon, observation)
    return Problem(world, experts.optimal(world), "car")


def car_road(horizon: int, lanes: int = 3, density: float = 0.3, seed: int | tuple[int, ...] = 0) -> np.ndarray:
    """Where the obstacles of `car` are: none in column 0, and one path free to the end. [T + 1, lanes] bool"""
    rng = np.random.default_rng(seed)
    road = rng.random((horizon + 1, lanes)) < density
    road[0] = False
    lane = lanes // 2
    for column, move in enumerate(rng.integers(-1, 2, horizon), start=1):
        lane = np.clip(lane + move, 0, lanes - 1)
        road[column, lane] = False
    return road


def dyck(horizon: int, kinds: int = 2, depth: int = 3, *, deterministic: bool = False) -> Problem:
    """Words of balanced brackets: every mistake shows in the end, and counts once: u = 1.

    States: the stacks of open brackets, of height 0..depth, in order of height (start: the empty one, 0), and
    failed (last). Actions: open a bracket of kind 0..kinds-1, close one of kind 0..kinds-1, in this order. Closing
    what is not on top, or opening above the depth, fails for ever. The word has T steps; where T is odd it has
    T - 1, and step T is free. Cost 1, once, at the word's last step, unless the stack is then empty. The expert is
    uniform over all actions after which the word can still be balanced in time, and its cost is 0; where there
    is none (failed, or too many brackets open) and in the free step it takes action 0. `deterministic`: the
    lowest such action. It depends on the step, not on the stack alone. D = 1, and 0 when the word is over. Closed
    form, for a uniform learner: `dyck_gap`.

    After the Dyck words of Foster, Block and Misra (arXiv 2407.15007; docs/theory.md#log-loss); the depth is ours, to
    keep states few.
    """
    stacks = sum(kinds**height for height in range(depth + 1)) if min(kinds, depth) >= 1 else 0
    if not 1 <= stacks <= MOST_STACKS:
        raise ValueError(
            f"dyck needs kinds >= 1, depth >= 1 and at most {MOST_STACKS} stacks of open brackets, got "
            f"kinds = {kinds}, depth = {depth}"
        )
    if horizon < 2:
        raise ValueError(f"dyck needs a horizon of at least 2 steps, one word, got {horizon}")
    words = [word for height in range(depth + 1) for word in itertools.product(range(kinds), repeat=height)]
    index = {word: state for state, word in enumerate(words)}
    targets = np.full((stacks + 1, 2 * kinds), stacks)
    for word, state in index.items():
        targets[state, :kinds] = [index.get((*word, kind), stacks) for kind in range(kinds)]
        if word:
            targets[state, kinds + word[-1]] = index[word[:-1]]
    length = horizon - horizon % 2
    costs = np.zeros((horizon, *targets.shape))
    costs[length - 1] = targets != 0
    height = np.array([*map(len, words), horizon + 1])  # failed: too high to come down in time
    spare = length - 1 - np.arange(horizon)[:, None] - height
    allowed = ((spare >= 0) & (spare % 2 == 0))[:, targets]
    allowed[..., 0] |= ~allowed.any(-1)
    expert = np.eye(2 * kinds)[allowed.argmax(-1)] if deterministic else allowed / allowed.sum(-1, keepdims=True)
    world = tabular.world(leads_to(targets), costs, np.eye(stacks + 1)[0], horizon)
    return Problem(world, expert, "dyck")


def dyck_gap(horizon: int, kinds: int = 2, depth: int = 3) -> float:
    """1 - (balanced words) / (2 kinds)^length, for a learner that takes every action alike.

    It opens with probability 1/2 and closes rightly with 1 / (2 kinds), so the heights are a chain.
    """
    law = np.eye(depth + 1)[0]
    for _ in range(horizon - horizon % 2):
        law = np.append(0, law[:-1] / 2) + np.append(law[1:] / (2 * kinds), 0)
    return float(1 - law[0])
