"""One learner under one row of a schedule: how much it loses, by what its errors are on the row's training law.

Statements and proofs are in docs/theory.md. All costs are in units of the world's cost, summed over an
episode.
"""

import jax
import jax.numpy as jnp

from dagger_jax.evidence import Constants, Evidence
from dagger_jax.schedules import filled, remaining
from dagger_jax.types import Array, Schedule


def quadratic(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """T^2 eps, for every partition: docs/theory.md#chunks-without-recoverability.

    For behavioural cloning: Ross and Bagnell 2010, Theorem 2.1; docs/theory.md#behavioural-cloning.
    """
    return seen.steps * seen.eps.sum()


def to_the_end(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t (T - t + 1) eps_t: an error costs at most what is left.

    docs/theory.md#behavioural-cloning; for every partition docs/theory.md#chunks-without-recoverability.
    """
    return (_left(seen) * seen.eps).sum()


def own_law(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """u T eta, eta the error under the learner's own law: docs/theory.md#forward-training-and-own-law-errors.

    For forward training: Ross and Bagnell 2010, Theorem 3.1.
    """
    return known.recoverability * seen.eta.sum()


def performance_difference(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t E[Q*_t(s, a) - V*_t(s)] under the learner's own law: an equality.

    Kakade and Langford 2002; docs/theory.md#performance-difference.
    """
    return seen.advantage.sum()


def chunk_recoverable(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """u sum_t r_t eps_t, r_t the remaining length of t's chunk: docs/theory.md#chunks-the-recoverable-bound.

    With random chunks u sum_t E[r_t] eps_t: docs/theory.md#chunks-variable-lengths.
    """
    return known.recoverability * (remaining(row.join) * seen.eps).sum()


def chunk_longest(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """u k T eps, k the longest (expected) chunk: the worst placement of the error in a chunk.

    docs/theory.md#chunks-the-recoverable-bound. For geometric chunks k is the mean 1/p
    (docs/theory.md#chunks-geometric-lengths), for a random phase with evidence averaged over the phases
    k is the length (docs/theory.md#chunks-random-phase).
    """
    return known.recoverability * remaining(row.join).max() * seen.eps.sum()


def chunk_span(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t (r_t + D_j) eps_t, D_j the span of V* just after t's chunk: docs/theory.md#chunks-the-span-bound."""
    return ((remaining(row.join) + _after_chunk(row.join, known.span)) * seen.eps).sum()


def chunk_combined(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t eps_t min{u r_t, r_t + D_j, T - t + 1}: docs/theory.md#chunks-the-combined-bound."""
    left = remaining(row.join)
    options = known.recoverability * left, left + _after_chunk(row.join, known.span), _left(seen)
    return (jnp.minimum(jnp.minimum(options[0], options[1]), options[2]) * seen.eps).sum()


def chunk_cost_weighted(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t w_t + (u + v) sum_t (r_t - 1) eps_t, w_t the learner's disadvantage under the training law.

    docs/theory.md#chunks-the-cost-weighted-bound. v is what a deviation from the expert can gain, and a shift of
    the law costs up to u + v. The form with u alone is false for an expert that can be improved on
    (tests/bounds/bounds_instances_test.py).
    """
    late = ((remaining(row.join) - 1) * seen.eps).sum()
    return seen.training_advantage.sum() + (known.recoverability + known.improvement) * late


def reset_variant(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """u sum_t (1 + T - end(t)) eps_t, end(t) the last step of t's excursion.

    docs/theory.md#excursions-the-reset-variant.
    """
    step = jnp.arange(1, seen.eps.shape[-1] + 1)
    back = jnp.where(step <= seen.steps, filled(row).back, 1.0)
    end = step + remaining(back) - 1
    return known.recoverability * ((1 + seen.steps - end) * seen.eps).sum()


def own_error(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum_t r_t eps_t, which bounds sum_t eta_t, the learner's error under its own law.

    docs/theory.md#chunks-own-errors-and-laws.
    """
    return (remaining(row.join) * seen.eps).sum()


def chunk_distance(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum of eps over the chunk so far, [T], which bounds 1 - overlap, and so the chunk's total variation.

    docs/theory.md#detectability-total-variation.
    """
    return _within_chunk(row.join, seen.eps)


def law_shift(row: Schedule, seen: Evidence, known: Constants) -> Array:
    """sum of eps over the chunk's earlier steps, [T], which bounds TV(d_pi^t, rho_t).

    docs/theory.md#chunks-own-errors-and-laws.
    """
    return _within_chunk(row.join, seen.eps) - seen.eps


# ---- random phase ------------------------------------------------------------------------------------------


def random_phase(length: int, seen: Evidence, known: Constants) -> Array:
    """u k T eps, evidence averaged over the k phases of chunks of `length` k.

    docs/theory.md#chunks-random-phase.
    """
    return known.recoverability * length * seen.eps.sum()


def _left(seen: Evidence) -> Array:
    """Steps that are left, this one included: T at the first. [T]"""
    return seen.steps - jnp.arange(seen.eps.shape[-1])


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
