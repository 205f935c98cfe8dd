"""Worlds of the lower bounds, and those in which it matters what is labelled, against their closed forms."""

import itertools

import jax
import numpy as np
import pytest

from dagger_jax import evidence, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, interaction, labels, learners

RELATIVE, TINY = 1e-9, 1e-14


def gap(problem, policy):
    """Gap of a policy [L, S, A] from the start."""
    laws = exact.deploy(problem, policy)
    return laws.novice_cost - laws.guide_cost


gaps = float64(jax.vmap(gap))


def taking(action, problem):
    """The policy that takes one action everywhere. [1, S, A]"""
    return np.tile(np.eye(problem.world.actions)[action], (1, problem.world.states, 1))


def erring(problem, share):
    """The expert, replaced with probability `share` [S] by the next action."""
    expert, share = np.asarray(problem.expert), np.asarray(share)[:, None]
    return (1 - share) * expert + share * np.roll(expert, 1, axis=-1)


# ---- whatever is drawn: expectations by enumeration --------------------------------------------------------


def identity_bandits(horizon, stationary):
    """Every expert of a world of 3 states, 2 actions, 2 samples, and every data set of two trajectories."""
    world = gallery.identity_bandit(horizon, 3, 2, 2, stationary=stationary).world
    tables = np.array(list(itertools.product(range(2), repeat=3 * (1 if stationary else horizon))))
    experts = np.eye(2)[tables.reshape(len(tables), -1, 3)]
    data = np.array(list(itertools.product(range(3), repeat=2)))
    shown = (data[:, :, None] == np.arange(3)).any(1)
    return world, experts, shown, world.initial[data].prod(-1)


@pytest.mark.parametrize("stationary", [False, True])
@pytest.mark.parametrize("elsewhere", ["guess", "first action"])
def test_identity_bandit_over_all_experts_and_data(stationary, elsewhere):
    horizon = 2
    world, experts, shown, chance = identity_bandits(horizon, stationary)
    unknown = np.array([0.5, 0.5]) if elsewhere == "guess" else np.array([1.0, 0.0])
    pairs = list(itertools.product(experts, shown))
    problem = gallery.identity_bandit(horizon, 3, 2, 2, stationary=stationary)
    np.testing.assert_array_equal(problem.world.cost, 1 - problem.expert)  # so it is below, with each expert
    stacked = jax.tree.map(
        lambda *leaves: np.stack(leaves),
        *[problem.replace(world=world.replace(cost=1 - expert), expert=expert) for expert, _ in pairs],
    )
    policies = np.stack([np.where(seen[:, None], expert, unknown) for expert, seen in pairs])
    mean = np.asarray(gaps(stacked, policies)).reshape(len(experts), -1).mean(0) @ chance
    np.testing.assert_allclose(mean, gallery.identity_bandit_gap(horizon, 3, 2, 2, 2), RELATIVE, TINY)
    assert abs(mean / gallery.identity_bandit_gap(horizon, 3, 2, 2, 3) - 1) > 0.1  # other data would be seen


@pytest.mark.parametrize("stationary", [False, True])
def test_identity_bandit_draws_uniform_experts(stationary):
    drawn = [gallery.identity_bandit(40, 5, 3, seed=seed, stationary=stationary).expert for seed in range(60)]
    assert drawn[0].shape == (1 if stationary else 40, 5, 3)
    np.testing.assert_allclose(np.mean(drawn, axis=(0, 1)), 1 / 3, atol=0.2 if stationary else 0.05)


@pytest.mark.parametrize("horizon", [1, 6, 50])
@pytest.mark.parametrize("samples", [2, 5, 40])
def test_two_state_bandit_over_both_experts(horizon, samples):
    problems = {}
    for seed in range(20):
        problem = gallery.two_state_bandit(horizon, samples, seed)
        problems[int(problem.expert[0, 1].argmax())] = problem
    assert set(problems) == {0, 1}
    never_shown = (1 - 1 / samples) ** samples
    for guess in ([1.0, 0.0], [0.5, 0.5], [0.2, 0.8]):  # without a label all guesses are equally good
        policy = np.array([[[1, 0], guess]])
        mean = never_shown * np.mean([gap(problem, policy) for problem in problems.values()])
        np.testing.assert_allclose(mean, gallery.two_state_bandit_gap(horizon, samples), RELATIVE, TINY)
        assert mean >= gallery.two_state_bandit_least(horizon, samples) * (1 - 1e-12)
    twice = gallery.two_state_bandit_gap(horizon, samples, 2 * samples)
    np.testing.assert_allclose(twice, mean * never_shown, RELATIVE, TINY)
    np.testing.assert_allclose(gallery.two_state_bandit_gap(8, 2), gallery.two_state_bandit_least(8, 2), RELATIVE, TINY)


