"""Gates: who has the wheel, what it asks, and what is learned from it, beside chunked DAgger at the same price.

python -m experiments.gating --out=DIR
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa

from dagger_jax import gates, rollout
from dagger_jax.algorithms import ALGORITHMS, Algorithm
from dagger_jax.types import Array, Node, Problem, Takeover
from experiments import chunk_choice, claim, gating_figures, gating_trust, needs, study, zoo_training
from experiments.chunk_choice import ratio
from experiments.claim import INFORMATION, BadFlag, Claim, Drawings, Finding, Measurement, Settings, settled

PER_LABEL = 1.0  # the unit of price
TOLERANCE = 0.05  # how far the share of steps asked may be above a rate: it is fitted to the last round's law
SETTLED = 5  # rounds from which on a rate is judged
RESET = "recoverable_reset_cliff"


class Kind(NamedTuple):
    """A gate by its own parameter."""

    name: str
    row: str  # of `ALGORITHMS`: schedule and learner
    gate: Callable[[float], gates.Gate]
    values: tuple[float, float, float]  # the middle one also with a learner that keeps the wheel
    rated: bool = False  # is the parameter a rate of steps?


KINDS: Mapping[str, Kind] = {
    "safe": Kind("SafeDAgger", "safe_dagger", gates.Safe, (0.02, 0.1, 0.3)),
    "ensemble": Kind("EnsembleDAgger", "ensemble_dagger", lambda v: gates.Ensemble(v, 2 * v), (0.02, 0.1, 0.3)),
    "lazy": Kind("LazyDAgger", "lazy_dagger", lambda v: gates.Lazy(v, v / 2), (0.02, 0.1, 0.3)),
    "human": Kind("HG-DAgger", "hg_dagger", gates.Human, (0.1, 0.5, 1.0)),
    "thrifty": Kind("ThriftyDAgger", "thrifty_dagger", lambda v: gates.Thrifty(v, 0.5), (0.05, 0.1, 0.2), True),
    "novelty": Kind("novelty rate", "safe_dagger", gates.Novelty, (0.05, 0.1, 0.2), True),
}

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": worlds,
        "gates": kinds,
        "horizon": horizon,
        "rounds": rounds,
        "episodes": 4,
        "per_query": 4.0,
        "runs": runs,
    }
    for preset, worlds, kinds, horizon, rounds, runs in (
        ("quick", (RESET, "tightrope"), ("safe", "human", "novelty"), 16, 24, 24),
        ("default", (RESET, "tightrope", "random_mdp"), tuple(KINDS), 32, 48, 48),
        ("full", (RESET, "tightrope", "random_mdp"), tuple(KINDS), 64, 128, 256),
    )
}


class Wheel(Node):
    """A gate, and who acts where it is open: `acts` 1 the expert, 0 the learner (`gates.AskOnly`).

    One compiled program serves both.
    """

    gate: gates.Gate
    acts: Array | float

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Takeover:
        return self.gate(problem, memory, policy, law)._replace(acts=self.acts)


class Method(NamedTuple):
    """A gate at one setting, or a fixed chunk length."""

    algorithm: Algorithm
    kind: str  # key of KINDS; chunk for a fixed length
    asks: bool = False  # the learner keeps the wheel
    value: float | None = None  # threshold or rate
    chunk: int | None = None


def methods(kinds: tuple[str, ...], horizon: int) -> dict[str, Method]:
    """Fixed lengths: powers of two, and T; every gate at three settings, the middle one also without the wheel."""
    lengths = [2**n for n in range(horizon.bit_length()) if 2**n < horizon] + [horizon]
    found = {f"k = {k}": Method(ALGORITHMS["chunked"], "chunk", chunk=k) for k in lengths}
    for key in kinds:
        kind = KINDS[key]
        for value in kind.values:
            for asks in (False, True)[: 1 + (value == kind.values[1])]:
                gate = Wheel(kind.gate(value), 0.0 if asks else 1.0)
                name = f"{kind.name} {value:g}" + ", asks only" * asks
                found[name] = Method(ALGORITHMS[kind.row]._replace(gate=gate), key, asks, value)
    return found


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world and method."""
    if settings.runs < 2:
        raise BadFlag("runs", f"{settings.runs} leaves no interval; allowed: whole numbers, 2 or more")
    names = methods(settings.gates, settings.horizon)
    return [{"world": world, "method": name} for world in settings.worlds for name in names]


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Every run's gap and what was asked in every round.

    A label on the walk of a learner that keeps the wheel is a hand-over of its own, as in DAgger: the expert does not
    come to the next state by itself.
    """
    each, shared = chunk_choice.problems(cell["world"], settings)
    batch, samplers = study.stacked(each), study.stacked(list(map(rollout.tables, each)))
    method = methods(settings.gates, settings.horizon)[cell["method"]]
    algorithm = method.algorithm
    schedule = algorithm.build(settings.rounds, settings.horizon, method.chunk or 0)
    keys = jax.random.split(jax.random.key(settings.seed), settings.runs)
    played = {"episodes": settings.episodes, "shared": shared}
    trained = zoo_training.train(algorithm, batch, samplers, schedule, keys, **played)
    gap = np.asarray(zoo_training.gaps(batch, zoo_training.normalised(trained.newest)))
    asked, handovers, switches = (np.asarray(a, float) for a in (trained.labels, trained.handovers, trained.switches))
    if method.asks:
        handovers, switches = asked, 2 * asked
    price = np.cumsum(settings.episodes * (settings.per_query * handovers + PER_LABEL * asked), axis=1)
    points = [
        {"world": cell["world"], "algorithm": algorithm_of(method), "learner": "follow_the_leader"}
        | {"method": cell["method"], "kind": method.kind, "asks": method.asks, "value": method.value}
        | {"chunk": method.chunk, "horizon": settings.horizon, "round": n + 1, "run": run, "interpreter": "exact"}
        | {"gap": gap[run, n], "price": price[run, n], "labels": asked[run, n]}
        | {"handovers": handovers[run, n], "switches": switches[run, n]}
        for run in range(settings.runs)
        for n in range(settings.rounds)
    ]
    if method.kind == "human":
        found = gating_trust.trust(algorithm, batch, samplers, schedule, keys, **played)
        for run, point in enumerate(points[settings.rounds - 1 :: settings.rounds]):
            own = {name: float(values[run]) for name, values in found._asdict().items()}
            point |= {name: value for name, value in own.items() if np.isfinite(value)}
    return Measurement(points, 2 * settings.runs * settings.rounds * settings.episodes * settings.horizon)


def algorithm_of(method: Method) -> str:
    """The key of `ALGORITHMS`, or of the gate where no row has it."""
    return "chunked" if method.kind == "chunk" else KINDS[method.kind].row if method.kind != "novelty" else "novelty"


# ---- what the points say --------------------------------------------------------------------------------------


class Curve(NamedTuple):
    """One method in one world; all [R, N]."""

    kind: str
    asks: bool
    value: float | None
    gap: np.ndarray
    price: np.ndarray  # cumulative, in labels, as are all prices below
    labels: np.ndarray  # cumulative
    handovers: np.ndarray  # cumulative
    switches: np.ndarray  # cumulative
    share: np.ndarray  # labels of the round's episodes, relative to T


Curves = dict[str, dict[str, Curve]]


def curves(settings: Settings, table: pa.Table) -> Curves:
    """By world and method."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault((row["world"], row["method"]), []).append(row)
    found: Curves = {}
    for (world, method), own in rows.items():
        gap, price, *asked = (
            np.array([row[name] for row in own], float).reshape(settings.runs, settings.rounds)
            for name in ("gap", "price", "labels", "handovers", "switches")
        )
        total = [np.cumsum(settings.episodes * each, axis=1) for each in asked]
        kind, asks, value = (own[0][name] for name in ("kind", "asks", "value"))
        share = asked[0] / settings.horizon
        found.setdefault(world, {})[method] = Curve(kind, asks, value, gap, price, *total, share=share)
    return found


