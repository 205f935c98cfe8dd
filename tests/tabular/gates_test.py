"""Gates by budget, labels after k steps of the learner, and evidence by price and by offset."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import controllers, evidence, randomness, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, gates, interaction, labels, learners, rollout
from dagger_jax.tabular.worlds import backward
from dagger_jax.types import Intervention, Occupancy

T, S, A = 6, 4, 3
PLAY, TRACE = jax.jit(rollout.play), jax.jit(rollout.trace)
alone_by_round = float64(jax.vmap(exact.play, (None, 0, None)))


# ---- gates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.77, 1.0])
@pytest.mark.parametrize("digits", [1, 12])
def test_above_quantile_takes_its_share_of_the_highest(rate, digits):
    """Exactly the rate, with ties (scores of one digit) and without; nothing lower while something higher is free."""
    rng = np.random.default_rng(0)
    scores, law = rng.random((T, S)).round(digits), rng.dirichlet(np.ones(S), T)
    taken = float64(gates.above_quantile)(scores, law, rate)
    assert (taken * law).sum() / law.sum() == pytest.approx(rate, abs=1e-12)  # float64 sums of 24 numbers
    partial = np.unique(scores[(taken > 0) & (taken < 1)])
    assert len(partial) <= 1
    if 0 < rate < 1:
        assert scores[taken == 1].min(initial=2) >= scores[taken < 1].max(initial=-1)


def test_without_a_law_everything_is_asked():
    assert (np.asarray(gates.above_quantile(jnp.ones((T, S)), jnp.zeros((T, S)), 0.1)) == 1).all()


@pytest.mark.parametrize("gate", [gates.Novelty(0.25), gates.Thrifty(0.25)])
def test_a_gate_asks_its_share_and_hands_over_where_it_asks(gate):
    """From the second round on; the share is of the last round's law, so it drifts with the policy, by little.

    What acts by itself is the learner; where the expert is asked it has the wheel, in the first round everywhere.
    """
    problem = gallery.random_mdp(T, S, A, seed=3, observations=2, concentration=2.0)
    learner = learners.tabular(problem.world, learners.LogLoss(1.0), shared=False)

    def run(problem, schedule):
        see = lambda moment: (moment.asked, moment.acting, moment.newest, moment.play)
        interpreter = interaction.exactly(problem)
        return interaction.run(problem, schedule, learner, interpreter, measure=see, gate=gate).measured

    plain = schedules.dagger(30, T, np.zeros(30))
    asked, acting, newest, play = float64(run)(problem, plain)
    assert asked[0] == pytest.approx(T)  # no law yet: the expert does all
    np.testing.assert_array_equal(play.intervened[0], play.novice[0])
    np.testing.assert_allclose(play.novice[0].sum(-1), exact.deploy(problem, problem.expert).novice, rtol=1e-12)
    np.testing.assert_allclose(acting[0], 1 / A)  # untrained
    np.testing.assert_array_equal(acting[1:], newest[:-1])
    np.testing.assert_allclose(play.intervened.sum((1, 2, 3)), asked, rtol=1e-12)
    share = asked[5:] / T
    low = 0.125 if isinstance(gate, gates.Thrifty) else 0.2  # both halves may choose the same states
    assert low - 0.01 < share.mean() < 0.3
    law = play.novice.sum(-1)
    np.testing.assert_allclose(law.sum(-1), 1.0, rtol=1e-12)
    alone = alone_by_round(problem, acting, schedules.row(plain, 0)).novice
    assert (np.abs(law - alone).sum((1, 2)) > 1e-3).all()  # the expert's help shows in every round


@pytest.mark.parametrize("acts", [1.0, 0.0])
@pytest.mark.parametrize("memory", [False, True])
def test_interventions_are_the_states_in_which_the_expert_takes_over(memory, acts):
    """Summed over states they are what the interpreter counts: sums of float64. And every one is counted in a trace.

    Sampled, the learner's last move is averaged over: within 4 standard errors of 4096 episodes.
    """
    problem, count = gallery.random_mdp(T, S, A, seed=2, concentration=1.0), 4096
    rng = np.random.default_rng(3)
    policy, enter = rng.dirichlet(np.ones(A), (T, S)), rng.random((T, S)).round()
    takeover = Intervention(enter, rng.random((T, S)) if memory else 1 - enter, acts)
    row = schedules.row(schedules.dagger(1, T, np.zeros(1)), 0)
    laws = exact.play(problem, policy, row, takeover)
    play = float64(exact.frequencies)(problem, laws)
    law = float64(gates.interventions)(problem, policy, play, takeover)
    np.testing.assert_allclose(law.sum(-1), np.asarray(play.entered), atol=1e-12)
    np.testing.assert_array_equal(law[enter == 0], 0)
    words, ids = randomness.for_round(randomness.words(jax.random.key(0)), 0), jnp.arange(count, dtype=jnp.uint32)
    sampler = rollout.tables(problem)
    trace = TRACE(sampler, policy, row, words, ids, takeover)
    states, entered = np.asarray(trace.novice), np.asarray(trace.entered)
    seen = np.array([np.bincount(states[t][entered[t]], minlength=S) for t in range(T)]) / count
    assert np.abs(seen - law).max() < 4 * np.sqrt(0.25 / count)
    sampled = PLAY(sampler, policy, row, words, ids, takeover)[0]
    found = jax.jit(gates.interventions)(problem, policy, sampled, takeover)
    assert np.abs(found - seen).max() < 4 * np.sqrt(0.25 / count)
    assert law.max() > 0.1


def test_interventions_need_a_gate():
    problem = gallery.cliff(T)
    play = exact.frequencies(problem, exact.deploy(problem, problem.expert))
    with pytest.raises(ValueError, match="this round was played without one"):
        gates.interventions(problem, problem.expert, play, Intervention(np.ones((T, 2)), np.ones((T, 2))))


def test_the_threshold_of_doubt_is_the_mean_of_the_logs_last_quarter():
    """By hand: 8 interventions in rounds 1 to 3, of which the last 2 count; a log of whole entries, sums of float64."""
    log = [(0, 0.9), (0, 0.8), (0, 0.7), (1, 0.6), (1, 0.5), (1, 0.4), (1, 0.3), (2, 0.1)]  # (round, doubt)
    doubts, entered = np.zeros((4, 2, 4)), np.zeros((4, 2, 4))
    for place, (round, value) in enumerate(log):  # every entry in a step and state of its own; none in round 4
        doubts[round].flat[place], entered[round].flat[place] = value, 1.0
    fitted = float64(gates.doubt_threshold)
    # The last entry, and one of round 2, all of whose entries count in part.
    assert fitted(doubts, entered) == pytest.approx((0.1 + (0.6 + 0.5 + 0.4 + 0.3) / 4) / 2, abs=1e-12)
    assert fitted(doubts, entered / 7) == pytest.approx(fitted(doubts, entered), abs=1e-12)  # per episode
    assert fitted(doubts[:3], entered[:3], 1 / 8) == pytest.approx(0.1, abs=1e-12)
    assert fitted(doubts, entered, 1.0) == pytest.approx(np.mean([value for _, value in log]), abs=1e-12)
    assert fitted(doubts, 0 * entered) == np.inf  # nobody ever intervened


def test_hg_dagger_hands_over_by_risk_alone_and_doubts_as_its_ensemble():
    """Its gate reads the policy, whatever the members; the doubt is their mean distance from it, by hand."""
    row, problem = ALGORITHMS["hg_dagger"], gallery.random_mdp(T, S, A, seed=3)
    learner = row.learner(problem.world, False)
    memory = learner.init(jax.random.key(0))
    policy = learner.policy(learner.params(memory), problem.world)
    assert row.gate is not None
    takeover = row.gate(problem, memory, policy, jnp.ones((T, S)))
    wanted = np.asarray(gates.risk(problem, policy)) > 0.1
    np.testing.assert_array_equal(takeover.enter, wanted)
    np.testing.assert_array_equal(takeover.leave, ~wanted)
    np.testing.assert_array_equal(row.gate(problem, None, policy, jnp.zeros((T, S))).enter, wanted)
    members = np.asarray(memory.members)
    distance = [[np.abs(each - policy)[t, s].sum() / 2 for each in members] for t in range(T) for s in range(S)]
    # float32 sums of 3 numbers
    np.testing.assert_allclose(gates.doubt(problem, memory).reshape(-1), np.mean(distance, axis=1), rtol=1e-5)
    with pytest.raises(ValueError, match=r"reads the learner's members: .* got a Memory"):
        gates.doubt(problem, learners.tabular(problem.world, learners.Majority(), False).init())


def test_lazy_hands_back_where_the_disagreement_is_low_whatever_is_predicted():
    """A row whose labels the policy would have missed by half: predicted error 1/2, disagreement 0 or 1."""
    problem = gallery.cliff(T)
    memory = learners.Memory(jnp.full((1, 2, 2), 0.5), jnp.ones((1, 2)))
    right = jnp.broadcast_to(jnp.eye(2)[0], (T, 2, 2))
    for policy, leaves in ((right, True), (right[..., ::-1], False)):
        takeover = gates.Lazy(0.3, 0.1)(problem, memory, policy, jnp.ones((T, 2)))
        assert np.asarray(takeover.enter).all()
        assert (np.asarray(takeover.leave) == leaves).all()


# ---- labels -------------------------------------------------------------------------------------------


@functools.partial(float64, static=("label",))
def asked(problem, policy, row, label):
    """The label's costs, where all states are met alike. [T, S, A]"""
    return label(problem, Occupancy(np.full((T, S, A), 1 / S / A), None, None), row, policy).costs


