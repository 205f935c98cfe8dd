"""What the points of `chunk_price` say, but for chunk lengths that vary."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from dagger_jax import bounds, growth

from ..claim import Finding, Settings, compared, settled
from ..shared import states
from .cases import lengths

Rows = list[dict[str, Any]]
EXACT = 1e-9  # relative, of float64 sums of this size
LIMIT = 0.1  # of the expected number of mistakes: beyond it every power law bends
DERIVED = "docs/theory.md#the-chunk-reset-chain; the nearest are Ross and Bagnell 2010, Theorems 2.1 and 3.1"
CLIFF = "docs/theory.md#chunks-where-recoverability-is-needed; after Ross and Bagnell 2010, Theorem 2.1"
RESET = "derived here: excursions from the expert's states; docs/theory.md#excursions-the-reset-variant"
DEBT = "docs/theory.md#the-debt-world; recoverability u as in Ross and Bagnell 2010, Theorem 3.1"
FITTED = "docs/theory.md#the-recoverable-reset-cliff; after Rajaraman et al. 2021, NeurIPS 34, 1325-1336"


def dial(horizon: int, alpha: float) -> int:
    """k = T^alpha, in whole steps."""
    return max(1, round(horizon**alpha))


def select(rows: Rows, **wanted: Any) -> Rows:
    """The rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def column(rows: Rows, name: str) -> np.ndarray:
    """A column as an array."""
    return np.array([row[name] for row in rows], float)


def fit(x: np.ndarray, gaps: np.ndarray, saturation: np.ndarray | None = None) -> growth.Growth | None:
    """The power by which gaps [M] or [R, M] grow in x, or None where too few are unsaturated."""
    kept = len(x) if saturation is None else int((saturation <= LIMIT).sum())
    try:
        return growth.fit(x, gaps, saturation=saturation, saturation_limit=LIMIT) if kept >= 3 else None
    except ValueError:
        return None  # no positive gap, or replicas that cannot tell it from zero


def all_of(settings: Settings, rows: Rows) -> list[Finding]:
    """Every finding of equal chunks whose points were measured; and the bounds, on all points."""
    by_world = {world: select(rows, world=world) for world in settings.worlds}
    found: list[Finding | None] = []
    if own := by_world.get("chunk_reset"):
        equal = select(own, part="equal chunks")
        found += [*_equalities(equal), *_in_length(settings, equal), *_in_horizon(settings, equal)]
        found += [*_dial(settings, equal), *_reset(settings, equal)]
    if own := by_world.get("debt"):
        found += _debt(settings, own)
    if own := by_world.get("cliff"):
        found += _cliff(settings, own)
    if own := by_world.get("recoverable_reset_cliff"):
        found.append(_fitted(settings, own))
    found += [_bound(world, own) for world, own in by_world.items() if own]
    return [finding for finding in found if finding is not None]


def exactly(text: str, source: str, rows: Rows) -> Finding:
    """Gaps equal their closed form."""
    text = f"{text} ({len(rows):,} schedules, largest relative distance)"
    error = float(np.abs(column(rows, "gap") / column(rows, "closed_form") - 1).max())
    return Finding(
        text, source, rows[0]["world"], f"at most {EXACT:g}", error, None, None, state=settled(error <= EXACT)
    )


def first_order(text: str, source: str, rows: Rows, tolerance: np.ndarray, unit: str) -> Finding:
    """Gaps equal their small-error law up to terms of a stated order."""
    share = np.abs(column(rows, "gap") / column(rows, "small_error") - 1) / tolerance
    text = f"{text}, to first order in ε (largest relative distance, in units of {unit})"
    return Finding(
        text, source, rows[0]["world"], "at most 1", share.max(), None, None, state=settled(share.max() <= 1 + EXACT)
    )


def _power(
    text: str,
    source: str,
    world: str,
    expected: float,
    law: growth.Growth | None,
    slack: float,
    drawn: int | None = None,
) -> Finding | None:
    """An exponent, to `slack`: itself where gaps are exact (its ends are the local slopes then), else its interval.

    `drawn`: how many runs the gaps are of, where they are drawn at random.
    """
    if law is None:
        return None
    ends = law.low, law.high
    if drawn is not None:
        ends = ends if drawn > 1 else (None, None)  # of one draw no error is known
    state = compared(*(ends if drawn else 2 * (law.exponent,)), least=expected - slack, most=expected + slack)
    return Finding(f"{text}: exponent", source, world, expected, law.exponent, *ends, state=state)


