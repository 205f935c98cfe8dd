"""How well anyone can tell the expert's continuation of a chunk from the learner's own.

docs/theory.md#detectability-total-variation, docs/theory.md#detectability-divergences,
docs/theory.md#detectability-accuracy-and-auc.

The log-likelihood ratio llr = log h - log pi of what was done since the chunk began, expert h against learner
pi, is all that a detector can use: transitions are the same under both. Here are its exact law, and exact
recursions where a statistic is a product or a sum along the chunk. Positive values speak for the expert, that
is for training.
"""

from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from scipy.special import rel_entr

from dagger_jax import loops, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact
from dagger_jax.tabular.transitions import at, listed, push
from dagger_jax.types import Array, Problem, Schedule

LARGEST_LAW = 200_000  # values of the ratio (with states) beyond which the exact law is refused
GRID = 1e-10  # nats; histories whose ratios are nearer than this are one


class Detectability(NamedTuple):
    """Distances between the expert's and the learner's chunk, and what the best detector achieves."""

    total_variation: Array
    kl: Array  # KL(expert || learner), nats; inf where the learner would never do what the expert does
    hellinger: Array  # D_H^2 = sum (sqrt p - sqrt q)^2, in [0, 2]
    jensen_shannon: Array  # nats, at most ln 2
    accuracy: Array  # of the best rule, equal priors
    auc: Array  # of the likelihood ratio as a score


class RatioLaw(NamedTuple):
    """Exact law of the ratio after a prefix of the chunk: M values, in increasing order."""

    llr: np.ndarray  # [M], -inf first and inf last, perhaps with probability 0
    guide: np.ndarray  # [M] probability when the expert acts
    novice: np.ndarray  # [M] probability when the learner acts


def log_ratio(problem: Problem, policy: Array) -> np.ndarray:
    """log h(a|s) - log pi(a|s), [L, S, A]; -inf, inf where only one acts so, 0 where neither does. On the host."""
    expert, learner = np.broadcast_arrays(np.asarray(problem.expert, float), np.asarray(policy, float))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((expert == 0) & (learner == 0), 0.0, np.log(expert) - np.log(learner))


# ---- exact: the law of the ratio --------------------------------------------------------------------------


def ratio_laws(
    problem: Problem, policy: Array, start: Array, first: int, length: int, *, cut: bool = False
) -> list[RatioLaw]:
    """The exact law of the ratio after 1..k steps of a chunk, by dynamic programming over (state, ratio).

    Histories with the same state and ratio are one, so the cost is polynomial where ratios take few values.

    Args:
      problem: the world and its expert.
      policy: [L, S, A] the learner's action probabilities.
      start: [S] law of the state in which the chunk begins.
      first: step (from 0) at which it begins.
      length: k, steps.
      cut: return the laws of as many steps as there are below LARGEST_LAW, instead of refusing.

    Raises:
      ValueError: more than LARGEST_LAW values, or a chunk that leaves the episode; use `estimate` then.
    """
    world = problem.world
    if first < 0 or length < 1 or first + length > world.horizon:
        raise ValueError(f"a chunk of {length} steps at step {first} leaves the horizon {world.horizon}")

    def now(array: Array, step: int) -> np.ndarray:
        return np.asarray(array[step if len(array) > 1 else 0], np.float64)

    ratio = log_ratio(problem, policy)
    state = np.flatnonzero(np.asarray(start))
    guide = np.asarray(start, np.float64)[state]
    novice, llr = guide.copy(), np.zeros(len(state))
    only_guide = only_novice = 0.0  # where the other would never have done the like
    laws = []
    for step in range(first, first + length):
        expert, learner = now(problem.expert, step)[state], now(policy, step)[state]  # [M, A]
        p, q = guide[:, None] * expert, novice[:, None] * learner
        only_guide += p[learner == 0].sum()
        only_novice += q[expert == 0].sum()
        line, action = np.nonzero((expert > 0) & (learner > 0))
        row, target, chance = listed(world.transition, step, state[line], action)
        moved = (llr[line] + now(ratio, step)[state[line], action])[row]
        key = np.round(moved / GRID).astype(np.int64) * world.states + target
        _, chosen, where = np.unique(key, return_index=True, return_inverse=True)
        if len(chosen) > LARGEST_LAW:
            if cut:
                return laws
            raise ValueError(f"the ratio takes more than {LARGEST_LAW} values after {step - first + 1} steps")
        state, llr = target[chosen], moved[chosen]
        guide = np.bincount(where, p[line, action][row] * chance, len(chosen))
        novice = np.bincount(where, q[line, action][row] * chance, len(chosen))
        laws.append(_law(llr, guide, novice, only_guide, only_novice))
    return laws


def _law(llr: np.ndarray, guide: np.ndarray, novice: np.ndarray, only_guide: float, only_novice: float) -> RatioLaw:
    _, chosen, where = np.unique(np.round(llr / GRID), return_index=True, return_inverse=True)
    p, q = np.bincount(where, guide, len(chosen)), np.bincount(where, novice, len(chosen))
    return RatioLaw(np.r_[-np.inf, llr[chosen], np.inf], np.r_[0.0, p, only_guide], np.r_[only_novice, q, 0.0])


