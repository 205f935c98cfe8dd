"""Who is writing? What a detector can see of a chunk against its length: exactly, by roll-outs, and learned.

python -m experiments.detectability --out=DIR
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from .. import claim
from ..claim import HOLDS, INFORMATION, NOT_SHOWN, REFUTED, BadFlag, Claim, Finding, Settings, compared
from ..shared import needs, states
from ..shared.study import Rows
from .figures import figures
from .points import BATCHES, measure
from .worlds import ABOUT, REPLICATED, STOCHASTIC

FOUND = 0.1  # share of the total variation that a classifier must find where there is much of it
SCARCE = 0.2  # coverage that a test must be able to tell from 95%
NEYMAN = "Neyman and Pearson 1933; docs/theory.md#detectability-total-variation"
TRADE = "docs/theory.md#the-scheming-bound: no event differs in probability by more than the total variation"
DIVERGENCES = "docs/theory.md#detectability-divergences and docs/theory.md#detectability-accuracy-and-auc"
GROWS = "derived here, docs/theory.md#detectability-growth-with-the-chunk"
NEAR = 0.1  # how far an exponent may be from its law: sqrt(k) holds for many steps and small distances

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": tuple(ABOUT),
        "chunks": chunks,
        "eps": eps,
        "thresholds": (-0.1, 0.0, 0.1),
        "episodes": episodes,
        "runs": runs,
    }
    for preset, chunks, eps, episodes, runs in (
        ("quick", (1, 2, 4, 8, 16, 32), (0.02,), 1 << 12, 1),
        ("default", (1, 2, 4, 8, 16, 32, 64), (0.01, 0.05), 1 << 14, 1),
        ("full", (1, 2, 4, 8, 16, 32, 64, 128), (0.003, 0.01, 0.05), 1 << 17, 4),
    )
}


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world, error and replica; an aliased learner's error is its own."""
    if not 0 < min(settings.eps) <= max(settings.eps) < 0.5:
        raise BadFlag("eps", "an error of 0 or of 0.5 is out of range here; allowed: above 0 and below 0.5")
    return [
        {"world": world, "eps": eps, "run": run}
        for world in settings.worlds
        for eps in ((None,) if world == "aliased" else settings.eps)
        for run in range(settings.runs if world in REPLICATED else 1)
    ]


# ---- what the points say ------------------------------------------------------------------------------------------


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """World by world: closed forms, bounds, intervals, growth, learned detectors, the scheming learner."""
    rows, found = table.to_pylist(), []
    for world in settings.worlds:
        here = [row for row in rows if row["world"] == world]
        found += [_closed(world, here), _bounds(world, here), *_growth(world, here)]
        found += [_never_above(world, here), _finds(world, here), *_scheming(world, here)]
    found.append(_covered(", ".join(settings.worlds), rows))
    return [finding for finding in found if finding is not None]


def _closed(world: str, rows: Rows) -> Finding | None:
    errors = [
        abs(row["value"] - row["closed_form"])
        for row in rows
        if row["interpreter"] == "exact" and None not in (row["closed_form"], row["value"])
    ]
    if not errors:
        return None
    stated = "1-(1-ε)^k" if world == "chunk_reset" else "two binomial laws"
    text = f"the exact law of the likelihood ratio equals the closed form of {stated} (largest error, all statistics)"
    error = max(errors)
    return Finding(text, NEYMAN, world, "at most 1e-9", error, None, None, state=compared(error, error, most=1e-9))


