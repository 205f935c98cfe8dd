"""The frontier experiment: its methods, its accounting, and a small run of the whole binary."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from dagger_jax import schedules
from experiments import chunk_choice
from experiments.claim.running import execute
from tests import degenerate

SMALL = ("--worlds=recoverable_reset_cliff", "--horizon=8", "--rounds=5", "--episodes=4", "--runs=3")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run so small that its findings need not hold: 0 or 1 are both fine."""
    out = tmp_path_factory.mktemp("choice") / "out"
    assert execute(chunk_choice.CLAIM, ["chunk_choice", f"--out={out}", "--preset=quick", *SMALL]) in (0, 1)
    return out


def test_every_method_has_a_valid_schedule():
    for name, method in chunk_choice.methods(32, 24).items():
        schedules.validate(method.schedule)
        assert method.schedule.beta.shape == (24, 32), name
        if method.kind != "published":
            assert np.asarray(method.schedule.beta[1:]).max() == 0, name  # only the first round is the expert's
    kinds = {method.kind for method in chunk_choice.methods(8, 4).values()}
    assert kinds == {"fixed", "schedule", "controller", "published"}


@pytest.mark.slow
def test_points_account_for_every_run_and_round(directory):
    table = pq.read_table(directory / "points.parquet")
    rows = [row for row in table.to_pylist() if row["kind"] != "plan"]
    names = chunk_choice.methods(8, 5)
    assert len(rows) == len(names) * 3 * 5
    by_method = {name: [row for row in rows if row["method"] == name] for name in names}
    # One chunk of T steps costs 4 + 8 labels an episode, T chunks of one step 8 (4 + 1): exact sums.
    whole = [row["price"] for row in by_method["k = 8"] if row["run"] == 0]
    single = [row["price"] for row in by_method["k = 1"] if row["run"] == 0]
    np.testing.assert_allclose(whole, 4 * 12 * np.arange(1, 6))
    np.testing.assert_allclose(single, 4 * 40 * np.arange(1, 6))
    assert all(row["detectability"] == pytest.approx(0, abs=1e-12) for row in by_method["k = 1"])
    assert all(np.isfinite(row["gap"]) for row in rows)
    assert all(0 <= row["detectability"] <= 1 for row in rows if row["method"] not in ("mixer", "mbpo"))
    # Every chunk partition can be read at the common price: its last round is at or past it.
    budget = 5 * 4 * (chunk_choice.PER_QUERY + chunk_choice.PER_STEP * 8)
    for name, own in by_method.items():
        if names[name].kind != "published":
            assert min(row["price"] for row in own if row["round"] == 5) >= budget - 1e-6, name


@pytest.mark.slow
def test_the_best_partition_is_never_dearer_than_equal_chunks(directory):
    plans = [row for row in pq.read_table(directory / "points.parquet").to_pylist() if row["kind"] == "plan"]
    assert len(plans) == 3 * len(chunk_choice.HANDOVER_COSTS)
    assert all(row["bound"] <= row["best_fixed"] * (1 + 1e-12) for row in plans)


@pytest.mark.slow
def test_results_are_complete(directory):
    findings = json.loads((directory / "findings.json").read_text())
    assert len(findings) == 4 + 7  # one for each controller
    for name in ("frontier", "ratios", "partition"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
        assert (directory / f"{name}.svg").stat().st_size > 10_000


def test_ratio_is_paired():
    """Runs that differ a thousandfold in scale, and by 10% in the method: only pairing sees the 10%."""
    reference = 10 ** np.linspace(-1, 2, 40)
    value, low, high = chunk_choice.ratio(0.9 * reference, reference)
    assert value == pytest.approx(0.9)
    assert low == pytest.approx(0.9)
    assert high == pytest.approx(0.9)


@pytest.mark.parametrize("flag", ["--horizon=2", "--worlds=moon", "--rounds=0", "--episodes=-1", "--runs=1"])
def test_bad_flags_are_named(flag, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(chunk_choice.CLAIM, ["chunk_choice", f"--out={out}", flag]) == 2
    message = capsys.readouterr().err
    assert flag.split("=")[0] in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(chunk_choice.CLAIM, directory) > 0
