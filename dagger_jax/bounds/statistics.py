"""How far so many demonstrations or labels go: tabular rates, finite classes, ratios of laws, action chunks.

H = T steps, S states, n or N trajectories (or labels, where it says so), |Pi| policies in the class, delta the share of
failures. All gaps are J(pi) - J(pi*), in units of cost summed over an episode; costs lie in [0, 1] a step. Logarithms
are natural, D_H^2 = sum (sqrt p - sqrt q)^2 without a factor 1/2.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy import special

from dagger_jax import loops, schedules
from dagger_jax.detect.ratio import recursion
from dagger_jax.evidence import Constants, Evidence
from dagger_jax.precision import float64
from dagger_jax.tabular import exact
from dagger_jax.tabular.transitions import at, outcomes
from dagger_jax.types import Array, Problem, World

# ---- tabular behavioural cloning and its rivals -------------------------------------------------------------------


def unseen(law: Array, trajectories: Array | int) -> Array:
    """sum_s d_h(s) (1 - d_h(s))^N, [H]: the expected error at each step of who is right wherever the expert was seen.

    Args:
      law: [H, S] of the expert's state at each step.
      trajectories: N, independent.
    """
    return (law * jnp.exp(special.xlog1py(trajectories, -jnp.minimum(law, 1.0)))).sum(-1)


def cloning_expected(law: Array, trajectories: Array | int) -> Array:
    """sum_h (H - h + 1) sum_s d_h(s) (1 - d_h(s))^N, for the expected gap of tabular cloning.

    For a deterministic expert, one table a step, and whatever is done at unseen states: docs/theory.md#tabular-cloning.
    Arguments as in `unseen`.
    """
    horizon = law.shape[-2]
    return (jnp.arange(horizon, 0, -1) * unseen(law, trajectories)).sum(-1)


def cloning_tabular(horizon: int, states: int, trajectories: Array | int) -> Array:
    """S H (H + 1) / (2 e N), for the same, by x (1 - x)^N < 1 / (e N): docs/theory.md#tabular-cloning.

    The order is that of Rajaraman et al. 2020, arXiv 2009.05990.
    """
    return states * horizon * (horizon + 1) / (2 * jnp.e * jnp.asarray(trajectories))


def mimic_md_order(horizon: int, states: int, trajectories: Array | int) -> Array:
    """min(H sqrt(S / N), S H^1.5 / N): an order, constant 1 is not a bound.

    Mimic-MD (Rajaraman et al. 2020) and, up to logarithms, replay estimation (Swamy et al. 2022, arXiv 2205.15397),
    both with known transitions and a deterministic expert; see `known_dynamics` and docs/theory.md#known-transitions.
    """
    share = states / jnp.asarray(trajectories)
    return jnp.minimum(horizon * jnp.sqrt(share), horizon**1.5 * share)


def interactive_order(recoverability: Array | float, horizon: int, states: int, trajectories: Array | int) -> Array:
    """mu S H / N: an order up to logarithms, constant 1 is not a bound.

    DAgger with mu-recoverability: Rajaraman et al. 2021, NeurIPS 34, 1325-1336; docs/theory.md#interaction.
    """
    return recoverability * states * horizon / jnp.asarray(trajectories)


# ---- finite classes and laws of whole trajectories (Foster, Block and Misra 2024, arXiv 2407.15007) ------------------


class Trajectories(NamedTuple):
    """The learner's runs against the expert's, whole."""

    gap: Array  # [] J(pi) - J(pi*)
    range: Array  # [] R: the dearest run minus the cheapest one
    total_variation: Array  # [] exact for a deterministic expert, else at most this
    hellinger: Array  # [] D_H^2, in [0, 2]
    kl: Array  # [] KL(expert || learner), nats


@float64
def trajectories(problem: Problem, policy: Array) -> Trajectories:
    """Distances between the laws of whole trajectories, by exact recursions; `policy` is [L, S, A].

    For a deterministic expert the total variation is 1 - E_{pi*}[prod_h pi(pi*_h(s_h) | s_h)]:
    docs/theory.md#detectability-total-variation.
    """
    row, last = schedules.row(schedules.behavioural_cloning(1, problem.world.horizon), 0), problem.world.steps - 1
    along, ended = recursion(problem, policy, row), exact.deploy(problem, policy)
    return Trajectories(
        ended.novice_cost - ended.guide_cost,
        cost_range(problem.world),
        along.total_variation[last],
        along.hellinger[last],
        along.kl[last],
    )


@float64
def cost_range(world: World) -> Array:
    """R: the cost of the dearest possible run minus that of the cheapest one, at most T. []"""

    def earlier(later: tuple[Array, Array], step: Array) -> tuple[tuple[Array, Array], None]:
        leave, cost = at(world.transition, step), at(world.cost, step)
        (dear, chance), (cheap, _) = (outcomes(leave, values) for values in later)
        dearest = (cost + jnp.where(chance > 0, dear, -jnp.inf).max(-1)).max(-1)
        cheapest = (cost + jnp.where(chance > 0, cheap, jnp.inf).min(-1)).min(-1)
        return (dearest, cheapest), None

    none = jnp.zeros_like(world.initial)
    (dearest, cheapest), _ = loops.scan(earlier, (none, none), jnp.arange(world.horizon), world.length, reverse=True)
    begins = jnp.asarray(world.initial) > 0
    return jnp.where(begins, dearest, -jnp.inf).max() - jnp.where(begins, cheapest, jnp.inf).min()


def by_total_variation(seen: Trajectories) -> Array:
    """R TV >= gap, any expert: docs/theory.md#log-loss."""
    return seen.range * seen.total_variation


