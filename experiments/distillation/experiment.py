"""Distillation on the learner's own texts and on the writer's, against chunks: GKD over lambda and divergence.

python -m experiments.distillation --out=DIR
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from dagger_jax import schedules
from dagger_jax.text import writers

from .. import claim
from ..claim import BadFlag, Claim, Drawings, Finding, Flag, Measurement, Settings
from ..shared import needs
from ..shared import text as exposure_bias_text
from . import figures as drawn
from . import findings
from . import methods as ways

_SIZES: Mapping[str, Any] = {
    "worlds": ways.WORLDS,
    "corpus": exposure_bias_text.LIBRARY,
    "tokens": "character",
    "vocabulary": 8,
    "order": 2,
    "concentration": 0.1,
    "length": 32,
    "width": 8,
    "layers": 1,
    "heads": 2,
    "dtype": "float32",
    "rounds": 240,
    "batch": 32,
    "rate": 0.005,
    "lambdas": (0.0, 0.5, 1.0),
    "divergences": ("forward", "jsd:0.1", "jsd:0.5", "jsd:0.9", "reverse"),
    "chunks": (1, 4, 8),
    "alpha": 0.2,
    "texts": 128,
    "judgements": 6,
    "timings": 2,
    "runs": 8,
}
SWEEP: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        **_SIZES,
        "worlds": ("markov",),
        "rounds": 180,
        "length": 16,
        "lambdas": (0.0, 1.0),
        "divergences": ("forward", "reverse"),
        "chunks": (1, 4),
        "judgements": 6,
        "timings": 1,
    },
    "default": _SIZES,
    "full": {
        **_SIZES,
        "vocabulary": 32,
        "length": 128,
        "width": 64,
        "layers": 2,
        "rounds": 4000,
        "batch": 128,
        "rate": 0.002,
        "lambdas": (0.0, 0.25, 0.5, 0.75, 1.0),
        "chunks": (1, 4, 32),
        "texts": 512,
        "judgements": 10,
        "timings": 5,
        "runs": 8,
    },
}


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A block a world and method; one for the seconds that each method takes, and one for what k = 1 is."""
    if settings.runs < 2:
        raise BadFlag("runs", f"{settings.runs} gives no interval; allowed: 2 or more")
    if max(settings.chunks) >= settings.length:
        allowed = f"1 to {settings.length - 1} (a chunk of the whole text is supervised fine-tuning, always measured)"
        raise BadFlag("chunks", f"{max(settings.chunks)} is not below the length {settings.length}; allowed: {allowed}")
    if settings.rounds % settings.judgements:
        raise BadFlag("rounds", f"{settings.rounds} is not a multiple of {settings.judgements}, the judgements")
    own = [round(fraction * settings.batch) for fraction in settings.lambdas]
    if len(set(own)) < len(own) or any(n == 0 and f > 0 for n, f in zip(own, settings.lambdas, strict=True)):
        raise BadFlag("lambdas", f"they are not told apart by whole texts of a batch of {settings.batch}")
    try:
        ways.config(settings)
    except ValueError as error:
        name = "heads" if "heads" in str(error) else "width"
        raise BadFlag(name, str(error)) from error
    exposure_bias_text.check(settings, "text")
    for world in settings.worlds:
        try:
            ways.experts(settings, world)
        except (ValueError, MemoryError) as error:
            raise BadFlag("order", str(error)) from error
    names = ways.methods(settings)
    # Another text behind the same path is another block of work.
    each = {
        world: {"world": world} | ({"text": exposure_bias_text.digest(settings)} if world == "text" else {})
        for world in settings.worlds
    }
    return [
        *(each[world] | {"method": name, "what": "training"} for world in settings.worlds for name in names),
        each[settings.worlds[0]] | {"method": None, "what": "one token"},
        each[settings.worlds[0]] | {"method": None, "what": "seconds"},
    ]


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """One block. The seconds are as the machine was; all else is the same bits each time."""
    experts = ways.experts(settings, cell["world"])
    match cell["what"]:
        case "seconds":
            return _seconds(settings, experts)
        case "one token":
            return _one_token(settings, experts)
    method = ways.methods(settings)[cell["method"]]
    recipe = ways.recipe(settings, method)
    _, train, judge = ways.keys(settings)
    states = ways.begin(settings)
    each = settings.rounds // settings.judgements
    common = {name: cell[name] for name in ("world", "method", "what")} | ways.described(settings, method)
    points, labels = [], np.zeros(settings.runs)
    for n in range(0, settings.rounds + 1, each):
        seen = jax.device_get(ways.judge(recipe.config, experts, states.learner.params, judge, settings.texts))
        points += [common | {"round": n} | point for point in ways.points(settings, seen, n, labels)]
        if n < settings.rounds:
            states, _, charged = ways.train(
                recipe,
                experts,
                method.schedule,
                states,
                train,
                batch=settings.batch,
                rounds=each,
            )
            labels = labels + np.asarray(charged, float).sum(1)
    written = settings.rounds * settings.batch + (settings.judgements + 1) * settings.texts
    return Measurement(points, 2 * settings.runs * settings.length * written)


