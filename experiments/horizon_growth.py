"""How regret grows with the horizon: quadratic, linear, and where theory says which.

python -m experiments.horizon_growth --out=DIR
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from dagger_jax import (
    algorithms,
    bounds,
    evidence,
    growth,
    interaction,
    learners,
    oracle,
    randomness,
    report,
    rollout,
    schedules,
)
from dagger_jax.environments import gallery, tabular
from dagger_jax.experts import optimal
from dagger_jax.precision import exact
from dagger_jax.types import Problem
from experiments import claim
from experiments.claim import BadFlag, Claim, Finding, Measurement, Settings

RESET_CLIFFS = ("recoverable_reset_cliff", "reset_cliff", "stationary_reset_cliff")
STATES, ACTIONS = 8, 4  # of the reset cliffs
SHARE = 20  # expert trajectories per step of the longest horizon: keeps T x error below 0.1 on reset cliffs
ROUNDS = 10  # in which these trajectories are collected; forward training needs one round a step

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": ("chunk_reset", "cliff", *RESET_CLIFFS),
        "algorithms": tuple(name for name in algorithms.ALGORITHMS if name != "reset"),
        "horizons": horizons,
        "chunks": (4, 8),
        "eps": (eps,),
        "runs": runs,
        "episodes": episodes,  # of the oracle learners' roll-outs
    }
    for preset, horizons, eps, runs, episodes in (
        ("quick", (8, 16, 32), 3e-3, 32, 1 << 14),
        ("default", (8, 16, 32, 64), 1.5e-3, 64, 1 << 16),
        ("full", (8, 16, 32, 64, 128, 256), 3e-4, 256, 1 << 20),
    )
}


class Series(NamedTuple):
    """What is followed over the horizons: one line of a figure."""

    world: str
    learner: str
    algorithm: str
    chunk: int | None
    eps: float | None


def expected(series: Series) -> int | None:
    """The growth exponent that theory states for a series, or None where it states none."""
    cloning = series.algorithm == "behavioural_cloning"
    match series.world, series.learner:
        case ("chunk_reset", "oracle") | ("recoverable_reset_cliff", "follow_the_leader"):
            return 2 if cloning else 1
        case ("cliff", "oracle") | ("reset_cliff", "follow_the_leader"):
            return 2
        case ("stationary_reset_cliff", "log_loss"):
            return 1
    return None


SOURCES = {
    "chunk_reset": "theory 7.4(i); Ross and Bagnell 2010",
    "cliff": "theory 1.2(b), 7.2 WARNING",
    "recoverable_reset_cliff": "theory 4.3(a)",
    "reset_cliff": "arXiv 2009.05990; theory 4.2",
    "stationary_reset_cliff": "arXiv 2407.15007; theory 4.2, contrast 1",
}


# ---- the blocks of work -----------------------------------------------------------------------------------


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world, learner, algorithm, chunk length, error and horizon."""
    if "chunked" in settings.algorithms or "reset" in settings.algorithms:
        longest, shortest = max(settings.chunks), min(settings.horizons)
        if longest > shortest:
            raise BadFlag("chunks", f"{longest} is longer than the horizon {shortest}; allowed: 1 to {shortest}")
    if {"chunk_reset", "cliff"} & set(settings.worlds) and max(settings.eps) <= 0:
        raise BadFlag("eps", "0 leaves nothing to measure; allowed: numbers above 0 and up to 1")
    for world in settings.worlds:
        if world.endswith(".npz"):
            for horizon in settings.horizons:
                try:
                    tabular.load(world, horizon)
                except (OSError, ValueError) as error:
                    raise BadFlag("worlds", str(error)) from error
    return [
        {**series._asdict(), "horizon": horizon}
        for world in settings.worlds
        for learner in _learners(world)
        for algorithm in settings.algorithms
        for chunk in (settings.chunks if algorithms.ALGORITHMS[algorithm].chunked else (None,))
        for eps in (settings.eps if learner == "oracle" else (None,))
        for series in (Series(world, learner, algorithm, chunk, eps),)
        for horizon in settings.horizons
    ]


