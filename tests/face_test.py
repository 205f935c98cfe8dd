"""The public face: train, evaluate, save and load, in tables, with a network, and on text."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import dagger_jax as dj
from dagger_jax import bounds, evidence, rollout, schedules
from dagger_jax.tabular import exact, interaction

KEY = jax.random.key(3)
T = 8
PROBLEM = dj.gallery.random_mdp(horizon=T, states=6, actions=3, observations=4)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_train_is_the_loop_of_tables():
    """Against `interaction.run`, with the same keys: bit for bit."""
    run = dj.train("chunked", PROBLEM, rounds=4, chunk=3, episodes=32, key=KEY)
    row = dj.ALGORITHMS["chunked"]
    ids = jnp.arange(32, dtype=jnp.uint32)
    plays = interaction.by_sampling(rollout.tables(PROBLEM), dj.randomness.words(KEY), ids)
    schedule, learner = row.build(4, T, 3), row.learner(PROBLEM.world, False)
    done = jax.jit(lambda: interaction.run(PROBLEM, schedule, learner, plays, episodes=32.0, key=KEY))()
    same(run.policy.table, done.acting)
    same(run.schedule.join, schedule.join)
    assert run.history.cost.shape == (4,)
    np.testing.assert_allclose(run.history.labels, T)


def test_a_run_in_parts_is_the_run_in_one():
    whole = dj.train("aimd:auc=0.7", PROBLEM, rounds=4, episodes=16, key=KEY)
    half = dj.train("aimd:auc=0.7", PROBLEM, rounds=2, episodes=16, key=KEY)
    rest = dj.train("aimd:auc=0.7", PROBLEM, rounds=2, episodes=16, key=KEY, state=half.state)
    same(rest.policy, whole.policy)
    same(rest.state, whole.state)
    np.testing.assert_array_equal(np.concatenate([half.schedule.join, rest.schedule.join]), whole.schedule.join)


def test_going_on_with_something_else_is_refused():
    half = dj.train("dagger", PROBLEM, rounds=2, episodes=8, key=KEY)
    other = dj.gallery.random_mdp(horizon=T, states=6, actions=3, observations=4, seed=9)
    how = {"rounds": 2, "episodes": 8, "state": half.state}
    for algorithm, problem, key in (("dagger", PROBLEM, jax.random.key(4)), ("dagger", other, KEY)):
        with pytest.raises(ValueError, match="state is of another run"):
            dj.train(algorithm, problem, key=key, **how)
    with pytest.raises(ValueError, match="state is of another run"):
        dj.train("behavioural_cloning", PROBLEM, key=KEY, **how)


def test_evaluate_is_exact_evidence():
    run = dj.train("chunked", PROBLEM, rounds=2, chunk=3, episodes=8, key=KEY)
    found = dj.evaluate(PROBLEM, run)
    row = dj.ALGORITHMS["chunked"].judged_by(T, 3)
    row, known = schedules.row(row, 0), evidence.constants(PROBLEM)
    seen = evidence.measure(PROBLEM, run.policy.table, row, known)
    assert found.exact
    assert found.low == found.gap == found.high == seen.gap
    np.testing.assert_array_equal(found.error, seen.eps)
    assert found.slack.keys() == bounds.slacks(row, seen, known).keys()
    assert all(value >= -1e-9 for value in found.slack.values())
    assert found.cost - found.expert_cost == pytest.approx(found.gap, abs=1e-12)
    laws = exact.play(PROBLEM, run.policy.table, row)
    np.testing.assert_allclose(found.agreement, laws.agreement)
    starts = np.asarray(row.join) > 0
    assert (found.detectability[starts] == 0).all()
    np.testing.assert_allclose(found.detectability[1:][~starts[1:]], (1 - laws.overlap[:-1])[~starts[1:]])


def test_stacks_of_runs():
    keys = jax.random.split(KEY, 3)
    runs = jax.vmap(lambda key: dj.train("dagger", PROBLEM, rounds=2, episodes=8, key=key))(keys)
    found = dj.evaluate(PROBLEM, runs)
    assert found.gap.shape == (3,)
    assert found.gap.dtype == np.float64
    one = dj.train("dagger", PROBLEM, rounds=2, episodes=8, key=keys[1])
    assert found.gap[1] == dj.evaluate(PROBLEM, one).gap
    rows = schedules.stack([dj.schedule(text, 2, T) for text in ("chunk:1", "chunk:4", "geometric:3")])
    many = jax.vmap(lambda row: dj.train(row, PROBLEM, episodes=8, key=KEY))(rows)
    assert dj.evaluate(PROBLEM, many).gap.shape == (3,)


def test_a_policy_is_called():
    run = dj.train("dagger", PROBLEM, rounds=2, episodes=8, key=KEY)
    table = np.asarray(run.policy.table)
    for observation in range(4):
        (states,) = np.nonzero(np.asarray(PROBLEM.world.observation) == observation)
        law = table[2, states[0]]
        drawn = {int(run.policy(observation, 2, key)) for key in jax.random.split(KEY, 20)}
        assert drawn <= set(np.flatnonzero(law))


def test_labels_in_exact_proportions():
    run = dj.train("dagger", PROBLEM, rounds=3, key=KEY)
    done = interaction.run(
        PROBLEM, dj.ALGORITHMS["dagger"].build(3, T, 1), dj.ALGORITHMS["dagger"].learner(PROBLEM.world, False),
        interaction.exactly(PROBLEM), key=KEY,
    )  # fmt: skip
    np.testing.assert_allclose(run.policy.table, done.acting, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": "chunked"}, "chunked needs chunk="),
        ({"algorithm": "chunky"}, "the nearest are"),
        ({"algorithm": "dagger", "rounds": 0}, "rounds must be at least 1"),
        ({"algorithm": "dagger", "episodes": 0}, "episodes must be at least 1"),
        ({"algorithm": "dagger_mixture"}, "one of all its rounds' policies"),
        ({"algorithm": "forward_training"}, "rounds must come to the horizon 8"),
        ({"algorithm": schedules.dagger(2, T + 1)}, "the schedule has 9 steps, the world's horizon is 8"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        dj.train(**{"problem": PROBLEM, "rounds": 2, "episodes": 4, "key": KEY} | given)


# ---- worlds with networks -------------------------------------------------------------------------------------------


class Drift(NamedTuple):
    """A number that is to be kept at 0: a linear world with noise."""

    horizon: int = 12

    def reset(self, word):
        return dj.randomness.normal(word, (1,))

    def observe(self, state, step):
        return state

    def advance(self, state, action, step, word):
        after = 0.9 * state + action + 0.05 * dj.randomness.normal(word, (1,))
        return after, jnp.minimum(jnp.sum(state**2), 1.0)


def steers(state, step):
    """A linear expert, with noise in its hand."""
    return dj.laws.Normal(-0.6 * state, 0.1)


class Net(nn.Module):
    """A small network."""

    outputs: int = 2

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.outputs)(nn.tanh(nn.Dense(16)(x)))


DRIFT = dj.problem(Drift(), steers)
LEARNER = dj.learners.network(Net(), optax.adam(1e-2), head="normal", steps=100, batch=32)


@pytest.mark.parametrize(
    ("name", "given"), [("dagger", {}), ("behavioural_cloning", {}), ("chunked", {"chunk": 4}), ("reset", {"chunk": 4})]
)
def test_a_network_learns_a_linear_expert(name, given):
    """The gap of an expert's own imitation is small beside that of an untrained network; 3 rounds of 32 episodes."""
    run = dj.train(name, DRIFT, learner=LEARNER, rounds=3, episodes=32, key=KEY, **given)
    found = dj.evaluate(DRIFT, run, episodes=512)
    untrained = LEARNER.on(DRIFT.world, DRIFT.expert).init(jax.random.key(9))
    worst = dj.evaluate(DRIFT, _policy(untrained), episodes=512)
    assert not found.exact
    assert found.low <= found.gap <= found.high
    assert abs(found.gap) < 0.3 * worst.gap
    assert found.slack == {}
    np.testing.assert_allclose(run.history.labels, 12)
    assert run.policy(jnp.zeros(1), 0, KEY).shape == (1,)


