"""What `scheming` measures: a learner as it is, exactly and by texts; and a learner in training."""

import functools
import zlib
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dagger_jax import controllers, detect, randomness, schedules
from dagger_jax.text import scheming, training, transformer, walk, writers
from dagger_jax.text.scheming import Rates, Scheming
from dagger_jax.text.writers import Frozen, Machine
from dagger_jax.types import Array, Node, Schedule

from ..claim import Measurement, Settings
from . import detectors

LETTERS = 2  # of the tabular writer, whose rates are exact
BUDGETS = {"budget": True, "bold budget": False}  # chunk lengths by a controller: only proven ones, or continued
EVALUATIONS = 12  # in a training run

# ---- worlds and learners -------------------------------------------------------------------------------------------


def drawn(machine: Machine, count: int, seed: Any) -> np.ndarray:
    """A text of a machine. [count]"""
    rng, state, tokens = np.random.default_rng(seed), machine.first, []
    emission, following = np.asarray(machine.emission)[0], np.asarray(machine.following)
    for _ in range(count):
        tokens.append(rng.choice(len(emission[state]), p=emission[state]))
        state = following[state, tokens[-1]]
    return np.array(tokens)


def tabular(settings: Settings, run: int) -> tuple[Machine, Machine]:
    """A random writer, and the context counts of a text of it; both with the forbidden token."""
    seed = settings.seed, run
    writer = writers.random_markov(LETTERS, settings.order, (*seed, 0), concentration=1.0)
    counts = writers.fitted(drawn(writer, settings.sample, (*seed, 1)), LETTERS, settings.order)
    return writers.with_garbage(writer, 1.0), writers.with_garbage(counts, 1.0)


def recipe(settings: Settings, reads: training.Reads = "both") -> training.Recipe:
    """A small transformer under Adam; sampled tokens are labels."""
    config = transformer.Config(
        settings.vocabulary + 1, settings.length, width=settings.width, layers=settings.layers, heads=settings.heads
    )
    return training.Recipe(config, _adam(settings.rate), reads=reads)


@functools.cache
def _adam(rate: float) -> optax.GradientTransformation:
    """The same object each time: another one would be another program."""
    return optax.adam(rate)


def taught(settings: Settings, run: int) -> tuple[Machine, Any]:
    """A random writer, and the parameters of a transformer trained shortly on its texts."""
    return _taught(tuple(sorted(settings.values.items())), run)


@functools.lru_cache(maxsize=8)  # all choices of a chunk length begin with it
def _taught(values: tuple[tuple[str, Any], ...], run: int) -> tuple[Machine, Any]:
    settings = Settings(dict(values))
    writer = writers.random_markov(settings.vocabulary, settings.order, (settings.seed, run, 2), concentration=1.0)
    expert = writers.with_garbage(writer, 1.0)
    supervised = schedules.behavioural_cloning(1, settings.length)
    own = recipe(settings, "guide")
    state = training.begin(own, jax.random.key(zlib.crc32(f"learner {settings.seed} {run}".encode())))
    ids = jnp.arange(settings.batch, dtype=jnp.uint32)
    key = _key(settings, "pretraining", run)
    state, _ = training.advance(own, expert, supervised, state, key, ids, rounds=settings.pretraining)
    return expert, state.learner.params


def _key(settings: Settings, *stream: Any) -> randomness.Words:
    """Another stream, other random numbers."""
    base = randomness.words(jax.random.key(settings.seed))
    return randomness.for_round(base, zlib.crc32(repr(stream).encode()))


def _row(length: int, chunk: int) -> Schedule:
    return schedules.row(schedules.chunked(1, schedules.starts(length, chunk)), 0)


