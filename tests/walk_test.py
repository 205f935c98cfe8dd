"""The one walk: worlds that end early, steps that are data, what a detector knows, actions that are numbers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import gallery, laws, loops, randomness, schedules
from dagger_jax.randomness import Use
from dagger_jax.tabular import exact, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem
from dagger_jax.walk import Whole, walk

KEY = randomness.for_round(randomness.words(jax.random.key(2)), 0)
IDS = np.arange(500, dtype=np.uint32)
T = 8


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def played(world, expert, learner, row, ids=IDS, **options):
    """(Step, Walkers) of the whole, compiled."""
    one = lambda world, expert, learner, row: walk(world, expert, learner, row, KEY, ids, reduce=Whole(), **options)
    return jax.jit(one)(world, expert, learner, row)


# ---- worlds that end early -----------------------------------------------------------------------------

EDGE = 4  # states 0..EDGE; both ends end the episode


class Edges(NamedTuple):
    """A walk on integers that ends at either edge."""

    inner: Any  # the tables of the same walk, in which it would go on from there

    @property
    def horizon(self):
        return self.inner.horizon

    def reset(self, word):
        return self.inner.reset(word)

    def observe(self, state, step):
        return state

    def advance(self, state, action, step, word):
        return self.inner.advance(state, action, step, word)

    def shaken(self, word):
        return self.inner.shaken(word)

    def ended(self, state):
        return (state == 0) | (state == EDGE)


def problems(apart=False):
    """The walk without an end, whose every step costs 1, with its end as a free absorbing state, and a learner.

    Both act alike at the edges, unless they are to be `apart` there.
    """
    states, rng = np.arange(EDGE + 1), np.random.default_rng(2)
    down, up = np.eye(EDGE + 1)[(states - 1) % (EDGE + 1)], np.eye(EDGE + 1)[(states + 1) % (EDGE + 1)]
    going = np.stack([0.8 * down + 0.2 * up, 0.3 * down + 0.7 * up], axis=1)
    edges = np.isin(states, (0, EDGE))
    absorbed = np.where(edges[:, None, None], np.eye(EDGE + 1)[:, None], going)
    expert, learner = rng.dirichlet([1, 1], (2, EDGE + 1))
    expert[edges], learner[edges] = [1, 0], [0, 1] if apart else [1, 0]
    start = np.array([0.0, 0.3, 0.4, 0.3, 0.0])
    make = lambda move, cost: Problem(tabular.world(move, cost, start, T), expert[None])
    ones = np.ones((EDGE + 1, 2))
    return make(going, ones), make(absorbed, np.where(edges[:, None], 0.0, ones)), learner[None]


COINS = np.random.default_rng(3).uniform(0, 0.6, (3, T)) * (np.arange(T) > 0)
ENDING = {
    "cloning": schedules.behavioural_cloning(1, T),
    "chunks": schedules.chunked(1, schedules.starts(T, 3)),
    "dagger": schedules.dagger(1, T, np.array([0.4])),
    "excursions": schedules.reset(1, schedules.starts(T, 3)),
    "coins": schedules.table(
        1, T, join=np.where(np.arange(T) % 2, 0, COINS[0]) + np.eye(T)[0], back=COINS[1] * (np.arange(T) % 2), beta=0.3
    ),
    "noise": schedules.chunked(1, schedules.starts(T, 4))._replace(noise=COINS[2:]),
}


@pytest.mark.parametrize("name", ENDING)
def test_an_end_is_a_free_absorbing_state(name):
    """To the bit; but noise still moves the hand of a walker in a table, where nobody acts after the end."""
    going, absorbed, policy = problems()
    row = schedules.row(ENDING[name], 0)
    world = Edges(rollout.tables(going))
    shown, ends = played(world, *rollout.agents(world.inner, policy), row)
    wanted = jax.jit(rollout.trace)(rollout.tables(absorbed), policy, row, KEY, IDS)
    _, kept = jax.jit(rollout.play)(rollout.tables(absorbed), policy, row, KEY, IDS)
    shared = ("novice", "asked", "acts", "guide", "intended", "guided")
    for field in shared + (() if name == "noise" else ("together",)):
        same(getattr(shown, field), getattr(wanted, field))
    same(shown.lives, ~world.ended(wanted.novice))
    same(shown.guide_lives, ~world.ended(wanted.guide))
    same(shown.joined, wanted.joined & shown.guide_lives)
    same((ends.novice_cost, ends.guide_cost), (kept.novice_cost, kept.guide_cost))
    same(ends.chunks, shown.joined.sum(0))
    if name != "noise":
        same(ends.parted, kept.parted)
    assert 0.1 < np.mean(shown.lives & shown.guide_lives) < 0.9


@pytest.mark.parametrize("name", ENDING)
def test_every_living_step_costs_and_counts_once(name):
    """Every living step costs 1: so the steps that live, of the walker that is labelled, are the cost."""
    world, row = Edges(rollout.tables(problems()[0])), schedules.row(ENDING[name], 0)
    shown, ends = played(world, *rollout.agents(world.inner, problems()[2]), row)
    for lives, cost in ((shown.lives, ends.novice_cost), (shown.guide_lives, ends.guide_cost)):
        np.testing.assert_array_equal(lives.sum(0), cost)
    if row.back is None:
        assert not (~shown.lives[:-1] & shown.lives[1:]).any()  # nobody comes back to life but by a jump
        still = shown.novice[1:] == shown.novice[:-1]
        assert still[~shown.lives[:-1]].all()
    revived = ~shown.guide_lives[:-1] & shown.guide_lives[1:]
    assert not (revived & ~shown.joined[1:]).any()
    if name == "dagger":
        same(shown.guide_lives, shown.lives)


def test_who_is_at_an_end_does_nothing():
    """Where both are at an end their hands say nothing, though they would differ; a living one's do."""
    going, _, policy = problems(apart=True)
    world, row = Edges(rollout.tables(going)), schedules.row(ENDING["cloning"], 0)
    shown, ends = played(world, *rollout.agents(world.inner, policy), row)
    differ = (shown.acts != shown.guided) & (shown.lives | shown.guide_lives)
    same(ends.parted, jnp.where(differ.any(0), differ.argmax(0), T))
    same(shown.together, jnp.cumsum(differ, axis=0) == 0)
    over = ~(shown.lives | shown.guide_lives)
    assert (shown.acts != shown.guided)[over].all()  # the control: they would have parted there
    assert shown.together[-1][over[-1]].any()


