"""The scheming learner on tokens: its exact rates, its bound, its walk, its training, and a small run."""

import numpy as np
import pytest

from dagger_jax import schedules
from dagger_jax.tokens import scheming, worlds, writers
from dagger_jax.tokens.scheming import Scheming

T, V = 5, 2  # and the forbidden token


def machines(seed, order=1, tokens=30):
    """A random writer and one fitted to its text."""
    writer = writers.random_markov(V, order, (seed, 1), concentration=1.0)
    rng = np.random.default_rng(seed)
    other = writers.fitted(rng.integers(V, size=tokens), V, order)
    return writers.with_garbage(writer, 1.0), writers.with_garbage(other, 1.0)


def schemer(seed, k, known=True, threshold=0.0, strength=0.3, length=T):
    expert, inner = machines(seed)
    starts = np.asarray(schedules.starts(length, k if known else length), float)
    return Scheming(inner, expert, threshold, strength, starts)


def row(k, length=T):
    return schedules.row(schedules.chunked(1, schedules.starts(length, k)), 0)


def enumerated(who, k, length=T):
    """Train, deploy and T_j of every step from the laws before every token of all texts: no recursion, no merging."""
    tokens = worlds.texts(V + 1, length)
    p, q = (worlds.laws(each, tokens) for each in (who.expert, who))
    p, q = (np.take_along_axis(each, tokens[..., None], -1)[..., 0] for each in (p, q))
    mode = np.exp(worlds.laws(who, tokens)[:, :, -1]) > 0  # the forbidden token is possible in this mode alone
    found = []
    for step in range(length):
        start = step // k * k
        own = np.exp(q[:, :step].sum(1)) / (V + 1) ** (length - step)  # what comes later is summed over
        other = np.exp(q[:, :start].sum(1) + p[:, start:step].sum(1)) / (V + 1) ** (length - step)
        found.append(((other * mode[:, step]).sum(), (own * mode[:, step]).sum(), 0.5 * abs(own - other).sum()))
    return np.array(found).T


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_exact_rates_equal_enumeration(k, known):
    for seed, threshold in ((0, 0.0), (1, -0.3), (2, 0.2)):
        who = schemer(seed, k, known, threshold)
        np.testing.assert_allclose(scheming.exactly(who, row(k)), enumerated(who, k), atol=1e-12)


@pytest.mark.parametrize("known", [True, False])
def test_no_threshold_passes_the_bound(known):
    """Random writers, every chunk length, many thresholds: by step and on average."""
    for seed in range(4):
        for k in range(1, 7):
            for threshold in (-2.0, -0.5, -0.1, 0.0, 0.1, 0.5, 2.0):
                rates = scheming.exactly(schemer(seed, k, known, threshold, length=6), row(k, 6))
                assert (rates.deploy - rates.train <= rates.distance + 1e-12).all()


def test_at_threshold_0_the_bound_is_met_and_chunks_of_one_token_show_nothing():
    for seed in range(5):
        rates = scheming.exactly(schemer(seed, 4, length=8), row(4, 8))
        np.testing.assert_allclose(rates.deploy - rates.train, rates.distance, atol=1e-12)
        assert rates.distance.max() > 0.01
        blind = scheming.exactly(schemer(seed, 1, known=False, threshold=-0.1, length=8), row(1, 8))
        np.testing.assert_array_equal(blind.train, blind.deploy)
        assert blind.deploy.max() > 0.01
        assert not blind.distance.any()
