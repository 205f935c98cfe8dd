"""Learned discriminators of text against the exact total variation of the chunk's laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import randomness, schedules
from dagger_jax.text import detectors, evidence, walk, writers

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


def test_counts_of_pairs_find_nearly_what_the_exact_ratio_knows():
    """Of two Markov writers of order 1 the ratio is a weighted sum of pairs, but for the first token's part (0.02
    allowed), and nothing is above the ratio. 3 standard errors of the smaller sample, the detector's test set.
    """
    row = evidence.alone(T)
    text = walk.play(EXPERT, LEARNER, row, KEY, jnp.arange(8000, dtype=jnp.uint32))
    best = evidence.by_offset(row, evidence.read(EXPERT, LEARNER, text).ratio).auc.value[T - 1]
    found = detectors.learned(text, V, 0, T - 1, gram=2).auc
    error = (found.high - found.low) / 4
    assert best - 0.02 - 3 * error < found.value < best + 3 * error


def test_counts_are_counts():
    np.testing.assert_array_equal(detectors.counts(np.array([[0, 1, 0, 1]]), 2, 2), [[0, 2, 1, 0]])
    for tokens, vocabulary, gram in ((2, 2, 3), (40, 2, 17), (4, 2, 0)):
        with pytest.raises(ValueError, match="has no table of counts"):
            detectors.counts(np.zeros((1, tokens), int), vocabulary, gram)


@pytest.mark.parametrize(("start", "length", "context"), [(1, 2, 0), (0, 4, 0), (3, 4, 0), (3, 2, 4)])
def test_only_chunks_are_judged(start, length, context):
    with pytest.raises(ValueError, match=r"must start at step|are not in texts"):
        detectors.learned(played(LEARNER, 8), V, start, length, context)
