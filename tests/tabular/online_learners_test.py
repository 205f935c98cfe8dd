"""Online learners step by step and against their regret bounds; ensembles; stacks of policies; who grows with what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import gallery, randomness
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, interaction, learners, rollout
from dagger_jax.types import Batch

L, SEEN, A = 2, 3, 4


def batch(costs, weight=None):
    """One label for every step and observation: costs [L, O, A]."""
    step, observation = np.meshgrid(np.arange(costs.shape[0]), np.arange(costs.shape[1]), indexing="ij")
    return Batch(step, observation, costs, np.ones(costs.shape[:2]) if weight is None else weight)


def nearest(point):
    """The simplex's nearest law: by trial of every number of positive entries, the one with the least distance."""
    best = None
    for count in range(1, len(point) + 1):
        support = np.argsort(-point)[:count]
        law = np.zeros(len(point))
        law[support] = point[support] - (point[support].sum() - 1) / count
        if law.min() >= 0 and (best is None or ((law - point) ** 2).sum() < ((best - point) ** 2).sum()):
            best = law
    return best


def random_costs(rounds, seed=0):
    return np.random.default_rng(seed).random((rounds, L, SEEN, A)) * 2


# ---- descent ----------------------------------------------------------------------------------------------------


def test_descent_is_its_definition():
    """x_n+1 = the law nearest to x_n - rate / sqrt(n) times the round's costs; 20 rounds in float64."""
    costs = random_costs(20)

    def run(costs):
        learner = learners.Descent(0.7, L, SEEN, A)

        def update(memory, cost):
            after = learner.update(None, memory, batch(cost), 0.0)
            return after, after

        return jax.lax.scan(update, learner.init(), costs)

    end, passed = float64(run)(costs)
    wanted = np.full((L, SEEN, A), 1 / A)
    for n, cost in enumerate(costs, start=1):
        moved = wanted - 0.7 / np.sqrt(n) * cost
        wanted = np.apply_along_axis(nearest, -1, moved)
        np.testing.assert_allclose(passed.table[n - 1], wanted, atol=1e-12)  # 20 projections
        np.testing.assert_allclose(wanted.sum(-1), 1)
    assert end.rounds == 20
    assert (wanted == 0).any()  # projections happened
    assert ((wanted > 0) & (wanted < 1)).any()


def test_descent_shares_a_row_over_steps_and_does_not_read_keep():
    learner, costs = learners.Descent(0.3, 1, SEEN, A), random_costs(1)[0]
    one = learner.update(None, learner.init(), batch(costs), 1.0)
    same = learner.update(None, learner.init(), batch(costs.sum(0, keepdims=True)), 0.0)
    np.testing.assert_allclose(one.table, same.table, atol=1e-6)  # float32, another order of the sum
    world = gallery.random_mdp(L, 5, A, observations=SEEN).world
    policy = learner.policy(learner.params(one), world)
    np.testing.assert_array_equal(policy, np.asarray(one.table)[:, world.observation])


