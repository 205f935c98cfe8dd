"""One learner under one row of a schedule: how much it loses, by what its errors are on the row's training law.

Section numbers are those of the project's theory notes. All costs are in units of the world's cost, summed over an
episode.
"""

import jax
import jax.numpy as jnp

from dagger_jax.evidence import Constants, Evidence
from dagger_jax.schedules import remaining
from dagger_jax.types import Array, Schedule


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
    """sum of eps over the chunk so far, [T], which bounds 1 - overlap, and so the chunk's total variation. 7.5."""
    return _within_chunk(row.join, seen.eps)


def law_shift(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum of eps over the chunk's earlier steps, [T], which bounds TV(d_pi^t, rho_t). 7.2(0)."""
    return _within_chunk(row.join, seen.eps) - seen.eps


# ---- random phase ------------------------------------------------------------------------------------------


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