# ---- worlds of numbers ---------------------------------------------------------------------------------


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
CHUNKS = schedules.row(ENDING["chunks"], 0)


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
    row = schedules.row(ENDING["coins"]._replace(noise=COINS[2:]), 0)
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
        walk(Drift(), *LINEAR, schedules.row(ENDING["noise"], 0), KEY, IDS, reduce=Whole())
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


# ---- laws and numbers ----------------------------------------------------------------------------------


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


# ---- the loop over steps and rounds --------------------------------------------------------------------


def body(carry, x):
    return carry * 2 + x["a"], {"sum": carry + x["b"].sum(), "odd": carry % 2 == 1}


TURNS = {"a": jnp.arange(6), "b": jnp.arange(12.0).reshape(6, 2)}


def test_a_scan_without_length_is_that_of_jax():
    same(loops.scan(body, jnp.int32(1), TURNS), jax.lax.scan(body, jnp.int32(1), TURNS))


def test_a_scan_takes_as_many_turns_as_it_is_told():
    """One program, the body traced no more often than by any length; zeros beyond; under vmap over what is carried."""
    traced = []

    def counted(carry, x):
        traced.append(None)
        return body(carry, x)

    scan = jax.jit(lambda length, init: loops.scan(counted, init, TURNS, length))
    for length in range(7):
        carry, ys = scan(jnp.int32(length), jnp.int32(1))
        cut = jax.tree.map(lambda leaf, n=length: leaf[:n], TURNS)
        wanted, first = jax.lax.scan(body, jnp.int32(1), cut)
        assert carry == wanted
        same(jax.tree.map(lambda leaf, n=length: leaf[:n], ys), first)
        assert not any(np.any(leaf[length:]) for leaf in jax.tree.leaves(ys))
    assert len(traced) == 1
    inits = jnp.arange(5)
    many = jax.vmap(lambda init: loops.scan(body, init, TURNS, jnp.int32(4)))(inits)
    same(many[0], jax.vmap(lambda init: loops.scan(body, init, jax.tree.map(lambda x: x[:4], TURNS))[0])(inits))
