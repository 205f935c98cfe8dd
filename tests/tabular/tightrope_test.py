"""The tightrope's reference numbers (docs/theory.md#the-tightrope): an expert outside the learner's class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import randomness, schedules
from dagger_jax.tabular import exact, gallery, interaction, learners, rollout

SEEDS, PUBLISHED_SEEDS, TRAINING = 400, 300, 100
HORIZONS = np.array([10, 108, 1159, 3000])
EXPERT = np.array([0.6473, 7.917, 85.874, 222.43])
PUBLISHED = {  # mean excess of 300 draws, docs/theory.md#the-tightrope
    "behavioural cloning": np.array([0.24, 7.58, 269.96, 822.96]),
    "dagger": np.array([0.22, 3.69, 81.87, 242.97]),
}
FOUND = {  # mean and standard deviation of a draw, of an independent implementation in numpy
    "behavioural cloning": (np.array([0.239, 7.68, 270, 822]), np.array([0.042, 6.32, 242, 701])),
    "dagger": (np.array([0.218, 3.62, 79, 236]), np.array([0.0155, 2.56, 114, 345])),
}


@pytest.fixture(scope="module")
def policies():
    """Shared majority tables: 10 expert trajectories of 100 labels, or 10 rounds of one, beta = 1[i = 1]."""
    problem = gallery.tightrope(TRAINING)
    tables = rollout.tables(problem)
    learner = learners.tabular(problem.world, learners.Majority(), shared=True)

    def fit(schedule, episodes):
        def one(key):
            play = interaction.by_sampling(tables, randomness.words(key), jnp.arange(episodes, dtype=jnp.uint32))
            return interaction.run(problem, schedule, learner, play).newest

        keys = jax.random.split(jax.random.key(2011), SEEDS)
        return np.asarray(jax.jit(jax.vmap(one))(keys), float)

    return {
        "behavioural cloning": fit(schedules.behavioural_cloning(1, TRAINING), 10),
        "dagger": fit(schedules.dagger(10, TRAINING), 1),
    }


def total_costs(policy):
    """J at each of HORIZONS of stationary policies [seeds, 1, S, A]: powers of one matrix a seed, in numpy."""
    world = gallery.tightrope(TRAINING).world
    move = np.einsum("nsa,sap->nsp", policy[:, 0], world.transition[0])
    cost = np.einsum("nsa,sa->ns", policy[:, 0], world.cost[0])
    law, total, totals = np.broadcast_to(world.initial, cost.shape), 0.0, []
    for t in range(1, HORIZONS[-1] + 1):
        total = total + (law * cost).sum(-1)
        law = np.matmul(law[:, None], move)[:, 0]
        if t in HORIZONS:
            totals.append(total)
    return np.stack(totals, -1)


@pytest.fixture(scope="module")
def excess(policies):
    expert = total_costs(gallery.tightrope(TRAINING).expert[None])
    return {name: total_costs(policy) - expert for name, policy in policies.items()}


def test_the_exact_interpreter_evaluates_alike(policies):
    """On the horizons themselves, for a few of the learners."""
    for name, policy in policies.items():
        totals = total_costs(policy[:3])
        for horizon, wanted in zip(HORIZONS[:3], totals.T, strict=False):
            problem = gallery.tightrope(int(horizon))
            row = schedules.row(schedules.behavioural_cloning(1, int(horizon)), 0)
            for index in range(3):
                laws = exact.play(problem, policy[index], row)
                np.testing.assert_allclose(laws.novice_cost, wanted[index], rtol=1e-10, err_msg=name)


def test_cost_of_the_expert():
    """Against the independent implementation, whose four digits at T = 10 are off by two in the last."""
    expert = total_costs(gallery.tightrope(TRAINING).expert[None])[0]
    np.testing.assert_allclose(expert, EXPERT, rtol=3e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_mean_excess_is_the_published_one(name, excess):
    """Within 4 standard errors of both means, and the published rounding."""
    mean, sd = excess[name].mean(0), excess[name].std(0, ddof=1)
    error = sd * np.sqrt(1 / SEEDS + 1 / PUBLISHED_SEEDS)
    assert (error < 0.15 * mean).all()  # narrow enough to tell the two algorithms apart, but at T = 10
    assert (np.abs(mean - PUBLISHED[name]) < 4 * error + 0.005).all()
    found, found_sd = FOUND[name]
    assert (np.abs(mean - found) < 4 * found_sd * np.sqrt(1 / SEEDS + 1 / PUBLISHED_SEEDS) + 0.005 * found).all()
    # A standard deviation of 400 draws, heavy-tailed at most as an exponential: relative error 1/sqrt(200) x ~2.
    np.testing.assert_allclose(sd, found_sd, rtol=0.3)


def test_growth_of_the_excess(excess):
    """The published slopes where they can be read off these horizons: DAgger's excess grows more slowly."""
    means = {name: values.mean(0) for name, values in excess.items()}
    slopes = {name: np.diff(np.log(mean)) / np.diff(np.log(HORIZONS)) for name, mean in means.items()}
    np.testing.assert_allclose(slopes["behavioural cloning"][:2], [1.44, 1.54], atol=0.12)  # ~2 se of log means
    np.testing.assert_allclose(slopes["dagger"][:2], [1.17, 1.32], atol=0.15)
    assert (means["behavioural cloning"][1:] > 1.5 * means["dagger"][1:]).all()


def test_seeds_differ(policies, excess):
    for name, policy in policies.items():
        assert policy.shape == (SEEDS, 1, 33, 5)
        assert len(np.unique(excess[name][:, 1].round(9))) > 5  # tables of moves: few are likely
