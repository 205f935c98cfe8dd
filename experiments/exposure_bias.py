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

from dagger_jax import rollout
from dagger_jax.tokens import transformer
from experiments import chunk_choice, claim, exposure_bias_figures, exposure_bias_findings, study
from experiments import exposure_bias_training as training
from experiments import exposure_bias_worlds as worlds
from experiments.chunk_choice import Method
from experiments.claim import BadFlag, Claim, Measurement, Settings

LEARNERS = ("tabular", "transformer")
SMOOTHING = 0.5  # labels added to every count
PARTS = 16  # of a transformer's fresh texts, each a replica of what they show

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
        "corpus": worlds.LIBRARY,
        "models": models,
        "texts": texts,
        "runs": runs,
    }
    for preset, names, length, chunks, vocabulary, width, layers, heads, rate, rounds, batch, models, texts, runs in (
        ("quick", ("recovering", "absorbing", "corpus"), 32, (1, 4), 6, 16, 1, 2, 1e-2, 40, 16, 1, 256, 12),
        ("default", worlds.NAMES, 64, (1, 4, 16), 8, 32, 1, 2, 5e-3, 100, 16, 2, 512, 32),
        ("full", worlds.NAMES, 256, (1, 4, 16, 64), 16, 256, 4, 8, 1e-3, 1000, 128, 4, 4096, 64),
    )
}


def methods(settings: Settings, learner: str) -> dict[str, Method]:
    """The frontier's methods that label every token once: fixed lengths asked for and T, schedules, controllers."""
    found = chunk_choice.methods(settings.length, settings.rounds, settings.batch)
    fixed = {f"k = {k}" for k in (*settings.chunks, settings.length)}
    return {
        name: method
        for name, method in found.items()
        if method.kind != "published"
        and (method.kind != "fixed" or name in fixed)
        and (learner == "tabular" or method.schedule.patience is None)
    }


def controller(every: Mapping[str, Method], name: str) -> training.Either | None:
    """A method's controller, as a choice among all."""
    options = {other: each.controller for other, each in every.items() if each.controller is not None}
    if name not in options:
        return None
    return training.Either(np.asarray(list(options).index(name)), tuple(options.values()))


def config(settings: Settings) -> transformer.Config:
    """The transformer's sizes."""
    sizes = settings.vocabulary, settings.length, settings.width, settings.layers, settings.heads
    return transformer.Config(*sizes)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a world, learner and method."""
    length = settings.length
    if settings.runs < 2:
        raise BadFlag("runs", f"{settings.runs} leaves no interval; allowed: whole numbers, 2 or more")
    for k in settings.chunks:
        if k > length or (k & (k - 1) and k != length):
            raise BadFlag("chunks", f"{k} is not allowed; allowed: powers of two up to {length}, the length, and it")
    if "transformer" in settings.learners:
        try:
            config(settings)
        except ValueError as error:
            raise BadFlag("heads", str(error)) from error
        if settings.texts % PARTS:
            raise BadFlag("texts", f"{settings.texts} cannot be cut in {PARTS} parts; allowed: multiples of {PARTS}")
    worlds.check(settings)
    text = {"text": worlds.digest(worlds.sizes(settings))} if "corpus" in settings.worlds else {}
    return [
        {"world": world, "learner": learner, "method": name} | (text if world == "corpus" else {})
        for world in settings.worlds
        for learner in settings.learners
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
    """Accumulated errors of every replica at l = 1, 2, 4, ..., T, after all rounds."""
    world, learner, of = cell["world"], cell["learner"], worlds.sizes(settings)
    every = methods(settings, learner)
    method, control, cost = every[cell["method"]], controller(every, cell["method"]), worlds.cost(world)
    number = settings.runs if learner == "tabular" else settings.models
    keys = [jax.random.fold_in(jax.random.key(settings.seed), run) for run in range(number)]
    judged: list[training.Judged] = []
    if learner == "tabular":
        batch, each, samplers, known = _tables(world, of, number)
        policies = training.train_tables(
            batch, samplers, method.schedule, control, jnp.stack(keys), SMOOTHING, episodes=settings.batch
        )
        judged = [
            training.judge_table(one, policy, cost) for one, policy in zip(each, np.asarray(policies), strict=True)
        ]
    else:
        known = [worlds.recoverability(worlds.problem(world, of, run)) for run in range(number)]
        for run, key in enumerate(keys):
            train, judge = jax.random.split(key)
            expert = worlds.writer(world, of, run)
            trained = training.train_transformer(
                config(settings), settings.rate, expert, method.schedule, control, train, episodes=settings.batch
            )
            judged.append(training.judge_transformer(expert, trained, cost, judge, settings.texts, PARTS))
    steps = 2 * number * settings.rounds * settings.batch * settings.length
    fixed = method.kind == "fixed"
    common = {"world": world, "algorithm": "chunked", "learner": learner, "method": cell["method"]}
    common |= {"kind": method.kind, "horizon": settings.length, "round": settings.rounds}
    common |= {"chunk": int(cell["method"].removeprefix("k = ")) if fixed else None}
    common |= {"interpreter": "exact" if learner == "tabular" else "sampled"}
    points = [
        common
        | {"run": run, "part": part, "length": length, "recoverability": known[run]}
        | {"gap": float(own.own_cost[part, place] - own.expert_cost[part, place])}
        | {name: float(getattr(own, name)[part, place]) for name in ("own_kl", "expert_kl", "own_tv", "expert_tv")}
        | {"tv_bound": float(own.expert_tv[part, :length].sum()) if learner == "tabular" else None}
        for run, own in enumerate(judged)
        for part in range(len(own.own_kl))
        for length in lengths(settings.length)
        for place in (length - 1,)
    ]
    return Measurement(points, steps)


def lengths(longest: int) -> list[int]:
    """Powers of two below T, and T."""
    return [2**n for n in range(longest.bit_length()) if 2**n < longest] + [longest]


FLAGS = (
    claim.names(
        "worlds", "Writers: one returns from garbage, one never, two are not in the learner's class.", worlds.NAMES
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
    claim.integers("texts", "Fresh texts on which a transformer is judged.", low=2 * PARTS, high=2**20, many=False),
    claim.Flag(
        "corpus",
        "Text that the corpus world's writer is fitted to: a file, or the help texts of Python's standard library.",
        f"{worlds.LIBRARY}, or the path of a text file in UTF-8",
        lambda text: text,
        many=False,
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
        "exactly and a transformer judged on fresh texts; and on two writers that see more than the table does. (With "
        "much text, a table that sees one token less than a Markov writer matches the law of what the writer sees: "
        "nothing accumulates then, and chunks make no difference. From two tokens less on they can.)"
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    verdict=exposure_bias_findings.verdict,
    figures=exposure_bias_figures.figures,
    flags=FLAGS,
    columns={
        "method": pa.string(),  # how the chunk length is chosen
        "kind": pa.string(),  # fixed, schedule or controller
        "length": pa.int64(),  # l; all errors are summed over the first l tokens
        "part": pa.int64(),  # of the fresh texts; 0 where the judgement is exact
        "own_kl": pa.float64(),  # R(l) in nats, at the learner's own prefixes
        "expert_kl": pa.float64(),  # l eps(l), at the writer's
        "own_tv": pa.float64(),  # R(l) of the 0-1 loss
        "expert_tv": pa.float64(),
        "tv_bound": pa.float64(),  # what own_tv cannot exceed; null where errors are sampled
        "recoverability": pa.float64(),  # u of the run's world
    },
)

if __name__ == "__main__":
    claim.run(CLAIM)
