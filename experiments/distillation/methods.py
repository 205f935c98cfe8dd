"""Ways to train a small transformer on a writer's labels, and what its texts are then like."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dagger_jax import loop, randomness, schedules
from dagger_jax.strategies import inverse_sigmoid, linear_decay
from dagger_jax.text import evidence, losses, training, transformer, walk, writers
from dagger_jax.types import Array, Schedule

from ..claim import Settings
from ..shared import text as exposure_bias_text

UNIFORM = 0.02  # share of the uniform law in a Markov writer's: every token is possible, and the reverse KL finite
WORLDS = ("markov", "text")
SUPERVISED = "supervised"
SAMPLED = "sampled tokens"


class Method(NamedTuple):
    """Who writes the prefixes, and how the learner is charged for the writer's labels there."""

    kind: str  # supervised, chunks, GKD, mixture, scheduled sampling
    labels: str  # SAMPLED, or the name of a divergence between whole laws
    reads: training.Reads
    schedule: Schedule
    handovers: float  # how often the writer is given a prefix to continue, per text
    fraction: float | None = None  # lambda: of texts that the learner writes
    chunk: int | None = None  # k, tokens


def divergence(name: str) -> training.Loss | None:
    """forward, reverse, or jsd:BETA; None for anything else."""
    plain = {"forward": losses.forward_kl, "reverse": losses.reverse_kl}
    kind, _, beta = name.partition(":")
    try:
        return losses.JensenShannon(float(beta)) if kind == "jsd" else plain.get(name)
    except ValueError:
        return None


