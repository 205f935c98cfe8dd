"""What the points of the distillation experiment say."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from experiments.claim import INFORMATION, Finding, Settings, settled
from experiments.distillation_methods import SUPERVISED

HERE = "this experiment"
MEASURES = ("own_kl", "own_reverse", "own_variation", "writers_kl", "writers_reverse", "writers_variation", "excess")
LOSSES_APART = 1e-4  # nats, of one mean loss in float32 from two programs
BFLOAT_APART = 5e-2  # the same in bfloat16


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
    """What follows from definitions, what is measured with an interval, and the rest for information."""
    found = collect(table)
    findings = _definitions(settings, table, found)
    for world, methods in found.items():
        findings += _directions(world, methods) + _information(world, methods)
    return findings


def _definitions(settings: Settings, table: pa.Table, found: Found) -> list[Finding]:
    rows = table.to_pylist()
    ones = [row for row in rows if row["what"] == "one token"]
    differing = sum(row["differing"] for row in ones)
    apart = max(row["apart"] for row in ones)
    limit = LOSSES_APART if settings.dtype == "float32" else BFLOAT_APART
    counts = {int(each.labels[-1]) for methods in found.values() for each in methods.values()}
    judged = [row for row in rows if row["what"] == "training"]
    # KL >= 2 TV^2 at every prefix, so its mean is at least twice the square of the mean.
    slack = [
        2 * (row[f"{whose}_variation"] / row["length"]) ** 2 - row[f"{whose}_{kl}"] / row["length"]
        for row in judged
        for whose in ("own", "writers")
        for kl in ("kl", "reverse")
    ]
    return [
        Finding(
            "chunks of one token ask for the tokens of on-policy distillation on sampled labels: tokens that differ",
            "theory 8",
            ones[0]["world"],
            0,
            differing,
            None,
            None,
            state=settled(differing == 0),
        ),
        Finding(
            "and both charge the learner alike: difference of the mean losses, nats",
            "theory 8",
            ones[0]["world"],
            f"at most {limit:g}",
            apart,
            None,
            None,
            state=settled(apart <= limit),
        ),
        Finding(
            "every method is charged for as many labels of the writer: labels a run",
            "definition",
            "all",
            settings.rounds * settings.batch * settings.length,
            ", ".join(map(str, sorted(counts))),
            None,
            None,
            state=settled(counts == {settings.rounds * settings.batch * settings.length}),
        ),
        Finding(
            "2 TV^2 never exceeds either KL (means over prefixes): largest excess, nats a token",
            "Pinsker",
            "all",
            "at most 0",
            max(slack),
            None,
            None,
            state=settled(max(slack) <= 1e-5),
        ),
    ]


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
            findings.append(Finding(text, HERE, world, "below 1", *found, state=settled(found.high < 1)))
    single = methods.get("chunks, k = 1")
    if single is not None and world == "markov":
        more = mean(methods[SUPERVISED].last("excess") - single.last("excess"))
        text = (
            "supervised fine-tuning accumulates more error than chunks of one token: difference of ExAccErr, per cent"
        )
        findings.append(Finding(text, "theory 8, E8.1", world, "above 0", *more, state=settled(more.low > 0)))
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
