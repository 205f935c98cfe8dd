"""The registry of bounds: each theorem's right-hand side, what it bounds, what it reads, which rows it is about.

A bound's slack is its right-hand side minus what it bounds, and must not be negative.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dagger_jax.bounds import chunks, costs, mixtures, rounds, statistics
from dagger_jax.evidence import Constants, Evidence
from dagger_jax.precision import float64
from dagger_jax.schedules import filled
from dagger_jax.types import Array, Schedule


class Bound(NamedTuple):
    """A theorem: `value` must be at least `bounded`.

    About one learner under one row of the kinds named (see `kinds`) it is value(row, Evidence, Constants). Where there
    are none it is about something else: value(what it `reads`, and the numbers that the function's docstring names).
    """

    value: Callable[..., Array]
    bounded: Callable[[Any], Array]  # of what it reads; a TypeError where it is a mean over several of these
    kinds: frozenset[str]  # of "cloning", "chunks", "reset", "other"; none: it is not about a row
    source: str
    reads: type | None = Evidence  # None: numbers alone
    words: str = "gap"  # what it bounds


def _gap(seen: Any) -> Array:
    return seen.gap


def _other(value: Callable[..., Array], reads: type, source: str, words: str = "gap") -> Bound:
    return Bound(value, _gap, NONE, source, reads, words)


def _rounds(value: Callable[..., Array], source: str) -> Bound:
    return Bound(value, lambda terms: terms.best_own, NONE, source, rounds.NoRegret, "least own loss")


def _mixture(value: Callable[..., Array], source: str) -> Bound:
    return _other(value, mixtures.Mixture, source)


def _mean_gap(value: Callable[..., Array], reads: type, source: str) -> Bound:
    return Bound(value, lambda seen: seen.gap.mean(), NONE, source, reads, "mean gap over the rounds")


def _unread(value: Callable[..., Array], source: str, reads: type | None = None) -> Bound:
    words = "mean gap over data sets" if reads is None else "mean gap over phases"
    return Bound(value, _averaged, NONE, source, reads, words)


def _averaged(seen: Any) -> Array:
    raise TypeError("this bound is about a mean: compare its value with that of what was measured")


NONE: frozenset[str] = frozenset()
CHUNKS = frozenset({"cloning", "chunks"})
CLONING = "Ross and Bagnell 2010, Theorem 2.1; derived here for chunks"
RECOVERED = "derived here for chunks; Ross and Bagnell 2010, Theorem 3.1"
COUPLED = "derived here by coupling, as Ross and Bagnell 2010, Theorem 2.1"
EVERY = CHUNKS | {"reset", "other"}
DAGGER = "Ross, Gordon and Bagnell 2011, Theorem 4.1"
SAMPLED = "Ross, Gordon and Bagnell 2011, Theorem 4.2"
SEARN = "Daume, Langford and Marcu 2009, derived here"
AGGREVATE = "Ross and Bagnell 2014, Theorem 2.1"
NRPI = "Ross and Bagnell 2014, section 3"
DART = "Laskey et al. 2017, arXiv 1703.09327"
FOSTER = "Foster, Block and Misra 2024, arXiv 2407.15007"
RAJARAMAN = "Rajaraman et al. 2020, arXiv 2009.05990"
BOUNDS: dict[str, Bound] = {
    "T^2 eps": Bound(chunks.quadratic, _gap, CHUNKS, CLONING),
    "sum (T-t+1) eps_t": Bound(chunks.to_the_end, _gap, CHUNKS, CLONING),
    "u T eta": Bound(chunks.own_law, _gap, EVERY, "Ross and Bagnell 2010, Theorem 3.1"),
    "u sum r_t eps_t": Bound(chunks.chunk_recoverable, _gap, CHUNKS, RECOVERED),
    "u k T eps": Bound(chunks.chunk_longest, _gap, CHUNKS, RECOVERED),
    "sum (r_t+D) eps_t": Bound(chunks.chunk_span, _gap, CHUNKS, "derived here: both meet again within the span of V*"),
    "combined": Bound(chunks.chunk_combined, _gap, CHUNKS, "derived here: the least of three bounds, step by step"),
    "cost-weighted": Bound(chunks.chunk_cost_weighted, _gap, CHUNKS, "derived here; after arXiv 1406.5979"),
    "own error": Bound(chunks.own_error, lambda seen: seen.eta.sum(), CHUNKS, COUPLED),
    "chunk distance": Bound(chunks.chunk_distance, lambda seen: 1 - seen.overlap, CHUNKS, COUPLED),
    "law shift": Bound(chunks.law_shift, lambda seen: seen.shift, CHUNKS, COUPLED),
    "cost to go": Bound(chunks.performance_difference, _gap, EVERY, "Kakade and Langford 2002; arXiv 1406.5979"),
    "reset variant": Bound(
        chunks.reset_variant, _gap, frozenset({"reset"}), "derived here: excursions from the expert's states"
    ),
    # ---- of all rounds of a no-regret learner ----
    "DAgger 4.1": _rounds(rounds.theorem_4_1, DAGGER),
    "DAgger 4.1, sharper": _rounds(rounds.theorem_4_1_sharp, f"derived here, after {DAGGER}"),
    "DAgger 4.2": _rounds(rounds.theorem_4_2, SAMPLED),
    "DAgger 4.2, sharper": _rounds(rounds.theorem_4_2_sharp, f"derived here, after {SAMPLED}"),
    # ---- of mixtures of policies ----
    "SMILe": _mixture(mixtures.smile, "derived here, after Ross and Bagnell 2010, Theorem 4.1"),
    "SMILe, sharper": _mixture(mixtures.smile_sharp, "Ross and Bagnell 2010, Theorem 4.1, derived here"),
    "SEARN": _mixture(mixtures.searn, SEARN),
    "SEARN, sharper": _mixture(mixtures.searn_sharp, SEARN),
    "SEARN, by regret": _mixture(mixtures.searn_regret, SEARN),
    "SEARN, published": _mixture(mixtures.searn_published, "Daume, Langford and Marcu 2009, arXiv 0907.0786"),
    # ---- of costs-to-go, and of perturbed experts ----
    "AggreVaTe": _mean_gap(costs.aggrevate, costs.CostToGo, AGGREVATE),
    "AggreVaTe, sharper": _mean_gap(costs.aggrevate_sharp, costs.CostToGo, AGGREVATE),
    "AggreVaTe, signed": _mean_gap(costs.aggrevate_signed, costs.CostToGo, f"derived here, after {AGGREVATE}"),
    "NRPI": _mean_gap(costs.nrpi, costs.Improvement, NRPI),
    "NRPI, any comparator": _mean_gap(costs.nrpi_against, costs.Improvement, NRPI),
    "DART": _other(costs.dart, costs.Departure, DART, "|J - J(noisy expert)|"),
    "DART, coupled": _other(costs.dart_coupled, costs.Departure, DART, "|J - J(noisy expert)|"),
    # ---- of laws of whole trajectories ----
    "R TV": _other(statistics.by_total_variation, statistics.Trajectories, f"derived here, after {FOSTER}"),
    "R D_H^2": _other(statistics.by_hellinger, statistics.Trajectories, f"derived here, after {FOSTER}"),
    "R D_H": _other(statistics.by_hellinger_root, statistics.Trajectories, FOSTER),
    # ---- of evidence and a number more: the ratio of two laws, the length of chunks of random phase ----
    "u C T eps": Bound(statistics.density_ratio, _gap, NONE, "Spencer et al. 2021, arXiv 2102.02872, derived here"),
    "random phase": _unread(chunks.random_phase, RECOVERED, Evidence),
    # ---- of numbers alone; what they bound is measured over data sets ----
    "cloning, expected": _unread(statistics.cloning_expected, f"derived here, after {RAJARAMAN}"),
    "cloning, tabular": _unread(statistics.cloning_tabular, f"derived here, after {RAJARAMAN}"),
    "log loss": _unread(statistics.log_loss, FOSTER),
    "log loss, any expert": _unread(statistics.log_loss_stochastic, FOSTER),
    "zero-one loss": _unread(statistics.zero_one_loss, FOSTER),
    "Stagger": _unread(statistics.stagger, "Li and Zhang 2025, arXiv 2412.07057, Theorem 3"),
    "Stagger, expected": _unread(statistics.stagger_expected, "derived here, after Li and Zhang 2025, Theorem 3"),
    "action chunks": _unread(statistics.action_chunks, "derived here: open-loop chunks"),
    "action chunks, even": _unread(statistics.action_chunks_even, "derived here: open-loop chunks"),
}


def of_rows() -> dict[str, Bound]:
    """The bounds on one learner under one row."""
    return {name: bound for name, bound in BOUNDS.items() if bound.kinds}


def slack(bound: Bound, row: Schedule, seen: Evidence, known: Constants) -> Array:
    """Right-hand side minus what it bounds; the least over steps where the theorem speaks of each step. []"""
    left = bound.value(row, seen, known) - bound.bounded(seen)
    return jnp.where(jnp.arange(left.size) < seen.steps, left, jnp.inf).min()


def kinds(row: Schedule) -> frozenset[str]:
    """What theorems may call a row [T], which must be concrete: every kind of it, or "other".

    All know an expert without noise, a roll-in without it (`beta` 0) and a label at every step.
    "chunks": the expert continues from the learner's states, nobody goes back; labels may be on either walk.
    "cloning": chunks whose only one is the episode, labelled on the expert's walk.
    "reset": excursions of the learner from the expert's walk, which are labelled.

    Raises:
      TypeError: a traced row, whose numbers are not known yet.
    """
    if any(isinstance(column, jax.core.Tracer) for column in row):
        raise TypeError("bounds.kinds and bounds.slacks need a concrete row: use bounds.slack inside a transformation")
    patient = row.patience is not None or row.copied is not None
    row = filled(row)
    join, back, guide, novice = (
        np.asarray(column) > 0 for column in (row.join[1:], row.back, row.label_guide, row.label_novice)
    )
    if np.any(row.beta) or np.any(row.noise) or patient or not (guide | novice).all():
        return frozenset({"other"})
    found = {
        "chunks": not back.any(),
        "cloning": not (back.any() or join.any() or novice.any()),
        "reset": not (join.any() or guide.any()),
    }
    return frozenset(kind for kind, holds in found.items() if holds) or frozenset({"other"})


def slacks(row: Schedule, seen: Evidence, known: Constants) -> dict[str, Array]:
    """The slack of every bound that speaks of rows like this one, which must be concrete: see `kinds`."""
    here = kinds(row)
    return _slacks(row, seen, known, about=tuple((name, bound) for name, bound in BOUNDS.items() if bound.kinds & here))


def _each(row: Schedule, seen: Evidence, known: Constants, *, about: tuple[tuple[str, Bound], ...]) -> dict[str, Array]:
    return {name: slack(bound, row, seen, known) for name, bound in about}


_slacks = float64(_each, static=("about",))
