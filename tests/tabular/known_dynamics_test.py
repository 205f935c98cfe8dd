"""Mimic-MD and replay estimation: the estimate, the linear program, the gain over cloning, and what is refused."""

import itertools

import jax
import numpy as np
import pytest

from dagger_jax import randomness, schedules
from dagger_jax.tabular import exact, gallery, known_dynamics, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.known_dynamics import Demonstrations

# HiGHS conserves the flow to 1e-7; sums over at most 32 x 8 x 4 entries.
SOLVER = 1e-5
TRACE = jax.jit(rollout.trace)


def shown(problem, count, seed=0):
    """Demonstrations of the expert by the library's own sampler."""
    row = schedules.row(schedules.behavioural_cloning(1, problem.world.horizon), 0)
    uniform = np.full((1, problem.world.states, problem.world.actions), 1 / problem.world.actions)
    key = randomness.for_round(randomness.words(jax.random.key(seed)), 0)
    trace = TRACE(rollout.tables(problem), uniform, row, key, np.arange(count, dtype=np.uint32))
    return known_dynamics.demonstrations(trace)


def gap_of(problem, policy):
    done = exact.deploy(problem, policy)
    return float(done.novice_cost - done.guide_cost)


def occupancy_of(problem, policy):
    law = exact.deploy(problem, policy).novice
    return law[..., None] * np.broadcast_to(policy, (problem.world.horizon, *policy.shape[1:]))


# ---- the data --------------------------------------------------------------------------------------------


def test_demonstrations_are_the_experts_runs():
    """Frequencies of 4,000 runs against the law: five standard errors of a share are at most 5 / (2 sqrt(4000))."""
    problem = gallery.random_mdp(4, 3, 2, 1)
    data = shown(problem, 4000)
    assert data.states.shape == data.actions.shape == (4, 4000)
    seen = known_dynamics.counts(problem.world, data) / 4000
    np.testing.assert_allclose(seen, occupancy_of(problem, problem.expert), atol=0.04)
    assert (data.actions == problem.expert.argmax(-1)[np.arange(4)[:, None], data.states]).all()


def test_clone():
    problem = gallery.random_mdp(4, 5, 3, 1)
    data = shown(problem, 3)
    policy = known_dynamics.clone(problem.world, data)
    seen = known_dynamics.counts(problem.world, data).sum(-1) > 0
    np.testing.assert_array_equal(policy[seen], problem.expert[seen])
    np.testing.assert_allclose(policy[~seen], 1 / 3)
    assert seen.any()
    assert (~seen).any()


def test_simulated_runs_follow_the_policy():
    """20,000 runs: five standard errors of a share."""
    problem = gallery.random_mdp(3, 3, 2, 2)
    policy = np.random.default_rng(0).dirichlet(np.ones(2), (3, 3))
    runs = known_dynamics.simulate(problem.world, policy, 20_000, np.random.default_rng(1))
    seen = known_dynamics.counts(problem.world, runs) / 20_000
    np.testing.assert_allclose(seen, occupancy_of(problem, policy), atol=5 * 0.5 / np.sqrt(20_000))


# ---- the estimate ----------------------------------------------------------------------------------------


def test_the_target_is_unbiased_over_all_data_sets():
    """2 steps, 2 states, 3 demonstrations, so 4^3 data sets: the expectation is the expert's occupancy, exactly.

    For Mimic-MD and for replay at any softness. The control: D2's part alone is not.
    """
    problem = gallery.random_mdp(2, 2, 2, 3)
    acts = np.asarray(problem.expert).argmax(-1)
    chance = {
        (s, r): problem.world.initial[s] * problem.world.transition[0, s, acts[0, s], r]
        for s, r in itertools.product(range(2), repeat=2)
    }
    mimic, soft, control = np.zeros((3, 2, 2, 2))
    for data in itertools.product(chance, repeat=3):
        weight = np.prod([chance[run] for run in data])
        states = np.array(data).T
        given = Demonstrations(states, acts[np.arange(2)[:, None], states])
        mimic += weight * known_dynamics.mimic_md(problem.world, given).target
        soft += weight * known_dynamics.replay(problem.world, given, softness=0.7).target
        first = Demonstrations(*(part[:, :2] for part in given))
        known = known_dynamics.counts(problem.world, first).sum(-1) > 0
        law = known_dynamics.clone(problem.world, first)
        control += weight * known_dynamics.stays(problem.world, law, known)
    truth = occupancy_of(problem, problem.expert)
    np.testing.assert_allclose(mimic, truth, atol=1e-12)
    np.testing.assert_allclose(soft, truth, atol=1e-12)
    assert np.abs(control - truth).max() > 0.01