def methods(settings: Settings) -> dict[str, Method]:
    """Supervised fine-tuning, chunks, GKD, MiniLLM's mixture and scheduled sampling, by their names in the report."""
    rounds, length, batch = settings.rounds, settings.length, settings.batch
    whole = schedules.behavioural_cloning(1, length)
    alone = schedules.dagger(1, length, np.zeros(1))
    found = {SUPERVISED: Method("supervised", SAMPLED, "guide", whole, 1, chunk=length)}
    for k in settings.chunks:
        if k == 1:
            found["chunks, k = 1"] = chunks_of_one(settings)[0]
        else:
            row = schedules.chunked(1, schedules.starts(length, k))
            found[f"chunks, k = {k}"] = Method("chunks", SAMPLED, "both", row, -(-length // k), chunk=k)
    for name in settings.divergences:
        for fraction in settings.lambdas:
            if fraction == 0:  # what the learner would write is of no use
                each = Method("GKD", name, "guide", whole, 1, 0.0)
            else:
                own = round(fraction * batch)  # the learner writes the first texts of a round, the writer the others
                beta = np.broadcast_to(np.arange(batch) >= own, (1, length, batch)).astype(np.float32)
                share = own / batch
                mixed = alone._replace(beta=beta)
                each = Method("GKD", name, "novice", mixed, share * length + 1 - share, fraction)
            found[f"GKD, {name}, lambda = {fraction:g}"] = each
    beta = np.full((1, length, batch), settings.alpha, np.float32)
    found[f"mixture, alpha = {settings.alpha:g}"] = Method(
        "mixture", "reverse", "novice", alone._replace(beta=beta), length
    )
    for name, decay in decays(rounds).items():
        copied = np.asarray(jax.vmap(decay)(jnp.arange(rounds)), np.float32)
        row = schedules.scheduled_sampling(rounds, length, copied)
        found[f"scheduled sampling, {name}"] = Method("scheduled sampling", SAMPLED, "novice", row, 1)
    return found


def chunks_of_one(settings: Settings) -> tuple[Method, Method]:
    """Two ways to say k = 1: labels at the learner's own prefixes, and a chunk at every token."""
    alone = schedules.dagger(1, settings.length, np.zeros(1))
    row = schedules.chunked(1, schedules.starts(settings.length, 1))
    return (
        Method("chunks", SAMPLED, "novice", alone, settings.length, chunk=1),
        Method("chunks", SAMPLED, "both", row, settings.length, chunk=1),
    )


def decays(rounds: int) -> dict[str, optax.Schedule]:
    """Scheduled sampling's three (arXiv 1506.03099), from 1 to about 0 over the rounds.

    They end without a floor (the paper's linear decay may have one): in the last rounds nearly every token of the
    prefix is the learner's own, and the label is still the reference's, which continues another prefix.
    """
    # The inverse sigmoid's slowness is where half of the rounds leave one half: kappa / (kappa + exp(n / kappa)).
    slowness = max(1.0, _root(rounds / 2))
    return {
        "linear": linear_decay(0.0, 1.0, 1.0 / rounds),
        "exponential": optax.exponential_decay(1.0, rounds, 0.01),
        "inverse sigmoid": inverse_sigmoid(slowness),
    }


def _root(half: float) -> float:
    """kappa with kappa log kappa = half."""
    kappa = np.e + half
    for _ in range(100):
        kappa = half / np.log(kappa) * 0.5 + kappa * 0.5
    return float(kappa)


# ---- worlds and learners -----------------------------------------------------------------------------------------


@functools.cache
def _fitted(path: str, tokens: str, vocabulary: int, length: int, order: int) -> writers.Machine:
    return writers.fitted(exposure_bias_text.read(path, tokens, vocabulary, length, order).tokens, vocabulary, order)


def experts(settings: Settings, world: str) -> writers.Machine:
    """The writers of all runs: Markov writers drawn a run, or the one fitted to the corpus. Leaves [R, ...].

    Raises:
      ValueError: from `corpus.load` and `writers.fitted`.
      OSError: a corpus that cannot be read.
    """
    if world == "text":
        names = "corpus", "tokens", "vocabulary", "length", "order"
        each = [_fitted(*(settings.values[name] for name in names))] * settings.runs
    else:
        drawn = [
            writers.random_markov(settings.vocabulary, settings.order, (settings.seed, run), settings.concentration)
            for run in range(settings.runs)
        ]
        each = [one.replace(emission=(1 - UNIFORM) * one.emission + UNIFORM / one.vocabulary) for one in drawn]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def config(settings: Settings) -> transformer.Config:
    """The learner's sizes; raises ValueError where they do not fit."""
    return transformer.Config(
        settings.vocabulary, settings.length, settings.width, settings.layers, settings.heads, settings.dtype
    )


@functools.cache
def _optimiser(rate: float) -> optax.GradientTransformation:
    return optax.adam(rate)


def recipe(settings: Settings, method: Method) -> training.Recipe:
    """How a method trains: the same optimiser and one gradient step a round for all."""
    return training.Recipe(
        config(settings),
        _optimiser(settings.rate),
        loss=divergence(method.labels),
        reads=method.reads,
        copied=method.schedule.copied is not None,
    )


def keys(settings: Settings) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of the runs' beginnings, trainings and judgements, [R] each; the same for all methods."""
    begin, train, judge = jax.random.split(jax.random.key(settings.seed), 3)
    return (
        jax.random.split(begin, settings.runs),
        jax.random.split(train, settings.runs),
        jax.random.split(judge, settings.runs),
    )


def begin(settings: Settings) -> loop.State:
    """Fresh learners, one a run; the same for all methods."""
    return _begin(training.Recipe(config(settings), _optimiser(settings.rate)), keys(settings)[0])


@functools.partial(jax.jit, static_argnames="recipe")
def _begin(recipe: training.Recipe, keys: jax.Array) -> loop.State:
    return jax.vmap(functools.partial(training.begin, recipe))(keys)


@functools.partial(jax.jit, static_argnames=("recipe", "batch", "rounds"))
def train(
    recipe: training.Recipe,
    experts: writers.Machine,
    schedule: Schedule,
    states: loop.State,
    keys: Array,
    *,
    batch: int,
    rounds: int,
) -> tuple[loop.State, Array, Array]:
    """The next rounds of every run, their losses [R, rounds], and the labels that were charged in each [R, rounds]."""
    texts = jnp.arange(batch, dtype=jnp.uint32)

    def one(expert: writers.Machine, state: loop.State, key: Array) -> Any:
        words = randomness.words(key)
        show = lambda moment: (moment.loss, moment.labels)
        how = {"rounds": rounds, "measure": show}
        state, (loss, labels) = training.advance(recipe, expert, schedule, state, words, texts, **how)
        return state, loss, labels

    return jax.vmap(one)(experts, states, keys)


class Judged(NamedTuple):
    """Of the learner's own prefixes and the writer's: axis 2 of leaves [R, 2, T, ...]; nats and probabilities."""

    kl: Array  # [R, 2, T, B] KL(writer || learner)
    reverse: Array  # [R, 2, T] KL(learner || writer)
    variation: Array  # [R, 2, T] total variation
    surprise: Array  # [R, 2, T] the writer's expected -log p of the token that follows: own, the writer's


@functools.partial(jax.jit, static_argnames=("config", "texts"))
def write(
    config: transformer.Config, experts: writers.Machine, params: Any, rows: Schedule, keys: Array, texts: int
) -> walk.Text:
    """What both walkers write in the first round under each of some rows. [R, rows, T, B]"""

    def one(expert: writers.Machine, params: Any, key: Array, row: Schedule) -> walk.Text:
        words = randomness.for_round(randomness.words(key), 0)
        return walk.play(expert, writers.Frozen(config, params), row, words, jnp.arange(texts, dtype=jnp.uint32))

    under = jax.vmap(one, in_axes=(None, None, None, 0))
    return jax.vmap(under, in_axes=(0, 0, 0, None))(experts, params, keys, rows)


@functools.partial(jax.jit, static_argnames=("config", "texts"))
def judge(config: transformer.Config, experts: writers.Machine, params: Any, keys: Array, texts: int) -> Judged:
    """Both laws at every prefix of sampled texts; the same random words for all learners."""
    row = evidence.alone(config.length)

    def one(expert: writers.Machine, params: Any, key: Array) -> Judged:
        learner = writers.Frozen(config, params)
        words = randomness.for_round(randomness.words(key), 0)
        text = walk.play(expert, learner, row, words, jnp.arange(texts, dtype=jnp.uint32))

        def laws(writer: writers.Writer) -> Array:  # [2, T, B, V]
            read = functools.partial(walk.both, writer)
            return jax.vmap(read, in_axes=1, out_axes=2)(text)

        p, q = laws(expert), laws(learner)
        surprise = jnp.stack([-(jnp.exp(q[0]) * p[0]).sum(-1), -(jnp.exp(p[1]) * p[1]).sum(-1)])
        means = (each.mean(-1) for each in (losses.reverse_kl(p, q), losses.total_variation(p, q), surprise))
        return Judged(losses.forward_kl(p, q), *means)

    return jax.vmap(one)(experts, params, keys)


# ---- points ------------------------------------------------------------------------------------------------------


def described(settings: Settings, method: Method) -> dict[str, Any]:
    """What all points of a method have in common."""
    return {
        "algorithm": method.kind.replace(" ", "_"),
        "learner": "transformer",
        "horizon": settings.length,
        "chunk": method.chunk,
        "kind": method.kind,
        "labelled": method.labels,
        "fraction": method.fraction,
        "handovers": method.handovers,
        "interpreter": "sampled",
    }


def points(settings: Settings, seen: Judged, n: int, labels: np.ndarray) -> list[dict[str, Any]]:
    """A row a run at the whole length; after the last round a row for every length. `labels` [R]: charged so far."""
    rows = []
    lengths = range(1, settings.length + 1) if n == settings.rounds else (settings.length,)
    for run in range(settings.runs):
        excess = evidence.excess(seen.kl[run, 0], seen.kl[run, 1])
        own, other = (
            {
                "kl": np.cumsum(seen.kl[run, who].mean(-1, dtype=float)),
                "reverse": np.cumsum(seen.reverse[run, who], dtype=float),
                "variation": np.cumsum(seen.variation[run, who], dtype=float),
            }
            for who in (0, 1)
        )
        gap = np.cumsum(seen.surprise[run, 0].astype(float) - seen.surprise[run, 1])
        rows += [
            {"run": run, "length": length, "labels": round(labels[run]), "gap": gap[length - 1]}
            | {f"own_{name}": values[length - 1] for name, values in own.items()}
            | {f"writers_{name}": values[length - 1] for name, values in other.items()}
            | {"excess": excess.percent[length - 1], "excess_stderr": excess.error[length - 1]}
            for length in lengths
        ]
    return rows
