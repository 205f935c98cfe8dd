"""The frontier experiment: its methods, its accounting, and a small run of the whole binary."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax import schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.tabular import exact
from experiments.chunk_choice import experiment as chunk_choice
from experiments.chunk_choice import findings as chunk_choice_findings
from experiments.claim import Settings
from experiments.claim.running import execute
from experiments.shared import chunk_worlds as chunk_choice_worlds
from experiments.shared.chunk_methods import CUT
from experiments.zoo import findings as zoo_findings
from experiments.zoo import theorems as zoo_theorems
from tests import degenerate

SMALL = ("--worlds=recoverable_reset_cliff", "--horizon=8", "--rounds=5", "--episodes=4", "--runs=3")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run so small that its findings need not hold."""
    out = tmp_path_factory.mktemp("choice") / "out"
    assert execute(chunk_choice.CLAIM, ["chunk_choice", f"--out={out}", "--preset=quick", *SMALL]) in (0, 1, 5)
    return out


def test_every_method_has_a_valid_schedule():
    for name, method in chunk_choice.methods(32, 24).items():
        schedules.validate(method.schedule)
        assert method.schedule.join.shape == (24, 32), name
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
    # T chunks of one step are T hand-overs, one of T steps is one; where chunks are cut, every step was watched.
    assert {(row["handovers"], row["labels"], row["watched"]) for row in by_method["k = 8"]} == {(1, 8, 0)}
    assert {(row["handovers"], row["labels"], row["watched"]) for row in by_method["k = 1"]} == {(8, 8, 0)}
    assert {(row["labels"], row["watched"]) for row in by_method[CUT]} == {(8, 8)}
    assert all(row["detectability"] == pytest.approx(0, abs=1e-12) for row in by_method["k = 1"])
    assert all(np.isfinite(row["gap"]) for row in rows)
    assert all(0 <= row["detectability"] <= 1 for row in rows if row["method"] not in ("mixer", "mbpo"))
    # No partition is dearer than the best for the same errors, but by rounding.
    assert min(row["over_best"] for row in rows if row["over_best"] is not None) >= 1 - 1e-9


@pytest.mark.slow
def test_the_best_partition_is_never_dearer_than_equal_chunks(directory):
    plans = [row for row in pq.read_table(directory / "points.parquet").to_pylist() if row["kind"] == "plan"]
    assert len(plans) == 3 * len(chunk_choice.PARTITION_COSTS)
    assert all(row["bound"] <= row["best_fixed"] * (1 + 1e-12) for row in plans)


