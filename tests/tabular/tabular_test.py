"""Tabular worlds: what is refused, in which words, and backward induction against brute force."""

import itertools

import numpy as np
import pytest

from dagger_jax import tabular
from dagger_jax.tabular import experts, gallery

T, S, A = 4, 3, 2


def arrays(over_time=(), seed=0):
    """Good arrays of a world; `over_time` names those that are given for T steps."""
    rng = np.random.default_rng(seed)
    steps = {name: (T,) if name in over_time else () for name in ("transition", "cost")}
    return {
        "transition": rng.dirichlet(np.ones(S), (*steps["transition"], S, A)),
        "cost": rng.random((*steps["cost"], S, A)),
        "initial": rng.dirichlet(np.ones(S)),
        "observation": np.array([0, 1, 0]),
    }


def spoiled(name, index, value, over_time=()):
    good = arrays(over_time)
    good[name] = good[name].copy()
    good[name][index] = value
    return good


# ---- acceptance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_time", [(), ("transition",), ("cost",), ("transition", "cost")])
def test_world_is_accepted_with_and_without_time(over_time):
    good = arrays(over_time)
    world = tabular.world(horizon=T, **good)
    assert (world.states, world.actions, world.horizon, world.observations) == (S, A, T, 2)
    for name in ("transition", "cost"):
        array = getattr(world, name)
        assert array.shape[0] == (T if name in over_time else 1)
        for t in range(T):
            wanted = good[name][t] if name in over_time else good[name]
            np.testing.assert_allclose(tabular.at(array, t), wanted, rtol=1e-6)  # `at` is float32 here
    np.testing.assert_allclose(world.initial, good["initial"], rtol=1e-15)
    np.testing.assert_array_equal(world.observation, good["observation"])


def test_without_observation_the_state_is_seen():
    good = arrays()
    del good["observation"]
    world = tabular.world(horizon=T, **good)
    np.testing.assert_array_equal(world.observation, np.arange(S))
    assert world.observations == S


def test_rows_are_normalised_in_float64():
    good = arrays()
    rounded = {name: good[name].astype(np.float32) for name in ("transition", "cost", "initial")}
    off = rounded["transition"].astype(float).sum(-1) - 1
    assert np.abs(off).max() > 1e-9  # float32 rows do not sum to 1
    world = tabular.world(horizon=T, **rounded)
    assert world.transition.dtype == world.initial.dtype == np.float64
    np.testing.assert_allclose(world.transition.sum(-1), 1, rtol=0, atol=4e-16)
    np.testing.assert_allclose(world.initial.sum(), 1, rtol=0, atol=4e-16)


def test_rounding_is_put_right_without_a_word():
    """An absorbing state under 20% random actions of five, and a cost that was computed."""
    good = arrays()
    stays = 1 - 0.2
    for _ in range(4):
        stays += 0.05
    assert stays > 1
    good["transition"][0, 0] = stays, 0, 0
    good["cost"][0] = -1e-18, 1 + 3e-16
    world = tabular.world(horizon=T, **good)
    np.testing.assert_array_equal(world.transition[0, 0, 0], [1, 0, 0])
    np.testing.assert_array_equal(world.cost[0, 0], [0, 1])
    answer = np.array([stays, -1e-18])
    np.testing.assert_array_equal(experts.called(world, lambda step, state: answer)[0, 0], [1, 0])


@pytest.mark.parametrize("digits", [6, 4])
def test_printed_tables_are_normalised_and_it_is_told_by_how_much(digits):
    good = arrays()
    good["transition"][1, 1] = np.round([1 / 3, 1 / 3, 1 / 3], digits)
    with pytest.warns(UserWarning, match=r"^transition sums to 1 within \S+ only: it is normalised$"):
        world = tabular.world(horizon=T, **good)
    np.testing.assert_allclose(world.transition[0, 1, 1], 1 / 3, rtol=1e-15)
    good = arrays()
    good["cost"][1, 1] = 1 + 10.0**-digits / 2
    with pytest.warns(UserWarning, match=r"^cost has entries outside \[0, 1\] by up to 5e-0\d: they are clipped$"):
        assert tabular.world(horizon=T, **good).cost.max() == 1


