"""Car and bracket words, and the worlds of covariate shift, against counts and closed forms."""

import itertools

import numpy as np
import pytest

from dagger_jax import evidence, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, interaction, learners, oracle
from dagger_jax.tabular import worlds as tabular

RELATIVE, TINY = 1e-9, 1e-14


def measured(problem, policy):
    """Evidence of a policy whose errors count under the expert's own law."""
    row = schedules.row(schedules.behavioural_cloning(1, problem.world.horizon), 0)
    return evidence.measure(problem, policy, row, evidence.constants(problem))


def random_policies(problem, count, seed=0):
    rng = np.random.default_rng(seed)
    shape = (problem.world.horizon, problem.world.states)
    for concentration in np.geomspace(0.01, 10, count):
        yield rng.dirichlet(np.full(problem.world.actions, concentration), shape)


@pytest.mark.parametrize("name", gallery.WORLDS)
@pytest.mark.parametrize("horizon", [5, 8, 9])
def test_every_world_has_these_horizons(name, horizon):
    assert gallery.WORLDS[name].build(horizon).world.horizon == horizon


# ---- car ---------------------------------------------------------------------------------------------------


def arrives(road, moves):
    """Does a sequence of actions reach the last column? By hand, lane by lane."""
    lanes = road.shape[1]
    lane = lanes // 2
    for column, action in enumerate(moves, start=1):
        lane = min(max(lane + (0, -1, 1)[action], 0), lanes - 1)
        if road[column, lane]:
            return False
    return True


@pytest.mark.parametrize(("horizon", "lanes", "seed"), [(1, 3, 0), (5, 3, 1), (6, 3, 2), (6, 2, 3), (6, 5, 4)])
def test_car_counts_free_paths(horizon, lanes, seed):
    problem, road = gallery.car(horizon, lanes, seed=seed), gallery.car_road(horizon, lanes, seed=seed)
    assert np.asarray(exact.deploy(problem, problem.expert).guide_cost) == 0  # a free path is guaranteed
    free = np.mean([arrives(road, moves) for moves in itertools.product(range(3), repeat=horizon)])
    uniform = np.full((1, problem.world.states, 3), 1 / 3)
    np.testing.assert_allclose(measured(problem, uniform).gap, 1 - free, RELATIVE, TINY)
    keeps = np.tile(np.eye(3)[0], (1, problem.world.states, 1))
    np.testing.assert_allclose(measured(problem, keeps).gap, 1 - arrives(road, [0] * horizon), RELATIVE, TINY)


def conflicts(problem):
    """Observations at which the expert acts in two ways, over the states that some policy reaches."""
    reached = np.asarray(tabular.reachable(problem.world))
    actions, seen = np.asarray(problem.expert).argmax(-1), np.asarray(problem.world.observation)
    pairs = {(int(seen[s]), int(actions[t, s])) for t, s in np.argwhere(reached)}
    return len(pairs) - len({observation for observation, _ in pairs})


def test_car_is_realizable_by_far_sight_only():
    for seed in range(4):
        by_view = [conflicts(gallery.car(40, view=view, seed=seed)) for view in (0, 1, 40)]
        assert by_view[0] >= by_view[1] >= by_view[2] == 0
        assert by_view[0] > 0
    assert max(conflicts(gallery.car(40, view=1, seed=seed)) for seed in range(4)) > 0


