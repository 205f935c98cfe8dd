"""What the points of `chunk_choice` say: gaps at an equal price, by the cost of a hand-over, and where what wins."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dagger_jax import intervals

from ..claim import INFORMATION, Finding, Settings, compared, settled
from ..shared.chunk_methods import CUT, ETA, PER_STEP, PRICE_LIST
from ..shared.rivals import Chosen, best, ratio

USUAL = 4.0  # labels that a hand-over costs in the frontier, or the cost measured that is nearest to it
WATCHED = "accumulated disagreement, watching paid"


class Curve(NamedTuple):
    """One method in one world; all arrays [R, N]."""

    kind: str
    gap: np.ndarray
    detectability: np.ndarray  # of the policy after the round
    handovers: np.ndarray  # sums over the rounds so far, all episodes, as are those below
    labels: np.ndarray
    watched: np.ndarray  # steps at which the expert watched what the learner would do


class AtBudget(NamedTuple):
    """One method in one world at the common price, a value per run."""

    kind: str
    gap: np.ndarray  # [R]; NaN where not even the first round can be paid
    detectability: np.ndarray  # [R]


Curves = Mapping[str, Mapping[str, Curve]]  # by world and method
Found = Mapping[str, AtBudget]  # by method, in one world


def headline(settings: Settings) -> float:
    """The cost of a hand-over, in labels, at which single comparisons are made: of those measured the nearest to 4."""
    return min(settings.handover_costs, key=lambda cost: abs(cost - USUAL))


def curves(settings: Settings, table: pa.Table) -> Curves:
    """By world and method, in the table's order."""
    named = list(zip(*(table[name].to_pylist() for name in ("world", "method", "kind")), strict=True))
    places: dict[tuple[str, str, str], list[int]] = {}
    for place, key in enumerate(named):
        if key[2] != "plan":
            places.setdefault(key, []).append(place)
    columns = {
        name: np.array(table[name].to_pylist(), float)
        for name in ("gap", "detectability", "handovers", "labels", "watched")
    }
    found: dict[str, dict[str, Curve]] = {}
    for (world, method, kind), own in places.items():
        gap, seen, *asked = (values[own].reshape(settings.runs, settings.rounds) for values in columns.values())
        total = (settings.episodes * np.cumsum(each, axis=1) for each in asked)
        found.setdefault(world, {})[method] = Curve(kind, gap, seen, *total)
    return found


def at_budget(settings: Settings, methods: Mapping[str, Curve], cost: float) -> dict[str, AtBudget]:
    """Values when the price of one chunk of T steps an episode, in every round, is spent, by method.

    Between two rounds they are interpolated in price. A published strategy that has not spent it after its last round
    is read there, at the lower price. The cut by accumulated disagreement is there twice: its watching free, and paid
    for at `settings.watch_cost` labels a step. The price list is there at the cost that it was told only.
    """
    budget = settings.rounds * settings.episodes * (cost + PER_STEP * settings.horizon)
    told = headline(settings)
    entries: list[tuple[str, Curve, float]] = []
    for name, curve in methods.items():
        if name != PRICE_LIST or cost == told:
            entries.append((name, curve, 0.0))
        if name == CUT:
            entries.append((WATCHED, curve, settings.watch_cost))
    found = {}
    for name, curve, watch in entries:
        price = cost * curve.handovers + PER_STEP * curve.labels + watch * curve.watched
        gap, seen = (
            np.array([np.interp(budget, *each, left=np.nan) for each in zip(price, values, strict=True)])
            for values in (curve.gap, curve.detectability)
        )
        found[name] = AtBudget(curve.kind, gap, seen)
    return found


def best_of(found: Found, kind: str) -> Chosen:
    """The best of a kind, chosen on one half of the runs and judged on the other; the cut is no candidate."""
    return best({name: each.gap for name, each in found.items() if each.kind == kind and name not in (CUT, WATCHED)})


WAYS = {
    "schedules": "the best schedule over rounds",
    "controllers": "the best controller between rounds",
    "cut": "chunks cut where disagreement accumulates, watching free",
    "watched": "chunks cut where disagreement accumulates, watching paid",
}


class Way(NamedTuple):
    """A way to change the chunk length, beside the best fixed length."""

    name: str  # of the method, or those that the two halves chose
    ratio: tuple[float, float, float]  # of gaps, with its interval; NaN where it cannot be paid


def ways(found: Found) -> dict[str, Way]:
    """Each of WAYS at one price in one world, relative to the best fixed length."""
    fixed = best_of(found, "fixed").gap
    rivals = {
        "schedules": best_of(found, "schedule"),
        "controllers": best_of(found, "controller"),
        "cut": Chosen((CUT,), found[CUT].gap),
        "watched": Chosen((WATCHED,), found[WATCHED].gap),
    }
    nothing = (math.nan, math.nan, math.nan)
    return {
        way: Way(each.title, ratio(each.gap, fixed) if np.isfinite(each.gap).all() else nothing)
        for way, each in rivals.items()
    }


def sweep(settings: Settings, every: Curves) -> dict[str, dict[float, dict[str, Way]]]:
    """`ways` by world and cost of a hand-over."""
    return {
        world: {cost: ways(at_budget(settings, own, cost)) for cost in sorted(settings.handover_costs)}
        for world, own in every.items()
    }


