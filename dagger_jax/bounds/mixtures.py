"""Mixtures of policies: SMILe and SEARN, whose current policy gives each newest one a share.

Each theorem is a pure function of evidence that is measured exactly from the policies of all rounds. N rounds, T steps;
costs lie in [0, 1] a step, everything is in units of cost summed over an episode, Q and V are costs-to-go. u is the
most that one deviation costs, v the most that it gains, the span max_a Q - min_a Q, all over reachable states.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact
from dagger_jax.tabular.worlds import backward, reachable
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
    steps: Array | int  # [] T, where a world is padded the steps that it takes


@float64
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
        law = exact.deploy(problem, current).novice
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

    ended = exact.deploy(problem, output)
    steps = jnp.asarray(world.steps, jnp.result_type(float))  # of int32 JAX makes float32 where a number is no array
    return Mixture(ended.novice_cost - ended.guide_cost, *jax.vmap(one)(acting, newest, left), steps)


def without_expert(horizon: Array | int, share: Array | float) -> Array | float:
    """T (T + 1) / 2 x share: what it costs at most to leave the expert out that acts with `share` a step.

    Derived here: it is called first at step t with probability `share` at most, and T - t + 1 is left to lose then.
    """
    return horizon * (horizon + 1) / 2 * share


def smile(seen: Mixture, alpha: Array | float) -> Array:
    """U [T sum_n delta_n eps_n + T (T - 1) / 2 alpha / (2 - alpha)] + T^2 (1 - alpha)^N.

    docs/theory.md#smile (the published Theorem 4.1 hides its terms in O()). delta_n = alpha (1 - alpha)^(n-1),
    and eps_n is the average over the steps.
    Its proof may use U alone, although Q(s, a) - Q(s, pi*) has either sign: the bracket is at most U times the error
    before the law is shifted, and errors lie in [0, 1]. Where the expert draws its action U must be the span.
    """
    rounds, horizon = len(seen.eps), seen.steps
    first = (_share(rounds, alpha)[:, None] * seen.eps).sum()
    second = horizon * (horizon - 1) / 2 * alpha / (2 - alpha)
    return seen.worst.max() * (first + second) + horizon**2 * (1 - alpha) ** rounds


def smile_sharp(seen: Mixture, alpha: Array | float) -> Array:
    """sum_n delta_n U_n sum_t eps_nt [1 + delta_n (T - t)] + T (T + 1) / 2 (1 - alpha)^N.

    Derived here: pi^n parts from pi^(n-1) at step i with probability delta_n eps_ni at most, so the second order
    vanishes with the errors, while in `smile` it stays: docs/theory.md#smile.
    """
    rounds, horizon = len(seen.eps), seen.steps
    delta, left = _share(rounds, alpha)[:, None], horizon - 1 - jnp.arange(seen.eps.shape[-1])
    each = delta * seen.worst[:, None] * seen.eps * (1 + delta * left)
    return each.sum() + without_expert(horizon, (1 - alpha) ** rounds)


def searn(seen: Mixture, share: Array | float) -> Array:
    """sum_n [beta w_n + (u_n + v_n) beta^2 T (T - 1) / 2] + T (T + 1) / 2 (1 - beta)^N, w_n the newest's disadvantage.

    Derived here, with w_n = sum_t E[Q(s, hhat_n) - V(s)] under the law of h_(n-1). What the law's shift multiplies lies
    in [-v, u]: the span of Q at a state is too small (a counterexample: tests/bounds/bounds_mixtures_test.py), as
    states may differ in which of their actions h_(n-1) takes. `searn_regret` may use it. docs/theory.md#searn.
    """
    rounds, horizon = len(seen.advantage), seen.steps
    shift = (seen.loses + seen.gains).sum() * share**2 * horizon * (horizon - 1) / 2
    return share * seen.advantage.sum() + shift + without_expert(horizon, (1 - share) ** rounds)


def searn_sharp(seen: Mixture, share: Array | float) -> Array:
    """sum_n [beta w_n + (u_n + v_n) beta^2 sum_t (T - t) m_nt] + T (T + 1) / 2 (1 - beta)^N.

    As `searn`, m_nt being how often hhat_n differs from h_(n-1) at step t: what moves the law: docs/theory.md#searn.
    """
    rounds, horizon = len(seen.advantage), seen.steps
    later = (seen.moved * (horizon - 1 - jnp.arange(seen.moved.shape[-1]))).sum(-1)
    shift = ((seen.loses + seen.gains) * later).sum() * share**2
    return share * seen.advantage.sum() + shift + without_expert(horizon, (1 - share) ** rounds)


def searn_regret(seen: Mixture, share: Array | float) -> Array:
    """sum_n [beta l_n + span_n beta^2 T (T - 1) / 2] + T (T + 1) / 2 (1 - beta)^N, l_n the newest's regret.

    Derived here, with l_n = sum_t E[Q(s, hhat_n) - min_a Q(s, a)] in [0, span] at every state, SEARN's cost-sensitive
    loss: as it is never negative, the span is enough. docs/theory.md#searn.
    """
    rounds, horizon = len(seen.regret), seen.steps
    shift = seen.span.sum() * share**2 * horizon * (horizon - 1) / 2
    return share * seen.regret.sum() + shift + without_expert(horizon, (1 - share) ** rounds)


def searn_published(seen: Mixture, share: Array | float, most: Array | float) -> Array:
    """C T l_avg + c_max [C T^2 beta / 2 + T exp(-C)], C = beta N, c_max = `most` the most that an episode can cost.

    Daume, Langford and Marcu 2009, a form of the lemma before their theorem. It is implied by
    `searn_regret` with T c_max (1 - beta)^N for leaving the expert out: docs/theory.md#searn.
    """
    rounds, horizon = len(seen.regret), seen.steps
    spent = share * rounds
    return spent * seen.regret.sum() / rounds + most * (spent * horizon**2 * share / 2 + horizon * jnp.exp(-spent))


def _apart(policy: Array, other: Array) -> Array:
    return 0.5 * jnp.abs(policy - other).sum(-1)


def _share(rounds: int, alpha: Array | float) -> Array:
    """delta_n = alpha (1 - alpha)^(n-1). [N]"""
    return alpha * schedules.beta_geometric(rounds, 1 - alpha)
