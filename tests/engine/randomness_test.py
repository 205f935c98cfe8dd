"""The generator against its published answers and jax's own, and the counters that the engine feeds it.

Every statistic below is a fixed function of fixed keys: nothing is flaky, and no seed was searched for.
"""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import randomness
from dagger_jax.randomness import Use, Words

KEY = randomness.words(jax.random.key(20251))

# Random123 1.14, tests/kat_vectors: (rounds, counter, key, answer).
KNOWN = [
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (13, (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFD36D048, 0x2D17272C)),
    (13, (0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (20, (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    (20, (0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    (32, (0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xE2827716, 0xC3C05CDF)),
]


def uint32(*values) -> Words:
    return Words(*(jnp.asarray(value, jnp.uint32) for value in values))


def grid(rounds: int, episodes: int, steps: int, uses: int = len(Use)) -> np.ndarray:
    """The engine's words on neighbouring counters. [round, episode, step, use, 2]"""
    n, b, t, use = np.indices((rounds, episodes, steps, uses))
    return np.stack(jax.jit(randomness.bits)(randomness.for_round(KEY, n), b, t, use), -1)


@pytest.mark.parametrize(("rounds", "counter", "key", "answer"), KNOWN)
def test_known_answers_of_random123(rounds, counter, key, answer):
    assert tuple(map(int, randomness.threefry(uint32(*key), uint32(*counter), rounds))) == answer


def test_twenty_rounds_are_the_default_and_equal_jax():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2**32, (2, 10_000), np.uint32)
    key = rng.integers(0, 2**32, 2, np.uint32)
    ours = np.concatenate(randomness.threefry(uint32(*key), uint32(first, second)))
    theirs = jax.extend.random.threefry_2x32(key, np.concatenate([first, second]))
    np.testing.assert_array_equal(ours, theirs)


def test_words_of_a_key_are_its_data_and_broadcast():
    keys = jax.random.split(jax.random.key(3), 5)
    both = randomness.words(keys)
    np.testing.assert_array_equal(np.stack(both, -1), jax.random.key_data(keys))
    batched = randomness.bits(Words(both.first[:, None], both.second[:, None]), np.arange(7), 3, Use.MOVE)
    one = randomness.bits(randomness.words(keys[4]), np.asarray(6), 3, Use.MOVE)
    assert batched.first.shape == (5, 7)
    assert (batched.first[4, 6], batched.second[4, 6]) == tuple(one)


def test_no_two_uses_share_a_counter():
    """Under one round's key threefry is a bijection of 64-bit counters, so equal counters are equal words.

    Across rounds, and against the round keys, equal words could be a coincidence: n = 330,000 words collide
    with probability n^2 / 2^65 < 1e-8. Episodes and steps include the ends of their ranges.
    """
    episodes = np.concatenate([np.arange(40), 2 ** np.arange(6, 32) - 1, 2**32 - 1 - np.arange(5)])
    steps = np.concatenate([np.arange(40), 2 ** np.arange(6, 30) - 1, 2**30 - 1 - np.arange(3)])
    rounds = np.array([0, 1, 2, 3, 255, 256, 65_535, 2**31, 2**32 - 1])
    n, b, t, use = np.meshgrid(rounds, episodes, steps, np.arange(len(Use)), indexing="ij")
    tuples = np.unique(np.stack([n, b, t, use], -1).reshape(-1, 4), axis=0).astype(np.uint32)
    n, b, t, use = tuples.T
    assert len(tuples) > 100_000
    drawn = randomness.bits(randomness.for_round(KEY, n), b, t, use)
    keys = randomness.for_round(KEY, rounds.astype(np.uint32))
    everything = np.concatenate([np.stack(drawn, -1), np.stack(keys, -1)])
    assert len(np.unique(everything, axis=0)) == len(everything)


def test_uses_are_four_and_fill_the_counter():
    assert sorted(Use) == list(range(len(Use)))  # counter 4 step + use: dense, so steps below 2^30 never clash
    assert len(Use) == 4


@pytest.mark.parametrize("rounds", [13, 20])
def test_bytes_are_uniform_on_structured_counters(rounds):
    """Chi-square of each of the 8 bytes over 2^18 low-entropy counters: 8 p-values in (1e-4, 1 - 1e-4)."""
    b, t = np.indices((2**10, 2**8), dtype=np.uint32)
    drawn = np.stack(randomness.threefry(KEY, Words(b.ravel(), t.ravel()), rounds), -1).astype("<u4")
    octets = drawn.view(np.uint8).reshape(-1, 8)
    for octet in octets.T:
        p = stats.chisquare(np.bincount(octet, minlength=256)).pvalue
        assert 1e-4 < p < 1 - 1e-4


def test_the_statistic_sees_a_weak_generator():
    """The control: four rounds of the same cipher, on the same counters, are not uniform."""
    b, t = np.indices((2**10, 2**8), dtype=np.uint32)
    drawn = np.stack(randomness.threefry(KEY, Words(b.ravel(), t.ravel()), 4), -1).astype("<u4")
    octets = drawn.view(np.uint8).reshape(-1, 8)
    assert min(stats.chisquare(np.bincount(octet, minlength=256)).pvalue for octet in octets.T) < 1e-12


AXES = {"round": 0, "episode": 1, "step": 2, "use": 3}


@pytest.mark.parametrize("axis", AXES)
def test_neighbours_are_uncorrelated(axis):
    """Lag-1 and lag-2 correlations of neighbouring rounds, episodes, steps and uses.

    Words against words: r sqrt(n) is standard normal; 4 pairs of words x 2 lags. Bits against bits: every of the
    64 bits flips for half of the neighbours; 64 z-values. About 70 comparisons an axis, each within 4.5: a right
    generator fails with probability 5e-4 an axis.
    """
    words = grid(16, 64, 64)
    for lag in (1, 2):
        size = words.shape[AXES[axis]]
        here = np.take(words, np.arange(size - lag), AXES[axis]).reshape(-1, 2)
        there = np.take(words, np.arange(lag, size), AXES[axis]).reshape(-1, 2)
        x, y = here / 2.0**32 - 0.5, there / 2.0**32 - 0.5
        r = 12 * x.T @ y / len(x)
        assert np.abs(r).max() * np.sqrt(len(x)) < 4.5
    flips = np.unpackbits((here ^ there).astype(">u4").view(np.uint8).reshape(-1, 8), axis=1)
    z = (flips.mean(0) - 0.5) * 2 * np.sqrt(len(flips))
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("axis", AXES)
def test_neighbouring_pairs_are_jointly_uniform(axis):
    """Chi-square of (top 4 bits, top 4 bits of the disjoint neighbour): 256 cells, expected above 250 each."""
    words = np.moveaxis(grid(16, 64, 64), AXES[axis], 0) >> 28
    pairs = words[0::2] * 16 + words[1::2]
    for k in range(2):
        p = stats.chisquare(np.bincount(pairs[..., k].ravel(), minlength=256)).pvalue
        assert 1e-4 < p < 1 - 1e-4


def test_the_two_words_of_a_draw_are_independent():
    """Joint chi-square of the top 4 bits of both words, and of the low 4 bits."""
    words = grid(16, 64, 64).reshape(-1, 2)
    for nibble in (words >> 28, words & 15):
        p = stats.chisquare(np.bincount(nibble[:, 0] * 16 + nibble[:, 1], minlength=256)).pvalue
        assert 1e-4 < p < 1 - 1e-4


def test_keys_one_bit_apart_share_nothing():
    """Seeds 0..63 at the same counters: pairwise correlation of 2016 pairs, n = 4096 words each."""
    keys = randomness.words(jax.vmap(jax.random.key)(np.arange(64)))
    drawn = randomness.bits(Words(keys.first[:, None], keys.second[:, None]), np.arange(4096), 0, Use.MOVE)
    r = np.corrcoef(np.asarray(drawn.first, float))
    off = r[np.triu_indices(64, 1)] * np.sqrt(4096)
    assert np.abs(off).max() < 4.7  # 2016 normals exceed 4.7 with probability 5e-3
    assert 0.9 < off.std() < 1.1
