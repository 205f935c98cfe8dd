"""One list of properties, and every algorithm goes through it: all rows of the zoo, and rows nobody has named.

The world has stochastic transitions and a stochastic expert, the learner's policies are stochastic too.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import gallery, randomness, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.family import family
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, interaction, learners, rollout

N = T = 6
EPISODES = 8192  # a round: 1.8 million over the family
PROBLEM = gallery.random_mdp(T, 4, 3, seed=13, temperature=0.15, concentration=0.3)
WORLD = rollout.tables(PROBLEM)
LEARNER = learners.tabular(PROBLEM.world, learners.LogLoss(1.0), shared=False)
KEY = jax.random.key(2011)
FAMILY = family(N, T)
STRATEGIES = {name for name, row in ALGORITHMS.items() if row.strategy}
EVERY = pytest.mark.parametrize("name", FAMILY)
traces = []


def run(schedule, key, episodes):
    """One algorithm, sampled; what every round showed, and how it ended."""
    traces.append(episodes.shape)
    interpreter = interaction.by_sampling(WORLD, randomness.words(key), episodes)
    measure = lambda moment: (moment.acting, moment.play)
    return interaction.run(PROBLEM, schedule, LEARNER, interpreter, measure=measure)


ONE = jax.jit(run)
IDS = jnp.arange(EPISODES, dtype=jnp.uint32)


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@functools.cache
def everyone():
    """All algorithms in one vmapped call, the same rounds once more for their costs, and their exact laws."""
    table = schedules.stack(list(FAMILY.values()))
    outcome = jax.jit(jax.vmap(run, (0, None, None)))(table, KEY, IDS)
    acting, plays = outcome.measured

    def again(policy, row, n):
        return rollout.play(WORLD, policy, row, randomness.for_round(randomness.words(KEY), n), IDS)

    replayed, kept = jax.jit(jax.vmap(jax.vmap(again), (0, 0, None)))(acting, table, jnp.arange(N))
    same(replayed, plays)
    laws = float64(jax.vmap(jax.vmap(exact.play, (None, 0, 0)), (None, 0, 0)))(PROBLEM, acting, table)
    return jax.device_get((outcome, kept)) + (laws,)


def results(name):
    index = list(FAMILY).index(name)
    return jax.tree.map(lambda leaf: leaf[index], everyone())


@EVERY
def test_shapes_and_validity(name):
    schedule = schedules.validate(FAMILY[name])
    assert schedule.patience is None
    assert schedule.copied is None
    for column, values in schedules.filled(schedule)._asdict().items():
        if column not in ("patience", "copied"):
            assert values.shape == ((N,) if column in ("mixing_rate", "retain") else (N, T))
    outcome, kept, laws = results(name)
    acting, play = outcome.measured
    assert outcome.newest.shape == outcome.acting.shape == (T, 4, 3)
    assert acting.shape == play.novice.shape[:1] + (T, 4, 3) == play.guide.shape
    assert kept.novice_cost.shape == kept.parted.shape == (N, EPISODES)
    np.testing.assert_allclose(outcome.newest.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(play.novice.sum((-2, -1)), 1, atol=1e-5)
    assert laws.novice.dtype == np.float64


@EVERY
def test_vmap_is_a_loop_and_a_seed_its_bits(name):
    """The vmapped row, the row alone, and once more: the same bits in everything. Another seed: others."""
    outcome, _, _ = results(name)
    alone = ONE(FAMILY[name], KEY, IDS)
    same(alone.measured, outcome.measured)
    same(alone.memory, outcome.memory)
    same(ONE(FAMILY[name], KEY, IDS), alone)
    other = ONE(FAMILY[name], jax.random.key(2012), IDS)
    for walker in ("novice", "guide"):
        one, two = (np.asarray(getattr(o.measured[1], walker)) for o in (alone, other))
        assert (one != two).any((1, 2, 3)).all()  # in every single round


@EVERY
def test_jit_changes_nothing(name):
    """Three rounds of 32 episodes op by op. All counts are equal; policies within 2 roundings of float32.

    XLA may fuse a multiplication and an addition in the mixture of policies: hence not bit for bit there.
    """
    short = jax.tree.map(lambda column: column[:3], FAMILY[name])
    compiled = jax.jit(run)(short, KEY, IDS[:32])
    with jax.disable_jit():
        plain = run(short, KEY, IDS[:32])
    same(plain.measured[1], compiled.measured[1])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=3e-7, atol=1e-7), plain, compiled)


def test_compiles_once_for_all_algorithms():
    """Once for all whose columns are filled alike; at most once for every set of columns that are None."""
    for rows, programs in (
        ([schedules.filled(schedule, *FAMILY.values()) for schedule in FAMILY.values()], 1),
        (list(FAMILY.values()), len({jax.tree.structure(schedule) for schedule in FAMILY.values()})),
    ):
        traces.clear()
        fresh = jax.jit(run)
        for seed, schedule in enumerate(rows):
            fresh(schedule, jax.random.key(seed), IDS[:16])
        assert traces == [(16,)] * programs
    assert programs < 6


# ---- sampled = exact -----------------------------------------------------------------------------------


def label_scores(play, laws):
    """z of every label frequency (step, state, action) of both walkers, pooled over rounds. [2 T S A]

    Given the policy that acted, a round's counts are multinomial, and rounds are independent. Cells that
    expect less than 20 counts are left out: they are not normal.
    """
    wanted = exact.frequencies(PROBLEM, laws)
    seen, law = (np.stack([np.asarray(p.novice), np.asarray(p.guide)], 1).astype(float) for p in (play, wanted))
    variance = (law * (1 - law)).sum(0) / EPISODES
    z = (seen - law).sum(0) / np.sqrt(np.maximum(variance, 1e-30))
    often = law.sum(0) * EPISODES >= 20
    assert often.mean() > 0.9
    return z[often]


@EVERY
def test_sampled_labels_are_exact(name):
    """All |z| <= 4: 2,894 of them, so that a right engine fails with probability 0.18 at most. First seed tried.

    Algorithms with equal tables are one row here: they differ in what `zoo_family_test` adds: label, learner, gate.

    And of the chi-squares of states, one for each walker and step over all rounds, 12 a row, every p-value is
    above 1e-4.
    """
    outcome, _, laws = results(name)
    play = outcome.measured[1]
    assert np.abs(label_scores(play, laws)).max() <= 4
    for seen, law in ((play.novice, laws.novice), (play.guide, laws.guide)):
        terms = EPISODES * (seen.astype(float).sum(-1) - law) ** 2 / law  # [N, T, S]
        assert (law * EPISODES).min() > 5
        assert stats.chi2.sf(terms.sum((0, 2)), N * (law.shape[-1] - 1)).min() > 1e-4


@EVERY
def test_sampled_agreement_is_exact(name):
    """Shares that acted alike since the chunk's start, of each step over all rounds: 6 |z| <= 4 a row, 222 in all."""
    outcome, _, laws = results(name)
    seen, law = np.asarray(outcome.measured[1].agreement, float), laws.agreement
    error = np.sqrt((law * (1 - law)).sum(0) / EPISODES)
    assert (np.abs((seen - law).sum(0)) <= 4 * error + 1e-5).all()  # 1e-5: float32 shares, 6 rounds
    if name == "noise":  # the control: another coupling is seen
        assert (np.abs((seen - laws.overlap).sum(0)) > 10 * error)[1:].all()


