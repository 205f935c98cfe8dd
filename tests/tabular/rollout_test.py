"""The sampler: its invariances bit for bit, its walkers by statistics with fixed keys."""

import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import gallery, randomness, schedules
from dagger_jax.tabular import exact, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem

KEY = randomness.for_round(randomness.words(jax.random.key(7)), 0)
T, S, A = 8, 5, 3
PROBLEM = gallery.random_mdp(T, S, A, seed=2, temperature=0.3)
CERTAIN = gallery.random_mdp(T, S, A, seed=2)  # the same world, a deterministic expert
POLICY = np.random.default_rng(4).dirichlet(np.ones(A), (T, S))
NEAR = 0.9 * CERTAIN.expert + 0.1 * POLICY  # errs now and then
ROWS = {
    "cloning": schedules.behavioural_cloning(1, T),
    "chunks": schedules.chunked(1, schedules.partition(T, [3, 1, 4])),
    "coins": schedules.chunked(1, schedules.geometric(T, 2.5)),
    "dagger": schedules.dagger(1, T, np.zeros(1)),
    "reset": schedules.reset(1, schedules.starts(T, 3)),
    "mixed": schedules.table(1, T, join=schedules.starts(T, 4), beta=0.4, noise=0.3, label_guide=1.0),
}
PLAY = jax.jit(rollout.play, static_argnames=("alone", "block"))


def row(name):
    return schedules.row(ROWS[name], 0)


def ids(count, first=0):
    return np.arange(first, first + count, dtype=np.uint32)


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


# ---- invariances -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_blocks_and_splits_do_not_matter(name):
    """Any block size, and any way of sharing 1000 episodes out over calls: the same bits."""
    world = rollout.tables(PROBLEM)
    play, kept = PLAY(world, POLICY, row(name), KEY, ids(1000))
    for block in (1, 7, 256, 999, 1000):
        if block > 1 or name == "mixed":
            same(PLAY(world, POLICY, row(name), KEY, ids(1000), block=block), (play, kept))
    shuffled = np.random.default_rng(0).permutation(1000)
    again = PLAY(world, POLICY, row(name), KEY, ids(1000)[shuffled])
    same(again, (play, jax.tree.map(lambda column: column[shuffled], kept)))
    parts = [PLAY(world, POLICY, row(name), KEY, ids(count, first)) for first, count in ((0, 250), (250, 750))]
    for part, column in enumerate(kept):
        np.testing.assert_array_equal(np.concatenate([kept[part] for _, kept in parts]), column)
    counts = [jax.tree.map(lambda x, n=n: np.rint(x * n), p) for (p, _), n in zip(parts, (250, 750), strict=True)]
    same(jax.tree.map(np.add, *counts), jax.tree.map(lambda x: np.rint(x * 1000), play))


def test_the_last_episode_ids_are_as_good_as_the_first():
    world = rollout.tables(PROBLEM)
    far = ids(64, 2**32 - 64)
    _, kept = PLAY(world, POLICY, row("mixed"), KEY, far)
    _, last = PLAY(world, POLICY, row("mixed"), KEY, far[-1:])
    assert last.novice_cost[0] == kept.novice_cost[-1]
    assert len(np.unique(kept.novice_cost)) > 60


def test_ids_may_be_numpy_also_when_jit_closes_over_them():
    world = rollout.tables(PROBLEM)
    walk = lambda now: rollout.play(world, POLICY, now, KEY, ids(100))
    same(jax.jit(walk)(row("mixed")), walk(row("mixed")))


SHARDED = """
    import jax
    jax.config.update("jax_num_cpu_devices", 2)
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec
    from dagger_jax import gallery, randomness, rollout, schedules

    problem = gallery.random_mdp(6, 4, 3, seed=2, temperature=0.3)
    world, policy = rollout.tables(problem), np.full((1, 4, 3), 1 / 3)
    row = schedules.row(schedules.chunked(1, schedules.geometric(6, 2.0)), 0)
    key = randomness.for_round(randomness.words(jax.random.key(1)), 2)
    ids = np.arange(2048, dtype=np.uint32)
    walk = lambda ids: rollout.play(world, policy, row, key, ids, block=512)
    one = jax.device_get(jax.jit(walk)(ids))

    mesh = jax.make_mesh((2,), ("episodes",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(ids, NamedSharding(mesh, PartitionSpec("episodes")))
    assert len(spread.sharding.device_set) == jax.device_count() == 2
    automatic = jax.device_get(jax.jit(walk)(spread))

    def each(ids):
        play, kept = walk(ids)
        return jax.tree.map(lambda x: jax.lax.psum(x * 1024, "episodes"), play), kept
    spec = PartitionSpec("episodes")
    specs = dict(in_specs=spec, out_specs=(PartitionSpec(), spec))
    counts, kept = jax.jit(jax.shard_map(each, mesh=mesh, check_vma=False, **specs))(spread)
    assert len(kept.parted.sharding.device_set) == 2
    counts, kept = jax.device_get((counts, kept))

    same = lambda left, right: jax.tree.map(np.testing.assert_array_equal, left, right)
    same(automatic, one)
    same(kept, one[1])
    same(counts, jax.tree.map(lambda x: x * 2048, one[0]))
    print("identical", int(one[1].parted.sum()))
"""


