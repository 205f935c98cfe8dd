"""Exposure bias of writers: how errors accumulate along a text, for every way to choose the chunk.

python -m experiments.exposure_bias --out=DIR
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from dagger_jax.tabular import rollout
from dagger_jax.text import transformer

from .. import claim
from ..claim import BadFlag, Claim, Measurement, Settings
from ..shared import chunk_methods, needs, study
from ..shared import text as exposure_bias_text
from ..shared.chunk_methods import Either, Method
from . import figures as drawn
from . import findings, training, worlds

LEARNERS = ("tabular", "transformer")
SMOOTHING = 0.5  # labels added to every count
# What transformers are trained by besides fixed lengths, but in the full preset: eight models each take their time.
FEW = (
    *("step, T then 1", "exponential, T to 1", "exponential, 1 to T"),
    *("detectability budget", "AIMD on the AUC", "jump start"),
)

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": names,
        "learners": LEARNERS,
        "length": length,
        "chunks": chunks,
        "vocabulary": vocabulary,
        "order": 2,
        "context": 1,
        "width": width,
        "layers": layers,
        "heads": heads,
        "rate": rate,
        "rounds": rounds,
        "batch": batch,
        "corpus": exposure_bias_text.LIBRARY,
        "tokens": "character",
        "writer": worlds.NO_WRITER,
        "few": preset != "full",
        "models": models,
        "texts": texts,
        "runs": runs,
    }
    for preset, names, length, chunks, vocabulary, width, layers, heads, rate, rounds, batch, models, texts, runs in (
        ("quick", ("recovering", "absorbing", "corpus"), 32, (1, 4), 6, 16, 1, 2, 1e-2, 40, 16, 4, 256, 12),
        ("default", worlds.TABLES, 64, (1, 4, 16), 8, 32, 1, 2, 5e-3, 100, 16, 8, 512, 32),
        ("full", worlds.TABLES, 256, (1, 4, 16, 64), 16, 256, 4, 8, 1e-3, 1000, 128, 8, 4096, 64),
    )
}


def methods(settings: Settings, learner: str) -> dict[str, Method]:
    """The frontier's methods that label every token once: fixed lengths asked for and T, schedules, controllers."""
    found = chunk_methods.methods(settings.length, settings.rounds, settings.batch)
    fixed = {f"k = {k}" for k in (*settings.chunks, settings.length)}
    return {
        name: method
        for name, method in found.items()
        if method.kind != "published"
        and (method.kind != "fixed" or name in fixed)
        and (learner == "tabular" or method.schedule.patience is None)
        and (learner == "tabular" or not settings.few or method.kind == "fixed" or name in FEW)
    }


def controller(every: Mapping[str, Method], name: str) -> Either | None:
    """A method's controller, as a choice among all."""
    options = {other: each.controller for other, each in every.items() if each.controller is not None}
    if name not in options:
        return None
    return Either(np.asarray(list(options).index(name)), tuple(options.values()))