def test_hard_replay_is_mimic_mds_estimate():
    """For a deterministic expert; simulated runs come near it as 1 / sqrt(m): five standard errors of a share."""
    problem = gallery.random_mdp(6, 5, 3, 4)
    data = shown(problem, 12)
    mimic = known_dynamics.mimic_md(problem.world, data)
    replayed = known_dynamics.replay(problem.world, data, mimicking=True)
    np.testing.assert_allclose(replayed.target, mimic.target, atol=1e-12)
    np.testing.assert_allclose(replayed.distance, mimic.distance, atol=SOLVER)
    free = known_dynamics.replay(problem.world, data)
    assert free.distance < mimic.distance - 0.01  # any policy may be chosen
    sampled = known_dynamics.replay(problem.world, data, 40_000)
    np.testing.assert_allclose(sampled.target, mimic.target, atol=5 * 0.5 / np.sqrt(40_000))
    other = known_dynamics.replay(problem.world, data, 40_000, seed=1)
    again = known_dynamics.replay(problem.world, data, 40_000)
    assert (other.target != sampled.target).any()
    np.testing.assert_array_equal(again.target, sampled.target)


def test_an_expert_that_draws_its_action_is_left_to_the_second_half():
    """D1 shows two actions in the only state: nothing is known, and the target is what D2 shows."""
    world = tabular.world(np.ones((1, 2, 1)), np.zeros((1, 2)), np.ones(1), 2)
    data = Demonstrations(np.zeros((2, 4), int), np.array([[0, 1, 1, 1], [0, 1, 0, 1]]))
    done = known_dynamics.mimic_md(world, data)
    np.testing.assert_allclose(done.target[:, 0], [[0, 1], [0.5, 0.5]])
    np.testing.assert_allclose(done.policy[:, 0], [[0, 1], [0.5, 0.5]], atol=SOLVER)
    # Replay's clone has the frequencies 1/2 of D1, with which its own runs go on.
    np.testing.assert_allclose(known_dynamics.replay(world, data).target, 0.5, atol=1e-12)


# ---- the linear program ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_no_policy_is_nearer(seed):
    """2 steps, 2 states, 2 actions: against 20,000 random policies and all 16 deterministic ones."""
    problem = gallery.random_mdp(2, 2, 2, seed)
    rng = np.random.default_rng(seed)
    target = rng.random((2, 2, 2)) * rng.random()
    done = known_dynamics.match(problem.world, target)
    policies = np.concatenate(
        [
            rng.dirichlet(np.full(2, 0.5), (20_000, 2, 2)),
            np.eye(2)[list(itertools.product(range(2), repeat=4))].reshape(-1, 2, 2, 2),
        ]
    )
    first = problem.world.initial[:, None] * policies[:, 0]
    second = np.einsum("nsa,sap->np", first, problem.world.transition[0])[..., None] * policies[:, 1]
    distance = np.abs(first - target[0]).sum((1, 2)) + np.abs(second - target[1]).sum((1, 2))
    assert done.distance <= distance.min() + SOLVER
    assert done.distance >= distance.min() - 0.05  # the grid of random policies is as fine as that
    np.testing.assert_allclose(done.occupancy, occupancy_of(problem, done.policy), atol=1e-12)
    np.testing.assert_allclose(done.policy.sum(-1), 1, rtol=1e-12)


@pytest.mark.parametrize("temperature", [None, 0.3])
def test_an_occupancy_is_matched_exactly(temperature):
    problem = gallery.random_mdp(8, 5, 3, 2, temperature=temperature)
    target = occupancy_of(problem, problem.expert)
    done = known_dynamics.match(problem.world, target)
    assert done.distance <= SOLVER
    np.testing.assert_allclose(gap_of(problem, done.policy), 0, atol=SOLVER)


def test_only_allowed_actions_are_taken():
    problem = gallery.random_mdp(5, 4, 3, 2)
    allowed = np.random.default_rng(0).random((5, 4, 3)) < 0.5
    allowed[..., 0] |= ~allowed.any(-1)
    target = occupancy_of(problem, problem.expert)
    done = known_dynamics.match(problem.world, target, allowed)
    assert (done.policy[~allowed] == 0).all()
    assert done.distance > 0.1
    assert done.distance >= known_dynamics.match(problem.world, target).distance


