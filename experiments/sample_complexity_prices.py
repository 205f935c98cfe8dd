"""What the points of `sample_complexity` say of whole trajectories, of Stagger, and of prices."""

from collections.abc import Iterable

import numpy as np

from experiments.claim import Finding, Settings
from experiments.sample_complexity_findings import Rows, allowance, closed, column, grows, select

EDGE = 1.2  # prices this near to where two rates cross are not judged


def all_of(settings: Settings, rows: Rows) -> list[Finding]:
    """The findings whose points were measured."""
    found: list[Finding | None] = []
    if own := select(rows, part="distances"):
        found += _distances(own)
    if own := select(rows, part="stagger"):
        found += [*_stagger(own), *_contest(settings, own)]
    return [finding for finding in found if finding is not None]


# ---- whole trajectories ---------------------------------------------------------------------------------------------


def _distances(rows: Rows) -> Iterable[Finding]:
    gaps, bounds, tv, hellinger = (column(rows, name) for name in ("gap", "bound", "total_variation", "hellinger"))
    where = f"{len(rows):,} learners in {len({row['world'] for row in rows})} worlds"
    share = float((gaps / np.where(bounds > 0, bounds, 1)).max())
    text = f"gap <= R D_H² with constant 1: every learner is on the right side ({where}; largest share)"
    yield Finding(
        text, "theory 5, E5.2", "all", "at most 1", share, None, None, holds=bool((gaps <= bounds + 1e-9).all())
    )
    some = tv > 1e-9
    ratios = hellinger[some] / tv[some]
    text = f"TV <= D_H² <= 2 TV for a deterministic expert ({where}; D_H² / TV)"
    holds = bool(((tv <= hellinger + 1e-9) & (hellinger <= 2 * tv + 1e-9)).all())
    low, high = (float(ratios.min()), float(ratios.max())) if some.any() else (None, None)
    yield Finding(text, "theory 5, E5.2", "all", "1 to 2", float(np.median(ratios)), low, high, holds=holds)


# ---- Stagger --------------------------------------------------------------------------------------------------------


def _stagger(rows: Rows) -> Iterable[Finding | None]:
    asked = select(rows, algorithm="stagger")
    world, errors = asked[0]["world"], allowance(asked)
    gaps, bounds = column(asked, "gap"), column(asked, "bound")
    holds = bool((gaps - errors * column(asked, "gap_stderr") <= bounds).all())
    text = f"Stagger's uniform mixture: mean gap <= mu H log B / N ({len(asked)} points; largest share of the bound)"
    source = "theory 6.1; arXiv 2412.07057"
    yield Finding(text, source, world, "at most 1", float((gaps / bounds).max()), None, None, holds=holds)
    scores = np.abs(column(asked, "difference") / column(asked, "difference_stderr"))
    text = "and equals H (1 - 1/A) E[states labelled] / N (largest distance in standard errors)"
    holds = bool((scores <= errors).all())
    yield Finding(text, "derived", world, f"at most {errors.max():.3g}", scores.max(), None, None, holds=holds)
    yield closed("cloning with one shared table equals its closed form", "theory 4.2, 4.3(a)", _offline(rows))
    longest = max(row["horizon"] for row in asked)
    own = select(asked, horizon=longest, ratio=max(row["ratio"] for row in asked))
    own = sorted(
        (row for row in own if 8 * row["labels"] >= max(row["labels"] for row in own)), key=lambda r: r["labels"]
    )
    yield grows(f"Stagger, H = {longest}: slope in the number of labels", source, own, column(own, "labels"), -1)


def _offline(rows: Rows) -> Rows:
    return [row for row in select(rows, algorithm="behavioural_cloning") if row["closed_form"] > 1e-6]


def worst(rows: Rows) -> float:
    """The largest mean gap over how rare states are."""
    return float(column(rows, "gap").max())


def crossing(horizon: int, states: int) -> float:
    """The cost C of a label at which Stagger's worst gap is cloning's, at equal price: (S - 2)(H + 1) / (2 e S).

    Stagger's worst is (1 - 1/A) S H C / L, with rare states that are all met; cloning's, with states seen or not with
    even chances, is (1 - 1/A)(S - 2) H (H + 1) / (2 e L). Derived; mu = 1, R = H.
    """
    return (states - 2) * (horizon + 1) / (2 * np.e * states)


def contest(rows: Rows, costs: Iterable[int]) -> list[tuple[int, int, float, float]]:
    """(horizon, C, Stagger's worst gap over cloning's at equal price, C at which they are equal by theory)."""
    budget, found = max(row["labels"] for row in select(rows, algorithm="stagger")), []
    for horizon in sorted({row["horizon"] for row in rows}):
        own = select(rows, horizon=horizon)
        rival = worst(select(own, algorithm="behavioural_cloning"))
        for cost in costs:
            asked = select(own, algorithm="stagger", labels=budget // cost)
            if asked and rival > 0:
                found.append((horizon, cost, worst(asked) / rival, crossing(horizon, own[0]["states"])))
    return found


def _contest(settings: Settings, rows: Rows) -> Iterable[Finding]:
    world, source = rows[0]["world"], "theory 6.1"
    found = contest(rows, sorted(settings.costs))
    judged = [
        (ratio < 1) == (cost < equal)
        for _, cost, ratio, equal in found
        if not equal / EDGE <= cost <= equal * EDGE and not 1 / EDGE <= ratio <= EDGE
    ]
    text = (
        "at equal label cost, over the worst rarity of states, Stagger beats cloning exactly where C < (S-2)(H+1) / "
        f"(2 e S), R = H and mu = 1 ({len(judged)} horizons and costs that are not within {EDGE - 1:.0%}; share)"
    )
    if judged:
        share = sum(judged) / len(judged)
        yield Finding(text, f"{source}, with its constants derived", world, 1, share, None, None, holds=all(judged))
    cheap = [(horizon, cost, ratio) for horizon, cost, ratio, _ in found if 10 * cost <= horizon]
    if cheap:
        text = "Stagger beats cloning where C mu <= R / 10 (largest ratio of worst gaps at equal label cost)"
        most = max(ratio for *_, ratio in cheap)
        yield Finding(text, source, world, "below 1", most, None, None, holds=most < 1)
    longest = max(horizon for horizon, *_ in found)
    for horizon, cost, ratio, equal in found:
        if horizon == longest:
            text = (
                f"H = {horizon}, C = {cost}: Stagger's worst gap over cloning's at equal label cost, for information "
                f"(equal at C = {equal:.3g} by theory)"
            )
            yield Finding(text, source, world, None, ratio, None, None, holds=True)