# ---- chunk_reset ------------------------------------------------------------------------------------------------


def _equalities(equal: Rows) -> list[Finding]:
    first, even = select(equal, placement="first"), select(equal, placement="uniform")
    halves = np.maximum(column(even, "longest") * column(even, "eps") / 2, EXACT)
    return [
        exactly("error at the first step of each chunk: gap = ε Σ k_j², T k ε where k divides T", DERIVED, first),
        exactly("error the same at every step: gap = Σ [k_j - (1-ε)(1-(1-ε)^k_j)/ε]", DERIVED, even),
        first_order("that is ε Σ k_j (k_j+1)/2, T (k+1)/2 ε where k divides T", DERIVED, even, halves, "k ε / 2"),
    ]


def divisors(rows: Rows) -> Rows:
    """The rows whose chunk length divides the horizon: no chunk is cut."""
    return [row for row in rows if row["horizon"] % row["chunk"] == 0]


def _in_length(settings: Settings, equal: Rows) -> Iterable[Finding | None]:
    horizon = max(settings.horizons)
    for placement, shift, words in (("first", 0, "k"), ("uniform", 1, "k + 1")):
        rows = divisors(select(equal, placement=placement, horizon=horizon))
        k = column(rows, "chunk")
        law = fit(k + shift, column(rows, "gap"), shift * k * settings.eps)
        text = f"{placement} error, T = {horizon} fixed: the gap is proportional to {words}"
        # At the first step nothing bends; otherwise a chunk's gap is off its law by k ε / 2.
        yield _power(text, DERIVED, "chunk_reset", 1, law, 1e-6 + shift * LIMIT / 2)


def _in_horizon(settings: Settings, equal: Rows) -> Iterable[Finding | None]:
    for placement in ("first", "uniform"):
        series = [select(equal, placement=placement, chunk=chunk) for chunk in settings.chunks]
        fits = [fit(column(rows, "horizon"), column(rows, "gap")) for rows in series]
        known = [law for law in fits if law is not None]
        if known:
            worst = max(known, key=lambda law: abs(law.exponent - 1))
            low, high = min(law.low for law in known), max(law.high for law in known)
            text = f"{placement} error: at every fixed k the gap grows linearly in T; exponent farthest from 1"
            state = states.worst(states.law(law, 1) for law in known)
            yield Finding(text, DERIVED, "chunk_reset", 1, worst.exponent, low, high, state=state)


def dialled(settings: Settings, equal: Rows, alpha: float) -> Rows:
    """The rows of k = T^alpha, all error at the first step, by horizon."""
    horizons = sorted(settings.horizons)
    first = select(equal, placement="first")
    return [select(first, horizon=horizon, chunk=dial(horizon, alpha))[0] for horizon in horizons]


def _dial(settings: Settings, equal: Rows) -> Iterable[Finding | None]:
    for alpha in settings.alphas:
        rows = dialled(settings, equal, alpha)
        horizons, gaps = column(rows, "horizon"), column(rows, "gap")
        law = fit(horizons, gaps)
        if law is not None:
            # A length that is rounded, or does not divide T, moves the exponent; where T is a fourth power none does.
            rounded = np.ptp(np.log(gaps) - (1 + alpha) * np.log(horizons)) / np.log(horizons[-1] / horizons[0])
            name = {0.0: " (k = 1, DAgger)", 1.0: " (k = T, behavioural cloning)"}.get(alpha, "")
            text = f"the dial: with k = T^{alpha:g}{name} the gap grows as T^{1 + alpha:g}"
            yield _power(text, DERIVED, "chunk_reset", 1 + alpha, law, 1e-6 + 3 * rounded)


