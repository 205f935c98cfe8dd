"""The state of statements about what is measured with sampling error: holds, refuted, or not shown.

A statement about an interval goes through `claim.compared`. Those here are about several estimates at once.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from dagger_jax import growth

from ..claim import HOLDS, NOT_SHOWN, REFUTED, State, settled

SIGMAS = 4.0  # standard errors of a normal law, beyond which an estimate contradicts a statement
CHANCE = 1e-3  # the same for the least chance of several estimates, times their number
RESOLUTION = 0.5  # relative: a test that would not see a deviation so large shows nothing
EXCESS = 0.1  # the same of probabilities, absolute
SHOWN = 0.975  # confidence on one side, with which something is shown: that of 95% intervals


def worst(states: Iterable[State]) -> State:
    """The state of "all of these hold": refuted if one is, not shown if nothing or one is not shown."""
    states = list(states)
    if REFUTED in states:
        return REFUTED
    return NOT_SHOWN if NOT_SHOWN in states or not states else HOLDS


def law(found: growth.Growth | None, power: int) -> State:
    """The state of "it grows with this power", 1 or 2, of the horizon; None where no law could be fitted."""
    if found is None or found.verdict == "undecided":
        return NOT_SHOWN
    return settled(found.verdict == {1: "linear", 2: "quadratic"}[power])


def allowance(replicas: ArrayLike = np.inf, sigmas: float = SIGMAS) -> np.ndarray:
    """Standard errors that are as improbable as `sigmas` of a normal law, with what few replicas know of theirs."""
    return stats.t.isf(stats.norm.sf(sigmas), np.maximum(np.asarray(replicas, float) - 1, 1))


class Outcome(NamedTuple):
    """Estimates against what they should be."""

    state: State
    value: float | None  # the largest distance, in standard errors; or the least chance, times the number of estimates
    limit: float  # how large it may be, or how small
    seen: float  # the deviation that would have been seen; infinite where no standard error is known

    def power(self) -> str:
        """What a test of equality would have seen, in words."""
        return (
            f"a deviation of {self.seen:.2g} of it would be seen"
            if self.seen < np.inf
            else "no standard error is known"
        )


def equal(
    differences: ArrayLike,
    errors: ArrayLike,
    sizes: ArrayLike,
    *,
    replicas: ArrayLike = np.inf,
    sigmas: float = SIGMAS,
) -> Outcome:
    """Estimates equal what is known: none is further from it than chance allows, and a factor would have been seen.

    Args:
      differences: estimate minus what is known. [M]
      errors: standard errors, NaN where unknown. [M]
      sizes: of what is known; `seen` is the least deviation, relative to it, that one of the tests would see. [M]
      replicas: that a standard error is of. [M] or []
      sigmas: how improbable a deviation must be, in standard errors of a normal law.
    """
    differences, errors, sizes = (np.atleast_1d(np.asarray(each, float)) for each in (differences, errors, sizes))
    limits = np.broadcast_to(allowance(replicas, sigmas), errors.shape)
    known = (errors > 0) & np.isfinite(differences)
    if not known.any():
        return Outcome(NOT_SHOWN, None, sigmas, np.inf)
    scores, limits = np.abs(differences[known] / errors[known]), limits[known]
    seen = limits * errors[known] / np.maximum(np.abs(sizes[known]), 1e-300)
    state = REFUTED if (scores > limits).any() else NOT_SHOWN if seen.min() > RESOLUTION else HOLDS
    return Outcome(state, float(scores.max()), float(limits.max()), float(seen.min()))


def below(values: ArrayLike, errors: ArrayLike, limits: ArrayLike, replicas: ArrayLike = np.inf) -> State:
    """The state of "every mean is at most its limit"; arguments [M], standard errors NaN where unknown.

    Refuted where one is above by more than `allowance`. It holds where the upper end of each one's 95% interval is
    at most the limit: all of them must be shown, so no interval is widened for their number.
    """
    values, errors, limits = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(e, float)) for e in (values, errors, limits))
    )
    above, wide = values - limits, stats.t.ppf(SHOWN, np.maximum(np.asarray(replicas, float) - 1, 1))
    if (above > allowance(replicas) * errors).any():
        return REFUTED
    return HOLDS if len(values) and (above + wide * errors <= 1e-12 * np.abs(limits)).all() else NOT_SHOWN


def never_above(above: ArrayLike, spreads: ArrayLike, *, two_sided: bool = False) -> Outcome:
    """No estimate is above its limit (`two_sided`: away from it) by more than chance allows, in probability units.

    Args:
      above: estimate minus limit. [M]
      spreads: standard errors. [M]
      two_sided: both directions count.

    Returns:
      The least chance of so large an `above`, times M, which must be `CHANCE` at least; `seen` is what would have been
      seen at every estimate. Not shown where that is more than `EXCESS`.
    """
    above, spreads = np.asarray(above, float), np.asarray(spreads, float)
    if not len(above):
        return Outcome(NOT_SHOWN, None, CHANCE, np.inf)
    sides = 1 + two_sided
    scores = (np.abs(above) if two_sided else above) / spreads
    chance = min(1.0, float(sides * stats.norm.sf(scores).min()) * len(scores))
    seen = float(stats.norm.isf(CHANCE / len(scores) / sides) * spreads.max())
    state = REFUTED if chance < CHANCE else NOT_SHOWN if not seen <= EXCESS else HOLDS
    return Outcome(state, chance, CHANCE, seen)
