"""The theorems' right-hand sides, as functions of a schedule's row and of measured evidence.

Section numbers are those of the project's theory notes. All costs are in units of the world's cost, summed
over an episode. A bound's slack is its right-hand side minus what it bounds, and must not be negative.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax.evidence import Constants, Evidence
from dagger_jax.precision import exact
from dagger_jax.schedules import remaining
from dagger_jax.types import Array, Schedule

# ---- one learner, one row -------------------------------------------------------------------------------


def quadratic(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """T^2 eps. Ross and Bagnell 2010, Theorem 2.1, for behavioural cloning; 7.2(2) for every partition."""
    return seen.eps.shape[-1] * seen.eps.sum()


def to_the_end(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t (T - t + 1) eps_t: an error costs at most what is left. 1.1, and 7.2(2) for every partition."""
    horizon = seen.eps.shape[-1]
    return (jnp.arange(horizon, 0, -1) * seen.eps).sum()


def own_law(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """u T eta, eta the error under the learner's own law. Ross and Bagnell 2010, Theorem 3.1 (forward training)."""
    return known.recoverability * seen.eta.sum()


def performance_difference(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t E[Q*_t(s, a) - V*_t(s)] under the learner's own law: an equality (Kakade and Langford 2002; 0.3)."""
    return seen.advantage.sum()


def chunk_recoverable(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """u sum_t r_t eps_t, r_t the remaining length of t's chunk. 7.2(1); with random chunks u sum_t E[r_t] eps_t."""
    return known.recoverability * (remaining(row.join) * seen.eps).sum()


def chunk_longest(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """u k T eps, k the longest (expected) chunk: 7.2(1), the worst placement of the error in a chunk.

    For geometric chunks k is the mean 1/p (7.3), for a random phase with evidence averaged over the phases
    k is the length.
    """
    return known.recoverability * remaining(row.join).max() * seen.eps.sum()


def chunk_span(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t (r_t + D_j) eps_t, D_j the span of V* just after t's chunk. 7.2(3)."""
    return ((remaining(row.join) + _after_chunk(row.join, known.span)) * seen.eps).sum()


def chunk_combined(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t eps_t min{u r_t, r_t + D_j, T - t + 1}. 7.2(4)."""
    left, horizon = remaining(row.join), seen.eps.shape[-1]
    options = (
        known.recoverability * left,
        left + _after_chunk(row.join, known.span),
        jnp.arange(horizon, 0, -1),
    )
    return (jnp.minimum(jnp.minimum(options[0], options[1]), options[2]) * seen.eps).sum()


def chunk_cost_weighted(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t w_t + (u + v) sum_t (r_t - 1) eps_t, w_t the learner's disadvantage under the training law.

    7.2(5), mended: v is what a deviation from the expert can gain, and a shift of the law costs up to u + v. The
    form with u alone is false for an expert that can be improved on (tests/bounds_instances_test.py).
    """
    late = ((remaining(row.join) - 1) * seen.eps).sum()
    return seen.training_advantage.sum() + (known.recoverability + known.improvement) * late


def reset_variant(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """u sum_t (1 + T - end(t)) eps_t, end(t) the last step of t's excursion. 7.3."""
    step = jnp.arange(1, seen.eps.shape[-1] + 1)
    end = step + remaining(row.back) - 1
    return known.recoverability * ((1 + seen.eps.shape[-1] - end) * seen.eps).sum()


def own_error(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t r_t eps_t, which bounds sum_t eta_t, the learner's error under its own law. 7.2(0)."""
    return (remaining(row.join) * seen.eps).sum()


def chunk_distance(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum of eps over the chunk so far, [T], which bounds the chunk's total variation, 1 - agreement. 7.5."""
    return _within_chunk(row.join, seen.eps)


def law_shift(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum of eps over the chunk's earlier steps, [T], which bounds TV(d_pi^t, rho_t). 7.2(0)."""
    return _within_chunk(row.join, seen.eps) - seen.eps


class Bound(NamedTuple):
    """A theorem: `value` must be at least `bounded`, for rows of the kinds named."""

    value: Callable[[Schedule, Evidence, Constants], Array]
    bounded: Callable[[Evidence], Array]
    kinds: frozenset[str]  # of "cloning", "chunks", "reset"
    source: str


def _gap(seen: Evidence) -> Array:
    return seen.gap


CHUNKS = frozenset({"cloning", "chunks"})
BOUNDS: dict[str, Bound] = {
    "T^2 eps": Bound(quadratic, _gap, CHUNKS, "Ross and Bagnell 2010, Theorem 2.1; 7.2(2)"),
    "sum (T-t+1) eps_t": Bound(to_the_end, _gap, CHUNKS, "1.1; 7.2(2)"),
    "u T eta": Bound(own_law, _gap, CHUNKS | {"reset"}, "Ross and Bagnell 2010, Theorem 3.1"),
    "u sum r_t eps_t": Bound(chunk_recoverable, _gap, CHUNKS, "7.2(1); 7.3"),
    "u k T eps": Bound(chunk_longest, _gap, CHUNKS, "7.2(1); 7.3"),
    "sum (r_t+D) eps_t": Bound(chunk_span, _gap, CHUNKS, "7.2(3)"),
    "combined": Bound(chunk_combined, _gap, CHUNKS, "7.2(4)"),
    "cost-weighted": Bound(chunk_cost_weighted, _gap, CHUNKS, "7.2(5), with u + v in place of u"),
    "own error": Bound(own_error, lambda seen: seen.eta.sum(), CHUNKS, "7.2(0)"),
    "chunk distance": Bound(chunk_distance, lambda seen: 1 - seen.agreement, CHUNKS, "7.5"),
    "law shift": Bound(law_shift, lambda seen: seen.shift, CHUNKS, "7.2(0)"),
    "reset variant": Bound(reset_variant, _gap, frozenset({"reset"}), "7.3"),
}


def slack(bound: Bound, row: Schedule, seen: Evidence, known: Constants) -> Array:
    """Right-hand side minus what it bounds; the least over steps where the theorem speaks of each step. []"""
    return jnp.min(bound.value(row, seen, known) - bound.bounded(seen))


@exact
def slacks(row: Schedule, seen: Evidence, known: Constants) -> dict[str, Array]:
    """The slack of every bound, whether or not it holds for this kind of row."""
    return {name: slack(bound, row, seen, known) for name, bound in BOUNDS.items()}


# ---- many rounds: DAgger ----------------------------------------------------------------------------------


class NoRegret(NamedTuple):
    """The terms of DAgger's theorems after N rounds. Losses are averages a step."""

    best_own: Array  # [] min_i E_{d_pihat_i}[l(s, pihat_i)]: what the theorem bounds
    hindsight: Array  # [] eps_N, loss of the best policy of the class in hindsight
    regret: Array  # [] gamma_N, average regret of the learner
    shift: Array  # [] (2 l_max / N) [n_beta + T sum_{i > n_beta} beta_i]
    sharp_shift: Array  # [] (l_max / N) sum_i avg_t [1 - (1 - beta_i)^(t-1)]


def no_regret(losses: Array, own: Array, hindsight: Array, beta: Array, horizon: int, most: float = 1.0) -> NoRegret:
    """Terms of Ross, Gordon and Bagnell 2011, Theorems 4.1 and 4.2.

    Args:
      losses: [N] l_i(pihat_i), loss of round i's learner under round i's training law.
      own: [N] loss of round i's learner under its own law.
      hindsight: [] min over the class of the average of l_1..l_N.
      beta: [N] non-increasing.
      horizon: T.
      most: l_max, the loss's upper bound.
    """
    rounds = losses.shape[-1]
    # n_beta: for every round the cheaper of 2 l_max and 2 l_max T beta_i, as beta does not increase.
    shift = 2 * most * jnp.minimum(1.0, horizon * beta).sum() / rounds
    played = 1 - (1 - beta[:, None]) ** jnp.arange(horizon)
    return NoRegret(
        best_own=own.min(),
        hindsight=hindsight,
        regret=losses.mean() - hindsight,
        shift=shift,
        sharp_shift=most * played.mean(-1).sum() / rounds,
    )


def theorem_4_1(terms: NoRegret) -> Array:
    """eps_N + gamma_N + (2 l_max / N) [n_beta + T sum_{i > n_beta} beta_i] >= best own loss."""
    return terms.hindsight + terms.regret + terms.shift


def theorem_4_1_sharp(terms: NoRegret) -> Array:
    """The same with our shift term: only the t - 1 actions before step t can move its law, and l >= 0 (2)."""
    return terms.hindsight + terms.regret + terms.sharp_shift


def theorem_4_2(terms: NoRegret, episodes: int, rounds: int, delta: float, most: float = 1.0) -> Array:
    """Theorem 4.1 on sampled losses, plus l_max sqrt(2 log(1/delta) / (m N)); holds with probability 1 - delta.

    `terms` hold the empirical losses of m = `episodes` a round; `best_own` stays the population's.
    """
    return theorem_4_1(terms) + most * jnp.sqrt(2 * jnp.log(1 / delta) / (episodes * rounds))


# ---- random phase -----------------------------------------------------------------------------------------


def random_phase(length: int, seen: Evidence, known: Constants) -> Array:
    """u k T eps, evidence averaged over the k phases of chunks of `length` k. 7.3."""
    return known.recoverability * length * seen.eps.sum()


# ---- sums over a chunk ------------------------------------------------------------------------------------


def _after_chunk(boundary: Array, span: Array) -> Array:
    """(Expected) span D just after the chunk of each step. [T]"""

    def earlier(later: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
        ends, here = xs
        value = ends * here + (1 - ends) * later
        return value, value

    ends = jnp.append(boundary[1:], 1.0)
    return jax.lax.scan(earlier, jnp.zeros_like(span[0]), (ends, span), reverse=True)[1]


def _within_chunk(boundary: Array, values: Array) -> Array:
    """(Expected) sum over the chunk's steps so far, this one included. [T]"""

    def later(before: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
        starts, here = xs
        total = (1 - starts) * before + here
        return total, total

    return jax.lax.scan(later, jnp.zeros_like(values[0]), (boundary, values))[1]
