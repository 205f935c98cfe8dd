"""Does this device draw what a CPU draws, and is what it computes exactly right?"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import randomness, schedules
from dagger_jax.family import family
from dagger_jax.precision import FULL, float64
from dagger_jax.tabular import exact, gallery, interaction, learners, rollout
from dagger_jax.text import walk, writers
from dagger_jax.types import Array, Problem, Schedule

RECORDED = Path(__file__).with_name("digests.json")
SIZE = 6  # rounds N and steps T of every row
EPISODES, TEXTS = 256, 1024
SEEDS = (0, 1)


@functools.cache
def rows() -> dict[str, Schedule]:
    """The family's schedules, [N, T] each."""
    return family(SIZE, SIZE)


@functools.cache
def worlds() -> dict[str, Problem]:
    """Chance in everything; states that the learner cannot tell apart; a walk in the wind."""
    return {
        "stochastic expert": gallery.random_mdp(SIZE, 4, 3, seed=13, temperature=0.15, concentration=0.3),
        "aliased states": gallery.random_mdp(SIZE, 8, 3, seed=5, observations=5),
        "tightrope": gallery.tightrope(SIZE),
    }


class Learned(NamedTuple):
    """What an algorithm saw in its rounds, in whole numbers."""

    novice: Array  # [..., N, T, S, A] how often a state and the expert's action there were seen
    guide: Array
    agreement: Array  # [..., N, T]


def learned(name: str, seed: int) -> Learned:
    """Every row of the family in one world, from the roll-out over the fit to the next roll-out."""
    problem, ids = worlds()[name], jnp.arange(EPISODES, dtype=jnp.uint32)
    tables = rollout.tables(problem)
    learner = learners.tabular(problem.world, learners.LogLoss(1.0), shared=False)

    def run(schedule: Schedule, key: Array) -> Any:
        interpreter = interaction.by_sampling(tables, randomness.words(key), ids)
        return interaction.run(problem, schedule, learner, interpreter, measure=lambda moment: moment.play).measured

    plays = jax.jit(jax.vmap(run, (0, None)))(schedules.stack(list(rows().values())), jax.random.key(seed))
    count = lambda shares: np.rint(np.asarray(shares, np.float64) * EPISODES).astype(np.int32)
    return Learned(count(plays.novice), count(plays.guide), count(plays.agreement))


def written(row: str, seed: int) -> np.ndarray:
    """The tokens of both walkers, two Markov writers. [2, T, B]"""
    expert, learner = (writers.random_markov(7, 2, seed=number) for number in (1, 2))
    key = randomness.for_round(randomness.words(jax.random.key(seed)), 0)
    play = jax.jit(lambda ids: walk.play(expert, learner, schedules.row(rows()[row], 0), key, ids))
    text = play(jnp.arange(TEXTS, dtype=jnp.uint32))
    return np.stack([np.asarray(text.novice, np.int32), np.asarray(text.guide, np.int32)])


WRITTEN = ("dagger, constant beta", "chunks of geometric length", "chunks of other lengths")


def drawn() -> Iterator[tuple[str, np.ndarray]]:
    """Every statistic of the fixed set, by name."""
    for world in worlds():
        for seed in SEEDS:
            seen = learned(world, seed)
            for field, values in seen._asdict().items():
                for place, row in enumerate(rows()):
                    yield f"{world}, seed {seed}, {row}: {field}", values[place]
    for row in WRITTEN:
        for seed in SEEDS:
            yield f"text, seed {seed}, {row}", written(row, seed)


def digest(values: np.ndarray) -> str:
    """Of shape and numbers."""
    return hashlib.sha256(repr(values.shape).encode() + np.ascontiguousarray(values, np.int32).tobytes()).hexdigest()[
        :16
    ]


