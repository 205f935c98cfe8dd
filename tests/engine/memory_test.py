"""What a run takes: flat in the rounds, linear in the episodes with the constants of `walk`, refused beyond that."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

import dagger_jax as dj
from dagger_jax import memory, randomness, schedules, walk
from dagger_jax.tabular import interaction, learners, rollout
from dagger_jax.types import Intervention

T, S = 6, 7
PROBLEM = dj.gallery.random_mdp(T, S, 3, stationary=True)
TABLES = rollout.tables(PROBLEM)
EVERY = {name: np.full(T, 0.2) for name in ("join", "back", "beta", "noise", "copied", "patience")}


def taken(function: Any, *arguments: Any) -> Any:
    """The bytes that the compiled program takes: (arguments, temporaries, results)."""
    found: Any = jax.jit(function).lower(*arguments).compile().memory_analysis()
    return np.array([found.argument_size_in_bytes, found.temp_size_in_bytes, found.output_size_in_bytes])


def ids(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint32)


def test_memory_is_flat_in_the_rounds():
    """Between 2 and 512 rounds nothing grows but the schedule that is handed in."""
    learner = learners.tabular(PROBLEM.world, learners.Majority(), False)

    def fitted(rounds):
        schedule = dj.schedule("geometric:3", rounds, T)

        def fit(problem, tables, schedule, key, episodes):
            plays = interaction.by_sampling(tables, randomness.words(key), episodes)
            return interaction.run(problem, schedule, learner, plays).newest

        given = sum(leaf.nbytes for leaf in jax.tree.leaves(schedule))
        return taken(fit, PROBLEM, TABLES, schedule, jax.random.key(0), ids(64)) - [given, 0, 0]

    few, many = fitted(2), fitted(512)
    np.testing.assert_allclose(many, few, rtol=0, atol=64)  # of alignment


@pytest.mark.parametrize("row", ["alone", "every column, and a gate"])
def test_memory_is_linear_in_the_episodes(row):
    """Up to a block by at most `BYTES` each, of which an episode of all columns takes nearly all; then by `KEPT`."""
    alone = row == "alone"
    columns = {"join": np.eye(T)[0]} if alone else EVERY
    gate = None if alone else Intervention(np.full((T, S), 0.3), np.full((T, S), 0.3))
    asked = schedules.row(schedules.table(1, T, **columns, label_novice=1.0), 0)
    key = randomness.for_round(randomness.words(jax.random.key(0)), 0)
    play = functools.partial(rollout.play, alone=alone)
    block = walk.block_size()
    counts = (block // 4, block // 2, block, 8 * block, 16 * block)
    bytes_ = [taken(play, TABLES, PROBLEM.expert, asked, key, ids(count), gate).sum() for count in counts]
    each = np.diff(bytes_) / np.diff(counts)
    assert (each[:2] < walk.BYTES + walk.KEPT).all()
    assert each[1] > (walk.BYTES / 8 if alone else walk.BYTES / 2)
    assert each[1] == pytest.approx(each[0], rel=0.2)
    assert each[-1] == pytest.approx(walk.KEPT, abs=0.1)
    assert bytes_[-1] - bytes_[0] < walk.room(counts[-1])


def test_episodes_beyond_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "host", lambda: 2**30)
    message = r"^episodes=100000000 would take 2\.3 GiB \(2,501,048,576 bytes\), and 1\.0 GiB are free$"
    with pytest.raises(ValueError, match=message):
        dj.train("dagger", PROBLEM, rounds=1, episodes=10**8, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"episodes must be at least 1 per round, and at most 2\^32, got 4294967297"):
        dj.train("dagger", PROBLEM, rounds=1, episodes=2**32 + 1, key=jax.random.key(0))


def test_the_memory_of_a_device_counts_where_it_has_its_own(monkeypatch):
    monkeypatch.setattr(memory, "device", lambda: 1000)
    memory.require("an array", 1001)
    with pytest.raises(ValueError, match=r"^an array would take 1001 bytes .*, and 1000 bytes are free; ask for less$"):
        memory.require("an array", 1001, on_device=True, instead="; ask for less")
