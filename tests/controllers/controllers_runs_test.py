"""Controllers over whole runs: gates against plain Python, budgets kept in exact evidence, one program for all."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import controllers, gallery, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, interaction, learners, rollout

T = 16
UPDATE = jax.jit(lambda controller, state, seen: controller.update(state, seen))


def steered(controller, evidence):
    """k of every round: `evidence` makes (eps by offset, cost) of (round, k)."""
    state, starts = jax.tree.map(jnp.asarray, controller.init(T))
    played, rounds = [], 10
    for n in range(rounds):
        played.append(int(schedules.offsets(starts).max()) + 1)
        by_offset, cost = evidence(n, played[-1])
        eps = np.asarray(by_offset)[schedules.offsets(starts)]
        seen = controllers.Seen(starts, jnp.asarray(eps), jnp.ones(T), jnp.asarray(cost, float), jnp.asarray(jnp.inf))
        state, starts = UPDATE(controller, state, seen)
    return played


# ---- gates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 3])
def test_jump_start_halves_only_while_performance_holds(window):
    costs = [5.0, 4.0, 4.0, 9.0, 9.0, 9.0, 4.0, 3.0, 3.0, 3.0]
    played = steered(controllers.JumpStart(0.1, window), lambda n, k: (np.zeros(T), costs[n]))
    wanted, k, best = [], T, np.inf
    for n in range(10):
        wanted.append(k)
        if n + 1 >= window:
            average = np.mean(costs[n + 1 - window : n + 1])
            if average <= best * 1.1:
                k = max(k // 2, 1)
            best = min(best, average)
    assert played == wanted
    assert played[0] == T
    assert played[4] == played[5]  # waits


def test_adaptive_window_doubles_while_chunks_stay_fresh():
    """Where errors grow at the fifth step of a chunk 8 steps are stale, 4 are not."""
    flat = steered(controllers.AdaptiveWindow(), lambda n, k: (np.full(T, 0.1), 0.0))
    assert flat == [2, 4, 8] + [16] * 7
    late = np.where(np.arange(T) < 4, 0.1, 0.9)
    assert steered(controllers.AdaptiveWindow(), lambda n, k: (late, 0.0)) == [2, 4, 8] + [4, 8] * 3 + [4]
    # the second half of 8 offsets has twice the mean of the first: stale below 1, fresh above
    double = np.where(np.arange(T) < 4, 0.1, 0.2)
    assert max(steered(controllers.AdaptiveWindow(0.9), lambda n, k: (double, 0.0))) == 8
    assert max(steered(controllers.AdaptiveWindow(1.1), lambda n, k: (double, 0.0))) == 16


def test_change_point_ends_chunks_where_errors_change():
    """Doubles to the horizon where nothing changes; where the error jumps at offset 6 k returns to 6."""
    flat = steered(controllers.ChangePoint(), lambda n, k: (np.full(T, 0.1), 0.0))
    assert flat == [4, 8] + [16] * 8
    jump = np.where(np.arange(T) < 6, 0.1, 0.8)
    played = steered(controllers.ChangePoint(), lambda n, k: (jump, 0.0))
    assert played == [4, 8] + [6, 12] * 4  # it looks further each other round


# ---- budgets ---------------------------------------------------------------------------------------------------


def mean_distance(problem, policy, starts):
    """(1/k) sum_{j<k} T_j of an equal partition, exact: T_j the mean over chunks that last so long. And k."""
    row = schedules.row(schedules.chunked(1, starts), 0)
    parted, _ = schedules.by_offset(1 - exact.play(problem, policy, row).overlap, starts)
    k = schedules.offsets(starts).max() + 1
    return jnp.where(jnp.arange(T) < k - 1, parted, 0.0).sum() / k, k


@float64
def shown_next(problems, budgets, smoothing):
    """What each next k shows, with proven budgets and with others: (mean distance, k), [40, 4, 7] each."""

    def one(problem, budget, proven):
        learner = learners.tabular(problem.world, learners.LogLoss(smoothing), shared=True)
        outcome = interaction.run(
            problem,
            schedules.chunked(8, np.ones(T)),
            learner,
            interaction.exactly(problem),
            measure=lambda moment: (moment.row.join, moment.acting),
            controller=controllers.DetectabilityBudget(budget, proven=proven),
        )
        join, acting = outcome.measured
        return jax.vmap(lambda policy, starts: mean_distance(problem, policy, starts))(acting[:-1], join[1:])

    def both(problem, budget):
        return tuple(one(problem, budget, proven) for proven in (True, False))

    return jax.vmap(jax.vmap(both, (None, 0)), (0, None))(problems, budgets)


@pytest.fixture(scope="module", params=[(None, 1.0, 0.5), (None, 0.1, 0.1), (0.3, 1.0, 0.5), (0.3, 0.05, 0.1)])
def budgeted(request):
    """40 random worlds x 4 budgets x 8 rounds of learning: budgets, and what each next k would show. [2, 40, 4, 7]"""
    temperature, smoothing, concentration = request.param
    worlds = [
        gallery.random_mdp(T, 4, 2, seed, temperature=temperature, concentration=concentration) for seed in range(40)
    ]

    budgets = np.array([0.05, 0.1, 0.2, 0.4])
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *worlds)
    return budgets[:, None], shown_next(batch, budgets, smoothing)


def test_a_proven_budget_is_never_exceeded(budgeted):
    """Exact evidence: whatever k was chosen, played by the policy that it was chosen for, it keeps the budget."""
    budgets, ((mean, k), _) = budgeted
    assert (mean <= budgets + 1e-9).all()
    assert (k > 1).mean() > 0.2
    assert mean.max() > 0.2
    assert len(np.unique(k)) > 1


def test_an_extrapolated_budget_is_exceeded_seldom_and_little(budgeted):
    """Chunks of another length start in other states, and T_j beyond those played is a guess."""
    budgets, (_, (mean, k)) = budgeted
    assert (mean > budgets + 1e-9).mean() < 0.1
    assert (mean <= 1.5 * budgets).all()
    assert (k > 1).mean() > 0.2


def test_certain_means_hold_where_training_never_went():
    """Chunks of 4 show eps = 0.02 at every step; a lost learner is seen from other starts only."""
    problem, starts = gallery.chunk_reset(T), np.asarray(schedules.starts(T, 4), float)
    policy = np.tile(np.array([[0.98, 0.02], [0.0, 1.0]]), (T, 1, 1))
    policy[starts > 0, 1] = 0.98, 0.02
    agreement = exact.play(problem, policy, schedules.row(schedules.chunked(1, jnp.asarray(starts)), 0)).agreement
    zero, endless = jnp.zeros(()), jnp.asarray(jnp.inf)
    seen = controllers.Seen(jnp.asarray(starts), jnp.full(T, 0.02), jnp.asarray(agreement), zero, endless)
    means = np.asarray(controllers.certain_means(seen, 2.0))
    truth = [float64(mean_distance)(problem, policy, schedules.starts(T, k))[0] for k in range(1, T + 1)]
    assert (truth <= means + 1e-6).all()  # float32
    assert truth[1] > 1.5 * 0.02 / 2  # eps alone would be too small a bound of T_1


@pytest.mark.parametrize("played", [1, 4])
@pytest.mark.parametrize("proven", [False, True])
def test_sampled_budgets_are_exceeded_as_often_as_stated(played, proven):
    """Two standard deviations, 2.3% of 2,000 replicas of 100 episodes, plus 4 standard errors of that share.

    The learner errs by 0.05 everywhere, so T_j = 1 - 0.95^j from any start. Without a margin half would exceed.
    """
    problem, policy = gallery.chunk_reset(T), np.array([[[0.95, 0.05], [0.95, 0.05]]])
    world, ids = rollout.tables(problem), np.arange(100, dtype=np.uint32)
    starts = jnp.asarray(schedules.starts(T, played), float)
    row = schedules.row(schedules.chunked(1, starts), 0)
    means = np.cumsum(1 - 0.95 ** np.arange(T)) / np.arange(1, T + 1)
    # just below the mean of the next length: the least mistake exceeds it
    budget = 0.999 * means[2 * played - 1]

    @jax.jit
    def replicas(keys):
        def one(key):
            play = rollout.play(world, policy, row, key, ids)[0]
            law = jnp.asarray(play.guide).sum(-1)
            eps = law @ jnp.asarray([0.05, 0.05])
            seen = controllers.Seen(starts, eps, jnp.asarray(play.agreement), jnp.zeros(()), jnp.asarray(100.0))
            lengths = []
            for deviations in (2.0, 0.0):
                controller = controllers.DetectabilityBudget(budget, deviations, played, proven)
                lengths.append(schedules.offsets(controller.update(jnp.asarray(played), seen)[1]).max() + 1)
            return jnp.stack(lengths)

        return jax.vmap(one)(keys)

    keys = randomness.words(jax.vmap(jax.random.key)(np.arange(2000)))
    safe, bare = np.asarray(replicas(keys)).T
    share = 0.0228
    assert (means[safe - 1] > budget).mean() <= share + 4 * np.sqrt(share / 2000)
    assert safe.max() >= played  # it does not merely give up
    if not proven:
        assert (means[bare - 1] > budget).mean() > 0.2


# ---- one program -------------------------------------------------------------------------------------------------

EVERY = {
    "fixed": lambda x: controllers.Fixed(1 + (8 * x).astype(int)),
    "budget of detectability": lambda x: controllers.DetectabilityBudget(x),
    "proven": lambda x: controllers.DetectabilityBudget(x, proven=True),
    "AIMD": lambda x: controllers.AdditiveIncrease(0.5 + x / 2, 1 + x, x),
    "budget": lambda x: controllers.Budget(1.0, x, 100.0, x),
    "closed form": lambda x: controllers.Budget(1.0, x, 100.0, x, exact=False),
    "jump start": controllers.JumpStart,
    "window": controllers.AdaptiveWindow,
    "change point": lambda x: controllers.ChangePoint(),
}


@pytest.mark.parametrize("name", EVERY)
def test_one_program_whatever_it_chooses(name):
    """Vmapped over parameters and seeds, inside the outer scan, sampled and exact; lengths cover the episode."""
    problem = gallery.random_mdp(T, 3, 2, seed=7, temperature=0.3)
    world, learner = rollout.tables(problem), learners.tabular(problem.world, learners.LogLoss(1.0), shared=True)
    ids = jnp.arange(20, dtype=jnp.uint32)
    traces = []

    def run(problem, x, key):
        traces.append(x)

        def with_(interpreter, episodes):
            schedule = schedules.chunked(6, jnp.ones(T))
            outcome = interaction.run(
                problem, schedule, learner, interpreter, measure=lambda m: m.row.join, controller=EVERY[name](x),
                episodes=episodes,
            )  # fmt: skip
            return outcome.measured, outcome.control

        return with_(interaction.by_sampling(world, key, ids), 20.0), with_(interaction.exactly(problem), jnp.inf)

    compiled = jax.jit(jax.vmap(jax.vmap(run, (None, None, 0)), (None, 0, None)))
    for first in (0, 5):
        keys = randomness.words(jax.vmap(jax.random.key)(np.arange(first, first + 3)))
        parameters = np.linspace(0.05 + first / 100, 0.9, 4, dtype=np.float32)
        for starts, control in jax.device_get(compiled(problem, parameters, keys)):
            assert starts.shape == (4, 3, 6, T)
            for boundary in starts.reshape(-1, T):
                k = int(schedules.offsets(boundary).max()) + 1
                np.testing.assert_array_equal(boundary, schedules.starts(T, k))
            assert all(leaf.shape[:2] == (4, 3) for leaf in jax.tree.leaves(control))
    assert len(traces) == 1


# ---- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("controller", "message"),
    [
        (lambda: controllers.DetectabilityBudget(0.0), "DetectabilityBudget.budget must lie in (0, 1), got 0.0"),
        (lambda: controllers.DetectabilityBudget(1.0), "budget must lie in (0, 1), got 1.0"),
        (lambda: controllers.DetectabilityBudget(np.nan), "budget must lie in (0, 1), got nan"),
        (lambda: controllers.DetectabilityBudget(0.1, first=0), "first must lie in [1, inf], got 0"),
        (lambda: controllers.AdditiveIncrease(1.2), "AdditiveIncrease.target must lie in (0, 1)"),
        (lambda: controllers.AdditiveIncrease(0.7, factor=1.5), "factor must lie in (0, 1)"),
        (lambda: controllers.AdditiveIncrease(0.7, step=-1.0), "step must lie in (0, inf)"),
        (lambda: controllers.Budget(-1.0, 0.0, 1.0, 1.0), "Budget.per_query must lie in [0, inf)"),
        (lambda: controllers.Budget(1.0, -0.1, 1.0, 1.0), "per_step must lie in [0, inf)"),
        (lambda: controllers.Budget(1.0, 0.1, 0.0, 1.0), "total must lie in (0, inf)"),
        (lambda: controllers.Fixed(0), "Fixed.length must lie in [1, inf], got 0"),
        (lambda: controllers.JumpStart(-0.1), "JumpStart.tolerance must lie in [0, inf]"),
        (lambda: controllers.JumpStart(window=0), "JumpStart.window must lie in [1, inf]"),
        (lambda: controllers.AdaptiveWindow(-1.0), "AdaptiveWindow.staleness must lie in [0, inf]"),
        (lambda: controllers.ChangePoint(0), "ChangePoint.first must lie in [1, inf]"),
        (lambda: controllers.FittedNoise(-1.0), "FittedNoise.scale must lie in [0, inf)"),
    ],
)
def test_refusals(controller, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        controller()