def statistics(small: bool) -> Iterator[dict[str, Any]]:
    """The fixed set against the digests that a CPU recorded; what differs, against this machine's CPU."""
    recorded: Mapping[str, str] = json.loads(RECORDED.read_text())["digests"]
    found = dict(drawn())
    other = sorted(name for name, values in found.items() if recorded.get(name) != digest(values))
    told = {"compared": len(found), "recorded": len(recorded), "differing": len(other)}
    yield told | {"equal": not other and len(found) == len(recorded), "differences": other[:20]}
    if other:
        with jax.default_device(jax.devices("cpu")[0]):
            here = dict(drawn())
        lines = [_difference(name, found[name], here[name]) for name in other]
        yield {"differences": lines[:50], "also_on_this_cpu": sum(recorded.get(n) != digest(here[n]) for n in found)}


def _difference(name: str, values: np.ndarray, wanted: np.ndarray) -> dict[str, Any]:
    apart = np.abs(values.astype(np.int64) - wanted)
    return {"what": name, "numbers": values.size, "differing": int((apart > 0).sum()), "largest": int(apart.max())}


def exact_agrees(small: bool) -> Iterator[dict[str, Any]]:
    """The exact recursion here and on the CPU, the sampler against it, and matrix products against float64."""
    table, rng = schedules.stack(list(rows().values())), np.random.default_rng(0)
    first = jax.tree.map(lambda column: column[:, 0], table)
    recursion = float64(jax.vmap(exact.play, (None, None, 0)))
    apart, policies = {}, {}
    for name, problem in worlds().items():
        policies[name] = rng.dirichlet(np.ones(problem.world.actions), (SIZE, problem.world.states))
        here = recursion(problem, policies[name], first)
        with jax.default_device(jax.devices("cpu")[0]):
            there = recursion(problem, policies[name], first)
        differences = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), here, there)
        apart[name] = max(jax.tree.leaves(differences))
    told: dict[str, Any] = {"float64_largest_difference": apart, "float64_agrees": max(apart.values()) <= 1e-12}
    yield told
    name, episodes = "stochastic expert", 1 << (14 if small else 22)
    told["sampler"] = {"episodes": episodes, **_sampler(worlds()[name], policies[name], first, episodes)}
    yield told
    yield told | {"float32_products": _products()}


def _sampler(problem: Problem, policy: np.ndarray, first: Schedule, episodes: int) -> dict[str, Any]:
    """Costs and label frequencies of sampled episodes, in standard errors from the exact ones."""
    place = list(rows()).index("everything")
    row = jax.tree.map(lambda column: column[place], first)
    laws = exact.play(problem, policy, row)
    wanted = exact.frequencies(problem, laws)
    key = randomness.for_round(randomness.words(jax.random.key(7)), 0)
    play, kept = jax.jit(rollout.play)(
        rollout.tables(problem), policy, row, key, jnp.arange(episodes, dtype=jnp.uint32)
    )
    scores = []
    for seen, law in ((play.novice, wanted.novice), (play.guide, np.asarray(wanted.guide))):
        often = law * episodes >= 20
        error = np.sqrt(law * (1 - law) / episodes)[often]
        scores.append(np.abs((np.asarray(seen, np.float64) - law)[often] / error))
    z = np.concatenate(scores)
    cost = [
        abs(float(np.mean(np.asarray(seen, np.float64)) - law)) / float(np.std(np.asarray(seen)) / np.sqrt(episodes))
        for seen, law in ((kept.novice_cost, laws.novice_cost), (kept.guide_cost, laws.guide_cost))
    ]
    largest = float(max(z.max(), *cost))
    return {"compared": len(z) + 2, "largest_z": largest, "within_four_standard_errors": largest <= 4}


def _products() -> dict[str, Any]:
    """Relative errors of a float32 matrix product: as the library asks for it, and as the device does it by default."""
    left, right = np.random.default_rng(1).standard_normal((2, 512, 512))
    wanted = left @ right

    def error(precision: Any) -> float:
        ours = jnp.matmul(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32), precision=precision)
        return float(np.linalg.norm(np.asarray(ours, np.float64) - wanted) / np.linalg.norm(wanted))

    asked, unasked = error(FULL), error(None)
    return {"as_the_library_asks": asked, "by_default": unasked, "full_precision": asked < 1e-6}
