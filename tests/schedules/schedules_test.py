"""A schedule is a table: the constructors against their definitions, and every refusal in its own words."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagger_jax import schedules

PER_ROUND = ("mixing_rate", "retain")
boundaries = st.lists(st.booleans(), min_size=1, max_size=30).map(lambda later: np.array([True, *later]))
settled = settings(deadline=None, derandomize=True, max_examples=30)


def columns_besides(schedule, *names):
    columns = schedule._asdict().items()
    return {name: np.asarray(column) for name, column in columns if column is not None and name not in names}


def assert_off(schedule, *but):
    """Every column except those named is what `table` fills in."""
    for name, column in columns_besides(schedule, *but).items():
        np.testing.assert_array_equal(column, 1.0 if name in PER_ROUND else 0.0, err_msg=name)


# ---- table ---------------------------------------------------------------------------------------------


def test_table_fills_and_broadcasts():
    table = schedules.table(3, 4, beta=np.array([[1.0], [0.5], [0.0]]), join=np.array([1, 0, 1, 0]), retain=0.5)
    for name, column in columns_besides(table).items():
        assert column.shape == ((3,) if name in PER_ROUND else (3, 4)), name
        assert jnp.issubdtype(column.dtype, jnp.floating), name
    np.testing.assert_array_equal(table.beta, [[1] * 4, [0.5] * 4, [0] * 4])
    np.testing.assert_array_equal(table.join, [[1, 0, 1, 0]] * 3)
    np.testing.assert_array_equal(table.retain, [0.5] * 3)
    assert_off(table, "beta", "join", "retain")


def test_table_refuses_unknown_and_misshapen_columns():
    with pytest.raises(TypeError, match=r"unknown columns \['betta'\]; a schedule has \['join', 'beta', "):
        schedules.table(2, 3, betta=1.0)
    with pytest.raises(ValueError, match="broadcast"):
        schedules.table(2, 3, beta=np.zeros((2, 5)))


# ---- partitions ----------------------------------------------------------------------------------------


@settled
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 60))
def test_starts(horizon, length, offset):
    wanted = [t == 0 or (t - offset) % length == 0 for t in range(horizon)]
    np.testing.assert_array_equal(schedules.starts(horizon, length, offset), wanted)


def test_random_phase_is_a_start_with_probability_one_in_k():
    """Over the k offsets, every step but the first is a start exactly once.

    docs/theory.md#chunks-random-phase.
    """
    count = sum(np.asarray(schedules.starts(23, 5, offset), int) for offset in range(5))
    np.testing.assert_array_equal(count, [5] + [1] * 22)


@settled
@given(st.lists(st.integers(1, 7), min_size=1, max_size=9))
def test_partition(lengths):
    horizon = sum(lengths)
    wanted = np.zeros(sum(lengths), bool)
    wanted[np.cumsum([0, *lengths[:-1]])] = True
    np.testing.assert_array_equal(schedules.partition(horizon, lengths), wanted)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([], r"at least 1 step, got \[\]"),
        ([3, 0, 4], r"at least 1 step, got \[3, 0, 4\]"),
        ([9, -2], r"at least 1 step, got \[9, -2\]"),
        ([2, 4], "chunk lengths must sum to the horizon 7, got a sum of 6"),
        ([2, 6], "chunk lengths must sum to the horizon 7, got a sum of 8"),
    ],
)
def test_partition_refuses(lengths, message):
    with pytest.raises(ValueError, match=message):
        schedules.partition(7, lengths)


def test_geometric():
    np.testing.assert_allclose(schedules.geometric(5, 4.0), [1, 0.25, 0.25, 0.25, 0.25])
    np.testing.assert_allclose(schedules.geometric(3, 1.0), [1, 1, 1])


# ---- remaining -----------------------------------------------------------------------------------------


def steps_left(boundary):
    """The definition: from t to the last step before the next boundary, or to the end."""
    horizon = len(boundary)
    ends = [next((s for s in range(t + 1, horizon) if boundary[s]), horizon) for t in range(horizon)]
    return np.array(ends) - np.arange(horizon)


@settled
@given(boundaries)
def test_remaining_is_what_is_left_of_the_chunk(boundary):
    np.testing.assert_array_equal(schedules.remaining(boundary.astype(float)), steps_left(boundary))


@pytest.mark.parametrize("dtype", [bool, int, np.float32])
def test_remaining_reads_what_the_partitions_return(dtype):
    left = schedules.remaining(jnp.asarray(schedules.starts(7, 3), dtype))
    np.testing.assert_array_equal(left, [3, 2, 1, 3, 2, 1, 1])


def test_remaining_of_coins_is_the_expectation():
    """Against the sum over all 2^7 outcomes of independent coins."""
    coins = np.random.default_rng(0).random(8)
    coins[0] = 1.0
    coins[3] = 0.0
    expected = np.zeros(8)
    for outcome in itertools.product([0, 1], repeat=7):
        chance = np.prod([coin if face else 1 - coin for face, coin in zip(outcome, coins[1:], strict=True)])
        expected += chance * steps_left([1, *outcome])
    # float32: eight additions of numbers below 8
    np.testing.assert_allclose(schedules.remaining(coins), expected, rtol=1e-6)


def test_remaining_of_geometric_chunks_is_at_most_their_mean():
    """E[R_t] <= 1/p at every age, reached far from the end: docs/theory.md#chunks-geometric-lengths."""
    left = np.asarray(schedules.remaining(schedules.geometric(200, 5.0)))
    np.testing.assert_allclose(left, 5 * (1 - 0.8 ** np.arange(200, 0, -1)), rtol=1e-5)


