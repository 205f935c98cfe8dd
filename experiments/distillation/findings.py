"""What the points of the distillation experiment say."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from ..claim import INFORMATION, Finding, Settings, compared
from .methods import SUPERVISED

ARORA = "Arora et al. 2022, arXiv 2204.01171; docs/theory.md#text-accumulated-error"
HERE, GKD = "this experiment", "Agarwal et al. 2024, arXiv 2306.13649; docs/theory.md#text-objectives"
MEASURES = ("own_kl", "own_reverse", "own_variation", "writers_kl", "writers_reverse", "writers_variation", "excess")


class Ratio(NamedTuple):
    """Geometric mean of paired ratios, with the 95% t interval of its logarithm."""

    value: float
    low: float
    high: float


class Trained(NamedTuple):
    """One method in one world. R runs, J judgements after the first, which is before training."""

    kind: str
    labelled: str
    fraction: float | None
    chunk: int | None
    handovers: float
    rounds: np.ndarray  # [J + 1]
    labels: np.ndarray  # [J + 1]
    curves: dict[str, np.ndarray]  # of MEASURES: [R, J + 1] over whole texts
    lengths: dict[str, np.ndarray]  # [R, T] after the last round, for each length
    seconds: float  # a round, the median of the blocks that were timed
    fastest: float
    slowest: float

    def last(self, name: str) -> np.ndarray:
        """After the last round. [R]"""
        return self.curves[name][:, -1]

    def after(self, name: str, seconds: float) -> np.ndarray:
        """After a time of training: between two judgements along a straight line, which is above a convex curve. [R]"""
        return np.array([np.interp(seconds, self.rounds * self.seconds, one) for one in self.curves[name]])


Found = dict[str, dict[str, Trained]]  # by world and method


def collect(table: pa.Table) -> Found:
    """The points by world and method."""
    rows = table.to_pylist()
    seconds = {row["method"]: row for row in rows if row["what"] == "seconds"}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["what"] == "training":
            groups.setdefault((row["world"], row["method"]), []).append(row)
    found: Found = {}
    for (world, name), own in groups.items():
        horizon = own[0]["horizon"]
        whole = [row for row in own if row["length"] == horizon]
        rounds = sorted({row["round"] for row in whole})
        last = [row for row in own if row["round"] == rounds[-1]]
        first = whole[0]
        found.setdefault(world, {})[name] = Trained(
            *(first[column] for column in ("kind", "labelled", "fraction", "chunk", "handovers")),
            rounds=np.array(rounds),
            labels=np.array(sorted({row["labels"] for row in whole})),
            curves={measure: _grid(whole, measure, "round") for measure in MEASURES},
            lengths={measure: _grid(last, measure, "length") for measure in MEASURES},
            **{which: seconds[name][which] for which in ("seconds", "fastest", "slowest")},
        )
    return found


def _grid(rows: list[dict[str, Any]], measure: str, along: str) -> np.ndarray:
    values = {(row["run"], row[along]): row[measure] for row in rows}
    runs, places = (sorted({key[part] for key in values}) for part in (0, 1))
    return np.array([[values[run, place] for place in places] for run in runs], float)


def ratio(values: np.ndarray, reference: np.ndarray) -> Ratio:
    """Of positive values [R]; runs are paired."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return Ratio(*map(float, np.exp(mean(np.log(values / reference)))))


def mean(values: np.ndarray) -> Ratio:
    """Mean of values [R] with its 95% t interval."""
    wide = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return Ratio(*(float(values.mean() + side * wide) for side in (0, -1, 1)))


def common_time(methods: dict[str, Trained]) -> float:
    """Seconds that the fastest method needs for all its rounds: every method has trained as long at least."""
    return min(each.rounds[-1] * each.seconds for each in methods.values())


def gkd(methods: dict[str, Trained], divergence: str, own: bool) -> str | None:
    """The name of GKD's method with only the learner's texts, or only the writer's; None where it was not run."""
    wanted = 1.0 if own else 0.0
    names = [
        n for n, each in methods.items() if (each.kind, each.labelled, each.fraction) == ("GKD", divergence, wanted)
    ]
    return names[0] if names else None


# ---- the verdict -------------------------------------------------------------------------------------------------


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """What is measured with an interval, and the rest for information."""
    found = collect(table)
    findings = _one_token(table)
    for world, methods in found.items():
        findings += _directions(world, methods) + _information(world, methods)
    return findings


def _one_token(table: pa.Table) -> list[Finding]:
    """Both ways to say k = 1 are one by construction."""
    ones = [row for row in table.to_pylist() if row["what"] == "one token"]
    differing, apart = sum(row["differing"] for row in ones), max(row["apart"] for row in ones)
    text = (
        "for information: chunks of one token are on-policy distillation on sampled labels, by construction: tokens "
        f"that differ (and mean losses, by {apart:.2g} nats at most)"
    )
    return [Finding(text, GKD, ones[0]["world"], None, differing, None, None, state=INFORMATION)]