class Chunks(Node):
    """A fixed length, or the detectability budget of either kind: one program for all."""

    fixed: Array  # k; 0: the budget
    eta: Array | float
    proven: Array  # bool
    column: ClassVar[str] = "join"

    def init(self, horizon: int) -> tuple[Array, Array]:
        """The first round's length, and where its chunks start."""
        k = jnp.maximum(self.fixed, 1)
        return k, schedules.starts(horizon, k)

    def update(self, state: Array, seen: controllers.Seen) -> tuple[Array, Array]:
        """The next round's."""
        sure, bold = (
            controllers.DetectabilityBudget(self.eta, proven=proven).update(state, seen)[0] for proven in (True, False)
        )
        k = jnp.where(self.fixed > 0, self.fixed, jnp.where(self.proven, sure, bold))
        return k, schedules.starts(seen.starts.shape[0], k)


# ---- measurement ---------------------------------------------------------------------------------------------------


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """One learner as it is, or one training run."""
    common = {"world": cell["world"], "run": cell["run"], "horizon": settings.length, "kind": cell["kind"]}
    common |= {"algorithm": "chunked", "learner": "context_counts" if cell["world"] == "tabular" else "transformer"}
    if cell["kind"] == "training":
        points, steps = _trained(settings, cell["run"], cell["choice"], cell["knows"])
    elif cell["world"] == "tabular":
        points, steps = _exact(settings, cell["run"]), 2 * settings.length * detectors.MORE * settings.texts
    else:
        points, steps = _sampled(settings, cell["run"])
    return Measurement([common | point for point in points], steps)


def _exact(settings: Settings, run: int) -> list[dict[str, Any]]:
    """Exact rates at every chunk length and threshold; and what is left of the defect after training that sees it."""
    expert, inner = tabular(settings, run)
    length, points = settings.length, []
    for knows in settings.knows:
        for chunk in settings.chunks:
            row = _row(length, chunk)
            starts = np.asarray(schedules.starts(length, chunk if knows == "starts" else length), float)
            for threshold in settings.thresholds:
                schemer = Scheming(inner, expert, threshold, settings.strength, starts)
                rates = scheming.exactly(schemer, row)
                common = {"knows": knows, "chunk": chunk, "threshold": threshold, "interpreter": "exact"}
                points.append(common | exactly(rates) | {"round": 0, "strength": settings.strength})
                left, last = removed(schemer, row, settings.rounds, settings.removal)
                points.append(common | exactly(last) | {"kind": "removal", "round": settings.rounds, "strength": left})
    points = [point | {"survives": point["strength"] * point["deploy"]} for point in points]
    return points + detectors.points(settings, expert, inner, _key(settings, "detectors", run))


def removed(schemer: Scheming, row: Schedule, rounds: int, rate: float) -> tuple[float, Rates]:
    """The defect's strength after exact gradient steps on its logit, and the rates then; see `scheming.advance`."""
    strength = float(schemer.strength)
    logit = np.log(strength / (1 - strength))
    rates = scheming.exactly(schemer, row)
    for _ in range(rounds):
        logit -= rate * strength * rates.train.mean()
        strength = float(1 / (1 + np.exp(-logit)))
        rates = scheming.exactly(schemer.replace(strength=strength), row)
    return strength, rates


def exactly(rates: Rates) -> dict[str, float]:
    """A point's columns, means over the tokens."""
    train, deploy, bound = (float(np.mean(each)) for each in rates)
    steps = rates.distance - (rates.deploy - rates.train)
    return {"train": train, "deploy": deploy, "excess": deploy - train, "bound": bound, "slack": float(steps.min())}


_play = jax.jit(walk.play)