def config(settings: Settings) -> transformer.Config:
    """The transformer's sizes."""
    sizes = settings.vocabulary, settings.length, settings.width, settings.layers, settings.heads
    return transformer.Config(*sizes)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world, learner and method."""
    length = settings.length
    for name in ("runs", "models"):
        if settings.values[name] < 2:
            raise BadFlag(name, f"{settings.values[name]} leaves no interval; allowed: whole numbers, 2 or more")
    for k in settings.chunks:
        if k > length or (k & (k - 1) and k != length):
            raise BadFlag("chunks", f"{k} is not allowed; allowed: powers of two up to {length}, the length, and it")
    if "transformer" in settings.learners:
        try:
            config(settings)
        except ValueError as error:
            raise BadFlag("heads", str(error)) from error
    worlds.check(settings)
    return [
        {"world": world, "learner": learner, "method": name} | worlds.digest(settings, world)
        for world in settings.worlds
        for learner in settings.learners
        if learner == "transformer" or world in worlds.TABLES
        for name in methods(settings, learner)
    ]


@functools.lru_cache(maxsize=1)
def _tables(world: str, of: worlds.Sizes, runs: int) -> tuple[Any, Any, Any, list[float]]:
    """A world's problems, stacked and one by one, their samplers, and u."""
    each = [worlds.problem(world, of, run) for run in range(1 if world == "corpus" else runs)]
    known = [worlds.recoverability(one) for one in each]
    samplers, times = list(map(rollout.tables, each)), runs // len(each)
    return study.stacked(each * times), each * times, study.stacked(samplers * times), known * times


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Accumulated errors of every run, or model, at l = 1, 2, 4, ..., T, after all rounds."""
    world, learner, of = cell["world"], cell["learner"], worlds.sizes(settings)
    every = methods(settings, learner)
    method, control, cost = every[cell["method"]], controller(every, cell["method"]), worlds.cost(world)
    number = settings.runs if learner == "tabular" else settings.models
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(settings.seed), jnp.arange(number))
    known = _tables(world, of, number)[-1] if cost else [None] * number
    if cost and learner == "tabular":
        batch, each, samplers, _ = _tables(world, of, number)
        policies = training.train_tables(
            batch, samplers, method.schedule, control, keys, SMOOTHING, episodes=settings.batch
        )
        judged = training.judge_tables(each, policies, cost)
    else:
        experts, pairs = [worlds.writer(world, of, run) for run in range(number)], jax.vmap(jax.random.split)(keys)
        params = training.train_transformers(
            config(settings), settings.rate, experts, method.schedule, control, pairs[:, 0], episodes=settings.batch
        )
        judged = training.judge_transformers(config(settings), experts, params, cost, pairs[:, 1], settings.texts)
    steps = 2 * number * settings.rounds * settings.batch * settings.length
    fixed = method.kind == "fixed"
    common = {"world": world, "algorithm": "chunked", "learner": learner, "method": cell["method"]}
    common |= {"kind": method.kind, "horizon": settings.length, "round": settings.rounds}
    common |= {"chunk": int(cell["method"].removeprefix("k = ")) if fixed else None}
    common |= {"interpreter": "exact" if learner == "tabular" else "sampled"}
    points = [
        common
        | {"run": run, "length": length, "recoverability": known[run]}
        | {"gap": float(own.own_cost[place] - own.expert_cost[place]) if cost else None}
        | {name: float(getattr(own, name)[place]) for name in ("own_kl", "expert_kl", "own_tv", "expert_tv")}
        | {"perplexity": float(np.exp(own.expert_nats[place] / length))}
        | {"tv_bound": float(own.expert_tv[:length].sum()) if learner == "tabular" else None}
        for run in range(number)
        for own in (training.Judged(*(values[run] for values in judged)),)
        for length in lengths(settings.length)
        for place in (length - 1,)
    ]
    return Measurement(points, steps)


def lengths(longest: int) -> list[int]:
    """Powers of two below T, and T."""
    return [2**n for n in range(longest.bit_length()) if 2**n < longest] + [longest]


FLAGS = (
    claim.names(
        "worlds",
        "Writers: one returns from garbage, one never, two are not in the table's class, and three are no tables.",
        worlds.NAMES,
    ),
    claim.names("learners", "A table of contexts, judged exactly, and a transformer, judged on fresh texts.", LEARNERS),
    claim.integers("length", "Length T of a text, in tokens.", low=8, high=4096, many=False),
    claim.integers("chunks", "Fixed chunk lengths k, in tokens, besides T (supervised fine-tuning).", low=1),
    claim.integers("vocabulary", "Tokens V, garbage or all rare symbols included.", low=3, high=256, many=False),
    claim.integers("order", "Tokens that writers outside the learner's class see.", low=2, high=8, many=False),
    claim.integers("context", "Tokens that the tabular learner sees.", low=1, high=7, many=False),
    claim.integers("width", "Width of the transformer.", low=2, high=4096, many=False),
    claim.integers("layers", "Layers of the transformer.", low=1, high=64, many=False),
    claim.integers("heads", "Attention heads of the transformer; they divide the width.", low=1, high=64, many=False),
    claim.numbers("rate", "Learning rate of the transformer's Adam.", above=0, high=1, many=False),
    claim.integers("rounds", "Rounds N of training.", low=5, high=100_000, many=False),
    claim.integers("batch", "Texts a round.", low=1, high=65_536, many=False),
    claim.integers("models", "Transformers trained a world and method.", low=1, high=1000, many=False),
    claim.integers("texts", "Fresh texts on which a transformer is judged.", low=2, high=2**20, many=False),
    *exposure_bias_text.FLAGS,
    claim.Flag(
        "writer",
        "Checkpoint of a transformer of V tokens and at least T long, the writer of the world `frozen`.",
        f"{worlds.NO_WRITER}, or the path of a checkpoint",
        lambda text: text,
        many=False,
        load=worlds.load,
    ),
)

CLAIM = Claim(
    name="exposure_bias",
    title="Exposure bias: how errors accumulate along a text",
    statement=(
        "A writer is imitated token by token. Trained on the writer's own text (supervised fine-tuning, one chunk of "
        "T tokens) the learner meets prefixes of its own only when it writes alone: does its error accumulate? R(l) "
        "is the error summed over the first l tokens at the learner's own prefixes, eps(l) its mean at the writer's, "
        "and ExAccErr(l) = R(l) / (l eps(l)) - 1 what accumulates (Arora et al. 2022). Where the writer recovers from "
        "a token that it would never write (u = 1) R(l) is to grow linearly, where it never does (u = T) faster, at "
        "most like l squared. Chunks of k tokens after the learner's own prefixes, schedules over rounds and "
        "controllers of k are compared at an equal number of the writer's tokens, for a table of contexts judged "
        "exactly and transformers judged on fresh texts (each model by itself, for models differ); and on two writers "
        "that see more than the table does. (With much text, a table that sees one token less than a Markov writer "
        "matches the law of what the writer sees: nothing accumulates then, and chunks make no difference. From two "
        "tokens less on they can.)"
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.exposure_bias,
    verdict=findings.verdict,
    figures=drawn.figures,
    flags=FLAGS,
    columns={
        "method": pa.string(),  # how the chunk length is chosen
        "kind": pa.string(),  # fixed, schedule or controller
        "length": pa.int64(),  # l; all errors are summed over the first l tokens
        "own_kl": pa.float64(),  # R(l) in nats, at the learner's own prefixes
        "expert_kl": pa.float64(),  # l eps(l), at the writer's
        "own_tv": pa.float64(),  # R(l) of the 0-1 loss
        "expert_tv": pa.float64(),
        "tv_bound": pa.float64(),  # what own_tv cannot exceed; null where errors are sampled
        "perplexity": pa.float64(),  # of the learner on the first l tokens of the writer's texts
        "recoverability": pa.float64(),  # u of the run's world; null where the writer is no table
    },
)
