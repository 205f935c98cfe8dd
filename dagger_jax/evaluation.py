"""One verb for every kind of world: `evaluate`, exactly where a world allows it, otherwise with intervals."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key

from dagger_jax import bounds, evidence, intervals, randomness, schedules
from dagger_jax.agents import Function, Policy, Table
from dagger_jax.control.training import Task
from dagger_jax.precision import float64, single
from dagger_jax.runs import Run
from dagger_jax.schedules import training_weights
from dagger_jax.tabular import exact
from dagger_jax.text import walk as text
from dagger_jax.text.pairs import Pair, Writing
from dagger_jax.types import Array, Held, Problem, Schedule
from dagger_jax.walk import Step, Whole, walk


class Result(NamedTuple):
    """What a policy is worth. Of a stack of runs every field has a leading axis."""

    gap: Any  # [] the learner's expected cost above the expert's, summed over an episode
    low: Any  # [] its interval; equal to the gap where that is exact
    high: Any
    exact: bool
    cost: Any  # [] the learner's; of text the expected number of tokens that differ from the expert's
    expert_cost: Any  # []
    error: Any  # [T] the learner's error under the training law; total variation, or the law's own `error`
    agreement: Any  # [T] share that has acted alike since the chunk's start, this step included
    detectability: Any  # [T] T_j: what a detector can know of the chunk before this step
    slack: Mapping[str, Any]  # of every bound that applies: its right-hand side minus what it bounds


def evaluate(
    problem: Problem | Task | Pair,
    run: Run | Any,
    *,
    row: Schedule | None = None,
    episodes: int | None = None,
    key: Key[Array, ""] | None = None,
    confidence: float = 0.95,
) -> Result:
    """How well a policy does, and what the bounds say of it. Pure; tables exactly, other worlds by episodes.

    Args:
      problem: that the run was trained on, or another one of the same sizes.
      run: a `Run`, one or a stack of them from `vmap`; or a policy: an array [L, S, A] for tables, otherwise what
        `Run.policy` is, or a function (observation, step) -> law.
      row: of a schedule, columns [T]: error, agreement and bounds are stated under it. None: the run's own; of a policy
        alone, DAgger's.
      episodes: how many are played; for worlds without an exact twin.
      key: typed, of these episodes; None: `jax.random.key(0)`.
      confidence: of the interval, Student's around the mean of paired episodes.

    Returns:
      Its fields. Inside `jit` or `vmap` tables are computed in the precision that holds there, and without bounds:
      which of them apply is a question of numbers.

    Raises:
      ValueError: a world without an exact twin, and no episodes.
    """
    horizon = problem.horizon if isinstance(problem, Pair) else problem.world.horizon
    if isinstance(run, Run):
        policy, row = run.policy, run.judged if row is None else row
        if np.ndim(run.state.of):
            each = [jax.tree.map(lambda leaf, n=n: leaf[n], (policy, row)) for n in range(run.state.of.shape[0])]
            how = {"episodes": episodes, "key": key, "confidence": confidence}
            return _stacked([evaluate(problem, one, row=judged, **how) for one, judged in each])
    else:
        policy, row = run, schedules.row(schedules.dagger(1, horizon, np.zeros(1)), 0) if row is None else row
    if isinstance(problem, Problem):
        if episodes is not None:
            raise ValueError("tables are evaluated exactly: leave episodes out")
        return _tables(problem, policy.table if isinstance(policy, Table) else policy, row)
    if episodes is None or episodes < 2:
        kind = "texts" if isinstance(problem, Pair) else "control worlds"
        raise ValueError(f"{kind} have no exact twin: give episodes=, at least 2")
    words = randomness.words(jax.random.key(0) if key is None else key)
    return _sampled(problem, policy, row, words, jnp.arange(episodes, dtype=jnp.uint32), confidence)


# ---- tables ----------------------------------------------------------------------------------------------------------


def _tables(problem: Problem, policy: Array, row: Schedule) -> Result:
    known = evidence.constants(problem)
    seen = evidence.measure(problem, policy, row, known)
    agreement, distances = _told(problem, policy, row)
    told = {} if isinstance(seen.gap, jax.core.Tracer) else bounds.slacks(row, seen, known)
    slack = {name: float(value) for name, value in told.items()}
    costs = seen.gap + seen.expert_cost, seen.expert_cost
    return Result(seen.gap, seen.gap, seen.gap, True, *costs, seen.eps, agreement, distances, slack)


@float64
def _told(problem: Problem, policy: Array, row: Schedule) -> tuple[Array, Array]:
    """Agreement, and what a detector knows, of every step. [T] each"""
    laws = exact.play(problem, policy, row)
    return laws.agreement, evidence.distances(row, laws.overlap)


def _stacked(results: list[Result]) -> Result:
    names = {name for each in results for name in each.slack}
    slack = {name: np.array([each.slack.get(name, np.nan) for each in results]) for name in sorted(names)}
    fields = {
        name: [getattr(each, name) for each in results] for name in Result._fields if name not in ("exact", "slack")
    }
    stacked = {name: None if values[0] is None else np.stack(values) for name, values in fields.items()}
    return Result(**stacked, exact=results[0].exact, slack=slack)


# ---- sampled ---------------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What is kept of a step. [B] or []"""

    error: Array
    guide_error: Array
    together: Any
    distance: Array


