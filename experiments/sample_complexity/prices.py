"""What the points of `sample_complexity` say of whole trajectories, of Stagger, and of prices."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..claim import INFORMATION, Finding, Settings, compared
from ..shared import states
from .findings import FOSTER, INTERACTIVE, Rows, closed, column, grows, select

EDGE = 1.2  # prices this near to where two rates cross are not judged
DISTANCES = f"{FOSTER}; docs/theory.md#log-loss"
STAGGER = "Li and Zhang 2025, arXiv 2412.07057, Theorem 3"


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
    slack = float((bounds - gaps).min())
    state = compared(slack, slack, least=-1e-9)
    yield Finding(text, f"{DISTANCES}; constant derived here", "all", "at most 1", share, None, None, state=state)
    some = tv > 1e-9
    ratios = hellinger[some] / tv[some]
    text = f"TV <= D_H² <= 2 TV for a deterministic expert ({where}; D_H² / TV)"
    slack = float(np.minimum(hellinger - tv, 2 * tv - hellinger).min())
    low, high = (float(ratios.min()), float(ratios.max())) if some.any() else (None, None)
    state = compared(slack, slack, least=-1e-9)
    yield Finding(
        text, DISTANCES, "all", "1 to 2", float(np.median(ratios)) if some.any() else None, low, high, state=state
    )


# ---- Stagger --------------------------------------------------------------------------------------------------------


def _stagger(rows: Rows) -> Iterable[Finding | None]:
    asked = select(rows, algorithm="stagger")
    world, replicas = asked[0]["world"], column(asked, "replicas")
    gaps, bounds = column(asked, "gap"), column(asked, "bound")
    state = states.below(gaps, column(asked, "gap_stderr"), bounds, replicas)
    text = f"Stagger's uniform mixture: mean gap <= mu H log B / N ({len(asked)} points; largest share of the bound)"
    source = f"{STAGGER}; in expectation derived here: docs/theory.md#stagger"
    yield Finding(text, source, world, "at most 1", float((gaps / bounds).max()), None, None, state=state)
    differences = column(asked, "difference")
    tested = states.equal(differences, column(asked, "difference_stderr"), gaps - differences, replicas=replicas)
    text = (
        "Stagger's uniform mixture: mean gap equals H (1 - 1/A) E[states labelled] / N (largest distance in standard "
        f"errors; {tested.power()})"
    )
    expected = f"at most {tested.limit:.3g}"
    yield Finding(
        text, "derived here: docs/theory.md#stagger", world, expected, tested.value, *(None, None), tested.state
    )
    text = "cloning with one shared table equals its closed form"
    yield closed(text, f"derived here, after {FOSTER}", _offline(rows))
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
    error: float  # standard error of the ratio's logarithm
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
        cloned, wide = _worst(select(own, algorithm="behavioural_cloning"))
        equal = crossing(horizon, own[0]["states"], rival.stays(own[0]["actions"]))
        for cost in costs:
            asked = select(own, algorithm="stagger", labels=budget // cost)
            if asked and cloned > 0:
                worst, wider = _worst(asked)
                found.append(Price(horizon, cost, worst / cloned, float(np.hypot(wide, wider)), equal))
    return found


def _worst(rows: Rows) -> tuple[float, float]:
    """The worst mean gap, and its relative standard error."""
    row = max(rows, key=lambda row: row["gap"])
    known = row["gap"] and row["gap_stderr"] is not None
    return row["gap"], row["gap_stderr"] / row["gap"] if known else np.nan


def _contest(settings: Settings, rows: Rows) -> Iterable[Finding]:
    for rival in RIVALS:
        yield from _against(rival, contest(rows, sorted(settings.costs), rival), rows[0]["world"])


def _against(rival: Rival, found: list[Price], world: str) -> Iterable[Finding]:
    source, stuck = f"docs/theory.md#stagger, after {STAGGER}, and {INTERACTIVE}", rival.learner == "follow_the_leader"
    judged = [price for price in found if not price.equal / EDGE <= price.cost <= price.equal * EDGE]
    law = "(S-2)(H+1) / (2 e S)" if stuck else "(S-2) a / (e S), a < A the steps that a fall costs on average"
    text = (
        f"at equal label cost, over the worst rarity of states, Stagger beats cloning {rival.default} exactly where "
        f"C < {law}; R = H, mu = 1 ({len(judged)} horizons and costs that are not within {EDGE - 1:.0%} of that; share)"
    )
    if judged:
        # Logarithms of the ratios, with the sign that theory says is below 0.
        signs = np.array([1 if price.cost < price.equal else -1 for price in judged])
        logs = signs * np.log([price.ratio for price in judged])
        state = states.below(logs, [price.error for price in judged], 0.0)
        yield Finding(text, source, world, 1, float((logs < 0).mean()), None, None, state=state)
    if not stuck:
        text = (
            f"Stagger's worst gap over that of cloning {rival.default} at equal label cost, for information: a guess "
            "leaves the bad state after A tries on average, so a fall costs at most A steps (least ratio over H and C)"
        )
        least = min(price.ratio for price in found)
        yield Finding(text, source, world, None, least, None, None, state=INFORMATION)
    cheap = [price for price in found if 10 * price.cost <= price.horizon]
    if cheap:
        told = "" if stuck else ", for information: C mu << R does not decide, as a fall does not cost H steps"
        text = (
            f"C mu <= R / 10: Stagger's worst gap over that of cloning {rival.default} at equal label cost{told} "
            "(largest ratio)"
        )
        state = states.below(np.log([price.ratio for price in cheap]), [price.error for price in cheap], 0.0)
        limit, state = ("below 1", state) if stuck else (None, INFORMATION)
        yield Finding(text, source, world, limit, max(price.ratio for price in cheap), None, None, state=state)
    longest = max(price.horizon for price in found)
    for price in found:
        if price.horizon == longest:
            text = (
                f"H = {longest}, C = {price.cost}: Stagger's worst gap over that of cloning {rival.default}, at equal "
                f"label cost, for information (equal at C = {price.equal:.3g} by theory)"
            )
            yield Finding(text, source, world, None, price.ratio, None, None, state=INFORMATION)
