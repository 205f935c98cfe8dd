"""How fast a gap grows with the horizon T: an exponent with its interval, and a verdict between T and T².

The letters of this module: M horizons, m of them kept, R replicas (seeds), B bootstrap resamples.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

Verdict = Literal["linear", "quadratic", "neither", "undecided"]

# The models of each family. Of two terms the first leads: it holds at least half of the gap at the largest
# horizon; "linear+quadratic" has not come to its quadratic growth. "free" is a Tᶜ, "any" a value per horizon.
_FAMILIES = {
    "linear": ("linear", "linear+constant"),
    "quadratic": ("quadratic", "quadratic+linear"),
    "neither": ("constant+linear", "linear+quadratic", "free", "any"),
}
# By the usual rule of thumb, models whose AIC is within 2 of each other are both supported by the data.
_DECISIVE = 2.0
# A free exponent this close to 1 or 2 is no rival of that law: T(T + 1) has one on every finite range.
_CLOSE = 0.25
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
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    resolution: float = 0.01,
) -> Growth:
    """Fits the law by which a gap grows with the horizon, on the horizons that do not saturate.

    The exponent is the weighted least-squares slope of log mean gap against log T. Its interval is the
    percentile bootstrap over replicas: one is drawn with all its horizons, so these may share their seeds.

    The verdict compares AIC = χ² + 2p, χ² = Σ (log mean gap - log model)² / error², between the families

        linear     a T,   a T + b
        quadratic  a T²,  a T² + b T
        neither    a Tᶜ,  a value per horizon,  and the two-term models whose leading term holds less than
                   half of the gap at the largest horizon (above, it holds at least half)

    error is the largest of the bootstrap's, `resolution`, and saturation / 2: (1 - exp(-s)) / s ≈ 1 - s / 2.
    Errors count as independent between horizons; shared seeds correlate them positively, which mostly moves
    a. *Neither*: better than both others by 2. *Undecided*: linear and quadratic are within 2, or the better
    is within 2 of a free exponent more than 1/4 away from its own. Otherwise the better one.

    Args:
        horizons: [M] steps, increasing.
        gaps: [R, M] cost units, a row per replica; or [M] exact values, the same as R = 1. Exact values have
            no sampling error: `low` and `high` are then the least and the greatest local slope, and the
            interval of a local slope is the slope. Below ten replicas or so all intervals are a little short.
        saturation: [M] distance from the small-error regime, no unit: say max(T ε, k ε). None: no distance.
        saturation_limit: horizons above it are left out, since saturation bends every law (theory.md 9.2).
        resamples: B, of the bootstrap.
        seed: of the resamples; same seed, same bits.
        confidence: of all intervals, in (0, 1); also how far few replicas widen the verdict's errors.
        resolution: relative differences of the gap below this are of no interest.

    Returns:
        The `Growth`.

    Raises:
        ValueError: if shapes differ; if a number is not finite or out of range; if horizons do not increase;
            if fewer than three are kept; if a mean gap is not positive, or replicas cannot tell it from zero.
    """
    if not (0 < confidence < 1 and resolution > 0 and resamples > 0):
        raise ValueError("confidence must be in (0, 1), resolution and resamples positive.")
    horizons, gaps, saturation, kept = _checked(horizons, gaps, saturation, saturation_limit)
    log_horizon, log_gap = np.log(horizons), np.log(gaps.mean(axis=0))
    log_resampled = _log_resampled_means(gaps, resamples, confidence, np.random.default_rng(seed))
    error = np.maximum(log_resampled.std(axis=0), np.maximum(resolution, saturation / 2))

    # The slope is linear in the log gaps, so one product refits every resample.
    centred = log_horizon - np.average(log_horizon, weights=error**-2)
    slope = centred * error**-2 / np.sum((centred / error) ** 2)
    exponent = float(slope @ log_gap)
    slopes = np.diff(log_gap) / np.diff(log_horizon)
    if len(gaps) == 1:
        low, high, slopes_low, slopes_high = slopes.min(), slopes.max(), slopes, slopes
    else:
        tails = (0.5 - confidence / 2, 0.5 + confidence / 2)
        low, high = np.quantile(log_resampled @ slope, tails)
        slopes_low, slopes_high = np.quantile(np.diff(log_resampled) / np.diff(log_horizon), tails, axis=0)

    models = _models(horizons, log_gap, error, exponent)
    aic = {name: value for name, (value, _) in models.items()}
    coefficients = {name: values for name, (_, values) in models.items()}
    verdict = _verdict(aic, exponent)
    return Growth(exponent, float(low), float(high), slopes, slopes_low, slopes_high, kept, aic, coefficients, verdict)


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


def _log_resampled_means(gaps: np.ndarray, resamples: int, confidence: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the log mean gaps of resampled replicas, [B, m]; of one replica itself, [1, m]."""
    replicas, log_gap = len(gaps), np.log(gaps.mean(axis=0))
    if replicas == 1:
        return log_gap[None]
    # R - 1 draws, not R: the variance of a resampled mean is then the unbiased estimate of the mean's.
    draws = rng.multinomial(replicas - 1, np.full(replicas, 1 / replicas), size=resamples)
    means = draws @ gaps / (replicas - 1)
    # A mean that is not positive has no logarithm: a few are dropped, many say that the gap is not measured.
    positive = (means > 0).all(axis=1)
    if positive.mean() < confidence:
        raise ValueError("the replicas cannot tell the gaps from zero: more of them are needed.")
    # The variance itself is known from R replicas only: widened from the normal law's quantile to Student's.
    tail = 0.5 + confidence / 2
    widening = stats.t.ppf(tail, replicas - 1) / stats.norm.ppf(tail)
    return log_gap + widening * (np.log(means[positive]) - log_gap)


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


def _verdict(aic: dict[str, float], exponent: float) -> Verdict:
    linear, quadratic, neither = (min(aic[name] for name in names) for names in _FAMILIES.values())
    best, power, verdict = (linear, 1, "linear") if linear < quadratic else (quadratic, 2, "quadratic")
    if neither <= best - _DECISIVE:
        return "neither"
    rivalled = aic["free"] < best + _DECISIVE and abs(exponent - power) > _CLOSE
    return "undecided" if rivalled or abs(linear - quadratic) < _DECISIVE else verdict
