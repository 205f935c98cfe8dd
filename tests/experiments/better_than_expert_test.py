"""Better than the expert: the ways, their measures by other means, and a small run of the whole binary."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax import schedules
from dagger_jax.tabular import exact, experts, gallery
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem
from experiments.better_than_expert import experiment as better_than_expert
from experiments.better_than_expert.findings import COMPARED, EXPERTS, STATEMENTS, columns
from experiments.claim import NOT_SHOWN, REFUTED, Settings
from experiments.claim.running import execute
from experiments.shared import study
from tests import degenerate

SMALL = ("--worlds=random_aliased,cheap_and_dear", "--horizon=5", "--rounds=8", "--runs=6")


def settings(**changed):
    small = {"worlds": ("random_aliased",), "share": 0.3, "horizon": 5, "rounds": 8, "runs": 6, "seed": 0}
    return Settings(small | changed)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run so small that its findings need not hold: any status of a finished run is fine."""
    out = tmp_path_factory.mktemp("better") / "out"
    assert execute(better_than_expert.CLAIM, ["better_than_expert", f"--out={out}", "--preset=quick", *SMALL]) in (
        0,
        1,
        5,
    )
    return out


def test_the_nine_cells_and_the_algorithms_have_valid_schedules():
    found = better_than_expert.ways(6, 4)
    assert len(found) == 9 + len(COMPARED)
    for way in found.values():
        schedules.validate(way.schedule)
    shares = {name: (way.schedule.beta[:, 0], way.schedule.after[0, 0]) for name, way in found.items() if way.roll_in}
    for (first, into), (second, out) in itertools.product(better_than_expert.SHARES.items(), repeat=2):
        beta, after = shares[f"{first}, {second}"]
        np.testing.assert_array_equal(beta, into)
        assert after == out


@pytest.mark.parametrize("world", better_than_expert.SWEEP["full"]["worlds"])
def test_corruption_leaves_the_world_and_its_best_policy_alone(world):
    good, corrupted = (better_than_expert.problems(world, expert, settings())[0] for expert in ("good", "corrupted"))
    for one, other in zip(good, corrupted, strict=True):
        np.testing.assert_array_equal(one.world.transition, other.world.transition)
        optimal = tabular.backward(one.world)[1][0]
        costs = [tabular.backward(each.world, each.expert)[1][0] @ each.world.initial for each in (one, other)]
        assert costs[0] == pytest.approx(optimal @ one.world.initial, abs=1e-12)
        assert costs[1] > costs[0]


def test_the_judge_by_the_definitions():
    """Gap by the laws; what deviations gain by trying every table for one step, of the class and on the own states."""
    world = gallery.random_mdp(3, 4, 2, seed=5, observations=2, stationary=True)
    problem = Problem(world.world, experts.corrupted(world, 0.4, 1), "random")
    tables = np.eye(2)[np.array(list(itertools.product(range(2), repeat=2)))]  # [4, O, A]
    policies = tables[:, world.world.observation][:, None]  # [4, 1, S, A]
    judged = better_than_expert.judge(study.stacked([problem]), policies[None, :, None], shared=True)
    costs = [tabular.backward(problem.world, policy)[1][0] @ problem.world.initial for policy in policies]
    expert_cost = tabular.backward(problem.world, problem.expert)[1][0] @ problem.world.initial
    np.testing.assert_allclose(judged.gap[0], np.array(costs) - expert_cost, atol=1e-12)
    assert better_than_expert.best(study.stacked([problem]), shared=True)[0] == pytest.approx(min(costs), abs=1e-12)
    for k, policy in enumerate(policies):
        law = np.asarray(exact.deploy(problem, policy).novice)
        to_go = np.asarray(tabular.backward(problem.world, policy)[0])
        after = [sum((law[t] * (other[0] * to_go[t]).sum(-1)).sum() for t in range(3)) for other in policies]
        assert judged.local[0, k] == pytest.approx(after[k] - min(after), abs=1e-12)
        assert judged.loss[0, k] - judged.room[0, k] == pytest.approx(judged.gap[0, k], abs=1e-12)


