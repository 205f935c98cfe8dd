"""Learned discriminators of text against the exact total variation of the chunk's laws."""

import jax
import jax.numpy as jnp
import pytest

from dagger_jax import randomness, schedules
from dagger_jax.tokens import detectors, evidence, walk, writers

V, T, K = 3, 6, 3
KEY = randomness.for_round(randomness.words(jax.random.key(7)), 0)
EXPERT, LEARNER = writers.random_markov(V, 1, seed=1), writers.random_markov(V, 1, seed=2)
ROW = schedules.row(schedules.chunked(1, schedules.starts(T, K)), 0)


def played(learner, texts=8000):
    return walk.play(EXPERT, learner, ROW, KEY, jnp.arange(texts, dtype=jnp.uint32))


def test_a_classifier_stays_below_the_best_accuracy():
    """The first chunk's laws are those of whole texts of K tokens; its interval covers with 95%, one seed."""
    best = (1 + evidence.text_variation(EXPERT, LEARNER, K)) / 2
    found = detectors.learned(played(LEARNER), V, 0, K)
    assert found.accuracy.low <= best
    assert found.accuracy.low > 0.55  # it finds most of it, with one weight a token and place
    assert found.p_value < 1e-6


def test_nothing_is_found_where_there_is_nothing():
    """Expert against itself, with context, in the second chunk; p below 0.001 once in a thousand seeds."""
    assert detectors.learned(played(EXPERT), V, K, K, context=2).p_value > 1e-3


@pytest.mark.parametrize(("start", "length", "context"), [(1, 2, 0), (0, 4, 0), (3, 4, 0), (3, 2, 4)])
def test_only_chunks_are_judged(start, length, context):
    with pytest.raises(ValueError, match=r"must start at step|are not in texts"):
        detectors.learned(played(LEARNER, 8), V, start, length, context)
