"""Mixtures of policies, costs-to-go and perturbed experts: SMILe, SEARN, AggreVaTe, NRPI, DART.

Each theorem is a pure function of evidence that is measured exactly from the policies of all rounds. N rounds, T steps;
costs lie in [0, 1] a step, everything is in units of cost summed over an episode, Q and V are costs-to-go. u is the
most that one deviation costs, v the most that it gains, the span max_a Q - min_a Q, all over reachable states.

LOLS' theorem (theory 3.3) is not here: the notes are not sure of its form ([M?]), so nothing could be held against it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import exact as interpreter
from dagger_jax import schedules
from dagger_jax.bounds.rounds import no_regret, theorem_4_1, theorem_4_1_sharp
from dagger_jax.detect.ratio import recursion
from dagger_jax.environments.tabular import backward, reachable
from dagger_jax.precision import exact
from dagger_jax.types import Array, Problem

# ---- SMILe and SEARN: each newest policy gets a share a step, taken from the expert's ---------------------------


class Mixture(NamedTuple):
    """Of every round n: the current policy pi_n (the expert's share included) and the newest one, fitted to its law."""

    gap: Array  # [] J(output) - J(pi*), the output being the mixture without the expert
    eps: Array  # [N, T] the newest's total variation from the expert, under the current policy's law
    moved: Array  # [N, T] its total variation from the current policy, same law
    advantage: Array  # [N, T] E[Q(s, newest) - V(s)], Q and V the current policy's, same law
    regret: Array  # [N, T] E[Q(s, newest) - min_a Q(s, a)], never negative
    worst: Array  # [N] U: max Q(s, a) - Q(s, pi*(s)); where the expert draws its action, the span
    loses: Array  # [N] u of the current policy: max Q(s, a) - V(s)
    gains: Array  # [N] v of the current policy: max V(s) - Q(s, a)
    span: Array  # [N] max_a Q(s, a) - min_a Q(s, a), the largest


@exact
def mixture(problem: Problem, acting: Array, newest: Array, left: Array, output: Array) -> Mixture:
    """Evidence for SMILe and SEARN from the policies of all rounds (`Moment.acting`, `Moment.newest`).

    Args:
      problem: the world and its expert.
      acting: [N, L, S, A] the mixture that played round n, without the expert.
      newest: [N, L, S, A] the policy fitted to round n.
      left: [N] the expert's share of round n a step, (1 - alpha)^(n-1): the schedule's `beta`.
      output: [L, S, A] the mixture without the expert after N rounds, `Outcome.acting`.
    """
    world, reached = problem.world, reachable(problem.world)
    expert = jnp.broadcast_to(jnp.asarray(problem.expert), (world.horizon, world.states, world.actions))
    certain = expert.max(-1) == 1

    def one(acting: Array, newest: Array, left: Array) -> tuple[Array, ...]:
        current = left * expert + (1 - left) * acting
        law = interpreter.deploy(problem, current).novice
        to_go, value = backward(world, current)
        value, best, worst = value[:-1], to_go.min(-1), to_go.max(-1)
        reference = jnp.where(certain, (expert * to_go).sum(-1), best)
        paid = (newest * to_go).sum(-1)
        means = (_apart(newest, expert), _apart(newest, current), paid - value, paid - best)
        greatest = (worst - reference, worst - value, value - best, worst - best)
        return (
            *((law * each).sum(-1) for each in means),
            *(jnp.where(reached, each, 0.0).max() for each in greatest),
        )

    ended = interpreter.deploy(problem, output)
    return Mixture(ended.novice_cost - ended.guide_cost, *jax.vmap(one)(acting, newest, left))


def without_expert(horizon: int, share: Array | float) -> Array | float:
    """T (T + 1) / 2 x share: what it costs at most to leave the expert out that acts with `share` a step.

    Derived here: it is called first at step t with probability `share` at most, and T - t + 1 is left to lose then.
    """
    return horizon * (horizon + 1) / 2 * share


def smile(seen: Mixture, alpha: Array | float) -> Array:
    """U [T sum_n delta_n eps_n + T (T - 1) / 2 alpha / (2 - alpha)] + T^2 (1 - alpha)^N.

    Theory 1.4, derived there (the published Theorem 4.1 hides its terms in O()). delta_n = alpha (1 - alpha)^(n-1), and
    eps_n is the average over the steps.
    Its proof may use U alone, although Q(s, a) - Q(s, pi*) has either sign: the bracket is at most U times the error
    before the law is shifted, and errors lie in [0, 1]. Where the expert draws its action U must be the span.
    """
    rounds, horizon = seen.eps.shape
    first = (_share(rounds, alpha)[:, None] * seen.eps).sum()
    second = horizon * (horizon - 1) / 2 * alpha / (2 - alpha)
    return seen.worst.max() * (first + second) + horizon**2 * (1 - alpha) ** rounds


def smile_sharp(seen: Mixture, alpha: Array | float) -> Array:
    """sum_n delta_n U_n sum_t eps_nt [1 + delta_n (T - t)] + T (T + 1) / 2 (1 - alpha)^N.

    Derived here: pi^n parts from pi^(n-1) at step i with probability delta_n eps_ni at most, so the second order
    vanishes with the errors, while in `smile` it stays.
    """
    rounds, horizon = seen.eps.shape
    delta, left = _share(rounds, alpha)[:, None], jnp.arange(horizon - 1, -1, -1)
    each = delta * seen.worst[:, None] * seen.eps * (1 + delta * left)
    return each.sum() + without_expert(horizon, (1 - alpha) ** rounds)


def searn(seen: Mixture, share: Array | float) -> Array:
    """sum_n [beta w_n + (u_n + v_n) beta^2 T (T - 1) / 2] + T (T + 1) / 2 (1 - beta)^N, w_n the newest's disadvantage.

    Derived here, with w_n = sum_t E[Q(s, hhat_n) - V(s)] under the law of h_(n-1). What the law's shift multiplies lies
    in [-v, u]: the span of Q at a state is too small (tests/bounds_mixtures_test.py has the counterexample), as states
    may differ in which of their actions h_(n-1) takes. `searn_regret` may use it.
    """
    rounds, horizon = seen.advantage.shape
    shift = (seen.loses + seen.gains).sum() * share**2 * horizon * (horizon - 1) / 2
    return share * seen.advantage.sum() + shift + without_expert(horizon, (1 - share) ** rounds)


def searn_sharp(seen: Mixture, share: Array | float) -> Array:
    """sum_n [beta w_n + (u_n + v_n) beta^2 sum_t (T - t) m_nt] + T (T + 1) / 2 (1 - beta)^N.

    As `searn`, m_nt being how often hhat_n differs from h_(n-1) at step t: what moves the law. Derived here.
    """
    rounds, horizon = seen.advantage.shape
    later = (seen.moved * jnp.arange(horizon - 1, -1, -1)).sum(-1)
    shift = ((seen.loses + seen.gains) * later).sum() * share**2
    return share * seen.advantage.sum() + shift + without_expert(horizon, (1 - share) ** rounds)


def searn_regret(seen: Mixture, share: Array | float) -> Array:
    """sum_n [beta l_n + span_n beta^2 T (T - 1) / 2] + T (T + 1) / 2 (1 - beta)^N, l_n the newest's regret.

    Derived here, with l_n = sum_t E[Q(s, hhat_n) - min_a Q(s, a)] in [0, span] at every state, SEARN's cost-sensitive
    loss: as it is never negative, the span is enough.
    """
    rounds, horizon = seen.regret.shape
    shift = seen.span.sum() * share**2 * horizon * (horizon - 1) / 2
    return share * seen.regret.sum() + shift + without_expert(horizon, (1 - share) ** rounds)


def searn_published(seen: Mixture, share: Array | float, most: Array | float) -> Array:
    """C T l_avg + c_max [C T^2 beta / 2 + T exp(-C)], C = beta N, c_max = `most` the most that an episode can cost.

    Daume, Langford and Marcu 2009, the lemma before their theorem (theory 3.1, from memory). It is implied by
    `searn_regret` with T c_max (1 - beta)^N for leaving the expert out, so it is proved here.
    """
    rounds, horizon = seen.regret.shape
    spent = share * rounds
    return spent * seen.regret.sum() / rounds + most * (spent * horizon**2 * share / 2 + horizon * jnp.exp(-spent))


# ---- AggreVaTe: DAgger with costs-to-go for losses -----------------------------------------------------------


class CostToGo(NamedTuple):
    """Of every round: its policy pihat_i, under the law of its roll-in pi_i. Q* and V* are the expert's."""

    gap: Array  # [N] J(pihat_i) - J(pi*)
    losses: Array  # [N] average over the steps of E[Q*(s, pihat_i) - min_a Q*(s, a)]
    advantage: Array  # [N] average of E[Q*(s, pihat_i) - V*(s)]: negative where it improves on the expert
    hindsight: Array  # [] eps_class: the least that one deterministic table has on average over the rounds' laws
    span: Array  # [] max_a Q* - min_a Q*, the largest: Q*_max in the theorem
    range: Array  # [] u + v


@exact
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
        law = interpreter.deploy(problem, beta * problem.expert + (1 - beta) * policy).novice
        paid, alone = (policy * to_go).sum(-1), interpreter.deploy(problem, policy)
        means = ((law * each).sum(-1).mean() for each in (paid - best, paid - value))
        return alone.novice_cost - alone.guide_cost, *means, law[..., None] * (to_go - best[..., None])

    gap, losses, advantage, costs = jax.vmap(one)(acting, beta)
    span, loses, gains = (jnp.where(reached, each, 0.0).max() for each in (worst - best, worst - value, value - best))
    hindsight = _best_table(problem, costs.sum(0), acting.shape[1]) / (acting.shape[0] * world.horizon)
    return CostToGo(gap, losses, advantage, hindsight, span, loses + gains)


def aggrevate(seen: CostToGo, beta: Array, horizon: int) -> Array:
    """T [eps_class + eps_regret] + (2 Q_max T / N) [n_beta + T sum_{i > n_beta} beta_i], for J(mixture) - J(pi*).

    Ross and Bagnell 2014, Theorem 2.1, with its shift term in full in place of O(Q_max T log T / (alpha N)): that of
    DAgger's Theorem 4.1, whose loss this is. The mixture draws one of the N policies for an episode. Q_max may be the
    span of Q* at a state, as the loss lies between 0 and it.
    """
    terms = no_regret(seen.losses, seen.losses, seen.hindsight, beta, horizon, seen.span)
    return horizon * theorem_4_1(terms)


def aggrevate_sharp(seen: CostToGo, beta: Array, horizon: int) -> Array:
    """T [eps_class + eps_regret] + (Q_max / N) sum_i sum_t [1 - (1 - beta_i)^(t-1)]. Likewise, after theory 2."""
    terms = no_regret(seen.losses, seen.losses, seen.hindsight, beta, horizon, seen.span)
    return horizon * theorem_4_1_sharp(terms)


def aggrevate_signed(seen: CostToGo, beta: Array, horizon: int) -> Array:
    """T mean_i E[Q*(s, pihat_i) - V*(s)] + ((u + v) / N) sum_i sum_t [1 - (1 - beta_i)^(t-1)].

    Derived here. The loss is signed, so the bound may be negative, where the policies improve on the expert, but the
    shift then costs u + v. An equality without beta.
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


@exact
def improvement(problem: Problem, acting: Array, comparator: Array, exploration: Array) -> Improvement:
    """Evidence for NRPI's bound.

    Args:
      problem: the world; its expert is not asked.
      acting: [N, L, S, A] the policy of each round; its L gives the class in hindsight, as in `cost_to_go`.
      comparator: [L, S, A] pi', any policy of the class.
      exploration: [T, S] nu, the law of the states where deviations are tried.
    """
    world, reached = problem.world, reachable(problem.world)
    other = interpreter.deploy(problem, comparator)

    def one(policy: Array) -> tuple[Array, ...]:
        to_go, _ = backward(world, policy)
        means = ((exploration * (acts * to_go).sum(-1)).sum(-1).mean() for acts in (policy, comparator))
        span = jnp.where(reached, to_go.max(-1) - to_go.min(-1), 0.0).max()
        gap = interpreter.deploy(problem, policy).novice_cost - other.novice_cost
        return gap, *means, span, exploration[..., None] * to_go

    gap, losses, compared, span, costs = jax.vmap(one)(acting)
    hindsight = _best_table(problem, costs.sum(0), acting.shape[1]) / (acting.shape[0] * world.horizon)
    distance = jnp.abs(exploration - other.novice).sum(-1)
    return Improvement(gap, losses, compared, hindsight, span.max(), distance)


def nrpi(seen: Improvement) -> Array:
    """T eps_regret + T Q_max D(nu, pi'), for J(mixture) - J(pi'), pi' in the class.

    Ross and Bagnell 2014, section 3; D is the average over the steps of ||nu_t - d_t^{pi'}||_1, and Q_max may be the
    largest span of a Q at a state.
    """
    horizon = seen.distance.shape[-1]
    return horizon * (seen.losses.mean() - seen.hindsight) + seen.span * seen.distance.sum()


def nrpi_against(seen: Improvement) -> Array:
    """T mean_i E_nu[Q(s, pihat_i) - Q(s, pi')] + Q_max sum_t ||nu_t - d_t^{pi'}||_1, for any pi'. Derived here."""
    return seen.distance.shape[-1] * (seen.losses - seen.compared).mean() + seen.span * seen.distance.sum()


# ---- DART: the perturbed expert's runs against the learner's ---------------------------------------------------


class Departure(NamedTuple):
    """The learner's runs against those of the expert with noise."""

    gap: Array  # [] |J(pi) - J(pi*, psi)|
    kl: Array  # [] KL(p(xi | pi) || p(xi | pi*, psi)), nats; inf where the noise cannot explain the learner
    total_variation: Array  # [] at most this, by a maximal coupling at every step


@exact
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
    laws = interpreter.deploy(followed, perturbed)
    along = recursion(followed, perturbed, schedules.row(schedules.behavioural_cloning(1, world.horizon), 0))
    return Departure(jnp.abs(laws.guide_cost - laws.novice_cost), along.kl[-1], along.total_variation[-1])


def dart(seen: Departure, horizon: int) -> Array:
    """T sqrt(KL / 2). Laskey et al. 2017, the bound on the shift (theory 3.5: Pinsker, as costs lie in [0, T])."""
    return horizon * jnp.sqrt(seen.kl / 2)


def dart_coupled(seen: Departure, horizon: int) -> Array:
    """T x total variation: the step before Pinsker's inequality. Theory 3.5, derived."""
    return horizon * seen.total_variation


# ---- sums ------------------------------------------------------------------------------------------------------


def _apart(policy: Array, other: Array) -> Array:
    return 0.5 * jnp.abs(policy - other).sum(-1)


def _share(rounds: int, alpha: Array | float) -> Array:
    """delta_n = alpha (1 - alpha)^(n-1). [N]"""
    return alpha * schedules.beta_geometric(rounds, 1 - alpha)


def _best_table(problem: Problem, costs: Array, steps: int) -> Array:
    """Least total of costs [T, S, A] over tables of observations, one a step, or one for all where `steps` is 1. []"""
    world = problem.world
    table = jnp.zeros((world.horizon, world.observations, world.actions), costs.dtype)
    table = table.at[:, world.observation].add(costs)
    return (table if steps > 1 else table.sum(0)).min(-1).sum()
