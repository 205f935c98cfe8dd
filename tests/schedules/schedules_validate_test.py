"""What `schedules.validate` refuses, each in the table's own words."""

import jax
import numpy as np
import pytest

from dagger_jax import schedules
from dagger_jax.types import Schedule

PER_ROUND = ("mixing_rate", "retain")


def spoiled(name, where, value):
    table = schedules.filled(schedules.table(2, 3, join=1.0, label_novice=1.0, patience=np.inf, copied=0.0))
    column = np.array(getattr(table, name))
    column[where] = value
    return table._replace(**{name: column})


@pytest.mark.parametrize("name", Schedule._fields)
@pytest.mark.parametrize("value", [-0.25, np.nan])
def test_validate_names_column_and_place(name, value):
    where = (1,) if name in PER_ROUND else (1, 2)
    allowed = ".*" if name.startswith(("label", "patience")) else r"must lie in \[0, 1\]"
    place = r"\[1\]" if name in PER_ROUND else r"\[1, 2\]"
    with pytest.raises(ValueError, match=rf"^schedule\.{name} {allowed}, got {value:g} at {place}$"):
        schedules.validate(spoiled(name, where, value))


@pytest.mark.parametrize("name", [n for n in Schedule._fields if not n.startswith(("label", "patience"))])
def test_validate_refuses_above_one(name):
    where = (0,) if name in PER_ROUND else (0, 1)
    with pytest.raises(ValueError, match=rf"^schedule\.{name} must lie in \[0, 1\], got 1.5 at \[0"):
        schedules.validate(spoiled(name, where, 1.5))


def test_validate_allows_heavy_labels_but_not_infinite_ones():
    schedules.validate(spoiled("label_novice", (0, 1), 1.5))
    with pytest.raises(ValueError, match=r"label_novice.*inf at \[0, 1\]"):
        schedules.validate(spoiled("label_novice", (0, 1), np.inf))


def test_validate_shapes():
    table = schedules.table(2, 3, join=1.0)
    with pytest.raises(ValueError, match=r"^schedule\.join must have shape \[N, T\], got \[3\]$"):
        schedules.validate(schedules.row(table, 0))
    with pytest.raises(ValueError, match=r"^schedule\.noise must have shape \[2, 3\], got \[2\]$"):
        schedules.validate(table._replace(noise=np.zeros(2)))
    with pytest.raises(ValueError, match=r"^schedule\.retain must have shape \[2\], got \[2, 3\]$"):
        schedules.validate(table._replace(retain=np.zeros((2, 3))))


def test_validate_walkers_meet_at_the_start_and_jump_one_way():
    with pytest.raises(ValueError, match=r"^schedule\.join\[:, 0\] must be 1: every episode begins a chunk$"):
        schedules.validate(spoiled("join", (1, 0), 0.5))
    with pytest.raises(ValueError, match=r"join and schedule\.back both act at \[round, step\] \[1, 2\]"):
        schedules.validate(spoiled("back", (1, 2), 0.5))


def test_validate_returns_the_schedule_itself():
    table = schedules.dagger(2, 3)
    assert schedules.validate(table) is table


def test_validate_looks_at_what_is_known():
    """Under jit a table of which one column is traced is refused for another that makes no sense."""

    def build(label, beta):
        return schedules.validate(schedules.table(2, 3, join=1.0, label_novice=label, beta=beta)).label_novice

    np.testing.assert_array_equal(jax.jit(lambda beta: build(1.0, beta))(2.0), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^schedule\.label_novice must lie in .*, got -1 at \[0, 0\]"):
        jax.jit(lambda beta: build(-1.0, beta))(0.5)