def _reset(settings: Settings, equal: Rows) -> Iterable[Finding | None]:
    own = select(equal, algorithm="reset")
    text = "reset variant, error at the last step of each chunk: gap = Σ_t P(a mistake by step t)"
    yield exactly(text, RESET, own)
    horizon = max(settings.horizons)
    rows, eps = divisors(select(own, horizon=horizon)), settings.eps
    k, share = column(rows, "chunk"), column(rows, "gap") / eps
    stated = horizon + horizon * (horizon - k) / 2
    error = float(np.abs(share / stated - 1).max())
    text = f"reset variant, T = {horizon}: gap = ε [T + T (T-k)/2] to first order (largest distance, units of T ε)"
    seen = error / (horizon * eps)
    yield Finding(text, RESET, "chunk_reset", "at most 1", seen, None, None, state=settled(seen <= 1))
    if len(k) > 1:
        slope = float(np.polyfit(k, share, 1)[0]) / horizon
        text = f"reset variant, T = {horizon}: the gap falls linearly in k; d(gap)/dk in units of T ε"
        holds = abs(slope + 0.5) <= horizon * eps
        yield Finding(text, RESET, "chunk_reset", -0.5, slope, None, None, state=settled(holds))
    short = min(settings.chunks)
    rows = select(own, chunk=short)
    horizons = column(rows, "horizon")
    law = fit(horizons, column(rows, "gap"), horizons * eps)
    if law is not None and short * 4 <= horizons.min():
        text = f"reset variant: at a fixed length (k = {short}) the gap stays quadratic in T; exponent"
        state = states.law(law, 2)
        yield Finding(text, RESET, "chunk_reset", "2 (quadratic)", law.exponent, law.low, law.high, state=state)


# ---- the other worlds -------------------------------------------------------------------------------------------


def _debt(settings: Settings, rows: Rows) -> Iterable[Finding | None]:
    u, k, horizon = column(rows, "u"), column(rows, "longest"), rows[0]["horizon"]
    text = "debt: gap = Σ ε_t min(u r_t, T-t+1), what is not paid at the end is saved"
    tolerance = np.maximum(u * k * settings.eps, EXACT)
    yield first_order(text, DEBT, rows, tolerance, "u k ε")
    pieces = np.array([(lengths(np.arange(horizon) % int(chunk) == 0) ** 2).sum() for chunk in k])
    ratios = column(rows, "gap") / (u * settings.eps * pieces)
    ends = u * k / horizon
    text = f"debt, T = {horizon}: gap / (u ε Σ k_j²) is 1 but for an end effect below u k / T; least ratio"
    holds = bool(((ratios <= 1 + EXACT) & (ratios >= 1 - ends)).all())
    yield Finding(
        text, DEBT, "debt", "1 - u k / T to 1", ratios.min(), ratios.min(), ratios.max(), state=settled(holds)
    )
    for chunk in settings.chunks:
        own = select(rows, chunk=chunk)
        law = fit(column(own, "u"), column(own, "gap"))
        most = max(settings.u) * chunk / horizon
        text = (
            f"debt, k = {chunk}, T = {horizon} fixed: the gap is proportional to u, but for the end (u k / T at most)"
        )
        yield _power(text, DEBT, "debt", 1, law, 1e-6 + most)


def _cliff(settings: Settings, rows: Rows) -> Iterable[Finding | None]:
    yield exactly("cliff, the negative control: gap = T - (1-ε)(1-(1-ε)^T)/ε, flat in k", CLIFF, rows)
    own = select(rows, chunk=min(settings.chunks))
    horizons = column(own, "horizon")
    law = fit(horizons, column(own, "gap"), horizons * settings.eps)
    if law is not None:
        text = f"cliff: quadratic in T even at k = {min(settings.chunks)}; exponent"
        state = states.law(law, 2)
        yield Finding(text, CLIFF, "cliff", "2 (quadratic)", law.exponent, law.low, law.high, state=state)


def _fitted(settings: Settings, rows: Rows) -> Finding | None:
    gaps = np.stack([column(select(rows, chunk=chunk), "gap") for chunk in sorted(settings.chunks)], 1)
    law = fit(np.array(sorted(settings.chunks)) + 1, gaps)
    text = f"learners fitted to sampled labels, {len(gaps)} runs: the gap is proportional to k + 1, to a tenth"
    return _power(text, FITTED, "recoverable_reset_cliff", 1, law, 0.1, drawn=len(gaps))


def _bound(world: str, rows: Rows) -> Finding:
    gaps, allowed = column(rows, "gap"), column(rows, "bound")
    share, slack = float((gaps / np.where(allowed > 0, allowed, 1)).max()), float((allowed - gaps).min())
    text = f"no gap is above its bound ({len(rows):,} schedules and learners; largest share of the bound)"
    names = ("combined", "reset variant") if world == "chunk_reset" else ("combined",)
    source = "; ".join(bounds.BOUNDS[name].source for name in names)
    return Finding(text, source, world, "at most 1", share, None, None, state=compared(slack, slack, least=-EXACT))
