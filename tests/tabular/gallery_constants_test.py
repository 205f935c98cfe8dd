"""The u and D that the gallery's docstrings state, against backward induction, for every world and three horizons.

They are sums of at most 40 costs in float64: 1e-12 is a rounding of each.
"""

import numpy as np
import pytest

from dagger_jax import evidence
from dagger_jax.tabular import gallery

HORIZONS = (2, 9, 40)


def gone(horizon, rate=1.0):
    """rate (T - t), t = 1..T: what a mistake for ever costs later."""
    return rate * np.arange(horizon - 1, -1, -1.0)


def lost(horizon):
    return horizon, gone(horizon)


def at_once(horizon):
    return 1, np.zeros(horizon)


def instalments(horizon, u=3, most=40):
    grown = np.minimum(np.arange(1, horizon + 1) * (u - 1), most)
    return min(u, horizon), np.minimum(grown, gone(horizon))


def stuck(horizon, stay=50.0):
    span = stay * (1 - (1 - 1 / stay) ** gone(horizon))
    return 1 + span[0], span


def one_verdict(horizon):
    return 1, (gone(horizon) > 0) * 1.0


STATED = {
    "cliff": lost,
    "rb3": lost,
    "copy_chain": lost,
    "chunk_reset": at_once,
    "debt": instalments,
    "reset_cliff": lost,
    "recoverable_reset_cliff": at_once,
    "stationary_reset_cliff": lost,
    "identity_bandit": at_once,
    "stationary_identity_bandit": at_once,
    "two_state_bandit": at_once,
    "cheap_and_dear": at_once,
    "leaf_tree": one_verdict,
    "hybrid": stuck,
    "easy": at_once,
    "goldilocks": at_once,
    "hard": at_once,
    "density_ratio": at_once,
}
OTHERWISE = {"tightrope", "random_mdp", "car", "dyck"}  # below


def check(problem, u, span):
    known = evidence.constants(problem)
    np.testing.assert_allclose(known.recoverability, u, rtol=1e-12)
    np.testing.assert_allclose(known.span, span, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("name", STATED)
def test_constants_are_the_stated_ones(name, horizon):
    if name == "leaf_tree":
        horizon = min(horizon, 10)  # its longest
    check(gallery.WORLDS[name].build(horizon), *STATED[name](horizon))


@pytest.mark.parametrize("horizon", HORIZONS)
def test_constants_with_other_parameters(horizon):
    check(gallery.rb3(horizon, 0.3), horizon * 0.7, gone(horizon, 0.7))
    for u, most in ((1, 4), (5, 12)):
        check(gallery.debt(horizon, u, most), *instalments(horizon, u, most))
    for stay in (1.0, 3.0):
        check(gallery.hybrid(horizon, stay=stay), *stuck(horizon, stay))
    check(gallery.cheap_and_dear(horizon, dear=0.5), 0.5, np.zeros(horizon))


def test_every_world_is_here():
    """But those of `lower_bounds` that are held by their own tests."""
    parts = ("classic", "games", "labelling", "regimes")
    here = {name for name, entry in gallery.WORLDS.items() if entry.build.__module__.endswith(parts)}
    assert here <= set(STATED) | OTHERWISE <= set(gallery.WORLDS)


def test_constants_that_have_no_closed_form():
    """To the digits that the docstrings give."""
    short, long = (evidence.constants(gallery.tightrope(horizon)) for horizon in (5, 128))
    assert float(short.recoverability) == pytest.approx(2.41, abs=5e-3)
    assert float(long.recoverability) == pytest.approx(3.38, abs=5e-3)
    assert long.span.max() == pytest.approx(3.93, abs=5e-3)
    assert long.span[-2] == pytest.approx(1, abs=1e-12)
    drawn = evidence.constants(gallery.random_mdp(9))
    assert float(drawn.recoverability) == pytest.approx(0.945, abs=5e-4)
    assert drawn.span.max() == pytest.approx(0.622, abs=5e-4)


@pytest.mark.parametrize("horizon", HORIZONS)
def test_constants_of_one_verdict_at_the_end(horizon):
    road = evidence.constants(gallery.car(horizon))
    assert set(np.asarray(road.span).tolist()) | {float(road.recoverability)} <= {0.0, 1.0}
    length = horizon - horizon % 2
    check(gallery.dyck(horizon), 1, (np.arange(1, horizon + 1) < length) * 1.0)
