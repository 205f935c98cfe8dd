"""The one walk through a world of numbers: steps that are data, blocks, coins, moments, what a detector knows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import gallery, laws, randomness, schedules
from dagger_jax.tabular import exact, rollout
from dagger_jax.walk import Whole, walk
from tests.walked import CHUNKS, COINS, IDS, KEY, ROWS, T, played, same


class Drift(NamedTuple):
    """A number that drifts; it keeps the word that moved it. Of its T steps `length` are taken."""

    length: Any = None

    @property
    def horizon(self):
        return T

    def reset(self, word):
        return 1 + randomness.normal(word), word.first

    def observe(self, state, step):
        return state[0]

    def advance(self, state, action, step, word):
        noise = randomness.normal(word)
        return (state[0] + action + 0.3 * noise, word.first), jnp.clip(jnp.abs(state[0]), 0, 1)


class Gain(NamedTuple):
    """Answers a number by a share of it."""

    gain: Any
    scale: Any = 0.2

    def start(self):
        return ()

    def act(self, memory, view, step):
        view = view[0] if isinstance(view, tuple) else view  # the expert sees the state
        return (), laws.Normal(-self.gain * view, self.scale)


LINEAR = (Gain(0.6), Gain(0.4))


def test_any_number_of_steps_is_one_program():
    """The first steps are those of the whole, zeros beyond; the walkers stop there."""
    traced = []

    @jax.jit
    def one(length):
        traced.append(length)
        return walk(Drift(length), *LINEAR, CHUNKS, KEY, IDS, reduce=Whole())

    whole, last = jax.jit(lambda: walk(Drift(), *LINEAR, CHUNKS, KEY, IDS, reduce=Whole()))()
    for length in (0, 1, 5, T):
        shown, ends = one(jnp.int32(length))
        near = lambda a, b, n=length: np.testing.assert_allclose(a[:n], b[:n], rtol=1e-5, atol=1e-6)
        jax.tree.map(near, shown, whole)
        assert all(not np.any(leaf[length:]) for leaf in jax.tree.leaves(shown))
        if 0 < length < T:
            np.testing.assert_allclose(ends.novice.state[0], whole.novice[0][length], rtol=1e-5, atol=1e-6)
            same(ends.novice.state[1], whole.novice[1][length])
        same(ends.chunks, whole.joined[:length].sum(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ends, last)
    assert len(traced) == 1


def test_words_are_the_same_in_any_block():
    """Integers to the bit, floats to rounding; another order of episodes, too."""
    whole, ends = played(Drift(), *LINEAR, CHUNKS)
    order = np.random.default_rng(0).permutation(len(IDS))
    others = [(played(Drift(), *LINEAR, CHUNKS, block=block), np.arange(len(IDS))) for block in (7, 499)]
    for (shown, after), place in [*others, (played(Drift(), *LINEAR, CHUNKS, IDS[order]), order)]:
        same(shown.novice[1], whole.novice[1][:, place])
        same(shown.guide[1], whole.guide[1][:, place])
        same(shown.joined, whole.joined[:, place])
        np.testing.assert_allclose(shown.novice[0], whole.novice[0][:, place], rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(after.guide_cost, ends.guide_cost[place], rtol=1e-5, atol=2e-6)
    assert whole.together is None
    assert ends.parted is None


def test_nobody_acts_like_another_where_actions_are_numbers():
    """A learner that is the expert takes every step with it, to rounding; any other is off at once."""
    shown, _ = played(Drift(), LINEAR[0], LINEAR[0], CHUNKS)
    np.testing.assert_allclose(shown.acts, shown.guided, atol=2e-6)
    np.testing.assert_allclose(shown.novice[0], shown.guide[0], atol=2e-6)
    shown, _ = played(Drift(), *LINEAR, CHUNKS)
    assert (np.abs(shown.acts - shown.guided) > 1e-5).mean() > 0.99


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_a_coin_mixes_laws_of_numbers(beta):
    """The novice draws from the expert's law with probability beta, by a coin of its own."""
    row = CHUNKS._replace(beta=jnp.full(T, beta))
    shown, _ = played(Drift(), Gain(0.0, 0.0), Gain(1.0, 0.0), row)
    own = np.asarray(shown.acts != 0)
    assert abs(own.mean() - (1 - beta)) <= 4 * np.sqrt(beta * (1 - beta) / own.size)


class Shaken(Drift):
    """The same world, in which an action at random is anything in (-1, 1)."""

    def shaken(self, word):
        return 2 * randomness.uniform(word) - 1


