"""DAgger's theorems at every number of rounds, on random worlds where the learner cannot match the expert."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, evidence, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, interaction, labels, learners, rollout

T, ROUNDS, WORLDS = 6, 12, 40
TOLERANCE = 1e-9
BETAS = {
    "indicator": schedules.beta_indicator(ROUNDS),
    "geometric": schedules.beta_geometric(ROUNDS, 0.6),
    "linear": schedules.beta_linear(ROUNDS, 8),
    "constant": schedules.beta_constant(ROUNDS, 0.5),
    "none": schedules.beta_constant(ROUNDS, 0.0),
    "array": np.array([0.95, 0.9, 0.9, 0.5, 0.3, 0.3, 0.2, 0.15, 0.1, 0.01, 0.0, 0.0]),
}
LEARNERS = {
    "follow the leader": (learners.Majority(), True),
    "follow the leader, a table a step": (learners.Majority(), False),
    "hedge": (learners.Hedge(0.3), True),
    "log loss": (learners.LogLoss(0.1), True),
}


def aliased(count=WORLDS, states=6, actions=3, observations=2, seed=0):
    """Problems in which states that want different actions look alike, stacked."""
    each = [
        gallery.random_mdp(T, states, actions, seed + i, observations=observations, stationary=i % 2 == 0)
        for i in range(count)
    ]
    over_time = [
        problem.replace(
            world=problem.world.replace(
                transition=np.broadcast_to(problem.world.transition, (T, states, actions, states)),
                cost=np.broadcast_to(problem.world.cost, (T, states, actions)),
            )
        )
        for problem in each
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *over_time)


def learner_of(name, problem):
    rule, shared = LEARNERS[name]
    return learners.tabular(problem.world, rule, shared)


@float64
def theorem(losses, own, best, beta):
    """Both sides of Theorem 4.1 after each number of rounds: [..., N] -> N x (plain, sharp, terms)."""

    def one(losses, own, best, beta):
        for n in range(1, ROUNDS + 1):
            terms = bounds.no_regret(losses[:n], own[:n], best[n - 1], beta[:n], T)
            yield bounds.theorem_4_1(terms), bounds.theorem_4_1_sharp(terms), terms

    each = jax.vmap(lambda *args: tuple(one(*args)), in_axes=(0, 0, 0, None))
    return jax.vmap(each)(losses, own, best, beta)


def rounds_of(problem, schedule, learner):
    """Of each round's learner, [schedules, W, N]: loss under its training law, its own; best in hindsight; gap."""

    def one(problem, schedule):
        known = evidence.constants(problem)

        def measure(moment):
            seen = evidence.measure(problem, moment.acting, moment.row, known)
            best = moment.memory.costs.min(-1).sum() / (T * (moment.round + 1))
            return seen.eps.mean(), seen.eta.mean(), best, seen.gap, moment.memory.weight.sum()

        play = interaction.exactly(problem)
        return interaction.run(problem, schedule, learner, play, measure=measure).measured

    # The schedule is an argument, not a closure: float64 holds for arguments alone.
    return float64(jax.vmap(jax.vmap(one, in_axes=(0, None)), in_axes=(None, 0)))(problem, schedule)


# ---- Theorem 4.1 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNERS)
def test_theorem_4_1_at_every_number_of_rounds(name):
    problem = aliased()
    schedule = schedules.stack([schedules.dagger(ROUNDS, T, beta) for beta in BETAS.values()])
    losses, own, best, _, labelled = rounds_of(problem, schedule, learner_of(name, problem))
    assert losses.shape == (len(BETAS), WORLDS, ROUNDS)
    assert losses.min() > 0  # not realizable
    np.testing.assert_allclose(labelled, np.broadcast_to(T * np.arange(1, ROUNDS + 1), losses.shape), rtol=1e-12)

    # By round the law moves by at most avg_t [1 - (1 - beta)^(t - 1)]: docs/theory.md#dagger-the-shift-of-the-law.
    beta = np.asarray(schedule.beta[:, None, :, :1], float)
    assert (own - losses <= (1 - (1 - beta) ** np.arange(T)).mean(-1) + TOLERANCE).all()
    none = list(BETAS).index("none")
    np.testing.assert_allclose(own[none], losses[none], rtol=1e-12)

    misled = 0
    for n, (plain, sharp, terms) in enumerate(theorem(losses, own, best, schedule.beta[:, :, 0]), 1):
        assert (terms.best_own <= sharp + TOLERANCE).all(), n
        assert (sharp <= plain + TOLERANCE).all()
        assert (terms.hindsight >= 0).all()
        mean = losses[:, :, :n].mean(-1)
        np.testing.assert_allclose(terms.hindsight + terms.regret, mean, rtol=1e-12)
        np.testing.assert_allclose(sharp[none], mean[none], rtol=1e-12)  # "the least is at most the mean"
        misled += (terms.best_own > mean + 1e-3).sum()
    assert misled > 10  # without its shift term the inequality is false