def _bounds(world: str, rows: Rows) -> Finding | None:
    slacks = []
    for row in rows:
        if row["interpreter"] == "exact" and row["threshold"] is None and row["value"] is not None:
            above = [row[name] - row["value"] for name in ("bound", "entropy_bound") if row[name] is not None]
            slacks += above if row["least"] is None else [*above, row["value"] - row["least"]]
    if not slacks:
        return None  # the exact law ends before the shortest chunk asked for
    lower = "D_H²/2" if world in STOCHASTIC else "the largest ε and D_H²/2"
    text = (
        f"total variation lies above {lower}, below the sum of all ε and the bounds by KL and Hellinger "
        "distance, and the AUC and the Jensen-Shannon divergence between theirs (least slack)"
    )
    source, least = f"Bretagnolle and Huber 1979; Sadasivan et al. 2023, arXiv 2303.11156; {DIVERGENCES}", min(slacks)
    return Finding(text, source, world, "at least -1e-9", least, None, None, state=compared(least, least, least=-1e-9))


def _covered(worlds: str, rows: Rows) -> Finding:
    held = [(row["world"], row["eps"], row["run"], row["covered"]) for row in rows if row["covered"] is not None]
    text = f"95% intervals from {BATCHES} batches of roll-outs hold the exact value (share, all statistics and lengths)"
    source = "Agresti and Coull 1998; DeLong et al. 1988"
    if not held:
        return Finding(f"{text}: no exact value is known", source, worlds, "at least 0.95", None, None, None, NOT_SHOWN)
    share, blocks = float(np.mean([each[-1] for each in held])), len({each[:-1] for each in held})
    wide = 3 * np.sqrt(0.95 * 0.05 / (blocks * BATCHES))  # lengths and statistics share their episodes
    state = REFUTED if share < 0.95 - wide else HOLDS if wide <= SCARCE else NOT_SHOWN
    text += f"; three standard errors below 0.95 are allowed, {wide:.2g}"
    return Finding(text, source, worlds, f"at least {0.95 - wide:.3g}", share, None, None, state=state)


def _growth(world: str, rows: Rows) -> list[Finding]:
    found = []
    if world == "aliased":  # its errors change from step to step: theory states no exponent
        return found
    for name, words, stated in (
        ("growth of distance", "-ln(1 - TV)", 0.5 if world in STOCHASTIC else 1.0),
        ("growth of kl", "KL", 1.0),
    ):
        laws = [row for row in rows if row["statistic"] == name]
        if not laws:
            continue
        worst = max(laws, key=lambda row: abs(row["value"] - stated))
        state = states.worst(compared(row["low"], row["high"], least=stated - NEAR, most=stated + NEAR) for row in laws)
        reason = "small biases of a stochastic expert" if world in STOCHASTIC else "a deterministic expert"
        text = f"{words} grows as k^{stated:g}: {reason} (exponent furthest from it, of {len(laws)})"
        expected = f"{stated:g}, to {NEAR:g}"
        source = f"{'small independent biases' if world in STOCHASTIC else 'chain rule'}: {GROWS}"
        found.append(Finding(text, source, world, expected, worst["value"], worst["low"], worst["high"], state=state))
    return found


def _never_above(world: str, rows: Rows) -> Finding:
    tested = [row for row in rows if row["excess_p"] is not None]
    least = min(1.0, min(row["excess_p"] for row in tested) * len(tested))
    wide = max(row["high"] - row["low"] for row in tested) / (2 * stats.norm.ppf(0.975))
    seen = float(stats.norm.isf(states.CHANCE / len(tested))) * wide
    text = (
        f"no classifier passes the best possible accuracy (1+TV)/2 or AUC (least chance of {len(tested)} that the "
        f"best detector does so well, times their number; {seen:.2g} above would be seen at each)"
    )
    state = REFUTED if least < states.CHANCE else HOLDS if seen <= states.EXCESS else NOT_SHOWN
    return Finding(text, NEYMAN, world, f"at least {states.CHANCE:g}", least, None, None, state=state)


