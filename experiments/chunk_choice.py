"""How to choose the chunk length, and change it while training runs: the frontier at an equal price.

python -m experiments.chunk_choice --out=DIR
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa

from dagger_jax import controllers, labels, rollout, schedules
from dagger_jax.environments import gallery
from dagger_jax.strategies import STRATEGIES, inverse_sigmoid, over_rounds
from dagger_jax.types import Problem, Schedule
from experiments import chunk_choice_figures, chunk_training, claim, needs, study
from experiments.claim import BadFlag, Claim, Drawings, Finding, Measurement, Settings, settled

ETA = 0.05  # the detectability budget
PER_QUERY, PER_STEP = 4.0, 1.0  # price of a hand-over and of a label
COMPARED_AT = 0.01  # price of a hand-over at which controllers are compared with the best partition
NOTHING = 1e-12  # added to gaps before one is divided by another: two gaps of 0 are equal
HANDOVER_COSTS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # of the best partition, in units of the world's cost

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": ("recoverable_reset_cliff", "tightrope", "random_mdp"),
        "horizon": horizon,
        "rounds": rounds,
        "episodes": episodes,
        "runs": runs,
    }
    for preset, horizon, rounds, episodes, runs in (
        ("quick", 16, 16, 16, 16),
        ("default", 32, 24, 16, 48),
        ("full", 64, 48, 16, 256),
    )
}


class Method(NamedTuple):
    """A way to choose chunk lengths: a schedule over rounds, perhaps rewritten by a controller."""

    kind: str  # fixed, schedule, controller or published
    schedule: Schedule
    controller: Any = None
    gate: Any = None
    label: labels.Label = labels.imitate


def methods(horizon: int, rounds: int, episodes: int = 1) -> dict[str, Method]:
    """Every fixed length that is a power of two or T, round schedules from optax, controllers, published strategies."""

    def over(schedule: Any) -> Schedule:
        lengths = over_rounds(schedule, rounds, horizon)
        starts = jax.vmap(lambda k: schedules.starts(horizon, k))(lengths)
        return schedules.chunked(rounds, starts, schedules.beta_indicator(rounds))

    last, half = rounds - 1, rounds // 2
    fixed = {f"k = {k}": Method("fixed", over(float(k))) for k in _lengths(horizon)}
    changing = {
        "linear, T to 1": optax.linear_schedule(horizon, 1, last),
        "linear, 1 to T": optax.linear_schedule(1, horizon, last),
        "exponential, T to 1": optax.exponential_decay(horizon, last, 1 / horizon),
        "exponential, 1 to T": optax.exponential_decay(1, last, horizon),
        "cosine, T to 1": optax.cosine_decay_schedule(horizon, last),
        "inverse sigmoid, T to 1": lambda n: horizon * inverse_sigmoid(max(1.0, rounds / 6))(n),
        "step, T then 1": optax.piecewise_constant_schedule(horizon, {half: 1 / horizon}),
    }
    start = over(1.0)
    total = rounds * episodes * (PER_QUERY + PER_STEP * horizon)
    reacting: dict[str, Any] = {
        "detectability budget": controllers.DetectabilityBudget(ETA),
        "AIMD on the AUC": controllers.AdditiveIncrease(0.5 + ETA),
        "price list": controllers.Budget(PER_QUERY, PER_STEP, total, scale=1.0),
        "jump start": controllers.JumpStart(),
        "adaptive window": controllers.AdaptiveWindow(),
        "change point": controllers.ChangePoint(),
    }
    patient = start._replace(
        join=jnp.broadcast_to(schedules.starts(horizon, horizon) * 1.0, start.join.shape),
        patience=jnp.full(start.join.shape, ETA),
    )
    return (
        fixed
        | {name: Method("schedule", over(schedule)) for name, schedule in changing.items()}
        | {name: Method("controller", start, controller) for name, controller in reacting.items()}
        | {"accumulated disagreement": Method("controller", patient)}
        | {
            name.replace("_", " "): Method("published", each.build(rounds, horizon), *each[2:])
            for name, each in STRATEGIES.items()
            if name not in ("jsrl_gated", "adwin", "change_point")  # controllers above
        }
    )


def _lengths(horizon: int) -> list[int]:
    return [2**n for n in range(horizon.bit_length()) if 2**n < horizon] + [horizon]


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world and method; and one a world for the best partition."""
    if settings.runs < 2:
        raise BadFlag("runs", f"{settings.runs} leaves no interval; allowed: whole numbers, 2 or more")
    names = methods(settings.horizon, settings.rounds, settings.episodes)
    learned = [{"world": world, "method": name} for world in settings.worlds for name in names]
    return learned + [{"world": world, "method": "optimal partition"} for world in settings.worlds]