@pytest.mark.parametrize("steps", range(T + 1))
@pytest.mark.parametrize("stationary", [False, True])
def test_roll_out_label_is_the_learner_for_k_steps_then_the_expert(steps, stationary):
    """By the definition: cost-to-go of the policy that deviates at t, follows the learner, then the expert."""
    problem = gallery.random_mdp(T, S, A, seed=1, stationary=stationary)
    policy = np.random.default_rng(0).dirichlet(np.ones(A), (T, S))
    row = schedules.row(schedules.dagger(1, T), 0)
    costs = asked(problem, policy, row, label=labels.RollOut(steps))
    expert = np.broadcast_to(problem.expert, (T, S, A))
    for t in range(T):
        follows = np.where((np.arange(T) <= t + steps)[:, None, None], policy, expert)
        to_go = backward(problem.world, follows)[0][t]
        np.testing.assert_allclose(costs[t], (to_go - to_go.min(-1, keepdims=True)) / S, atol=1e-13)


# ---- prices and offsets -------------------------------------------------------------------------------


def test_prices_of_the_rows_that_matter():
    """T labels each; hand-overs: one for cloning, one a chunk, one a label for DAgger, 1/p on average for coins.

    The expert walks every labelled chunk, and the whole first round of DAgger; after that it acts no more there.
    """
    rows = {
        (12, 1, 12): schedules.behavioural_cloning(1, 12),
        (12, 3, 12): schedules.chunked(1, schedules.partition(12, [2, 9, 1])),
        (12, 12, 12): schedules.dagger(1, 12),
        (12, 12, 0): schedules.dagger(1, 12, np.zeros(1)),
        (12, 1 + 11 / 4, 12): schedules.chunked(1, schedules.geometric(12, 4.0)),
    }
    for wanted, schedule in rows.items():
        assert tuple(map(float, evidence.prices(schedules.row(schedule, 0)))) == pytest.approx(wanted)