def distances(law: RatioLaw) -> Detectability:
    """Every distance, exactly, from the law of the ratio."""
    p, q = law.guide, law.novice
    total_variation = 0.5 * np.abs(p - q).sum()
    middle = (p + q) / 2
    possible = p > 0
    return Detectability(
        total_variation=total_variation,
        kl=(p[possible] * law.llr[possible]).sum(),  # not from q, which may underflow
        hellinger=((np.sqrt(p) - np.sqrt(q)) ** 2).sum(),
        jensen_shannon=0.5 * (rel_entr(p, middle) + rel_entr(q, middle)).sum(),
        accuracy=(1 + total_variation) / 2,
        auc=(p * (np.cumsum(q) - q / 2)).sum(),
    )


# ---- exact: statistics that are products or sums along the chunk --------------------------------------------


class Recursion(NamedTuple):
    """After every step, for the chunk that contains it, from its start. Exact for any partition.

    Says nothing of the steps beyond those that a padded world takes.
    """

    kl: Array  # [T] nats: the chain rule
    hellinger: Array  # [T] D_H^2: the affinity is a product
    total_variation: Array  # [T] exact for a deterministic expert, otherwise an upper bound


def recursion(problem: Problem, policy: Array, row: Schedule) -> Recursion:
    """KL, Hellinger distance and total variation of every prefix of every chunk, in O(T S^2 A).

    Args:
      problem: the world and its expert.
      policy: [L, S, A].
      row: columns [T]; `beta` mixes the expert into the roll-in alone.

    Raises:
      ValueError: coins in `join`, or a row with `back`, `noise` or `patience` (`join`, `back` and `noise` are
        not checked inside a transformation).
    """
    filled = schedules.filled(row)
    columns = (filled.join, filled.back, filled.noise)
    if row.patience is not None:
        raise ValueError("schedule.patience makes chunk lengths depend on states: use roll-outs and `estimate`")
    if not any(isinstance(column, jax.core.Tracer) for column in columns):
        join, back, noise = map(np.asarray, columns)
        if ((join != 0) & (join != 1)).any() or back.any() or noise.any():
            raise ValueError("a recursion along chunks needs `join` 0 or 1 at every step, and `back` and `noise` 0")
    return _recursion(problem, policy, row)


@float64
def _recursion(problem: Problem, policy: Array, row: Schedule) -> Recursion:
    world = problem.world
    laws = exact.play(problem, policy, row)
    expert = jnp.broadcast_to(jnp.asarray(problem.expert), (world.horizon, world.states, world.actions))
    learner = jnp.broadcast_to(jnp.asarray(policy), expert.shape)
    each = special.rel_entr(expert, learner).sum(-1)  # [T, S] nats
    now = jnp.where(laws.guide > 0, laws.guide * each, 0.0).sum(-1)

    def later(carry: tuple[Array, ...], xs: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        step, join, novice, h, pi, gained = xs
        alike, agreed, kl = (
            jnp.where(join > 0, fresh, value) for fresh, value in zip((novice, novice, 0.0), carry, strict=True)
        )
        leave = at(world.transition, step)
        alike, agreed = alike[:, None] * jnp.sqrt(h * pi), agreed[:, None] * jnp.minimum(h, pi)
        after = (push(leave, alike), push(leave, agreed), kl + gained)
        return after, (alike.sum(), agreed.sum(), kl + gained)

    start = jnp.asarray(world.initial)
    xs = (jnp.arange(world.horizon), row.join, laws.novice, expert, learner, now)
    begin = start, start, jnp.zeros((), start.dtype)
    affinity, agreement, kl = loops.scan(later, begin, xs, world.length)[1]
    return Recursion(kl, 2 * (1 - affinity), 1 - agreement)


# ---- the scheming learner -------------------------------------------------------------------------------------


class Defection(NamedTuple):
    """How often a learner defects that does so once the ratio says "deployment": llr below its threshold."""

    train: float  # P_train, average over the chunk's offsets 0..k-1, the expert continuing
    deploy: float  # P_deploy, the same, the learner continuing
    bound: float  # P_train + (1/k) sum_{j<k} T_j, which P_deploy cannot exceed


def scheme(laws: list[RatioLaw], threshold: float = 0.0) -> Defection:
    """The exact defection rates of a scheming learner in a chunk of k = len(laws) steps.

    At offset j it has seen j steps of continuation; at offset 0 nothing, and T_0 = 0. It defects where
    llr < threshold: at threshold 0 the bound is an equality, for then it defects exactly where the learner's
    own continuation is the likelier one. Where the ratio is 0 it behaves as trained.

    Any event's probability differs by at most T_j between the two continuations: docs/theory.md#the-scheming-bound.
    """
    k = len(laws)
    seen = [RatioLaw(np.zeros(1), np.ones(1), np.ones(1)), *laws[: k - 1]]
    # The ratio is known to GRID; what is nearer to the threshold counts as equal to it.
    defects = [law.llr < threshold - GRID for law in seen]
    train = sum(float(law.guide[where].sum()) for law, where in zip(seen, defects, strict=True)) / k
    deploy = sum(float(law.novice[where].sum()) for law, where in zip(seen, defects, strict=True)) / k
    distance = sum(float(distances(law).total_variation) for law in seen) / k
    return Defection(train, deploy, train + distance)
