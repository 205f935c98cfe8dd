"""What the named worlds are: experts, recoverability, spans, refusals; and the reset cliffs' closed forms."""

import fractions
import inspect
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import evidence, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, interaction, learners, rollout
from dagger_jax.tabular import worlds as tabular

OPTIONS = {"rb3": {"cost": 0.3}, "debt": {"u": 3, "most": 20}}


def build(name):
    return gallery.WORLDS[name].build(9, **OPTIONS.get(name, {}))


def test_recoverability_and_span():
    left = np.arange(8, -1, -1)  # T - t, for t = 1..9
    expected = {
        "cliff": (9, left),
        "rb3": (9 * 0.7, None),
        "copy_chain": (9, left),
        "chunk_reset": (1, 0 * left),
        "debt": (3, None),
        "reset_cliff": (9, left),
        "stationary_reset_cliff": (9, left),
        "recoverable_reset_cliff": (1, 0 * left),
    }
    for name, (u, span) in expected.items():
        known = evidence.constants(build(name))
        np.testing.assert_allclose(known.recoverability, u, rtol=1e-12, err_msg=name)
        if span is not None:
            np.testing.assert_allclose(known.span, span, rtol=1e-12, atol=1e-12, err_msg=name)


def test_debt_recoverability_is_u():
    for u in (1, 2, 5):
        np.testing.assert_allclose(evidence.constants(gallery.debt(40, u, 60)).recoverability, u, rtol=1e-12)


@pytest.mark.parametrize("name", gallery.WORLDS)
def test_experts_are_optimal(name):
    problem = build(name)
    best, value = tabular.backward(problem.world)
    regret = tabular.backward(problem.world, problem.expert)[1] - value
    if name == "copy_chain":  # the expert copies its mistakes: documented, and only off its own path
        assert regret[0, 1] == 9
        regret = regret[:, 0]
    assert regret.max() < 1e-12
    assert best.max() > 0.5  # not vacuous: actions do cost