def problems(world: str, settings: Settings) -> tuple[list[Problem], bool]:
    """A problem a run, and whether the learner shares one table over time."""
    horizon, runs = settings.horizon, range(settings.runs)
    if world == "recoverable_reset_cliff":
        labels = settings.rounds * settings.episodes
        return [
            gallery.reset_cliff(horizon, 6, 4, labels, (settings.seed, run), recoverable=True) for run in runs
        ], False
    if world == "random_mdp":
        return [
            gallery.random_mdp(horizon, 8, 3, (settings.seed, run), observations=5, concentration=0.1, stationary=True)
            for run in runs
        ], True
    return [study.problem(world, horizon)] * settings.runs, True


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Every run's gap, price and detectability after every round; or the best partition for measured errors."""
    each, shared = problems(cell["world"], settings)
    batch, samplers = study.stacked(each), study.stacked(list(map(rollout.tables, each)))
    common = {"world": cell["world"], "algorithm": "chunked", "learner": "follow_the_leader"}
    common |= {"method": cell["method"], "horizon": settings.horizon}
    planned = cell["method"] == "optimal partition"
    method = methods(settings.horizon, settings.rounds, settings.episodes)["k = 1" if planned else cell["method"]]
    keys = jax.random.split(jax.random.key(settings.seed), settings.runs)
    policies, rows, handovers, asked, parted = chunk_training.train(
        batch,
        samplers,
        method.schedule,
        method.controller,
        method.gate,
        keys,
        label=method.label,
        episodes=settings.episodes,
        shared=shared,
    )
    steps = 2 * settings.runs * settings.rounds * settings.episodes * settings.horizon
    if planned:
        values, best = chunk_training.plan(batch, policies[:, -1], np.array(HANDOVER_COSTS))
        points = [
            common
            | {"kind": "plan", "round": settings.rounds, "run": run, "interpreter": "exact"}
            | {"price": price, "bound": values[run, place], "best_fixed": best[run, place]}
            for run in range(settings.runs)
            for place, price in enumerate(HANDOVER_COSTS)
        ]
        return Measurement(points, steps)
    gap, seen = chunk_training.judge(batch, policies, rows)
    handovers, asked = np.asarray(handovers, float), np.asarray(asked, float)
    price = np.cumsum(settings.episodes * (PER_QUERY * handovers + PER_STEP * asked), axis=1)
    partition = method.kind != "published" and method.schedule.patience is None
    cost = (
        chunk_training.over_best(batch, policies[:, -1], rows.join[:, -1], np.float64(COMPARED_AT))
        if partition
        else None
    )
    if method.schedule.patience is not None:  # the exact recursion cannot know where its chunks end
        seen = np.asarray(parted, float)
    points = [
        common
        | {"kind": method.kind, "round": n + 1, "run": run, "gap": gap[run, n], "interpreter": "exact"}
        | {
            "price": price[run, n],
            "handovers": handovers[run, n],
            "labels": asked[run, n],
            "detectability": None if np.isnan(seen[run, n]) else seen[run, n],
            "over_best": _last(cost, run, n, settings),
        }
        for run in range(settings.runs)
        for n in range(settings.rounds)
    ]
    return Measurement(points, steps)


def _last(values: Any, run: int, n: int, settings: Settings) -> float | None:
    return None if values is None or n < settings.rounds - 1 else float(values[run])


