"""Costs-to-go and perturbed experts: AggreVaTe, NRPI, DART. Evidence and units as in `mixtures`.

LOLS' theorem is not here: it is performance difference up to a term that is measured, not bounded
(docs/theory.md#lols).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import schedules
from dagger_jax.bounds.rounds import no_regret, theorem_4_1, theorem_4_1_sharp
from dagger_jax.detect.ratio import recursion
from dagger_jax.precision import float64
from dagger_jax.tabular import exact
from dagger_jax.tabular.worlds import backward, reachable
from dagger_jax.types import Array, Problem

# ---- AggreVaTe: DAgger with costs-to-go for losses -----------------------------------------------------------


class CostToGo(NamedTuple):
    """Of every round: its policy pihat_i, under the law of its roll-in pi_i. Q* and V* are the expert's."""

    gap: Array  # [N] J(pihat_i) - J(pi*)
    losses: Array  # [N] average over the steps of E[Q*(s, pihat_i) - min_a Q*(s, a)]
    advantage: Array  # [N] average of E[Q*(s, pihat_i) - V*(s)]: negative where it improves on the expert
    hindsight: Array  # [] eps_class: the least that one deterministic table has on average over the rounds' laws
    span: Array  # [] max_a Q* - min_a Q*, the largest: Q*_max in the theorem
    range: Array  # [] u + v


@float64
def cost_to_go(problem: Problem, acting: Array, beta: Array) -> CostToGo:
    """Evidence for AggreVaTe's theorem.

    Args:
      problem: the world and its expert.
      acting: [N, L, S, A] the policy of each round. The class in hindsight is tables of observations, one for all
        steps where L is 1.
      beta: [N] the expert's share of the roll-ins.
    """
    world, reached = problem.world, reachable(problem.world)
    to_go, value = backward(world, problem.expert)
    value, best, worst = value[:-1], to_go.min(-1), to_go.max(-1)

    def one(policy: Array, beta: Array) -> tuple[Array, ...]:
        law = exact.deploy(problem, beta * problem.expert + (1 - beta) * policy).novice
        paid, alone = (policy * to_go).sum(-1), exact.deploy(problem, policy)
        means = ((law * each).sum() / world.steps for each in (paid - best, paid - value))
        return alone.novice_cost - alone.guide_cost, *means, law[..., None] * (to_go - best[..., None])

    gap, losses, advantage, costs = jax.vmap(one)(acting, beta)
    span, loses, gains = (jnp.where(reached, each, 0.0).max() for each in (worst - best, worst - value, value - best))
    hindsight = _best_table(problem, costs.sum(0), acting.shape[1]) / (acting.shape[0] * world.steps)
    return CostToGo(gap, losses, advantage, hindsight, span, loses + gains)


def aggrevate(seen: CostToGo, beta: Array, horizon: Array | int) -> Array:
    """T [eps_class + eps_regret] + (2 Q_max T / N) [n_beta + T sum_{i > n_beta} beta_i], for J(mixture) - J(pi*).

    Ross and Bagnell 2014, Theorem 2.1, with its shift term in full in place of O(Q_max T log T / (alpha N)): that of
    DAgger's Theorem 4.1, whose loss this is. The mixture draws one of the N policies for an episode. Q_max may be the
    span of Q* at a state, as the loss lies between 0 and it: docs/theory.md#aggrevate.
    """
    terms = no_regret(seen.losses, seen.losses, seen.hindsight, beta, horizon, seen.span)
    return horizon * theorem_4_1(terms)


def aggrevate_sharp(seen: CostToGo, beta: Array, horizon: Array | int) -> Array:
    """T [eps_class + eps_regret] + (Q_max / N) sum_i sum_t [1 - (1 - beta_i)^(t-1)]. Likewise.

    docs/theory.md#aggrevate, by docs/theory.md#dagger-the-shift-of-the-law.
    """
    terms = no_regret(seen.losses, seen.losses, seen.hindsight, beta, horizon, seen.span)
    return horizon * theorem_4_1_sharp(terms)


def aggrevate_signed(seen: CostToGo, beta: Array, horizon: Array | int) -> Array:
    """T mean_i E[Q*(s, pihat_i) - V*(s)] + ((u + v) / N) sum_i sum_t [1 - (1 - beta_i)^(t-1)].

    Derived here. The loss is signed, so the bound may be negative, where the policies improve on the expert, but the
    shift then costs u + v. An equality without beta. docs/theory.md#aggrevate.
    """
    terms = no_regret(seen.advantage, seen.advantage, 0 * seen.hindsight, beta, horizon, seen.range)
    return horizon * theorem_4_1_sharp(terms)


# ---- NRPI: no-regret policy iteration --------------------------------------------------------------------------