class Compared(NamedTuple):
    """A gate beside the best fixed chunk at the same price, run by run."""

    best: str  # the fixed length of least mean gap, in hindsight
    ratio: tuple[float, float, float]  # of gaps, with its interval


def compared(settings: Settings, found: dict[str, Curve]) -> dict[str, Compared]:
    """Every method but the fixed lengths, at what it has spent, at most the price of one chunk in every round.

    Gaps are interpolated in price between rounds. A fixed length whose first round is dearer is read there.
    """
    most = settings.rounds * settings.episodes * (settings.per_query + PER_LABEL * settings.horizon)
    fixed = [name for name, curve in found.items() if curve.kind == "chunk"]
    against = {}
    for name, curve in found.items():
        if curve.kind != "chunk":
            spent = np.minimum(curve.price[:, -1], most)
            gaps = {other: at_price(found[other], spent) for other in (name, *fixed)}
            best = min(fixed, key=lambda other: gaps[other].mean())
            against[name] = Compared(best, ratio(gaps[name], gaps[best]))
    return against


def at_price(curve: Curve, spent: np.ndarray) -> np.ndarray:
    """Gaps at a price a run. [R]"""
    return np.array([np.interp(*each) for each in zip(spent, curve.price, curve.gap, strict=True)])


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Rates that are kept, what is never seen, gaps at an equal price, and what a threshold of doubt tells."""
    everywhere = curves(settings, table)
    findings = []
    for key in settings.gates:
        own = [curve for found in everywhere.values() for curve in found.values() if curve.kind == key]
        if KINDS[key].rated:
            over = [float(curve.share[:, SETTLED:].mean() - curve.value) for curve in own if curve.value is not None]
            text = (
                f"{KINDS[key].name}: share of steps asked above the rate, from round {SETTLED + 1} on; the most of all"
            )
            text += f" worlds and settings (the least: {min(over):.2g})"
            holds = max(over) <= TOLERANCE
            findings.append(
                Finding(text, "gates notes", "all", f"at most {TOLERANCE}", max(over), None, None, state=settled(holds))
            )
    if RESET in everywhere:
        findings += _unseen(everywhere[RESET], settings)
    for world, found in everywhere.items():
        against = compared(settings, found)
        for name, each in against.items():
            if found[name].value == KINDS[found[name].kind].values[1]:
                text = f"{name}: its gap relative to the best fixed length's at an equal price ({each.best})"
                findings.append(Finding(text, "this experiment", world, None, *each.ratio, INFORMATION))
    return findings + trusted(table)


def trusted(table: pa.Table) -> list[Finding]:
    """Where HG-DAgger's learner doubts more than tau it risks more; judged where the expert is in its class."""
    kind = KINDS["human"]
    name = f"{kind.name} {kind.values[1]:g}"
    differences: dict[str, list[float]] = {}
    for row in table.to_pylist():
        if row["method"] == name and row["within"] is not None and row["beyond"] is not None:
            differences.setdefault(row["world"], []).append(row["beyond"] - row["within"])
    findings = []
    for world, values in differences.items():
        if len(values) > 1:
            mean, half = float(np.mean(values)), float(1.96 * np.std(values, ddof=1) / np.sqrt(len(values)))
            text = f"{name}: mean risk of the states where its doubt is above tau, less where it is not"
            text += f" ({len(values)} runs have both)"
            judged = world == RESET
            interval, source = (mean, mean - half, mean + half), "Kelly et al. 2019, arXiv 1810.02890"
            expected, holds = "above 0" if judged else None, mean > half or not judged
            findings.append(Finding(text, source, world, expected, *interval, settled(holds)))
    return findings