def _learners(world: str) -> tuple[str, ...]:
    if world == "stationary_reset_cliff":
        return ("log_loss",)
    if world in RESET_CLIFFS:
        return ("follow_the_leader",)
    return ("oracle", "follow_the_leader") if world.endswith(".npz") else ("oracle",)


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """The points of one block: exact and sampled for an oracle, one exact point a run for a fitted learner."""
    horizon, series = cell["horizon"], Series(*(cell[name] for name in Series._fields))
    judged = algorithms.ALGORITHMS[series.algorithm].judged_by(horizon, series.chunk or horizon)
    row = schedules.row(judged, 0)
    measure_series = measure_oracle if series.learner == "oracle" else measure_fitted
    return measure_series(settings, series, horizon, row)


def measure_oracle(settings: Settings, series: Series, horizon: int, row: schedules.Schedule) -> Measurement:
    """The worst learner of training error eps, by exact recursion and by roll-out on shared randomness."""
    problem, eps = _problem(series.world, horizon), series.eps or 0.0
    policy = oracle.policy(problem, row, np.full(horizon, eps))
    gap, bound, training, own = judge(problem, policy, row, algorithms.ALGORITHMS[series.algorithm].bound)
    common = _common(series, horizon, bound=float(bound))
    exactly = common | {
        "gap": float(gap),
        "interpreter": "exact",
        "closed_form": _closed_form(series, horizon),
        "training_error": float(training),
        "own_error": float(own),
    }
    alone = schedules.row(schedules.behavioural_cloning(1, horizon), 0)
    key = randomness.for_round(randomness.words(jax.random.key(settings.seed)), horizon)
    ids = jnp.arange(settings.episodes, dtype=jnp.uint32)
    # The learner against the expert, from the start of the episode: coupled until they first part.
    _, episodes = _simulate(rollout.tables(problem), policy, alone, key, ids)
    difference = np.asarray(episodes.novice_cost, float) - np.asarray(episodes.guide_cost, float)
    sampled = common | {
        "gap": difference.mean(),
        "gap_stderr": difference.std(ddof=1) / np.sqrt(len(difference)),
        "interpreter": "sampled",
        "parted": int((np.asarray(episodes.parted) < horizon).sum()),
    }
    return Measurement([exactly, sampled], environment_steps=2 * horizon * len(difference))