def test_remaining_takes_leading_axes():
    rows = np.stack([np.eye(6)[0], np.ones(6), np.array([1, 0, 0, 1, 0, 0.5])])
    together = schedules.remaining(rows)
    for row, left in zip(rows, together, strict=True):
        np.testing.assert_array_equal(schedules.remaining(row), left)


# ---- beta ----------------------------------------------------------------------------------------------


def test_beta_schedules():
    np.testing.assert_array_equal(schedules.beta_indicator(4), [1, 0, 0, 0])
    np.testing.assert_allclose(schedules.beta_geometric(4, 0.5), [1, 0.5, 0.25, 0.125])
    np.testing.assert_array_equal(schedules.beta_geometric(3, 0.0), [1, 0, 0])
    np.testing.assert_allclose(schedules.beta_linear(6, 4), [1, 0.75, 0.5, 0.25, 0, 0])
    np.testing.assert_allclose(schedules.beta_constant(3, 0.3), [0.3] * 3)


# ---- algorithms ----------------------------------------------------------------------------------------


def test_behavioural_cloning():
    table = schedules.validate(schedules.behavioural_cloning(2, 5))
    np.testing.assert_array_equal(table.join, [[1, 0, 0, 0, 0]] * 2)
    np.testing.assert_array_equal(table.label_guide, np.ones((2, 5)))
    assert_off(table, "join", "label_guide")


def test_chunked_takes_one_partition_or_one_a_round():
    once = schedules.partition(5, [2, 3])
    each = jnp.stack([once, schedules.starts(5, 1)])
    one, many = schedules.validate(schedules.chunked(2, once)), schedules.validate(schedules.chunked(2, each))
    np.testing.assert_array_equal(one.join, [[1, 0, 1, 0, 0]] * 2)
    np.testing.assert_array_equal(many.join, [[1, 0, 1, 0, 0], [1, 1, 1, 1, 1]])
    for table in (one, many):
        np.testing.assert_array_equal(table.label_guide, np.ones((2, 5)))
        assert_off(table, "join", "label_guide")


def test_dagger():
    default, given_beta = schedules.dagger(3, 4), schedules.dagger(3, 4, np.array([0.9, 0.5, 0.1]))
    np.testing.assert_array_equal(default.beta, [[1] * 4, [0] * 4, [0] * 4])
    np.testing.assert_allclose(given_beta.beta, [[0.9] * 4, [0.5] * 4, [0.1] * 4])
    for table in (default, given_beta):
        schedules.validate(table)
        np.testing.assert_array_equal(table.join, np.ones((3, 4)))
        np.testing.assert_array_equal(table.label_novice, np.ones((3, 4)))
        assert_off(table, "beta", "join", "label_novice")


def test_forward_training():
    table = schedules.validate(schedules.forward_training(4))
    np.testing.assert_array_equal(table.label_novice, np.eye(4))
    np.testing.assert_array_equal(table.join, np.ones((4, 4)))
    assert_off(table, "join", "label_novice")


def test_reset():
    table = schedules.validate(schedules.reset(2, schedules.starts(6, 2)))
    np.testing.assert_array_equal(table.join, [[1, 0, 0, 0, 0, 0]] * 2)
    np.testing.assert_array_equal(table.back, [[0, 0, 1, 0, 1, 0]] * 2)
    np.testing.assert_array_equal(table.label_novice, np.ones((2, 6)))
    assert_off(table, "join", "back", "label_novice")


def test_constructors_under_jit_with_traced_numbers():
    traces = []

    def build(length, offset, mean, p, zero_at, lengths):
        traces.append(length)
        return schedules.stack(
            [
                schedules.chunked(3, schedules.starts(8, length, offset)),
                schedules.chunked(3, schedules.geometric(8, mean)),
                schedules.chunked(3, schedules.partition(8, lengths)),
                schedules.reset(3, schedules.starts(8, length)),
                schedules.dagger(3, 8, schedules.beta_geometric(3, p)),
                schedules.dagger(3, 8, schedules.beta_linear(3, zero_at)),
                schedules.dagger(3, 8, schedules.beta_constant(3, p)),
            ]
        )

    numbers = [(3, 1, 2.5, 0.5, 2, np.array([2, 2, 4])), (5, 0, 4.0, 0.25, 3, np.array([1, 1, 6]))]
    plain = [build(*each) for each in numbers]
    traces.clear()
    compiled = jax.jit(build)
    for each, wanted in zip(numbers, plain, strict=True):
        for name, column in columns_besides(compiled(*each)).items():
            np.testing.assert_allclose(column, getattr(wanted, name), rtol=1e-6, err_msg=name)
    assert len(traces) == 1  # the numbers are data


# ---- rows and stacks -------------------------------------------------------------------------------------


def test_row_and_stack():
    one, two = schedules.dagger(3, 4, np.array([1.0, 0.5, 0.2])), schedules.behavioural_cloning(3, 4)
    both = schedules.stack([one, two])
    assert both.beta.shape == (2, 3, 4)
    assert both.mixing_rate.shape == (2, 3)
    for index, schedule in enumerate((one, two)):
        for n in range(3):
            row = schedules.row(schedule, n)
            assert row.beta.shape == (4,)
            assert row.mixing_rate.shape == ()
            for name, column in columns_besides(row).items():
                np.testing.assert_array_equal(column, getattr(schedule, name)[n])
                np.testing.assert_array_equal(column, getattr(both, name)[index, n])


def test_training_weights_are_shares_and_zero_where_nothing_is_asked():
    table = schedules.table(1, 4, label_novice=np.array([3.0, 0, 2, 0]), label_guide=np.array([1.0, 0, 0, 5]))
    novice, guide = schedules.training_weights(schedules.row(table, 0))
    np.testing.assert_allclose(novice, [0.75, 0, 1, 0])
    np.testing.assert_allclose(guide, [0.25, 0, 0, 1])
