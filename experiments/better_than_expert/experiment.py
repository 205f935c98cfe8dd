"""Better than the expert: costs-to-go as labels, and the table of roll-in and roll-out, at infinite data.

python -m experiments.better_than_expert --out=DIR
"""

import functools
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from dagger_jax import evidence, intervals, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, gallery, interaction, labels, learners
from dagger_jax.tabular.worlds import backward
from dagger_jax.types import Array, Problem, Schedule

from .. import claim
from ..claim import BadFlag, Claim, Drawings, Finding, Measurement, Settings
from ..shared import needs, study
from . import figures as drawn
from .findings import ALIASED, COMPARED, EXPERTS, REALIZABLE, STATEMENTS, STATIONARY, TWO, columns

LABELS = (labels.imitate, labels.cost_to_go, labels.cost_to_go_acting)
SHARES = {"reference": 1.0, "mixture": 0.5, "learned": 0.0}  # of the expert, in the roll-in and in the roll-out

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": worlds,
        "share": 0.3,
        "horizon": horizon,
        "rounds": rounds,
        "runs": runs,
    }
    for preset, worlds, horizon, rounds, runs in (
        ("quick", (REALIZABLE, ALIASED, TWO), 12, 24, 192),
        ("default", (REALIZABLE, STATIONARY, ALIASED, TWO), 16, 64, 384),
        ("full", (REALIZABLE, STATIONARY, ALIASED, TWO), 24, 256, 1024),
    )
}


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world and expert."""
    if settings.runs < 2:
        raise BadFlag("runs", f"{settings.runs} leaves no interval; allowed: whole numbers, 2 or more")
    return [{"world": world, "expert": expert} for world in settings.worlds for expert in EXPERTS]


def problems(world: str, expert: str, settings: Settings) -> tuple[list[Problem], bool]:
    """A problem a run, and whether the learner shares one table over time.

    Of the random worlds the first has the expert in the learner's class. In the second it is not, as it depends on the
    step; in the third, also because states look alike.
    """
    made = _drawn(world, settings.horizon, settings.runs, settings.seed)
    share = settings.share if expert == "corrupted" else 0.0
    experts_of = (experts.corrupted(each, share, (settings.seed, run, 1)) for run, each in enumerate(made))
    found = [Problem(each.world, acts, world) for each, acts in zip(made, experts_of, strict=True)]
    return found, world != REALIZABLE


@functools.lru_cache(maxsize=1)  # both experts act in them
def _drawn(world: str, horizon: int, runs: int, seed: int) -> list[Problem]:
    def one(run: int) -> Problem:
        random = functools.partial(gallery.random_mdp, horizon, seed=(seed, run), concentration=0.1)
        match world:
            case "random_realizable":
                return random(states=5)
            case "random_stationary":
                return random(states=5, stationary=True)
            case "random_aliased":
                return random(states=8, observations=5, stationary=True)
        return gallery.cheap_and_dear(horizon)

    return list(map(one, range(runs)))


class Way(NamedTuple):
    """An algorithm, or a cell of the table."""

    schedule: Schedule
    label: labels.Label
    roll_in: str | None = None
    roll_out: str | None = None


def ways(rounds: int, horizon: int) -> dict[str, Way]:
    """The nine cells of LOLS' table, whose learned roll-in never shows the expert, and the algorithms as published."""
    table = {
        f"{roll_in}, {roll_out}": Way(
            schedules.lols(rounds, horizon, schedules.beta_constant(rounds, share), after),
            labels.cost_to_go,
            roll_in,
            roll_out,
        )
        for roll_in, share in SHARES.items()
        for roll_out, after in SHARES.items()
    }
    named = {name: ALGORITHMS[name] for name in COMPARED}
    return table | {name: Way(row.build(rounds, horizon, 0), row.label) for name, row in named.items()}


# ---- measurement ----------------------------------------------------------------------------------------------