# ---- what is labelled --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{}, {"rare": 0.1, "cheap": 0.02, "dear": 0.5}])
@pytest.mark.parametrize("horizon", [1, 7, 40])
def test_cheap_and_dear(horizon, sizes):
    problem = gallery.cheap_and_dear(horizon, **sizes)
    costs = [gap(problem, taking(action, problem)) for action in range(3)]
    for action in range(3):
        np.testing.assert_allclose(costs[action], gallery.cheap_and_dear_gap(horizon, action, **sizes), RELATIVE, TINY)
    law = np.asarray(exact.deploy(problem, problem.expert).guide).mean(0)
    assert problem.world.observations == 1
    assert np.argmax(law @ problem.expert[0]) == 0  # fewest mistakes: the dear ones
    assert np.argmin(costs) == np.argmin(law @ problem.world.cost[0]) == 1  # least cost-to-go
    assert costs[0] > 2 * costs[1]  # not the same table's gap by accident
    known = evidence.constants(problem)
    np.testing.assert_allclose(known.recoverability, sizes.get("dear", 1.0), RELATIVE, TINY)
    np.testing.assert_allclose(known.span, 0, atol=TINY)


@pytest.mark.parametrize(("label", "action"), [(labels.imitate, 0), (labels.cost_to_go, 1)])
def test_cheap_and_dear_by_kind_of_label(label, action):
    """DAgger's labels lead to dear mistakes, AggreVaTe's to cheap ones."""
    problem = gallery.cheap_and_dear(9)
    learner = learners.tabular(problem.world, learners.Majority(), shared=True)
    schedule = schedules.dagger(3, 9, np.zeros(3))
    run = float64(lambda: interaction.run(problem, schedule, learner, interaction.exactly(problem), label=label).newest)
    np.testing.assert_allclose(gap(problem, run()), gallery.cheap_and_dear_gap(9, action), RELATIVE, TINY)


@pytest.mark.parametrize("horizon", [2, 5, 8, 10])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_leaf_tree(horizon, seed):
    problem = gallery.leaf_tree(horizon, seed)
    world, known = problem.world, evidence.constants(problem)
    assert world.states == 2**horizon - 1
    assert (world.cost[0] == 0).all(-1).sum() == 2 ** (horizon - 1)  # the inner nodes and one leaf
    np.testing.assert_allclose(known.recoverability, 1, RELATIVE, TINY)
    np.testing.assert_allclose(known.span, [1] * (horizon - 1) + [0], RELATIVE, TINY)
    for eps in (1e-6, 0.03, 0.5, 1.0):
        with np.errstate(divide="ignore"):
            wanted = gallery.leaf_tree_gap(horizon, eps)
        found = gap(problem, erring(problem, np.full(world.states, eps)))
        np.testing.assert_allclose(found, wanted, RELATIVE, TINY)
    laws = exact.deploy(problem, taking(0, problem) / 2 + taking(1, problem) / 2)
    np.testing.assert_allclose(
        laws.novice_cost, 1 - 0.5 ** (horizon - 1), RELATIVE, TINY
    )  # what trial and error begins with


def test_leaf_tree_draws_every_leaf():
    leaves = {int(np.asarray(exact.deploy(p, p.expert).guide)[-1].argmax()) for p in map(leaf_of_four, range(40))}
    assert leaves == {3, 4, 5, 6}


def leaf_of_four(seed):
    return gallery.leaf_tree(3, seed)


HYBRIDS = [{}, {"ideal": 5, "recoverable": 1, "actions": 3, "slip": 0.2, "stay": 3.0, "seed": 4}]


