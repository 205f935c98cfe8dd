"""Many rounds of an online learner: the theorems of DAgger, at every number of rounds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy import special

from dagger_jax.types import Array


class NoRegret(NamedTuple):
    """The terms of DAgger's theorems after N rounds. Losses are averages a step."""

    best_own: Array  # [] min_i E_{d_pihat_i}[l(s, pihat_i)]: what the theorem bounds
    hindsight: Array  # [] eps_N, loss of the best policy of the class in hindsight
    regret: Array  # [] gamma_N, average regret of the learner
    shift: Array  # [] (2 l_max / N) [n_beta + T sum_{i > n_beta} beta_i]
    sharp_shift: Array  # [] (l_max / N) sum_i avg_t [1 - (1 - beta_i)^(t-1)]


def no_regret(
    losses: Array, own: Array, hindsight: Array, beta: Array, horizon: Array | int, most: Array | float = 1.0
) -> NoRegret:
    """Terms of Ross, Gordon and Bagnell 2011, Theorems 4.1 and 4.2: docs/theory.md#dagger.

    Args:
      losses: [N] l_i(pihat_i), loss of round i's learner under round i's training law.
      own: [N] loss of round i's learner under its own law.
      hindsight: [] min over the class of the average of l_1..l_N.
      beta: [N] non-increasing.
      horizon: T.
      most: l_max, the loss's upper bound.
    """
    every = no_regret_by_round(losses, own, jnp.broadcast_to(hindsight, losses.shape), beta, horizon, most)
    return NoRegret(*(values[-1] for values in every))


def no_regret_by_round(
    losses: Array, own: Array, hindsight: Array, beta: Array, horizon: Array | int, most: Array | float = 1.0
) -> NoRegret:
    """`no_regret` after every number of rounds, [N] each: `hindsight` [N] is that of l_1..l_n."""
    average = lambda values: jnp.cumsum(values) / jnp.arange(1, losses.shape[-1] + 1)
    played = _moved(beta, horizon)
    return NoRegret(
        best_own=jax.lax.cummin(jnp.asarray(own)),
        hindsight=hindsight,
        regret=average(losses) - hindsight,
        # n_beta: for every round the cheaper of 2 l_max and 2 l_max T beta_i, as beta does not increase.
        shift=2 * most * average(jnp.minimum(1.0, horizon * beta)),
        sharp_shift=most * average(played),
    )


def _moved(beta: Array, horizon: Array | int) -> Array:
    """The mean of 1 - (1 - beta)^(t-1) over the steps t = 1..T: a geometric sum, by its series where that cancels."""
    few = horizon * beta < 1e-3
    series = jnp.ones_like(beta)
    for k in (4, 3, 2):
        series = 1 - (horizon - k) * beta / (k + 1) * series
    apart = jnp.where(few, 1.0, beta)
    whole = 1 + jnp.expm1(special.xlog1py(horizon, -apart)) / (horizon * apart)
    return jnp.where(few, (horizon - 1) * beta / 2 * series, whole)


def theorem_4_1(terms: NoRegret) -> Array:
    """eps_N + gamma_N + (2 l_max / N) [n_beta + T sum_{i > n_beta} beta_i] >= best own loss: docs/theory.md#dagger."""
    return terms.hindsight + terms.regret + terms.shift


def theorem_4_1_sharp(terms: NoRegret) -> Array:
    """The same with our shift term: only the t - 1 actions before step t can move its law, and l >= 0.

    docs/theory.md#dagger-the-shift-of-the-law.
    """
    return terms.hindsight + terms.regret + terms.sharp_shift


def theorem_4_2(terms: NoRegret, episodes: int, rounds: int, delta: float, most: float = 1.0) -> Array:
    """Theorem 4.1 on sampled losses, plus l_max sqrt(2 log(1/delta) / (m N)); holds with probability 1 - delta.

    `terms` hold the empirical losses of m = `episodes` a round; `best_own` stays the population's.
    docs/theory.md#dagger-finite-samples.
    """
    return theorem_4_1(terms) + most * jnp.sqrt(2 * jnp.log(1 / delta) / (episodes * rounds))


def theorem_4_2_sharp(terms: NoRegret, episodes: int, rounds: int, delta: float, most: float = 1.0) -> Array:
    """Our shift term, and l_max sqrt(log(1/delta) / (2 m N)), a half of the published last term. Derived.

    Given the rounds before, an episode's loss lies in [0, l_max], so its distance from its mean does in an interval
    of length l_max: Hoeffding's lemma gives exp(-2 x^2 m N / l_max^2), where the paper's [-l_max, l_max] gives a
    fourth of the exponent: docs/theory.md#dagger-finite-samples.
    """
    return theorem_4_1_sharp(terms) + most * jnp.sqrt(jnp.log(1 / delta) / (2 * episodes * rounds))