# ---- what the points say --------------------------------------------------------------------------------------


class AtBudget(NamedTuple):
    """One method in one world at the common price, a value a run."""

    kind: str
    gap: np.ndarray  # [R]
    detectability: np.ndarray  # [R]


def at_budget(settings: Settings, table: pa.Table) -> dict[str, dict[str, AtBudget]]:
    """By world and method: values when the price of one chunk of T steps an episode, in every round, is spent.

    Between two rounds they are interpolated in price. A published strategy that has not spent it after its last
    round is read there, at the lower price.
    """
    budget = settings.rounds * settings.episodes * (PER_QUERY + PER_STEP * settings.horizon)
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        if row["kind"] != "plan":
            rows.setdefault((row["world"], row["method"], row["kind"]), []).append(row)
    found: dict[str, dict[str, AtBudget]] = {}
    for (world, method, kind), own in rows.items():
        columns = {
            name: np.array([row[name] for row in own], float).reshape(settings.runs, settings.rounds)
            for name in ("price", "gap", "detectability")
        }
        price = columns.pop("price")
        gap, seen = (
            np.array([np.interp(budget, price[run], values[run]) for run in range(settings.runs)])
            for values in columns.values()
        )
        found.setdefault(world, {})[method] = AtBudget(kind, gap, seen)
    return found


def best_fixed(found: dict[str, AtBudget]) -> str:
    """The fixed length of least mean gap, chosen in hindsight."""
    return min((name for name in found if found[name].kind == "fixed"), key=lambda name: found[name].gap.mean())