@pytest.mark.parametrize("sizes", HYBRIDS)
@pytest.mark.parametrize("horizon", [2, 9, 60])
def test_hybrid(horizon, sizes):
    problem = gallery.hybrid(horizon, **sizes)
    slip, stay = sizes.get("slip", 0.01), sizes.get("stay", 50.0)
    ideal, recoverable = sizes.get("ideal", 20), sizes.get("recoverable", 2)
    kind = np.repeat(np.arange(4), [ideal, recoverable, 1, 1])
    known = evidence.constants(problem)
    np.testing.assert_allclose(known.recoverability, 1 + stay * (1 - (1 - 1 / stay) ** (horizon - 1)), RELATIVE, TINY)
    np.testing.assert_allclose(known.value[0, kind < 2], 0, atol=TINY)
    assert (np.asarray(problem.expert)[0, kind < 2, 0] == 0).all()  # an untrained learner is wrong in E and E'

    def laws(wrong_kinds):
        return exact.deploy(problem, erring(problem, np.isin(kind, wrong_kinds)))

    def share(found, which):
        return np.asarray(found.novice)[:, kind == which].sum(-1).mean()

    taught, warm, scratch = laws([]), laws([1]), laws([0, 1])
    np.testing.assert_allclose(taught.novice_cost, 0, atol=TINY)
    np.testing.assert_allclose(warm.novice_cost, gallery.hybrid_gap(horizon, slip), RELATIVE, TINY)
    np.testing.assert_allclose(scratch.novice_cost, horizon, RELATIVE, TINY)
    np.testing.assert_allclose(share(scratch, 0), gallery.hybrid_useful(horizon, stay), RELATIVE, TINY)
    assert share(taught, 1) <= slip  # demonstrations hardly ever show E'
    assert share(warm, 1) >= max(share(taught, 1), share(warm, 3)) - 1e-15  # its own walk does, once it is off
    np.testing.assert_allclose(
        share(warm, 1) + share(warm, 3), gallery.hybrid_gap(horizon, slip) / horizon, RELATIVE, TINY
    )


def test_controls_wrong_formulas_are_seen():
    """The tolerance tells T from T + 1, and each size from its neighbour."""
    tree, world = gallery.leaf_tree(6), gallery.hybrid(30)
    wrong_recovery = np.repeat([0, 1, 0], [20, 2, 2])
    pairs = [
        (gap(tree, erring(tree, np.full(63, 1e-3))), gallery.leaf_tree_gap(7, 1e-3)),
        (gap(world, erring(world, wrong_recovery)), gallery.hybrid_gap(31)),
        (gap(world, erring(world, wrong_recovery)), gallery.hybrid_gap(30, 0.01001)),
        (gallery.hybrid_useful(30, 50), gallery.hybrid_useful(31, 50)),
        (gallery.cheap_and_dear_gap(9, 1), gallery.cheap_and_dear_gap(9, 1, rare=0.401)),
        (gallery.two_state_bandit_gap(9, 20), gallery.two_state_bandit_gap(9, 20, 21)),
    ]
    for found, wrong in pairs:
        assert abs(found / wrong - 1) > 1e5 * RELATIVE


@pytest.mark.parametrize("horizon", [5, 8, 9])
@pytest.mark.parametrize("name", ["identity_bandit", "stationary_identity_bandit", "two_state_bandit"])
def test_bandits_are_recoverable(name, horizon):
    known = evidence.constants(gallery.WORLDS[name].build(horizon))
    np.testing.assert_allclose(known.recoverability, 1, RELATIVE, TINY)
    np.testing.assert_allclose(known.span, 0, atol=TINY)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gallery.identity_bandit(5, 1), "identity_bandit needs 2 <= S <= samples . 2 and A >= 2, got S = 1"),
        (lambda: gallery.identity_bandit(5, 9, samples=6), "got S = 9, samples = 6"),
        (lambda: gallery.identity_bandit(5, actions=1), "A = 1"),
        (lambda: gallery.two_state_bandit(5, 1), "two_state_bandit needs samples >= 2, got 1"),
        (lambda: gallery.cheap_and_dear(5, 0.5), "cheap_and_dear needs 0 < rare < 1/2.*got rare = 0.5"),
        (lambda: gallery.cheap_and_dear(5, cheap=0.9), "cheap < rare dear, got rare = 0.4, cheap = 0.9"),
        (lambda: gallery.cheap_and_dear(5, dear=2), "dear <= 1.*dear = 2"),
        (lambda: gallery.leaf_tree(1), "leaf_tree needs 2 <= horizon <= 10.*got T = 1"),
        (lambda: gallery.leaf_tree(11), "got T = 11"),
        (lambda: gallery.hybrid(5, 0), "hybrid needs ideal >= 1.*got ideal = 0"),
        (lambda: gallery.hybrid(5, actions=2), "A >= 3.*A = 2"),
        (lambda: gallery.hybrid(5, slip=1.5), "0 <= slip <= 1.*slip = 1.5"),
        (lambda: gallery.hybrid(5, stay=float("nan")), "stay >= 1.*stay = nan"),
        (lambda: gallery.hybrid(0), "horizon must be at least 1 step"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()
