"""Published strategies: who acts and who is labelled, at which step of which round, in small cases by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dagger_jax import gallery, randomness, schedules, strategies
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, interaction, learners, rollout

N, T = 5, 10
STRATEGIES = [name for name, row in ALGORITHMS.items() if row.strategy]
ON_POLICY = ("scheduled_sampling_linear", "scheduled_sampling_exponential", "scheduled_sampling_inverse_sigmoid")


def built(name, rounds=N, horizon=T):
    return schedules.validate(ALGORITHMS[name].build(rounds, horizon, 1))


def picture(column):
    """Rows of 0 and 1 as text."""
    assert set(np.unique(column)) <= {0, 1}
    return ["".join(str(int(entry)) for entry in row) for row in column]


# ---- lengths over rounds -------------------------------------------------------------------------------------------

OPTAX = {
    "constant": (optax.constant_schedule(3.0), [3] * 8),
    "linear": (optax.linear_schedule(1.0, 8.0, 7), [1, 2, 3, 4, 5, 6, 7, 8]),
    "exponential": (optax.exponential_decay(16.0, 1, 0.5), [12, 8, 4, 2, 1, 1, 1, 1]),
    "cosine": (optax.cosine_decay_schedule(12.0, 6), [12, 11, 9, 6, 3, 1, 1, 1]),
    "piecewise": (optax.piecewise_constant_schedule(2.0, {3: 2.0, 6: 2.0}), [2, 2, 2, 4, 4, 4, 8, 8]),
    "joined": (
        optax.join_schedules([optax.constant_schedule(1.0), optax.linear_schedule(2.0, 10.0, 4)], [3]),
        [1, 1, 1, 2, 4, 6, 8, 10],
    ),
    "array": (np.array([1, 1, 2, 3, 5, 8, 13, 21.0]), [1, 1, 2, 3, 5, 8, 12, 12]),
    "number": (0.2, [1] * 8),
}


@pytest.mark.parametrize("name", OPTAX)
def test_any_optax_schedule_is_lengths_over_rounds(name):
    """Whole numbers in 1..12 (cosine: 12, 11.2, 9, 6, 3, 0.8, 0); and the chunks have them."""
    schedule, wanted = OPTAX[name]
    lengths = strategies.over_rounds(schedule, 8, 12)
    np.testing.assert_array_equal(lengths, wanted)
    assert jnp.issubdtype(lengths.dtype, jnp.integer)
    for table, column in ((strategies.chunks(lengths, 12), "join"), (strategies.excursions(lengths, 12), "back")):
        schedules.validate(table)
        for n, k in enumerate(wanted):
            starts = np.array(schedules.starts(12, k), float)
            starts[0] = column == "join"
            np.testing.assert_array_equal(getattr(table, column)[n], starts)


def test_a_schedule_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="the schedule's length in round 3 is not a number"):
        strategies.over_rounds(lambda n: jnp.where(jnp.asarray(n) < 3, 1.0, jnp.nan), 8, 12)


def test_decays():
    n = np.arange(8)
    linear = strategies.linear_decay(0.2, 0.9, 0.25)
    np.testing.assert_allclose(linear(n), [0.9, 0.65, 0.4, 0.2, 0.2, 0.2, 0.2, 0.2], rtol=1e-6)
    sigmoid = strategies.inverse_sigmoid(2.0)
    np.testing.assert_allclose(sigmoid(n), 2 / (2 + np.exp(n / 2)), rtol=1e-6)
    assert sigmoid(10_000) == 0  # exp is inf
    mbpo = strategies.mbpo_length(1, 15, 20, 100)
    np.testing.assert_allclose(mbpo(np.array([0, 20, 60, 100, 500])), [1, 1, 8, 15, 15], rtol=1e-6)


# ---- each strategy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(("rounds", "horizon"), [(5, 10), (1, 1), (1, 7), (7, 1), (3, 40), (40, 3)])
def test_every_strategy_makes_a_valid_table(name, rounds, horizon):
    table = built(name, rounds, horizon)
    assert table.beta.shape == (rounds, horizon)
    asked = table.label_guide + table.label_novice
    assert set(np.unique(asked)) <= {0, 1}  # no step is labelled twice
    assert asked.sum() > 0 or (name, rounds) == ("jsrl", 1)  # whose first round is the expert's alone
    assert ALGORITHMS[name].source


@pytest.mark.parametrize("name", ON_POLICY)
def test_scheduled_sampling(name):
    table = built(name)
    decay = {
        "linear": [1, 0.8, 0.6, 0.4, 0.2],
        "exponential": [1, 0.7, 0.49, 0.343, 0.2401],
        "inverse_sigmoid": [1.25 / (1.25 + np.exp(n / 1.25)) for n in range(5)],
    }[name.removeprefix("scheduled_sampling_")]
    np.testing.assert_allclose(table.beta, np.repeat(np.array(decay)[:, None], T, 1), rtol=1e-5)
    assert (table.join == 1).all()
    assert (table.label_novice == 1).all()


def test_jsrl():
    """The guide acts for the first 10, 8, 5, 2, 0 steps (7.5 and 2.5 rounded to even), the learner learns after."""
    table = built("jsrl")
    guided = ["1111111111", "1111111100", "1111100000", "1100000000", "0000000000"]
    assert picture(table.beta) == guided
    assert picture(1 - table.label_novice) == guided
    assert (table.join == 1).all()
    assert not table.label_guide.any()


def test_prefixes():
    assert picture(built("popd").label_novice) == ["1" * k + "0" * (10 - k) for k in (1, 3, 6, 8, 10)]
    assert picture(built("topd").label_novice) == ["1000000000"] * 5
    assert picture(built("topd", 1, 40).label_novice) == ["1" * 4 + "0" * 36]
    for name in ("popd", "topd"):
        assert not built(name).beta.any()
        assert (built(name).join == 1).all()


def test_mixer():
    """The expert's first 10, 8, 6, 3, 1 steps (7.75, 5.5, 3.25 rounded), then the learner continues them."""
    table = built("mixer")
    assert picture(table.label_guide) == ["1" * s + "0" * (10 - s) for s in (10, 8, 6, 3, 1)]
    np.testing.assert_array_equal(table.label_novice, 1 - table.label_guide)
    assert picture(table.join) == ["1000000000"] * 5
    assert [row.find("1") for row in picture(table.back)] == [-1, 8, 6, 3, 1]
    assert not table.beta.any()


