"""The sampler's tables and thresholds, exactly: what every possible word picks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import randomness, sampling

KEY = randomness.for_round(randomness.words(jax.random.key(7)), 0)


def shares(packed):
    """How many of the 2^32 words pick each entry, read off the packed table [..., E] without drawing."""
    entries = packed.shape[-1]
    width = entries.bit_length() - 1
    own = (packed >> width).astype(np.int64)
    other = (packed & np.uint32(entries - 1)).astype(np.int64)
    total = own.copy()
    for line in np.ndindex(packed.shape[:-1]):
        np.add.at(total[line], other[line], (1 << (32 - width)) - own[line])
    return total


def laws(size):
    """Uniform, random, nearly certain, certain, hugely skewed and holey laws of one size. [n, size]"""
    rng = np.random.default_rng(size)
    flat, dirichlet = np.full(size, 1 / size), rng.dirichlet(np.full(size, 0.05))
    skewed = np.where(np.arange(size) == size // 2, 1.0, 1e-9)
    powers = 0.5 ** np.arange(1, size + 1)
    holes = np.where(rng.random(size) < 0.5, 0.0, rng.random(size)) + np.eye(size)[-1]
    tiny = np.where(np.arange(size) == 0, 1.0, 1e-300)
    rows = np.stack([flat, rng.random(size), dirichlet, skewed, powers, holes, tiny, np.eye(size)[0], np.eye(size)[-1]])
    return rows / rows.sum(-1, keepdims=True)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 31, 32, 33, 100, 1000, 4097])
def test_alias_tables_represent_their_law(size):
    """Every share is within one word of p 2^32, but for the largest, which takes up all remainders."""
    law = laws(size)
    packed = sampling.alias(law)
    assert packed.dtype == np.uint32
    assert packed.shape == (len(law), max(2, 1 << (size - 1).bit_length()))
    share = shares(packed)
    assert (share.sum(-1) == 1 << 32).all()
    assert (share >= 0).all()
    assert (share[:, size:] == 0).all()  # entries beyond the last state are never drawn
    share = share[:, :size]
    assert (share[law == 0] == 0).all()  # the impossible stays impossible
    excess = share - law * 2.0**32
    largest = np.arange(size) == share.argmax(-1)[:, None]
    assert np.abs(excess[~largest]).max(initial=0) <= 1
    assert (np.abs(excess[largest]) <= size).all()
    assert (share[law * 2.0**32 >= 1 + 1e-6] > 0).all()


def test_alias_tables_of_dyadic_laws_are_exact():
    rng = np.random.default_rng(0)
    whole = rng.multinomial(1 << 32, rng.dirichlet(np.full(7, 0.3)), (3, 20))
    np.testing.assert_array_equal(shares(sampling.alias(whole / 2.0**32))[..., :7], whole)


@pytest.mark.parametrize("size", [1, 2, 3, 33])
def test_draw_reads_the_table_at_its_edges(size):
    """Words at both edges of every entry and of every threshold pick the outcome that the table states."""
    packed = sampling.alias(laws(size))
    entries = packed.shape[-1]
    width = entries.bit_length() - 1
    draws = jax.jit(sampling.draw)
    for line, table in enumerate(packed):
        for entry in range(entries):
            threshold, other = int(table[entry]) >> width, int(table[entry]) & (entries - 1)
            for low in {0, threshold - 1, threshold, (1 << (32 - width)) - 1} - {-1}:
                word = np.asarray((entry << (32 - width)) | low, np.uint32)
                assert draws(packed, word, line) == (entry if low < threshold else other)


def test_draws_follow_the_law():
    """Chi-square of 2^18 draws from each of 20 laws of 100 states; the 20 p-values are above 1e-4."""
    law = np.random.default_rng(1).dirichlet(np.full(100, 0.5), 20)
    words = randomness.bits(KEY, np.arange(2**18), 5, randomness.Use.MOVE).second
    drawn = jax.jit(jax.vmap(sampling.draw, (None, None, 0)))(sampling.alias(law), words, np.arange(20))
    for expected, outcome in zip(law * 2**18, np.asarray(drawn), strict=True):
        seen = np.bincount(outcome, minlength=100)
        often = expected >= 5
        pool = lambda x, often=often: np.append(x[often], x[~often].sum())
        assert stats.chisquare(pool(seen), pool(expected)).pvalue > 1e-4


# ---- actions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actions", [2, 3, 5, 8, 9, 17, 64])
def test_thresholds_are_the_policy(actions):
    """Within 4 float32 roundings of the cumulative sums; exactly no share for actions of probability 0."""
    rng = np.random.default_rng(actions)
    policy = rng.dirichlet(np.full(actions, 0.3), 5000)
    policy[rng.random(policy.shape) < 0.4] = 0.0
    policy[policy.sum(-1) == 0, -1] = 1.0
    policy /= policy.sum(-1, keepdims=True)
    inner = np.asarray(jax.jit(sampling.thresholds)(policy)).astype(np.int64)
    edges = np.concatenate([np.zeros((5000, 1), int), inner, np.full((5000, 1), 1 << 31)], -1)
    share = np.diff(edges)
    assert (share >= 0).all()
    assert (share[policy == 0] == 0).all()
    assert np.abs(share / 2.0**31 - policy).max() < 4 * 2.0**-23


@pytest.mark.parametrize("actions", [2, 3, 9])
def test_blends_are_mixtures(actions):
    """share p + (1 - share) q within 4 roundings; exactly p and q at 1 and 0; what neither takes stays untaken."""
    rng = np.random.default_rng(actions)
    possible = rng.random((500, actions)) < 0.6
    possible[:, rng.integers(actions)] |= ~possible.any(-1)
    first, second = rng.dirichlet(np.full(actions, 0.5), (2, 500)) * possible
    first, second = (p / p.sum(-1, keepdims=True) for p in (first, second))
    share = np.array([0.0, 0.1, 1 / 3, 0.9, 1.0], np.float32)
    p, q = (jax.jit(sampling.thresholds)(law[None]) for law in (first, second))
    mixed = np.asarray(jax.jit(sampling.blend)(share, p, q))
    np.testing.assert_array_equal(mixed[[0, 4]], np.concatenate([q, p]))
    np.testing.assert_array_equal(jax.jit(sampling.blend)(share, p, p), np.repeat(p, 5, 0))
    wanted = share[:, None, None] * np.cumsum(first, -1) + (1 - share[:, None, None]) * np.cumsum(second, -1)
    assert np.abs(mixed / 2.0**31 - wanted[..., :-1]).max() < 4 * 2.0**-23
    edges = np.concatenate([np.zeros((5, 500, 1)), mixed, np.full((5, 500, 1), 2.0**31)], -1)
    assert (np.diff(edges)[:, ~possible] == 0).all()


@pytest.mark.parametrize("word", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_extreme_words_never_take_impossible_actions(word):
    rng = np.random.default_rng(3)
    for actions in (2, 3, 5, 9):
        policy = rng.dirichlet(np.full(actions, 0.5), 2000) * (rng.random((2000, actions)) < 0.5)  # any sum
        policy[policy.sum(-1) == 0, rng.integers(actions)] = 1.0
        taken = jax.vmap(sampling.choose, (0, None))(sampling.thresholds(policy), jnp.uint32(word))
        assert (policy[np.arange(2000), np.asarray(taken)] > 0).all()


def test_uniform_stays_below_one_and_so_does_any_action():
    top = sampling.uniform(jnp.uint32(2**32 - 1))
    assert top == 1 - 2.0**-24
    for actions in range(2, 200):  # the noise picks action int(uniform x A)
        assert int(top * actions) == actions - 1