def _train(problems: Problem, schedule: Schedule, label: labels.Label, shared: bool) -> Array:
    """Policies [R, K, M, L, S, A] of schedules [K, N, T], after each of the last M = ceil(N / 4) rounds."""

    def one(problem: Problem, schedule: Schedule) -> Array:
        learner = learners.tabular(problem.world, learners.Majority(), shared)
        after = lambda moment: (1 - moment.row.mixing_rate) * moment.acting + moment.row.mixing_rate * moment.newest
        played = interaction.run(
            problem, schedule, learner, interaction.exactly(problem), label=label, measure=after
        ).measured
        return played[3 * played.shape[0] // 4 :]

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))(problems, schedule)


class Judged(NamedTuple):
    """Of policies, exactly; [R, K]: means over the rounds that they are of."""

    gap: Array  # J(pi) - J(expert): negative is better than the expert
    local: Array  # what the class's best one-step deviations gain on the policy's own states, summed over its table
    loss: Array  # the cost-weighted loss on the policy's own states: of AggreVaTe's labels
    room: Array  # what one deviation of the expert gains, summed over the policy's states: 0 for an optimal one
    bound: Array  # u T eta, from the disagreement on the policy's own states
    expert_cost: Array


def _judge(problems: Problem, policies: Array, shared: bool) -> Judged:
    def one(problem: Problem, policy: Array, known: evidence.Constants) -> Judged:
        learner = learners.tabular(problem.world, learners.Majority(), shared)
        row = schedules.row(schedules.lols(1, problem.world.horizon), 0)
        deployed = exact.deploy(problem, policy)
        play = exact.frequencies(problem, deployed)
        expert_after, own_after = (
            labels.cost_to_go(problem, play, row._replace(after=after + 0 * row.after), policy) for after in (1.0, 0.0)
        )
        table = learner.update(None, learner.init(), own_after, 1.0).costs
        eta = (deployed.novice * 0.5 * jnp.abs(policy - problem.expert).sum(-1)).sum()
        return Judged(
            deployed.novice_cost - deployed.guide_cost,
            (policy * own_after.costs).sum() - table.min(-1).sum(),
            (policy * expert_after.costs).sum(),
            (deployed.novice * (known.value[:-1] - known.to_go.min(-1))).sum(),
            known.recoverability * eta,
            deployed.guide_cost,
        )

    def each(problem: Problem, policies: Array) -> Judged:
        judged = functools.partial(one, problem, known=evidence.constants(problem))
        return jax.vmap(jax.vmap(judged))(policies)

    return jax.tree.map(lambda values: values.mean(-1), jax.vmap(each)(problems, policies))


def _best(problems: Problem, shared: bool) -> Array:
    """J of the best deterministic policy of the class: of all tables, or by dynamic programming if that is it. [R]"""

    def one(problem: Problem) -> Array:
        world = problem.world
        if not shared:  # every state is seen, and every step has its own table
            return world.initial @ backward(world)[1][0]
        every = np.stack(np.meshgrid(*[np.arange(world.actions)] * world.observations, indexing="ij"), -1)
        tables = jax.nn.one_hot(every.reshape(-1, 1, world.observations), world.actions)
        return jax.vmap(lambda table: world.initial @ backward(world, table[:, world.observation])[1][0])(tables).min()

    return jax.vmap(one)(problems)


