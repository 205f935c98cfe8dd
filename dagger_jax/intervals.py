"""Intervals around functions of means over replicas, also where replicas are few and skewed.

The letters of this module: R replicas (seeds). Samples are paired: row i of each is the same replica.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Interval(NamedTuple):
    """A value and the interval around it. Where there is one replica only, the ends are NaN: not measured."""

    value: Any
    low: Any
    high: Any


def without_one(sample: ArrayLike) -> np.ndarray:
    """Means over all replicas but one: [R, ...] -> [R, ...], R at least 2."""
    sample = np.asarray(sample, float)
    return (sample.sum(0) - sample) / (len(sample) - 1)


def spread(jackknifed: np.ndarray, means: int, confidence: float = 0.95) -> tuple[Any, Any]:
    """Standard error of a function of means, and half of the width of its interval.

    Args:
        jackknifed: [R, ...] the function of the means without each replica in turn.
        means: how many means it is a function of.
        confidence: of the interval, in (0, 1).

    The error is the jackknife's (Efron and Stein 1981). Half of the width is Student's multiple of it. Its degrees of
    freedom are R less the number of means, or fewer where the replicas' influences have heavy tails, for these make
    the error itself uncertain: its variance is matched to that of a chi-squared law (Welch and Satterthwaite).
    """
    count = len(jackknifed)
    away = jackknifed - jackknifed.mean(0)
    largest = np.abs(away).max(0)
    away = away / np.where(largest > 0, largest, 1.0)  # whose fourth powers are numbers, whatever the unit
    square = (away**2).mean(0)
    kurtosis = (away**4).mean(0) / np.where(square > 0, square, 1.0) ** 2
    excess = np.where(square > 0, kurtosis - 3, 0.0)  # 0 for a normal law, and where replicas are alike
    freedom = np.clip(2 / (excess / count + 2 / (count - 1)), 1, max(count - means, 1))
    error = largest * np.sqrt((count - 1) * square)
    return error, stats.t.ppf(0.5 + confidence / 2, freedom) * error


def of_means(of: Callable[..., Any], *samples: ArrayLike, confidence: float = 0.95) -> Interval:
    """A smooth function of means over replicas, with its interval.

    Args:
        of: takes a mean for each sample, [...] or with a leading axis, and keeps that axis.
        samples: [R, ...] each.
        confidence: in (0, 1).

    Raises:
        ValueError: samples of different numbers of replicas, or of none.
    """
    value, half = _around(of, samples, confidence)
    return Interval(value, value - half, value + half)


def of_positive(of: Callable[..., Any], *samples: ArrayLike, confidence: float = 0.95) -> Interval:
    """As `of_means`, of a function that is above 0 and in which relative errors count: that of its logarithm.

    Where it is not above 0, or would not be without one replica, the data do not tell it: the interval is [0, inf].
    But where it is 0 without any replica too it is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value, half = _around(lambda *means: np.log(of(*means)), samples, confidence)
        low, high = np.exp(value - half), np.exp(value + half)
    if len(np.asarray(samples[0])) > 1:
        low, high = np.where(np.isnan(low), 0.0, low)[()], np.where(np.isnan(high), np.inf, high)[()]
    return Interval(np.exp(value), low, high)


def _around(of: Callable[..., Any], samples: tuple[ArrayLike, ...], confidence: float) -> tuple[Any, Any]:
    rows = [np.asarray(sample, float) for sample in samples]
    if len({len(sample) for sample in rows}) != 1 or not len(rows[0]):
        raise ValueError(f"samples must have equally many replicas: got {[len(sample) for sample in rows]}.")
    value = np.asarray(of(*(sample.mean(0) for sample in rows)))[()]
    if len(rows[0]) == 1:
        return value, value * np.nan
    without = np.asarray(of(*map(without_one, rows)))
    half = spread(without, len(rows), confidence)[1]
    return value, np.where((without == value).all(0), 0.0, half)[()]  # also where all are infinite


def mean(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """The mean of [R, ...]."""
    return of_means(lambda average: average, values, confidence=confidence)


def ratio(values: ArrayLike, reference: ArrayLike, *, nothing: float = 0.0, confidence: float = 0.95) -> Interval:
    """The mean of `values` over that of `reference`, [R] each, paired; see `of_positive`.

    Values that are at most `nothing` from 0 are 0. Two samples of zeros are equal: their ratio is 1.
    """
    both = [np.where(np.abs(each) <= nothing, 0.0, each) for each in (values, reference)]
    if not any(each.any() for each in both):
        return Interval(1.0, 1.0, 1.0)
    return Interval(*map(float, of_positive(np.divide, *both, confidence=confidence)))
