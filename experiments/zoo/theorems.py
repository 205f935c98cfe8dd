"""Each algorithm's own theorem, checked against exactly measured policies: u T eta where none is published."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import bounds, evidence
from dagger_jax.bounds import costs, mixtures, statistics
from dagger_jax.precision import float64
from dagger_jax.tabular import exact
from dagger_jax.types import Array, Problem, Schedule

from ..shared import study
from .known import ROWS

Pair = tuple[Array, Array]  # a right-hand side, and what it bounds


class Theorem(NamedTuple):
    """What a theorem says, of all rounds' policies or of one."""

    name: str
    source: str
    rounds: bool = False
    tolerance: float = 1e-9  # of float64 sums of this size


FLOAT32 = 1e-5  # of sums of T products where a schedule's columns, made in float32, are factors
# What the zoo evaluates, by their keys in `bounds.BOUNDS`.
THEOREMS: Mapping[str, Theorem] = {
    "DAgger 4.1, sharper": Theorem("4.1: least own loss", "Ross, Gordon and Bagnell 2011, Theorem 4.1", True),
    "SMILe, sharper": Theorem("SMILe, sharper", "Ross and Bagnell 2010, Theorem 4.1, derived here", True, FLOAT32),
    "SEARN, sharper": Theorem("SEARN, sharper", "Daume, Langford and Marcu 2009, derived here", True, FLOAT32),
    "AggreVaTe, sharper": Theorem("AggreVaTe 2.1: mean gap", "Ross and Bagnell 2014, Theorem 2.1", True),
    "NRPI, any comparator": Theorem("NRPI: mean gap", "Ross and Bagnell 2014, section 3", True),
    "DART, coupled": Theorem("DART: |J - J(noisy expert)|", "Laskey et al. 2017, arXiv 1703.09327"),
    "R D_H": Theorem("R D_H", "Foster, Block and Misra 2024, arXiv 2407.15007"),
    "u C T eps": Theorem("u C T eps", "Spencer et al. 2021, arXiv 2102.02872, derived here"),
}


def theorem(name: str) -> Theorem:
    """An algorithm's own, or the one of `bounds.BOUNDS` that its row names."""
    row = ROWS[name]
    if row.theorem:
        return THEOREMS[row.theorem]
    key = "u T eta" if row.bound == "cost to go" else row.bound  # an equality would say nothing
    return Theorem(key, bounds.BOUNDS[key].source)


def _pair(key: str, seen: Any, *numbers: Any) -> dict[str, Pair]:
    """Both sides of a theorem, by its name in the zoo."""
    bound = bounds.BOUNDS[key]
    return {THEOREMS[key].name: (bound.value(seen, *numbers), bound.bounded(seen))}


@float64
def of_one(problems: Problem, policies: Array, rows: Schedule, noise: Array) -> tuple[Array, dict[str, Pair]]:
    """Gap of each policy [R, L, S, A] under its row [R, T], and every theorem about one policy. One program for all.

    `noise` [R, T] is DART's, in the round that the policy was fitted to.
    """

    def one(problem: Problem, policy: Array, row: Schedule, noise: Array) -> tuple[Array, dict[str, Pair]]:
        known = evidence.constants(problem)
        seen = evidence.measure(problem, policy, row, known)
        apart = costs.departure(problem, policy, noise)
        ratio = statistics.largest_ratio(problem, policy)
        return seen.gap, {
            **{
                name: (seen.gap + bounds.slack(bound, row, seen, known), seen.gap)
                for name, bound in bounds.of_rows().items()
            },
            **_pair("DART, coupled", apart, problem.world.steps),
            **_pair("R D_H", statistics.trajectories(problem, policy)),
            **_pair("u C T eps", seen, known, ratio),
        }

    return jax.vmap(one, (study.over(problems), 0, 0, 0))(problems, policies, rows, noise)


@float64
def of_rounds(
    problems: Problem, played: Array, newest: Array, betas: Array, shares: Array, outputs: Array
) -> dict[str, Pair]:
    """Every theorem about all rounds, [R] each.

    Args:
      problems: [R], stacked.
      played: [R, N, L, S, A] the policy, or the mixture without the expert, of each round.
      newest: [R, N, L, S, A] fitted to it.
      betas: [R, N] the expert's share of the roll-in.
      shares: [R] SMILe's alpha, SEARN's beta.
      outputs: [R, L, S, A] after all rounds.
    """

    def one(
        problem: Problem, played: Array, newest: Array, beta: Array, share: Array, output: Array
    ) -> dict[str, Pair]:
        steps, wrong = problem.world.steps, 1 - jnp.asarray(problem.expert)

        def loss(policy: Array, beta: Array) -> tuple[Array, Array]:
            each = (policy * wrong).sum(-1)
            rolled = exact.deploy(problem, beta * problem.expert + (1 - beta) * policy).novice
            return (rolled * each).sum() / steps, (exact.deploy(problem, policy).novice * each).sum() / steps

        mixed = mixtures.mixture(problem, played, newest, beta, output)
        to_go = costs.cost_to_go(problem, played, beta)
        law = exact.deploy(problem, problem.expert).novice  # NRPI's exploration, in this row of the zoo
        improved = costs.improvement(problem, played, problem.expert, law)
        terms = bounds.no_regret(*jax.vmap(loss)(played, beta), jnp.zeros(()), beta, steps)
        return {
            **_pair("DAgger 4.1, sharper", terms),
            **_pair("SMILe, sharper", mixed, share),
            **_pair("SEARN, sharper", mixed, share),
            **_pair("AggreVaTe, sharper", to_go, beta, steps),
            **_pair("NRPI, any comparator", improved),
        }

    axes = study.over(problems), 0, 0, 0, 0, 0
    return jax.vmap(one, axes)(problems, played, newest, betas, shares, outputs)
