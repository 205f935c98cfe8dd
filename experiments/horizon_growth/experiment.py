"""How regret grows with the horizon: quadratic, linear, and where theory says which.

python -m experiments.horizon_growth --out=DIR
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
import pyarrow as pa
from scipy import stats

from dagger_jax import algorithms, bounds, schedules
from dagger_jax.tabular import gallery, learners, oracle, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem, Schedule

from .. import claim
from ..claim import INFORMATION, NOT_SHOWN, Claim, Drawings, Finding, Measurement, Settings, compared
from ..shared import needs, states, study
from ..shared.study import RESET_CLIFFS, Rows, Series
from . import figures as growth_figures

STATES, ACTIONS = 8, 4  # of the reset cliffs
SHARE = 20  # expert trajectories per step of the longest horizon: keeps T x error below 0.1 on reset cliffs
CLOSED_FORMS = ("chunk_reset", "cliff", "copy_chain", "rb3")  # of oracle learners
ROUNDS = 10  # in which these trajectories are collected; forward training needs one round a step

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": ("chunk_reset", "cliff", *RESET_CLIFFS),
        "algorithms": ("behavioural_cloning", "forward_training", "dagger", "chunked"),
        "horizons": horizons,
        "chunks": (4, 8),
        "eps": (eps,),
        "runs": runs,
        "episodes": episodes,  # of the oracle learners' roll-outs
    }
    for preset, horizons, eps, runs, episodes in (
        ("quick", (8, 16, 32), 1.5e-3, 64, 1 << 15),
        ("default", (8, 16, 32, 64), 1.5e-3, 64, 1 << 16),
        ("full", (8, 16, 32, 64, 128), 7.5e-4, 128, 1 << 20),
    )
}


def expected(series: Series) -> int | None:
    """The growth exponent that theory states for a series, or None where it states none."""
    cloning = algorithms.find(series.algorithm).kind == "cloning"
    match series.world, series.learner:
        # Fitted: 2 needs a default that is wrong in the bad state, as `Majority`'s is; a guess would end the fall.
        case ("chunk_reset", "oracle") | ("recoverable_reset_cliff", "follow_the_leader"):
            return 2 if cloning else 1
        case ("cliff", "oracle") | ("reset_cliff", "follow_the_leader"):
            return 2
        case ("stationary_reset_cliff", "log_loss"):
            return 1
    return None


SOURCES = {
    "rb3": "Ross and Bagnell 2010; docs/theory.md#the-three-state-world",
    "copy_chain": "Kaariainen 2006; docs/theory.md#the-copy-chain",
    "chunk_reset": "docs/theory.md#the-chunk-reset-chain; Ross and Bagnell 2010, Theorems 2.1 and 3.1",
    "cliff": "after Ross and Bagnell 2010, Theorem 2.1; docs/theory.md#the-cliff",
    "recoverable_reset_cliff": "docs/theory.md#the-recoverable-reset-cliff, after Rajaraman et al. 2021, NeurIPS 34",
    "reset_cliff": "Rajaraman et al. 2020, arXiv 2009.05990; docs/theory.md#the-reset-cliff",
    "stationary_reset_cliff": "Foster, Block and Misra 2024, arXiv 2407.15007; docs/theory.md#the-reset-cliff",
}


# ---- the blocks of work -----------------------------------------------------------------------------------


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world, learner, algorithm, chunk length, error and horizon."""
    if any(algorithms.find(name).chunked for name in settings.algorithms):
        study.check_chunks(settings.chunks, settings.horizons)
    study.check_worlds(settings.worlds, settings.horizons)
    study.check_algorithms(settings.algorithms, settings.horizons, ROUNDS)
    return [
        {**series._asdict(), "horizon": horizon}
        for world in settings.worlds
        for learner in _learners(world)
        for algorithm in settings.algorithms
        for chunk in (settings.chunks if algorithms.find(algorithm).chunked else (None,))
        for eps in (settings.eps if learner == "oracle" else (None,))
        for series in (Series(world, learner, algorithm, chunk, eps),)
        for horizon in settings.horizons
    ]


