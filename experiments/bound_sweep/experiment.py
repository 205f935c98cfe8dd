"""Every bound on thousands of random worlds, schedules and learners: none is violated, and how tight each is.

python -m experiments.bound_sweep --out=DIR
"""

import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from dagger_jax import bounds, evidence, report, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, interaction, learners, oracle
from dagger_jax.types import Array, Problem, Schedule

from .. import claim
from ..claim import Claim, Drawings, Finding, Measurement, Settings, compared
from ..shared import needs, study

STATES, ACTIONS = 4, 3
ROUNDS = 12  # of the no-regret sweep
TOLERANCE = 1e-9  # of float64 sums of this size
FALSE = "k T eps (false)"  # a control that is no theorem

About = tuple[tuple[str, bounds.Bound], ...]

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "experts": ("deterministic", "stochastic"),
        "learners": ("random", "oracle_even", "oracle_worst"),
        "horizons": horizons,
        "worlds": worlds,
        "runs": runs,
    }
    for preset, horizons, worlds, runs in (
        ("quick", (12,), 100, 1),
        ("default", (6, 16), 300, 1),
        ("full", (4, 8, 16, 32), 1000, 5),
    )
}


class Kind(NamedTuple):
    """How a row is drawn, and which bounds speak of it."""

    kind: str
    draw: Callable[[np.random.Generator, int], Schedule]  # (generator, horizon) -> [1, T]


def _random_starts(rng: np.random.Generator, horizon: int) -> np.ndarray:
    return np.r_[1.0, rng.random(horizon - 1) < rng.random()]


def _random_coins(rng: np.random.Generator, horizon: int) -> Array:
    return schedules.geometric(horizon, 1 + horizon * rng.random())