def test_evidence_by_offset():
    """Chunks of 2 and 3 steps: offsets 0, 1 occur twice, 2 once; T_j is what parted before the step."""
    row = schedules.row(schedules.chunked(1, schedules.partition(5, [2, 3])), 0)
    eps, overlap = np.array([0.1, 0.2, 0.3, 0.4, 0.5]), np.array([0.9, 0.8, 0.7, 0.5, 0.2])
    seen = float64(evidence.by_offset)(row, eps, overlap)
    np.testing.assert_allclose(seen.eps, [0.2, 0.3, 0.5, 0, 0])
    np.testing.assert_allclose(seen.distance, [0, (0.1 + 0.3) / 2, 0.5, 0, 0])
    np.testing.assert_array_equal(seen.labels, [2, 2, 1, 0, 0])
    np.testing.assert_array_equal(seen.handovers, [2, 0, 0, 0, 0])
    np.testing.assert_array_equal(seen.steps, [2, 2, 1, 0, 0])
    mean = float64(evidence.detectability)(row, overlap)
    assert mean == pytest.approx((seen.distance * seen.steps).sum() / 5)


def test_detectability_is_zero_for_single_steps_and_grows_with_the_chunk():
    problem = gallery.chunk_reset(12)
    policy = np.broadcast_to([0.9, 0.1], (12, 2, 2))
    means = []
    for k in (1, 2, 3, 4, 6, 12):
        row = schedules.row(schedules.chunked(1, schedules.starts(12, k)), 0)
        laws = exact.play(problem, policy, row)
        means.append(float(float64(evidence.detectability)(row, laws.overlap)))
        wanted = np.mean([1 - 0.9**j for j in range(k)])  # T_j = 1 - (1 - eps)^j
        assert means[-1] == pytest.approx(wanted, rel=1e-12)
    assert means[0] == 0
    assert (np.diff(means) > 0).all()


# ---- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (
            gates.Safe(0.1),
            "this gate reads the learner's costs: it needs learners.Tabular or learners.Ensemble, got a It",
        ),
        (gates.Ensemble(0.1, 0.1), "got a Iterate"),
        (gates.Novelty(0.2), "reads the learner's weight"),
    ],
)
def test_a_gate_refuses_a_learner_without_its_table(gate, message):
    problem = gallery.cliff(T)
    learner = learners.Descent(1.0, 1, 2, 2)
    with pytest.raises(ValueError, match=message):
        interaction.run(problem, schedules.dagger(2, T), learner, interaction.exactly(problem), gate=gate)


def test_a_controller_and_a_gate_exclude_each_other():
    problem = gallery.cliff(T)
    learner = learners.tabular(problem.world, learners.Majority(), True)
    both = {"gate": gates.Safe(0.1), "controller": controllers.Fixed(1)}
    with pytest.raises(ValueError, match="give one of them"):
        interaction.run(problem, schedules.dagger(2, T), learner, interaction.exactly(problem), **both)
