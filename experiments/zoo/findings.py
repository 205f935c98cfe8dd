"""What the zoo's points say: an algorithm in a world as one cell, bounds, the budget, and predictions of theory."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from dagger_jax import growth, intervals

from ..claim import Finding, Settings, compared, settled
from ..shared.rivals import ratio
from . import theorems
from .known import title

PRICES = ("labels", "handovers", "switches", "expert_steps")  # of a round
MEASURED = 1e-6  # a gap below this is none
DISCOVERED = 0.05  # share of false ones among the differences from cloning that are said to be there


class Cell(NamedTuple):
    """An algorithm in a world: what the page shows."""

    world: str
    algorithm: str
    horizon: int  # the longest
    gaps: np.ndarray  # [R] there
    low: float  # 95% interval of the mean
    high: float
    versus: tuple[float, float, float]  # ratio of its mean gap to behavioural cloning's, 95% interval; nan without it
    differs: float  # p-value of its mean gap being cloning's, adjusted for all cells; nan where nothing is compared
    growth: growth.Growth | None  # over the horizons; None near T, where a gap cannot grow
    labels: float
    handovers: float
    switches: float
    expert_steps: float
    rollouts: float
    share: float  # the largest share of its bound that any run at any horizon used
    slack: float  # the least, over all runs and horizons


def summary(settings: Settings, table: pa.Table) -> dict[tuple[str, str], Cell]:
    """By (world, algorithm), at the longest horizon that the world was measured at."""
    rows: dict[tuple[str, str], dict[int, list[dict[str, Any]]]] = {}
    for row in table.to_pylist():
        rows.setdefault((row["world"], row["algorithm"]), {}).setdefault(row["horizon"], []).append(row)
    found = {}
    for (world, algorithm), by_horizon in rows.items():
        horizons = sorted(by_horizon)
        last = by_horizon[horizons[-1]]
        gaps = {h: np.array([row["gap"] for row in by_horizon[h]]) for h in horizons}
        cloning = rows.get((world, "behavioural_cloning"))
        reference = (
            np.array([row["gap"] for row in cloning[horizons[-1]]]) if cloning else np.full(settings.runs, np.nan)
        )
        _, low, high = intervals.mean(gaps[horizons[-1]])
        every = [row for own in by_horizon.values() for row in own]
        found[world, algorithm] = Cell(
            world,
            algorithm,
            horizons[-1],
            gaps[horizons[-1]],
            low,
            high,
            _versus(gaps[horizons[-1]], reference),
            _same(gaps[horizons[-1]], reference) if algorithm != "behavioural_cloning" else np.nan,
            _growth(horizons, np.stack([gaps[h] for h in horizons], axis=1)),
            *(float(np.mean([row[name] for row in last])) for name in (*PRICES, "rollouts")),
            share=max(row["bounded"] / row["bound"] if row["bound"] > MEASURED else 0.0 for row in every),
            slack=min(row["bound"] - row["bounded"] for row in every),
        )
    return _adjusted(found)


def _adjusted(found: dict[tuple[str, str], Cell]) -> dict[tuple[str, str], Cell]:
    """p-values as Benjamini and Hochberg (1995) adjust them, over all cells that are compared with cloning."""
    tested = [key for key, cell in found.items() if not np.isnan(cell.differs)]
    if not tested:
        return found
    adjusted = stats.false_discovery_control([found[key].differs for key in tested])
    return found | {key: found[key]._replace(differs=float(p)) for key, p in zip(tested, adjusted, strict=True)}


def _same(gaps: np.ndarray, reference: np.ndarray) -> float:
    """p-value of equal mean gaps: Student's t over paired runs. 1 where they are equal to rounding."""
    if np.isnan(reference).any():
        return np.nan
    apart = gaps - reference
    if np.abs(apart).max() <= MEASURED * max(1.0, np.abs(reference).max()):
        return 1.0
    spread = stats.sem(apart)
    if spread <= MEASURED * abs(apart.mean()):  # every run says the same
        return 0.0
    return float(2 * stats.t.sf(abs(apart.mean()) / spread, len(apart) - 1))