def _policy(trained):
    return dj.agents.Policy(
        LEARNER.on(DRIFT.world, DRIFT.expert).agent(trained, schedules.row(schedules.dagger(1, 12), 0))
    )


def test_a_network_goes_on_and_is_kept(tmp_path):
    how = {"learner": LEARNER, "episodes": 8, "key": KEY}
    whole = dj.train("dagger", DRIFT, rounds=2, **how)
    half = dj.train("dagger", DRIFT, rounds=1, **how)
    half.save(tmp_path / "half")
    again = dj.load(tmp_path / "half", like=half)
    same(again.state, half.state)
    rest = dj.train("dagger", DRIFT, rounds=1, state=again.state, **how)
    same(rest.policy, whole.policy)
    with pytest.raises(ValueError, match="holds a network: give like="):
        dj.load(tmp_path / "half")


def test_what_a_kind_of_world_cannot_do_is_refused_by_name():
    how = {"learner": LEARNER, "rounds": 2, "episodes": 4, "key": KEY}
    cases = [
        ("smile", how, "mixture"),
        ("aggrevate", how, "costs-to-go"),
        ("safe_dagger", how, "gate reads tables"),
        ("dagger", how | {"learner": None}, "needs a learner"),
        ("dagger", how | {"episodes": None}, "give episodes="),
        ("aimd:auc=0.6", how, "continuous"),
        (schedules.dart(2, 12, 0.5), how, "shaken"),
        (schedules.smile(2, 12, 0.5), how, r"schedule\.mixing_rate must be 1"),
        ("dagger", how | {"learner": dj.learners.network(Net(), optax.adam(1e-2))}, "head is 'categorical'"),
    ]
    for algorithm, given, message in cases:
        with pytest.raises(ValueError, match=message):
            dj.train(algorithm, DRIFT, **given)
    with pytest.raises(ValueError, match="control worlds have no exact twin: give episodes="):
        dj.evaluate(DRIFT, steers)
    with pytest.raises(TypeError, match="is no world: it has no reset"):
        dj.problem(type("Half", (), {"horizon": 3, "advance": None})(), steers)


