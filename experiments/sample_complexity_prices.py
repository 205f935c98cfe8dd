"""What the points of `sample_complexity` say of whole trajectories, of Stagger, and of prices."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from experiments.claim import INFORMATION, Finding, Settings, settled
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
        text,
        "theory 5, E5.2",
        "all",
        "at most 1",
        share,
        None,
        None,
        state=settled(bool((gaps <= bounds + 1e-9).all())),
    )
    some = tv > 1e-9
    ratios = hellinger[some] / tv[some]
    text = f"TV <= D_H² <= 2 TV for a deterministic expert ({where}; D_H² / TV)"
    holds = bool(((tv <= hellinger + 1e-9) & (hellinger <= 2 * tv + 1e-9)).all())
    low, high = (float(ratios.min()), float(ratios.max())) if some.any() else (None, None)
    yield Finding(text, "theory 5, E5.2", "all", "1 to 2", float(np.median(ratios)), low, high, state=settled(holds))


# ---- Stagger --------------------------------------------------------------------------------------------------------


def _stagger(rows: Rows) -> Iterable[Finding | None]:
    asked = select(rows, algorithm="stagger")
    world, errors = asked[0]["world"], allowance(asked)
    gaps, bounds = column(asked, "gap"), column(asked, "bound")
    holds = bool((gaps - errors * column(asked, "gap_stderr") <= bounds).all())
    text = f"Stagger's uniform mixture: mean gap <= mu H log B / N ({len(asked)} points; largest share of the bound)"
    source = "theory 6.1; arXiv 2412.07057"
    yield Finding(text, source, world, "at most 1", float((gaps / bounds).max()), None, None, state=settled(holds))
    scores = np.abs(column(asked, "difference") / column(asked, "difference_stderr"))
    text = "and equals H (1 - 1/A) E[states labelled] / N (largest distance in standard errors)"
    holds = bool((scores <= errors).all())
    yield Finding(text, "derived", world, f"at most {errors.max():.3g}", scores.max(), None, None, state=settled(holds))
    yield closed("cloning with one shared table equals its closed form", "theory 4.2, 4.3(a)", _offline(rows))
    longest, fewest = max(row["horizon"] for row in asked), min(row["actions"] for row in asked)
    own = select(asked, horizon=longest, actions=fewest, ratio=max(row["ratio"] for row in asked))
    own = sorted(
        (row for row in own if 8 * row["labels"] >= max(row["labels"] for row in own)), key=lambda r: r["labels"]
    )
    yield grows(f"Stagger, H = {longest}: slope in the number of labels", source, own, column(own, "labels"), -1)


def _offline(rows: Rows) -> Rows:
    return [row for row in select(rows, algorithm="behavioural_cloning") if row["closed_form"] > 1e-6]


# ---- Stagger against cloning at equal price -------------------------------------------------------------------------


class Rival(NamedTuple):
    """Cloning with one default where it has seen nothing, in worlds of few actions or of as many as steps."""

    learner: str
    default: str
    wide: bool  # A = H, else A is the least

    def rows(self, rows: Rows) -> Rows:
        """Those of its worlds, Stagger's among them, but no other cloning's."""
        few = min(row["actions"] for row in rows)
        kept = [row for row in rows if row["actions"] == (max(few, row["horizon"]) if self.wide else few)]
        return [row for row in kept if row["algorithm"] == "stagger" or row["learner"] == self.learner]

    def stays(self, actions: int) -> float:
        """The probability that it is wrong in the bad state, at each step."""
        return 1.0 if self.learner == "follow_the_leader" else 1 - 1 / actions


RIVALS = (
    Rival("follow_the_leader", "that keeps one wrong action in the bad state", False),
    Rival("log_loss", "that guesses where it saw nothing (as Stagger does)", False),
    Rival("log_loss", "that guesses among A = H actions where it saw nothing", True),
)


class Price(NamedTuple):
    """Stagger against one rival at equal label cost."""

    horizon: int
    cost: int  # C, of Stagger's label; a demonstrated one costs 1
    ratio: float  # Stagger's worst gap over how rare states are, by the rival's
    equal: float  # C at which they are equal by theory


def lasting(horizon: int, stays: float) -> float:
    """Mean number of steps that a fall costs, over the steps 1..H that it may begin at: (1/H) sum_h sum_{i<h} stays^i.

    (H + 1) / 2 if nothing leads out; below A for a uniform guess, stays = 1 - 1/A: it leaves after A tries on average.
    """
    return float(np.cumsum(stays ** np.arange(horizon)).mean())


def crossing(horizon: int, states: int, stays: float = 1.0) -> float:
    """The cost C of a label at which Stagger's worst gap is cloning's at equal price: (S - 2) `lasting` / (e S).

    Stagger's worst is (1 - 1/A) S H C / L, with rare states that are all met; cloning's, with states seen or not with
    even chances, is (1 - 1/A)(S - 2) H `lasting` / (e L). Derived, to first order in 1/L; mu = 1, R = H.
    """
    return (states - 2) * lasting(horizon, stays) / (np.e * states)


def contest(rows: Rows, costs: Iterable[int], rival: Rival) -> list[Price]:
    """Who pays less, at each horizon and cost."""
    budget, found = max(row["labels"] for row in select(rows, algorithm="stagger")), []
    rows = rival.rows(rows)
    for horizon in sorted({row["horizon"] for row in rows}):
        own = select(rows, horizon=horizon)
        cloned = _worst(select(own, algorithm="behavioural_cloning"))
        equal = crossing(horizon, own[0]["states"], rival.stays(own[0]["actions"]))
        for cost in costs:
            asked = select(own, algorithm="stagger", labels=budget // cost)
            if asked and cloned > 0:
                found.append(Price(horizon, cost, _worst(asked) / cloned, equal))
    return found


def _worst(rows: Rows) -> float:
    return float(column(rows, "gap").max())


def _contest(settings: Settings, rows: Rows) -> Iterable[Finding]:
    for rival in RIVALS:
        yield from _against(rival, contest(rows, sorted(settings.costs), rival), rows[0]["world"])


def _against(rival: Rival, found: list[Price], world: str) -> Iterable[Finding]:
    source, stuck = "theory 6.1, 4.3(a)", rival.learner == "follow_the_leader"
    judged = [
        (price.ratio < 1) == (price.cost < price.equal)
        for price in found
        if not price.equal / EDGE <= price.cost <= price.equal * EDGE and not 1 / EDGE <= price.ratio <= EDGE
    ]
    law = "(S-2)(H+1) / (2 e S)" if stuck else "(S-2) a / (e S), a < A the steps that a fall costs on average"
    text = (
        f"at equal label cost, over the worst rarity of states, Stagger beats cloning {rival.default} exactly where "
        f"C < {law}; R = H, mu = 1 ({len(judged)} horizons and costs that are not within {EDGE - 1:.0%}; share)"
    )
    if judged:
        share = sum(judged) / len(judged)
        yield Finding(text, f"{source}; constants derived", world, 1, share, None, None, state=settled(all(judged)))
    if not stuck:
        text = (
            f"Stagger's worst gap over that of cloning {rival.default} at equal label cost, for information: a guess "
            "leaves the bad state after A tries on average, so a fall costs at most A steps (least ratio over H and C)"
        )
        least = min(price.ratio for price in found)
        yield Finding(text, source, world, None, least, None, None, state=INFORMATION)
    cheap = [price.ratio for price in found if 10 * price.cost <= price.horizon]
    if cheap:
        told = "" if stuck else ", for information: C mu << R does not decide, as a fall does not cost H steps"
        text = (
            f"C mu <= R / 10: Stagger's worst gap over that of cloning {rival.default} at equal label cost{told} "
            "(largest ratio)"
        )
        limit, holds = ("below 1", max(cheap) < 1) if stuck else (None, True)
        yield Finding(text, source, world, limit, max(cheap), None, None, state=settled(holds))
    longest = max(price.horizon for price in found)
    for price in found:
        if price.horizon == longest:
            text = (
                f"H = {longest}, C = {price.cost}: Stagger's worst gap over that of cloning {rival.default}, at equal "
                f"label cost, for information (equal at C = {price.equal:.3g} by theory)"
            )
            yield Finding(text, source, world, None, price.ratio, None, None, state=INFORMATION)
