"""Detectability estimated from roll-outs, wherever both policies have probabilities, with intervals."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from dagger_jax.types import Array, Trace

TELLING = 50  # samples, each by how surely it tells the two apart, that an interval of an unbounded mean needs


class Estimate(NamedTuple):
    """A value with its confidence interval. Where `high` is infinite and the value is not, the sample does not tell."""

    value: float
    low: float
    high: float


def ratios(trace: Trace, ratio: Array) -> tuple[np.ndarray, np.ndarray]:
    """The ratio along both walkers of traced episodes, since their chunk began: (guide, novice), each [T, B].

    Args:
      trace: from `rollout.trace`, any row without `noise` and, but for the roll-in, without `beta`.
      ratio: from `log_ratio`, [L, S, A].

    Raises:
      ValueError: a trace without a guide.

    Both walkers of an episode share their randomness: what is compared as independent must come from different
    episodes. `estimate` takes them in pairs, as they are.
    """
    if trace.guide is None or trace.joined is None:
        raise ValueError("the trace has no guide: detectability compares two walkers")
    ratio, joined = np.asarray(ratio, float), np.asarray(trace.joined)
    steps = np.minimum(np.arange(len(joined)), len(ratio) - 1)[:, None]
    guide = ratio[steps, np.asarray(trace.guide), np.asarray(trace.guided)]
    novice = ratio[steps, np.asarray(trace.novice), np.asarray(trace.acts)]
    for step in range(1, len(joined)):
        guide[step] += np.where(joined[step], 0.0, guide[step - 1])
        novice[step] += np.where(joined[step], 0.0, novice[step - 1])
    return guide, novice


def estimate(guide: Array, novice: Array, confidence: float = 0.95) -> dict[str, Estimate]:
    """Every distance of `Detectability` from sampled ratios, with intervals.

    The ratios are exact, so each distance but KL is the mean, over both samples, of a known bounded function of
    the ratio, and the area under the curve a U-statistic, see `auc`.

    Args:
      guide: [B] ratios where the expert continued.
      novice: [B] ratios where the learner did. Episode i yields the i-th of both, which may depend on each
        other (`rollout` couples its walkers); episodes are independent.
      confidence: of every interval, in (0, 1).

    Returns:
      By name. Intervals are those of Agresti and Coull (1998), carried from shares to means of bounded values:
      z^2/2 values are added at each end of the range. They hold where what matters is rare, where the normal
      interval fails. KL has no range: a history too rare to be seen may hold most of it. Its interval, Student's, is
      given where the expert's episodes that tell the two apart number TELLING at least, each counting by how surely
      it does, |p - q| / (p + q); where fewer do it is [0, inf], and only the value is left.

    Raises:
      ValueError: unequal numbers, fewer than two episodes, ratios that cannot be, or a confidence that cannot.
    """
    guide, novice = np.asarray(guide, np.float64), np.asarray(novice, np.float64)
    if guide.shape != novice.shape or guide.ndim != 1 or len(guide) < 2:
        raise ValueError(f"ratios must be [B] of at least 2 episodes, for both: got {guide.shape} and {novice.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    if not ((guide > -np.inf).all() and (novice < np.inf).all()):  # also where one is not a number
        raise ValueError("what the expert did has a ratio above -inf, what the learner did one below inf, none is nan")
    both = np.stack([guide, novice])
    # With p + q = 1 the two likelihoods that the ratio stands for: functions of p alone, all in [0, 1].
    likely = np.exp(-np.logaddexp(0.0, -both)), np.exp(-np.logaddexp(0.0, both))
    found = {
        "total_variation": _mean(abs(likely[0] - likely[1]).mean(0), confidence),
        "kl": _unbounded(guide, abs(likely[0] - likely[1])[0].sum(), confidence),
        "hellinger": _mean(1 - 2 * np.sqrt(likely[0] * likely[1]).mean(0), confidence, 2.0),
        "jensen_shannon": _mean(1 - stats.entropy(np.stack(likely), base=2).mean(0), confidence, np.log(2)),
    }
    found["accuracy"] = Estimate(*((1 + np.array(found["total_variation"])) / 2).tolist())
    found["auc"] = auc(guide, novice, confidence)
    return found


def auc(guide: Array, novice: Array, confidence: float = 0.95) -> Estimate:
    """The area under the curve of any scores of a pair of samples, [B] each as in `estimate`: a U-statistic.

    Source: DeLong, DeLong and Clarke-Pearson 1988, and the interval of `estimate`.
    """
    guide, novice = np.asarray(guide), np.asarray(novice)
    # Each value's place in the other sample: the share that it beats, ties counting half.
    order, other = np.sort(novice), np.sort(guide)
    beaten = (np.searchsorted(order, guide, "left") + np.searchsorted(order, guide, "right")) / 2
    beating = len(guide) - (np.searchsorted(other, novice, "left") + np.searchsorted(other, novice, "right")) / 2
    # An episode is not compared with itself. The mean of both places has half of the U-statistic's error.
    itself = np.where(guide == novice, 0.5, guide > novice)
    places = ((beaten - itself) + (beating - itself)) / (2 * (len(guide) - 1))
    return _mean(places, confidence, spread=2.0)


def bounded_mean(values: Array, confidence: float = 0.95) -> Estimate:
    """The mean of independent values [B] in [0, 1], such as the share of steps with defection; see `estimate`."""
    return _mean(np.asarray(values, np.float64), confidence)


def _mean(values: np.ndarray, confidence: float, scale: float = 1.0, spread: float = 1.0) -> Estimate:
    """The mean of values [B] in [0, 1], times `scale`; its error is `spread` times that of independent values."""
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    count, added = len(values) + z**2, z**2 / 2
    middle = (values.sum() + added) / count
    variance = (((values - middle) ** 2).sum() + added * (middle**2 + (1 - middle) ** 2)) / count
    error = spread * z * np.sqrt(variance / count)
    low, high = max(0.0, middle - error), min(1.0, middle + error)
    return Estimate(*(float(scale * value) for value in (values.mean(), low, high)))


def _unbounded(values: np.ndarray, telling: float, confidence: float) -> Estimate:
    value = float(values.mean())
    if value == np.inf:  # seen once, it is certain
        return Estimate(value, value, value)
    if telling < TELLING:
        return Estimate(value, 0.0, np.inf)
    error = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(value, float(max(0.0, value - error)), float(max(0.0, value + error)))
