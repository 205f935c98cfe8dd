"""The outer loop: one program for all schedules, what the memory keeps, how iterates mix."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import evidence, gallery, randomness, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.family import distinct
from dagger_jax.precision import float64
from dagger_jax.tabular import interaction, labels, learners, rollout

T = 5
PROBLEM = gallery.random_mdp(T, 3, 2, seed=3, temperature=0.3)
WORLD = rollout.tables(PROBLEM)
KEY = jax.random.key(8)
SMOOTH = learners.tabular(PROBLEM.world, learners.LogLoss(0.5), shared=False)


@functools.partial(jax.jit, static_argnames="episodes")
def sampled(schedule, episodes=500):
    """A run on sampled labels, and of every round who acted, what was seen, and what was fitted."""
    ids = jnp.arange(episodes, dtype=jnp.uint32)
    interpreter = interaction.by_sampling(WORLD, randomness.words(KEY), ids)
    see = lambda moment: (moment.acting, moment.play, moment.newest)
    return interaction.run(PROBLEM, schedule, SMOOTH, interpreter, measure=see)


@functools.partial(float64, static=("shared",))
def exactly(problem, schedule, rule, shared=False):
    """The policy that a run on labels in their exact proportions ends with."""
    learner = learners.tabular(problem.world, rule, shared=shared)
    return interaction.run(problem, schedule, learner, interaction.exactly(problem)).newest


imitated = jax.jit(jax.vmap(functools.partial(labels.imitate, PROBLEM)))


# ---- one trace, whatever the schedule ------------------------------------------------------------------


def test_one_trace_whatever_the_schedule():
    """2,000 partitions x 5 algorithms x 256 seeds: 2.56 million runs of 4 rounds in one compiled call.

    Behavioural cloning asks in its only round and is padded with 3 rounds without labels. Partitions differ
    from round to round, and no two are alike. A second set of schedules and seeds uses the same program.
    """
    steps = rounds = 4
    problem = gallery.random_mdp(steps, 2, 2, seed=3, temperature=0.3)
    world = rollout.tables(problem)
    learner = learners.tabular(problem.world, learners.Majority(), shared=False)
    ids = jnp.arange(2, dtype=jnp.uint32)

    def five(partition):
        once = jnp.eye(rounds)[0][:, None] * jnp.ones(steps)
        padded = schedules.behavioural_cloning(rounds, steps)._replace(label_guide=once)
        return schedules.stack(
            [
                padded,
                schedules.forward_training(steps),
                schedules.dagger(rounds, steps),
                schedules.chunked(rounds, partition),
                schedules.reset(rounds, partition),
            ]
        )

    def one(schedule, key):
        outcome = interaction.run(problem, schedule, learner, interaction.by_sampling(world, key, ids))
        return outcome.memory.weight, outcome.newest[..., 1] > 0.5

    @jax.jit
    @chex.assert_max_traces(n=1)
    def everything(partitions, keys):
        def each(partition):
            over_seeds = jax.vmap(one, (None, 0))
            weight, second = jax.vmap(over_seeds, (0, None))(five(partition), keys)
            return weight.sum(-1), second.sum(1)

        return jax.lax.map(each, partitions)

    def partitions(seed):
        codes = np.random.default_rng(seed).choice(2 ** (rounds * (steps - 1)), 2000, replace=False)
        bits = (codes[:, None] >> np.arange(rounds * (steps - 1)) & 1).reshape(2000, rounds, steps - 1)
        return np.concatenate([np.ones((2000, rounds, 1), bool), bits.astype(bool)], -1)

    seeds = lambda first: randomness.words(jax.vmap(jax.random.key)(np.arange(first, first + 256)))
    weight, second = jax.device_get(everything(partitions(0), seeds(0)))
    assert weight.shape == (2000, 5, 256, steps)
    wanted = np.array([1, 1, rounds, rounds, rounds])  # labels a step
    np.testing.assert_array_equal(weight, np.broadcast_to(wanted[:, None, None], weight.shape))
    assert (second[:, :3] == second[0, :3]).all()  # three algorithms have no partition
    for k in (3, 4):  # the others have: sums over seeds differ, though not between all 2,000
        assert len(np.unique(second[:, k].reshape(2000, -1), axis=0)) > 500

    again = jax.device_get(everything(partitions(1), seeds(256)))[1]  # raises where it retraces
    assert (again[0, :3] != second[0, :3]).any((1, 2)).all()


# ---- memory --------------------------------------------------------------------------------------------


DISTINCT = list(distinct({name: row.build(T, T, 2) for name, row in ALGORITHMS.items()}))
# What the memory weighs after T rounds of T steps, where that is not a label a step and round.
WEIGHT = {
    "forward_training": T,  # one step a round
    "stagger": T,
    "warm_stagger": T + (T - 1),  # T // 4 = 1 demonstration of T labels, then one label a round
    "smile": T,  # keep = 0: the last round's alone
    "searn": T,
}


@pytest.mark.parametrize("name", DISTINCT)
def test_memory_is_the_sum_of_all_labels(name):
    """What is in memory at the end is every round's batch, added up once more by hand; with keep = 0 the last one."""
    schedule = ALGORITHMS[name].build(T, T, 2)
    asked = float((schedule.label_novice + schedule.label_guide).sum())
    total = asked if ALGORITHMS[name].strategy else WEIGHT.get(name, T * T)
    outcome = sampled(schedule)
    acting, plays, _ = outcome.measured
    batches = jax.device_get(imitated(plays, schedule, acting))
    costs, weight = np.zeros((T, 3, 2)), np.zeros((T, 3))
    for n in range(T):
        assert schedule.retain[n] == (0 if name in ("smile", "searn") else 1)
        costs = schedule.retain[n] * costs + batches.costs[n]
        weight = schedule.retain[n] * weight + batches.weight[n]
    np.testing.assert_allclose(outcome.memory.costs, costs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outcome.memory.weight, weight, rtol=1e-5, atol=1e-6)
    assert weight.sum() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("retain", [0.0, 0.5, 1.0])
