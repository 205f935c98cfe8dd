"""The sampler's tables and thresholds, exactly: what every possible word picks."""

from typing import Any

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


def words(thresholds) -> Any:
    """How many of the 2^32 words pick each action, read off thresholds [..., A - 1]. [..., A] int64"""
    thresholds = np.asarray(thresholds)
    assert thresholds.dtype == np.uint32
    below = np.where(thresholds == sampling.NEVER, 1 << 32, thresholds.astype(np.int64))
    edges = [np.zeros((*below.shape[:-1], 1), np.int64), below, np.full((*below.shape[:-1], 1), 1 << 32)]
    return np.diff(np.concatenate(edges, -1))


def holey(rng, actions, count):
    """Random laws, two fifths of them impossible actions. [count, A]"""
    law = rng.dirichlet(np.full(actions, 0.3), count)
    law[rng.random(law.shape) < 0.4] = 0.0
    law[law.sum(-1) == 0, -1] = 1.0
    return law / law.sum(-1, keepdims=True)


BUILT = pytest.mark.parametrize("built", [sampling.exact_thresholds, jax.jit(sampling.thresholds)], ids=["host", "jit"])


@BUILT
@pytest.mark.parametrize("actions", [1, 2, 3, 5, 8, 9, 17, 64, 296, 5000, 49152])
def test_thresholds_are_the_policy(actions, built):
    """p 2^32 words but for one, or two where a threshold is stored as the one before; the likeliest action, which has
    the rest, but for A. None where p is 0. Under jit p is of float32, and each is off by its rounding, too.
    """
    law = holey(np.random.default_rng(actions), actions, 2_000_000 // max(actions, 400))
    share = words(built(law))
    assert (share >= 0).all()
    assert (share[law == 0] == 0).all()
    single = 0 if built is sampling.exact_thresholds else 2.0**-22
    likeliest = law == law.max(-1, keepdims=True)
    off = np.where(likeliest, single + actions * 2.0**-32, 2.0**-31 + single * law)
    assert (np.abs(share / 2.0**32 - law) <= off).all()
    assert (share[law > 2.0**-31] > 0).all()


@BUILT
@pytest.mark.parametrize("rare", [1e-8, 1e-7, 3e-6])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_rare_actions_have_their_words(place, rare, built):
    """Of all 2^32 words: p 2^32 up to one, where a float32 near 1 has steps of 2^-24. First, middle and last."""
    law = np.insert([0.25, 0.0, 0.7, 0.05], place, rare)
    law[law == 0.7] -= rare
    share = words(built(law))
    assert abs(share[place] - rare * 2.0**32) <= 1
    assert share[law == 0] == 0


@BUILT
def test_the_likes_of_certain_actions(built):
    """All words, none, all but one, which is stored as all but two; one action alone."""
    np.testing.assert_array_equal(words(built(np.eye(5))), np.eye(5, dtype=np.int64) << 32)
    np.testing.assert_array_equal(built(np.ones((3, 1))), np.zeros((3, 0)))
    almost = words(built(np.array([1 - 2.0**-32, 2.0**-32])))
    assert almost[1] in (1, 2)


@BUILT
def test_an_impossible_action_among_hundreds_is_never_taken(built):
    """Zeros at the head, in the middle, at the tail; and one word that float32 sums give to an impossible action."""
    rng = np.random.default_rng(68)
    law = rng.random(296)
    impossible = rng.integers(1, 296)
    law[impossible] = 0
    law /= law.sum()
    taken = int(sampling.choose(built(law), jnp.uint32(0xFBBC6600)))
    assert law[taken] > 0
    assert taken != impossible
    laws = rng.random((200, 700)) * np.repeat([0, 1, 0, 1, 0], [40, 210, 200, 210, 40])
    assert (words(built(laws))[laws == 0] == 0).all()
    ends = jax.vmap(sampling.choose, (None, 0))(built(laws[0]), jnp.asarray([0, 2**32 - 1], jnp.uint32))
    np.testing.assert_array_equal(ends, np.flatnonzero(laws[0])[[0, -1]])


@pytest.mark.parametrize("kind", ["uniform", "softmax", "peaked", "mostly impossible"])
def test_a_vocabularys_law(kind):
    """V = 49,152 tokens: a law misses its float32 probabilities by their rounding and by at most one word per token.

    The likeliest token has what the others miss, so that the total variation is at most V 2^-32.
    """
    rng, size = np.random.default_rng(0), 49_152
    logits = {"uniform": 0.0, "softmax": 3.0, "peaked": 12.0, "mostly impossible": 3.0}[kind] * rng.normal(size=size)
    logits[:5] = logits[-5:] = -1e30
    if kind == "mostly impossible":
        logits[rng.random(size) < 0.99] = -1e30
    law = np.asarray(jax.nn.softmax(jnp.asarray(logits, jnp.float32)), np.float64)
    share = words(jax.jit(sampling.thresholds)(law.astype(np.float32)))
    assert (share[law == 0] == 0).all()
    law /= law.sum()
    off = np.abs(share / 2.0**32 - law)
    others = np.arange(size) != law.argmax()
    assert (off[others] <= 2.0**-31 + 2.0**-22 * law[others]).all()
    assert 0.5 * off.sum() <= 2.0**-22 + size * 2.0**-32


def test_rare_actions_are_drawn_as_often_as_they_should_be():
    """One common action and 4,096 of probability 2^-25, half a step of float32 near 1; 2^23 words.

    1,024 rare ones are expected: within 4 standard errors, and by the remainders of their indices modulo 4 equally
    often, p > 1e-4. A sum in float32 gives two of four neighbours everything.
    """
    law = np.append(1 - 4096 * 2.0**-25, np.full(4096, 2.0**-25))
    drawn = np.asarray(randomness.bits(KEY, np.arange(2**23), 5, randomness.Use.MOVE).first)
    for built in (sampling.exact_thresholds, jax.jit(sampling.thresholds)):
        cumulative = built(law)
        rare = drawn[drawn >= np.uint32(0.999 * 2**32)]  # those of the common action alone are not looked at
        taken = np.asarray(jax.jit(jax.vmap(sampling.choose, (None, 0)))(cumulative, rare))
        taken = taken[taken > 0]
        assert abs(len(taken) - 1024) < 4 * 32
        assert stats.chisquare(np.bincount(taken % 4, minlength=4)).pvalue > 1e-4


@pytest.mark.parametrize("actions", [2, 3, 9, 300])
def test_blends_are_mixtures(actions):
    """share p + (1 - share) q up to a word; exactly p and q at 1 and 0; what neither takes stays untaken."""
    rng = np.random.default_rng(actions)
    possible = rng.random((500, actions)) < 0.6
    possible[:, rng.integers(actions)] |= ~possible.any(-1)
    first, second = rng.dirichlet(np.full(actions, 0.5), (2, 500)) * possible
    first, second = (law / np.maximum(law.sum(-1, keepdims=True), 1e-300) for law in (first, second))
    first[:5], second[:5] = np.eye(actions)[0], np.eye(actions)[-1]  # far apart
    possible[:5] = True
    share = np.array([0.0, 1e-9, 0.1, 1 / 3, 0.9, 1 - 2**-24, 1.0], np.float32)
    p, q = (jax.jit(sampling.thresholds)(law[None]) for law in (first, second))
    mixed = np.asarray(jax.jit(sampling.blend)(share[:, None, None], p, q))
    np.testing.assert_array_equal(mixed[[0, -1]], np.concatenate([q, p]))
    np.testing.assert_array_equal(jax.jit(sampling.blend)(share[:, None, None], p, p), np.repeat(p, len(share), 0))
    each = words(mixed)
    assert (each >= 0).all()
    assert (each[:, ~possible] == 0).all()
    weight = share.astype(float)[:, None, None]
    wanted = weight * words(p) + (1 - weight) * words(q)
    assert np.abs(each - wanted).max() <= 3  # two thresholds, each up to one; the last may be stored as the one before


@pytest.mark.parametrize("word", [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1])
def test_extreme_words_never_take_impossible_actions(word):
    rng = np.random.default_rng(3)
    for actions in (2, 3, 5, 9):
        policy = rng.dirichlet(np.full(actions, 0.5), 2000) * (rng.random((2000, actions)) < 0.5)  # any sum
        policy[policy.sum(-1) == 0, rng.integers(actions)] = 1.0
        for built in (sampling.exact_thresholds, sampling.thresholds):
            taken = jax.vmap(sampling.choose, (0, None))(built(policy), jnp.uint32(word))
            assert (policy[np.arange(2000), np.asarray(taken)] > 0).all()


# ---- coins ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chance", [0.0, 1e-9, 1e-8, 1e-7, 0.1, 1 / 3, 0.5, 0.9, 1 - 2**-24, 1.0])
def test_a_coin_shows_heads_for_its_share_of_all_words(chance):
    """floor(p 2^32) words of 2^32, p to float32; 0 is never, 1 always."""
    chance = np.float32(chance)
    limit = jax.jit(sampling.limit)(chance)
    share = int(float(chance) * 2**32)
    edges = [word for word in (0, share - 1, share, 2**32 - 2, 2**32 - 1) if 0 <= word < 2**32]
    got = [bool(sampling.heads(jnp.uint32(word), limit)) for word in edges]
    assert got == [word < share for word in edges]


def test_coins_of_an_array_are_coins():
    chances = np.random.default_rng(0).random(100).astype(np.float32)
    drawn = randomness.bits(KEY, np.arange(100), 5, randomness.Use.MEET).first
    got = jax.jit(lambda p: sampling.heads(drawn, sampling.limit(p)))(chances)
    np.testing.assert_array_equal(got, np.asarray(drawn) < chances.astype(float) * 2**32)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 100, 296, 49_152, 70_000])
def test_any_outcome_is_equally_likely(count):
    """Outcome i has the words from ceil(i 2^32 / n) on: floor or ceil of 2^32 / n of them."""
    outcome = np.unique(np.linspace(0, count - 1, 100).astype(np.int64))
    first = -(-outcome * 2**32 // count)
    np.testing.assert_array_equal(sampling.any_of(count, first.astype(np.uint32)), outcome)
    np.testing.assert_array_equal(sampling.any_of(count, (first[1:] - 1).astype(np.uint32)), outcome[1:] - 1)
    assert sampling.any_of(count, jnp.uint32(2**32 - 1)) == count - 1


def test_high_is_the_upper_half_of_a_product():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2**32, (2, 10_000), dtype=np.uint64)
    first[:4], second[:4] = (0, 2**32 - 1, 2**32 - 1, 1), (5, 2**32 - 1, 1, 2**32 - 1)
    got = jax.jit(sampling.high)(*(x.astype(np.uint32) for x in (first, second)))
    np.testing.assert_array_equal(got, first * second >> np.uint64(32))
