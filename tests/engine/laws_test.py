"""Laws of numbers, and the numbers that words become: fixed keys, 4 standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import laws, randomness
from dagger_jax.randomness import Use
from tests.walked import KEY, same


def words(count, use=Use.MOVE):
    return randomness.bits(KEY, jnp.arange(count, dtype=jnp.uint32), 0, use)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_uniform_and_normal_numbers(shape):
    """Open interval, mean, variance, Kolmogorov-Smirnov; components of one pair of words are independent."""
    count = 20_000
    flat = jax.vmap(lambda word: randomness.uniform(word, shape))(words(count))
    bell = jax.vmap(lambda word: randomness.normal(word, shape))(words(count))
    assert flat.shape == bell.shape == (count, *shape)
    assert flat.dtype == bell.dtype == jnp.float32
    assert 0 < flat.min() < 1e-3
    assert 1 - 1e-3 < flat.max() < 1
    for numbers, law in ((flat, stats.uniform()), (bell, stats.norm())):
        columns = np.asarray(numbers, float).reshape(count, -1)
        assert np.abs(columns.mean(0) - law.mean()).max() < 4 * law.std() / np.sqrt(count)
        spread = np.sqrt((law.stats("k") + 2) / count) * law.var()
        assert np.abs(columns.var(0) - law.var()).max() < 4 * spread
        assert all(stats.kstest(column, law.cdf).pvalue > 1e-3 for column in columns.T)
        if shape:
            assert np.abs(np.corrcoef(columns.T) - np.eye(*shape * 2)).max() < 4 / np.sqrt(count)


def test_normal_laws():
    law, other = laws.Normal(jnp.array([1.0, -2.0]), jnp.array([0.5, 2.0])), laws.Normal(jnp.array([4.0, 2.0]), 1.0)
    drawn = jax.vmap(law.draw)(words(20_000))
    same(drawn, jax.vmap(law.draw)(words(20_000)))
    standard = (np.asarray(drawn) - [1, -2]) / [0.5, 2.0]
    assert all(stats.kstest(column, "norm").pvalue > 1e-3 for column in standard.T)
    wanted = stats.norm.logpdf(drawn[:5], [1, -2], [0.5, 2]).sum(-1)
    np.testing.assert_allclose(jax.vmap(law.log_prob)(drawn[:5]), wanted, rtol=1e-5)
    assert law.error(other) == pytest.approx(5.0)
    mixed = jax.vmap(lambda coin: law.mix(jnp.float32(0.3), other, coin))(words(20_000, Use.GATE).second)
    taken = np.asarray(mixed.mean[:, 0] == 4.0)
    np.testing.assert_array_equal(np.asarray(mixed.scale)[:, 0], np.where(taken, 1.0, 0.5))
    assert abs(taken.mean() - 0.3) < 4 * np.sqrt(0.21 / 20_000)


def test_points():
    law, other = laws.Point(jnp.array([3.0, 0.0])), laws.Point(jnp.array([0.0, 4.0]))
    word = jax.tree.map(lambda leaf: leaf[0], words(1))
    same(law.draw(word), law.action)
    assert law.log_prob(law.action) == 0
    assert law.log_prob(other.action) == -np.inf
    assert law.error(other) == pytest.approx(5.0)
    same(law.mix(jnp.ones(()), other, word.second), other)
    same(law.mix(jnp.zeros(()), other, word.second), law)
    assert laws.Point(jnp.int32(2)).error(laws.Point(jnp.int32(2))) == 0