@pytest.mark.parametrize("shared", [True, False])
def test_hindsight_is_the_class_minimum_by_brute_force(shared):
    """Over all deterministic tables of 2 observations and 2 actions: 4 shared ones, or 4^T with one a step."""
    steps, rounds = 4, 5
    problem = gallery.random_mdp(steps, 4, 2, seed=11, observations=2)
    learner = learners.tabular(problem.world, learners.Majority(), shared)
    schedule = schedules.dagger(rounds, steps, schedules.beta_geometric(rounds, 0.5))

    def measure(moment):
        return moment.acting, moment.memory.costs.min(-1).sum()

    @float64
    def run(problem, schedule):
        return interaction.run(problem, schedule, learner, interaction.exactly(problem), measure=measure).measured

    acting, best = run(problem, schedule)
    wrong = np.zeros((steps, 2, 2))  # summed mass of labels against an action, by step and observation
    tables = list(itertools.product(itertools.product(range(2), repeat=2), repeat=1 if shared else steps))
    for n in range(rounds):
        law = exact.play(problem, acting[n], schedules.row(schedule, n)).novice
        for t, s in itertools.product(range(steps), range(4)):
            wrong[t, problem.world.observation[s]] += law[t, s] * (1 - problem.expert[t, s])
        losses = [
            sum(wrong[t, o, table[0 if shared else t][o]] for t in range(steps) for o in range(2)) for table in tables
        ]
        assert len(losses) == (4 if shared else 256)
        np.testing.assert_allclose(best[n], min(losses), rtol=1e-12)
        assert min(losses) > 0


def test_hedge_has_no_regret_in_dagger():
    """Per observation: cost - best <= ln A / rate + rate / 8 x sum of squared weights (Freund and Schapire)."""
    rounds, rate, count = 150, 0.2, 10
    problem = aliased(count)
    learner = learners.tabular(problem.world, learners.Hedge(rate), True)
    schedule = schedules.dagger(rounds, T)

    def one(problem):
        def measure(moment):
            batch = labels.imitate(problem, moment.play, moment.row, moment.acting)
            weight = jnp.zeros(2).at[batch.observation].add(batch.weight)
            return (batch.costs * moment.acting).sum(), (weight**2).sum(), moment.memory.costs.min(-1).sum()

        return interaction.run(problem, schedule, learner, interaction.exactly(problem), measure=measure).measured

    paid, squares, best = float64(jax.vmap(one))(problem)
    n = np.arange(1, rounds + 1)
    regret = (paid.cumsum(1) - best) / (T * n)
    assert (regret * T * n <= 2 * np.log(3) / rate + rate / 8 * squares.cumsum(1) + TOLERANCE).all()
    assert regret[:, -1].max() < 0.25 * regret[:, 5].max()  # and it falls


def test_chunked_dagger_needs_no_shift_term():
    """The best of the rounds' learners loses at most u k T times the average training loss.

    docs/theory.md#chunks-no-regret.
    """
    problem, chunks = aliased(), np.array([1, 2, 3])
    schedule = schedules.stack([schedules.chunked(ROUNDS, schedules.starts(T, chunk)) for chunk in chunks])
    losses, _, _, gap, _ = rounds_of(problem, schedule, learner_of("follow the leader", problem))
    most = float64(jax.vmap(evidence.constants))(problem).recoverability[:, None] * T * chunks[:, None, None]
    assert (gap <= most * losses + TOLERANCE).all()
    bound = most * losses.cumsum(-1) / np.arange(1, ROUNDS + 1)
    assert (np.minimum.accumulate(gap, -1) <= bound + TOLERANCE).all()
    assert (gap > 0.1 * bound).any()


# ---- Theorem 4.2 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rounds", "episodes"), [(3, 1), (4, 2), (10, 5)])
def test_theorem_4_2_fails_in_at_most_a_share_delta(rounds, episodes):
    """Sampled losses of m episodes a round, 1,500 replicas; without the last term it fails far more often."""
    replicas = 1500
    problem = gallery.random_mdp(T, 6, 3, seed=5, observations=2)
    tables, known = rollout.tables(problem), evidence.constants(problem)
    learner = learners.tabular(problem.world, learners.Majority(), True)
    schedule = schedules.dagger(rounds, T, schedules.beta_constant(rounds, 0.0))

    def one(key):
        def measure(moment):
            batch = labels.imitate(problem, moment.play, moment.row, moment.acting)
            seen = evidence.measure(problem, moment.acting, moment.row, known)
            best = moment.memory.costs.min(-1).sum() / (T * (moment.round + 1))
            return (batch.costs * moment.acting).sum() / T, seen.eta.mean(), best

        play = interaction.by_sampling(tables, randomness.words(key), jnp.arange(episodes, dtype=jnp.uint32))
        losses, own, best = interaction.run(problem, schedule, learner, play, measure=measure).measured
        return bounds.no_regret(losses, own, best[-1], schedule.beta[:, 0], T)

    terms = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), replicas))
    assert (terms.best_own > bounds.theorem_4_1(terms)).mean() > 0.1
    for delta in (0.5, 0.1, 0.01):
        failed = (terms.best_own > bounds.theorem_4_2(terms, episodes, rounds, delta)).mean()
        assert failed <= delta + 4 * np.sqrt(delta * (1 - delta) / replicas)
        sharper = bounds.theorem_4_2_sharp(terms, episodes, rounds, delta)
        assert (sharper < bounds.theorem_4_2(terms, episodes, rounds, delta)).all()
        failed = (terms.best_own > sharper).mean()
        assert failed <= delta + 4 * np.sqrt(delta * (1 - delta) / replicas)