def _learners(world: str) -> tuple[str, ...]:
    if world == "stationary_reset_cliff":
        return ("log_loss",)
    if world in RESET_CLIFFS:
        return ("follow_the_leader",)
    return ("oracle", "follow_the_leader") if study.is_own(world) else ("oracle",)


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """The points of one block: exact and sampled for an oracle, one exact point a run for a fitted learner."""
    horizon, series = cell["horizon"], Series(*(cell[name] for name in Series._fields))
    common = {**series._asdict(), "horizon": horizon}
    measured = _oracle if series.learner == "oracle" else _fitted
    points, steps = measured(settings, series, horizon)
    return Measurement([common | point for point in points], steps)


def _judged_by(series: Series, horizon: int, longest: int | None = None) -> Schedule:
    """The row [T] that a series is judged under, perhaps padded."""
    table = algorithms.find(series.algorithm).judged_by(horizon, series.chunk or horizon)
    return schedules.row(schedules.padded(table, 1, longest or horizon), 0)


def _oracle(settings: Settings, series: Series, horizon: int) -> tuple[Rows, int]:
    """The worst learner of training error eps, by exact recursion and by roll-out on shared randomness."""
    longest = max(settings.horizons)  # one program serves all horizons
    problem = tabular.padded(study.problem(series.world, horizon), longest)
    row = _judged_by(series, horizon, longest)
    # On the worlds with closed forms errors are as these have them; elsewhere they are where they cost most.
    eps = series.eps or 0.0
    start = series.world == "rb3" and horizon * eps <= 1
    errors = oracle.placement(row.join[:horizon], eps, "start" if start else "uniform")
    errors = np.pad(errors, (0, longest - horizon))
    policy = oracle.policy(problem, row, errors, "even" if series.world in CLOSED_FORMS else "worst")
    judged = _told(algorithms.find(series.algorithm), study.judge(problem, policy, row))
    exactly = {"interpreter": "exact", "closed_form": _closed_form(settings, series, horizon), **judged}
    seen = study.sample_gap(problem, policy, settings.seed, repr((series, horizon)), settings.episodes)
    sampled = {
        "interpreter": "sampled",
        "gap": seen.gap,
        "gap_stderr": seen.stderr,
        "parted": seen.parted,
        "bound": judged["bound"],
    }
    return [exactly, sampled], 2 * horizon * settings.episodes


def _told(algorithm: algorithms.Algorithm, judged: study.Judged) -> dict[str, Any]:
    """What a point tells of a judgement: of the bounds, the algorithm's own."""
    told = judged._asdict()
    return {"gap": told.pop("gap"), "bound": told.pop("bounds")[algorithm.bound], **told}


