"""The golden record: what the engine computed when it was recorded, by name, in a small file.

Whole numbers are recorded as digests: they must come out bit for bit. Of floats two numbers are recorded, a norm and a
product with a fixed random direction: they must come out to rounding. Record anew only where a change of results is
intended: python -m tests.golden
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dagger_jax import controllers, gallery, randomness, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.family import family
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, interaction, rollout
from dagger_jax.text import losses, scheming, training, transformer, walk, writers

RECORD = Path(__file__).with_name("golden.json")
N = T = 6
IDS = jnp.arange(512, dtype=jnp.uint32)
KEY = jax.random.key(2011)


def told(values: Any) -> Any:
    """What is recorded of an array: shape and digest of whole numbers; norm, direction and precision of floats."""
    array = np.asarray(values)
    if np.issubdtype(array.dtype, np.floating):
        direction = np.random.default_rng(0).standard_normal(array.size)
        flat = array.astype(np.float64).ravel()
        finite = np.where(np.isfinite(flat), flat, 0.0)
        return [
            str(array.dtype),
            float(np.linalg.norm(finite)),
            float(finite @ direction),
            int(np.isfinite(flat).sum()),
        ]
    plain = np.ascontiguousarray(array.astype(np.int64))
    return hashlib.sha256(repr(plain.shape).encode() + plain.tobytes()).hexdigest()[:16]


def agrees(one: Any, other: Any) -> bool:
    """Whether two records are of the same values: floats to a few roundings of their precision."""
    if isinstance(one, str) or isinstance(other, str) or one[3] != other[3]:
        return one == other
    tolerance = (1e-10 if one[0] == other[0] == "float64" else 2e-5) * max(one[1], other[1], 1e-30)
    return abs(one[1] - other[1]) <= tolerance and abs(one[2] - other[2]) <= 4 * tolerance


def counts(shares: Any, episodes: int) -> np.ndarray:
    """Frequencies as whole numbers."""
    return np.rint(np.asarray(shares, np.float64) * episodes).astype(np.int64)


@functools.cache
def problem() -> Any:
    """Chance in the world, in the expert and, as it will turn out, in the learner; some states look alike."""
    return gallery.random_mdp(T, 4, 3, seed=15, temperature=0.1, concentration=0.3, observations=3)


# ---- tables ---------------------------------------------------------------------------------------------------------


def plays() -> Iterator[tuple[str, Any]]:
    """Every row of the family, its rounds as one batch, under random policies: sampled, and exactly."""
    tables, rng = rollout.tables(problem()), np.random.default_rng(1)
    policies = rng.dirichlet(np.ones(3), (N, T, 4))
    key = randomness.words(KEY)

    @jax.jit
    def sampled(policies: Any, rows: Any) -> Any:
        one = lambda policy, row, n: rollout.play(tables, policy, row, randomness.for_round(key, n), IDS, block=200)
        return jax.vmap(one)(policies, rows, jnp.arange(N))

    exactly_played = float64(jax.vmap(exact.play, (None, 0, 0)))
    for name, rows in family(N, T).items():
        play, kept = sampled(policies, rows)
        seen = {field: counts(values, len(IDS)) for field, values in play._asdict().items() if values is not None}
        yield f"play, {name}", seen | kept._asdict()
        laws = exactly_played(problem(), policies, rows)._asdict()
        yield f"exact, {name}", {field: values for field, values in laws.items() if values is not None}
    cut = schedules.row(schedules.chunked(1, schedules.starts(T, T)), 0)._replace(patience=jnp.full(T, 0.6))
    trace = jax.jit(rollout.trace)(tables, policies[0], cut, randomness.for_round(key, 0), IDS)
    yield "patience", {field: values for field, values in trace._asdict().items() if values is not None}


@functools.cache
def run_of(learner: Any, label: Any, gate: Any, controller: Any) -> Any:
    """A run of a schedule; rows with these in common share it, and are compiled once."""
    interpreter = interaction.by_sampling(rollout.tables(problem()), randomness.words(KEY), IDS)
    parts = {"gate": gate, "controller": controller, "label": label, "key": KEY, "episodes": float(len(IDS))}
    measure = lambda moment: (moment.play, moment.asked)
    return jax.jit(
        lambda schedule: interaction.run(problem(), schedule, learner, interpreter, measure=measure, **parts)
    )


def algorithms() -> Iterator[tuple[str, Any]]:
    """Every algorithm with its own label, learner, gate and controller: what its rounds saw, and how it ended."""
    for name, row in ALGORITHMS.items():
        run = run_of(row.learner(problem().world, False), row.label, row.gate, row.controller)
        outcome = run(row.build(N, T, 2))
        play, asked = outcome.measured
        seen = {field: counts(values, len(IDS)) for field, values in play._asdict().items() if values is not None}
        yield f"algorithm, {name}", seen | {"asked": asked, "newest": outcome.newest, "acting": outcome.acting}


# ---- text -----------------------------------------------------------------------------------------------------------

LENGTH, VOCABULARY = 8, 5
CONFIG = transformer.Config(VOCABULARY, LENGTH, width=8, layers=1, heads=2)


@functools.cache
def pairs() -> dict[str, tuple[Any, Any]]:
    """Experts and learners of every kind."""
    rng = np.random.default_rng(8)
    hidden = writers.Hidden(rng.dirichlet([1, 1], 2), rng.dirichlet(np.ones(VOCABULARY), 2), np.array([0.4, 0.6]))
    markov = writers.random_markov(VOCABULARY, 2, 1)
    frozen = writers.Frozen(CONFIG, transformer.init(CONFIG, jax.random.key(0)))
    garbage = writers.with_garbage(writers.random_markov(VOCABULARY - 1, 1, 2), 0.5)
    starts = np.asarray(schedules.starts(LENGTH, 4), float)
    schemer = scheming.Scheming(frozen, garbage, 0.0, 0.3, starts)
    return {
        "markov, markov": (markov, writers.random_markov(VOCABULARY, 1, 9, 2.0)),
        "hidden, transformer": (hidden, frozen),
        "transformer, markov": (frozen, markov),
        "garbage, schemer": (garbage, schemer),
    }


def texts() -> Iterator[tuple[str, Any]]:
    """What both walkers write, under coins and beta, with and without scheduled sampling."""
    key = randomness.for_round(randomness.words(KEY), 3)
    rng = np.random.default_rng(3)
    first = np.eye(LENGTH)[0]
    rows = {
        "chunks": schedules.chunked(1, schedules.starts(LENGTH, 3)),
        "coins and beta": schedules.table(
            1, LENGTH, join=np.maximum(rng.random(LENGTH), first), beta=rng.random(LENGTH), label_guide=1.0
        ),
    }
    play = jax.jit(walk.play)
    for pair, (expert, learner) in pairs().items():
        for name, schedule in rows.items():
            for copied in (None, 0.4):
                row = schedules.row(schedule, 0)
                row = row if copied is None else row._replace(copied=jnp.full(LENGTH, copied))
                text = play(expert, learner, row, key, IDS[:64])._asdict()
                yield f"text, {pair}, {name}, copied {copied}", {k: v for k, v in text.items() if v is not None}


def trained() -> Iterator[tuple[str, Any]]:
    """Learners of text after four rounds, by whose tokens are labelled and how."""
    expert, key, ids = pairs()["markov, markov"][0], randomness.words(KEY), IDS[:8]
    adam = optax.adam(1e-2)
    whole, alone = schedules.behavioural_cloning(4, LENGTH), schedules.dagger(4, LENGTH, jnp.linspace(1, 0, 4))
    chunks = schedules.chunked(4, schedules.starts(LENGTH, 3))
    cases: dict[str, tuple[Any, Any, Any]] = {
        "chunks": (training.Recipe(CONFIG, adam), chunks, None),
        "fine-tuning": (training.Recipe(CONFIG, adam, reads="guide"), whole, None),
        "own tokens, reverse KL": (training.Recipe(CONFIG, adam, losses.reverse_kl, "novice"), alone, None),
        "budget": (training.Recipe(CONFIG, adam), chunks, controllers.DetectabilityBudget(0.3)),
        "AIMD": (training.Recipe(CONFIG, adam, updates=2), chunks, controllers.AdditiveIncrease(0.9)),
        "scheduled sampling": (
            training.Recipe(CONFIG, adam, reads="novice", copied=True),
            schedules.scheduled_sampling(4, LENGTH, jnp.linspace(1, 0, 4)), None,
        ),
    }  # fmt: skip
    for name, (recipe, schedule, controller) in cases.items():
        state = training.begin(recipe, jax.random.key(2), controller)
        measure = lambda moment: (moment.loss, moment.labels, moment.row.join, moment.text.novice, moment.text.guide)
        state, seen = training.advance(
            recipe, expert, schedule, state, key, ids, rounds=4, controller=controller, measure=measure
        )
        params = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state.learner.params)])
        names = ("loss", "labels", "join", "novice", "guide")
        yield f"training, {name}", dict(zip(names, seen, strict=True)) | {"params": params}


def schemed() -> Iterator[tuple[str, Any]]:
    """The scheming learner in training, told where chunks start or not."""
    expert = pairs()["garbage, schemer"][0]
    recipe, ids = training.Recipe(CONFIG, optax.adam(1e-2)), IDS[:8]
    fresh = transformer.init(CONFIG, jax.random.key(3))
    for known in (False, True):
        for name, controller in (("k = 4", controllers.Fixed(4)), ("budget", controllers.DetectabilityBudget(0.4))):
            mind = scheming.begin(recipe, fresh, 0.3, controller)
            mind, seen = scheming.advance(
                recipe, expert, mind, randomness.words(KEY), ids, 0.0, 2.0, known=known, rounds=4, controller=controller
            )
            params = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(mind.learner.inner.params)])
            yield f"scheming, {name}, known {known}", seen._asdict() | {"params": params, "logit": mind.learner.logit}


# ---- the record -----------------------------------------------------------------------------------------------------

PARTS = {
    "plays": plays,
    "algorithms": algorithms,
    "texts": texts,
    "trained": trained,
    "schemed": schemed,
}


def found(part: str) -> dict[str, Any]:
    """What a part computes now, as it is recorded: {case: {field: record}}."""
    return {name: {field: told(values) for field, values in seen.items()} for name, seen in PARTS[part]()}


def main() -> None:
    """Records."""
    record = {part: found(part) for part in PARTS}
    RECORD.write_text(json.dumps(record, indent=0) + "\n")
    print({part: len(cases) for part, cases in record.items()})


if __name__ == "__main__":
    main()