KINDS: Mapping[str, Kind] = {
    "behavioural_cloning": Kind("cloning", lambda rng, horizon: schedules.behavioural_cloning(1, horizon)),
    "dagger": Kind("chunks", lambda rng, horizon: schedules.dagger(1, horizon, np.zeros(1))),
    "chunked": Kind("chunks", lambda rng, horizon: schedules.chunked(1, _random_starts(rng, horizon))),
    "geometric": Kind("chunks", lambda rng, horizon: schedules.chunked(1, _random_coins(rng, horizon))),
    "reset": Kind("reset", lambda rng, horizon: schedules.reset(1, _random_starts(rng, horizon))),
}
BETAS: Mapping[str, Callable[[int], Array]] = {
    "indicator": schedules.beta_indicator,
    "geometric": lambda rounds: schedules.beta_geometric(rounds, 0.5),
    "linear": lambda rounds: schedules.beta_linear(rounds, rounds // 2),
    "constant": lambda rounds: schedules.beta_constant(rounds, 0.2),
}


def cells(settings: Settings) -> list[dict[str, Any]]:
    """Random worlds by expert, learner and horizon; tight worlds; DAgger's rounds by beta schedule."""
    random = [
        {"what": "random worlds", "expert": expert, "learner": learner, "horizon": horizon, "run": run}
        for run in range(settings.runs)
        for horizon in settings.horizons
        for expert in settings.experts
        for learner in settings.learners
    ]
    tight = [{"what": "tight worlds", "horizon": horizon} for horizon in settings.horizons]
    rounds = [
        {"what": "rounds", "beta": beta, "learner": learner, "horizon": horizon, "run": run}
        for run in range(settings.runs)
        for horizon in settings.horizons
        for beta in BETAS
        for learner in ("follow_the_leader", "hedge")
    ]
    return random + tight + rounds


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """One block: a point a theorem and instance."""
    sweep = {"random worlds": _random_worlds, "tight worlds": _tight_worlds, "rounds": _rounds}[cell["what"]]
    return Measurement(sweep(settings, cell))


# ---- one learner, one row -----------------------------------------------------------------------------------


def _learner(problem: Problem, row: Schedule, drawn: dict[str, Array], learner: str) -> Array:
    """A policy that errs: at random, or as an oracle with the errors drawn for each step."""
    if learner == "random":
        return (1 - drawn["share"]) * problem.expert + drawn["share"] * drawn["policy"]
    return oracle.policy(problem, row, drawn["errors"], "even" if learner == "oracle_even" else "worst")


def _instance(
    problem: Problem, row: Schedule, drawn: dict[str, Array], *, learner: str, about: About
) -> dict[str, Any]:
    known = evidence.constants(problem)
    seen = evidence.measure(problem, _learner(problem, row, drawn, learner), row, known)
    values = {}
    for name, bound in about:
        value, bounded = jnp.atleast_1d(bound.value(row, seen, known)), jnp.atleast_1d(bound.bounded(seen))
        # Of a bound on every step the step that uses most of it is shown, and the least slack kept.
        tightest = jnp.argmax(jnp.where(value > TOLERANCE, bounded / jnp.where(value > TOLERANCE, value, 1.0), -1.0))
        values[name] = value[tightest], bounded[tightest], (value - bounded).min()
    # Not a theorem, and false where mistakes cannot be made good: the sweep must find that out (the cliff).
    false = schedules.remaining(row.join).max() * seen.eps.sum()
    return {"values": values, "false": (false, seen.gap, false - seen.gap), "gap": seen.gap, "eps": seen.eps.mean()}


@functools.cache
def _compiled(learner: str, about: About) -> Any:
    return float64(jax.vmap(functools.partial(_instance, learner=learner, about=about)))


def _instances(learner: str) -> Any:
    """Judges a batch of instances by every bound that is about rows, all of them in one program."""
    return _compiled(learner, tuple(bounds.of_rows().items()))


def _points(kinds: list[str], found: dict[str, Any], common: list[dict[str, Any]]) -> list[dict[str, Any]]:
    points = []
    for place, kind in enumerate(kinds):
        here = common[place] | {"algorithm": kind, "gap": found["gap"][place], "eps": found["eps"][place]}
        judged = {name: pair for name, pair in found["values"].items() if KINDS[kind].kind in bounds.BOUNDS[name].kinds}
        if here["world"] == "cliff" and KINDS[kind].kind != "reset":
            judged[FALSE] = found["false"]
        for name, (value, bounded, slack) in judged.items():
            found_here = {"bound": value[place], "bounded": bounded[place], "slack": slack[place]}
            points.append(here | {"theorem": name} | found_here)
    return [{"round": 0, "interpreter": "exact"} | point for point in points]


def random_instances(
    seed: int, run: int, expert: str, learner: str, horizon: int, count: int
) -> tuple[list[str], list[Problem], list[Schedule], dict[str, np.ndarray]]:
    """The kinds, problems, rows and what learners are made of, of one block; an instance is an index into them."""
    rng = np.random.default_rng((seed, run, horizon, *map(ord, expert + learner)))
    kinds = [list(KINDS)[place % len(KINDS)] for place in range(count)]
    problems = [
        gallery.random_mdp(
            horizon,
            STATES,
            ACTIONS,
            seed=int(rng.integers(1 << 31)),
            concentration=float(10 ** rng.uniform(-1.5, 0.5)),
            temperature=float(10 ** rng.uniform(-1.5, 0.5)) if expert == "stochastic" else None,
        )
        for _ in range(count)
    ]
    rows = [schedules.row(KINDS[kind].draw(rng, horizon), 0) for kind in kinds]
    level = 10 ** rng.uniform(-3, -0.3, (count, 1))
    drawn = {
        "share": 10 ** rng.uniform(-3, 0, (count, 1, 1, 1)),
        "policy": rng.dirichlet(np.ones(ACTIONS), (count, horizon, STATES)),
        "errors": level * rng.random((count, horizon)) ** rng.uniform(0, 8, (count, 1)),
    }
    return kinds, problems, rows, drawn


def _random_worlds(settings: Settings, cell: dict[str, Any]) -> list[dict[str, Any]]:
    block = {name: cell[name] for name in ("run", "expert", "learner", "horizon")}
    kinds, problems, rows, drawn = random_instances(settings.seed, count=settings.worlds, **block)
    batch = study.stacked(problems)
    found = _instances(cell["learner"])(batch, schedules.stack(rows), drawn)
    common = [{"world": "random_mdp", "instance": place, **block} for place in range(len(kinds))]
    return _points(kinds, found, common)


def _tight_worlds(settings: Settings, cell: dict[str, Any]) -> list[dict[str, Any]]:
    """The named worlds that meet bounds with equality, errors even or at one end of each chunk."""
    horizon, points = cell["horizon"], []
    cases = [("chunked", schedules.chunked(1, schedules.starts(horizon, k))) for k in range(1, horizon + 1)]
    cases += [("reset", schedules.reset(1, schedules.starts(horizon, k))) for k in range(1, horizon + 1)]
    for world in ("cliff", "chunk_reset", "debt"):
        problem = gallery.WORLDS[world].build(horizon)
        for where in ("uniform", "first", "last"):
            rows = [schedules.row(schedule, 0) for _, schedule in cases]
            errors = [
                oracle.placement(row.join if kind == "chunked" else row.back, 1e-3, where)
                for (kind, _), row in zip(cases, rows, strict=True)
            ]
            batch = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], len(cases), 0), problem)
            drawn = {"errors": np.stack(errors)}
            found = _instances("oracle_even")(batch, schedules.stack(rows), drawn)
            common = [
                {"world": world, "learner": "oracle_even", "expert": "deterministic", "horizon": horizon}
                | {"chunk": place % horizon + 1, "instance": place}
                for place in range(len(cases))
            ]
            points += _points([kind for kind, _ in cases], found, common)
    return points