def test_mbpo():
    """From round N // 5 on excursions grow from 1 step to 15: 1, 1, 4.5, 8, 11.5, where N = 5."""
    table = built("mbpo", 5, 20)
    for n, k in enumerate((1, 1, 4, 8, 12)):
        np.testing.assert_array_equal(np.flatnonzero(table.back[n]), np.arange(k, 20, k))
    assert (table.label_novice == 1).all()
    assert picture(table.join) == ["1" + "0" * 19] * 5


def test_corrections_and_the_founding_algorithm():
    """Forks at steps 0, 2, 4, 7, 9 (2.25, 4.5, 6.75 rounded): the expert to the end, or for k steps."""
    forks = (0, 2, 4, 7, 9)
    whole, part = built("corrections"), built("founding", 5, 10)
    assert picture(whole.label_guide) == ["0" * f + "1" * (10 - f) for f in forks]
    assert picture(part.label_guide) == ["0" * f + "1" + "0" * (9 - f) for f in forks]
    for table in (whole, part):
        assert picture(table.join) == [("1" + "0" * (f - 1) if f else "") + "1" + "0" * (9 - f) for f in forks]
        assert not table.label_novice.any()
    three = strategies.corrections(np.array([4, 8]), 10, 3)
    assert picture(three.label_guide) == ["0000111000", "0000000011"]  # cut by the horizon


# ---- played ----------------------------------------------------------------------------------------------------------

PROBLEM = gallery.random_mdp(6, 4, 2, seed=8, temperature=0.3)
WORLD = rollout.tables(PROBLEM)
POLICY = np.random.default_rng(2).dirichlet(np.ones(2), (6, 4))
KEY = randomness.words(jax.random.key(5))


def test_one_program_for_all_strategies():
    """All of them stacked, 4 rounds of learning; a second batch, of the same shape, uses the same program."""
    learner = learners.tabular(PROBLEM.world, learners.LogLoss(0.5), shared=False)
    interpreter = interaction.by_sampling(WORLD, KEY, jnp.arange(50, dtype=jnp.uint32))
    traces = []

    @jax.jit
    @jax.vmap
    def run(schedule):
        traces.append(schedule)
        return interaction.run(PROBLEM, schedule, learner, interpreter).memory.weight.sum()

    tables = [ALGORITHMS[name].build(4, 6, 1) for name in STRATEGIES]
    asked = [float((table.label_guide + table.label_novice).sum()) for table in tables]
    np.testing.assert_allclose(run(schedules.stack(tables)), asked, rtol=1e-5)
    assert len(set(asked)) > 3
    np.testing.assert_allclose(run(schedules.stack(tables[::-1])), asked[::-1], rtol=1e-5)
    assert len(traces) == 1


@pytest.mark.parametrize("name", ["jsrl", "popd", "mixer", "mbpo", "founding", "scheduled_sampling_exponential"])
def test_sampled_labels_are_exact(name):
    """Label frequencies of 20,000 episodes in each of 4 rounds, within 4 standard errors but for 1 cell in 300.

    P(|z| > 4) is 6e-5; 192 cells of each walker; the fraction allows for rare ones, far from normal.
    """
    table, count = built(name, 4, 6), 20_000

    @jax.jit
    def sampled(row, n):
        ids = jnp.arange(count, dtype=jnp.uint32)
        return rollout.play(WORLD, POLICY, row, randomness.for_round(KEY, n), ids)[0]

    laws = float64(jax.vmap(lambda row: exact.frequencies(PROBLEM, exact.play(PROBLEM, POLICY, row))))(table)
    z, parted = [], 0.0
    assert laws.guide is not None
    for n in range(4):
        row = schedules.row(table, n)
        play = sampled(row, n)
        assert play.guide is not None
        for weight, seen, law in (
            (row.label_novice, play.novice, laws.novice[n]),
            (row.label_guide, play.guide, laws.guide[n]),
        ):
            asked = np.asarray(weight)[:, None, None]
            error = np.sqrt(np.maximum(law * (1 - law), 1e-6) / count)
            z.append((asked * (seen - law) / error).ravel())
        parted = max(parted, np.abs(laws.novice[n] - laws.guide[n]).max())
    distance = np.abs(np.concatenate(z))
    assert (distance > 4).mean() <= 1 / 300
    assert distance.max() < 6
    assert (distance > 0).sum() > 15
    if name in ("mixer", "mbpo", "founding"):
        assert parted > 0.02  # the walkers' laws differ, so that labelling the wrong one is seen