def regret(learner, adversary, rounds):
    """Paid - the best action's cost, on one row, against costs chosen in view of the learner's law; sum |costs|^2."""
    rng, memory, paid, total, squares = np.random.default_rng(0), learner.init(), 0.0, np.zeros(A), 0.0
    update, params = jax.jit(learner.update), jax.jit(learner.params)
    for n in range(rounds):
        law = np.asarray(params(memory), float)[0, 0]
        match adversary:
            case "likeliest":
                costs = (law >= law.max() - 1e-6).astype(float)
            case "leader":
                costs = np.eye(A)[total.argmin()]
            case "alternating":
                costs = np.tile([n % 2, 1 - n % 2], A // 2).astype(float)
            case "random":
                costs = rng.random(A)
            case _:
                costs = np.array([1.0, 0, 1, 1])
        paid, total, squares = paid + law @ costs, total + costs, squares + (costs**2).sum()
        memory = update(None, memory, batch(costs[None, None]), 1.0)
    return paid - total.min(), squares


@pytest.mark.parametrize("adversary", ["likeliest", "leader", "alternating", "random", "one good action"])
@pytest.mark.parametrize("kind", ["descent", "regularised leader", "hedge"])
def test_regret_on_adversarial_costs(kind, adversary):
    """300 rounds of costs in [0, 1], |costs|_2 <= G, each learner at its own bound (float32: + 1e-3).

    Descent with steps r / sqrt(n) (Zinkevich 2003, Theorem 1): D^2 sqrt(N) / (2 r) + r G^2 (sqrt(N) - 1/2), D^2 = 2.
    Regularised leader at rate r (Shalev-Shwartz 2012, 2.3): (1 - 1/A) / (2 r) + r / 2 sum |costs|^2.
    Hedge at rate r: ln A / r + r N / 8. The rates are those that make the bounds least where G^2 = A.
    """
    rounds = 300
    if kind == "descent":
        rate = 1 / np.sqrt(A)
        suffered, _ = regret(learners.Descent(rate, 1, 1, A), adversary, rounds)
        bound = np.sqrt(rounds) / rate + rate * A * (np.sqrt(rounds) - 0.5)
    elif kind == "regularised leader":
        rate = np.sqrt((1 - 1 / A) / (rounds * A))
        learner = learners.Tabular(learners.RegularisedLeader(rate), 1, 1, A)
        suffered, squares = regret(learner, adversary, rounds)
        bound = (1 - 1 / A) / (2 * rate) + rate / 2 * squares
    else:
        rate = np.sqrt(8 * np.log(A) / rounds)
        suffered, _ = regret(learners.Tabular(learners.Hedge(rate), 1, 1, A), adversary, rounds)
        bound = np.log(A) / rate + rate * rounds / 8
    assert suffered <= bound + 1e-3
    if adversary == "leader":
        followed, _ = regret(learners.Tabular(learners.Majority(), 1, 1, A), adversary, rounds)
        assert followed > bound  # the control: following the leader does not keep it
        assert suffered > bound / 20  # nor is it empty


# ---- policy gradient --------------------------------------------------------------------------------------------


def test_the_natural_gradient_sums_advantages():
    """Softmax of - sum rate / sqrt(n) x mean costs: the costs' best and the labels' weight do not matter."""
    costs, weight = random_costs(6), np.random.default_rng(1).random((6, L, SEEN)) + 0.1
    weight[2, 0, 1] = 0.0  # an observation without labels stays where it is

    def run(costs, weight):
        learner = learners.PolicyGradient(1.5, L, SEEN, A)
        memory = learner.init()
        for n in range(6):
            labelled = batch(weight[n][..., None] * costs[n], weight[n])
            memory = learner.update(None, memory, labelled, 1.0)
        return learner.params(memory)

    scores = (1.5 / np.sqrt(np.arange(1, 7))[:, None, None, None] * costs * (weight > 0)[..., None]).sum(0)
    wanted = np.exp(-scores) / np.exp(-scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(float64(run)(costs, weight), wanted, rtol=1e-12)
    shifted = float64(run)(costs + random_costs(6, 1)[..., :1], weight)
    np.testing.assert_allclose(shifted, wanted, rtol=1e-12)


def test_the_plain_gradient_is_the_derivative_of_the_expected_cost():
    costs = random_costs(3)

    def run(costs):
        learner = learners.PolicyGradient(0.8, L, SEEN, A, natural=False)
        expected = lambda logits, cost: (jax.nn.softmax(logits) * cost).sum()
        memory, logits = learner.init(), jnp.zeros((L, SEEN, A))
        for n in range(3):
            memory = learner.update(None, memory, batch(costs[n]), 1.0)
            logits = logits - 0.8 / np.sqrt(n + 1) * jax.grad(expected)(logits, costs[n])
        return memory.table, logits

    table, logits = float64(run)(costs)
    assert table.dtype == np.float64
    np.testing.assert_allclose(table, logits, rtol=1e-12, atol=1e-15)
    assert np.abs(table).max() > 0.1


# ---- ensembles --------------------------------------------------------------------------------------------------


def test_members_weigh_the_labels_with_mean_one_and_each_in_its_own_way():
    """Exponential weights: mean and standard deviation 1, of 24,000 within 4 standard errors (first key tried).

    The pooled memory, for gates, has weight 1 exactly.
    """
    learner = learners.Ensemble(learners.Tabular(learners.Majority(), L, SEEN, A), 4000)
    memory = learner.update(jax.random.key(1), learner.init(jax.random.key(0)), batch(random_costs(1)[0]), 1.0)
    weights = np.asarray(memory.each.weight)
    assert weights.shape == (4000, L, SEEN)
    error = 1 / np.sqrt(weights.size)
    assert abs(weights.mean() - 1) < 4 * error
    assert abs(weights.std() - 1) < 4 * np.sqrt(2) * error  # kurtosis 9: var of s^2 is 8 / n, of s 2 / n
    assert np.abs(np.corrcoef(weights.reshape(4000, -1), rowvar=False) - np.eye(L * SEEN)).max() < 4 / np.sqrt(4000)
    np.testing.assert_array_equal(memory.weight, 1)
    seen = random_costs(1)[0].astype(np.float32)
    np.testing.assert_array_equal(memory.costs, seen)
    own = np.asarray(memory.each.costs) - weights[..., None] * seen
    assert (own >= -1e-5).all()  # a random beginning of at most 1e-3
    assert (own <= 1e-3 + 1e-5).all()


def test_members_agree_where_there_are_labels_and_differ_where_there_are_none():
    """Forty labels, 80% alike: one mind. Four, two a side: both sides have members. None: random beginnings alone."""
    learner = learners.Ensemble(learners.Tabular(learners.Majority(), 1, SEEN, A), 64)
    memory, rng = learner.init(jax.random.key(0)), np.random.default_rng(0)
    for n in range(40):
        actions = np.array([2 if rng.random() < 0.8 else 1, n % 2, 0])
        shown = np.array([[1.0, n < 4, 0.0]])
        labelled = batch(shown[..., None] * (1 - np.eye(A)[actions]), shown)
        memory = learner.update(jax.random.key(n), memory, labelled, 1.0)
    members = np.asarray(memory.members)[:, 0].argmax(-1)
    assert (members[:, 0] == 2).all()
    few = np.bincount(members[:, 1], minlength=A)
    assert few[:2].min() > 16
    assert few[2:].sum() == 0
    none = np.bincount(members[:, 2], minlength=A)
    assert ((none - 16) ** 2 / 16).sum() < 16.3  # uniform: chi-square of 3 degrees, p = 0.001
    np.testing.assert_allclose(learner.params(memory), memory.members.mean(0))
    np.testing.assert_allclose(learner.params(memory)[0, 1], few / 64)


def test_an_ensemble_needs_a_key_and_gives_the_same_for_the_same():
    problem = gallery.random_mdp(4, 3, 2, seed=1, temperature=0.2)
    learner = learners.Ensemble(learners.tabular(problem.world, learners.Majority(), shared=False), 5)
    schedule = ALGORITHMS["dagger"].build(3, 4, 1)
    run = jax.jit(lambda key: interaction.run(problem, schedule, learner, interaction.exactly(problem), key=key).memory)
    one, again, other = (run(jax.random.key(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert (one.each.weight != other.each.weight).mean() > 0.9
    assert len(np.unique(np.asarray(one.each.weight)[:, 0, 0])) == 5
    with pytest.raises(ValueError, match="an ensemble draws"):
        interaction.run(problem, schedule, learner, interaction.exactly(problem))


# ---- iterates and sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rounds", "most"), [(7, 7), (7, 64), (64, 8), (65, 8), (9, 8), (5, 1)])
def test_iterates_holds_policies_that_are_spread_evenly(rounds, most):
    """All where they fit; otherwise a slot a share of the rounds, each with the last policy of its share."""
    plain = learners.Tabular(learners.LogLoss(1.0), L, SEEN, A)
    wrapped = learners.Iterates(plain, rounds, most)
    memory, own, fitted = wrapped.init(), plain.init(), []
    for costs in random_costs(rounds) / 2:
        memory, own = wrapped.update(None, memory, batch(costs), 1.0), plain.update(None, own, batch(costs), 1.0)
        fitted.append(np.asarray(plain.params(own)))
        np.testing.assert_array_equal(wrapped.params(memory), fitted[-1])
    jax.tree.map(np.testing.assert_array_equal, memory.own, own)
    slots = min(rounds, most)
    assert memory.kept.shape == (slots, L, SEEN, A)
    last = [max(n for n in range(rounds) if n * slots // rounds == slot) for slot in range(slots)]
    np.testing.assert_array_equal(memory.kept, np.stack([fitted[n] for n in last]))
    assert last[-1] == rounds - 1
    assert np.ptp(np.diff([-1, *last])) <= 1  # evenly


@pytest.mark.parametrize(("rounds", "most"), [(0, 4), (3, 0), (-1, 1)])
def test_iterates_refuses_sizes_without_a_slot(rounds, most):
    with pytest.raises(ValueError, match=f"most and rounds must be at least 1, got {most} and {rounds}"):
        learners.Iterates(learners.Tabular(learners.Majority(), L, SEEN, A), rounds, most)


def test_the_mixture_of_iterates_is_the_mean_of_the_rounds():
    """As in the theorems: the kept policies, drawn once an episode, cost what the rounds' policies cost on average."""
    problem = gallery.random_mdp(4, 3, 2, seed=1, temperature=0.2)
    learner = learners.Iterates(learners.tabular(problem.world, learners.Hedge(1.0), shared=False), 6)

    def run(problem):
        see = lambda moment: exact.deploy(problem, moment.newest).novice_cost
        outcome = interaction.run(
            problem, ALGORITHMS["dagger"].build(6, 4, 1), learner, interaction.exactly(problem), measure=see
        )
        kept = jax.vmap(lambda params: exact.deploy(problem, learner.policy(params, problem.world)).novice_cost)
        return outcome.measured, kept(outcome.memory.kept)

    rounds, kept = float64(run)(problem)
    np.testing.assert_allclose(kept, rounds, rtol=1e-12)
    assert np.ptp(rounds) > 1e-3


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_algorithms_memory_grows_with_rounds(name):
    """Sizes of everything that a run ends with, for 4 and 64 rounds, or steps where each has its policy."""
    row, problem = ALGORITHMS[name], gallery.random_mdp(4, 3, 2, seed=1, temperature=0.2)
    world, ids = rollout.tables(problem), jnp.arange(4, dtype=jnp.uint32)
    learner = row.learner(problem.world, False)

    def run(key, schedule):
        interpreter = interaction.by_sampling(world, randomness.words(key), ids)
        parts = {"label": row.label, "gate": row.gate, "controller": row.controller, "key": key}
        return interaction.run(problem, schedule, learner, interpreter, **parts)

    tables = [row.build(rounds, 4, 2) for rounds in (4, 64)]
    if row.per_step:  # as many rounds as steps: repeat it
        tables[1] = jax.tree.map(lambda column: jnp.tile(column, (16,) + (1,) * (column.ndim - 1)), tables[0])
    assert [table.beta.shape[0] for table in tables] == [4, 64]
    small, large = (jax.eval_shape(run, jax.random.key(0), table) for table in tables)
    assert small == large
    sizes = sum(leaf.size for leaf in jax.tree.leaves(small.memory))
    assert sizes <= 200 if name not in ("ensemble_dagger", "hg_dagger") else sizes == 36 + 8 * (36 + 24)


def test_a_prior_for_an_online_learner_is_worth_its_labels():
    """By hand: the policy weighs with the labels of its row, the uniform law with the prior."""
    plain = learners.Descent(0.5, 1, 2, 3)
    cautious = learners.Cautious(plain, 2.0)
    batch = Batch(
        np.zeros(2, int), np.array([0, 0]), np.array([[0.0, 1.0, 1.0], [0.0, 2.0, 2.0]]), np.array([1.0, 2.0])
    )
    memory = cautious.update(None, cautious.init(), batch, 1.0)
    acts = plain.params(plain.update(None, plain.init(), batch, 1.0))
    np.testing.assert_allclose(cautious.params(memory)[0, 0], (3 * acts[0, 0] + 2 / 3) / 5, rtol=1e-6)
    np.testing.assert_allclose(cautious.params(memory)[0, 1], np.full(3, 1 / 3), rtol=1e-6)  # no label there
