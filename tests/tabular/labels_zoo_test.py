"""SEARN's and ALICE's labels against their definitions, and the steps that the expert acts, counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import evidence, gallery, randomness, strategies
from dagger_jax import schedules as rows
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, interaction, labels, learners, rollout
from dagger_jax.types import Occupancy, Problem

T, S, A = 5, 4, 3
cost_to_go_acting = float64(labels.cost_to_go_acting)


def some_policy(seed=0, steps=T):
    return np.random.default_rng(seed).dirichlet(np.ones(A), (steps, S))


def some_play(seed=0):
    law = lambda rng: rng.dirichlet(np.ones(S * A), T).reshape(T, S, A)
    rng = np.random.default_rng(seed)
    return Occupancy(law(rng), law(rng), None)


def some_row(**columns):
    columns = {"label_novice": [1.0, 0.5, 0.0, 2.0, 1.0], "join": np.eye(T)[0]} | columns
    return rows.row(rows.table(1, T, **columns), 0)


def backward(world, acts):
    """Costs-to-go of a policy [T, S, A] in numpy, step by step."""
    value, to_go = np.zeros(S), np.zeros((T, S, A))
    for t in reversed(range(T)):
        cost, transition = (array[t if len(array) > 1 else 0] for array in (world.cost, world.transition))
        for s in range(S):
            for a in range(A):
                to_go[t, s, a] = cost[s, a] + sum(transition[s, a, p] * value[p] for p in range(S))
        value = np.array([acts[t, s] @ to_go[t, s] for s in range(S)])
    return to_go


# ---- cost_to_go_acting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, "by step"])
@pytest.mark.parametrize("kind", ["optimal", "stochastic", "arbitrary"])
@pytest.mark.parametrize("stationary", [False, True])
def test_deviate_acting_is_the_mixtures_cost_to_go(beta, kind, stationary):
    """One action, then at each step the expert with probability beta: backward induction by loops. Float64."""
    problem = gallery.random_mdp(T, S, A, 1, temperature=0.4 if kind == "stochastic" else None, stationary=stationary)
    if kind == "arbitrary":
        acts = np.random.default_rng(3).integers(0, A, (T, S))
        problem = Problem(problem.world, experts.deterministic(acts, A))
    policy, play = some_policy(2, 1 if stationary else T), some_play(3)
    row = some_row(beta=np.linspace(0.1, 0.9, T) if beta == "by step" else beta)
    own = np.asarray(row.beta, float)[:, None, None]
    to_go = backward(problem.world, np.broadcast_to(own * problem.expert + (1 - own) * policy, (T, S, A)))
    batch = cost_to_go_acting(problem, play, row, policy)
    weight = np.asarray(row.label_novice, float)[:, None] * play.novice.sum(-1)
    np.testing.assert_allclose(batch.weight, weight, rtol=1e-12)
    wanted = weight[..., None] * (to_go - to_go.min(-1, keepdims=True))
    np.testing.assert_allclose(batch.costs, wanted, rtol=1e-10, atol=1e-13)
    assert batch.costs[[0, 1, 3, 4]].max((1, 2)).min() > 0.01
    assert batch.costs[2].max() == 0  # nothing is asked there
    assert batch.costs.min() == 0


@pytest.mark.parametrize("after", [1.0, 0.0])
def test_deviate_acting_is_deviate_where_one_alone_acts(after):
    """beta 1 is the expert's roll-out, beta 0 the learner's; between them a coin a step is not a coin a roll-out."""
    problem, policy, play = gallery.random_mdp(T, S, A, 1, temperature=0.4), some_policy(2), some_play(3)
    cost_to_go = float64(labels.cost_to_go)
    row = some_row(beta=after, after=after)
    one, two = (label(problem, play, row, policy).costs for label in (cost_to_go_acting, cost_to_go))
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-15)
    half = some_row(beta=0.5, after=0.5)
    one, two = (label(problem, play, half, policy).costs for label in (cost_to_go_acting, cost_to_go))
    assert np.abs(one - two).max() > 1e-4


# ---- reweighed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [100.0, 1.2])
def test_reweighed_labels_are_cloning_on_the_learners_law(most):
    """Weight d_learner / d_expert of each state, cut at `most`: uncut, as if the learner's states were labelled."""
    problem, policy = gallery.random_mdp(T, S, A, 1, temperature=0.4), some_policy(2)
    row = rows.row(rows.behavioural_cloning(1, T), 0)
    laws = exact.play(problem, policy, row)
    play = float64(exact.frequencies)(problem, laws)
    batch = float64(labels.Reweighed(most).__call__)(problem, play, row, policy)
    ratio = np.minimum(laws.novice / laws.guide, most)
    assert (ratio == most).any() == (most < 2)
    np.testing.assert_allclose(batch.weight, ratio * laws.guide, rtol=1e-12)
    wanted = (ratio * laws.guide)[..., None] * (1 - problem.expert)
    np.testing.assert_allclose(batch.costs, wanted, rtol=1e-9, atol=1e-15)
    if most == 100:
        np.testing.assert_allclose(batch.weight, laws.novice, rtol=1e-12)
    assert np.abs(laws.novice - laws.guide).max() > 0.05  # the control: it is not what plain cloning sees


