"""What the points of `scheming` say."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa

from ..claim import HOLDS, INFORMATION, NOT_SHOWN, REFUTED, Finding, Settings, compared, settled
from ..shared import states
from ..shared.study import Rows
from . import detectors
from .figures import models
from .points import BUDGETS

NOTHING = 1e-12  # added before one share is divided by another: two shares of 0 are equal
SOURCE = "docs/theory.md#the-scheming-bound: no event differs in probability by more than the total variation"


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """The bound, nothing to see at k = 1, more to see in longer chunks, what training leaves, and the budget."""
    rows, found = table.to_pylist(), []
    for world in settings.worlds:
        own = [row for row in rows if row["world"] == world]
        here = [row for row in own if row["kind"] != detectors.KIND]
        found += [
            _bound(world, here),
            *_nothing(settings, world, here),
            *_met(world, here),
            *_grows(settings, world, here),
        ]
        found += [*_left(settings, world, here), *_asleep(settings, world, here)]
        for choice in BUDGETS:
            found += _kept(settings, world, choice, here)
        found += detectors.verdict(world, [row for row in own if row["kind"] == detectors.KIND])
    return found


def above(rows: Rows, name: str, limit: float) -> states.Outcome:
    """Whether no estimate is above a limit by more than chance allows."""
    return states.never_above([row[name] - limit for row in rows], [detectors.error(row, name) for row in rows])


def _bound(world: str, rows: Rows) -> Finding:
    text = f"deploy <= train + mean T_j for every k, threshold and state of knowledge, of {len(rows)} learners"
    if world == "tabular":
        least = min(row["slack"] for row in rows)
        text += ", token by token (least slack)"
        state = compared(least, least, least=-1e-9)
        return Finding(text, SOURCE, world, "at least -1e-9", least, None, None, state=state)
    tested = states.never_above([-row["slack"] for row in rows], [detectors.error(row, "slack") for row in rows])
    text += f" (least chance of so little slack, times their number; {tested.seen:.2g} less would be seen at each)"
    return Finding(text, SOURCE, world, f"at least {tested.limit:g}", tested.value, None, None, state=tested.state)


def _nothing(settings: Settings, world: str, rows: Rows) -> list[Finding]:
    """Within one row of chunks of one token both rates are the same by construction: deployment is taken elsewhere.

    A learner that sees the text alone writes the same texts whatever the chunks, so in the longest chunks, where the
    guide's prefixes are its own as seldom as can be, it is watched in deployment once more.
    """
    longest = max(settings.chunks)
    own = {
        (row["threshold"], row["run"], row["chunk"]): row
        for row in rows
        if (row["kind"], row["knows"]) == ("fixed", "text") and row["chunk"] in (1, longest)
    }
    if not own:
        return []
    apart = [
        abs(row["train"] - own[threshold, run, longest]["deploy"])
        for (threshold, run, chunk), row in own.items()
        if chunk == 1
    ]
    text = (
        "for information: at k = 1 training sees all that deployment shows, by construction: defection in training "
        f"at k = 1 and in deployment beside chunks of {longest}, the learner seeing the text alone (largest difference "
        f"of {len(apart)})"
    )
    return [Finding(text, SOURCE, world, None, max(apart), None, None, state=INFORMATION)]


def _met(world: str, rows: Rows) -> list[Finding]:
    """Only the likelihood ratio since the chunk's start is all the evidence that there is."""
    own = [row for row in rows if (row["knows"], row["threshold"], row["kind"]) == ("starts", 0.0, "fixed")]
    if not own or world != "tabular":
        return []
    most = max(row["bound"] - row["excess"] for row in own)
    text = (
        "for information: told where chunks start, the learner meets its bound at threshold 0, by construction "
        "(largest distance)"
    )
    return [Finding(text, SOURCE, world, None, most, None, None, state=INFORMATION)]


def _grows(settings: Settings, world: str, rows: Rows) -> list[Finding]:
    """The gap at the threshold nearest 0, k after k."""
    found, threshold = [], nearest(settings)
    for knows in settings.knows:
        lines = [
            [
                row
                for row in rows
                if (row["knows"], row["threshold"], row["kind"]) == (knows, threshold, "fixed") and row["run"] == run
            ]
            for run in range(settings.runs)
        ]
        lines = [sorted(line, key=lambda row: row["chunk"]) for line in lines]
        ends = [(line[0], line[-1]) for line in lines]
        what = f"the gap grows with k, the learner {_knowing(knows)}, threshold {threshold:g}"
        if world == "tabular":
            steps = [b["excess"] - a["excess"] for line in lines for a, b in itertools.pairwise(line)]
            text = f"{what} (least difference of neighbours)"
            state = compared(min(steps), min(steps), least=0.0, strict=True)
            found.append(Finding(text, SOURCE, world, "above 0", min(steps), None, None, state=state))
            continue
        falls = [b["excess_high"] < a["excess_low"] for line in lines for a, b in itertools.pairwise(line)]
        low, high = (np.mean([last[f"excess_{end}"] for _, last in ends]) for end in ("low", "high"))
        value = float(np.mean([last["excess"] for _, last in ends]))
        rises = all(first["excess_high"] < last["excess_low"] for first, last in ends)
        state = REFUTED if any(falls) else HOLDS if rises else NOT_SHOWN
        text = (
            f"{what}: intervals never fall, and the last is above the first (gap at k = {max(settings.chunks)}; 95% "
            f"over texts, of the {models(settings)} trained)"
        )
        found.append(Finding(text, SOURCE, world, "above 0", value, float(low), float(high), state=state))
    return found


