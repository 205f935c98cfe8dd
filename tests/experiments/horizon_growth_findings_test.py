"""What `horizon_growth` and `bound_sweep` say of points made up to hold, to contradict, or not to tell."""

import numpy as np
import pyarrow as pa
import pytest

from experiments.bound_sweep import experiment as bound_sweep
from experiments.claim import HOLDS, INFORMATION, NOT_SHOWN, REFUTED, resolve
from experiments.horizon_growth import experiment as horizon_growth
from experiments.shared import study

HORIZONS = (8, 16, 32, 64)


def settings(**given):
    return resolve(horizon_growth.CLAIM, "quick", horizons=HORIZONS, **given)


def points(world, learner, algorithm, gap, runs=32, noise=0.02, bound=1e9):
    """Gaps gap(T) in every run, with relative noise; an oracle has one exact run, and a sampled one beside it."""
    rng, rows = np.random.default_rng(0), []
    for horizon in HORIZONS:
        common = {"claim": "horizon_growth", "world": world, "algorithm": algorithm, "learner": learner}
        common |= {"horizon": horizon, "bound": bound, "training_error": 1e-4, "chunk": None}
        common |= {"eps": 1e-4 if learner == "oracle" else None, "interpreter": "exact"}
        if learner == "oracle":
            rows.append(common | {"gap": gap(horizon)})
            error = 0.02 * gap(horizon)
            rows.append(
                common | {"interpreter": "sampled", "gap": gap(horizon) + error, "gap_stderr": error, "parted": 99}
            )
            continue
        cloned = algorithm == "behavioural_cloning" and world == "recoverable_reset_cliff"
        rows += [
            common
            | {"run": run, "gap": gap(horizon) * (1 + noise * rng.normal())}
            | {"closed_form": gap(horizon) if cloned else None}
            for run in range(runs)
        ]
    return rows


def judged(rows):
    """Findings by the first words of what they say."""
    found = horizon_growth.verdict(settings(), pa.Table.from_pylist(rows, horizon_growth.CLAIM.schema))
    return [(finding.claim, finding.state) for finding in found]


def state(rows, words):
    (found,) = [found for claim, found in judged(rows) if words in claim]
    return found


@pytest.mark.parametrize(
    ("power", "runs", "noise", "expected"),
    [(1, 32, 0.02, HOLDS), (2, 32, 0.02, REFUTED), (1, 3, 0.9, NOT_SHOWN), (1, 1, 0.0, NOT_SHOWN)],
)
def test_a_law_holds_is_refuted_or_is_not_shown(power, runs, noise, expected):
    rows = points("recoverable_reset_cliff", "follow_the_leader", "dagger", lambda t: 0.1 * t**power, runs, noise)
    assert state(rows, "DAgger, follow") is expected


def test_without_a_positive_gap_a_stated_law_is_not_shown_and_no_law_is_information():
    nothing = points("recoverable_reset_cliff", "follow_the_leader", "dagger", lambda t: 0.0)
    assert state(nothing, "there is no gap") is NOT_SHOWN
    own = points("world.npz", "follow_the_leader", "dagger", lambda t: 0.0)
    assert state(own, "there is no gap") is INFORMATION


def test_a_data_set_is_counted_once_and_names_all_that_it_is_about():
    names = ("behavioural_cloning", "forward_training", "dagger")
    rows = [row for name in names for row in points("cliff", "oracle", name, lambda t: 1e-4 * t * (t + 1) / 2)]
    (only,) = [claim for claim, _ in judged(rows) if "the gap grows" in claim]
    assert all(name in only for name in ("behavioural cloning", "forward training", "DAgger"))
    rows += points("cliff", "oracle", "chunked", lambda t: 1.01e-4 * t * (t + 1) / 2)  # other numbers
    assert len([claim for claim, _ in judged(rows) if "the gap grows" in claim]) == 2
    # The same numbers in two worlds, of which the same is expected, are one data set too.
    rows = points("cliff", "oracle", "dagger", lambda t: 1e-4 * t**2)
    rows += points("chunk_reset", "oracle", "behavioural_cloning", lambda t: 1e-4 * t**2)
    series = study.by_series(pa.Table.from_pylist(rows, horizon_growth.CLAIM.schema))
    assert [len(group) for group in horizon_growth.once(series)] == [2]


def test_closed_forms_bounds_and_the_sampler_can_fail():
    cloned = points("recoverable_reset_cliff", "follow_the_leader", "behavioural_cloning", lambda t: 1e-3 * t**2)
    assert state(cloned, "mean gap") is HOLDS
    off = [row | {"closed_form": 1.1 * row["closed_form"]} for row in cloned]
    assert state(off, "mean gap") is REFUTED
    assert state([row for row in cloned if row["run"] == 0], "mean gap") is NOT_SHOWN
    assert state(cloned, "no gap is above") is HOLDS
    assert state([row | {"bound": 0.01} for row in cloned], "no gap is above") is REFUTED
    oracle = points("cliff", "oracle", "dagger", lambda t: 1e-4 * t**2)
    assert state(oracle, "sampled gaps") is HOLDS
    far = [row | ({"gap": 1.2 * row["gap"]} if row["interpreter"] == "sampled" else {}) for row in oracle]
    assert state(far, "sampled gaps") is REFUTED
    few = [row | ({"parted": 3} if row["interpreter"] == "sampled" else {}) for row in oracle]
    assert state(few, "sampled gaps") is NOT_SHOWN


def test_a_bound_without_a_number_is_not_shown():
    rows = [
        {
            "claim": "bound_sweep",
            "world": "cliff",
            "theorem": theorem,
            "bound": 1.0,
            "bounded": 1.0 - slack,
            "slack": slack,
        }
        for theorem, slack in (("T^2 eps", 0.1), ("own error", -0.1), ("law shift", np.nan), ("k T eps (false)", -0.1))
    ]
    found = bound_sweep.verdict(settings(), pa.Table.from_pylist(rows, bound_sweep.CLAIM.schema))
    assert {finding.claim.split(" holds")[0]: finding.state for finding in found[:3]} == {
        "T^2 eps": HOLDS,
        "own error": REFUTED,
        "law shift": NOT_SHOWN,
    }
    assert found[3].state is HOLDS  # the false one is found out
    rows[3]["slack"] = 0.1
    assert bound_sweep.verdict(settings(), pa.Table.from_pylist(rows, bound_sweep.CLAIM.schema))[3].state is REFUTED