def _finds(world: str, rows: Rows) -> Finding | None:
    """The control: where there is much to see a classifier sees it."""
    tests = [row for row in rows if row["interpreter"] == "learned" and row["statistic"] == "accuracy"]
    plain = [row for row in tests if row["exact"] >= 0.6]
    if not plain:
        return None
    shares = [tuple((row[name] - 0.5) / (row["exact"] - 0.5) for name in ("value", "low", "high")) for row in plain]
    weakest = int(np.argmin([low for _, low, _ in shares]))
    text = (
        f"where TV is 0.2 or more, the classifier sees it (least share of TV found, of {len(plain)}; "
        f"k = {plain[weakest]['chunk']})"
    )
    state = states.worst(compared(low, high, least=FOUND) for _, low, high in shares)
    source = "Lopez-Paz and Oquab 2017, arXiv 1610.06545; docs/theory.md#learned-detectors"
    return Finding(text, source, world, f"at least {FOUND:g}", *shares[weakest], state=state)


def _scheming(world: str, rows: Rows) -> list[Finding]:
    deployed = [row for row in rows if row["statistic"] == "deploy_defection" and row["bound"] is not None]
    slacks = [row["bound"] - row["value"] for row in deployed]
    if not slacks:
        return []  # as in _bounds
    text, least = (
        f"P_deploy <= P_train + (1/k) sum of T_j, j < k, for every threshold (least slack of {len(deployed)})",
        min(slacks),
    )
    state = compared(least, least, least=-1e-9)
    found = [Finding(text, TRADE, world, "at least -1e-9", least, None, None, state=state)]
    tight = [abs(row["bound"] - row["value"]) for row in deployed if row["threshold"] == 0]
    if tight:
        text = (
            "for information: the scheming learner meets its bound at threshold 0, by construction (largest distance)"
        )
        found.append(Finding(text, TRADE, world, None, max(tight), None, None, state=INFORMATION))
    return found


CLAIM = Claim(
    name="detectability",
    title="What a detector can see of a chunk, against its length",
    statement=(
        "An expert continues a chunk of k steps from the learner's state. Whoever wants to know whether the expert "
        "or the learner itself is acting (a detector, or a learner that behaves in training alone) can use nothing "
        "but the likelihood ratio of the chunk. Against a deterministic expert the total variation is "
        "1-(1-ε)^k for a constant error ε, near k ε; against a stochastic one whose learner has small biases it "
        "grows as the square root of k. No detector passes (1+TV)/2: exact laws, likelihood ratios of roll-outs "
        "with intervals, a trained classifier and a kernel test are compared with each other. A learner that "
        "defects where its evidence for training is below a threshold defects in deployment at most as often as in "
        "training, plus the mean distance T_j of the chunk's offsets; the likelihood-ratio rule attains it."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.detectability,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names(
            "worlds",
            "Worlds to measure in: chunk_reset and aliased (random, some states look alike) have a deterministic "
            "expert, coin and softened (random) a stochastic one.",
            tuple(ABOUT),
        ),
        claim.integers("chunks", "Chunk lengths k, in steps.", low=1, high=512),
        claim.numbers(
            "eps", "Errors of the learner per step, but for aliased, whose error is its own.", low=0.0, high=0.5
        ),
        claim.numbers("thresholds", "Evidence for training, in nats, below which the scheming learner defects."),
        claim.integers("episodes", "Roll-outs of each learner.", low=256, high=1 << 18, many=False),
    ),
    columns={
        "statistic": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),  # interval of the value, 95%
        "high": pa.float64(),
        "exact": pa.float64(),  # of a learned detector: the most that any can reach
        "closed_form": pa.float64(),
        "least": pa.float64(),  # a lower bound, as `bound` is an upper one
        "entropy_bound": pa.float64(),  # upper bound on total variation by KL and Hellinger distance
        "covered": pa.float64(),  # share of the batches whose interval holds the exact value
        "p_value": pa.float64(),  # of a learned detector, if there were nothing to tell apart
        "excess_p": pa.float64(),  # chance that the best possible detector reaches so much
        "threshold": pa.float64(),  # of the scheming learner, nats
    },
)