# ---- refusals ------------------------------------------------------------------------------------------

REFUSED = [
    (("transition", (1, 0, 2), -0.1), r"transition\[1, 0, 2\] is -0.1: it must lie in \[0, 1\]"),
    (("transition", (2, 1), 0.25), r"transition\[2, 1\] sums to 0.75: probabilities must sum to 1"),
    (("transition", (0, 1, 0), np.nan), r"transition\[0, 1, 0\] is nan: it must be finite"),
    (("transition", (3, 2, 1), 0.5, ("transition",)), r"transition\[3, 2, 1\] sums to 1.5"),
    (("transition", (3, 2, 1, 0), 2.0, ("transition",)), r"transition\[3, 2, 1, 0\] is 2: it must lie"),
    (("cost", (1, 1), 1.5), r"cost\[1, 1\] is 1.5: it must lie in \[0, 1\]"),
    (("cost", (1, 1), -1.5e-4), r"cost\[1, 1\] is -0.00015: it must lie in \[0, 1\]"),
    (("cost", (1, 1), 1.000123456), r"cost\[1, 1\] is 1.00012346: it must lie in \[0, 1\]"),
    (("cost", (2, 0, 1), 7.0, ("cost",)), r"cost\[2, 0, 1\] is 7: it must lie in \[0, 1\]"),
    (("cost", (2, 0), np.inf), r"cost\[2, 0\] is inf: it must be finite"),
    (("initial", slice(None), 0.25), r"initial sums to 0.75: probabilities must sum to 1"),
    (("initial", 1, -0.5), r"initial\[1\] is -0.5: it must lie in \[0, 1\]"),
    (("initial", 2, np.nan), r"initial\[2\] is nan"),
    (("observation", 2, -1), r"observation\[2\] is -1"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:24] for _, message in REFUSED])
def test_world_refuses_by_array_and_index(change, message, tmp_path):
    content = spoiled(*change)
    with pytest.raises(ValueError, match="^" + message):
        tabular.world(horizon=T, **content)
    np.savez(tmp_path / "world.npz", **content)
    with pytest.raises(ValueError, match=r"world\.npz: " + message):  # and from a file, named
        tabular.load(tmp_path / "world.npz", T)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"transition": np.ones((S, A))}, "transition must have 3 axes, or 4 where given over time, got 2"),
        ({"cost": np.zeros(S)}, "cost must have 2 axes, or 3 where given over time, got 1"),
        ({"transition": np.full((2, A, 2), 0.5)}, r"transition must have shape \[3, 2, 3\].*got \[2, 2, 2\]"),
        ({"transition": np.full((S, A, 4), 0.25)}, r"transition must have shape \[3, 2, 3\].*got \[3, 2, 4\]"),
        ({"initial": np.full(4, 0.25)}, r"initial must have shape \[3\].*got \[4\]"),
        ({"observation": np.zeros(4, int)}, r"observation must have shape \[3\].*got \[4\]"),
        ({"observation": np.zeros(S)}, "observation must hold integers"),
        ({"observation": np.array([0, 1, 2**40])}, r"observation\[2\] is 1099511627776"),
        ({"cost": np.full((S, A), "dear")}, "cost must hold real numbers"),
        ({"cost": np.zeros((S, A)) + 1j}, "cost must hold real numbers"),
        (
            {"cost": np.zeros((S, 1)), "transition": np.full((S, 1, S), 1 / S)},
            "at least 2 actions",
        ),
        ({"cost": np.zeros((T - 1, S, A))}, f"cost is given for {T - 1} steps, but the horizon is {T}"),
        ({"transition": np.full((T + 1, S, A, S), 1 / S)}, f"transition is given for {T + 1} steps, but"),
    ],
)
def test_world_refuses_shapes_and_kinds(content, message):
    with pytest.raises(ValueError, match=message):
        tabular.world(horizon=T, **(arrays() | content))


@pytest.mark.parametrize("horizon", [0, -3])
def test_world_refuses_horizon(horizon):
    with pytest.raises(ValueError, match=f"horizon must be at least 1 step, got {horizon}"):
        tabular.world(horizon=horizon, **arrays())


# ---- backward induction ----------------------------------------------------------------------------------


