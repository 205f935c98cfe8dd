"""Controllers: what they conclude from evidence, against plain Python; budgets kept; one program for all."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import controllers, gallery, randomness, schedules
from dagger_jax.tabular import interaction, learners, rollout

T = 16


def seen_of(k, error, cost=0.0, episodes=np.inf):
    """Chunks of k steps where the learner errs with probability `error` (of an offset [T], or one for all)."""
    starts = np.asarray(schedules.starts(T, k), float)
    eps = np.broadcast_to(error, T)[np.asarray(schedules.offsets(starts))]
    agreement = np.array([np.prod(1 - np.broadcast_to(error, T)[: i + 1]) for i in schedules.offsets(starts)])
    numbers = (starts, eps, agreement, np.asarray(cost), np.asarray(episodes))
    one, two, three, four, five = (jnp.asarray(number, float) for number in numbers)
    return controllers.Seen(one, two, three, four, five)


def length_of(starts):
    """k of an equal partition, which it must be."""
    k = int(np.diff(np.append(np.flatnonzero(starts), T)).max())
    np.testing.assert_array_equal(starts, schedules.starts(T, k))
    return k


def lengths(controller, errors, costs=None):
    """k of every round, each on the evidence of the chunks that were played."""
    state, starts = controller.init(T)
    played = [length_of(starts)]
    for n, error in enumerate(errors):
        state, starts = controller.update(state, seen_of(played[-1], error, 0.0 if costs is None else costs[n]))
        played.append(length_of(starts))
    return played


# ---- what the evidence says ------------------------------------------------------------------------------------


def test_upper_is_wilsons_limit():
    """The larger root p of (share - p)^2 = z^2 p (1 - p) / n; the share itself without sampling error."""
    share = np.linspace(0, 1, 11)
    for n, z in ((1, 2.0), (20, 1.0), (500, 3.0)):
        roots = [max(np.roots([1 + z * z / n, -2 * s - z * z / n, s * s]).real) for s in share]
        np.testing.assert_allclose(controllers.upper(share, n * np.ones(11), z), roots, rtol=1e-5)
    np.testing.assert_allclose(controllers.upper(share, np.full(11, np.inf), 2.0), share, rtol=1e-6)


def test_upper_covers():
    """Exact coverage over all counts, of shares 1% to 99%: 0.977, two standard deviations, on average."""
    covers = []
    for n in (20, 100, 400):
        limits = np.asarray(controllers.upper(np.arange(n + 1) / n, np.full(n + 1, float(n)), 2.0))
        for p in np.linspace(0.01, 0.99, 50):
            covers.append(stats.binom.pmf(np.arange(n + 1), n, p)[limits >= p].sum())
    assert min(covers) > 0.9  # counts are whole numbers
    assert abs(np.mean(covers) - stats.norm.cdf(2.0)) < 0.01


@pytest.mark.parametrize("k", [1, 3, 4, 16])
@pytest.mark.parametrize("error", [0.0, 0.03, 0.4])
def test_distances_of_a_constant_error(k, error):
    """1 - (1 - e)^j, measured up to j = k and continued beyond. float32"""
    wanted = 1 - (1 - error) ** np.arange(T)
    np.testing.assert_allclose(controllers.distances(seen_of(k, error), 2.0), wanted, atol=2e-6)


def test_distances_are_above_what_was_sampled():
    for k in (1, 4, 16):
        few, many = (controllers.distances(seen_of(k, 0.1, 0.0, n), 2.0) for n in (10, 1000))
        truth = 1 - 0.9 ** np.arange(T)
        assert few[0] == many[0] == 0
        assert (few[1:] > many[1:]).all()
        assert (many[1:] > truth[1:]).all()


def test_longest_within_is_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(200):
        distances = np.append(0.0, rng.random(11) if rng.random() < 0.5 else np.sort(rng.random(11)))
        budget = rng.random()
        wanted = max(k for k in range(1, 13) if distances[:k].mean() <= budget)
        assert controllers.longest_within(distances.astype(np.float32), budget) == wanted


def test_certain_means_of_a_constant_error():
    """Chunks of 4 bring eta to 2.5 e on average and 4 e at most, of which T_j sums up to j: (k - 1) / 2 eta."""
    for k, most in ((1, 1.0), (4, 4.0)):
        means = np.asarray(controllers.certain_means(seen_of(k, 0.001), 2.0))
        assert means[0] == 0
        assert (means[1:] >= np.array([np.mean(1 - 0.999 ** np.arange(j)) for j in range(2, T + 1)])).all()
        assert (means <= most * 0.001 * np.arange(T) / 2 + 1e-7).all()


def criterion(values):
    """Where one break in the mean lowers the BIC, by trying every place; the length if none does."""
    n = len(values)
    squares = lambda part: max(((part - part.mean()) ** 2).sum(), 1e-30)
    plain = n * np.log(squares(values) / n) + np.log(n)
    broken = [n * np.log((squares(values[:i]) + squares(values[i:]) - 1e-30) / n) + 3 * np.log(n) for i in range(1, n)]
    return 1 + int(np.argmin(broken)) if broken and min(broken) < plain else n


def test_change_point_is_brute_force():
    rng, found = np.random.default_rng(1), []
    for _ in range(200):
        n = int(rng.integers(3, 25))
        step = rng.choice([0.0, 0.0, 0.5, 2.0]) * (np.arange(24) >= rng.integers(1, 24))
        values = 0.1 * rng.random(24) + 0.05 * step
        wanted = criterion(values[:n])
        assert controllers.change_point(jnp.asarray(values), jnp.asarray(n)) == wanted
        found.append(wanted < n)
    assert 0.2 < np.mean(found) < 0.9


@pytest.mark.parametrize("value", [0.0, 0.013, 0.1, 0.3, 0.7])
def test_equal_errors_have_no_change_point(value):
    """Nor has what rounding leaves of them."""
    for n in (1, 2, 3, 5, 8, 16, 31):
        assert controllers.change_point(jnp.full(32, value), jnp.asarray(n)) == n


# ---- each controller ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpreter", ["sampled", "exact"])
def test_fixed_is_the_plain_schedule(interpreter):
    problem = gallery.random_mdp(T, 3, 2, seed=3, temperature=0.3)
    learner = learners.tabular(problem.world, learners.LogLoss(0.5), shared=False)
    key = randomness.words(jax.random.key(0))
    ids = jnp.arange(200, dtype=jnp.uint32)
    sampled = interaction.by_sampling(rollout.tables(problem), key, ids)

    def run(problem, schedule, length):
        plays = sampled if interpreter == "sampled" else interaction.exactly(problem)
        controller = None if length is None else controllers.Fixed(length)
        outcome = interaction.run(problem, schedule, learner, plays, controller=controller)
        return outcome.memory, outcome.newest

    for k in (1, 3, 16):
        plain = jax.jit(run)(problem, schedules.chunked(4, schedules.starts(T, k)), None)
        steered = jax.jit(run)(problem, schedules.chunked(4, schedules.starts(T, 5)), k)
        jax.tree.map(np.testing.assert_array_equal, plain, steered)


def test_detectability_budget_on_a_constant_error():
    """The largest k with (1/k) sum 1 - (1 - e)^j <= eta, reached by doubling; then it stays."""
    for eta in (0.01, 0.05, 0.2, 0.9):
        means = np.cumsum(1 - 0.95 ** np.arange(T)) / np.arange(1, T + 1)
        wanted = int(np.flatnonzero(means <= eta).max()) + 1
        played = lengths(controllers.DetectabilityBudget(eta, proven=False), [0.05] * 6)
        assert played == [min(2**n, wanted) for n in range(7)]


@pytest.mark.parametrize("factor", [0.5, 0.9])
def test_additive_increase_settles_around_its_target(factor):
    """k climbs by 1 to the target's, 10 steps at e = 0.05, falls by the factor, and again: a saw tooth below it."""
    controller = controllers.AdditiveIncrease(target=0.5 + 0.5 * (1 - 0.95**10.5), factor=factor)
    played = np.array(lengths(controller, [0.05] * 120))
    assert played.min() >= 1
    assert played.max() == 11
    settled = played[60:]
    assert settled.min() == int(11 * factor)
    auc = 1 - 0.5 * 0.95**settled
    assert controller.target - 0.5 * (1 - factor) * 0.4 < auc.mean() <= controller.target
    assert lengths(controllers.AdditiveIncrease(0.99), [0.0] * 30)[-1] == T  # nothing to see: up to the horizon
    assert set(lengths(controllers.AdditiveIncrease(0.6), [0.9] * 10)) == {1}