def test_car_sees_lane_and_next_columns():
    horizon, lanes, view = 12, 3, 2
    world, road = gallery.car(horizon, lanes, view, seed=7).world, gallery.car_road(horizon, lanes, seed=7)
    ahead = np.concatenate([road[1:], np.zeros((view + 1, lanes), bool)])
    looks = [(s % lanes, ahead[s // lanes :][:view].tobytes()) for s in range(road.size)] + ["crashed"]
    for one, other in itertools.combinations(range(len(looks)), 2):
        assert (world.observation[one] == world.observation[other]) == (looks[one] == looks[other])
    assert world.observations == len(set(looks))


@pytest.mark.parametrize("horizon", [5, 8, 9])
def test_car_and_dyck_lose_one_at_most(horizon):
    for name in ("car", "dyck"):
        problem = gallery.WORLDS[name].build(horizon)
        known = evidence.constants(problem)
        np.testing.assert_allclose(known.recoverability, 1, RELATIVE, TINY)
        np.testing.assert_array_equal(np.isin(known.span, [0, 1]), True)
        for policy in random_policies(problem, 5):
            seen = measured(problem, policy)
            assert 0 <= seen.gap <= 1 + 1e-12
            np.testing.assert_allclose(seen.gap, np.asarray(seen.advantage).sum(), rtol=1e-9, atol=1e-12)


def test_car_without_obstacles_costs_nothing():
    known = evidence.constants(gallery.car(6, density=0.0))
    assert known.recoverability == 0


# ---- dyck --------------------------------------------------------------------------------------------------


def balanced(word, kinds, depth):
    """By hand: is a sequence of actions a balanced word of this depth?"""
    stack = []
    for action in word:
        if action < kinds:
            stack.append(action)
        elif not stack or stack.pop() != action - kinds:
            return False
        if len(stack) > depth:
            return False
    return not stack


@pytest.mark.parametrize(
    ("horizon", "kinds", "depth"), [(2, 2, 3), (4, 2, 3), (6, 2, 1), (6, 2, 2), (8, 1, 2), (7, 2, 3)]
)
def test_dyck_counts_balanced_words(horizon, kinds, depth):
    problem, length = gallery.dyck(horizon, kinds, depth), horizon - horizon % 2
    words = [w for w in itertools.product(range(2 * kinds), repeat=length) if balanced(w, kinds, depth)]
    uniform = np.full((1, problem.world.states, 2 * kinds), 1 / (2 * kinds))
    wanted = 1 - len(words) / (2 * kinds) ** length
    np.testing.assert_allclose(measured(problem, uniform).gap, wanted, RELATIVE, TINY)
    np.testing.assert_allclose(gallery.dyck_gap(horizon, kinds, depth), wanted, RELATIVE, TINY)
    starts = {w[0] for w in words}
    np.testing.assert_allclose(problem.expert[0, 0], np.isin(np.arange(2 * kinds), list(starts)) / len(starts))
    for prefix, count in ((w[:2], 2) for w in words if length > 2):  # uniform over what can still be balanced
        following = {w[count] for w in words if w[:2] == prefix}
        state = problem.world.transition[0, problem.world.transition[0, 0, prefix[0]].argmax(), prefix[1]].argmax()
        np.testing.assert_allclose(problem.expert[2, state] > 0, np.isin(np.arange(2 * kinds), list(following)))


@pytest.mark.parametrize("horizon", [2, 5, 8, 9, 31])
@pytest.mark.parametrize("deterministic", [False, True])
def test_dyck_expert_is_never_wrong(horizon, deterministic):
    problem = gallery.dyck(horizon, deterministic=deterministic)
    assert exact.deploy(problem, problem.expert).guide_cost == 0
    best, value = tabular.backward(problem.world)
    assert (best * problem.expert).sum(-1).max() <= 1
    np.testing.assert_array_equal(value[0], tabular.backward(problem.world, problem.expert)[1][0])
    span = np.arange(1, horizon + 1) < horizon - horizon % 2
    np.testing.assert_allclose(evidence.constants(problem).span, span, RELATIVE, TINY)
    certain = problem.expert.max(-1) == 1
    assert certain.all() == deterministic
    assert problem.expert[:, -1, 0].min() == 1  # failed
    if deterministic:
        assert problem.expert[0, 0, 0] == 1
    if horizon % 2:
        assert problem.world.cost[-1].max() == 0  # the last step is free
    assert problem.world.cost.sum(axis=0).max() == 1  # paid once


# ---- covariate shift ---------------------------------------------------------------------------------------


def constant(problem, action):
    return np.tile(np.eye(2)[action], (1, problem.world.states, 1))


def law_of(problem, policy):
    """Mean law of the policy and of the expert. [S]"""
    laws = exact.deploy(problem, policy)
    return np.asarray(laws.novice).mean(0), np.asarray(laws.guide).mean(0)


@pytest.mark.parametrize("sizes", [{}, {"slip": 0.5, "restart": 0.01}, {"slip": 0.03, "restart": 0.6}])
@pytest.mark.parametrize("horizon", [1, 2, 3, 9, 100])
def test_goldilocks_closed_forms(horizon, sizes):
    problem = gallery.goldilocks(horizon, **sizes)
    for action in (0, 1):
        seen = measured(problem, constant(problem, action))
        np.testing.assert_allclose(seen.gap, gallery.goldilocks_gap(horizon, action, **sizes), RELATIVE, TINY)
        np.testing.assert_allclose(seen.gap, np.asarray(seen.eta).sum(), RELATIVE, TINY)
    cloned = measured(problem, constant(problem, 0))
    np.testing.assert_allclose(cloned.eps.mean(), gallery.goldilocks_error(horizon, **sizes), RELATIVE, TINY)
    assert cloned.eps.mean() < 0.5  # so cloning takes action 0, the better one by its own measure
    assert abs(gallery.goldilocks_gap(horizon + 1, 1, **sizes) / gallery.goldilocks_gap(horizon, 1, **sizes) - 1) > 1e-4


@pytest.mark.parametrize("horizon", [7, 30, 200])
def test_goldilocks_reweighting_mends_what_cloning_does(horizon):
    problem = gallery.goldilocks(horizon)
    wrong_if = np.array([0, 1, 1])  # the expert's action on track, in drift, careful
    cloned, demonstrated = law_of(problem, constant(problem, 0))
    assert demonstrated @ (wrong_if == 1) < 0.5
    own = demonstrated * (cloned / demonstrated)  # demonstrations, weighted by the ratio of laws
    assert own @ (wrong_if == 1) > 0.5  # now action 1 is the fit,
    careful, _ = law_of(problem, constant(problem, 1))
    assert careful @ (wrong_if == 1) > 0.5  # and a fixed point of the reweighting
    bad, good = (gallery.goldilocks_gap(horizon, action) for action in (0, 1))
    assert bad > 3 * good
    if horizon >= 30:
        assert bad > 10 * good
        assert bad > 2.5 * horizon * gallery.goldilocks_error(horizon)  # worse than its training error says
    short, _ = law_of(gallery.goldilocks(6), constant(problem, 0))
    assert short @ (wrong_if == 1) < 0.5  # as documented, too short for drift to prevail


@float64
def fitted(problem, schedule):
    """The table for all steps that one has after all rounds, with infinitely many episodes in each."""
    learner = learners.tabular(problem.world, learners.Majority(), shared=True)
    return interaction.run(problem, schedule, learner, interaction.exactly(problem)).newest


@pytest.mark.parametrize("horizon", [7, 60])
@pytest.mark.parametrize("rounds", [1, 2, 6])
def test_fitted_learners_do_what_the_regimes_say(rounds, horizon):
    cloning = schedules.behavioural_cloning(rounds, horizon)
    asking = schedules.dagger(rounds, horizon, np.zeros(rounds))
    easy, goldilocks, hard = gallery.easy(horizon), gallery.goldilocks(horizon), gallery.hard(horizon)
    assert measured(easy, fitted(easy, cloning)).gap == 0
    for schedule, action in ((cloning, 0), (asking, 1)):  # asked on its own walk, the learner needs no weights
        gap = measured(goldilocks, fitted(goldilocks, schedule)).gap
        np.testing.assert_allclose(gap, gallery.goldilocks_gap(horizon, action), RELATIVE, TINY)
    gap = measured(hard, fitted(hard, cloning)).gap
    np.testing.assert_allclose(gap, gallery.hard_gap(horizon), RELATIVE, TINY)
    assert measured(hard, fitted(hard, asking)).gap <= 0.02 * horizon


@pytest.mark.parametrize("name", ["easy", "goldilocks"])
def test_restarts_bound_the_ratio_of_laws(name):
    problem, bound = gallery.WORLDS[name].build(30), gallery.goldilocks_ratio()
    most = 0.0
    for policy in [*random_policies(problem, 10), constant(problem, 0), constant(problem, 1)]:
        laws = exact.deploy(problem, policy)
        most = max(most, float((laws.novice / laws.guide).max()))
        seen = measured(problem, policy)
        assert seen.gap <= bound * np.asarray(seen.eps).sum()
    assert 3 < most <= bound  # above 1: there is a shift


@pytest.mark.parametrize("horizon", [1, 9, 80])
def test_easy_is_learned_without_asking(horizon):
    problem = gallery.easy(horizon)
    assert problem.world.observations == 3
    assert np.asarray(exact.deploy(problem, problem.expert).guide).mean(0).min() > 0  # all states are demonstrated
    assert measured(problem, problem.expert).gap == 0
    for eps in (1e-4, 0.1):
        policy = (1 - eps) * problem.expert + eps * problem.expert[..., ::-1]
        np.testing.assert_allclose(measured(problem, policy).gap, horizon * eps, RELATIVE, TINY)


@pytest.mark.parametrize("slip", [1e-4, 0.02, 0.5])
@pytest.mark.parametrize("horizon", [1, 2, 9, 100])
def test_hard_is_quadratic_unless_one_asks(horizon, slip):
    problem = gallery.hard(horizon, slip)
    cloned = measured(problem, constant(problem, 0))
    np.testing.assert_allclose(cloned.gap, gallery.hard_gap(horizon, slip), rtol=1e-8, atol=1e-11)
    wanted = sum(1 - (1 - slip) ** t for t in range(horizon))
    np.testing.assert_allclose(cloned.gap, wanted, RELATIVE, TINY)
    law, demonstrated = law_of(problem, constant(problem, 0))
    assert demonstrated[2] == 0
    assert (law[2] > 0) == (horizon > 2)  # an infinite ratio
    assert demonstrated[0] >= demonstrated[1]  # cloning takes action 0
    found = np.array([[[1.0, 0], [1, 0], [0, 1]]])  # an interactive learner has been told of `lost`
    asked = measured(problem, found).gap
    assert asked <= slip * horizon
    if horizon == 100:
        assert cloned.gap > 20 * asked or slip == 0.5
    eps = np.asarray(cloned.eps).mean()
    assert eps <= slip
    if horizon * slip == 2:
        assert cloned.gap > 0.25 * horizon**2 * eps


@pytest.mark.parametrize("name", ["easy", "goldilocks", "hard", "density_ratio"])
@pytest.mark.parametrize("horizon", [5, 8, 9])
def test_shifts_are_recoverable(name, horizon):
    known = evidence.constants(gallery.WORLDS[name].build(horizon))
    np.testing.assert_allclose(known.recoverability, 1, RELATIVE, TINY)
    np.testing.assert_allclose(known.span, 0, atol=TINY)


RATIOS = [(1.0, 0.3), (2.0, 0.1), (2.0, 0.5), (7.5, 0.02), (40.0, 0.025)]


@pytest.mark.parametrize(("ratio", "rare"), RATIOS)
def test_density_ratio_is_a_bound_and_is_reached(ratio, rare):
    horizon = 400
    problem = gallery.density_ratio(horizon, ratio, rare)
    always = np.array([[[1.0, 0], [0, 1]]])
    laws = exact.deploy(problem, always)
    np.testing.assert_allclose(laws.guide[:, 1], rare, RELATIVE, TINY)
    steps = np.arange(1, horizon + 1)
    np.testing.assert_allclose(laws.novice[:, 1] / rare, ratio * (1 - (1 - 1 / ratio) ** steps), RELATIVE, TINY)
    np.testing.assert_allclose(laws.novice[-1, 1] / rare, ratio, rtol=1e-4)
    for policy in [*random_policies(problem, 8), constant(problem, 0), constant(problem, 1), always]:
        seen = exact.deploy(problem, policy)
        assert (seen.novice / seen.guide).max() <= ratio * (1 + 1e-12)
        found = measured(problem, policy)
        assert found.gap <= ratio * np.asarray(found.eps).sum() * (1 + 1e-12)


@pytest.mark.parametrize(("ratio", "rare"), RATIOS)
@pytest.mark.parametrize("share", [1e-3, 0.5, 1.0])
@pytest.mark.parametrize("horizon", [1, 9, 300])
def test_density_ratio_gap(horizon, share, ratio, rare):
    problem, eps = gallery.density_ratio(horizon, ratio, rare), share * rare
    row = schedules.row(schedules.behavioural_cloning(1, horizon), 0)
    policy = np.array([[[1.0, 0], [1 - share, share]]])
    seen = measured(problem, policy)
    np.testing.assert_allclose(seen.eps, eps, RELATIVE, TINY)
    np.testing.assert_allclose(seen.gap, gallery.density_ratio_gap(horizon, eps, ratio, rare), RELATIVE, TINY)
    oracles = measured(problem, oracle.policy(problem, row, np.full(horizon, eps)))
    assert oracles.gap <= ratio * horizon * eps * (1 + 1e-9)
    if share == 1 and horizon == 300:
        assert seen.gap > 0.85 * ratio * horizon * eps  # the bound is nearly reached
    if ratio > 1 and horizon > 1:
        assert abs(seen.gap / gallery.density_ratio_gap(horizon, eps, ratio * 1.01, rare) - 1) > 1e-7  # a control


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gallery.car(5, 1), "car needs lanes >= 2.*got lanes = 1"),
        (lambda: gallery.car(5, view=-1), "view >= 0.*view = -1"),
        (lambda: gallery.car(5, density=1.0), "density < 1.*density = 1.0"),
        (lambda: gallery.car(0), "horizon must be at least 1 step, got 0"),
        (lambda: gallery.dyck(1), "dyck needs a horizon of at least 2 steps, one word, got 1"),
        (lambda: gallery.dyck(6, 0), "dyck needs kinds >= 1.*got kinds = 0"),
        (lambda: gallery.dyck(6, 2, 0), "depth >= 1.*depth = 0"),
        (lambda: gallery.dyck(6, 5, 6), "at most 2000 stacks.*kinds = 5, depth = 6"),
        (lambda: gallery.easy(5, slip=0.6), "easy needs 0 < slip <= 1/2 and 0 < restart < 1, got slip = 0.6"),
        (lambda: gallery.goldilocks(5, restart=0), "goldilocks needs.*restart = 0"),
        (lambda: gallery.hard(5, 0), "hard needs 0 < slip <= 1/2, got slip = 0"),
        (lambda: gallery.density_ratio(5, 0.5), "density_ratio needs ratio >= 1.*got ratio = 0.5"),
        (lambda: gallery.density_ratio(5, 2, 0.6), "0 < rare <= 1 / ratio.*rare = 0.6"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()