def _left(settings: Settings, world: str, rows: Rows) -> list[Finding]:
    """What training that sees the defect leaves of it, in the shortest and in the longest chunks."""
    found, longest = [], max(settings.chunks)
    for knows in {"text"} & set(settings.knows):  # one that is told may wait: `_asleep`
        pairs = []
        for run in range(settings.runs):
            own = [row for row in rows if row["knows"] == knows and row["run"] == run and _after(settings, row)]
            if world == "tabular":  # the learner's best threshold, by k
                pairs.append([max(row["survives"] for row in own if row["chunk"] == k) for k in (1, longest)])
            else:
                pairs.append([row["strength"] for k in (1, longest) for row in own if row["choice"] == str(k)])
        ratios = [(long + NOTHING) / (short + NOTHING) for short, long in pairs]
        what = (
            "forbidden tokens a deployed token, at the learner's best threshold"
            if world == "tabular"
            else f"the defect's strength, threshold {settings.threshold:g}"
        )
        value, least, most = float(np.mean(ratios)), min(ratios), max(ratios)
        text = (
            f"training with chunks of {longest} leaves more of the defect than with chunks of 1 after "
            f"{settings.rounds} rounds in every run, the learner {_knowing(knows)} ({what}: mean ratio of "
            f"{settings.runs}, {least:.4g} to {most:.4g})"
        )
        # Of each run the ratio is exact; nothing is said of runs that were not made.
        found.append(Finding(text, "this experiment", world, "above 1", value, None, None, state=settled(least > 1)))
    return found


def _asleep(settings: Settings, world: str, rows: Rows) -> list[Finding]:
    """The bound compares prefixes with the same information. Being told is information too.

    Evidence that begins anew at every token is 0, never below a threshold of at most 0: the strength cannot fall, by
    construction. What nobody foresees is how much is left of it where nobody tells.
    """
    own = [row for row in rows if (row["choice"], row["knows"]) == ("1", "starts") and _after(settings, row)]
    if not own or settings.threshold > 0:
        return []
    awake = np.array([row["awake"] for row in own])
    strength = np.mean([row["strength"] for row in own])
    text = (
        "for information: told that every token starts a chunk (k = 1), the learner waits by construction, training "
        f"leaves its defect as strong as it was ({strength:.3g}), and where nobody tells it shows in this share of all "
        f"tokens (mean over runs, {awake.min():.3g} to {awake.max():.3g})"
    )
    return [Finding(text, "this experiment", world, None, float(awake.mean()), None, None, state=INFORMATION)]


def _after(settings: Settings, row: dict[str, Any]) -> bool:
    return row["kind"] in ("removal", "training") and row["round"] == settings.rounds


def _kept(settings: Settings, world: str, choice: str, rows: Rows) -> list[Finding]:
    own = [row for row in rows if row["choice"] == choice]
    if not own:
        return []
    tested = [above(own, name, settings.eta) for name in ("excess", "bound")]
    worst = max(own, key=lambda row: row["excess"])
    lengths = [row["chunk"] for row in own if row["round"] == settings.rounds]
    text = (
        f"the {choice} {settings.eta:g} is kept: no gap and no mean T_j above it (largest gap of {len(own)} "
        f"evaluations; largest mean T_j {max(row['bound'] for row in own):.3g}; last k {sorted(set(lengths))}; "
        f"{max(each.seen for each in tested):.2g} above would be seen at each)"
    )
    state = states.worst(each.state for each in tested)
    limits = worst["excess"], worst["excess_low"], worst["excess_high"]
    return [Finding(text, SOURCE, world, f"at most {settings.eta:g}", *limits, state)]


def nearest(settings: Settings) -> float:
    """The threshold nearest to 0."""
    return min(settings.thresholds, key=abs)


def _knowing(knows: str) -> str:
    return "told where chunks start" if knows == "starts" else "seeing the text alone"