# ---- DAgger's rounds ------------------------------------------------------------------------------------------


def _dagger(problem: Problem, beta: Array, *, learner: str) -> dict[str, tuple[Array, Array]]:
    """Theorem 4.1 and our sharper form after each number of rounds: (bound, bounded), each [N]."""
    world, horizon = problem.world, problem.world.horizon
    rule = learners.Majority() if learner == "follow_the_leader" else learners.Hedge(0.5)
    fits = learners.tabular(world, rule, shared=True)
    wrong = 1 - jnp.asarray(problem.expert)  # the loss: probability of not doing what the expert does

    def record(moment: interaction.Moment) -> tuple[Array, Array, Array]:
        playing = exact.play(problem, moment.acting, moment.row)
        alone = exact.deploy(problem, moment.acting)
        loss = (moment.acting * wrong).sum(-1)
        best = moment.memory.costs.min(-1).sum() / (horizon * (moment.round + 1))
        return (playing.novice * loss).sum(-1).mean(), (alone.novice * loss).sum(-1).mean(), best

    schedule = schedules.dagger(ROUNDS, horizon, beta)
    losses, own, hindsight = interaction.run(
        problem, schedule, fits, interaction.exactly(problem), measure=record
    ).measured
    terms = bounds.no_regret_by_round(losses, own, hindsight, beta, horizon)
    return {name: (bounds.BOUNDS[name].value(terms), terms.best_own) for name in ("DAgger 4.1", "DAgger 4.1, sharper")}


@functools.cache
def _daggers(learner: str) -> Any:
    return float64(jax.vmap(functools.partial(_dagger, learner=learner), in_axes=(0, None)))