class Expected(NamedTuple):
    """Where a way to change the length is said to win or to lose."""

    world: str
    way: str  # of WAYS
    costs: tuple[float, float]  # of a hand-over, in labels
    least: float = 0.0  # of its ratio to the best fixed length
    most: float = math.inf


EXPECTED = (
    Expected("recoverable_reset_cliff", "schedules", (0.5, 1), 0.8, 1),
    Expected("recoverable_reset_cliff", "cut", (0.5, 16), most=1),
    Expected("recoverable_reset_cliff", "watched", (0, 0.5), least=1),
    Expected("recoverable_reset_cliff", "watched", (4, 16), most=1),
    *(Expected("tightrope", way, (0, 64), least=0.9) for way in WAYS),
    Expected("garnet", "schedules", (4, 64), least=1),
    Expected("garnet", "cut", (4, 64), least=1),
    Expected("garnet", "watched", (0, 64), least=1),
    Expected("rooms", "schedules", (16, 64), least=1),
    Expected("rooms", "cut", (0, 64), least=1),
    Expected("rooms", "watched", (0, 64), least=1),
)
# The worst fixed length relative to the best, at the usual cost.
MATTERS = {
    "recoverable_reset_cliff": (2.0, math.inf),
    "tightrope": (1.0, 1.25),
    "garnet": (2.0, math.inf),
    "rooms": (2.0, math.inf),
}


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Where what wins, by world and cost; whether the length matters; budgets; and what the best partition saves."""
    every, cost = curves(settings, table), headline(settings)
    findings = []
    for world, by_cost in sweep(settings, every).items():
        found = at_budget(settings, every[world], cost)
        findings += [_way(world, price, way, own) for price, each in by_cost.items() for way, own in each.items()]
        findings += [_length(world, cost, found), *_others(world, cost, found)]
    return findings + _budget(every) + _planned(table)


def _tested(
    text: str, world: str, ratio: tuple[float, float, float], least: float | None, most: float = math.inf
) -> Finding:
    """Whether a ratio lies within limits; with no least one (None) nothing is expected."""
    value, low, high = (None if math.isnan(number) else number for number in ratio)
    if least is None:
        return Finding(text, "this experiment", world, None, value, low, high, INFORMATION)
    limits = [f"at least {least:g}"] * (least > 0) + [f"at most {most:g}"] * (most < math.inf)
    state = compared(low, high, least=least, most=most)
    return Finding(text, "this experiment", world, ", ".join(limits), value, low, high, state)


def _way(world: str, cost: float, way: str, own: Way) -> Finding:
    text = f"hand-over at {cost:g} labels: gap of {WAYS[way]}, relative to the best fixed length's"
    text += f" ({own.name})" * (way in ("schedules", "controllers"))
    for each in EXPECTED:
        if (each.world, each.way) == (world, way) and each.costs[0] <= cost <= each.costs[1]:
            return _tested(text, world, own.ratio, each.least, each.most)
    return _tested(text, world, own.ratio, None)


def _length(world: str, cost: float, found: Found) -> Finding:
    """How much the choice among fixed lengths matters."""
    fixed = best_of(found, "fixed")
    worst = best({name: -each.gap for name, each in found.items() if each.kind == "fixed"})
    text = f"hand-over at {cost:g} labels: gap of the worst fixed length ({worst.title}) relative to the best"
    text += f" one's ({fixed.title})"
    return _tested(text, world, ratio(-worst.gap, fixed.gap), *MATTERS.get(world, (None, math.inf)))


def _others(world: str, cost: float, found: Found) -> list[Finding]:
    """Each controller and published strategy beside the best fixed length, for information."""
    fixed = best_of(found, "fixed")
    return [
        _tested(
            f"hand-over at {cost:g} labels: {name}: its gap relative to the best fixed length's ({fixed.title})",
            world,
            ratio(each.gap, fixed.gap),
            None,
        )
        for name, each in found.items()
        if each.kind in ("controller", "published") and name not in (CUT, WATCHED) and np.isfinite(each.gap).all()
    ]


def _budget(every: Curves) -> list[Finding]:
    """The detectability budget, in the rounds that were played; judged exactly."""
    seen = [own["detectability budget"].detectability for own in every.values() if "detectability budget" in own]
    if not seen:
        return []
    over = float(np.mean([each > ETA for each in seen]))
    text = f"the detectability budget {ETA} is kept: share of all rounds played in which the mean T_j is above it"
    source = "docs/theory.md#the-scheming-bound: P(defect in deployment) <= P(defect in training) + mean T_j"
    return [Finding(text, source, "all", "at most 0.05", over, None, None, settled(over <= 0.05))]


def _planned(table: pa.Table) -> list[Finding]:
    """What a length that varies inside the episode could save; never less than nothing, by its definition."""
    plans: dict[str, dict[int, list[float]]] = {}
    for world, kind, run, value, equal in zip(
        *(table[name].to_pylist() for name in ("world", "kind", "run", "bound", "best_fixed")), strict=True
    ):
        if kind == "plan":
            plans.setdefault(world, {}).setdefault(run, []).append(value / equal)
    text = "for the errors measured: hand-overs and bound of the best partition, relative to the best equal chunks"
    findings = []
    for world, by_run in plans.items():
        shares = np.array([np.mean(each) for each in by_run.values()])
        value = intervals.mean(shares)
        findings.append(_tested(text, world, value, None))
    return findings