def test_the_expert_itself_has_no_gap():
    """Paired words: the same law draws the same actions, in every world."""
    found = dj.evaluate(DRIFT, steers, episodes=64)
    assert found.gap == found.low == found.high == 0
    np.testing.assert_array_equal(found.detectability, 0)
    np.testing.assert_array_equal(found.error, 0)


# ---- text -----------------------------------------------------------------------------------------------------------

PAIR = dj.text.pair(expert="markov:1", horizon=6, vocabulary=3)


def test_text_is_trained_kept_and_goes_on(tmp_path):
    how = {"chunk": 3, "episodes": 8, "key": KEY}
    whole = dj.train("chunked", PAIR, rounds=2, **how)
    half = dj.train("chunked", PAIR, rounds=1, **how)
    rest = dj.train("chunked", PAIR, rounds=1, state=half.state, **how)
    same(rest.policy, whole.policy)
    found = dj.evaluate(PAIR, whole, episodes=64)
    assert 0 < found.low <= found.gap <= found.high <= 6
    whole.save(tmp_path / "text")
    policy = dj.load(tmp_path / "text")
    assert int(policy(jnp.array([0, 1]), 2, KEY)) == int(whole.policy(jnp.array([0, 1]), 2, KEY))


def test_the_writer_itself_has_no_gap():
    found = dj.evaluate(PAIR, PAIR.expert, episodes=32)
    assert found.gap == 0
    assert found.agreement.tolist() == [1.0] * 6


def test_a_table_is_kept(tmp_path):
    run = dj.train("dagger", PROBLEM, rounds=2, episodes=8, key=KEY)
    run.save(tmp_path / "run")
    same(dj.load(tmp_path / "run"), run.policy)
    same(dj.load(tmp_path / "run", like=run), run)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ValueError, match="holds no run that can be read"):
            dj.load(path)
