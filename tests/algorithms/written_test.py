"""What a text names: written schedules by hand, and problems whatever their parts are given as."""

from typing import Any

import numpy as np
import pytest

import dagger_jax as dj
from dagger_jax import schedules
from dagger_jax.algorithms import find
from dagger_jax.algorithms.language import CONTROLLERS, FORMS

ANYTHING: Any = 3
STARTS = {
    "chunk:4": ["1000100010"] * 3,
    "chunk:99": ["1000000000"] * 3,
    "partition:3+5+2": ["1001000010"] * 3,
    "partition:3+1": ["1001100110"] * 3,  # repeated
    "partition:7+9+2": ["1000000100"] * 3,  # cut
    "linear:1..5": ["1111111111", "1001001001", "1000010000"],
    "exponential:2..8": ["1010101010", "1000100010", "1000000010"],
    "step:5..1": ["1000010000", "1111111111", "1111111111"],
    "cosine:5..0": ["1000010000", "1010101010", "1111111111"],
    "chunked:5": ["1000010000"] * 3,
    "behavioural_cloning": ["1000000000"] * 3,
    "dagger": ["1111111111"] * 3,
}


@pytest.mark.parametrize("text", STARTS)
def test_where_chunks_start(text):
    table = schedules.validate(dj.schedule(text, rounds=3, horizon=10))
    assert ["".join(str(int(start)) for start in row) for row in np.asarray(table.join)] == STARTS[text]
    if text != "behavioural_cloning":  # the expert alone acts while the learner knows nothing
        np.testing.assert_array_equal(table.beta, np.eye(3)[:1].T * np.ones(10))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_has_an_example_and_needs_numbers(name):
    table = schedules.validate(dj.schedule(FORMS[name].example, rounds=4, horizon=20))
    assert table.beta.shape == (4, 20)
    for wrong in (f"{name}:", f"{name}:x", name, f"{name}:-1"):
        with pytest.raises(ValueError, match=f"^{name}"):
            dj.schedule(wrong, rounds=4, horizon=20)


def test_other_columns():
    np.testing.assert_allclose(dj.schedule("geometric:8", 2, 5).join, [[1, *[0.125] * 4]] * 2)
    np.testing.assert_allclose(np.asarray(dj.schedule("patience:0.5", 2, 5).patience), np.full((2, 5), 0.5))
    np.testing.assert_array_equal(dj.schedule("reset:2", 2, 5).back, [[0, 0, 1, 0, 1]] * 2)


def test_a_file_has_columns(tmp_path):
    path = tmp_path / "own.npz"
    starts: Any = np.array([1, 0, 0, 1, 0])
    np.savez(path, join=starts, label_guide=1.0)
    table = dj.schedule(str(path), 2, 5)
    np.testing.assert_array_equal(table.join, [starts] * 2)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"joins": starts}, "holds joins, which is no column; allowed: join, beta"),
        ({"join": np.ones((3, 3, 3))}, r"join as float64 \[3, 3, 3\]: it must be real numbers"),
        ({"join": np.ones(4)}, r"join as float64 \[4\]: it must be real numbers \[2, 5\]"),
        ({"join": np.zeros(5)}, "own.npz: schedule.join"),
    ]
    for columns, message in cases:
        np.savez(path, **columns)
        with pytest.raises(ValueError, match=message):
            dj.schedule(str(path), 2, 5)
    with pytest.raises(ValueError, match=r"absent\.npz cannot be read"):
        dj.schedule(str(tmp_path / "absent.npz"), 2, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aimd:auc=0.6", "needs a run and is no table; use dj.train"),
        ("dart", "needs a run and is no table; use dj.train"),
        ("chunked", "needs a chunk length in steps, such as chunked:4"),
        ("dagger:4", "this algorithm has no chunk length"),
        ("forward_training", "rounds must be the horizon 10, got 3"),
        ("dagr", "the nearest are dagger, .*`dagger-jax list schedules` lists all"),
        ("aimd:speed=3", "aimd:speed=3: .*speed"),
        ("aimd:auc", "'auc' is not of the form name=value"),
        ("aimd:auc=7", "AdditiveIncrease.target"),
    ],
)
def test_what_is_no_schedule(text, message):
    with pytest.raises(ValueError, match=message):
        dj.schedule(text, rounds=3, horizon=10)


def test_a_controller_is_carried_by_its_row():
    controller: Any = find("aimd:auc=0.6;step=2").controller
    assert (controller.target, controller.step) == (0.6, 2)
    assert find("jump_start").controller is not None
    named: Any = find("change_point:first=3").controller  # a row is called so as well
    assert named.first == 3
    assert not set(CONTROLLERS) & set(FORMS)


# ---- problems --------------------------------------------------------------------------------------------------------


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(4), (4, 3)), rng.random((4, 3)), np.ones(4) / 4


def test_a_problem_of_any_spelling(tmp_path):
    made = dj.tabular.world(*arrays(), horizon=6)
    best = dj.problem(made, "optimal")
    np.testing.assert_array_equal(best.expert, dj.experts.optimal(made))
    np.savez(tmp_path / "own.npz", **dict(zip(("transition", "cost", "initial"), arrays(), strict=True)))
    for same in (
        dj.problem(best),
        dj.problem(made),
        dj.problem(str(tmp_path / "own.npz"), horizon=6),
        dj.problem(made, lambda step, state: int(best.expert[step, state].argmax())),
        dj.problem(made, best.expert),
    ):
        np.testing.assert_array_equal(same.expert, best.expert)
        np.testing.assert_array_equal(same.world.transition, made.transition)
    assert dj.problem(str(tmp_path / "own.npz"), horizon=6).name == "own"
    assert dj.problem("cliff", horizon=6).name == "cliff"
    np.testing.assert_array_equal(dj.problem(made, best.expert[0]).expert, best.expert[:1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda world: dj.problem("clif", horizon=6), "the nearest are cliff"),
        (lambda world: dj.problem("cliff"), "cliff needs a horizon"),
        (lambda world: dj.problem(world, horizon=7), "has been built for 6 steps"),
        (lambda world: dj.problem(world, states=7), "only a named world takes states"),
        (lambda world: dj.problem(ANYTHING), "must be a Problem, a World, a name or a path, got int"),
        (lambda world: dj.problem(world, np.ones((6, 4, 2))), r"expert must have shape \[6, 4, 3\]"),
        (lambda world: dj.problem(world, np.ones((6, 4, 3))), "expert"),
        (lambda world: dj.problem(world, "best"), "not one of the experts"),
        (lambda world: dj.problem(world, lambda step, state: 9), "an action from 0 to 2"),
    ],
)
def test_what_is_no_problem(given, message):
    with pytest.raises(ValueError, match=message):
        given(dj.tabular.world(*arrays(), horizon=6))