train = float64(_train, static=("label", "shared"))
judge = float64(_judge, static=("shared",))
best = float64(_best, static=("shared",))


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Every way's mixture of the policies of its last rounds (draw one, run it for the episode), a point a run."""
    every, shared = problems(cell["world"], cell["expert"], settings)
    batch = study.stacked(every)
    least = best(batch, shared=shared)
    found = ways(settings.rounds, settings.horizon)
    names = [name for label in LABELS for name, way in found.items() if way.label is label]
    policies = [
        train(
            batch,
            schedules.stack([way.schedule for way in found.values() if way.label is label]),
            label=label,
            shared=shared,
        )
        for label in LABELS
    ]
    judged = judge(batch, np.concatenate(policies, axis=1), shared=shared)
    points = [
        {"world": cell["world"], "expert": cell["expert"], "algorithm": name, "learner": "follow_the_leader"}
        | {"roll_in": found[name].roll_in, "roll_out": found[name].roll_out}
        | {"horizon": settings.horizon, "round": settings.rounds, "run": run, "interpreter": "exact"}
        | {key: getattr(judged, key)[run, k] for key in ("gap", "bound", "local", "loss", "room")}
        | {"over_best": judged.gap[run, k] + judged.expert_cost[run, k] - least[run]}
        for k, name in enumerate(names)
        for run in range(settings.runs)
    ]
    return Measurement(points)


# ---- what the points say --------------------------------------------------------------------------------------


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Identities; which cells of the table are as the paper says; who beats the expert."""
    found = columns(table)
    return [each.judge(world, found) for each in STATEMENTS for world in settings.worlds if world in each.worlds]


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """The table of roll-in and roll-out, in three measures, and the algorithms."""
    found = columns(table)
    means = {
        key: {name: intervals.mean(values) for name, values in own.items() if name in ("gap", "over_best", "local")}
        for key, own in found.items()
    }
    inside = [world for world in settings.worlds if world != TWO]
    tables = {
        f"table_{world.removeprefix('random_')}": partial(drawn.table, means, world, EXPERTS, tuple(SHARES))
        for world in inside
    }
    return tables | {"algorithms": partial(drawn.algorithms, means, settings.worlds, EXPERTS, COMPARED)}


CLAIM = Claim(
    name="better_than_expert",
    title="Better than the expert: what to ask for, and whose states to ask in",
    statement=(
        "A learner that asks what its deviations will cost, not what the expert would do, may end better than an "
        "expert that can be improved. Whose states it is asked in (roll-in) and who completes the episode (roll-out) "
        "decide what it converges to. Every round here shows infinitely many episodes, so what is left is not for "
        "want of data. Compared are DAgger, AggreVaTe, LOLS, SEARN and NRPI, and the nine cells of LOLS' table, with "
        "an optimal and with a corrupted expert, on random worlds whose expert the learner can or cannot represent. "
        "Where the class does not hold the expert the paper's table is confirmed: after roll-in by the reference "
        "one-step deviations gain more than after the learner's own, and roll-out by the reference is good if the "
        "reference is. Of final costs less is shown: differences between roll-ins are given with their intervals, for "
        "information, and with learned roll-outs the reference's roll-in (NRPI) is not shown to be worse than none "
        "(RL), nor better; where every state is seen and reached roll-in does not matter. LOLS' mixed roll-out goes "
        "most of the way from a corrupted reference to a local optimum, but not all of it; SEARN, which leaves its "
        "reference, does."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.better_than_expert,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names("worlds", "Worlds to train in.", SWEEP["full"]["worlds"]),
        claim.numbers(
            "share", "Share of steps and states in which the corrupted expert errs.", above=0, high=1, many=False
        ),
        claim.integers("horizon", "Horizon T, in steps.", low=2, high=256, many=False),
        claim.integers(
            "rounds", "Rounds N of training, each of infinitely many episodes.", low=2, high=10_000, many=False
        ),
    ),
    columns={
        "expert": pa.string(),  # good: optimal; or corrupted
        "roll_in": pa.string(),  # reference, mixture or learned; null for a named algorithm
        "roll_out": pa.string(),  # as roll_in
        "over_best": pa.float64(),  # J above the best deterministic policy's of the class
        "local": pa.float64(),  # what the best one-step deviations of the class gain, on the policy's own states
        "loss": pa.float64(),  # cost-weighted loss on the policy's own states
        "room": pa.float64(),  # what one-step deviations from the expert gain, on the policy's states
    },
)
