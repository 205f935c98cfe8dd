"""Imitation with known transitions: Mimic-MD and replay estimation, by linear programming. On the host, in float64.

Half of the demonstrations, D1, says what the expert does where it was seen: there runs can be followed without it, by
the world's own transitions. The other half, D2, counts the runs that leave those states. Together they estimate the
expert's occupancy, P(s_t = s, a_t = a), without bias for a deterministic expert; the policy is the one whose occupancy
is nearest, in L1 distance summed over the steps. Proofs: docs/theory.md#known-transitions;
the rates are `bounds.statistics.mimic_md_order`.

Why a linear program and not a no-regret game between a discriminator and a policy under jit: occupancies of a tabular
world are a polytope, so the minimiser is exact, with nothing to choose and no number of rounds, and a solve takes
milliseconds (T = 32, S = 8, A = 4). The game is preferable where there is no such list of unknowns: for function
approximation, for S A T beyond some 10^5, or for many replicas at once on an accelerator.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from dagger_jax import checks
from dagger_jax.tabular.transitions import dense
from dagger_jax.types import Array, Trace, World


class Demonstrations(NamedTuple):
    """Runs of the expert alone: N trajectories."""

    states: np.ndarray  # [T, N] int
    actions: np.ndarray  # [T, N] int, what it intended


class Matched(NamedTuple):
    """A policy by its occupancy."""

    policy: np.ndarray  # [T, S, A], uniform where the occupancy has no mass
    occupancy: np.ndarray  # [T, S, A] P(s_t = s, a_t = a), sums to 1 at each step
    target: np.ndarray  # [T, S, A] what it was matched to
    distance: float  # sum over steps of the L1 distance, in [0, 2 T]


def demonstrations(trace: Trace) -> Demonstrations:
    """The guide's runs of `rollout.trace`, to be played by a row of behavioural cloning.

    Raises:
      ValueError: the trace of a novice alone, or one whose guide did not walk alone from the start.
    """
    if trace.guide is None or trace.intended is None or trace.joined is None:
        raise ValueError("a demonstration is the guide's run, but the novice walked alone: sample with alone=False")
    joined = np.asarray(trace.joined)
    if joined[1:].any():
        raise ValueError(
            f"the guide jumped to the novice's state at step {joined[1:].any(1).argmax() + 1}: not its run"
        )
    return Demonstrations(np.asarray(trace.guide), np.asarray(trace.intended))


def counts(world: World, data: Demonstrations) -> np.ndarray:
    """How often the expert did what where. [T, S, A]"""
    shape = (world.horizon, world.states, world.actions)
    step = np.broadcast_to(np.arange(world.horizon)[:, None], data.states.shape)
    codes = np.ravel_multi_index((step, data.states, data.actions), shape)
    return np.bincount(codes.ravel(), minlength=np.prod(shape)).reshape(shape).astype(float)


def clone(world: World, data: Demonstrations) -> np.ndarray:
    """Tabular behavioural cloning: the frequencies of its actions, uniform where it was never seen. [T, S, A]"""
    return _normalised(counts(world, _checked(world, data)))


def mimic_md(world: World, data: Demonstrations) -> Matched:
    """Mimic-MD (Rajaraman et al. 2020, arXiv 2009.05990): known transitions, deterministic expert.

    A state is known at a step where D1 shows one action alone; that is what the estimate uses. The policy takes the
    one action that either half shows, and elsewhere what brings its occupancy nearest to the estimate. (The paper's
    class mimics D1 alone; the expert is in the smaller class too, which is all that its proof needs.)

    For an expert that draws its action: where D1 shows two actions at a step and state, the state does not count as
    known, and D2's frequencies, which are without bias for every expert, speak for the runs through it. Where D1
    happens to show one of several, the estimate is biased: the method is for deterministic experts.

    Args:
      world: costs are not read.
      data: of at least 2 trajectories; the first half is D1.

    Raises:
      ValueError: in which trajectory and step the data are no run of this world.
    """
    data = _checked(world, data)
    first, second = _halves(data)
    seen = counts(world, first)
    known = (seen > 0).sum(-1) == 1
    target = stays(world, _normalised(seen), known) + _left(world, second, known)
    return match(world, target, _mimicking(world, data))


def replay(
    world: World,
    data: Demonstrations,
    rollouts: int | None = None,
    softness: float = 0.0,
    *,
    mimicking: bool = False,
    seed: int = 0,
) -> Matched:
    """Replay estimation (Swamy et al. 2022, arXiv 2205.15397): the cloned policy's runs, weighted by where it is known.

    A run counts at step t with the product of the memberships of its states so far. Membership is n / (n + softness)
    in a state that D1 shows n times at the step: hard (0 or 1) at softness 0, soft above. What the product takes away
    is counted on D2. Hard, mimicking and with all runs it is Mimic-MD, for an expert that is deterministic where it
    was seen.

    Args:
      world: costs are not read.
      data: of at least 2 trajectories; the first half is D1.
      rollouts: m simulated runs of the policy cloned from D1; None: all of them, by exact forward recursion.
      softness: in demonstrations, at least 0.
      mimicking: match with the policies that take the one action that either half shows, as `mimic_md` does; it loses
        less on worlds that mix. False: with any policy, as published.
      seed: of the simulation.

    Raises:
      ValueError: in which trajectory and step the data are no run of this world; `rollouts` or `softness` out of range.
    """
    if not (np.isfinite(softness) and softness >= 0):
        raise ValueError(f"softness must be a finite number of demonstrations, at least 0, got {softness}")
    if rollouts is not None and rollouts < 1:
        raise ValueError(f"rollouts must be at least 1, or None for exact occupancies, got {rollouts}")
    data = _checked(world, data)
    first, second = _halves(data)
    seen = counts(world, first)
    times = seen.sum(-1)
    membership = np.divide(times, times + softness, out=np.zeros_like(times), where=times > 0)
    law = _normalised(seen)
    if rollouts is None:
        kept = stays(world, law, membership)
    else:
        runs = simulate(world, law, rollouts, np.random.default_rng(seed))
        kept = _weighted(world, runs, _product(membership, runs))
    target = kept + _left(world, second, membership)
    return match(world, target, _mimicking(world, data) if mimicking else None)


def stays(world: World, policy: np.ndarray, membership: np.ndarray) -> np.ndarray:
    """Occupancy [T, S, A] of a policy's runs, each weighted by the product of its states' memberships [T, S] so far."""
    transition = _over_time(world)
    here, kept = np.asarray(world.initial, float), np.zeros(policy.shape)
    for step in range(world.horizon):
        kept[step] = (here * membership[step])[:, None] * policy[step]
        here = kept[step].ravel() @ transition[step].reshape(-1, world.states)
    return kept


def simulate(world: World, policy: np.ndarray, runs: int, rng: np.random.Generator) -> Demonstrations:
    """Runs of a policy [T, S, A] in the world, all at once."""
    transition = _over_time(world).cumsum(-1)
    cumulative = policy.cumsum(-1)

    def draw(laws: np.ndarray) -> np.ndarray:
        # Normalised by its own last entry: sums may miss 1 by rounding.
        return (rng.random((len(laws), 1)) * laws[:, -1:] >= laws).sum(-1)

    states, actions = np.zeros((2, world.horizon, runs), int)
    here = draw(np.broadcast_to(np.asarray(world.initial, float).cumsum(), (runs, world.states)))
    for step in range(world.horizon):
        states[step], actions[step] = here, draw(cumulative[step, here])
        here = draw(transition[step, here, actions[step]])
    return Demonstrations(states, actions)


def match(world: World, target: Array, allowed: Array | None = None) -> Matched:
    """The policy whose occupancy is nearest to a target, in L1 distance summed over the steps.

    Occupancies sum to 1 at a step, so the distance is T + sum target - 2 x overlap, where overlap = sum min(occupancy,
    target). HiGHS maximises it over occupancy = matched + rest, 0 <= matched <= target, 0 <= rest, whose flow the world
    conserves.

    Args:
      world: costs are not read.
      target: [T, S, A], at least 0.
      allowed: [T, S, A] bool, actions that the policy may take, at least one everywhere; None: all.

    Raises:
      ValueError: a target of another shape or with negative entries, or states without an allowed action.
      RuntimeError: where the solver fails.
    """
    shape = (world.horizon, world.states, world.actions)
    target = np.asarray(target, float)
    allowed = np.ones(shape, bool) if allowed is None else np.asarray(allowed, bool)
    if target.shape != shape or (target < 0).any():
        raise ValueError(f"target must be an occupancy [T, S, A] = {list(shape)}, at least 0, got {list(target.shape)}")
    if allowed.shape != shape or not allowed.any(-1).all():
        raise ValueError(f"allowed must leave an action at every step and state, as [T, S, A] = {list(shape)}")
    flow = _conserved(world)
    rest, matched = np.flatnonzero(allowed), np.flatnonzero(allowed & (target > 0))
    begins = np.zeros(world.horizon * world.states)
    begins[: world.states] = world.initial
    solved = linprog(
        c=np.r_[np.zeros(len(rest)), -np.ones(len(matched))],
        A_eq=sparse.hstack([flow[:, rest], flow[:, matched]], format="csc"),
        b_eq=begins,
        bounds=np.c_[np.zeros(len(rest) + len(matched)), np.r_[np.full(len(rest), np.inf), target.ravel()[matched]]],
        method="highs-ipm",
    )
    if solved.status != 0:
        raise RuntimeError(f"the solver found no occupancy: {solved.message}")
    occupancy = np.zeros(target.size)
    np.add.at(occupancy, np.r_[rest, matched], np.maximum(solved.x, 0.0))
    # The solver conserves the flow to 1e-7 or so; the policy's own occupancy does so exactly.
    policy = np.where(allowed, occupancy.reshape(shape), 0.0)
    total = policy.sum(-1, keepdims=True)
    some = allowed / allowed.sum(-1, keepdims=True)
    policy = np.where(total > 1e-12, policy / np.where(total > 1e-12, total, 1.0), some)
    occupancy = stays(world, policy, np.ones(shape[:2]))
    return Matched(policy, occupancy, target, float(np.abs(occupancy - target).sum()))


# ---- parts -----------------------------------------------------------------------------------------------------


def _over_time(world: World) -> np.ndarray:
    transition = dense(world.transition)
    return np.broadcast_to(transition, (world.horizon, *transition.shape[1:]))


def _conserved(world: World) -> sparse.csc_array:
    """[T S, T S A]: what is in a state at a step, minus what comes there from the step before."""
    horizon, states, actions = world.horizon, world.states, world.actions
    inside = sparse.kron(sparse.eye_array(horizon * states), np.ones((1, actions)), format="csc")
    # An entry (t, s, a) -> (t + 1, s') for every possible move.
    step, state, action, follows = np.nonzero(_over_time(world)[:-1])
    chance = _over_time(world)[step, state, action, follows]
    column = np.ravel_multi_index((step, state, action), (horizon, states, actions))
    comes = sparse.csc_array((chance, ((step + 1) * states + follows, column)), shape=inside.shape)
    return sparse.csc_array(inside - comes)


def _normalised(seen: np.ndarray) -> np.ndarray:
    """Frequencies, uniform where nothing was seen."""
    total = seen.sum(-1, keepdims=True)
    return np.where(total > 0, seen / np.where(total > 0, total, 1.0), 1.0 / seen.shape[-1])


def _halves(data: Demonstrations) -> tuple[Demonstrations, Demonstrations]:
    count = data.states.shape[1]
    if count < 2:
        raise ValueError(f"known dynamics needs at least 2 demonstrations, one for each half, got {count}")
    half = (count + 1) // 2
    return Demonstrations(*(part[:, :half] for part in data)), Demonstrations(*(part[:, half:] for part in data))


def _mimicking(world: World, data: Demonstrations) -> np.ndarray:
    """Actions [T, S, A] that policies may take which do what the data show, where they show one action."""
    seen = counts(world, data) > 0
    return seen | (seen.sum(-1, keepdims=True) != 1)


def _product(membership: np.ndarray, data: Demonstrations) -> np.ndarray:
    """Product of the memberships of each run's states so far. [T, N]"""
    return np.take_along_axis(membership.astype(float), data.states, 1).cumprod(0)