def test_points_account_for_every_way_and_run(directory):
    rows = pq.read_table(directory / "points.parquet").to_pylist()
    assert len(rows) == 2 * 2 * (9 + len(COMPARED)) * 6
    assert all(row["local"] >= -1e-9 for row in rows)
    # Mixtures drawn once an episode, of deterministic tables, are never better than the best of them.
    assert all(row["over_best"] >= -1e-9 for row in rows if row["algorithm"] != "searn")
    own = [row for row in rows if row["world"] == "cheap_and_dear" and row["expert"] == "good"]
    gaps = {row["algorithm"]: row["gap"] for row in own}
    assert gaps["dagger"] == pytest.approx(gallery.cheap_and_dear_gap(5, 0))
    assert gaps["aggrevate"] == pytest.approx(gallery.cheap_and_dear_gap(5, 1))


def test_results_are_complete(directory):
    findings = json.loads((directory / "findings.json").read_text())
    worlds = ("random_aliased", "cheap_and_dear")
    assert len(findings) == sum(world in each.worlds for each in STATEMENTS for world in worlds)
    for name in ("table_aliased", "algorithms"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
        assert (directory / f"{name}.svg").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("column", "expert", "way", "text"),
    [
        ("bound", "good", "aggrevate", "DAgger's bound u T eta"),
        ("gap", "corrupted", "aggrevate", "aggrevate is better"),
        ("gap", "corrupted", "searn", "AggreVaTe, LOLS and SEARN are better"),
        ("local", "good", "reference, mixture", "mixture roll-out, good reference: what one-step"),
    ],
)
def test_a_falsified_number_is_found(directory, column, expert, way, text):
    table = pq.read_table(directory / "points.parquet")
    sign = -1 if column == "local" else 1
    rows = [
        row | {column: row[column] + sign * 10} if (row["expert"], row["algorithm"]) == (expert, way) else row
        for row in table.to_pylist()
    ]
    both = settings(worlds=("random_aliased", "cheap_and_dear"))
    found = better_than_expert.verdict(both, pa.Table.from_pylist(rows, table.schema))
    wrong = [finding for finding in found if text in finding.claim]
    assert wrong
    assert {finding.state for finding in wrong} == {REFUTED}


def test_what_follows_from_definitions(directory):
    """The cost-weighted loss, less what the expert leaves to gain, is the gap; who never asks does as well without."""
    found = columns(pq.read_table(directory / "points.parquet"))
    for (_, _, way), own in found.items():
        if way in ("dagger", "aggrevate", "lols"):
            np.testing.assert_allclose(own["loss"] - own["room"], own["gap"], atol=1e-9)
    good, corrupted = (found["random_aliased", expert, "learned, learned"]["over_best"] for expert in EXPERTS)
    np.testing.assert_allclose(good, corrupted, atol=1e-9)


def test_few_runs_that_differ_show_nothing(directory):
    """Signs that change from run to run: neither a fall nor its absence is shown."""
    table = pq.read_table(directory / "points.parquet")
    rows = [row | {"gap": (-1.0) ** row["run"] - 0.1, "local": (-1.0) ** row["run"]} for row in table.to_pylist()]
    found = better_than_expert.verdict(settings(), pa.Table.from_pylist(rows, table.schema))
    assert {f.state for f in found if f.expected == "below 0"} <= {NOT_SHOWN, REFUTED}
    assert NOT_SHOWN in {f.state for f in found if f.expected == "below 0"}


def test_every_statement_reads_columns_that_exist(directory):
    found = columns(pq.read_table(directory / "points.parquet"))
    for each in STATEMENTS:
        for world in set(each.worlds) & {"random_aliased", "cheap_and_dear"}:
            assert isinstance(each.judge(world, found).observed, float)


def test_the_same_settings_give_the_same_bits():
    cell = {"world": "random_aliased", "expert": "corrupted"}
    first, second = (better_than_expert.measure(settings(), cell).points for _ in range(2))
    assert first == second
    other = better_than_expert.measure(settings(seed=1), cell).points
    assert first != other


@pytest.mark.parametrize("flag", ["--horizon=1", "--worlds=moon", "--rounds=0", "--share=0", "--share=1.1", "--runs=1"])
def test_bad_flags_are_named(flag, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(better_than_expert.CLAIM, ["better_than_expert", f"--out={out}", flag]) == 2
    message = capsys.readouterr().err
    assert flag.split("=")[0] in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(better_than_expert.CLAIM, directory) > 0
