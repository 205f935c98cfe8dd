"""What the points of `gating` say: rates, what is never seen, gaps at an equal price, and what doubt tells."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dagger_jax import intervals

from ..claim import INFORMATION, Finding, Settings, compared
from ..shared.rivals import best, ratio
from .methods import KINDS

PER_LABEL = 1.0  # the unit of price
TOLERANCE = 0.05  # how far the share of steps asked may be above a rate: it is fitted to the last round's law
SETTLED = 5  # rounds from which on a rate is judged
NO_BETTER = 0.95  # of cloning's gap: an interval around 1 can lie above it
RESET = "recoverable_reset_cliff"


class Curve(NamedTuple):
    """One method in one world; all [R, N]."""

    kind: str
    asks: bool
    value: float | None
    gap: np.ndarray
    price: np.ndarray  # cumulative, in labels, as are all prices below
    labels: np.ndarray  # cumulative
    handovers: np.ndarray  # cumulative
    switches: np.ndarray  # cumulative
    share: np.ndarray  # labels of the round's episodes, relative to T


Curves = dict[str, Curve]  # by method, in one world


def curves(settings: Settings, table: pa.Table) -> dict[str, Curves]:
    """By world and method."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault((row["world"], row["method"]), []).append(row)
    found: dict[str, Curves] = {}
    for (world, method), own in rows.items():
        gap, price, *asked = (
            np.array([row[name] for row in own], float).reshape(settings.runs, settings.rounds)
            for name in ("gap", "price", "labels", "handovers", "switches")
        )
        total = [np.cumsum(settings.episodes * each, axis=1) for each in asked]
        kind, asks, value = (own[0][name] for name in ("kind", "asks", "value"))
        share = asked[0] / settings.horizon
        found.setdefault(world, {})[method] = Curve(kind, asks, value, gap, price, *total, share=share)
    return found


class Compared(NamedTuple):
    """A gate beside the best fixed chunk at the same price, run by run."""

    best: str  # the fixed lengths that the two halves of the runs chose
    ratio: tuple[float, float, float]  # of gaps, with its interval


def beside_fixed(settings: Settings, found: dict[str, Curve]) -> dict[str, Compared]:
    """Every method but the fixed lengths, at what it has spent, at most the price of one chunk in every round.

    Gaps are interpolated in price between rounds. A fixed length whose first round is dearer is read there. The best
    one is chosen on one half of the runs and judged on the other.
    """
    most = settings.rounds * settings.episodes * (settings.per_query + PER_LABEL * settings.horizon)
    fixed = [name for name, curve in found.items() if curve.kind == "chunk"]
    against = {}
    for name, curve in found.items():
        if curve.kind != "chunk":
            spent = np.minimum(curve.price[:, -1], most)
            rival = best({other: at_price(found[other], spent) for other in fixed})
            against[name] = Compared(rival.title, ratio(at_price(curve, spent), rival.gap))
    return against


def at_price(curve: Curve, spent: np.ndarray) -> np.ndarray:
    """Gaps at a price a run. [R]"""
    return np.array([np.interp(*each) for each in zip(spent, curve.price, curve.gap, strict=True)])


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Rates that are kept, what is never seen, gaps at an equal price, and what a threshold of doubt tells."""
    everywhere = curves(settings, table)
    findings = [_rate(key, everywhere) for key in settings.gates if KINDS[key].rated]
    if RESET in everywhere:
        findings += _unseen(everywhere[RESET], settings)
    for world, found in everywhere.items():
        for name, each in beside_fixed(settings, found).items():
            if found[name].value == KINDS[found[name].kind].values[1]:
                text = f"{name}: its gap relative to the best fixed length's at an equal price ({each.best})"
                findings.append(Finding(text, "this experiment", world, None, *each.ratio, INFORMATION))
    return findings + trusted(table)


def _rate(key: str, everywhere: dict[str, Curves]) -> Finding:
    """The largest excess over a rate in any world and setting; its interval is that of the largest ends."""
    own = [curve for found in everywhere.values() for curve in found.values() if curve.kind == key]
    over = [intervals.mean(curve.share[:, SETTLED:].mean(1) - curve.value) for curve in own if curve.value is not None]
    value, low, high = (max(each) for each in zip(*over, strict=True))
    text = f"{KINDS[key].name}: share of steps asked above the rate, from round {SETTLED + 1} on; the most of all"
    text += f" worlds and settings (the least: {min(each[0] for each in over):.2g})"
    state = compared(low, high, most=TOLERANCE)
    return Finding(text, "this experiment", "all", f"at most {TOLERANCE}", value, low, high, state)


def trusted(table: pa.Table) -> list[Finding]:
    """Where HG-DAgger's learner doubts more than tau it risks more; judged where the expert is in its class."""
    kind = KINDS["human"]
    name = f"{kind.name} {kind.values[1]:g}"
    differences: dict[str, list[float]] = {}
    for row in table.to_pylist():
        if row["method"] == name and row["within"] is not None and row["beyond"] is not None:
            differences.setdefault(row["world"], []).append(row["beyond"] - row["within"])
    findings = []
    for world, values in differences.items():
        if len(values) > 1:
            value, low, high = intervals.mean(values)
            text = f"{name}: mean risk of the states where its doubt is above tau, less where it is not"
            text += f" ({len(values)} runs have both)"
            source, expected = "Kelly et al. 2019, arXiv 1810.02890", "above 0" if world == RESET else None
            state = compared(low, high, least=0) if expected else INFORMATION
            findings.append(Finding(text, source, world, expected, value, low, high, state))
    return findings


def _unseen(found: dict[str, Curve], settings: Settings) -> list[Finding]:
    """A gate that takes over before the learner errs never shows what follows an error."""
    cloned = found[f"k = {settings.horizon}"].gap[:, -1]

    def beside_cloning(text: str, gap: np.ndarray, expected: str | None, **limits: float) -> Finding:
        value, low, high = ratio(gap, cloned)
        least, most = limits.get("least", -np.inf), limits.get("most", np.inf)
        state = compared(low, high, least=least, most=most) if expected else INFORMATION
        text += ": last gap relative to behavioural cloning's"
        return Finding(text, "this experiment", RESET, expected, value, low, high, state)

    shown, hidden = ("below 0.5", {"most": 0.5}), (f"at least {NO_BETTER}", {"least": NO_BETTER})
    text = "DAgger sees what follows an error"
    findings = [beside_cloning(text, found["k = 1"].gap[:, -1], shown[0], **shown[1])]
    for key in settings.gates:
        own = {name: curve for name, curve in found.items() if curve.kind == key}
        acting = best({name: curve.gap[:, -1] for name, curve in own.items() if not curve.asks})
        if key in ("ensemble", "human"):  # for information
            text = f"{acting.title}, whose members guess where nothing was shown"
            findings.append(beside_cloning(text, acting.gap, None))
        else:
            text = f"{KINDS[key].name} takes over first, and never sees it (at best {acting.title})"
            findings.append(beside_cloning(text, acting.gap, hidden[0], **hidden[1]))
        for name, curve in own.items():
            if curve.asks:
                text = f"{name}: the learner stays in control, and sees it"
                findings.append(beside_cloning(text, curve.gap[:, -1], shown[0], **shown[1]))
    return findings