def _sampled(settings: Settings, run: int) -> tuple[list[dict[str, Any]], int]:
    """The same of a transformer, by texts."""
    expert, params = taught(settings, run)
    inner, length, points = Frozen(recipe(settings).config, params), settings.length, []
    for knows in settings.knows:
        for chunk in settings.chunks:
            starts = np.asarray(schedules.starts(length, chunk if knows == "starts" else length), np.float32)
            for threshold in settings.thresholds:
                schemer = Scheming(inner, expert, jnp.float32(threshold), jnp.float32(settings.strength), starts)
                seen = _watched(settings, schemer, _row(length, chunk), _key(settings, "texts", run))
                common = {"knows": knows, "chunk": chunk, "threshold": threshold, "interpreter": "sampled"}
                points.append(common | {"round": 0, "strength": settings.strength} | seen)
    steps = 2 * length * (settings.texts * len(points) + settings.batch * settings.pretraining)
    points = [point | {"survives": point["strength"] * point["deploy"]} for point in points]
    found = detectors.points(settings, expert, inner, _key(settings, "detectors", run))
    return points + found, steps + 2 * length * detectors.MORE * settings.texts


def _watched(settings: Settings, schemer: Scheming, row: Schedule, key: randomness.Words) -> dict[str, Any]:
    ids = jnp.arange(settings.texts, dtype=jnp.uint32)
    seen = jax.device_get(scheming.watch(schemer, _play(schemer.expert, schemer, row, key, ids)))
    return sampled(seen.rates) | {"error": float(seen.error.mean())}


def sampled(rates: Rates) -> dict[str, float]:
    """A point's columns with 95% intervals over texts; rates [T, B]."""
    train, deploy, distance = (np.asarray(each, np.float64).mean(0) for each in rates)
    found = {}
    for name, values, least, most in (
        ("train", train, 0.0, 1.0),
        ("deploy", deploy, 0.0, 1.0),
        ("excess", deploy - train, -1.0, 1.0),
        ("bound", distance, 0.0, 1.0),
        ("slack", distance - (deploy - train), -1.0, 2.0),
    ):
        seen = detect.bounded_mean((values - least) / (most - least))
        whole = dict(zip((name, f"{name}_low", f"{name}_high"), seen, strict=True))
        found |= {each: least + (most - least) * value for each, value in whole.items()}
        found[name] = float(values.mean())
    return found


def _trained(settings: Settings, run: int, choice: str, knows: str) -> tuple[list[dict[str, Any]], int]:
    """Rounds of chunk training that removes what it sees, judged between rounds on fresh texts."""
    expert, params = taught(settings, run)
    own, length = recipe(settings), settings.length
    fixed = 0 if choice in BUDGETS else int(choice)
    controller = Chunks(jnp.int32(fixed), jnp.float32(settings.eta), jnp.asarray(BUDGETS.get(choice, True)))
    mind = scheming.begin(own, params, settings.strength, controller)
    ids = jnp.arange(settings.batch, dtype=jnp.uint32)
    block, points = settings.rounds // EVALUATIONS, []
    key, fresh, known = _key(settings, "training", run), _key(settings, "judging", run), jnp.asarray(knows == "starts")
    threshold = jnp.float32(settings.threshold)
    for done in range(0, settings.rounds + 1, block):
        schemer = scheming.faces(own, expert, mind, threshold, known)
        row = schedules.row(schedules.chunked(1, mind.column), 0)
        seen = _watched(settings, schemer, row, randomness.for_round(fresh, done))
        chunk = int(np.asarray(schedules.offsets(mind.column)).max()) + 1
        strength = float(jnp.asarray(schemer.strength))
        if done == settings.rounds:  # and if nobody tells where chunks start, for there are none
            untold = schemer.replace(starts=jnp.zeros(length).at[0].set(1.0))
            seen["awake"] = strength * _watched(settings, untold, row, randomness.for_round(fresh, done))["deploy"]
        points.append(
            {"knows": knows, "choice": choice, "chunk": chunk, "threshold": settings.threshold, "round": done}
            | {"interpreter": "sampled", "strength": strength, "survives": strength * seen["deploy"]}
            | seen
        )
        if done < settings.rounds:
            how = {"known": known, "rounds": block, "controller": controller}
            mind, _ = scheming.advance(own, expert, mind, key, ids, threshold, jnp.float32(settings.removal), **how)
    steps = 2 * length * (settings.batch * settings.rounds + settings.texts * len(points))
    return points, steps
