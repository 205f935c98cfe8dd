"""What the length of a chunk costs: k times over, between the linear and the quadratic end of one dial.

python -m experiments.chunk_price --out=DIR
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dagger_jax.tabular import gallery

from .. import claim
from ..claim import BadFlag, Claim, Drawings, Finding, Measurement, Settings
from ..shared import needs, study
from . import cases, findings, lengths
from . import figures as drawn

FITTED = "recoverable_reset_cliff"
WORLDS = (*cases.PLACED, FITTED)
LONGEST_DRAWN = 256  # steps; random partitions are drawn at the longest horizon up to it

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": WORLDS,
        "horizons": horizons,  # fourth powers, of which T^(1/4) is whole
        "chunks": (1, 2, 4, 8, 16),
        "eps": 1e-4,
        "alphas": (0.0, 0.25, 0.5, 0.75, 1.0),
        "u": us,
        "partitions": partitions,  # random ones, at least, in one call
        "runs": runs,  # of the fitted learners
    }
    for preset, horizons, us, partitions, runs in (
        ("quick", (16, 81, 256), (1, 2, 4), 2048, 32),
        ("default", (16, 81, 256, 625), (1, 2, 3, 5), 4096, 96),
        ("full", (16, 81, 256, 625), (1, 2, 3, 4, 5, 6), 8192, 384),
    )
}


# ---- the blocks of work -----------------------------------------------------------------------------------


def cells(settings: Settings) -> list[dict[str, Any]]:
    """Equal chunks by world and horizon; random and geometric lengths; fitted learners by chunk length."""
    _check(settings)
    longest = max(settings.horizons)
    equal = [
        {"part": "equal chunks", "world": world, "u": u, "horizon": horizon}
        for world in settings.worlds
        if world != FITTED
        for u in (settings.u if world == "debt" else (1 if world == "chunk_reset" else None,))
        for horizon in ((longest,) if world == "debt" else settings.horizons)
    ]
    random = [
        {"part": part, "world": "chunk_reset", "u": 1, "horizon": horizon}
        for part, horizon in (("random lengths", _drawn_horizon(settings.horizons)), ("geometric", longest))
        if "chunk_reset" in settings.worlds
    ]
    fitted = [
        {"part": "fitted", "world": FITTED, "u": 1, "horizon": min(settings.horizons), "chunk": chunk}
        for chunk in settings.chunks
        if FITTED in settings.worlds
    ]
    return equal + random + fitted


def _check(settings: Settings) -> None:
    study.check_chunks(settings.chunks, settings.horizons)
    # All of a chunk's error may lie at its first step, and at the longest horizon a chunk may be the episode.
    least = {"chunk_reset": max(settings.horizons), "debt": max(settings.chunks)}
    longest = max(least.get(world, 1) for world in settings.worlds)
    if longest * settings.eps > 1:
        words = f"a chunk of {longest} steps would err with {longest * settings.eps:g} at its first step"
        raise BadFlag("eps", f"{settings.eps:g} is too much: {words}; allowed: above 0 and up to {1 / longest:g}")


def _drawn_horizon(horizons: tuple[int, ...]) -> int:
    return max((horizon for horizon in horizons if horizon <= LONGEST_DRAWN), default=min(horizons))


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """The points of one block; those of exact blocks come from one compiled call."""
    world, horizon, steps = cell["world"], cell["horizon"], 0
    means = [chunk for chunk in settings.chunks if chunk > 1] or list(settings.chunks)
    match cell["part"]:
        case "equal chunks":
            u = cell["u"] or 1
            longest = max(settings.chunks)
            problem = cases.debt(horizon, u, longest) if world == "debt" else gallery.WORLDS[world].build(horizon)
            points = cases.equal_chunks(problem, _chunks(settings, world, horizon), settings.eps, u)
        case "random lengths":
            points = cases.random_lengths(horizon, means, settings.eps, settings.partitions, settings.seed)
        case "geometric":
            points = cases.geometric(horizon, means, settings.eps)
        case _:
            points, steps = cases.fitted(horizon, cell["chunk"], settings.runs, settings.seed)
    fitted = cell["part"] == "fitted"
    common = {"world": world, "horizon": horizon, "round": 0, "part": cell["part"], "u": cell["u"]}
    common |= {"learner": "follow_the_leader" if fitted else "oracle", "interpreter": "exact"}
    return Measurement([common | {"eps": None if fitted else settings.eps} | point for point in points], steps)


def _chunks(settings: Settings, world: str, horizon: int) -> list[int]:
    """Every length at the longest horizon, which debt is too large for; otherwise those asked for."""
    if world != "debt" and horizon == max(settings.horizons):
        return list(range(1, horizon + 1))
    dial = [findings.dial(horizon, alpha) for alpha in settings.alphas if world == "chunk_reset"]
    return sorted({*settings.chunks, *dial})


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Equalities, growth exponents, ratios, flatness, and that no bound is violated."""
    rows = table.to_pylist()
    return findings.all_of(settings, rows) + lengths.all_of(settings, rows)


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Gap against k, the dial, equal against random lengths, and the reset variant."""
    return drawn.all_of(settings, table.to_pylist())


CLAIM = Claim(
    name="chunk_price",
    title="The price of a chunk: regret against its length",
    statement=(
        "An expert who continues for k steps from the learner's states, and is imitated on them, lets a mistake go "
        "uncorrected until the chunk ends. Where mistakes can be made good the price is linear in k: T k ε if the "
        "training error ε lies at the first step of each chunk, T (k+1)/2 ε if it is the same at every step, u times "
        "as much where a mistake costs u. So k = T^α makes regret grow as T^(1+α): DAgger's linear and behavioural "
        "cloning's quadratic growth are the two ends of one dial. Lengths that vary cost more than equal ones "
        "(geometric ones twice as much), since a mistake is likelier to fall into a long chunk. Where mistakes "
        "cannot be made good (cliff) the length does not matter. Starting the learner from the expert's states "
        "instead (reset variant) leaves T + T (T-k)/2, quadratic for every fixed k. Learners are oracles: of training "
        "error ε, and as bad as can be where training never goes; gaps are exact, by recursion in float64, thousands "
        "of schedules in one call. Fitted learners confirm the slope."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.chunk_price,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names("worlds", "Worlds to measure in; the last one is for fitted learners.", WORLDS),
        claim.integers("horizons", "Horizons T, in steps; three or more for growth exponents.", low=2, high=1000),
        claim.integers("chunks", "Chunk lengths k, and means of random ones, in steps, up to the horizon.", low=1),
        claim.numbers("eps", "Training error a step, up to 1 / longest chunk.", above=0.0, high=1.0, many=False),
        claim.numbers("alphas", "Exponents of k = T^alpha.", low=0.0, high=1.0),
        claim.integers("u", "What a mistake costs in the debt world, in units of cost.", low=1, high=20),
    ),
    columns={
        "part": pa.string(),  # equal chunks, random lengths, geometric, fitted
        "placement": pa.string(),  # of the error in a chunk: uniform, first, last
        "law": pa.string(),  # of the chunk lengths; `chunk` is their mean
        "u": pa.int64(),  # recoverability; null where mistakes last
        "closed_form": pa.float64(),  # the exact gap that theory states
        "small_error": pa.float64(),  # the gap to first order in eps
        "longest": pa.int64(),  # chunk, in steps (the mean where it ends by coins)
        "pieces": pa.int64(),  # number of chunks of a random partition
        "equal_gap": pa.float64(),  # the gap of as many chunks of equal lengths
        "training_error": pa.float64(),  # measured, average over steps
    },
)
