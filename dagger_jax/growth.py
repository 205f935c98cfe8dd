"""How fast a gap grows with the horizon T: an exponent with its interval, and a verdict between T and T².

The letters of this module: M horizons, m of them kept, R replicas (seeds).
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from dagger_jax import intervals

Verdict = Literal["linear", "quadratic", "between", "neither", "undecided"]

# The models of each family. Of two terms the first leads: it holds at least half of the gap at the largest
# horizon; "linear+quadratic" has not come to its quadratic growth. "free" is a Tᶜ, "any" a value per horizon.
_FAMILIES = {
    "linear": ("linear", "linear+constant"),
    "quadratic": ("quadratic", "quadratic+linear"),
    "neither": ("constant+linear", "linear+quadratic", "free", "any"),
}
# By the usual rule of thumb, models whose AIC is within 2 of each other are both supported by the data.
_DECISIVE = 2.0
# Two terms may be up to this many powers steeper than the lower one; T(T - 1) is less than 2 from T = 2 on.
_STEEPEST = 4.0


class Growth(NamedTuple):
    """The growth law of a gap. Intervals have the confidence asked for."""

    exponent: float  # slope of log gap against log T
    low: float  # its interval
    high: float
    slopes: np.ndarray  # [m - 1], between successive kept horizons
    slopes_low: np.ndarray  # [m - 1], their intervals
    slopes_high: np.ndarray  # [m - 1]
    kept: np.ndarray  # [M] bool, False where saturation leaves the horizon out
    aic: dict[str, float]  # by model; less is better
    coefficients: dict[str, tuple[float, ...]]  # by model, in the order of its name; free: (a, c); any: [m]
    verdict: Verdict


def fit(
    horizons: ArrayLike,
    gaps: ArrayLike,
    *,
    saturation: ArrayLike | None = None,
    saturation_limit: float = 0.1,
    confidence: float = 0.95,
    resolution: float = 0.01,
    distance: float = 0.2,
) -> Growth:
    """Fits the law by which a gap grows with the horizon, on the horizons that do not saturate.

    The exponent is the weighted least-squares slope of log mean gap against log T. Its interval is that of
    `intervals`, over replicas with all their horizons, so these may share their seeds.

    The verdict is *linear* or *quadratic* only if the interval lies within `distance` of that power, whole, and the
    data prefer that family. They are compared by AIC = χ² + 2p, χ² = Σ (log mean gap - log model)² / error²:

        linear     a T,   a T + b
        quadratic  a T²,  a T² + b T
        neither    a Tᶜ,  a value per horizon,  and the two-term models whose leading term holds less than
                   half of the gap at the largest horizon (above, it holds at least half)

    error is the largest of the replicas', `resolution`, and saturation / 2: (1 - exp(-s)) / s ≈ 1 - s / 2.
    Errors count as independent between horizons; shared seeds correlate them positively, which mostly moves
    a. If "neither" is better than both others by 2, or the interval is farther than `distance` from both powers, the
    verdict is *between* where the interval lies between 1 and 2, and else *neither*. What is left is *undecided*:
    the interval is too wide, or linear and quadratic are within 2.

    Args:
        horizons: [M] steps, increasing.
        gaps: [R, M] cost units, a row per replica; or [M] exact values, the same as R = 1. Exact values have
            no sampling error: `low` and `high` are then the least and the greatest local slope, the interval of a
            local slope is the slope, and the verdict goes by the slope between the last two horizons.
        saturation: [M] distance from the small-error regime, no unit: say max(T ε, k ε). None: no distance.
        saturation_limit: horizons above it are left out, since saturation bends every law
            (docs/theory.md#growth-exponents-and-saturation).
        confidence: of all intervals, in (0, 1).
        resolution: relative differences of the gap below this are of no interest.
        distance: how far from 1 or 2 the exponent may be where that power is named; below 1/2. T(T + 1)/2 has
            1.93 over 8..64.

    Returns:
        The `Growth`.

    Raises:
        ValueError: if shapes differ; if a number is not finite or out of range; if horizons do not increase;
            if fewer than three are kept; if a mean gap is not positive, or replicas cannot tell it from zero.
    """
    if not (0 < confidence < 1 and resolution > 0 and 0 < distance < 0.5):
        raise ValueError("confidence must be in (0, 1), resolution positive, distance in (0, 1/2).")
    horizons, gaps, saturation, kept = _checked(horizons, gaps, saturation, saturation_limit)
    log_horizon, log_gap = np.log(horizons), np.log(gaps.mean(axis=0))
    single = len(gaps) == 1
    without = log_gap[None] if single else np.log(_without_one(gaps, confidence))
    error = np.maximum(resolution, saturation / 2)
    if not single:
        error = np.maximum(error, intervals.spread(without, 1)[0])

    # The slope is linear in the log gaps, so one product refits without each replica.
    centred = log_horizon - np.average(log_horizon, weights=error**-2)
    slope = centred * error**-2 / np.sum((centred / error) ** 2)
    exponent = float(slope @ log_gap)
    slopes = np.diff(log_gap) / np.diff(log_horizon)
    if single:
        # Growth is what is left as T grows: T(T + 1)/2 has slopes of 1.74 and 1.85 on 2, 4, 8.
        ends, local = (slopes[-1], slopes[-1]), np.zeros_like(slopes)
        low, high = slopes.min(), slopes.max()
    else:
        half = intervals.spread(without @ slope, 1, confidence)[1]
        local = intervals.spread(np.diff(without) / np.diff(log_horizon), 1, confidence)[1]
        low, high = ends = exponent - half, exponent + half

    models = _models(horizons, log_gap, error, exponent)
    aic = {name: value for name, (value, _) in models.items()}
    coefficients = {name: values for name, (_, values) in models.items()}
    verdict = _verdict(aic, *ends, distance)
    numbers = exponent, float(low), float(high), slopes, slopes - local, slopes + local
    return Growth(*numbers, kept, aic, coefficients, verdict)


def _checked(
    horizons: ArrayLike, gaps: ArrayLike, saturation: ArrayLike | None, limit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the kept horizons [m], their gaps [R, m] and saturation [m], and the mask of the kept [M]."""
    horizons, gaps = np.asarray(horizons, float), np.atleast_2d(np.asarray(gaps, float))
    saturation = np.zeros_like(horizons) if saturation is None else np.asarray(saturation, float)
    if horizons.ndim != 1 or gaps.ndim != 2 or gaps.shape[1:] != horizons.shape or not len(gaps):
        raise ValueError(f"gaps must be [R, M] or [M], M horizons: got {gaps.shape} for {horizons.shape}.")
    if saturation.shape != horizons.shape:
        raise ValueError(f"saturation must be [M], one per horizon: got {saturation.shape}.")
    if not all(np.isfinite(numbers).all() for numbers in (horizons, gaps, saturation)):
        raise ValueError("horizons, gaps and saturation must be finite numbers.")
    if (horizons <= 0).any() or (np.diff(horizons) <= 0).any():
        raise ValueError(f"horizons must be positive and increase: got {horizons}.")
    if (saturation < 0).any():
        raise ValueError(f"saturation must be at least 0: got {saturation}.")
    kept = saturation <= limit
    if kept.sum() < 3:
        raise ValueError(f"a growth law needs three horizons with saturation <= {limit}: got {kept.sum()}.")
    horizons, gaps = horizons[kept], gaps[:, kept]
    if (gaps.mean(axis=0) <= 0).any():
        raise ValueError(f"mean gaps must be positive: not so at T = {horizons[gaps.mean(axis=0) <= 0]}.")
    return horizons, gaps, saturation[kept], kept


def _without_one(gaps: np.ndarray, confidence: float) -> np.ndarray:
    """Returns the mean gaps without each replica in turn, [R, m]."""
    without, mean = intervals.without_one(gaps), intervals.mean(gaps, confidence)
    # Where no gap is negative the mean is positive, however uncertain it is.
    if (without <= 0).any() or ((gaps < 0).any(axis=0) & (mean.low <= 0)).any():
        raise ValueError("the replicas cannot tell the gaps from zero: more of them are needed.")
    return without


def _models(
    horizons: np.ndarray, log_gap: np.ndarray, error: np.ndarray, exponent: float
) -> dict[str, tuple[float, tuple[float, ...]]]:
    """Fits every model. Returns (AIC, coefficients) by name."""
    largest, relative = horizons[-1], horizons / horizons[-1]  # relative in (0, 1]

    def scaled(shape: np.ndarray) -> tuple[float, float]:
        """Returns χ² of the best multiple of `shape`, and that multiple."""
        residual = log_gap - np.log(shape)
        log_scale = np.average(residual, weights=error**-2)
        return float(np.sum(((residual - log_scale) / error) ** 2)), float(np.exp(log_scale))

    def power(c: float, parameters: int) -> tuple[float, float]:
        chi2, scale = scaled(relative**c)
        return chi2 + 2 * parameters, scale / largest**c

    def leading(steeper: float) -> float:
        """Returns the part of the first of two terms at the largest horizon.

        The search is over how many powers steeper the sum is than its lower term, over all horizons: 0 is
        the lower term alone, 1 the first alone, and the sum stays positive however steep it is.
        """
        return float((1 - relative[0] ** steeper) / (1 - relative[0]))

    def two_terms(c: int, steepness: tuple[float, float]) -> tuple[float, float, float]:
        """Returns AIC, a and b of a Tᶜ + b Tᶜ⁻¹."""

        def fitted(steeper: float) -> tuple[float, float]:
            return scaled(relative ** (c - 1) * (1 - leading(steeper) * (1 - relative)))

        best = np.asarray(optimize.fminbound(lambda steeper: fitted(steeper)[0], *steepness)).item()
        chi2, scale = fitted(best)
        first, second = scale * leading(best), scale * (1 - leading(best))
        return chi2 + 4, float(first / largest**c), float(second / largest ** (c - 1))

    half = float(np.log((1 + relative[0]) / 2) / np.log(relative[0]))  # leading(half) = 1/2
    aic, a = power(exponent, parameters=2)
    models = {
        "free": (aic, (a, exponent)),
        "any": (2.0 * len(horizons), tuple(float(gap) for gap in np.exp(log_gap))),
    }
    for c, first, second in ((1, "linear", "constant"), (2, "quadratic", "linear")):
        aic, a = power(c, parameters=1)
        models[first] = aic, (a,)
        aic, a, b = two_terms(c, (half, _STEEPEST))
        models[f"{first}+{second}"] = aic, (a, b)
        aic, a, b = two_terms(c, (0.0, half))
        models[f"{second}+{first}"] = aic, (b, a)
    return models


def _verdict(aic: dict[str, float], low: float, high: float, distance: float) -> Verdict:
    linear, quadratic, neither = (min(aic[name] for name in names) for names in _FAMILIES.values())
    best, power, verdict = (linear, 1, "linear") if linear < quadratic else (quadratic, 2, "quadratic")
    elsewhere = all(high < c - distance or low > c + distance for c in (1, 2))
    if neither <= best - _DECISIVE or elsewhere:
        return "between" if low > 1 and high < 2 else "neither"
    within = power - distance <= low and high <= power + distance
    return verdict if within and abs(linear - quadratic) >= _DECISIVE else "undecided"