class Improvement(NamedTuple):
    """Of every round: its policy pihat_i against a comparator pi', under an exploration law nu."""

    gap: Array  # [N] J(pihat_i) - J(pi')
    losses: Array  # [N] average over the steps of E_nu[Q(s, pihat_i)], Q the cost-to-go of pihat_i itself
    compared: Array  # [N] the same of pi', Q still that of pihat_i
    hindsight: Array  # [] the least that one deterministic table has on average over the rounds
    span: Array  # [] max_a Q - min_a Q, the largest
    distance: Array  # [T] ||nu_t - d_t^{pi'}||_1, in [0, 2]
    steps: Array | int  # [] T, where a world is padded the steps that it takes


@float64
def improvement(problem: Problem, acting: Array, comparator: Array, exploration: Array) -> Improvement:
    """Evidence for NRPI's bound.

    Args:
      problem: the world; its expert is not asked.
      acting: [N, L, S, A] the policy of each round; its L gives the class in hindsight, as in `cost_to_go`.
      comparator: [L, S, A] pi', any policy of the class.
      exploration: [T, S] nu, the law of the states where deviations are tried.
    """
    world, reached = problem.world, reachable(problem.world)
    other = exact.deploy(problem, comparator)

    def one(policy: Array) -> tuple[Array, ...]:
        to_go, _ = backward(world, policy)
        means = ((exploration * (acts * to_go).sum(-1)).sum() / world.steps for acts in (policy, comparator))
        span = jnp.where(reached, to_go.max(-1) - to_go.min(-1), 0.0).max()
        gap = exact.deploy(problem, policy).novice_cost - other.novice_cost
        return gap, *means, span, exploration[..., None] * to_go

    gap, losses, compared, span, costs = jax.vmap(one)(acting)
    hindsight = _best_table(problem, costs.sum(0), acting.shape[1]) / (acting.shape[0] * world.steps)
    distance = jnp.abs(exploration - other.novice).sum(-1)
    return Improvement(gap, losses, compared, hindsight, span.max(), distance, world.steps)


def nrpi(seen: Improvement) -> Array:
    """T eps_regret + T Q_max D(nu, pi'), for J(mixture) - J(pi'), pi' in the class.

    Ross and Bagnell 2014, section 3; D is the average over the steps of ||nu_t - d_t^{pi'}||_1, and Q_max may be the
    largest span of a Q at a state. docs/theory.md#nrpi.
    """
    return seen.steps * (seen.losses.mean() - seen.hindsight) + seen.span * seen.distance.sum()


def nrpi_against(seen: Improvement) -> Array:
    """T mean_i E_nu[Q(s, pihat_i) - Q(s, pi')] + Q_max sum_t ||nu_t - d_t^{pi'}||_1, for any pi'.

    Derived here: docs/theory.md#nrpi.
    """
    return seen.steps * (seen.losses - seen.compared).mean() + seen.span * seen.distance.sum()


# ---- DART: the perturbed expert's runs against the learner's ---------------------------------------------------


class Departure(NamedTuple):
    """The learner's runs against those of the expert with noise."""

    gap: Array  # [] |J(pi) - J(pi*, psi)|
    kl: Array  # [] KL(p(xi | pi) || p(xi | pi*, psi)), nats; inf where the noise cannot explain the learner
    total_variation: Array  # [] at most this, by a maximal coupling at every step


@float64
def departure(problem: Problem, policy: Array, noise: Array | float) -> Departure:
    """Evidence for DART's bound, by exact recursions along the episode (the chain rule).

    Args:
      problem: the world and its expert.
      policy: [L, S, A] the learner's action probabilities.
      noise: [] or [T], probability psi that the expert's executed action is replaced by a uniform one.
    """
    world = problem.world
    noise = jnp.broadcast_to(jnp.asarray(noise), (world.horizon,))[:, None, None]
    perturbed = (1 - noise) * problem.expert + noise / world.actions
    # The learner is the one that is followed: the divergence is from its runs to the perturbed expert's.
    followed = Problem(world, policy)
    laws = exact.deploy(followed, perturbed)
    along = recursion(followed, perturbed, schedules.row(schedules.behavioural_cloning(1, world.horizon), 0))
    last = world.steps - 1
    return Departure(jnp.abs(laws.guide_cost - laws.novice_cost), along.kl[last], along.total_variation[last])


def dart(seen: Departure, horizon: Array | int) -> Array:
    """T sqrt(KL / 2), by Pinsker, as costs lie in [0, T]. Laskey et al. 2017; docs/theory.md#dart."""
    return horizon * jnp.sqrt(seen.kl / 2)


def dart_coupled(seen: Departure, horizon: Array | int) -> Array:
    """T x total variation: the step before Pinsker's inequality: docs/theory.md#dart."""
    return horizon * seen.total_variation


def _best_table(problem: Problem, costs: Array, steps: int) -> Array:
    """Least total of costs [T, S, A] over tables of observations, one a step, or one for all where `steps` is 1. []"""
    world = problem.world
    table = jnp.zeros((world.horizon, world.observations, world.actions), costs.dtype)
    table = table.at[:, world.observation].add(costs)
    return (table if steps > 1 else table.sum(0)).min(-1).sum()
