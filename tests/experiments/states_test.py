"""States of statements: intervals, standard errors, chances; what is too wide to tell is neither right nor wrong."""

import math

import numpy as np
import pytest

from dagger_jax import growth
from experiments.claim import HOLDS, NOT_SHOWN, REFUTED, compared
from experiments.shared import states


@pytest.mark.parametrize(
    ("low", "high", "strict", "state"),
    [
        (0.1, 0.2, False, HOLDS),
        (0.0, 0.2, False, HOLDS),
        (0.0, 0.2, True, NOT_SHOWN),
        (0.0, 0.0, True, REFUTED),
        (-0.1, 0.2, False, NOT_SHOWN),
        (-0.2, -0.1, False, REFUTED),
        (0.1, math.inf, True, HOLDS),
        (None, 0.2, False, NOT_SHOWN),
        (math.nan, 0.2, False, NOT_SHOWN),
    ],
)
def test_an_interval_decides_or_does_not(low, high, strict, state):
    assert compared(low, high, least=0.0, strict=strict) is state
    if low is not None and high is not None:
        assert compared(-high, -low, most=0.0, strict=strict) is state


def test_equality_needs_an_error_that_is_known_and_small():
    assert states.equal([0.01], [0.01], [1.0]).state is HOLDS
    assert states.equal([0.05], [0.01], [1.0]).state is REFUTED
    wide = states.equal([0.1], [0.3], [1.0])  # 4 x 0.3 is more than the thing itself
    assert wide.state is NOT_SHOWN
    assert wide.seen == pytest.approx(1.2)
    for unknown in (np.nan, 0.0):
        found = states.equal([0.5], [unknown], [1.0])
        assert found.state is NOT_SHOWN
        assert found.value is None
        assert "no standard error" in found.power()
    # One point that has no error leaves the others to decide.
    assert states.equal([0.5, 0.0], [np.nan, 0.01], [1.0, 1.0]).state is HOLDS
    assert states.equal([0.05], [0.01], [1.0], replicas=3).state is NOT_SHOWN  # three replicas hardly know their error


def test_means_below_their_limits():
    assert states.below([0.5, 0.9], [0.01, 0.01], 1.0) is HOLDS
    assert states.below([0.5, 1.1], [0.01, 0.01], 1.0) is REFUTED
    assert states.below([0.5, 0.99], [0.01, 0.01], 1.0) is NOT_SHOWN
    assert states.below([0.5], [np.nan], 1.0) is NOT_SHOWN
    assert states.below([], [], 1.0) is NOT_SHOWN
    assert states.below([0.9], [0.04], 1.0, replicas=[3]) is NOT_SHOWN  # Student's interval, not the normal law's


def test_chances_have_power_or_show_nothing():
    assert states.never_above([0.0, -0.1], [0.01, 0.01]).state is HOLDS
    assert states.never_above([0.0, 0.1], [0.01, 0.01]).state is REFUTED
    assert states.never_above([0.0, -0.1], [0.01, 0.1]).state is NOT_SHOWN  # at the second much would stay unseen
    assert states.never_above([-0.1], [0.01], two_sided=True).state is REFUTED
    assert states.never_above([], []).state is NOT_SHOWN


def test_a_law_is_shown_refuted_or_undecided():
    horizons = np.array([8.0, 16.0, 32.0, 64.0])
    assert states.law(growth.fit(horizons, 3 * horizons), 1) is HOLDS
    assert states.law(growth.fit(horizons, 3 * horizons**2), 1) is REFUTED
    assert states.law(None, 1) is NOT_SHOWN
    assert states.law(growth.fit(horizons, horizons)._replace(verdict="undecided"), 1) is NOT_SHOWN


def test_many_are_as_good_as_the_worst():
    assert states.worst([HOLDS, HOLDS]) is HOLDS
    assert states.worst([HOLDS, NOT_SHOWN]) is NOT_SHOWN
    assert states.worst([NOT_SHOWN, REFUTED, HOLDS]) is REFUTED
    assert states.worst([]) is NOT_SHOWN


def test_the_chance_of_a_false_refutation_is_small():
    """10,000 tests of true statements, 20 replicas each: 0.6 are expected beyond 4 sigma, 5 have a chance of 4e-4."""
    rng = np.random.default_rng(0)
    samples = rng.normal(1.0, 0.3, (10_000, 20))
    errors = samples.std(1, ddof=1) / 20**0.5
    found = [states.equal([m - 1], [e], [1.0], replicas=20).state for m, e in zip(samples.mean(1), errors, strict=True)]
    assert found.count(REFUTED) < 5
    assert found.count(HOLDS) > 9_900