def _directions(world: str, methods: dict[str, Trained]) -> list[Finding]:
    """Each divergence is best where it is the one that is charged, and own prefixes leave less exposure bias."""
    reverse, forward = gkd(methods, "reverse", True), gkd(methods, "forward", False)
    pairs = [
        ("own_reverse", reverse, SUPERVISED, "reverse KL, of texts that the learner writes"),
        ("own_reverse", reverse, gkd(methods, "forward", True), "reverse KL, of texts that the learner writes"),
        ("writers_kl", forward, SUPERVISED, "forward KL, of texts that the writer writes"),
        ("writers_kl", forward, gkd(methods, "reverse", False), "forward KL, of texts that the writer writes"),
    ]
    findings = []
    for measure, name, other, words in pairs:
        if name is not None and other is not None:
            found = ratio(methods[name].last(measure), methods[other].last(measure))
            text = f"{name}, has less than {other}, at equal labels, of the {words}: ratio"
            findings.append(
                Finding(
                    text, HERE, world, "below 1", *found, state=compared(found.low, found.high, most=1.0, strict=True)
                )
            )
    single = methods.get("chunks, k = 1")
    if single is not None and world == "markov":
        more = mean(methods[SUPERVISED].last("excess") - single.last("excess"))
        text = (
            "supervised fine-tuning accumulates more error than chunks of one token: difference of ExAccErr, per cent"
        )
        state = compared(more.low, more.high, least=0.0, strict=True)
        findings.append(Finding(text, ARORA, world, "above 0", *more, state=state))
    return findings


def _information(world: str, methods: dict[str, Trained]) -> list[Finding]:
    """Who is nearest on its own texts, by labels and by time; what own prefixes change; accumulation."""
    findings, reference, time = [], methods[SUPERVISED], common_time(methods)

    def add(text: str, found: Ratio) -> None:
        findings.append(Finding(text, HERE, world, None, *found, state=INFORMATION))

    by_labels = {name: ratio(each.last("own_kl"), reference.last("own_kl")) for name, each in methods.items()}
    by_time = {
        name: ratio(each.after("own_kl", time), reference.after("own_kl", time)) for name, each in methods.items()
    }
    for words, ratios in (("labels", by_labels), ("wall time", by_time)):
        best = min(ratios, key=lambda name: ratios[name].value)
        text = f"at equal {words} the least KL on own prefixes of {len(ratios)} methods has, in hindsight, {best}"
        if words == "wall time":  # the interval is over runs: other seconds would move it
            text += f" ({_times(best, methods[best])}; {_times(SUPERVISED, reference)})"
        add(f"{text}: ratio to supervised fine-tuning", ratios[best])
    for divergence in dict.fromkeys(each.labelled for each in methods.values() if each.kind == "GKD"):
        own, writers = (gkd(methods, divergence, which) for which in (True, False))
        if own and writers:
            for measure, words in (("own_kl", "KL"), ("own_reverse", "reverse KL")):
                found = ratio(methods[own].last(measure), methods[writers].last(measure))
                add(f"{divergence}: {words} on own prefixes, trained on own prefixes over the writer's", found)
    for kind in ("chunks", "mixture", "scheduled sampling"):
        for name in (name for name, each in methods.items() if each.kind == kind):
            add(f"{name}: KL on own prefixes over supervised fine-tuning's, at equal labels", by_labels[name])
    slowest = max(methods, key=lambda name: methods[name].seconds)
    times = f"{methods[slowest].seconds / reference.seconds:.2g} times"
    seen = f"{_times(slowest, methods[slowest])}; {_times(SUPERVISED, reference)}"
    findings.append(
        Finding(
            f"the slowest round, {slowest}, takes as long as supervised fine-tuning ({seen})", HERE, world, None, times,
            None, None, state=INFORMATION,
        )
    )  # fmt: skip
    for name in (SUPERVISED, gkd(methods, "reverse", True), "chunks, k = 1"):
        if name in methods:
            add(f"{name}: ExAccErr at the whole length, per cent", mean(methods[name].last("excess")))
    return findings


def _times(name: str, method: Trained) -> str:
    return f"{name} {1e3 * method.seconds:.3g} ms a round, {1e3 * method.fastest:.3g} to {1e3 * method.slowest:.3g}"


def summary(table: pa.Table) -> pa.Table:
    """Every method in every world: means over runs after the last round, and ratios of KL on own prefixes."""
    lines = []
    for world, methods in collect(table).items():
        time, reference = common_time(methods), methods[SUPERVISED]
        for name, each in methods.items():
            labels = ratio(each.last("own_kl"), reference.last("own_kl"))
            timed = ratio(each.after("own_kl", time), reference.after("own_kl", time))
            lines.append(
                {"world": world, "method": name, "handovers a text": each.handovers}
                | {measure: float(each.last(measure).mean()) for measure in MEASURES}
                | {"own_kl ratio, equal labels": labels.value, "low": labels.low, "high": labels.high}
                | {"own_kl ratio, equal time": timed.value, "seconds a round": each.seconds}
            )
    return pa.Table.from_pylist(lines)