@EVERY
def test_sampled_costs_are_exact(name):
    """Mean cost of the novice, of the guide and their coupled difference, over all rounds: 3 |z| <= 4 a row."""
    _, kept, laws = results(name)
    costs, wanted = [
        np.stack([x.novice_cost, x.guide_cost, x.novice_cost - x.guide_cost]).astype(float) for x in (kept, laws)
    ]
    error = np.sqrt(costs.var(-1).sum(-1) / EPISODES)
    difference = (costs.mean(-1) - wanted).sum(-1)
    assert (np.abs(difference) <= 4 * error + 1e-4).all()  # 1e-4: float32 sums, 6 rounds
    assert (error < 0.1).all()


def test_the_comparison_is_not_blind():
    """The control: 0.06 more noise, beta or jumps in the exact table than in the sampled one is seen."""
    assert len(FAMILY) * N * EPISODES >= 200_000
    for name, column in (("noise", "noise"), ("dagger, constant beta", "beta"), ("resets by coin", "back")):
        outcome, _, _ = results(name)
        acting, play = outcome.measured
        column_off = getattr(FAMILY[name], column)
        off = FAMILY[name]._replace(**{column: np.where(column_off > 0, np.minimum(column_off + 0.06, 1), 0)})
        laws = float64(jax.vmap(exact.play, (None, 0, 0)))(PROBLEM, acting, off)
        assert np.abs(label_scores(play, laws)).max() > 5