def _rounds(settings: Settings, cell: dict[str, Any]) -> list[dict[str, Any]]:
    horizon, count = cell["horizon"], max(1, settings.worlds // 10)
    rng = np.random.default_rng((settings.seed, cell["run"], *map(ord, cell["beta"] + cell["learner"])))
    seeds = rng.integers(1 << 31, size=count)
    problems = [
        gallery.random_mdp(horizon, STATES, ACTIONS, seed=int(seed), observations=STATES // 2, stationary=True)
        for seed in seeds
    ]
    batch = study.stacked(problems)
    found = _daggers(cell["learner"])(batch, np.asarray(BETAS[cell["beta"]](ROUNDS)))
    return [
        {"world": "random_mdp", "algorithm": "dagger", "learner": cell["learner"], "expert": "deterministic"}
        | {"horizon": horizon, "round": n, "run": place, "instance": int(seed), "interpreter": "exact"}
        | {"theorem": name, "bound": value[place, n], "bounded": bounded[place, n], "beta": cell["beta"]}
        | {"slack": value[place, n] - bounded[place, n]}
        for name, (value, bounded) in found.items()
        for place, seed in enumerate(seeds)
        for n in range(ROUNDS)
    ]


# ---- what the points say --------------------------------------------------------------------------------------


def sources() -> dict[str, str]:
    """What states each theorem of the sweep; the last states nothing."""
    return {name: bound.source for name, bound in bounds.BOUNDS.items()} | {FALSE: "no theorem (control)"}


def _by_theorem(table: pa.Table) -> dict[str, tuple[np.ndarray, np.ndarray, pa.Table]]:
    """(bound, bounded, rows) of each theorem."""
    found, theorems = {}, np.array(table["theorem"].to_pylist())
    for name in sources():
        rows = table.filter(pa.array(theorems == name))
        if rows.num_rows:
            found[name] = rows["bound"].to_numpy(), rows["bounded"].to_numpy(), rows
    return found


def _shares(bound: np.ndarray, bounded: np.ndarray) -> np.ndarray:
    """Which share of a bound is used; where the bound is zero to rounding there is nothing to divide."""
    return bounded / np.where(bound > TOLERANCE, bound, np.inf)


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """The least slack of every theorem, with the tightest instance; and that a false bound is found out."""
    found, stated = [], sources()
    for name, (bound, bounded, rows) in _by_theorem(table).items():
        slack, shares = rows["slack"].to_numpy().min(), _shares(bound, bounded)
        where = rows.slice(int(shares.argmax()), 1).to_pylist()[0]
        place = ", ".join(str(where[name]) for name in ("world", "expert", "algorithm", "learner", "horizon"))
        place += f", run {where['run']}, instance {where['instance']}"
        if name == FALSE:
            text = f"a false bound, {name.split(' (')[0]}, is found to be violated on the cliff: least slack"
            state = compared(slack, slack, most=-TOLERANCE, strict=True)
            expected = "below 0"
        else:
            text = f"{name} holds on {len(bound):,} instances: least slack (most used: {shares.max():.4g}, {place})"
            state = compared(slack, slack, least=-TOLERANCE)
            expected = f"at least -{TOLERANCE:g}"
        found.append(Finding(text, stated[name], where["world"], expected, slack, None, None, state=state))
    return found


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Two histograms a theorem: which share of its bound is used, and what is left of it."""
    theorems = {name: pair for name, pair in _by_theorem(table).items() if name != FALSE}
    shares, slacks = {}, {}
    for name, (bound, bounded, rows) in theorems.items():
        values = _shares(bound, bounded)
        shares[f"{name}   (most: {values.max():.3g})"] = np.clip(values, 0, 1), np.linspace(0, 1, 41)
        slack = rows["slack"].to_numpy()
        slacks[f"{name}   (least: {slack.min():.2g})"] = np.clip(slack, 1e-6, None), np.logspace(-6, 2.5, 41)
    return {
        "share": partial(
            _histograms,
            shares,
            "share of the bound that is used",
            "Which share of a bound is used, theorem by theorem, over all instances (logarithmic counts). For bounds "
            "on every step, the step that uses most. Past 1 a bound would be violated.",
        ),
        "slack": partial(
            _histograms,
            slacks,
            "slack",
            "What is left of a bound, in its own unit, over all instances; what is below 1e-6 counts there.",
            log=True,
        ),
    }


def _histograms(of: Mapping[str, tuple[np.ndarray, np.ndarray]], label: str, caption: str, log: bool = False) -> Figure:
    columns = 4
    figure, axes = report.panels(columns, -(-len(of) // columns), caption=caption)
    figure.set_size_inches(15, 2.6 * -(-len(of) // columns))
    for spare in axes[len(of) :]:
        spare.set_visible(False)
    for ax, (name, (values, edges)) in zip(axes, of.items(), strict=False):
        ax.hist(values, bins=edges.tolist(), log=True)
        if log:
            report.logarithmic(ax, "x")
        ax.set_title(name, fontsize=10)
        ax.set_xlabel(label)
        ax.set_ylabel("instances")
    return figure


CLAIM = Claim(
    name="bound_sweep",
    title="No bound is violated, and how tight each is",
    statement=(
        "Each theorem's right-hand side, made of exactly measured errors, is checked against what it bounds on "
        "thousands of random worlds, with deterministic and with stochastic experts; under behavioural cloning, "
        "DAgger, random chunk partitions, geometric chunks and the reset variant; for random learners and for "
        "oracles that err evenly or where it costs most; and on the worlds that meet bounds with equality. "
        "DAgger's Theorem 4.1 is held after every round, for four beta schedules and two online learners, where "
        "the expert is outside the learner's class. All of it by exact recursion in float64. A bound that theory "
        "warns of, T k eps without recoverability, is swept too, and must fail."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.bound_sweep,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names("experts", "Experts: the optimal policy, or a softened one.", SWEEP["full"]["experts"]),
        claim.names("learners", "Learners that err: at random, or as oracles.", SWEEP["full"]["learners"]),
        claim.integers("horizons", "Horizons T, in steps.", low=2, high=200),
        claim.integers("worlds", "Random worlds a block, each with a schedule of its own.", low=5, many=False),
    ),
    columns={
        "theorem": pa.string(),
        "bounded": pa.float64(),  # what the theorem bounds: the gap, or an error or distance
        "expert": pa.string(),
        "beta": pa.string(),  # DAgger's beta schedule
        "slack": pa.float64(),  # bound minus bounded; for a bound on every step the least over steps
        "instance": pa.int64(),  # index in its block: `random_instances` draws it again
    },
)