def _one_token(settings: Settings, experts: writers.Machine) -> Measurement:
    """Tokens that differ between chunks of one token and labels at the learner's own prefixes, and the losses."""
    asked, chunks = ways.chunks_of_one(settings)
    states, train = ways.begin(settings), ways.keys(settings)[1]
    each, losses = settings.rounds // settings.judgements, []
    for method in (asked, chunks):
        recipe = ways.recipe(settings, method)
        _, loss, _ = ways.train(recipe, experts, method.schedule, states, train, batch=settings.batch, rounds=each)
        losses.append(np.asarray(loss[:, 0], float))
    recipe = ways.recipe(settings, asked)
    rows = schedules.stack([schedules.row(method.schedule, 0) for method in (asked, chunks)])
    text = ways.write(recipe.config, experts, states.learner.params, rows, train, settings.batch)
    differing = np.asarray(text.asked[:, 0] != text.guide[:, 1]).sum((1, 2))
    common = {"world": settings.worlds[0], "what": "one token", "round": 1, "horizon": settings.length}
    return Measurement(
        [
            common | {"run": run, "differing": int(differing[run]), "apart": abs(losses[0][run] - losses[1][run])}
            for run in range(settings.runs)
        ]
    )


def _seconds(settings: Settings, experts: writers.Machine) -> Measurement:
    """Seconds a round of one run, in a batch of all runs: the median of several blocks, methods in turn."""
    states, train = jax.block_until_ready(ways.begin(settings)), ways.keys(settings)[1]
    each = settings.rounds // settings.judgements
    methods = ways.methods(settings)
    seen: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(settings.timings + 1):  # the first may compile
        for name, method in methods.items():
            recipe = ways.recipe(settings, method)
            started = time.perf_counter()
            done = ways.train(recipe, experts, method.schedule, states, train, batch=settings.batch, rounds=each)
            jax.block_until_ready(done)
            if turn:
                seen[name].append((time.perf_counter() - started) / each / settings.runs)
    points = [
        {"method": name, "what": "seconds", "seconds": float(np.median(values))}
        | ways.described(settings, methods[name])
        | {"fastest": min(values), "slowest": max(values)}
        for name, values in seen.items()
    ]
    return Measurement(points)


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """See `distillation_findings`."""
    return findings.verdict(settings, table)


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Fitting the writer's texts against writing like it; every method's ratio; accumulation; lambda."""
    found = findings.collect(table)
    return {
        "ratios": partial(drawn.ratios, found),
        "plane": partial(drawn.plane, found),
        "lambda": partial(drawn.over_lambda, found),
        "accumulated": partial(drawn.accumulated, found),
    }


def _label(text: str) -> str | None:
    return text if ways.divergence(text) is not None else None


CLAIM = Claim(
    name="distillation",
    title="Distillation on own texts or on the writer's, against chunks",
    statement=(
        "A learner is given the same number of a writer's labels in several ways: tokens of the writer's own texts "
        "(supervised fine-tuning), chunks of k tokens that continue the learner's prefixes, or its whole law at the "
        "learner's or its own prefixes (GKD: a share lambda of texts is the learner's, the divergence is chosen), "
        "at the prefixes of a mixture of both (MiniLLM's roll-in, without its policy gradient), or tokens of a "
        "reference that it has left (scheduled sampling). One label, a token or a law, is one label a token of text. "
        "Which learner is nearer to the writer on its own texts, at equal labels and at equal wall time? The "
        "learner is too small to represent the writer, so that it matters what it is charged for. Markov writers are "
        "peaked: one wrong token leads to prefixes that they seldom write. Text is a smoothed model of a corpus, whose "
        "contexts are common. Divergences are computed from both laws at every prefix; "
        "only prefixes are sampled."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.distillation,
    timed=True,
    verdict=verdict,
    figures=figures,
    tables=lambda settings, table: {"methods": findings.summary(table)},
    flags=(
        claim.names("worlds", "Writers to imitate.", ways.WORLDS),
        *exposure_bias_text.FLAGS,
        claim.integers("vocabulary", "Vocabulary V, in tokens.", low=2, high=4096, many=False),
        claim.integers("order", "Order of the writers, in tokens.", low=0, high=16, many=False),
        claim.numbers("concentration", "Of the Dirichlet law of Markov writers.", above=0, high=100, many=False),
        claim.integers("length", "Length T of a text, in tokens.", low=2, high=4096, many=False),
        claim.integers("width", "The learner's width.", low=1, high=8192, many=False),
        claim.integers("layers", "The learner's layers.", low=1, high=64, many=False),
        claim.integers("heads", "The learner's heads; the width is a multiple, by an even number.", low=1, many=False),
        claim.names("dtype", "The learner's arithmetic.", ("float32", "bfloat16"), many=False),
        claim.integers("rounds", "Rounds N of training, one gradient step each.", low=1, high=10**6, many=False),
        claim.integers("batch", "Texts a round.", low=1, high=10**5, many=False),
        claim.numbers("rate", "Adam's learning rate.", above=0, high=1, many=False),
        claim.numbers("lambdas", "GKD's shares of texts by the learner.", low=0, high=1),
        Flag("divergences", "GKD's divergences.", "forward, reverse, jsd:BETA with BETA between 0 and 1", _label),
        claim.integers("chunks", "Chunk lengths k below T, in tokens.", low=1),
        claim.numbers("alpha", "The writer's share of MiniLLM's mixture.", low=0, high=1, many=False),
        claim.integers("texts", "Texts to judge a learner on.", low=2, high=10**6, many=False),
    ),
    columns={
        "method": pa.string(),
        "what": pa.string(),  # training, seconds, one token
        "kind": pa.string(),  # supervised, chunks, GKD, mixture, scheduled sampling
        "labelled": pa.string(),  # sampled tokens, or the divergence between whole laws
        "fraction": pa.float64(),  # lambda; null where there is none
        "handovers": pa.float64(),  # a text
        "labels": pa.int64(),  # of the writer that were charged so far, a run: tokens or laws
        "length": pa.int64(),  # tokens l that the columns below are summed over
        "own_kl": pa.float64(),  # R(l): KL(writer || learner) at the learner's prefixes, nats
        "own_reverse": pa.float64(),  # KL(learner || writer) there: of whole texts, by the chain rule
        "own_variation": pa.float64(),  # total variation there, summed over tokens
        "writers_kl": pa.float64(),  # l eps(l): KL(writer || learner) at the writer's prefixes, of whole texts
        "writers_reverse": pa.float64(),
        "writers_variation": pa.float64(),
        "excess": pa.float64(),  # ExAccErr(l), per cent
        "excess_stderr": pa.float64(),
        "seconds": pa.float64(),  # a round of one run, median; fastest and slowest beside it
        "fastest": pa.float64(),
        "slowest": pa.float64(),
        "differing": pa.int64(),  # tokens asked for in one round that differ between two ways to say k = 1
        "apart": pa.float64(),  # of their losses, nats
    },
)
