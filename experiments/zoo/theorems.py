"""Each algorithm's own theorem, checked against exactly measured policies: u T eta where none is published."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import bounds, evidence, exact
from dagger_jax.bounds import costs, mixtures, statistics
from dagger_jax.precision import exact as precisely
from dagger_jax.types import Array, Problem, Schedule

from .known import ROWS

Pair = tuple[Array, Array]  # a right-hand side, and what it bounds


class Theorem(NamedTuple):
    """What a theorem says, of all rounds' policies or of one."""

    name: str
    source: str
    rounds: bool = False
    tolerance: float = 1e-9  # of float64 sums of this size


FLOAT32 = 1e-5  # of sums of T products where a schedule's columns, made in float32, are factors
DAGGER = Theorem("4.1: least own loss", "Ross, Gordon and Bagnell 2011, Theorem 4.1; docs/theory.md#dagger", True)
SMILE = Theorem("SMILe, sharper", "Ross and Bagnell 2010, Theorem 4.1; docs/theory.md#smile", True, FLOAT32)
SEARN = Theorem("SEARN, sharper", "Daume, Langford and Marcu 2009; docs/theory.md#searn", True, FLOAT32)
AGGREVATE = Theorem("AggreVaTe 2.1: mean gap", "Ross and Bagnell 2014, Theorem 2.1; docs/theory.md#aggrevate", True)
NRPI = Theorem("NRPI: mean gap", "Ross and Bagnell 2014, section 3; docs/theory.md#nrpi", True)
DART = Theorem("DART: |J - J(noisy expert)|", "Laskey et al. 2017, arXiv 1703.09327; docs/theory.md#dart")
LOG_LOSS = Theorem("R D_H", "Foster, Block and Misra 2024, arXiv 2407.15007; docs/theory.md#log-loss")
RATIO = Theorem("u C T eps", "Spencer et al. 2021, arXiv 2102.02872; docs/theory.md#density-ratios")

OWN: Mapping[str, Theorem] = {
    **dict.fromkeys(
        (
            "dagger",
            "dagger_best",
            "dagger_mixture",
            "regularised_dagger",
            "log_loss_dagger",
            "descent_dagger",
            "hedge_dagger",
        ),
        DAGGER,
    ),
    "smile": SMILE,
    "searn": SEARN,
    "aggrevate": AGGREVATE,
    "aggrevated": AGGREVATE,
    "nrpi": NRPI,
    "dart": DART,
    "log_loss_cloning": LOG_LOSS,
    "reweighed_cloning": RATIO,
}


def theorem(name: str) -> Theorem:
    """An algorithm's own, or the one of `bounds.BOUNDS` that its row names."""
    if name in OWN:
        return OWN[name]
    key = "u T eta" if ROWS[name].bound == "cost to go" else ROWS[name].bound  # an equality would say nothing
    return Theorem(key, bounds.BOUNDS[key].source)


@precisely
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
                for name, bound in bounds.BOUNDS.items()
            },
            DART.name: (costs.dart_coupled(apart, problem.world.horizon), apart.gap),
            LOG_LOSS.name: (statistics.by_hellinger_root(statistics.trajectories(problem, policy)), seen.gap),
            RATIO.name: (statistics.density_ratio(seen, known, ratio), seen.gap),
        }

    return jax.vmap(one)(problems, policies, rows, noise)


@precisely
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
        horizon, wrong = problem.world.horizon, 1 - jnp.asarray(problem.expert)

        def loss(policy: Array, beta: Array) -> tuple[Array, Array]:
            each = (policy * wrong).sum(-1)
            rolled = exact.deploy(problem, beta * problem.expert + (1 - beta) * policy).novice
            return (rolled * each).sum(-1).mean(), (exact.deploy(problem, policy).novice * each).sum(-1).mean()

        mixed = mixtures.mixture(problem, played, newest, beta, output)
        to_go = costs.cost_to_go(problem, played, beta)
        law = exact.deploy(problem, problem.expert).novice  # NRPI's exploration, in this row of the zoo
        improved = costs.improvement(problem, played, problem.expert, law)
        terms = bounds.no_regret(*jax.vmap(loss)(played, beta), jnp.zeros(()), beta, horizon)
        return {
            DAGGER.name: (bounds.theorem_4_1_sharp(terms), terms.best_own),
            SMILE.name: (mixtures.smile_sharp(mixed, share), mixed.gap),
            SEARN.name: (mixtures.searn_sharp(mixed, share), mixed.gap),
            AGGREVATE.name: (costs.aggrevate_sharp(to_go, beta, horizon), to_go.gap.mean()),
            NRPI.name: (costs.nrpi_against(improved), improved.gap.mean()),
        }

    return jax.vmap(one)(problems, played, newest, betas, shares, outputs)
