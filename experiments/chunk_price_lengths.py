"""What the points of `chunk_price` say of chunk lengths that vary."""

from collections.abc import Iterable

import numpy as np

from experiments import chunk_price_cases as cases
from experiments.chunk_price_findings import EXACT, Rows, column, exactly, first_order, select
from experiments.claim import Finding, Settings, settled

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
    yield exactly("lengths k_j that vary: gap = Σ [k_j - (1-ε)(1-(1-ε)^k_j)/ε]", "7.3; 7.4(i)", rows)
    halves = np.maximum(column(rows, "longest") * eps / 2, EXACT)
    yield first_order("lengths that vary: gap = ε Σ k_j (k_j+1)/2", "7.3", rows, halves, "k ε / 2, k the longest")
    least = float((column(rows, "gap") / column(rows, "equal_gap")).min())
    text = "no partition costs less than equal lengths with the same number of chunks (least ratio of gaps)"
    yield Finding(
        text, "7.3 (convexity)", "chunk_reset", "at least 1", least, None, None, state=settled(least >= 1 - EXACT)
    )


def means_of(rows: Rows) -> list[int]:
    """The mean lengths of the random partitions among the rows."""
    return sorted({row["chunk"] for row in rows if row["chunk"] is not None})


def _laws(own: Rows, eps: float) -> Iterable[Finding]:
    rows = select(own, part="random lengths")
    horizon, means = rows[0]["horizon"], means_of(rows)
    for name in EACH:
        scores, shown = [], (0.0, 0.0, 0.0)
        for mean in means:
            gaps = column(select(rows, law=name, chunk=mean), "gap") / (horizon * eps)
            expected = cases.renewal(horizon, cases.laws(mean)[name], eps) / (horizon * eps)
            error = max(gaps.std(ddof=1) / np.sqrt(len(gaps)), EXACT) if len(gaps) > 1 else np.inf
            scores.append(abs(gaps.mean() - expected) / error)
            shown = expected, gaps.mean(), 1.96 * error
        limit = inspected(cases.laws(means[-1])[name])
        expected, seen, half = shown
        text = (
            f"independent lengths, {name}, mean {means[-1]}: mean gap / (T ε) is E[K(K+1)]/(2E[K]) = {limit:.4g} less "
            f"the cut at T = {horizon} (at every mean within {max(scores):.2g} standard errors; 4 are allowed)"
        )
        source = "7.3 (inspection paradox)"
        holds = max(scores) <= 4
        yield Finding(text, source, "chunk_reset", expected, seen, seen - half, seen + half, state=settled(holds))


def _variance(own: Rows) -> Iterable[Finding]:
    rows = select(own, part="random lengths")
    horizon = rows[0]["horizon"]
    equal = select(own, part="equal chunks", placement="uniform", horizon=horizon)
    ratios = []
    for mean in (mean for mean in means_of(rows) if 1 < mean <= horizon / cases.TAIL):
        gaps = [column(select(rows, law=name, chunk=mean), "gap").mean() for name in EACH]
        ratios += list(np.divide(gaps, [select(equal, chunk=mean)[0]["gap"], *gaps[:-1]]))
    if ratios:
        text = f"variance hurts: equal < {' < '.join(EACH)} at every mean length (least ratio of neighbours)"
        holds = min(ratios) > 1
        yield Finding(
            text, "7.3", "chunk_reset", "above 1", min(ratios), min(ratios), max(ratios), state=settled(holds)
        )


def inspected(law: np.ndarray) -> float:
    """E[K(K+1)] / (2 E[K]) of a law of chunk lengths 1, 2, ..."""
    size = np.arange(1, len(law) + 1)
    return float(law @ (size * (size + 1)) / (2 * law @ size))


def _coins(own: Rows, eps: float) -> Iterable[Finding]:
    rows = select(own, part="geometric")
    horizon, means = rows[0]["horizon"], column(rows, "chunk")
    text = "chunks that end by coins, mean k: the gap attains u ε Σ E[r_t] = u k T ε less the end of the episode"
    yield first_order(text, "7.3", rows, np.maximum(means * eps, EXACT), "k ε")
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
        text, "7.3; E7.5", "chunk_reset", limits[-1], ratios[-1], None, None, state=settled(bool((shares <= 1).all()))
    )
