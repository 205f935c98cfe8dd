"""The zoo's identities: published mixtures out of the table, and algorithms that are special cases of others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import evidence, gallery, randomness
from dagger_jax import schedules as rows
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.controllers import FittedNoise, Seen
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, gates, interaction, labels, learners, rollout
from dagger_jax.types import Problem

T, N = 6, 5
PROBLEM = gallery.random_mdp(T, 4, 3, seed=13, temperature=0.15, observations=3)
WORLD = rollout.tables(PROBLEM)
IDS = jnp.arange(256, dtype=jnp.uint32)
MAJORITY, SMOOTH = (learners.tabular(PROBLEM.world, r, shared=False) for r in (learners.Majority(), learners.LogLoss()))


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@functools.partial(jax.jit, static_argnames="label")
def sampled(schedule, learner=SMOOTH, gate=None, controller=None, label=labels.imitate, seed=0):
    """A run on sampled labels: how it ended, and of every round who acted and what was seen."""
    key = jax.random.key(seed)
    see = lambda moment: (moment.acting, moment.play, rows.filled(moment.row).noise)
    interpreter = interaction.by_sampling(WORLD, randomness.words(key), IDS)
    parts = {"measure": see, "gate": gate, "controller": controller, "label": label, "key": key, "episodes": 256.0}
    return interaction.run(PROBLEM, schedule, learner, interpreter, **parts)


# ---- mixtures ---------------------------------------------------------------------------------------------------


def weights(rate):
    """The acting mixture's weight of each round's policy, after the last round."""
    rate = np.asarray(rate, np.float64)
    return rate * np.append(np.cumprod((1 - rate)[:0:-1])[::-1], 1.0)


def published(kind, n, share):
    """SMILe's and SEARN's weights of pihat_1..pihat_n without the expert; expm1 and log1p for small shares."""
    age = np.arange(n) if kind == "smile" else np.arange(n)[::-1]
    return share * np.exp(age * np.log1p(-share)) / -np.expm1(n * np.log1p(-share))


PUBLISHED = [("smile", *rows.smile_choice(horizon)) for horizon in (3, 6, 20)] + [("searn", 1 / T**3, 774)]
SHARES = [(kind, share, 30) for kind in ("smile", "searn") for share in (0.5, 0.2, 1e-4, 1e-9)] + PUBLISHED


BUILDS = {"smile": rows.smile, "searn": rows.searn}
LABELS = {"smile": labels.imitate, "searn": labels.cost_to_go_acting}


@functools.partial(float64, static=("kind", "n"))
def shares_of(share, kind, n):
    """`mixing_rate` and beta of a table, in float64."""
    table = BUILDS[kind](n, T, share)
    return table.mixing_rate, table.beta


@functools.partial(float64, static=("kind",))
def mixed(problem, share, kind):
    """A run on exact labels: how it ended, and of every round who acted, what was fitted, and what is kept."""
    learner = learners.tabular(problem.world, learners.Hedge(2.0), shared=False)
    see = lambda moment: (moment.acting, moment.newest, moment.memory.weight.sum())
    table, interpreter = BUILDS[kind](N, T, share), interaction.exactly(problem)
    return interaction.run(problem, table, learner, interpreter, measure=see, label=LABELS[kind])


@pytest.mark.parametrize(("kind", "share", "n"), SHARES)
def test_the_published_weights_come_out_of_the_rate(kind, share, n):
    """Float64: N products of numbers that are rounded once each, relative error N x 1e-15 at most.

    In float32, as played, N x 1e-7; the expert's share, a power, in the same way.
    """
    rate, beta = shares_of(share, kind=kind, n=n)
    assert rate.dtype == np.float64
    wanted, left = published(kind, n, share), np.exp(np.arange(n) * np.log1p(-share))
    np.testing.assert_allclose(weights(rate), wanted, rtol=1e-15 * (n + 20))
    np.testing.assert_allclose(beta, np.broadcast_to(left[:, None], (n, T)), rtol=1e-15 * (n + 20))
    assert weights(rate).sum() == pytest.approx(1, abs=1e-12)
    played = BUILDS[kind](n, T, share)
    assert played.mixing_rate.dtype == np.float32
    np.testing.assert_allclose(weights(played.mixing_rate), wanted, rtol=1e-7 * (n + 20))
    np.testing.assert_allclose(played.beta[:, 0], left, rtol=1e-7 * (n + 20))
    other = weights(rate * 0.99)  # the control
    assert np.abs(other / wanted - 1).max() > 1e-3


@pytest.mark.parametrize(("kind", "share"), [("smile", 0.2), ("searn", 0.4), ("smile", 1e-6), ("searn", 1e-6)])
def test_what_acts_is_the_published_mixture(kind, share):
    """A run on exact labels: after every round the mixture is the published one of the policies fitted so far.

    Float64, some N operations. Each policy fits the labels of its round alone, and no two are alike.
    """
    outcome = mixed(PROBLEM, share, kind=kind)
    acting, newest, kept = outcome.measured
    assert outcome.acting.dtype == np.float64
    for n, mixture in enumerate([*acting[1:], outcome.acting], start=1):
        wanted = np.tensordot(published(kind, n, share), newest[:n], 1)
        np.testing.assert_allclose(mixture, wanted, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(kept, T)
    assert (np.abs(np.diff(newest, axis=0)).max((1, 2, 3)) > share / 1000).all()


# ---- special cases ----------------------------------------------------------------------------------------------


def test_lols_with_the_reference_as_roll_out_is_aggrevate():
    lols, aggrevate = rows.lols(N, T, roll_out=1.0), rows.aggrevate(N, T, rows.beta_indicator(N))
    same(lols, aggrevate)
    one, two, half = (sampled(table, MAJORITY, label=labels.cost_to_go) for table in (lols, aggrevate, rows.lols(N, T)))
    same(one, two)
    assert np.abs(np.asarray(half.memory.costs - one.memory.costs)).max() > 0.01  # the control: LOLS' own roll-out


@pytest.mark.parametrize("roll_in", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("roll_out", [1.0, 0.5, 0.0])
def test_nine_combinations_of_roll_in_and_roll_out(roll_in, roll_out):
    """They run, and their labels are those of who rolled in and who rolls out (one program, float32 sums)."""
    table = rows.validate(rows.lols(N, T, rows.beta_constant(N, roll_in), roll_out))
    assert (table.beta == roll_in).all()
    assert (table.after == roll_out).all()
    assert (table.label_novice == 1).all()
    outcome = sampled(table, MAJORITY, label=labels.cost_to_go)
    acting, play, _ = outcome.measured
    costs = 0
    for n in range(N):
        expert, own = (exact_to_go(PROBLEM.world, policy) for policy in (PROBLEM.expert, acting[n]))
        to_go = roll_out * expert + (1 - roll_out) * own
        costs += play.novice[n].sum(-1, keepdims=True) * (to_go - to_go.min(-1, keepdims=True))
    np.testing.assert_allclose(by_observation(costs), outcome.memory.costs, rtol=1e-4, atol=1e-5)
    if roll_in == 1:
        law = exact.deploy(PROBLEM, PROBLEM.expert).novice
        assert np.abs(play.novice.sum(-1).mean(0) - law).max() < 4 * 0.5 / np.sqrt(N * 256)


def exact_to_go(world, policy):
    """Backward induction in numpy."""
    value, to_go = np.zeros(4), np.zeros((T, 4, 3))
    for t in reversed(range(T)):
        to_go[t] = world.cost[t % len(world.cost)] + world.transition[t % len(world.transition)] @ value
        value = (np.asarray(policy)[t % len(policy)] * to_go[t]).sum(-1)
    return to_go


def by_observation(table):
    """[T, S, A] summed over states that look alike."""
    return np.eye(3)[PROBLEM.world.observation].T @ table


def test_the_rows_of_the_table_are_these():
    same(ALGORITHMS["nrpi"].build(N, T, 1), rows.lols(N, T, np.ones(N), 0.0))
    same(ALGORITHMS["lols"].build(N, T, 1), rows.lols(N, T, np.eye(N)[0], 0.5))
    assert {ALGORITHMS[name].label for name in ("nrpi", "lols", "aggrevate", "aggrevated")} == {labels.cost_to_go}


RULES = {
    "log loss": SMOOTH,
    "hedge": learners.tabular(PROBLEM.world, learners.Hedge(2.0), shared=True),
    "regularised leader": learners.tabular(PROBLEM.world, learners.RegularisedLeader(0.3), shared=False),
    "descent": learners.Descent(0.5, T, 3, 3),
    "policy gradient": learners.PolicyGradient(3.0, 1, 3, 3, natural=False),
    "ensemble": learners.Ensemble(MAJORITY, 3),
    "iterates": learners.Iterates(SMOOTH, N, 2),
}


@pytest.mark.parametrize("name", RULES)
def test_chunks_of_one_step_are_dagger_and_of_all_steps_cloning(name):
    label = labels.cost_to_go if name == "policy gradient" else labels.imitate
    run = functools.partial(sampled, learner=RULES[name], label=label)
    for beta in (np.zeros(N), rows.beta_indicator(N)):
        same(run(rows.chunked(N, rows.starts(T, 1), beta)), run(rows.dagger(N, T, beta)))
    cloning = run(rows.behavioural_cloning(N, T))
    same(run(rows.chunked(N, rows.starts(T, T))), cloning)
    assert np.abs(np.asarray(cloning.newest - run(rows.dagger(N, T)).newest)).max() > 1e-3  # the control


def test_a_gate_that_is_always_open_is_dagger():
    """SafeDAgger at threshold 0: the expert has the wheel for ever; with AskOnly the learner keeps it: beta 0."""
    learned = rows.dagger(N, T, np.zeros(N))

    def ungated(outcome):
        acting, play, noise = outcome.measured
        same(play.intervened, play.novice)
        assert play.entered.sum() == N
        return outcome._replace(measured=(acting, play._replace(intervened=None, entered=None), noise))

    always = ungated(sampled(learned, MAJORITY, gates.Safe(0.0)))
    same(always, sampled(rows.dagger(N, T, np.ones(N)), MAJORITY))
    asked = ungated(sampled(learned, MAJORITY, gates.AskOnly(gates.Safe(0.0))))
    same(asked, sampled(learned, MAJORITY))
    assert np.abs(np.asarray(asked.memory.costs - always.memory.costs)).max() > 0.05
    half = sampled(learned, MAJORITY, gates.Safe(0.3)).measured[1]
    assert 0 < half.intervened[1:].sum() < (N - 1) * T  # the control: another threshold is another walk


def test_threshold_zero_is_open_even_where_nothing_was_ever_missed():
    """A deterministic expert whom the learner copies: the predicted error is 0 everywhere, and 0 is at least 0."""
    problem = gallery.random_mdp(T, 4, 3, seed=13)
    learner = learners.tabular(problem.world, learners.Majority(), shared=False)
    run = jax.jit(lambda schedule: interaction.run(problem, schedule, learner, interaction.exactly(problem)))
    done = run(rows.dagger(2, T))
    errors = np.asarray(gates.predicted_error(problem, done.memory, done.newest))
    np.testing.assert_array_equal(errors, 0)
    for threshold in (0.0, 1e-6):
        takeover = gates.Safe(threshold)(problem, done.memory, done.newest, np.zeros((T, 4)))
        np.testing.assert_array_equal(takeover.enter, threshold == 0)
        np.testing.assert_array_equal(takeover.leave, threshold > 0)


# ---- AggreVaTe's equality ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("expert", ["optimal", "stochastic", "worst", "random"])
def test_aggrevates_loss_is_the_gap_and_what_the_expert_leaves(expert):
    """On the learner's own states sum_t E[Q*(s, pi) - min_a Q*] = gap + sum_t E[V*(s) - min_a Q*], in float64.

    The performance difference: the second sum is what one deviation from the expert would gain, 0 if it is optimal.
    A suboptimal expert is beaten by the policy of no loss: its gap is minus that sum.
    """
    for seed in range(8):
        problem = gallery.random_mdp(T, 4, 3, seed=seed, temperature=0.4 if expert == "stochastic" else None)
        rng, world = np.random.default_rng(seed), problem.world
        if expert in ("worst", "random"):
            worst = exact_to_go(world, np.full((T, 4, 3), 1 / 3)).argmax(-1)
            acts = worst if expert == "worst" else rng.integers(0, 3, (T, 4))
            problem = Problem(world, experts.deterministic(acts, 3))
        to_go = exact_to_go(world, problem.expert)
        greedy = np.eye(3)[to_go.argmin(-1)]
        for policy in (rng.dirichlet(np.ones(3), (T, 4)), greedy):
            row = rows.row(rows.aggrevate(1, T, np.zeros(1)), 0)
            laws = exact.play(problem, policy, row)
            play = float64(exact.frequencies)(problem, laws)
            loss = (float64(labels.cost_to_go)(problem, play, row, policy).costs * policy).sum()
            value = (to_go * np.broadcast_to(problem.expert, to_go.shape)).sum(-1)
            left = (laws.novice * (value - to_go.min(-1))).sum()
            gap = evidence.measure(problem, policy, row, evidence.constants(problem)).gap
            np.testing.assert_allclose(loss, gap + left, rtol=1e-11, atol=1e-12)
            assert left == pytest.approx(0, abs=1e-12) if expert == "optimal" else left > 1e-3
        assert loss == pytest.approx(0, abs=1e-12)
        assert gap <= 1e-12


# ---- DART -------------------------------------------------------------------------------------------------------


def test_dart_without_noise_is_behavioural_cloning():
    cloning = sampled(rows.behavioural_cloning(N, T))
    same(sampled(rows.dart(N, T, 0.0)), cloning)
    silent = sampled(rows.dart(N, T), controller=FittedNoise(scale=0.0))
    same(silent._replace(control=None), cloning)
    assert silent.control
    loud = sampled(rows.dart(N, T, 0.2))
    assert np.abs(np.asarray(loud.memory.weight - cloning.memory.weight)).max() > 0.05


def test_the_noise_is_fitted_by_hand():
    """e A / (A - 1), times the scale, cut at 1; the round of the untrained learner says nothing."""
    seen = Seen(np.eye(4)[0], np.array([0.1, 0.2, 0.3, 0.0]), np.ones(4), np.zeros(()), np.array(np.inf), 3)
    for scale, wanted in ((1.0, 0.15 * 1.5), (0.5, 0.15 * 0.75), (0.0, 0.0), (9.0, 1.0)):
        controller = FittedNoise(scale)
        begun, first = controller.init(4)
        trained, second = controller.update(begun, seen)
        again, third = controller.update(trained, seen)
        assert [bool(state) for state in (begun, trained, again)] == [False, True, True]
        np.testing.assert_array_equal(np.stack([first, second]), 0)
        np.testing.assert_allclose(third, np.full(4, wanted), rtol=1e-6)
    with pytest.raises(ValueError, match=r"FittedNoise.scale must lie in \[0, inf\), got -0.1"):
        FittedNoise(-0.1)


def test_the_fitted_noise_is_the_maximum_likelihood():
    """Each round's noise is the best on a grid of 10^-4 for the learner's actions in the round before.

    Log-likelihood: the learner's actions, in the guide's states, under the noisy law of a deterministic expert.
    """
    problem = gallery.random_mdp(T, 6, 3, seed=1, observations=2)
    learner = learners.tabular(problem.world, learners.LogLoss(), shared=False)

    def run(problem):
        see = lambda moment: (moment.acting, moment.play.guide.sum(-1), moment.row.noise)
        parts = {"measure": see, "controller": FittedNoise()}
        return interaction.run(problem, rows.dart(N, T), learner, interaction.exactly(problem), **parts).measured

    acting, guide, noise = float64(run)(problem)
    np.testing.assert_array_equal(noise[:2], 0)
    grid = np.linspace(1e-4, 1, 10_000)
    for n in range(2, N):
        noisy = grid[:, None, None, None] / 3 + (1 - grid)[:, None, None, None] * problem.expert
        likelihood = (guide[n - 1][..., None] * acting[n - 1] * np.log(np.maximum(noisy, 1e-300))).sum((1, 2, 3))
        np.testing.assert_allclose(noise[n], grid[likelihood.argmax()], atol=1e-4)
        assert 0.05 < noise[n].min() < 0.95