def _weighted(world: World, data: Demonstrations, weight: np.ndarray) -> np.ndarray:
    """Frequencies [T, S, A] of weighted visits, weight [T, N]."""
    seen = np.zeros((world.horizon, world.states, world.actions))
    np.add.at(seen, (np.arange(world.horizon)[:, None], data.states, data.actions), weight)
    return seen / data.states.shape[1]


def _left(world: World, data: Demonstrations, membership: np.ndarray) -> np.ndarray:
    """Occupancy [T, S, A] of the runs that have left, by their frequencies."""
    return _weighted(world, data, 1 - _product(membership, data))


def _checked(world: World, data: Demonstrations) -> Demonstrations:
    """The data as integers, if they are runs of this world."""
    states, actions = (np.asarray(part) for part in data)
    if states.ndim != 2 or states.shape != actions.shape or states.shape[0] != world.horizon or not states.size:
        raise ValueError(
            f"demonstrations must be states and actions [T, N] with T = {world.horizon}, "
            f"got {list(states.shape)} and {list(actions.shape)}"
        )
    for name, part, most in (("state", states, world.states), ("action", actions, world.actions)):
        if not np.issubdtype(part.dtype, np.integer):
            raise ValueError(f"demonstrations hold numbers of {name}s, integers, got {part.dtype}")
        if bad := checks.first((part < 0) | (part >= most)):
            step, run = bad
            raise ValueError(f"demonstration {run} has {name} {part[step, run]} at step {step}: there are {most}")
    if bad := np.flatnonzero(np.asarray(world.initial)[states[0]] == 0).tolist():
        raise ValueError(f"demonstration {bad[0]} starts in state {states[0, bad[0]]}, where no episode starts")
    before = np.arange(world.horizon - 1)[:, None]
    chance = _over_time(world)[before, states[:-1], actions[:-1], states[1:]]
    if bad := checks.first(chance == 0):
        step, run = bad
        raise ValueError(
            f"demonstration {run} goes from state {states[step, run]} by action {actions[step, run]} to state "
            f"{states[step + 1, run]} at step {step}, which the world never does"
        )
    return Demonstrations(states, actions)