def test_devices_do_not_matter():
    """Two CPU devices share the episodes out: automatically and by shard_map, the same bits as on one."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SHARDED)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("identical")


# ---- the two walkers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ROWS if name != "mixed"])
def test_a_learner_like_the_expert_never_parts(name):
    """Common random numbers: also a stochastic expert's copy takes every step with it, at no difference at all."""
    play, kept = PLAY(rollout.tables(PROBLEM), PROBLEM.expert, row(name), KEY, ids(3000))
    assert (kept.parted == T).all()
    np.testing.assert_array_equal(kept.novice_cost, kept.guide_cost)
    assert kept.novice_cost.std() > 0.1
    np.testing.assert_array_equal(play.novice, play.guide)


@pytest.mark.parametrize("name", ["chunks", "coins", "dagger", "reset"])
def test_joins_and_jumps_do_not_change_when_walkers_part(name):
    """Until they part both are in the same state, so whoever jumps: the first disagreement is the same step."""
    world = rollout.tables(CERTAIN)
    wanted = PLAY(world, NEAR, row("cloning"), KEY, ids(3000))[1].parted
    assert 0.1 < (wanted < T).mean() < 0.9
    np.testing.assert_array_equal(PLAY(world, NEAR, row(name), KEY, ids(3000))[1].parted, wanted)


def test_episodes_that_never_part_cost_the_same():
    _, kept = PLAY(rollout.tables(CERTAIN), NEAR, row("cloning"), KEY, ids(3000))
    together = kept.parted == T
    assert 100 < together.sum() < 2900
    np.testing.assert_array_equal(kept.novice_cost[together], kept.guide_cost[together])
    assert (kept.novice_cost[~together] != kept.guide_cost[~together]).mean() > 0.9


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_parting_is_distributed_as_the_exact_agreement(beta):
    """P(parted after step t) = agreement_t of a chunk of T steps; 8 z-values within 4 over 40,000 episodes."""
    now = row("cloning")._replace(beta=jnp.full(T, beta))
    agreement = exact.play(CERTAIN, NEAR, now).agreement
    parted = PLAY(rollout.tables(CERTAIN), NEAR, now, KEY, ids(40_000))[1].parted
    seen = (np.asarray(parted)[:, None] > np.arange(T)).mean(0)
    z = (seen - agreement) / np.sqrt(agreement * (1 - agreement) / 40_000)
    assert np.abs(z).max() < 4
    assert agreement[-1] < 0.8


def test_no_coupling_agrees_longer_than_the_maximal_one():
    """A stochastic expert: one word for both actions parts the walkers as `exact` says, earlier than need be."""
    laws = exact.play(PROBLEM, POLICY, row("cloning"))
    agreement = laws.agreement
    assert (agreement < laws.overlap - 0.01).all()
    parted = PLAY(rollout.tables(PROBLEM), POLICY, row("cloning"), KEY, ids(40_000))[1].parted
    seen = (np.asarray(parted)[:, None] > np.arange(T)).mean(0)
    assert (np.abs(seen - agreement) <= 4 * np.sqrt(agreement * (1 - agreement) / 40_000)).all()


@pytest.mark.parametrize("name", [name for name, table in ROWS.items() if not np.any(table.back)])
def test_alone_the_novice_walks_as_in_company(name):
    play, kept = PLAY(rollout.tables(PROBLEM), POLICY, row(name), KEY, ids(1000))
    alone, own = PLAY(rollout.tables(PROBLEM), POLICY, row(name), KEY, ids(1000), alone=True)
    np.testing.assert_array_equal(alone.novice, play.novice)
    np.testing.assert_array_equal(own.novice_cost, kept.novice_cost)
    assert alone.guide is None
    assert (own.guide_cost == 0).all()


# ---- sizes -------------------------------------------------------------------------------------------


def sparse(states, actions=2, horizon=6):
    """A stationary world where every move has at most 3 outcomes, at random places."""
    rng = np.random.default_rng(states)
    transition = np.zeros((states, actions, states))
    for cell in np.ndindex(states, actions):
        np.add.at(transition[cell], rng.integers(0, states, 3), rng.dirichlet(np.ones(3)))
    initial = rng.dirichlet(np.ones(states)) if states < 4 else np.eye(states)[0]
    world = tabular.world(transition, rng.random((states, actions)), initial, horizon)
    return Problem(world, rng.dirichlet(np.ones(actions), (1, states)))


def p_value(count, expected):
    """Of a chi-square; cells that expect less than 5 are pooled with the largest."""
    cells = np.where(expected >= 5, np.arange(len(expected)), expected.argmax())
    count, expected = (np.bincount(cells, x) for x in (count, expected))
    used = expected > 0
    return stats.chi2.sf(((count - expected)[used] ** 2 / expected[used]).sum(), max(1, used.sum() - 1))


@pytest.mark.parametrize("states", [1, 2, 3, 100, 300])
def test_any_number_of_states(states):
    """Chi-square of both walkers' states at 6 steps, p > 1e-4; states of probability 0 are never visited."""
    problem = sparse(states)
    policy = np.random.default_rng(9).dirichlet(np.ones(2), (1, states))
    now = schedules.row(schedules.chunked(1, schedules.starts(6, 3)), 0)
    play, kept = PLAY(rollout.tables(problem), policy, now, KEY, ids(20_000))
    laws = exact.play(problem, policy, now)
    assert play.guide is not None
    for seen, law in ((play.novice, laws.novice), (play.guide, laws.guide)):
        count = np.asarray(seen, float).sum(-1) * 20_000
        assert (count[law == 0] == 0).all()
        assert min(map(p_value, count, law * 20_000)) > 1e-4
    mean, error = kept.novice_cost.mean(), kept.novice_cost.std() / np.sqrt(20_000)
    assert abs(mean - laws.novice_cost) < 4 * error + 1e-5  # of rounding: with one state nothing is random but acts
