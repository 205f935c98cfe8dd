"""Detectability estimated from roll-outs, wherever both policies have probabilities, with intervals."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from dagger_jax.types import Array, Schedule, Trace


class Estimate(NamedTuple):
    """A value with its confidence interval."""

    value: float
    low: float
    high: float


def ratios(trace: Trace, ratio: Array, row: Schedule) -> tuple[Array, Array]:
    """The ratio along both walkers of traced episodes, since their chunk began: (guide, novice), each [T, B].

    Args:
      trace: from `rollout.trace`, with a guide.
      ratio: from `log_ratio`, [L, S, A].
      row: the row that was traced; `join` must be 0 or 1.
    """
    horizon = trace.novice.shape[0]
    ratio = jnp.broadcast_to(ratio, (horizon, *ratio.shape[1:]))
    steps = jnp.arange(horizon)[:, None]
    guide = ratio[steps, trace.guide, trace.guided]
    novice = ratio[steps, trace.novice, trace.acts]

    def later(total: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
        join, now = xs
        total = jnp.where(join > 0, 0.0, total) + now
        return total, total

    both = jnp.stack([guide, novice], -1)
    summed = jax.lax.scan(later, jnp.zeros_like(both[0]), (row.join, both))[1]
    return summed[..., 0], summed[..., 1]


def estimate(guide: Array, novice: Array, confidence: float = 0.95) -> dict[str, Estimate]:
    """Every distance of `Detectability` from ratios of independent chunks, with intervals.

    Args:
      guide: [B] ratios where the expert continued.
      novice: [B'] ratios where the learner did, independent of each other.
      confidence: of every interval.

    The ratios are exact, so every distance is a mean of a known function of them, and the area under the curve
    a U-statistic (DeLong, DeLong and Clarke-Pearson 1988).
    """
    guide, novice = np.asarray(guide, np.float64), np.asarray(novice, np.float64)
    # Total variation twice, from either side; their mean has the smaller variance of the two or less.
    half = {
        "total_variation": (0.5 * np.maximum(0, -np.expm1(-guide)), 0.5 * np.maximum(0, -np.expm1(novice))),
        "kl": (guide, np.zeros(2)),
        "hellinger": (2 * (1 - np.exp(-guide / 2)), np.zeros(2)),
        "jensen_shannon": (
            0.5 * (np.log(2) - np.logaddexp(0, -guide)),
            0.5 * (np.log(2) - np.logaddexp(0, novice)),
        ),
    }
    tail = float(stats.norm.ppf(0.5 + confidence / 2))
    found = {}
    for name, (first, second) in half.items():
        value = first.mean() + second.mean()
        error = np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second)) if np.isfinite(value) else 0
        found[name] = Estimate(float(value), float(value - tail * error), float(value + tail * error))
    found["accuracy"] = Estimate(*((1 + np.array(found["total_variation"])) / 2).tolist())
    found["auc"] = _auc(guide, novice, tail)
    return found


def _auc(guide: np.ndarray, novice: np.ndarray, tail: float) -> Estimate:
    # Placements: which share of the other sample each value is above, ties counting half.
    order, other = np.sort(novice), np.sort(guide)
    above = (np.searchsorted(order, guide, "left") + np.searchsorted(order, guide, "right")) / (2 * len(novice))
    below = 1 - (np.searchsorted(other, novice, "left") + np.searchsorted(other, novice, "right")) / (2 * len(guide))
    value = above.mean()
    error = np.sqrt(above.var(ddof=1) / len(guide) + below.var(ddof=1) / len(novice))
    return Estimate(float(value), float(value - tail * error), float(value + tail * error))