@pytest.mark.slow
@EVERY
def test_sampled_labels_are_exact_over_many_seeds(name):
    """Sixteen further seeds pooled, 790,000 episodes a row: biases a quarter as large would show at the same 4."""
    seeds = 16
    runs = jax.vmap(ONE, (None, 0, None))(FAMILY[name], jax.random.split(jax.random.key(5), seeds), IDS)
    acting, play = jax.tree.map(lambda leaf: np.concatenate(jax.device_get(leaf)), runs.measured)
    rows = jax.tree.map(lambda column: np.concatenate([column] * seeds), FAMILY[name])
    z = label_scores(play, float64(jax.vmap(exact.play, (None, 0, 0)))(PROBLEM, acting, rows))
    assert np.abs(z).max() <= 4
    assert 0.75 < z.std() < 1.25


# ---- the family's identities ---------------------------------------------------------------------------


def test_chunks_of_one_step_are_dagger_bit_for_bit():
    (chunks, _, _), (dagger, _, _) = results("chunks of 1"), results("dagger, beta 0")
    same(chunks, dagger)
    same(chunks.measured[1].guide, chunks.measured[1].novice)


def test_one_chunk_is_behavioural_cloning_bit_for_bit():
    same(FAMILY["chunks of T"], FAMILY["behavioural_cloning"])
    same(results("chunks of T")[0], results("behavioural_cloning")[0])


STEPS = np.asarray(schedules.spread_steps(N, T, jax.random.key(0)))
# Labels asked for at each step over all rounds, where that is not one a round.
ASKED = {
    "forward_training": np.ones(T),
    "stagger": np.ones(T),  # every T rounds each step once
    "warm_stagger": 2 - np.eye(T)[STEPS[0]],  # N // 4 = 1 demonstration takes the first of those rounds
}
FORGETS = ("smile", "searn")  # of all labels asked for the last round's alone are in memory


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "everything"])
def test_every_label_that_is_asked_for_arrives(name):
    """The memory weighs, at each step, what the table asked for; a chunk partition asks once a step and round."""
    schedule = FAMILY[name]
    asked = (schedule.label_novice + schedule.label_guide).sum(0)
    arrived = results(name)[0].memory.weight.sum(-1)
    wanted = np.full(T, N) if name not in STRATEGIES else asked  # `strategies_test` has them by hand
    np.testing.assert_array_equal(asked, ASKED.get(name, wanted))
    np.testing.assert_array_equal(schedule.retain, 0 if name in FORGETS else 1)
    np.testing.assert_allclose(arrived, np.ones(T) if name in FORGETS else asked, rtol=1e-5)
    assert not ((schedule.label_novice > 0) & (schedule.label_guide > 0)).any()