def cost_of(world, policy):
    """Total cost of a policy [T, S, A], step by step, in numpy."""
    law, total = world.initial, 0.0
    for t in range(world.horizon):
        moves = law[:, None] * policy[t]
        total += (moves * world.cost[t if len(world.cost) > 1 else 0]).sum()
        law = np.einsum("sa,sap->p", moves, world.transition[t if len(world.transition) > 1 else 0])
    return total


@pytest.mark.parametrize("stationary", [True, False])
def test_backward_against_all_deterministic_policies(stationary):
    """2^(2 x 3) = 64 deterministic policies of a world of 2 states, 2 actions and 3 steps."""
    for seed in range(3):
        world = gallery.random_mdp(3, states=2, actions=2, seed=seed, stationary=stationary).world
        totals = []
        for choice in itertools.product([0, 1], repeat=6):
            policy = np.eye(2)[np.reshape(choice, (3, 2))]
            totals.append(cost_of(world, policy))
            value = tabular.backward(world, policy)[1]
            np.testing.assert_allclose(value[0] @ world.initial, totals[-1], rtol=1e-13)
        assert len(totals) == 64
        to_go, value = tabular.backward(world)
        np.testing.assert_allclose(value[0] @ world.initial, min(totals), rtol=1e-13)
        np.testing.assert_allclose(cost_of(world, experts.optimal(world)), min(totals), rtol=1e-13)
        np.testing.assert_array_equal(value[:-1], to_go.min(-1))
        np.testing.assert_array_equal(value[-1], 0)


def test_backward_of_a_stochastic_policy_and_of_a_stationary_one():
    world = gallery.random_mdp(5, seed=4).world
    policy = np.random.default_rng(0).dirichlet(np.ones(3), (5, 5))
    to_go, value = tabular.backward(world, policy)
    np.testing.assert_allclose(value[0] @ world.initial, cost_of(world, policy), rtol=1e-13)
    np.testing.assert_allclose(value[:-1], (policy * to_go).sum(-1), rtol=1e-13)
    fixed = tabular.backward(world, policy[:1])[1]
    np.testing.assert_allclose(fixed, tabular.backward(world, np.repeat(policy[:1], 5, 0))[1], rtol=1e-15)


def test_reachable_against_walks():
    """On a sparse world: the states that some sequence of actions reaches, by sets."""
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 20, (5, 20, 2))
    transition = np.eye(20)[targets]
    transition[:, :, 1] = 0.5**30 * transition[:, :, 1] + (1 - 0.5**30) * transition[:, :, 0]  # hardly ever
    world = tabular.world(transition, np.zeros((20, 2)), np.eye(20)[2], 5)
    here = {2}
    for t, reached in enumerate(tabular.reachable(world)):
        assert set(np.flatnonzero(reached)) == here
        here = {int(s) for state in here for s in targets[t, state]}
    assert 4 < reached.sum() < 20  # not vacuous: some states stay out of reach
    assert tabular.reachable(world).dtype == bool


def test_softened_expert_is_the_softmax_of_optimal_costs_to_go():
    world = gallery.random_mdp(4, seed=1).world
    to_go = tabular.backward(world)[0]
    weights = np.exp(-to_go / 0.3)
    np.testing.assert_allclose(experts.softened(world, 0.3), weights / weights.sum(-1, keepdims=True), rtol=1e-12)
    cold = experts.softened(world, 1e-4)
    np.testing.assert_allclose(cold, experts.optimal(world), atol=1e-6)


def test_optimal_expert_breaks_ties_low_in_spite_of_rounding():
    costs = np.array([[0.1 + 0.2, 0.3, 0.3]])  # 0.1 + 0.2 > 0.3 by one unit in the last place
    world = tabular.world(np.ones((1, 3, 1)), costs, np.ones(1), 2)
    np.testing.assert_array_equal(experts.optimal(world), np.eye(3)[[[0], [0]]])


def test_deterministic_expert():
    np.testing.assert_array_equal(experts.deterministic(np.array([1, 0]), 2), [[[0, 1], [1, 0]]])
    assert experts.deterministic(np.zeros((4, 2), int), 3).shape == (4, 2, 3)