def _unseen(found: dict[str, Curve], settings: Settings) -> list[Finding]:
    """A gate that takes over before the learner errs never shows what follows an error."""
    cloned = found[f"k = {settings.horizon}"].gap[:, -1]
    source = "this experiment; theory 4.3(a)"
    value, low, high = ratio(found["k = 1"].gap[:, -1], cloned)
    text = "DAgger sees what follows an error: its last gap relative to behavioural cloning's"
    findings = [Finding(text, source, RESET, "below 0.5", value, low, high, state=settled(high < 0.5))]
    for key in settings.gates:
        own = {name: curve for name, curve in found.items() if curve.kind == key}
        each = [(name, ratio(curve.gap[:, -1], cloned)) for name, curve in own.items() if not curve.asks]
        name, (value, low, high) = min(each, key=lambda one: one[1][0])
        if key in ("ensemble", "human"):  # for information
            text = f"{name}, whose members guess where nothing was shown: last gap relative to behavioural cloning's"
            findings.append(Finding(text, source, RESET, None, value, low, high, state=INFORMATION))
        else:
            text = f"{KINDS[key].name} takes over first, and never sees it: last gap relative to behavioural cloning's"
            findings.append(
                Finding(text, source, RESET, "at least 1", value, low, high, state=settled(low >= 1 - 1e-9))
            )
        for name, curve in own.items():
            if curve.asks:
                value, low, high = ratio(curve.gap[:, -1], cloned)
                text = f"{name}: the learner keeps the wheel, and sees it; last gap relative to cloning's"
                findings.append(Finding(text, source, RESET, "below 0.5", value, low, high, state=settled(high < 0.5)))
    return findings


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Gap against labels, hand-overs and context switches; and relative to the best fixed length's."""
    found = curves(settings, table)
    names = {key: kind.name for key, kind in KINDS.items()}
    middle = {key: kind.values[1] for key, kind in KINDS.items()}
    against = {world: compared(settings, methods) for world, methods in found.items()}
    axes = {
        "labels": "labels asked",
        "interventions": "hand-overs and interventions",
        "switches": "context switches of the expert",
    }
    columns = {"labels": "labels", "interventions": "handovers", "switches": "switches"}
    return {
        f"by_{name}": partial(gating_figures.curves, found, columns[name], title, names, middle)
        for name, title in axes.items()
    } | {"ratios": partial(gating_figures.ratios, found, against, names)}