@pytest.mark.slow
def test_results_are_complete(directory):
    findings = json.loads((directory / "findings.json").read_text())
    published = sum(method.kind == "published" for method in chunk_choice.methods(8, 5).values())
    # Four ways at four costs, the length, controllers but the cut, published strategies, a budget, the best partition.
    assert len(findings) == 4 * 4 + 1 + 6 + published + 1 + 1
    for name in ("handover_costs", "frontier", "ratios", "partition"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
        assert (directory / f"{name}.svg").stat().st_size > 10_000


def settings(**changed):
    small = {"horizon": 4, "rounds": 4, "episodes": 1, "runs": 6, "seed": 0}
    return Settings(small | {"handover_costs": (0.0, 4.0, 16.0), "watch_cost": 1.0} | changed)


def curve(kind, gap, handovers, watched=0):
    """Six equal runs of four rounds of one episode, T = 4, every step labelled."""
    ones = np.ones((6, 4))
    total = np.cumsum(ones, axis=1)
    return chunk_choice_findings.Curve(kind, gap * ones, 0 * ones, handovers * total, 4 * total, watched * total)


def test_a_gap_is_read_where_one_chunk_an_episode_would_have_spent_the_budget():
    """Cost 4, T = 4: 4 rounds of 4 + 4 = 32 labels. k = 1 spends 20 a round, the cut 12, watched 16, both by hand."""
    gap = np.array([8.0, 4.0, 2.0, 1.0])
    methods = {
        "k = 1": curve("fixed", gap, 4),
        "k = 4": curve("fixed", gap, 1),
        CUT: curve("controller", gap, 2, watched=4),
        "price list": curve("controller", gap, 2),
    }
    at = {cost: chunk_choice_findings.at_budget(settings(), methods, cost) for cost in (0.0, 4.0, 16.0)}
    np.testing.assert_allclose(at[4.0]["k = 4"].gap, 1.0)
    np.testing.assert_allclose(at[4.0]["k = 1"].gap, 8 - 4 * 12 / 20)
    np.testing.assert_allclose(at[4.0][CUT].gap, 4 - 2 * 8 / 12)
    np.testing.assert_allclose(at[4.0][chunk_choice_findings.WATCHED].gap, 4.0)
    np.testing.assert_allclose(at[0.0]["k = 1"].gap, 1.0)  # without hand-overs all partitions cost the same
    assert np.isfinite(at[16.0]["k = 1"].gap).all()  # 80 labels: 68 for the first round
    assert "price list" in at[4.0]
    assert "price list" not in at[16.0]  # it was told 4
    beyond = chunk_choice_findings.at_budget(settings(rounds=2, handover_costs=(64.0,)), methods, 64.0)
    assert np.isnan(beyond["k = 1"].gap).all()  # 136 labels, and the first round alone costs 260
    assert chunk_choice_findings.best_of(beyond, "fixed").names == ("k = 4",)


def test_the_cost_that_single_comparisons_are_made_at():
    assert chunk_choice_findings.headline(settings()) == 4
    assert chunk_choice_findings.headline(settings(handover_costs=(0.0, 64.0))) == 0


def _table(cut, runs=6):
    """Points of one world: k = 1 has gap 1, k = 4 has gap 3, the cut as given, all of them at cost 0 and any round."""
    gaps = {"k = 1": ("fixed", 1.0), "k = 4": ("fixed", 3.0), "linear, 1 to T": ("schedule", 0.9)}
    gaps |= {"AIMD on the AUC": ("controller", 1.1), CUT: ("controller", cut)}
    rows = [
        {"world": "recoverable_reset_cliff", "method": name, "kind": kind, "run": run, "round": n + 1}
        | {"gap": float(np.broadcast_to(gap, runs)[run]), "handovers": 1.0, "labels": 4.0, "detectability": 0.0}
        | {"watched": 4.0 if name == CUT else 0.0}
        for name, (kind, gap) in gaps.items()
        for run in range(runs)
        for n in range(4)
    ]
    return pa.Table.from_pylist(rows, chunk_choice.CLAIM.schema)


@pytest.mark.parametrize(
    ("cut", "state"),
    [(0.5, "holds"), (1.5, "refuted"), (np.array([0.1, 2.0, 0.1, 2.0, 0.1, 2.0]), "not shown")],
)
def test_that_cutting_wins_can_hold_be_refuted_or_not_be_shown(cut, state):
    findings = chunk_choice_findings.verdict(settings(), _table(cut))
    own = {f.claim.split(":")[0]: f for f in findings if "watching free" in f.claim}
    assert own["hand-over at 4 labels"].state == state
    assert own["hand-over at 0 labels"].state == "information"


def test_no_finding_cites_a_document_that_nobody_has():
    sources = [f.source for f in chunk_choice_findings.verdict(settings(), _table(0.5))]
    sources += [each.source for each in (*zoo_findings.PREDICTIONS, *zoo_theorems.THEOREMS.values())]
    sources += [each.source for each in ALGORITHMS.values() if each.strategy]
    assert not [source for source in sources if re.search(r"\bnotes\b|(?<!docs/)\btheory\b|WARNING|\bissue\b", source)]


# ---- worlds --------------------------------------------------------------------------------------------------------


def test_a_garnet_is_sparse_and_the_rooms_have_doors():
    drawn = chunk_choice_worlds.garnet(8, 12, 3, 2, (0, 1))
    assert ((np.asarray(drawn.world.transition) > 0).sum(-1) == 2).all()
    other = chunk_choice_worlds.garnet(8, 12, 3, 2, (0, 2))
    assert (np.asarray(drawn.world.transition) != np.asarray(other.world.transition)).any()
    house = chunk_choice_worlds.rooms(40)
    assert house.world.states == 4 * 9 + 4
    # Without slips the far corner is 8 to 12 steps away from the first room's cells, 10 on average.
    assert 10 < exact.deploy(house, house.expert).guide_cost < 10 / (1 - chunk_choice_worlds.SLIP) + 2


@pytest.mark.parametrize(
    "flag",
    [
        "--horizon=2",
        "--worlds=moon",
        "--rounds=0",
        "--episodes=-1",
        "--runs=1",
        "--handover_costs=-1",
        "--watch_cost=x",
    ],
)
def test_bad_flags_are_named(flag, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(chunk_choice.CLAIM, ["chunk_choice", f"--out={out}", flag]) == 2
    message = capsys.readouterr().err
    assert flag.split("=")[0] in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(chunk_choice.CLAIM, directory) > 0