def test_reweighed_labels_of_unseen_states_weigh_nothing():
    """Counts: a state that only the learner visits has no label; one that only the expert visits has weight 0."""
    problem = gallery.random_mdp(T, S, A, 1)
    play = some_play(3)
    novice, guide = np.array(play.novice), np.array(play.guide)
    guide[:, 0], novice[:, 1] = 0.0, 0.0
    row = rows.row(rows.behavioural_cloning(1, T), 0)
    batch = float64(labels.Reweighed().__call__)(problem, Occupancy(novice, guide, None), row, some_policy())
    np.testing.assert_array_equal(batch.weight[:, :2], 0)
    np.testing.assert_allclose(batch.weight[:, 2:], novice.sum(-1)[:, 2:], rtol=1e-12)
    assert np.isfinite(batch.costs).all()


def test_reweighed_labels_need_the_guide():
    problem = gallery.random_mdp(T, S, A, 1)
    words, ids = randomness.words(jax.random.key(0)), jnp.arange(4, dtype=jnp.uint32)
    alone = interaction.by_sampling(rollout.tables(problem), words, ids, alone=True)
    learner = learners.tabular(problem.world, learners.Majority(), shared=False)
    with pytest.raises(ValueError, match="reweighed labels are the guide's: sample with alone=False"):
        interaction.run(problem, rows.behavioural_cloning(2, T), learner, alone, label=labels.Reweighed())


# ---- steps that the expert acts ---------------------------------------------------------------------------------

H = 6
ONCE = np.eye(H)
FORKS = np.array([0, 2, 5])
EVERY_OTHER = rows.starts(H, 2)

# (schedule, [N] steps): what it acts for the novice, on the guide's walk as far as it is needed, after deviations.
STEPS = {
    "cloning": (rows.behavioural_cloning(2, H), [6, 6]),
    "dagger, indicator": (rows.dagger(3, H), [6, 0, 0]),
    "dagger, beta": (rows.dagger(3, H, np.array([1, 0.5, 0.25])), [6, 3, 1.5]),
    "chunks": (rows.chunked(2, EVERY_OTHER), [6, 6]),
    "chunks, beta": (rows.chunked(2, EVERY_OTHER, np.array([1.0, 0.5])), [12, 9]),  # for the novice too
    "corrections to the end": (strategies.corrections(FORKS, H), [6, 4, 1]),
    "corrections of 2 steps": (strategies.corrections(FORKS, H, 2), [2, 2, 1]),
    # The last excursion begins at 4: the expert walks 4 steps to get there, and no further.
    "reset": (rows.reset(2, EVERY_OTHER), [4, 4]),
    "reset, none": (rows.reset(1, ONCE[0]), [0]),
    # Labelled at every other step of one walk: it acts in between, but not after the last label.
    "gaps": (rows.table(1, H, join=ONCE[0], label_guide=ONCE[1] + ONCE[4]), [5]),
    "gaps, a chunk each": (rows.table(1, H, join=ONCE[0] + ONCE[3], label_guide=ONCE[1] + ONCE[4]), [2 + 2]),
    # Where a coin decides whether a chunk starts at 3, steps 0 to 2 lead to the label at 4 in half of the episodes.
    "gaps, a coin": (rows.table(1, H, join=ONCE[0] + ONCE[3] / 2, label_guide=ONCE[4]), [3 / 2 + 2]),
    "mixer": (strategies.mixer(np.array([2, 6]), H), [2, 6]),
    "aggrevate": (rows.aggrevate(2, H), [6 + 15, 15]),  # 5 + 4 + 3 + 2 + 1 after deviations at steps 0..4
    "aggrevate, one step": (rows.aggrevate(3, H, np.zeros(3), np.array([0, 3, 5])), [5, 2, 0]),
    "lols": (rows.lols(2, H), [6 + 7.5, 7.5]),
    "searn": (rows.searn(3, H, 0.5), [6 + 15, (6 + 15) / 2, (6 + 15) / 4]),
    "smile": (rows.smile(3, H, 0.5), [6, 3, 1.5]),
    "dart": (rows.dart(1, H, 0.3), [6]),
    "stagger": (rows.stagger(2, H, np.array([3, 0])), [0, 0]),
    "warm stagger": (rows.stagger(2, H, np.array([3, 0]), warm=1), [6, 0]),
    "nrpi": (ALGORITHMS["nrpi"].build(2, H, 1), [6, 6]),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_the_expert_acts(name):
    """By hand, round by round."""
    schedule, wanted = STEPS[name]
    rows.validate(schedule)
    prices = jax.vmap(evidence.prices)(schedule)
    np.testing.assert_allclose(prices.steps, wanted, rtol=1e-6)


def test_an_expert_that_leads_nowhere_is_not_called():
    """The guide's walk is free where nothing depends on it: DAgger's, whatever it is joined with."""
    never = rows.table(1, H, join=ONCE[0], label_novice=1.0)
    assert float(evidence.prices(rows.row(never, 0)).steps) == 0
    assert tuple(map(float, evidence.prices(rows.row(rows.dagger(1, H, np.zeros(1)), 0)))) == (6, 6, 0)