def test_a_state_without_mass_has_a_uniform_policy():
    done = known_dynamics.match(gallery.cliff(4).world, np.zeros((4, 2, 2)) + [[[1.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(done.policy[:, 1], 0.5)
    np.testing.assert_allclose(done.policy[:, 0], np.tile([1.0, 0.0], (4, 1)), atol=SOLVER)


# ---- what it is for --------------------------------------------------------------------------------------


def test_with_many_demonstrations_the_expert_is_found():
    """All states of notable probability are known from 2,000 runs; what is left costs less than 1 %."""
    problem = gallery.random_mdp(6, 4, 3, 0)
    data = shown(problem, 4000)
    free = known_dynamics.replay(problem.world, data, softness=0.1)
    for done in (known_dynamics.mimic_md(problem.world, data), free):
        assert done.distance < 0.01
        assert abs(gap_of(problem, done.policy)) < 0.01 * float(exact.deploy(problem, problem.expert).guide_cost)


@pytest.mark.parametrize("world", ["random", "reset cliff"])
def test_mimic_md_loses_less_than_cloning_on_average(world):
    """60 data sets of 8 demonstrations, 16 steps, 8 states, 4 actions: paired differences, by their standard error.

    Cloning has all 8 demonstrations, Mimic-MD 4 for what it knows. On the reset cliff knowing the transitions is
    enough to stay on the path (docs/theory.md#known-transitions): little is left of cloning's gap.
    """
    sets, each = 60, 8
    if world == "random":
        problem = gallery.random_mdp(16, 8, 4, 5, concentration=0.2)
    else:
        problem = gallery.reset_cliff(16, 8, 4, each, 0)
    data = shown(problem, sets * each)
    parts = [Demonstrations(*(part[:, i::sets] for part in data)) for i in range(sets)]
    cloned, mimicked = (
        np.array([gap_of(problem, policy(problem.world, part)) for part in parts])
        for policy in (known_dynamics.clone, lambda *given: known_dynamics.mimic_md(*given).policy)
    )
    error = (cloned - mimicked).std(ddof=1) / np.sqrt(sets)
    assert (cloned - mimicked).mean() > 3 * error > 0
    if world == "reset cliff":
        assert mimicked.mean() < 0.1 * cloned.mean()


# ---- what is refused -------------------------------------------------------------------------------------


def test_refusals():
    world = gallery.cliff(3).world  # in state 0 action 0 stays, 1 leads to state 1 for good
    good = Demonstrations(np.zeros((3, 4), int), np.zeros((3, 4), int))
    assert known_dynamics.mimic_md(world, good).distance < SOLVER

    def changed(which, step, run, value):
        parts = [part.copy() for part in good]
        parts[which][step, run] = value
        return Demonstrations(*parts)

    for data, message in (
        (Demonstrations(good.states[:2], good.actions[:2]), r"T = 3, got \[2, 4\] and \[2, 4\]"),
        (Demonstrations(good.states, good.actions[:, :2]), r"T = 3, got \[3, 4\] and \[3, 2\]"),
        (
            Demonstrations(good.states[:, :1], good.actions[:, :1]),
            "at least 2 demonstrations, one for each half, got 1",
        ),
        (Demonstrations(good.states * 1.0, good.actions), "numbers of states, integers, got float64"),
        (changed(0, 1, 2, 5), "demonstration 2 has state 5 at step 1: there are 2"),
        (changed(1, 2, 3, -1), "demonstration 3 has action -1 at step 2: there are 2"),
        (changed(0, 0, 1, 1), "demonstration 1 starts in state 1, where no episode starts"),
        (changed(0, 2, 1, 1), "goes from state 0 by action 0 to state 1 at step 1, which the world never does"),
    ):
        with pytest.raises(ValueError, match=message):
            known_dynamics.mimic_md(world, data)
    for softness in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"softness must be a finite number of demonstrations.*, got {softness}"):
            known_dynamics.replay(world, good, softness=softness)
    with pytest.raises(ValueError, match="rollouts must be at least 1, or None for exact occupancies, got 0"):
        known_dynamics.replay(world, good, 0)
    with pytest.raises(ValueError, match=r"target must be an occupancy \[T, S, A\] = \[3, 2, 2\], at least 0"):
        known_dynamics.match(world, -np.ones((3, 2, 2)))
    with pytest.raises(ValueError, match="leave an action at every step and state"):
        known_dynamics.match(world, np.zeros((3, 2, 2)), np.zeros((3, 2, 2), bool))


def test_a_trace_that_is_no_demonstration_is_refused():
    problem = gallery.cliff(3)
    row = schedules.row(schedules.chunked(1, schedules.starts(3, 1)), 0)
    key = randomness.for_round(randomness.words(jax.random.key(0)), 0)
    trace = rollout.trace(rollout.tables(problem), problem.expert, row, key, np.arange(4, dtype=np.uint32))
    with pytest.raises(ValueError, match="jumped to the novice's state at step 1"):
        known_dynamics.demonstrations(trace)
    with pytest.raises(ValueError, match="the novice walked alone"):
        known_dynamics.demonstrations(trace._replace(guide=None))