def test_budget_minimises_its_objective():
    """The argmin by trying every k: 6, 2, 8 against 5.8, 1.7, 7.7; f'(k*) = 0 where steps are free."""
    for k_star, wanted in ((5.8, 6), (1.7, 2), (7.7, 8)):
        scale = 0.01 * k_star**1.5  # e = 0.01, c_r = B = 1
        assert controllers.Budget(1.0, 0.0, 1.0, scale).choose(jnp.asarray(0.01), T) == wanted
        slope = jax.grad(controllers.Budget(1.0, 0.0, 1.0, scale).objective)(k_star, 0.01)
        assert abs(slope) < 1e-7
        assert jax.grad(controllers.Budget(1.0, 0.0, 1.0, scale).objective)(k_star - 0.5, 0.01) < -1e-5
    chosen = set()
    for per_step, total, error in itertools.product((0.0, 1e-3, 0.1, 3.0), (10, 1e3, 1e5), (0, 1e-3, 0.01, 0.1, 0.7)):
        exactly_so, closed_form = (controllers.Budget(1.0, per_step, total, 1.0, exact) for exact in (True, False))
        k, closed = (int(each.choose(jnp.asarray(error, float), T)) for each in (exactly_so, closed_form))
        f = [np.sqrt((1 + i * per_step) / (total * i)) + (i - 1) * max(error, 1e-9) / 2 for i in range(1, T + 1)]
        assert f[k - 1] <= min(f) * (1 + 1e-6)  # float32
        assert 1 <= closed <= T
        if per_step * closed < 0.02:
            assert abs(k - closed) <= max(1, 0.2 * k)
        chosen.add(k)
    assert len(chosen) > 5
    falling = lengths(controllers.Budget(1.0, 1e-3, 1e3, 1.0), [0.3, 0.1, 0.03, 0.01, 0.003])
    assert falling[1:] == sorted(falling[1:])  # the error falls, chunks grow
    assert falling[-1] > 2 * falling[1]