def ratio(values: np.ndarray, reference: np.ndarray, resamples: int = 2000) -> tuple[float, float, float]:
    """Ratio of mean gaps with a 95% bootstrap interval; runs are paired."""
    values, reference = values + NOTHING, reference + NOTHING
    draws = np.random.default_rng(0).integers(len(values), size=(resamples, len(values)))
    ratios = values[draws].mean(1) / reference[draws].mean(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(values.mean() / reference.mean()), float(low), float(high)


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Which ways to choose k beat the best fixed one, whether budgets are kept, and what the best partition saves."""
    findings = []
    everywhere = at_budget(settings, table)
    for world, found in everywhere.items():
        best = best_fixed(found)
        ratios = {name: ratio(found[name].gap, found[best].gap) for name in found if found[name].kind != "fixed"}
        over_rounds_ = min(
            (name for name in ratios if found[name].kind == "schedule"), key=lambda name: ratios[name][0]
        )
        value, low, high = ratios[over_rounds_]
        text = (
            f"no schedule over rounds is shown to beat the best fixed length ({best}) by 10%; ratio of {over_rounds_}"
        )
        findings.append(
            Finding(text, "this experiment", world, "not below 0.9", value, low, high, state=settled(high >= 0.9))
        )
        cut = "accumulated disagreement"
        value, low, high = ratios[cut]
        if world == "recoverable_reset_cliff":
            text = f"chunks cut where disagreement accumulates beat the best fixed length ({best}): ratio of gaps"
            findings.append(
                Finding(text, "schedules notes, 2d", world, "below 1", value, low, high, state=settled(high < 1))
            )
        else:
            text = f"chunks cut where disagreement accumulates are within 25% of the best fixed length ({best})"
            findings.append(
                Finding(text, "schedules notes, 2d", world, "below 1.25", value, low, high, state=settled(low < 1.25))
            )
        findings += _controllers(world, found, ratios, best, table)
    rows = [row for row in table.to_pylist() if row["method"] == "detectability budget"]
    over = float(np.mean([row["detectability"] > ETA for row in rows]))
    text = f"the detectability budget {ETA} is kept: share of rounds in which the mean T_j is above it"
    findings.append(
        Finding(text, "schedules notes", "all", "at most 0.05", over, None, None, state=settled(over <= 0.05))
    )
    return findings + _planned(table)


def _controllers(
    world: str, found: dict[str, AtBudget], ratios: dict[str, tuple], best: str, table: pa.Table
) -> list[Finding]:
    """Each controller against the best fixed length, for information, and against the best partition, a limit."""
    findings = []
    for name in (name for name in found if found[name].kind == "controller"):
        rows = [row for row in table.to_pylist() if row["world"] == world and row["method"] == name]
        over = [row["over_best"] for row in rows if row["over_best"] is not None]
        text = f"{name}: ratio of its gap to that of the best fixed length ({best})"
        if over:
            text += f"; its last chunks cost {np.mean(over):.3g} times the best partition, never less"
        holds = min(over, default=1.0) >= 1 - 1e-9
        findings.append(Finding(text, "this experiment", world, None, *ratios[name], state=settled(holds)))
    return findings


def _planned(table: pa.Table) -> list[Finding]:
    findings = []
    plans = [row for row in table.to_pylist() if row["kind"] == "plan"]
    for world in dict.fromkeys(row["world"] for row in plans):
        shares = np.array([row["bound"] / row["best_fixed"] for row in plans if row["world"] == world])
        text = "for the errors measured the best partition costs no more than the best equal chunks (mean share)"
        source = "theory 7.2(4); dynamic programming"
        holds = bool((shares <= 1 + 1e-9).all())
        findings.append(
            Finding(text, source, world, "at most 1", shares.mean(), shares.min(), shares.max(), state=settled(holds))
        )
    return findings


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """The frontier, the ratios to the best fixed length, and the best partition."""
    found = at_budget(settings, table)
    ratios = {
        world: {name: ratio(each.gap, methods[best_fixed(methods)].gap) for name, each in methods.items()}
        for world, methods in found.items()
    }
    plans = [row for row in table.to_pylist() if row["kind"] == "plan"]
    return {
        "frontier": partial(chunk_choice_figures.frontier, found, ETA),
        "ratios": partial(chunk_choice_figures.ratios, found, ratios),
        "partition": partial(chunk_choice_figures.partition, plans),
    }


CLAIM = Claim(
    name="chunk_choice",
    title="How to choose the chunk length, and change it during training",
    statement=(
        "An expert is expensive to call and a learner that can tell that it is being trained may behave for the "
        "occasion only. At an equal price (a hand-over costs 4 labels), which chunk length leaves the least regret, "
        "how detectable is it, and does it pay to change the length: over rounds, by a controller that reads "
        "evidence between rounds, or inside the episode where the learner disagrees? Compared are fixed lengths "
        "(powers of two, and T), schedules over rounds in both directions, controllers and published strategies, on a "
        "world whose rare mistakes can be made good, on a walk seen through noise and on random worlds outside the "
        "learner's class. The best fixed length is "
        "chosen in hindsight, on the same runs, which favours it. What helps is to cut a chunk where the learner "
        "goes wrong, if the expert can see that (the cut is told where, at no price); schedules over rounds do not "
        "beat the best fixed length by much, anywhere."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.chunk_choice,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names("worlds", "Worlds to train in.", SWEEP["full"]["worlds"]),
        claim.integers("horizon", "Horizon T, in steps.", low=4, high=1024, many=False),
        claim.integers("rounds", "Rounds N of training.", low=5, high=1000, many=False),
        claim.integers("episodes", "Episodes a round.", low=1, high=100_000, many=False),
    ),
    columns={
        "method": pa.string(),  # how the chunk length is chosen
        "kind": pa.string(),  # fixed, schedule, controller, published; plan for the best partition
        "price": pa.float64(),  # spent so far, in labels; of a hand-over, in units of cost, where kind is plan
        "handovers": pa.float64(),  # per episode of the round
        "labels": pa.float64(),  # per episode of the round
        "detectability": pa.float64(),  # mean T_j over the steps, of the policy after the round
        "over_best": pa.float64(),  # price of the last round's chunks, relative to the best partition's
        "best_fixed": pa.float64(),  # hand-over cost plus bound of the best equal chunks, where kind is plan
    },
)

if __name__ == "__main__":
    claim.run(CLAIM)