CLAIM = Claim(
    name="gating",
    title="Gates: when the expert takes the wheel",
    statement=(
        "A gate decides in every state whether the learner acts or the expert, whose actions are then labels. Gates "
        "are sold as safe and thrifty: few labels, few interventions, few context switches. What do they leave to "
        "regret, beside DAgger and chunked DAgger at the same price (a hand-over or an intervention costs 4 labels)? "
        "Every gate is measured at three settings, and in the middle one also with a learner that keeps the wheel and "
        "only asks. The gap is that of the learner alone. Gates save labels by far. But a gate that takes over before "
        "the learner errs never shows it what follows an error: on a world where the way back must be learned it ends "
        "where behavioural cloning ends, whatever the labels, and the same gate ends near DAgger if it only asks. "
        "Ensembles guess where nothing was shown, and end in between. HG-DAgger's threshold of doubt, fitted to its "
        "interventions, has no part in who acts: it says afterwards where the learner is to be trusted."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.gating,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names("worlds", "Worlds to train in.", SWEEP["full"]["worlds"]),
        claim.names("gates", "Gates to measure.", tuple(KINDS)),
        claim.integers("horizon", "Horizon T, in steps.", low=4, high=1024, many=False),
        claim.integers("rounds", "Rounds N of training.", low=SETTLED + 1, high=1000, many=False),
        claim.integers("episodes", "Episodes a round.", low=1, high=100_000, many=False),
        claim.numbers("per_query", "Price of a hand-over or an intervention, in labels.", low=0, high=1e6, many=False),
    ),
    columns={
        "method": pa.string(),  # the gate with its parameter, or the fixed length
        "kind": pa.string(),  # safe, ensemble, lazy, human, thrifty, novelty; chunk for a fixed length
        "asks": pa.bool_(),  # the learner keeps the wheel where the gate is open
        "value": pa.float64(),  # the gate's threshold or rate
        "price": pa.float64(),  # spent so far, in labels
        "labels": pa.float64(),  # per episode of the round
        "handovers": pa.float64(),  # per episode of the round: hand-overs, interventions
        "switches": pa.float64(),  # per episode of the round
        # Of HG-DAgger, after the last round; null where nobody took over, or no state is on that side:
        "tau": pa.float64(),  # threshold of doubt
        "within": pa.float64(),  # mean risk of states where the doubt is at most tau
        "beyond": pa.float64(),  # where it is above
    },
)

if __name__ == "__main__":
    claim.run(CLAIM)