def measure_fitted(settings: Settings, series: Series, horizon: int, row: schedules.Schedule) -> Measurement:
    """Learners fitted to sampled labels, an equal number for each algorithm; their gaps are exact."""
    algorithm = algorithms.ALGORITHMS[series.algorithm]
    trajectories = _trajectories(settings)
    rounds, episodes = (horizon, trajectories) if algorithm.per_step else (ROUNDS, trajectories // ROUNDS)
    schedule = algorithm.build(rounds, horizon, series.chunk or horizon)
    problems = [
        _problem(series.world, horizon, samples=trajectories, seed=(settings.seed, run))
        for run in range(1 if series.world.endswith(".npz") else settings.runs)
    ]
    problem = jax.tree.map(lambda *leaves: np.stack(leaves), *problems)
    sampler = jax.tree.map(lambda *leaves: np.stack(leaves), *map(rollout.tables, problems))
    if len(problems) < settings.runs:  # a user's world is the same in each run
        problem, sampler = jax.tree.map(lambda leaf: np.repeat(leaf, settings.runs, 0), (problem, sampler))
    keys = jax.random.split(jax.random.key(settings.seed), settings.runs)
    policy = _train(problem, sampler, schedule, keys, episodes, series.learner == "log_loss", algorithm.per_step)
    gap, bound, training, own = judge_runs(problem, policy, row, algorithm.bound)
    return Measurement(
        [
            _common(series, horizon, bound=float(bound[run]))
            | {
                "gap": float(gap[run]),
                "run": run,
                "interpreter": "exact",
                "closed_form": _closed_form(series, horizon, trajectories),
                "training_error": float(training[run]),
                "own_error": float(own[run]),
                "labels": trajectories * horizon,
            }
            for run in range(settings.runs)
        ],
        environment_steps=(1 if algorithm.per_step else 2) * rounds * episodes * horizon * settings.runs,
    )


@functools.partial(jax.jit, static_argnames=("episodes", "shared", "per_step"))
def _train(
    problem: Problem, sampler: Any, schedule: Any, keys: Any, episodes: int, shared: bool, per_step: bool
) -> Any:
    ids = jnp.arange(episodes, dtype=jnp.uint32)

    def one(problem: Problem, sampler: rollout.Tables, key: Any) -> Any:
        rule = learners.LogLoss() if shared else learners.Majority()
        learner = learners.tabular(problem.world, rule, shared)
        # Forward training labels the novice alone, and then no guide need walk.
        interpreter = interaction.by_sampling(sampler, randomness.words(key), ids, alone=per_step)
        return interaction.run(problem, schedule, learner, interpreter).newest

    return jax.vmap(one)(problem, sampler, keys)


_simulate = jax.jit(rollout.play)


def _judge(problem: Problem, policy: Any, row: schedules.Schedule, *, bound: str) -> tuple[Any, ...]:
    known = evidence.constants(problem)
    seen = evidence.measure(problem, policy, row, known)
    return seen.gap, bounds.BOUNDS[bound].value(row, seen, known), seen.eps.mean(), seen.eta.mean()


@functools.cache
def _judges(bound: str, runs: bool) -> Any:
    judge_one = functools.partial(_judge, bound=bound)
    return exact(jax.vmap(judge_one, in_axes=(0, 0, None)) if runs else judge_one)


def judge(problem: Problem, policy: Any, row: schedules.Schedule, bound: str) -> tuple[Any, ...]:
    """Exact gap, bound, training error and own error of a policy under a row."""
    return _judges(bound, False)(problem, policy, row)


def judge_runs(problem: Problem, policy: Any, row: schedules.Schedule, bound: str) -> tuple[Any, ...]:
    """The same for a batch of problems and policies."""
    return _judges(bound, True)(problem, policy, row)


def _problem(world: str, horizon: int, **reset_cliff: Any) -> Problem:
    if world.endswith(".npz"):
        loaded = tabular.load(world, horizon)
        return Problem(loaded, optimal(loaded), world)
    sizes = {"states": STATES, "actions": ACTIONS, **reset_cliff} if world in RESET_CLIFFS else {}
    if world == "stationary_reset_cliff":  # shared over time: T labels of each state where the others have one
        sizes["samples"] = sizes["samples"] * horizon
    return gallery.GALLERY[world].build(horizon, **sizes)


def _trajectories(settings: Settings) -> int:
    return SHARE * max(settings.horizons)


def _closed_form(series: Series, horizon: int, trajectories: int = 0) -> float | None:
    """The gap that theory states in closed form (in expectation for a fitted learner), or None."""
    cloning = series.algorithm == "behavioural_cloning"
    length = series.chunk or (horizon if cloning else 1)
    match series.world:
        case "cliff" if series.eps:
            return gallery.cliff_gap(horizon, series.eps)
        case "chunk_reset" if series.eps and series.algorithm != "reset":
            lengths = np.diff(np.append(np.arange(0, horizon, length), horizon))
            return gallery.chunk_reset_gap(lengths, series.eps)
        case "recoverable_reset_cliff" | "reset_cliff" if cloning:
            return gallery.reset_cliff_gap(horizon, STATES, ACTIONS, trajectories, trajectories)
        case "stationary_reset_cliff" if cloning:
            labels = trajectories * horizon
            return gallery.reset_cliff_gap(horizon, STATES, ACTIONS, labels, labels)
    return None


def _common(series: Series, horizon: int, **more: Any) -> dict[str, Any]:
    return {**series._asdict(), "horizon": horizon, "round": 0, **more}


# ---- what the points say ----------------------------------------------------------------------------------


def by_series(table: pa.Table) -> dict[Series, list[dict[str, Any]]]:
    """The rows of each series, in their order."""
    rows: dict[Series, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(Series(*(row[name] for name in Series._fields)), []).append(row)
    return rows


def gaps(rows: list[dict[str, Any]], interpreter: str = "exact") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Horizons [M], gaps [R, M] (a row a run) and mean training errors [M] of a series."""
    rows = [row for row in rows if row["interpreter"] == interpreter]
    horizons = np.unique([row["horizon"] for row in rows])
    columns = [[row for row in rows if row["horizon"] == horizon] for horizon in horizons]
    values = np.array([[row["gap"] for row in column] for column in columns]).T
    errors = np.array([np.mean([row["training_error"] or 0.0 for row in column]) for column in columns])
    return horizons, values, errors


def fit(rows: list[dict[str, Any]]) -> growth.Growth | None:
    """The growth law of a series, or None where its points cannot tell (too few, saturated, or no gap)."""
    horizons, values, errors = gaps(rows)
    try:
        return growth.fit(horizons, values, saturation=horizons * errors)
    except ValueError:
        return None


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Growth laws first, then closed forms, bounds, and the sampler against the exact recursion."""
    found, series_rows = [], by_series(table)
    for series, rows in series_rows.items():
        exponent, law = expected(series), fit(rows)
        if exponent is not None and law is not None:
            found.append(
                Finding(
                    f"{title(series)}, {learner_title(series)}: the gap grows "
                    + ("with the square of the horizon" if exponent == 2 else "linearly in the horizon"),
                    SOURCES[series.world],
                    series.world,
                    exponent,
                    law.exponent,
                    law.low,
                    law.high,
                    holds=law.verdict == {1: "linear", 2: "quadratic"}[exponent],
                )
            )
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for series, rows in series_rows.items():
        groups.setdefault((series.world, series.learner), []).extend(rows)
    for (world, learner), rows in groups.items():
        found += _closed_form_finding(world, learner, rows)
        worst = max(row["gap"] / row["bound"] if row["bound"] else 0.0 for row in rows if row["gap_stderr"] is None)
        slack = min(row["bound"] - row["gap"] for row in rows if row["gap_stderr"] is None)
        found.append(
            Finding(
                f"{learner.replace('_', ' ')}: no gap is above its algorithm's bound (largest share of a bound)",
                "; ".join(dict.fromkeys(algorithms.ALGORITHMS[row["algorithm"]].source for row in rows)),
                world,
                "at most 1",
                worst,
                None,
                None,
                holds=slack >= -1e-9,
            )
        )
        if learner == "oracle":
            found.append(_sampler_finding(world, rows))
    return found


def _closed_form_finding(world: str, learner: str, rows: list[dict[str, Any]]) -> list[Finding]:
    known = [row for row in rows if row["closed_form"] is not None and row["interpreter"] == "exact"]
    if not known:
        return []
    if learner == "oracle":
        error = max(abs(row["gap"] / row["closed_form"] - 1) for row in known)
        text = "exact gaps equal the closed form (largest relative error)"
        return [Finding(text, SOURCES[world], world, "at most 1e-9", error, None, None, holds=error <= 1e-9)]
    columns = {row["horizon"]: [other for other in known if other["horizon"] == row["horizon"]] for row in known}
    scores = []
    for column in columns.values():
        values = np.array([row["gap"] for row in column])
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.inf
        scores.append(abs(values.mean() - column[0]["closed_form"]) / error)
    text = "behavioural cloning's mean gap equals the closed form (largest distance in standard errors)"
    return [Finding(text, SOURCES[world], world, "at most 4", max(scores), None, None, holds=max(scores) <= 4)]


def _sampler_finding(world: str, rows: list[dict[str, Any]]) -> Finding:
    exactly = {(*_key(row),): row["gap"] for row in rows if row["interpreter"] == "exact"}
    # With fewer than 20 episodes that part, the standard error itself is not known well enough.
    scores = [
        abs(row["gap"] - exactly[_key(row)]) / row["gap_stderr"]
        for row in rows
        if row["interpreter"] == "sampled" and row["parted"] >= 20
    ]
    text = f"sampled gaps equal exact ones (largest distance in standard errors, {len(scores)} points)"
    largest = max(scores, default=0.0)
    return Finding(text, "two interpreters of one table", world, "at most 4.5", largest, None, None, largest <= 4.5)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in (*Series._fields, "horizon"))


def title(series: Series) -> str:
    """What a line is called."""
    names = {"behavioural_cloning": "behavioural cloning", "dagger": "DAgger"}
    name = names.get(series.algorithm, series.algorithm.replace("_", " "))
    return name if series.chunk is None else f"{name}, k = {series.chunk}"


def learner_title(series: Series) -> str:
    """What a learner is called."""
    return series.learner.replace("_", " ") + ("" if series.eps is None else f", ε = {series.eps:g}")


# ---- figures ----------------------------------------------------------------------------------------------


def figures(settings: Settings, table: pa.Table) -> dict[str, Figure]:
    """Gap against horizon for oracle and for fitted learners, and all exponents beside the theorems'."""
    series_rows = by_series(table)
    drawn = {
        kind: _gap_figure(
            {s: rows for s, rows in series_rows.items() if (s.learner == "oracle") == is_oracle}, text
        )
        for kind, is_oracle, text in (
            (
                "oracle_learners",
                True,
                "Oracle learners: training error ε at every step, the worst elsewhere. Filled: exact; circles: "
                "sampled, with 95% intervals; dashed: the closed form.",
            ),
            (
                "fitted_learners",
                False,
                "Learners fitted to sampled labels, an equal number for each algorithm. Mean exact gap over "
                "runs with its 95% interval; dashed: the closed form for behavioural cloning.",
            ),
        )
    }
    drawn["exponents"] = _exponent_figure(series_rows)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _gap_figure(series_rows: dict[Series, list[dict[str, Any]]], caption: str) -> Figure | None:
    panels = list(dict.fromkeys((s.world, s.learner, s.eps) for s in series_rows))
    if not panels:
        return None
    columns = min(3, len(panels))
    figure, axes = report.panels(columns, -(-len(panels) // columns), caption=caption)
    colours = report.colours([title(series) for series in series_rows])
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    for place, (series, rows) in enumerate(series_rows.items()):
        ax = axes[panels.index((series.world, series.learner, series.eps))]
        horizons, values, _ = gaps(rows)
        mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        known = {row["horizon"]: row["closed_form"] for row in rows if row["closed_form"] is not None}
        colour = report.loglog(
            ax,
            horizons,
            mean,
            low=mean - 1.96 * error,
            high=mean + 1.96 * error,
            theory=[known[horizon] for horizon in horizons] if len(known) == len(horizons) else None,
            label=title(series),
            colour=colours[title(series)],
            marker="osD^vP*"[place % 7],
        )
        if series.learner == "oracle":
            horizons, values, _ = gaps(rows, "sampled")
            errors = [1.96 * row["gap_stderr"] for row in rows if row["interpreter"] == "sampled"]
            ax.errorbar(horizons, values[0], errors, fmt="o", color=colour, mfc="none", markersize=9, capsize=2)
    for ax, (world, learner, eps) in zip(axes, panels, strict=False):
        series = Series(world, learner, "", None, eps)
        ax.set_title(f"{world}\n{learner_title(series)}")
        ax.set_xlabel("horizon T (steps)")
    axes[0].set_ylabel("gap J(π) − J(π*) (cost per episode)")
    axes[0].legend()
    return figure


def _exponent_figure(series_rows: dict[Series, list[dict[str, Any]]]) -> Figure:
    fitted = [(series, law) for series, rows in series_rows.items() if (law := fit(rows)) is not None]
    caption = (
        "Growth exponent of the gap in the horizon. Points: fitted, with 95% intervals over runs (for exact gaps "
        "the range of local slopes); bars: what theory states. Saturated horizons (T ε > 0.1) are left out."
    )
    figure, (ax,) = report.panels(caption=caption)
    figure.set_size_inches(9, 1.2 + 0.27 * max(len(fitted), 1))
    for place, (series, law) in enumerate(fitted):
        if (exponent := expected(series)) is not None:
            ax.plot([exponent, exponent], [place - 0.4, place + 0.4], color="#D55E00", linewidth=3, alpha=0.6)
        interval = np.abs(np.array([[law.low], [law.high]]) - law.exponent)
        ax.errorbar([law.exponent], [place], xerr=interval, fmt="o", color="#0072B2", capsize=3)
    ax.set_yticks(range(len(fitted)), [f"{s.world}, {s.learner}: {title(s)}" for s, _ in fitted], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("growth exponent of the gap in T")
    return figure


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
        "elsewhere; fitted learners see sampled labels, equally many for each algorithm. Gaps are exact, by "
        "recursion in float64; for oracles they are sampled as well."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names(
            "worlds",
            "Worlds to measure in. A file holds arrays transition [S,A,S] or [T,S,A,S], cost [S,A] or [T,S,A] in "
            "[0,1], initial [S], and perhaps observation [S]; its expert is the optimal policy.",
            tuple(gallery.GALLERY),
            files=".npz",
        ),
        claim.names("algorithms", "Algorithms to compare.", tuple(algorithms.ALGORITHMS)),
        claim.integers("horizons", "Horizons T, in steps.", low=1, high=100_000),
        claim.integers("chunks", "Chunk lengths k of `chunked` and `reset`, in steps, up to the horizon.", low=1),
        claim.numbers("eps", "Training errors of the oracle learners, per step.", low=0.0, high=1.0),
    ),
    columns={
        "closed_form": pa.float64(),  # the gap that theory states; in expectation for fitted learners
        "training_error": pa.float64(),  # measured, average over steps, under the training law
        "own_error": pa.float64(),  # the same under the learner's own law
        "labels": pa.int64(),  # how many labels a fitted learner saw
        "parted": pa.int64(),  # in how many sampled episodes learner and expert acted differently
    },
)

if __name__ == "__main__":
    claim.run(CLAIM)