def test_keep_forgets(retain):
    """The labels of round n weigh keep^(N - n): with 0 the memory is the last round's alone."""
    schedule = schedules.chunked(4, schedules.starts(T, 2))._replace(retain=np.full(4, retain))
    outcome = sampled(schedule)
    asked = np.asarray(outcome.measured[1].guide)
    shares = np.array([retain**age for age in (3, 2, 1, 0)])
    wanted = np.tensordot(shares, asked.sum(-1, keepdims=True) - asked, 1)
    np.testing.assert_allclose(outcome.memory.costs, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outcome.memory.weight, np.tensordot(shares, asked.sum(-1), 1), rtol=1e-5)


def test_rounds_without_labels_change_nothing():
    short = schedules.dagger(2, T)
    padded = jax.tree.map(lambda column: np.concatenate([column, np.zeros_like(column)]), short)
    padded = padded._replace(retain=np.ones(4), join=np.ones((4, T)), mixing_rate=np.ones(4))
    one, two = sampled(short), sampled(padded)
    jax.tree.map(np.testing.assert_array_equal, (one.memory, one.newest), (two.memory, two.newest))


def test_memory_does_not_grow_with_rounds_or_episodes():
    sizes = [
        jax.eval_shape(lambda n=n, b=b: sampled(schedules.dagger(n, T), episodes=b)._replace(measured=()))
        for n, b in ((1, 10), (300, 10), (3, 10_000))
    ]
    assert sizes[0] == sizes[1] == sizes[2]


# ---- the acting mixture --------------------------------------------------------------------------------


def mixture(rate, alpha):
    """Every round's acting policy, every fitted one, and the last mixture."""
    schedule = schedules.dagger(6, T, (1 - alpha) ** np.arange(6))._replace(mixing_rate=np.asarray(rate, np.float32))
    outcome = sampled(schedule)
    acting, _, newest = outcome.measured
    return acting, newest, outcome.acting


def test_rate_one_acts_by_the_newest_iterate():
    acting, newest, last = mixture(np.ones(6), 0.3)
    np.testing.assert_array_equal(acting[1:], newest[:-1])
    np.testing.assert_array_equal(last, newest[-1])
    np.testing.assert_allclose(acting[0], 0.5)  # untrained: uniform, for log loss


def test_constant_rate_is_conservative_policy_iteration():
    """acting_N = (1 - a)^N untrained + sum_n a (1 - a)^(N - n) newest_n."""
    acting, newest, last = mixture(np.full(6, 0.25), 0.3)
    weights = 0.25 * 0.75 ** np.arange(5, -1, -1)
    wanted = 0.75**6 * acting[0] + np.tensordot(weights, newest, 1)
    np.testing.assert_allclose(last, wanted, rtol=2e-6)


@pytest.mark.parametrize("kind", ["searn", "smile"])
def test_searn_and_smile_are_rates(kind):
    """beta_n carries the expert's share (1 - a)^n, `mixing_rate` the learners' relative to each other.

    SEARN: pi_n = (1 - a) pi_{n-1} + a newest_n. SMILe: pi_n = pi_{n-1} + a (1 - a)^(n-1) (newest_n - expert).
    Without the expert's share both are what acts here, to the rounding of 6 float32 mixtures.
    """
    a, n = 0.3, np.arange(1, 7)
    added = {"searn": np.full(6, a), "smile": a * (1 - a) ** (n - 1)}[kind]
    acting, newest, _ = mixture(added / (1 - (1 - a) ** n), a)
    policy = np.asarray(PROBLEM.expert)
    for i in range(6):
        beta = (1 - a) ** i
        if i:  # before the first label the expert acts alone
            np.testing.assert_allclose(beta * PROBLEM.expert + (1 - beta) * acting[i], policy, atol=1e-6)
        drop = policy if kind == "searn" else PROBLEM.expert
        policy = policy + added[i] * (newest[i] - drop)


# ---- whole runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISTINCT)
def test_exact_labels_of_a_realizable_expert_leave_no_gap(name):
    """Infinitely many labels of a deterministic expert, a table a step, full support: no gap after T rounds."""
    problem = gallery.random_mdp(T, 4, 3, seed=5)
    schedule = ALGORITHMS[name].build(T, T, 2)
    policy = exactly(problem, schedule, learners.Majority())
    alone = schedules.row(schedules.behavioural_cloning(1, T), 0)
    seen = evidence.measure(problem, policy, alone, evidence.constants(problem))
    asked = np.asarray(schedule.label_novice + schedule.label_guide).sum(0)
    assert seen.gap == pytest.approx(0, abs=1e-12) or (asked == 0).any()  # a strategy may leave steps out
    untrained = evidence.measure(problem, np.full((1, 4, 3), 1 / 3), alone, evidence.constants(problem))
    assert untrained.gap > 0.1


def test_a_batch_of_problems_is_a_loop():
    problems = [gallery.random_mdp(T, 3, 2, seed=seed) for seed in range(4)]
    schedule = schedules.dagger(3, T, np.array([1, 0.5, 0.25]))
    run = functools.partial(exactly, rule=learners.LogLoss(0.1), shared=True)
    together = float64(jax.vmap(run, (0, None)))(jax.tree.map(lambda *x: np.stack(x), *problems), schedule)
    for problem, policy in zip(problems, together, strict=True):
        np.testing.assert_allclose(policy, run(problem, schedule), rtol=1e-12)