@pytest.mark.parametrize("name", gallery.WORLDS)
def test_gallery_builds_what_it_names(name):
    entry, problem = gallery.WORLDS[name], build(name)
    assert entry.build(5).name == problem.name == name
    assert entry.build(5).world.horizon == 5
    assert entry.about
    assert entry.source
    assert problem.world.horizon == 9
    expert = np.asarray(problem.expert)
    np.testing.assert_allclose(expert.sum(-1), 1, rtol=1e-12)
    assert expert.shape[1:] == (problem.world.states, problem.world.actions)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gallery.debt(5, 0), "debt needs 1 <= u <= most, got u = 0"),
        (lambda: gallery.debt(5, 9, 8), "got u = 9 and most = 8"),
        (lambda: gallery.reset_cliff(5, 2), "reset_cliff needs 3 <= S"),
        (lambda: gallery.reset_cliff(5, 9, samples=5), "got S = 9, samples = 5"),
        (lambda: gallery.cliff(0), "horizon must be at least 1 step"),
    ],
)
def test_gallery_refuses(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_random_mdp_has_the_shapes_asked_for():
    plain, again = gallery.random_mdp(4, 6, 3, seed=7), gallery.random_mdp(4, 6, 3, seed=7)
    jax.tree.map(np.testing.assert_array_equal, plain, again)
    assert plain.world.transition.shape == (4, 6, 3, 6)
    assert not np.array_equal(plain.world.cost, gallery.random_mdp(4, 6, 3, seed=8).world.cost)
    aliased = gallery.random_mdp(4, 6, 3, seed=7, observations=2).world
    assert sorted(aliased.observation) == [0, 0, 0, 1, 1, 1]
    assert aliased.observations == 2
    assert gallery.random_mdp(4, stationary=True).world.transition.shape[0] == 1
    soft = gallery.random_mdp(4, temperature=0.5).expert
    assert 0 < soft.min() < soft.max() < 1


# ---- reset cliffs: closed forms --------------------------------------------------------------------------

RELATIVE = 1e-9  # both sides are float64 sums of positive terms, a few thousand at most; wrong forms are 1e-3 off
CLIFFS = ("reset_cliff", "stationary_reset_cliff", "recoverable_reset_cliff")


def gap(problem, policy):
    laws = exact.deploy(problem, policy)
    return laws.novice_cost - laws.guide_cost


@pytest.mark.parametrize("horizon", [1, 5, 32])
@pytest.mark.parametrize("name", CLIFFS)
def test_reset_cliff_of_an_erring_policy(name, horizon):
    """It errs with q in every good state, and with `stays` in the bad one."""
    problem = gallery.WORLDS[name].build(horizon, states=5, actions=3, samples=6)
    expert = np.asarray(problem.expert)
    bad = np.arange(5) == 4
    for q, stays in itertools.product((1e-7, 0.1, 0.9), (1.0, 2 / 3)):
        share = np.where(bad, stays, q)[:, None]
        found = float64(gap)(problem, (1 - share) * expert + share * np.roll(expert, 1, axis=-1))
        left = stays if name == "recoverable_reset_cliff" else 1.0  # elsewhere it does not matter what is done there
        mistaken, wanted = 0.0, 0.0
        for _ in range(horizon):
            mistaken = (1 - mistaken) * q + mistaken * left
            wanted += mistaken
        np.testing.assert_allclose(found, wanted, rtol=RELATIVE)
        if left == 1:
            np.testing.assert_allclose(wanted, -np.expm1(np.arange(1, horizon + 1) * np.log1p(-q)).sum(), rtol=RELATIVE)


def relabelled(problem, turns):
    """The problem with the actions of each step and state turned by `turns` [L, S]: another of its experts."""
    turned = (np.arange(problem.world.actions) - turns[..., None]) % problem.world.actions

    def turn(array):
        array = np.broadcast_to(array, (len(turns), *array.shape[1:]))
        return np.take_along_axis(array, turned.reshape(*turned.shape, *[1] * (array.ndim - 3)), axis=2)

    world = problem.world
    world = world.replace(transition=turn(world.transition), cost=turn(world.cost))
    return problem.replace(world=world, expert=turn(problem.expert))


@float64
def mean_gaps(problems, shown, unknown, chance):
    """Of each problem, over the data sets [D] and their chances: the expert where it was shown, else `unknown`. [P]"""

    def mean(problem):
        policies = jnp.where(shown[..., None], problem.expert, unknown)
        return jax.vmap(gap, in_axes=(None, 0))(problem, policies) @ chance

    return jax.vmap(mean)(problems)


def over_experts_and_data(problem, shared, first, last):
    """Mean gap of cloning from two trajectories, over every expert and every data set: nothing is sampled.

    `first`: action 0 where nothing was seen, instead of a uniform guess; `shared`: one table for all steps.
    """
    horizon, states, actions = problem.world.horizon, problem.world.states, problem.world.actions
    if last:
        cost = np.array(np.broadcast_to(problem.world.cost, (horizon, states, actions)))
        cost[:-1] = 0
        problem = problem.replace(world=problem.world.replace(cost=cost))
    tables, good = 1 if shared else horizon, states - 1
    turns = np.array(list(itertools.product(range(actions), repeat=tables * good))).reshape(-1, tables, good)
    turns = np.append(turns, np.zeros((*turns.shape[:2], 1), int), axis=2)  # the bad state's action stays: never 0
    if shared and last:  # costs vary over time, and so must what is turned
        turns = np.repeat(turns, horizon, axis=1)
    data = np.array(list(itertools.product(range(good), repeat=2 * horizon)))
    chance = np.asarray(problem.world.initial)[data].prod(-1)
    shown = (data.reshape(-1, 2, horizon, 1) == np.arange(states)).any(1)  # [D, T, S]
    shown = shown.any(1, keepdims=True) if shared else shown
    unknown = np.eye(actions)[0] if first else np.full(actions, 1 / actions)

    problems = [relabelled(problem, each) for each in turns]
    return mean_gaps(jax.tree.map(lambda *leaves: np.stack(leaves), *problems), shown, unknown, chance).mean()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", ["reset_cliff", "recoverable_reset_cliff"])
def test_reset_cliff_closed_form_over_all_experts_and_data(name, first, last):
    problem = gallery.WORLDS[name].build(2, states=3, actions=3, samples=2)
    stays = 2 / 3 if name == "recoverable_reset_cliff" and not first else 1.0
    found = over_experts_and_data(problem, False, first, last)
    np.testing.assert_allclose(found, gallery.reset_cliff_gap(2, 3, 3, 2, 2, stays=stays, last=last), rtol=RELATIVE)
    assert abs(found / gallery.reset_cliff_gap(2, 3, 3, 2, 3, stays=stays, last=last) - 1) > 0.1  # not of other data


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("recoverable", [False, True])
def test_stationary_reset_cliff_closed_form_over_all_experts_and_data(recoverable, first, last):
    """Four labels of two trajectories; with so few the common state is unseen at times, too."""
    problem = gallery.reset_cliff(2, 4, 3, 3, stationary=True, recoverable=recoverable)
    stays = 2 / 3 if recoverable and not first else 1.0
    found = over_experts_and_data(problem, True, first, last)
    wanted = gallery.stationary_reset_cliff_gap(2, 4, 3, 3, 4, stays=stays, last=last, fixed=first)
    np.testing.assert_allclose(found, wanted, rtol=RELATIVE)
    # The form at the mean error is of first order; and a guess at every step is not one for all.
    assert abs(gallery.reset_cliff_gap(2, 4, 3, 3, 4, stays=stays, last=last) / found - 1) > 1e-3
    other = gallery.stationary_reset_cliff_gap(2, 4, 3, 3, 4, stays=stays, last=last, fixed=not first)
    assert abs(other / found - 1) > 1e-3


def test_stationary_reset_cliff_closed_form_at_large_sizes():
    """By inclusion and exclusion over the rare states, exact in integers; the common state has surely been seen."""
    horizon, states, samples, draws = 32, 12, 900, 1000
    rare, whole, wanted = states - 2, samples + 1, 0.0
    for k in range(rare + 1):
        ways = sum((-1) ** j * math.comb(rare - k, j) * (whole - k - j) ** draws for j in range(rare - k + 1))
        likely = math.comb(rare, k) * float(fractions.Fraction(ways, whole**draws))
        wanted += likely * (1 - (1 - 0.75 * k / whole) ** np.arange(1, horizon + 1)).sum()
    found = gallery.stationary_reset_cliff_gap(horizon, states, 4, samples, draws)
    np.testing.assert_allclose(found, wanted, rtol=RELATIVE)


@pytest.mark.parametrize("stationary", [False, True])
def test_reset_cliff_draws_uniform_experts(stationary):
    drawn = [gallery.reset_cliff(40, 5, 3, seed=seed, stationary=stationary).expert for seed in range(60)]
    good = np.mean(drawn, axis=(0, 1))[:-1]
    # 4 standard errors of a frequency of 1/3 over 60 or 2400 draws.
    np.testing.assert_allclose(good, 1 / 3, atol=4 * np.sqrt(2 / 9 / (60 if stationary else 2400)))


# ---- reset cliffs: fitted learners -----------------------------------------------------------------------


@pytest.mark.parametrize("recoverable", [False, True])
def test_reset_cliff_closed_form_is_the_mean_of_fitted_learners(recoverable):
    """Majority learner of 30 sampled trajectories, one table a step, 600 experts and data sets."""
    horizon, states, actions, samples, replicas = 6, 5, 3, 30, 600
    problems = [
        gallery.reset_cliff(horizon, states, actions, samples, seed, recoverable=recoverable)
        for seed in range(replicas)
    ]
    problem = jax.tree.map(lambda *leaves: np.stack(leaves), *problems)
    tables = jax.tree.map(lambda *leaves: np.stack(leaves), *map(rollout.tables, problems))
    learner = learners.tabular(problems[0].world, learners.Majority(), shared=False)
    cloning = schedules.behavioural_cloning(1, horizon)

    def fit(problem, tables, key):
        play = interaction.by_sampling(tables, randomness.words(key), jnp.arange(samples, dtype=jnp.uint32))
        return interaction.run(problem, cloning, learner, play).newest

    policies = jax.jit(jax.vmap(fit))(problem, tables, jax.random.split(jax.random.key(1), replicas))
    gaps = float64(jax.vmap(gap))(problem, policies)
    wanted = gallery.reset_cliff_gap(horizon, states, actions, samples, samples)
    error = gaps.std(ddof=1) / np.sqrt(replicas)
    assert error < 0.1 * wanted  # else 4 standard errors would say nothing
    assert abs(gaps.mean() - wanted) < 4 * error


def test_reset_cliff_table_of_stationary_and_other_experts():
    """S = 8, A = 4, N = 2000, H = 5..80: docs/theory.md#the-reset-cliff."""
    horizons = (5, 10, 20, 40, 80)
    each = [gallery.reset_cliff_gap(h, 8, 4, 2000, 2000) for h in horizons]
    shared = [gallery.reset_cliff_gap(h, 8, 4, 2000 * h, 2000 * h) for h in horizons]
    np.testing.assert_allclose(each, [0.0124, 0.0454, 0.1729, 0.6713, 2.6237], rtol=0, atol=5e-5)
    np.testing.assert_allclose(shared, [0.00248, 0.00455, 0.00869, 0.01696, 0.03351], rtol=0, atol=5e-6)
    # N = 60, S = 6, A = 4: a simulation of two figures
    cloned = [gallery.reset_cliff_gap(h, 6, 4, 60, 60) for h in (8, 16, 32, 64)]
    np.testing.assert_allclose(cloned, [0.65, 2.3, 8.1, 26.8], rtol=0.05)


@pytest.mark.parametrize("name", gallery.WORLDS)
def test_a_row_knows_its_arguments_and_sizes(name):
    """Those that are named are taken, with the values that are told; a seed draws another world."""
    entry = gallery.WORLDS[name]
    given = {key: value for key, value in entry.arguments.items() if value is not inspect.Parameter.empty}
    needed = {"states": 4, "actions": 3, "samples": 8} if len(given) < len(entry.arguments) else {}
    made = entry.build(6, **given | needed)
    if entry.states:
        assert made.world.states <= entry.states(6) <= 1.1 * made.world.states
    if entry.stationary:
        assert np.ptp(np.asarray(made.expert), axis=0).max() == 0
    if entry.drawn:
        others = [entry.build(6, **given | needed | {"seed": seed}) for seed in range(1, 9)]
        pairs = [zip(*map(jax.tree.leaves, (made, other)), strict=True) for other in others]
        assert not all(np.array_equal(x, y) for each in pairs for x, y in each)
