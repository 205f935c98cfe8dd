"""What the points of `chunk_price` say of chunk lengths that vary."""

import itertools
from collections.abc import Iterable

import numpy as np

from ..claim import Finding, Settings, settled
from ..shared import states
from . import cases
from .findings import DERIVED, EXACT, Rows, column, exactly, first_order, select

EACH = ("uniform", "geometric", "two lengths")  # laws of random lengths, by growing variance


def all_of(settings: Settings, rows: Rows) -> list[Finding]:
    """Random partitions, their laws, and chunks that end by coins; nothing where these were not measured."""
    own = select(rows, world="chunk_reset")
    if not own:
        return []
    eps = settings.eps
    return [*_drawn(own, eps), *_laws(own, eps), *_variance(own), *_coins(own, eps)]


def _drawn(own: Rows, eps: float) -> Iterable[Finding]:
    rows = select(own, part="random lengths")
    yield exactly("lengths k_j that vary: gap = Σ [k_j - (1-ε)(1-(1-ε)^k_j)/ε]", DERIVED, rows)
    halves = np.maximum(column(rows, "longest") * eps / 2, EXACT)
    yield first_order("lengths that vary: gap = ε Σ k_j (k_j+1)/2", DERIVED, rows, halves, "k ε / 2, k the longest")
    least = float((column(rows, "gap") / column(rows, "equal_gap")).min())
    text = "no partition costs less than equal lengths with the same number of chunks (least ratio of gaps)"
    yield Finding(
        text,
        "derived here, by convexity; docs/theory.md#chunks-variable-lengths",
        "chunk_reset",
        "at least 1",
        least,
        None,
        None,
        state=settled(least >= 1 - EXACT),
    )


def means_of(rows: Rows) -> list[int]:
    """The mean lengths of the random partitions among the rows."""
    return sorted({row["chunk"] for row in rows if row["chunk"] is not None})


def _laws(own: Rows, eps: float) -> Iterable[Finding]:
    rows = select(own, part="random lengths")
    horizon, means = rows[0]["horizon"], means_of(rows)
    for name in EACH:
        drawn = [column(select(rows, law=name, chunk=mean), "gap") / (horizon * eps) for mean in means]
        expected = np.array([cases.renewal(horizon, cases.laws(mean)[name], eps) for mean in means]) / (horizon * eps)
        seen, errors = np.transpose([_mean(gaps) for gaps in drawn])
        tested = states.equal(seen - expected, errors, expected, replicas=[len(gaps) for gaps in drawn])
        limit, half = inspected(cases.laws(means[-1])[name]), 1.96 * errors[-1]
        distance = "unknown" if tested.value is None else f"{tested.value:.2g}"
        text = (
            f"independent lengths, {name}, mean {means[-1]}: mean gap / (T ε) is E[K(K+1)]/(2E[K]) = {limit:.4g} less "
            f"the cut at T = {horizon} (largest distance at any mean, in standard errors: {distance}; "
            f"{tested.limit:.3g} are allowed, {tested.power()})"
        )
        ends = (seen[-1] - half, seen[-1] + half) if np.isfinite(half) else (None, None)
        source = "docs/theory.md#chunks-variable-lengths, by the inspection paradox (Feller 1971)"
        yield Finding(text, source, "chunk_reset", expected[-1], seen[-1], *ends, state=tested.state)


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error, which a single value has none of; equal values are known to rounding."""
    if len(values) < 2:
        return float(values.mean()), np.nan
    return float(values.mean()), max(float(values.std(ddof=1)) / len(values) ** 0.5, EXACT * float(values.mean()))


def _variance(own: Rows) -> Iterable[Finding]:
    rows = select(own, part="random lengths")
    horizon = rows[0]["horizon"]
    equal = select(own, part="equal chunks", placement="uniform", horizon=horizon)
    ratios: list[float] = []
    errors: list[float] = []  # relative, of the ratios
    for mean in (mean for mean in means_of(rows) if 1 < mean <= horizon / cases.TAIL):
        drawn = [_mean(column(select(rows, law=name, chunk=mean), "gap")) for name in EACH]
        for (low, wide), (high, wider) in itertools.pairwise([(select(equal, chunk=mean)[0]["gap"], 0.0), *drawn]):
            ratios.append(high / low)
            errors.append(float(np.hypot(wide / low, wider / high)))
    if ratios:
        text = (
            f"variance hurts: equal < {' < '.join(EACH)} at every mean length (least ratio of neighbours and its 95% "
            "interval)"
        )
        least = int(np.argmin(ratios))
        ends = ratios[least] * np.exp([-1.96 * errors[least], 1.96 * errors[least]])
        state = states.below(-np.log(ratios), errors, 0.0)
        yield Finding(
            text, DERIVED, "chunk_reset", "above 1", ratios[least], float(ends[0]), float(ends[1]), state=state
        )


def inspected(law: np.ndarray) -> float:
    """E[K(K+1)] / (2 E[K]) of a law of chunk lengths 1, 2, ..."""
    size = np.arange(1, len(law) + 1)
    return float(law @ (size * (size + 1)) / (2 * law @ size))


def _coins(own: Rows, eps: float) -> Iterable[Finding]:
    rows = select(own, part="geometric")
    horizon, means = rows[0]["horizon"], column(rows, "chunk")
    text = "chunks that end by coins, mean k: the gap attains u ε Σ E[r_t] = u k T ε less the end of the episode"
    yield first_order(text, DERIVED, rows, np.maximum(means * eps, EXACT), "k ε")
    fixed = select(own, part="equal chunks", placement="uniform", horizon=horizon)
    ratios = [row["gap"] / select(fixed, chunk=row["chunk"])[0]["gap"] for row in rows]
    limits = 2 * means / (means + 1)
    # At its end, and where fixed chunks are cut, an episode is off its large-T law by k / T at most.
    shares = np.abs(np.array(ratios) / limits - 1) / (2 * means / horizon + means * eps)
    text = (
        f"geometric against fixed lengths of mean k = {means[-1]:g}, T = {horizon}: the ratio of gaps comes near "
        "2k/(k+1), within 2k/T at every k"
    )
    yield Finding(
        text, DERIVED, "chunk_reset", limits[-1], ratios[-1], None, None, state=settled(bool((shares <= 1).all()))
    )