def by_hellinger(seen: Trajectories) -> Array:
    """R D_H^2 >= R TV >= gap, deterministic experts (the paper has a larger constant): docs/theory.md#log-loss."""
    return seen.range * seen.hellinger


def by_hellinger_root(seen: Trajectories) -> Array:
    """R D_H sqrt(1 - D_H^2 / 4) >= R TV, any expert: docs/theory.md#log-loss."""
    return seen.range * jnp.sqrt(jnp.maximum(seen.hellinger * (1 - seen.hellinger / 4), 0.0))


def hellinger_rate(log_class: Array | float, delta: Array | float, trajectories: Array | int) -> Array:
    """2 log(|Pi| / delta) / n >= D_H^2 with probability 1 - delta, for maximum likelihood in the class.

    docs/theory.md#log-loss.
    """
    return 2 * (log_class - jnp.log(delta)) / trajectories


def log_loss(most: Array | float, log_class: Array | float, delta: Array | float, trajectories: Array | int) -> Array:
    """2 R log(|Pi| / delta) / n, with probability 1 - delta, for log-loss cloning of a deterministic expert.

    docs/theory.md#log-loss; the published corollary (Eq. 10) has the same form with a larger constant.

    Args:
      most: R, see `cost_range`.
      log_class: log |Pi|; the expert is one of them.
      delta: the share of data sets on which it may fail.
      trajectories: n.
    """
    return most * hellinger_rate(log_class, delta, trajectories)


def log_loss_stochastic(
    most: Array | float, log_class: Array | float, delta: Array | float, trajectories: Array | int
) -> Array:
    """R sqrt(2 log(|Pi| / delta) / n), the same for any expert.

    docs/theory.md#log-loss. Arguments as in `log_loss`.
    """
    return most * jnp.sqrt(hellinger_rate(log_class, delta, trajectories))


def zero_one_loss(
    most: Array | float, log_class: Array | float, delta: Array | float, trajectories: Array | int
) -> Array:
    """R log(|Pi| / delta) / n, for any policy of the class without an error in the data; deterministic expert.

    Foster et al. 2024, section 2: whole trajectories agree; docs/theory.md#log-loss. Arguments as in `log_loss`.
    """
    return most * (log_class - jnp.log(delta)) / trajectories


def stagger(
    recoverability: Array | float, horizon: int, log_class: Array | float, delta: Array | float, labels: Array | int
) -> Array:
    """mu H (log B + 2 log(1 / delta)) / N, with probability 1 - delta, for Stagger's uniform mixture.

    Li and Zhang 2025, arXiv 2412.07057, Theorem 3; N `labels`, one a roll-out, B deterministic policies, the expert
    among them. docs/theory.md#stagger.
    """
    return recoverability * horizon * (log_class - 2 * jnp.log(delta)) / labels


def stagger_expected(
    recoverability: Array | float, horizon: int, log_class: Array | float, labels: Array | int
) -> Array:
    """mu H log B / N, in expectation over what was labelled.

    docs/theory.md#stagger. Arguments as in `stagger`.
    """
    return recoverability * horizon * log_class / jnp.asarray(labels)


# ---- density ratios --------------------------------------------------------------------------------------------------


@float64
def largest_ratio(problem: Problem, policy: Array) -> Array:
    """C: max over steps and states of d_pi^t(s) / d_pi*^t(s); inf where only the learner ever goes. []"""
    laws = exact.deploy(problem, policy)
    possible = laws.guide > 0
    ratio = jnp.where(possible, laws.novice / jnp.where(possible, laws.guide, 1.0), jnp.inf)
    return jnp.where(laws.novice > 0, ratio, 0.0).max()


def density_ratio(seen: Evidence, known: Constants, ratio: Array | float) -> Array:
    """u C T eps, eps under the expert's law (a row of behavioural cloning).

    Spencer et al. 2021; docs/theory.md#density-ratios.
    C must bound the ratio at every step, `largest_ratio`: that of laws averaged over the steps is not enough for
    policies that change over time.
    """
    return known.recoverability * ratio * seen.eps.sum()


# ---- open-loop action chunks -----------------------------------------------------------------------------------------


def action_chunks(errors: Array, length: int) -> Array:
    """sum_j (T - (j - 1) k) eps_cj, k actions decided upon at once: docs/theory.md#open-loop-action-chunks.

    Not the chunks of docs/theory.md#chunks-definition: longer ones are better here, where a chunk's error does not
    grow with its length.

    Args:
      errors: [m] eps_cj: probability that the j-th plan of k actions ever differs from what the expert does, begun in
        the law of the expert's state. T = m k.
      length: k.
    """
    chunks = errors.shape[-1]
    return (length * jnp.arange(chunks, 0, -1) * errors).sum(-1)


def action_chunks_even(horizon: int, length: int, error: Array | float) -> Array:
    """T (T + k) / (2 k) eps_c: the same for a constant error. docs/theory.md#open-loop-action-chunks."""
    return horizon * (horizon + length) / (2 * length) * jnp.asarray(error)


def action_chunks_cliff(horizon: int, length: int, error: Array | float) -> Array:
    """sum_{j=0}^{m-1} (T - j k) eps_c (1 - eps_c)^j: the cliff's gap, if a plan that fails does so at its beginning."""
    before = jnp.arange(horizon // length)
    return ((horizon - before * length) * error * (1 - error) ** before).sum()