def moments(row, gains):
    """Of both walkers at each step: E[x] and E[x^2], exactly. Jumps and coins mix laws, so both moments close."""

    def moved(at, gain):
        return np.array([(1 - gain) * at[0], (1 - gain) ** 2 * at[1] + 0.2**2 + 0.3**2])

    novice = guide = np.array([1.0, 2.0])
    both = []
    for step in range(T):
        join, back, beta, noise = (np.asarray(column)[step] for column in (row.join, row.back, row.beta, row.noise))
        novice, guide = (1 - back) * novice + back * guide, (1 - join) * guide + join * novice
        both.append([novice, guide])
        novice = beta * moved(novice, gains[0]) + (1 - beta) * moved(novice, gains[1])
        anywhere = np.array([guide[0], guide[1] + 1 / 3 + 0.3**2])
        guide = (1 - noise) * moved(guide, gains[0]) + noise * anywhere
    return np.array(both).transpose(1, 2, 0)


def test_moments_under_jumps_and_coins():
    """A linear world of numbers has an exact twin: every column mixes laws. 20,000 episodes, 4.5 standard errors."""
    row = schedules.row(ROWS["coins"]._replace(noise=COINS[2:]), 0)
    shown, _ = played(Shaken(), Gain(0.8), Gain(0.1), row, np.arange(20_000, dtype=np.uint32))

    def off(gains):
        found = []
        for state, wanted in zip((shown.novice[0], shown.guide[0]), moments(row, gains), strict=True):
            for power, moment in zip((1, 2), wanted, strict=True):
                values = np.asarray(state, float) ** power
                found.append(np.abs(values.mean(1) - moment) / (values.std(1) / np.sqrt(values.shape[1])))
        return np.max(found)

    assert off((0.8, 0.1)) < 4.5
    assert off((0.8, 0.15)) > 9  # the control


def test_the_world_and_the_action_have_noise_of_their_own():
    """Both come from one pair of words: neither tells of the other, nor of the next step's. 4 standard errors."""
    ids = np.arange(20_000, dtype=np.uint32)
    shown, _ = played(Drift(), Gain(0.0, 1.0), Gain(0.0, 1.0), CHUNKS, ids)
    acts, moved = np.asarray(shown.acts[0]), np.asarray(shown.novice[0][1] - shown.novice[0][0] - shown.acts[0]) / 0.3
    later = np.asarray(shown.acts[1])
    assert stats.kstest(acts, "norm").pvalue > 1e-3
    assert stats.kstest(moved, "norm").pvalue > 1e-3
    for one, other in ((acts, moved), (acts, later), (moved, later)):
        for of in (lambda x: x, np.abs):
            assert abs(np.corrcoef(of(one), of(other))[0, 1]) < 4 / np.sqrt(len(ids))


# ---- what a row may ask for ----------------------------------------------------------------------------


def test_what_a_world_cannot_do_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^schedule\.noise needs a world .* `shaken\(word\) -> action`$"):
        walk(Drift(), *LINEAR, schedules.row(ROWS["noise"], 0), KEY, IDS, reduce=Whole())
    with pytest.raises(ValueError, match=rf"^the schedule has 5 steps, the world's horizon is {T}$"):
        walk(Drift(), *LINEAR, schedules.row(schedules.dagger(1, 5), 0), KEY, IDS, reduce=Whole())


# ---- what a detector knows -----------------------------------------------------------------------------


def apart(distance, wanted, at_start):
    """The greatest deviation of the mean distance of each step from what it is to be, in standard errors."""
    distance, steps = np.asarray(distance, float), ~np.asarray(at_start)
    np.testing.assert_array_equal(distance[~steps], 0.0)
    error = distance.std(1) / np.sqrt(distance.shape[1])
    return np.abs((distance.mean(1) - wanted)[steps] / error[steps]).max()


def test_the_watched_distance_is_the_total_variation():
    """A deterministic expert's: 1 - overlap through the step before, in 20,000 episodes of a random world."""
    problem, rng = gallery.random_mdp(T, 3, 2, seed=5), np.random.default_rng(6)
    policy = 0.6 * problem.expert + 0.4 * rng.dirichlet(np.ones(2), problem.expert.shape[:2])
    world, ids = rollout.tables(problem), np.arange(20_000, dtype=np.uint32)
    shown, _ = played(world, *rollout.agents(world, policy), CHUNKS, ids, watched=True)
    before = np.roll(1 - np.asarray(exact.play(problem, policy, CHUNKS).overlap), 1)
    begun = np.asarray(CHUNKS.join) == 1
    assert apart(shown.distance, before, begun) < 4
    assert before[~begun].min() > 0.04
    assert apart(shown.distance, 1.1 * before, begun) > 4  # the control


def test_the_watched_distance_of_two_normal_laws():
    """After one step from a state x0: 2 Phi(|k - k'| |x0| / (2 s)) - 1, of the same states."""
    ids = np.arange(20_000, dtype=np.uint32)
    shown, _ = played(Drift(), *LINEAR, CHUNKS, ids, watched=True)
    mean = 0.2 * np.abs(np.asarray(shown.novice[0][0])) / 0.2
    off = np.asarray(shown.distance[1]) - (2 * stats.norm.cdf(mean / 2) - 1)
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(ids))
    assert shown.distance[1].mean() > 0.2