def _sampled(problem: Any, policy: Any, row: Schedule, key: Any, ids: Array, confidence: float) -> Result:
    world, expert, agent, charged = _parties(problem, policy)
    novice, guide, seen = single(_walked)(Held.of((world, expert, agent)), row, key, ids, charged=charged)
    gap = intervals.mean(np.asarray(novice - guide, float), confidence)
    novice_share, guide_share = (np.asarray(share) for share in training_weights(row))
    error = novice_share * np.asarray(seen.error) + guide_share * np.asarray(seen.guide_error)
    distance = np.asarray(seen.distance)
    # Where nobody acts alike, what a detector knows after the step says how far both are apart; of the last it is not
    # measured.
    unlike = 1 - np.append(distance[1:], np.nan)
    return Result(
        gap=float(gap.value),
        low=float(gap.low),
        high=float(gap.high),
        exact=False,
        cost=float(np.mean(novice)),
        expert_cost=float(np.mean(guide)),
        error=error,
        agreement=unlike if seen.together is None else np.asarray(seen.together),
        detectability=distance,
        slack={},
    )


def _parties(problem: Any, policy: Any) -> tuple[Any, Any, Any, bool]:
    """World, expert, learner; and whether a differing action is the cost."""
    if isinstance(problem, Pair):
        writer = policy.writer if isinstance(policy, Writing) else policy
        world = text.Prefixes(problem.expert.vocabulary, problem.horizon)
        return world, text.Writes(problem.expert), text.Writes(writer), True
    agent = policy.agent if isinstance(policy, Policy) else policy if hasattr(policy, "act") else Function(policy)
    return problem.world, problem.expert, agent, False


@functools.partial(jax.jit, static_argnames=("charged",))
def _walked(held: Held, row: Schedule, key: Any, ids: Array, *, charged: bool) -> tuple[Array, Array, Seen]:
    """Costs of the learner and of the expert alone, paired, [B]; and means of what the row shows, [T]."""
    world, expert, learner = held.tree
    alone = schedules.row(schedules.behavioural_cloning(1, world.horizon), 0)
    far = jax.vmap(lambda own, wanted: own.error(wanted))
    wrong = Whole(lambda step: far(step.own, step.wanted) if charged else ())
    differs, ends = walk(world, expert, learner, alone, key, ids, reduce=wrong)
    novice, guide = (differs.sum(0), jnp.zeros(ids.shape)) if charged else (ends.novice_cost, ends.guide_cost)

    def see(step: Step) -> Seen:
        return Seen(far(step.own, step.wanted), far(step.guide_own, step.guide_wanted), step.together, step.distance)

    shown, _ = walk(world, expert, learner, row, key, ids, watched=True, reduce=Whole(see))
    return novice, guide, jax.tree.map(lambda leaf: leaf.mean(1), shown)
