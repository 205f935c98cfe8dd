"""What the points of the exposure-bias experiment say."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from dagger_jax import growth, intervals

from ..claim import INFORMATION, Finding, Settings, compared
from .worlds import MISSPECIFIED

MARGIN = 1.1  # an exponent up to here counts as linear
TOLERANCE = 1e-6  # relative, of exact equalities
NEGLIGIBLE = 2.0  # percentage points of ExAccErr: where chunks help they take off several times as much
THIS, ARORA = "this experiment", "Arora et al. 2022, arXiv 2204.01171; docs/theory.md#text-accumulated-error"
COUPLED = f"derived here by coupling, as Ross and Bagnell 2010, Theorem 2.1; {ARORA}"
GARBAGE = {"recovering": 1, "absorbing": None}  # u of worlds with garbage; None: T


class Series(NamedTuple):
    """One way to choose chunks in one world. R replicas: runs, judged exactly, or models, by their texts' means."""

    kind: str  # fixed, schedule or controller
    lengths: np.ndarray  # [M] l
    own: np.ndarray  # [R, M] R(l), nats
    expert: np.ndarray  # [R, M] l eps(l), nats
    own_tv: np.ndarray  # [R, M]
    expert_tv: np.ndarray  # [R, M]
    gap: np.ndarray  # [R, M] cost of the learner's tokens above the writer's; nan where there is none
    perplexity: np.ndarray  # [R, M] on the writer's texts
    u: float  # mean recoverability; nan where the writer is no table

    def excess(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """ExAccErr(l) in percent and its 95% interval, [M] each."""
        value, low, high = intervals.of_positive(lambda own, expert: own / expert, self.own, self.expert)
        return 100 * (value - 1), 100 * (low - 1), 100 * (high - 1)


Found = Mapping[str, Mapping[str, Mapping[str, Series]]]  # by world, learner and method


def found(table: pa.Table) -> Found:
    """The points by world, learner and method, in their order."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault((row["world"], row["learner"], row["method"]), []).append(row)
    everything: dict[str, dict[str, dict[str, Series]]] = {}
    for (world, learner, method), own in rows.items():
        lengths = np.unique([row["length"] for row in own])
        names = ("own_kl", "expert_kl", "own_tv", "expert_tv", "gap", "perplexity")
        columns = [np.array([row[name] for row in own], float).reshape(-1, len(lengths)) for name in names]
        u = float(np.mean(np.array([row["recoverability"] for row in own], float)))
        methods = everything.setdefault(world, {}).setdefault(learner, {})
        methods[method] = Series(own[0]["kind"], lengths, *columns, u=u)
    return everything


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Where errors accumulate, what on-policy chunks do about it, what no learner can exceed, and what is news."""
    everything = found(table)
    sft = f"k = {settings.length}"
    findings: list[Finding] = []
    for world, learners in everything.items():
        findings += _recoverability(settings, world, next(iter(learners.values()))[sft].u)
        for learner, methods in learners.items():
            where = f"{world}, {learner}"
            if world in GARBAGE:
                findings += _accumulates(where, world == "absorbing", methods[sft])
            findings += _on_policy(where, world, methods, sft) + _dynamic(where, methods)
            text = f"for information: perplexity on the writer's texts, supervised fine-tuning{_single(methods)}"
            findings.append(Finding(text, THIS, where, None, *_last(methods[sft].perplexity), state=INFORMATION))
        if len(learners) == 2:
            findings += _agreement(world, *learners.values())
    return findings + _limit(table)


def _recoverability(settings: Settings, world: str, u: float) -> list[Finding]:
    if np.isnan(u):
        return []
    if world not in GARBAGE:
        text = "for information: u of tokens the writer would change, mean over runs"
        return [Finding(text, THIS, world, None, u, None, None, state=INFORMATION)]
    expected = GARBAGE[world] or settings.length
    text = (
        f"for information: garbage tokens that one token costs at most, u, mean over runs ({expected} by construction)"
    )
    return [Finding(text, THIS, world, None, u, None, None, state=INFORMATION)]


def _accumulates(where: str, faster: bool, sft: Series) -> list[Finding]:
    """SFT's R(l) from l = T/8 on, and R(l) / (l eps(l)) from T/4 to T."""
    late = sft.lengths >= sft.lengths[-1] / 8
    try:
        fitted = growth.fit(sft.lengths[late], sft.own[:, late])
        exponent = fitted.exponent, fitted.low, fitted.high
        law = f" (growth law: {fitted.verdict})"
    except ValueError as error:
        exponent, law = (np.nan, np.nan, np.nan), f" ({error})"
    quarter = int(np.abs(sft.lengths - sft.lengths[-1] / 4).argmin())
    linear = (sft.lengths[-1] / sft.lengths[quarter]) ** (MARGIN - 1)

    def factor(own: np.ndarray, expert: np.ndarray) -> np.ndarray:
        return (own[..., -1] / expert[..., -1]) / (own[..., quarter] / expert[..., quarter])

    grows = intervals.of_positive(factor, sft.own, sft.expert)
    side = "above" if faster else "below"
    words = "faster than l" if faster else "no faster than l"
    rest = f"R(l) / (l eps(l)) {'grows' if faster else 'does not grow'} with l: T against T/4 (linear 1, quadratic 4)"
    return [
        Finding(
            f"supervised fine-tuning: {text}",
            *(source, where, f"{side} {limit:.3g}", *each),
            state=compared(each[1], each[2], **{"least" if faster else "most": limit}, strict=True),
        )
        for text, source, limit, each in (
            (f"R(l) grows {words}, exponent of l{law}", COUPLED, MARGIN, exponent),
            (rest, ARORA, linear, grows),
        )
    ]


def _on_policy(where: str, world: str, methods: Mapping[str, Series], sft: str) -> list[Finding]:
    """What chunks of the learner's own prefixes change, against supervised fine-tuning."""
    tuned, findings = methods[sft], []

    def less(own: np.ndarray, expert: np.ndarray, other: np.ndarray, others: np.ndarray) -> np.ndarray:
        return 100 * (own[..., -1] / expert[..., -1] - other[..., -1] / others[..., -1])

    for name in (name for name in methods if methods[name].kind == "fixed" and name != sft):
        each = intervals.of_means(less, methods[name].own, methods[name].expert, tuned.own, tuned.expert)
        text = f"ExAccErr(T) of {name} less that of supervised fine-tuning, in percentage points"
        if where == "recovering, tabular":
            state = compared(each[1], each[2], most=0.0, strict=True)
            findings.append(Finding(text, ARORA, where, "below 0", *each, state=state))
        elif name == "k = 1" and world in MISSPECIFIED and where.endswith("tabular"):
            # Not "below": a table of fewer tokens that fits a stationary Markov writer reproduces the law of its
            # contexts, so that nothing accumulates whatever it was trained on.
            state = compared(each[1], each[2], most=NEGLIGIBLE)
            findings.append(Finding(text, ARORA, where, f"at most {NEGLIGIBLE:g}", *each, state=state))
        elif name == "k = 1":
            findings.append(Finding(f"for information: {text}", THIS, where, None, *each, state=INFORMATION))
    single = methods.get("k = 1")
    if single is None or sft == "k = 1":
        return findings
    more = intervals.of_positive(lambda a, b: a[..., -1] / b[..., -1], single.own, tuned.own)
    text = "for information: R(T) of k = 1 relative to that of supervised fine-tuning"
    findings.append(Finding(text, THIS, where, None, *more, state=INFORMATION))
    if world in GARBAGE:
        more = intervals.of_means(lambda a, b: a[..., -1] - b[..., -1], single.gap, tuned.gap)
        means = f"{single.gap[:, -1].mean():.3g} and {tuned.gap[:, -1].mean():.3g}"
        text = f"for information: garbage tokens a text of k = 1 less those of supervised fine-tuning ({means})"
        findings.append(Finding(text, THIS, where, None, *more, state=INFORMATION))
    return findings


def _single(methods: Mapping[str, Series]) -> str:
    return f" (k = 1: {_last(methods['k = 1'].perplexity)[0]:.4g})" if "k = 1" in methods else ""


def _last(values: np.ndarray) -> tuple[float, float, float]:
    return intervals.of_positive(lambda means: means[..., -1], values)


def _dynamic(where: str, methods: Mapping[str, Series]) -> list[Finding]:
    """The schedule and the controller of least R(T), chosen in hindsight, against the best fixed length."""
    last = {name: each.own[:, -1] for name, each in methods.items()}

    def best(kind: str) -> str:
        return min((name for name in methods if methods[name].kind == kind), key=lambda name: last[name].mean())

    fixed = best("fixed")
    return [
        Finding(
            f"for information: R(T) of the best {kind} ({name}, in hindsight) relative to the best fixed length's "
            f"({fixed})",
            *(THIS, where, None, *intervals.of_positive(lambda a, b: a / b, last[name], last[fixed])),
            state=INFORMATION,
        )
        for kind in ("schedule", "controller")
        for name in (best(kind),)
    ]


def _agreement(world: str, first: Mapping[str, Series], second: Mapping[str, Series]) -> list[Finding]:
    common = [name for name in first if name in second]
    ranks = [[_ratio(each[name]) for name in common] for each in (first, second)]
    if len(common) < 3 or min(np.ptp(values) for values in ranks) == 0:
        return []
    text = f"for information: rank correlation of ExAccErr(T), table against transformer, over {len(common)} methods"
    value = float(np.corrcoef(*(stats.rankdata(values) for values in ranks))[0, 1])
    return [Finding(text, THIS, world, None, value, None, None, state=INFORMATION)]


def _ratio(series: Series) -> float:
    return series.own[:, -1].mean() / series.expert[:, -1].mean()


def _limit(table: pa.Table) -> list[Finding]:
    """0-1 errors, exact: R(l) is at most the sum over t of what has gone wrong at the writer's prefixes up to t."""
    # At l = 1 both sides are the same number.
    rows = [row for row in table.to_pylist() if row["tv_bound"] is not None and row["length"] > 1]
    if not rows:
        return []
    shares = np.array([row["own_tv"] / max(row["tv_bound"], 1e-12) for row in rows])
    text = "no exact 0-1 error R(l) exceeds sum_{t<=l} sum_{s<=t} eps_s <= l² eps(l), l > 1: largest share of it"
    worst = float(shares.max())
    state = compared(worst, worst, most=1 + TOLERANCE)
    return [Finding(text, COUPLED, "all, tabular", "at most 1", worst, None, None, state=state)]