def _versus(gaps: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    if np.isnan(reference).any():
        return (np.nan, np.nan, np.nan)
    return ratio(gaps, reference) if reference.mean() > MEASURED else (1.0, 1.0, 1.0)


def _growth(horizons: list[int], gaps: np.ndarray) -> growth.Growth | None:
    if gaps[:, -1].mean() > horizons[-1] / 4:  # costs end at T: what has come near it grows no more
        return None
    try:
        return growth.fit(horizons, gaps)
    except ValueError:  # fewer than three horizons, or no gap
        return None


class Prediction(NamedTuple):
    """What the theory of a world says about two algorithms in it."""

    world: str
    better: str
    worse: str
    why: str
    source: str


PREDICTIONS = (
    Prediction(
        "recoverable_reset_cliff",
        "dagger",
        "behavioural_cloning",
        "mistakes can be made good, if training shows them",
        "Rajaraman et al. 2021, NeurIPS 34, 1325-1336; the world: docs/theory.md#the-recoverable-reset-cliff",
    ),
    Prediction(
        "recoverable_reset_cliff",
        "chunked",
        "behavioural_cloning",
        "chunks of T / 4 show the learner's states at their starts",
        "derived here: docs/theory.md#chunks-the-combined-bound",
    ),
    Prediction(
        "stationary_reset_cliff",
        "log_loss_cloning",
        "stagger",
        "one label an episode buys little where nothing is recovered",
        "Li and Zhang 2025, arXiv 2412.07057: C mu against R; docs/theory.md#stagger",
    ),
    Prediction(
        "cheap_and_dear",
        "aggrevate",
        "dagger",
        "costs-to-go tell dear mistakes from cheap ones",
        "Ross and Bagnell 2014, arXiv 1406.5979; the world: docs/theory.md#cheap-and-dear-mistakes",
    ),
    Prediction(
        "goldilocks",
        "reweighed_cloning",
        "behavioural_cloning",
        "a bounded ratio of laws, mended by weights",
        "Spencer et al. 2021, arXiv 2102.02872; docs/theory.md#density-ratios",
    ),
    Prediction(
        "hard",
        "dagger",
        "reweighed_cloning",
        "an unbounded ratio of laws: only asking helps",
        "Spencer et al. 2021, arXiv 2102.02872; docs/theory.md#density-ratios",
    ),
    Prediction(
        "tightrope",
        "dagger",
        "behavioural_cloning",
        "seen through noise, outside the class",
        "Ross, Gordon and Bagnell 2011, arXiv 1011.0686; the world: docs/theory.md#the-tightrope",
    ),
)


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """No bound is broken, the budget is kept, and what theory predicts of two algorithms in a world is seen."""
    found, findings = summary(settings, table), []
    for name in settings.algorithms:
        own = [cell for (_, algorithm), cell in found.items() if algorithm == name]
        if not own:  # told the transitions, and no world in which states are seen
            continue
        tightest, theorem = max(own, key=lambda cell: cell.share), theorems.theorem(name)
        text = f"{title(name)}: nothing is above its theorem's bound, {theorem.name} (largest share: {tightest.world})"
        holds = min(cell.slack for cell in own) >= -theorem.tolerance
        findings.append(
            Finding(text, theorem.source, "all", "at most 1", tightest.share, None, None, state=settled(holds))
        )
    most = max(row["labels"] / (row["horizon"] * settings.demonstrations) for row in table.to_pylist())
    text = "nobody is read after more labels than the budget and one round (largest multiple of the budget)"
    limit = 1.25  # of the largest rounds, those of Warm-Stagger
    findings.append(
        Finding(
            text, "this experiment", "all", f"at most {limit}", most, None, None, state=settled(most <= limit + 1e-6)
        )
    )
    for each in PREDICTIONS:
        if (each.world, each.better) in found and (each.world, each.worse) in found:
            better, worse = (found[each.world, name].gaps for name in (each.better, each.worse))
            value, low, high = ratio(better, worse)
            text = f"{title(each.better)} beats {title(each.worse)}: {each.why}; ratio of gaps"
            state = compared(low, high, most=1)
            findings.append(Finding(text, each.source, each.world, "below 1", value, low, high, state))
    laws = {name: cell.growth for (world, name), cell in found.items() if world == "cliff" and cell.growth}
    if laws:
        least = min(laws, key=lambda name: laws[name].exponent)
        low, high = (min(getattr(law, end) for law in laws.values()) for end in ("low", "high"))
        text = f"on the cliff no gap below T / 4 grows linearly (least exponent: {title(least)})"
        source = "docs/theory.md#the-cliff: a mistake costs the rest of the episode, wherever training looked"
        state = compared(low, high, least=1.5)
        findings.append(Finding(text, source, "cliff", "above 1.5", laws[least].exponent, low, high, state))
    return findings


def tables(settings: Settings, table: pa.Table) -> dict[str, pa.Table]:
    """The one table: every algorithm in every world."""
    rows = [
        {
            "world": cell.world,
            "algorithm": cell.algorithm,
            "T": cell.horizon,
            "gap": float(cell.gaps.mean()),
            "gap_low": float(cell.low),
            "gap_high": float(cell.high),
            "gap / cloning's": None if np.isnan(cell.versus[0]) else cell.versus[0],
            "adjusted p": None if np.isnan(cell.differs) else cell.differs,
            "exponent": cell.growth.exponent if cell.growth else None,
            "exponent_low": cell.growth.low if cell.growth else None,
            "exponent_high": cell.growth.high if cell.growth else None,
            "labels": cell.labels,
            "hand-overs": cell.handovers,
            "context switches": cell.switches,
            "expert steps": cell.expert_steps,
            "roll-outs": cell.rollouts,
            "theorem": theorems.theorem(cell.algorithm).name,
            "share of bound": cell.share,
            "slack": cell.slack,
        }
        for cell in sorted(
            summary(settings, table).values(),
            key=lambda cell: (settings.worlds.index(cell.world), settings.algorithms.index(cell.algorithm)),
        )
    ]
    return {"every_algorithm_in_every_world": pa.Table.from_pylist(rows)}