def _fitted(settings: Settings, series: Series, horizon: int) -> tuple[Rows, int]:
    """Learners fitted to sampled labels, an equal number for each algorithm; their gaps are exact."""
    algorithm, longest = algorithms.find(series.algorithm), max(settings.horizons)
    trajectories = _trajectories(settings)
    rounds, episodes = (horizon, trajectories) if algorithm.per_step else (ROUNDS, trajectories // ROUNDS)
    batch, samplers = _batch(series.world, horizon, longest, settings.runs, trajectories, settings.seed)
    schedule = algorithms.built(series.algorithm, algorithm, rounds, horizon, series.chunk or horizon)
    shared = series.learner == "log_loss"
    policies = study.train(
        batch,
        samplers,
        schedules.padded(schedule, longest if algorithm.per_step else ROUNDS, longest),
        jax.random.split(jax.random.key(settings.seed), settings.runs),
        learners.LogLoss() if shared else learners.Majority(),
        np.int32(rounds) if algorithm.per_step else None,
        episodes=episodes,
        shared=shared,
        alone=algorithm.per_step,
    )
    judged = study.judge(batch, policies, _judged_by(series, horizon, longest), batch=True)
    known = {
        "interpreter": "exact",
        "closed_form": _closed_form(settings, series, horizon),
        "labels": trajectories * horizon,
        "round": rounds,
    }
    points = [
        known | {"run": run} | {name: values[run] for name, values in _told(algorithm, judged).items()}
        for run in range(settings.runs)
    ]
    walkers = 1 if algorithm.per_step else 2
    return points, walkers * rounds * episodes * horizon * settings.runs


@lru_cache(maxsize=8)  # algorithms share them
def _batch(
    world: str, horizon: int, longest: int, runs: int, trajectories: int, seed: int
) -> tuple[Problem, rollout.Tables]:
    """A problem and its sampler for every run, padded: drawn anew in the reset cliffs, the same elsewhere."""
    draws = runs if world in RESET_CLIFFS else 1
    drawn = [tabular.padded(_problem(world, horizon, trajectories, (seed, run)), longest) for run in range(draws)]
    batch = study.stacked(drawn * (runs // draws))
    return batch, rollout.tables(batch)


def _trajectories(settings: Settings) -> int:
    return SHARE * max(settings.horizons)


def _problem(world: str, horizon: int, trajectories: int, seed: tuple[int, int]) -> Problem:
    if world not in RESET_CLIFFS:
        return study.problem(world, horizon)
    # Shared over time there are T labels of each state for every one that a table a step has.
    samples = trajectories * (horizon if world == "stationary_reset_cliff" else 1)
    return study.problem(world, horizon, states=STATES, actions=ACTIONS, samples=samples, seed=seed)


def _closed_form(settings: Settings, series: Series, horizon: int) -> float | None:
    """The gap that theory states in closed form (in expectation for a fitted learner), or None."""
    cloning, row = algorithms.find(series.algorithm).kind == "cloning", _judged_by(series, horizon)
    match series.world, series.learner:
        case "cliff", "oracle":
            return gallery.cliff_gap(horizon, series.eps or 0)
        case "chunk_reset", "oracle" if "chunks" in bounds.kinds(row):
            lengths = np.diff(np.append(np.flatnonzero(row.join), horizon))
            return gallery.chunk_reset_gap(lengths, series.eps or 0)
        case (("recoverable_reset_cliff" | "reset_cliff"), _) if cloning:
            labels = _trajectories(settings)
            return gallery.reset_cliff_gap(horizon, STATES, ACTIONS, labels, labels)
        case "stationary_reset_cliff", _ if cloning:
            labels = _trajectories(settings) * horizon
            return gallery.stationary_reset_cliff_gap(horizon, STATES, ACTIONS, labels, labels)
    return None


# ---- what the points say ----------------------------------------------------------------------------------


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Growth laws first, then closed forms, bounds, and the sampler against the exact recursion."""
    series_rows = study.by_series(table)
    found = [_growth(group, series_rows[group[0]]) for group in once(series_rows)]
    known = {series: rows for series, rows in series_rows.items() if series.learner != "oracle" and _stated(rows)}
    found += [_in_expectation(group, known[group[0]]) for group in once(known)]
    groups: dict[tuple[str, str], Rows] = {}
    for series, rows in series_rows.items():
        groups.setdefault((series.world, series.learner), []).extend(rows)
    for (world, learner), rows in groups.items():
        exactly = [row for row in rows if row["interpreter"] == "exact"]
        closed = _closed(world, exactly) if learner == "oracle" else None
        found += [closed, _bound(world, learner, exactly), _sampler(world, rows)]
    return [finding for finding in found if finding is not None]


def once(series_rows: Mapping[Series, Rows]) -> list[list[Series]]:
    """The series, those together whose exact gaps are the same numbers and of which the same is expected."""
    groups: list[tuple[list[Series], int | None, np.ndarray]] = []
    for series, rows in series_rows.items():
        exactly = [(row["horizon"], row["gap"]) for row in rows if row["interpreter"] == "exact"]
        numbers = np.array(exactly, float)
        least = 1e-6 * np.abs(numbers[:, 1]).max(initial=0.0)  # fitted policies are float32
        for group, power, others in groups:
            same = others.shape == numbers.shape and np.allclose(others, numbers, rtol=0, atol=least)
            if same and power == expected(series):
                group.append(series)
                break
        else:
            groups.append(([series], expected(series), numbers))
    return [group for group, *_ in groups]


def _place(group: list[Series]) -> tuple[str, str, str]:
    """What is said of series with the same numbers: their names, sources and worlds."""
    worlds = list(dict.fromkeys(series.world for series in group))
    sources = "; ".join(dict.fromkeys(SOURCES.get(w, "no theorem states a growth law here") for w in worlds))
    names = []
    for world in worlds:
        own = [series for series in group if series.world == world]
        learner = " and ".join(dict.fromkeys(series.learner_title() for series in own))
        where = f" ({world})" if len(worlds) > 1 else ""
        names.append(f"{', '.join(series.title() for series in own)}, {learner}{where}")
    return "; ".join(names), sources, ", ".join(worlds)


def _growth(group: list[Series], rows: Rows) -> Finding:
    """What decides is the verdict of the model comparison; the exponent and its interval are beside it."""
    exponent, law = expected(group[0]), study.fit(rows)
    name, source, world = _place(group)
    if not study.gaps(rows)[1].any():
        text = f"{name}: there is no gap, at any horizon"
        return Finding(text, source, world, exponent, 0.0, 0.0, 0.0, INFORMATION if exponent is None else NOT_SHOWN)
    if law is None:
        text = (
            f"{name}: growth of the gap; not measured: fewer than three horizons with T x training error at most 0.1, "
            "or no positive gap"
        )
        return Finding(text, source, world, exponent, None, None, None, INFORMATION if exponent is None else NOT_SHOWN)
    alone = group[0].learner != "oracle" and len(study.gaps(rows)[1]) < 2  # one draw, of which no error is known
    numbers = (law.exponent, None, None) if alone else (law.exponent, law.low, law.high)
    if exponent is None:
        text = f"{name}: growth of the gap, for information; verdict: {law.verdict}"
        return Finding(text, source, world, None, *numbers, state=INFORMATION)
    horizons = study.gaps(rows)[0]
    here = growth_figures.law_exponent(exponent, horizons[law.kept], _stated(rows))
    words = {1: "linearly in the horizon", 2: "with the square of the horizon"}[exponent]
    if exponent == 2 and any(series.world == "recoverable_reset_cliff" for series in group):
        words += ", the action where nothing was seen being a wrong one"
    text = f"{name}: the gap grows {words}; verdict: {law.verdict} (theory's curve on these horizons: {here:.4g})"
    return Finding(text, source, world, exponent, *numbers, state=NOT_SHOWN if alone else states.law(law, exponent))


def _stated(rows: Rows) -> dict[int, float]:
    """Closed forms by horizon."""
    return {row["horizon"]: row["closed_form"] for row in rows if row["closed_form"] is not None}


def _closed(world: str, rows: Rows) -> Finding | None:
    known = [row for row in rows if row["closed_form"] is not None]
    if not known:
        return None
    # XLA takes numbers below the least normal one for 0.
    least = np.finfo(float).tiny
    error = max(abs(row["gap"] - row["closed_form"]) / max(row["closed_form"], least) for row in known)
    text = "exact gaps equal the closed form (largest relative error)"
    return Finding(
        text, SOURCES[world], world, "at most 1e-9", error, None, None, state=compared(error, error, most=1e-9)
    )


def _in_expectation(group: list[Series], rows: Rows) -> Finding:
    """Behavioural cloning's mean gap over runs."""
    stated = _stated(rows)
    values = np.array([[row["gap"] for row in rows if row["horizon"] == horizon] for horizon in sorted(stated)])
    runs, theory = values.shape[1], np.array([stated[horizon] for horizon in sorted(stated)])
    errors = stats.sem(values, axis=1) if runs > 1 else np.full(len(values), np.nan)
    tested = states.equal(values.mean(1) - theory, errors, theory, replicas=runs)
    text = (
        f"behavioural cloning's mean gap ({runs} runs) equals the closed form (largest distance in standard errors; "
        f"{tested.power()})"
    )
    _, source, world = _place(group)
    return Finding(text, source, world, f"at most {tested.limit:.3g}", tested.value, None, None, state=tested.state)


def _bound(world: str, learner: str, rows: Rows) -> Finding:
    share = max(row["gap"] / row["bound"] if row["bound"] else 0.0 for row in rows)
    slack = min(row["bound"] - row["gap"] for row in rows)
    sources = dict.fromkeys(bounds.BOUNDS[algorithms.find(row["algorithm"]).bound].source for row in rows)
    text = f"{learner.replace('_', ' ')}: no gap is above its algorithm's bound (largest share of the bound)"
    state = compared(slack, slack, least=-1e-9)
    return Finding(text, "; ".join(sources), world, "at most 1", share, None, None, state=state)


def _sampler(world: str, rows: Rows) -> Finding | None:
    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in (*Series._fields, "horizon"))

    exactly = {key(row): row["gap"] for row in rows if row["interpreter"] == "exact"}
    sampled = [row for row in rows if row["interpreter"] == "sampled"]
    if not sampled:
        return None
    # With fewer than 20 episodes that part, the standard error itself is not known well enough. Where all episodes
    # cost the same there is none: then the two must be equal to float32.
    known = [row for row in sampled if row["parted"] >= 20]
    gaps = [exactly[key(row)] for row in known]
    errors = [max(row["gap_stderr"], 1e-6 * row["horizon"]) for row in known]
    tested = states.equal([row["gap"] - gap for row, gap in zip(known, gaps, strict=True)], errors, gaps, sigmas=4.5)
    text = f"sampled gaps equal exact ones (largest distance in standard errors, {len(known)} points; {tested.power()})"
    return Finding(
        text,
        "two interpreters of one table",
        world,
        f"at most {tested.limit:.3g}",
        tested.value,
        None,
        None,
        tested.state,
    )


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Gap against horizon for oracle and for fitted learners, and all exponents beside the theorems'."""
    series_rows = study.by_series(table)
    oracles = {series: rows for series, rows in series_rows.items() if series.learner == "oracle"}
    fitted = {series: rows for series, rows in series_rows.items() if series.learner != "oracle"}
    stated = {series: exponent for series in series_rows if (exponent := expected(series)) is not None}
    captions = {
        "oracle_learners": (
            "Oracle learners: training error ε at every step, the worst elsewhere. Points are exact, rings are "
            "sampled with 95% intervals, dashes are closed forms; lines that coincide show as rims."
        ),
        "fitted_learners": (
            "Learners fitted to sampled labels, an equal number for each algorithm: mean exact gap over runs with "
            "its 95% interval. Dashed: the closed form of behavioural cloning."
        ),
    }
    drawn = {
        name: partial(growth_figures.gap_figure, series, captions[name])
        for name, series in {"oracle_learners": oracles, "fitted_learners": fitted}.items()
        if series
    }
    return {**drawn, "exponents": partial(growth_figures.exponent_figure, series_rows, stated)}


CLAIM = Claim(
    name="horizon_growth",
    title="Regret against the horizon: where it is quadratic, where linear",
    statement=(
        "A learner that imitates an expert on the expert's own states (behavioural cloning) can lose regret that "
        "grows with the square of the horizon T; one that is trained on its own states (forward training, DAgger, "
        "or chunks of a fixed length k that the expert continues from the learner's states) loses regret linear "
        "in T, if mistakes can be made good. Where they cannot (cliffs) nothing helps, and all are quadratic; "
        "where one table is shared over time, the expert is in the class and the loss is logarithmic, "
        "behavioural cloning is linear too. Oracle learners have a stated training error and do their worst "
        "elsewhere; they see the state, run no rounds, and are judged on their algorithm's own training law, so that "
        "DAgger's and forward training's oracles are one. Fitted learners see sampled labels, equally many for each "
        "algorithm; the rare states of the reset cliffs get rarer with the longest horizon asked for, which keeps "
        "T times the error small. Gaps are exact, by recursion in float64; for oracles they are sampled as well."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.horizon_growth,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names(
            "worlds",
            study.WORLDS_HELP,
            tuple(gallery.WORLDS),
            files=".npz",
            kind="worlds",
        ),
        claim.names(
            "algorithms",
            "Algorithms to compare: names, perhaps with a chunk length (chunked:4); or schedules written down "
            "(linear:1..8, geometric:8, partition:3+5).",
            tuple(algorithms.ALGORITHMS),
            kind="algorithms",
            finds=algorithms.find,
        ),
        claim.integers("horizons", "Horizons T, in steps.", low=1, high=4096),
        claim.integers("chunks", "Chunk lengths k of `chunked` and `reset`, in steps, up to the horizon.", low=1),
        claim.numbers("eps", "Training errors of the oracle learners, per step.", above=0.0, high=1.0),
    ),
    columns={
        "closed_form": pa.float64(),  # the gap that theory states; in expectation for fitted learners
        "training_error": pa.float64(),  # measured, average over steps, under the training law
        "own_error": pa.float64(),  # the same under the learner's own law
        "labels": pa.int64(),  # how many labels a fitted learner saw
        "parted": pa.int64(),  # in how many sampled episodes learner and expert acted differently
    },
)
