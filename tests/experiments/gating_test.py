"""The gating experiment: its methods, its accounting, reading at an equal price, and a small run of it all."""

import itertools
import json

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax import randomness
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.tabular import gates, interaction
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Intervention
from experiments.claim import Settings
from experiments.claim.running import execute
from experiments.gating import experiment as gating
from experiments.gating import findings as gating_findings
from experiments.gating import methods as gating_methods
from experiments.shared import chunk_worlds as chunk_choice_worlds
from experiments.shared import training as zoo_training
from tests import degenerate

SMALL = ("--worlds=recoverable_reset_cliff", "--gates=safe,novelty", "--horizon=6", "--rounds=8", "--runs=4")


def settings(**changed):
    small = {"worlds": (gating.RESET,), "gates": ("safe", "novelty"), "horizon": 6, "rounds": 8, "episodes": 4}
    return Settings(small | {"per_query": 4.0, "runs": 4, "seed": 0} | changed)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run so small that its findings need not hold."""
    out = tmp_path_factory.mktemp("gating") / "out"
    assert execute(gating.CLAIM, ["gating", f"--out={out}", "--preset=quick", *SMALL]) in (0, 1, 5)
    return out


@pytest.fixture(scope="module")
def table(directory):
    return pq.read_table(directory / "points.parquet")


def test_every_gate_has_three_settings_and_asks_in_the_middle_one():
    found = gating.methods(tuple(gating.KINDS), 32)
    assert [name for name in found if name.startswith("k")] == [f"k = {k}" for k in (1, 2, 4, 8, 16, 32)]
    for key, kind in gating.KINDS.items():
        own = [(method.value, method.asks) for method in found.values() if method.kind == key]
        assert sorted(own) == sorted([*((value, False) for value in kind.values), (kind.values[1], True)])


def which(row):
    """Which of its gates a row chooses."""
    return row.gate.gate.which


def test_gates_whose_learner_is_the_same_share_a_program_and_are_chosen_by_a_number():
    every = gating.methods(tuple(gating.KINDS), 32).values()
    found = {method.kind: method.algorithm for method in every if method.kind != "chunk"}
    structures = {kind: jax.tree.structure(row.gate) for kind, row in found.items()}
    for one, other in itertools.combinations(found, 2):
        same = found[one].learner is found[other].learner
        assert (structures[one] == structures[other]) == same
        assert not same or which(found[one]) != which(found[other])


def test_a_chosen_gate_decides_as_it_does_alone():
    small = settings(runs=2, rounds=6)
    problems, samplers, shared = chunk_choice_worlds.batch(gating.RESET, small)
    row, keys = ALGORITHMS["safe_dagger"], jax.random.split(jax.random.key(0), 2)
    chosen = gating.methods(tuple(gating.KINDS), 6)
    for kind in ("lazy", "novelty"):
        found = [each.algorithm.gate for each in chosen.values() if each.kind == kind and not each.asks][1]
        value = gating.KINDS[kind].values[1]
        newest = [
            zoo_training.train(
                row._replace(gate=gate), problems, samplers, row.build(6, 6, 0), keys, episodes=4, shared=shared
            ).newest
            for gate in (found, gating.KINDS[kind].gate(value))
        ]
        np.testing.assert_array_equal(np.asarray(newest[0]), np.asarray(newest[1]))


def test_control_without_its_expert_is_ask_only():
    small = settings(runs=2, rounds=6)
    batch, samplers, shared = chunk_choice_worlds.batch(gating.RESET, small)
    row = ALGORITHMS["safe_dagger"]
    policies = []
    for gate in (gating_methods.Wheel(gates.Safe(0.1), 0.0), gates.AskOnly(gates.Safe(0.1))):
        trained = zoo_training.train(
            row._replace(gate=gate), batch, samplers, row.build(6, 6, 0), jax.random.split(jax.random.key(0), 2),
            episodes=4, shared=shared,
        )  # fmt: skip
        policies.append(np.asarray(trained.newest))
    np.testing.assert_array_equal(*policies)


def test_points_account_for_every_run_and_round(table):
    rows = table.to_pylist()
    names = gating.methods(("safe", "novelty"), 6)
    assert len(rows) == len(names) * 4 * 8
    assert all(0 <= row["labels"] <= 6 + 1e-6 for row in rows)
    by_method = {name: [row for row in rows if row["method"] == name and row["run"] == 0] for name in names}
    # One chunk of T steps costs 4 + 6 labels an episode, T chunks of one step 6 (4 + 1): exact sums.
    np.testing.assert_allclose([row["price"] for row in by_method["k = 6"]], 4 * 10 * np.arange(1, 9))
    np.testing.assert_allclose([row["price"] for row in by_method["k = 1"]], 4 * 30 * np.arange(1, 9))
    first = by_method["SafeDAgger 0.1"][0]  # everything is unknown: the expert drives, and is called once
    assert (first["labels"], first["handovers"], first["switches"]) == (6, 1, 1)
    for row in by_method["SafeDAgger 0.1, asks only"]:  # a label on the learner's walk is a call of its own
        assert row["handovers"] == row["labels"]
        assert row["switches"] == 2 * row["labels"]


def test_a_gap_is_read_at_the_price_of_its_own_run():
    price = np.array([[10.0, 20.0], [100.0, 200.0]])
    gap = np.array([[4.0, 2.0], [8.0, 0.0]])
    curve = gating_findings.Curve("safe", False, 0.1, gap, price, price, price, price, price)
    np.testing.assert_allclose(gating_findings.at_price(curve, np.array([15.0, 150.0])), [3.0, 4.0])
    np.testing.assert_allclose(gating_findings.at_price(curve, np.array([5.0, 900.0])), [4.0, 0.0])  # no extrapolation


def test_the_best_fixed_length_is_that_at_the_gates_price():
    """k = 1 is better in the end, k = 2 when little is spent: a gate that spends little is compared with k = 2."""
    ones = np.ones((3, 2))

    def curve(kind, price, gap):
        return gating_findings.Curve(kind, False, 0.1, ones * gap, ones * price, ones, ones, ones, ones)

    found = {
        "k = 1": curve("chunk", [100.0, 200.0], [5.0, 1.0]),
        "k = 2": curve("chunk", [10.0, 200.0], [4.0, 3.0]),
        "thrifty": curve("safe", [5.0, 10.0], [9.0, 2.0]),
        "dear": curve("safe", [5.0, 200.0], [9.0, 2.0]),
    }
    against = gating_findings.beside_fixed(settings(rounds=2, episodes=10), found)
    assert against["thrifty"].best == "k = 2"
    assert against["thrifty"].ratio == pytest.approx((0.5, 0.5, 0.5))
    assert against["dear"].best == "k = 1"
    assert against["dear"].ratio == pytest.approx((2.0, 2.0, 2.0))


def test_results_are_complete(directory):
    findings = json.loads((directory / "findings.json").read_text())
    assert len(findings) == 1 + 5 + 4  # a rate; what is not seen; ratios
    for name in ("by_labels", "by_interventions", "by_switches", "ratios"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
        assert (directory / f"{name}.svg").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("column", "method", "factor", "text"),
    [
        ("labels", "novelty rate 0.1", 5.0, "share of steps asked above the rate"),
        ("gap", "SafeDAgger 0.1", 0.5, "SafeDAgger takes over first"),
        ("gap", "k = 1", 20.0, "DAgger sees what follows"),
        ("gap", "SafeDAgger 0.1, asks only", 20.0, "SafeDAgger 0.1, asks only: the learner stays in control"),
    ],
)
def test_a_falsified_number_is_found(table, column, method, factor, text):
    rows = [row | {column: row[column] * factor} if row["method"] == method else row for row in table.to_pylist()]
    found = gating_findings.verdict(settings(), pa.Table.from_pylist(rows, table.schema))
    wrong = [finding for finding in found if text in finding.claim]
    assert len(wrong) == 1
    assert wrong[0].state in ("refuted", "not shown")


def by_hand(problem, sampler, key, shared):
    """tau and the mean risks on both sides of it: HG-DAgger run alone, its log written entry by entry."""
    row = ALGORITHMS["hg_dagger"]._replace(gate=gates.Human(0.5))
    interpreter = interaction.by_sampling(sampler, randomness.words(key), np.arange(4, dtype=np.uint32))
    see = lambda moment: (moment.acting, moment.play, gates.doubt(problem, moment.memory))
    learner = row.learner(problem.world, shared)
    end = interaction.run(problem, row.build(8, 6, 0), learner, interpreter, measure=see, gate=row.gate, key=key)
    acting, play, doubts = end.measured
    log = []  # (weight, doubt); an untrained learner's round is not in it
    for n in range(1, 8):
        enter = np.asarray(gates.risk(problem, acting[n]) > 0.5)
        takeover = Intervention(enter * 1.0, 1.0 - enter)
        entered = np.asarray(
            gates.interventions(problem, acting[n], jax.tree.map(lambda leaf, n=n: leaf[n], play), takeover)
        )
        log.append((entered.sum(), (entered * doubts[n - 1]).sum()))
    left, total = 0.25 * sum(weight for weight, _ in log), 0.0
    quarter = left
    for weight, summed in reversed(log):
        share = min(left / weight, 1.0) if weight else 0.0
        left, total = left - share * weight, total + share * summed
    tau = total / quarter
    risk, met = gates.risk(problem, end.newest), np.asarray(tabular.reachable(problem.world))
    trusted = np.asarray(doubts[-1]) <= tau
    return tau, np.asarray(risk)[met & trusted].mean(), np.asarray(risk)[met & ~trusted].mean()


@pytest.mark.slow
def test_what_hg_dagger_knows_of_its_learner():
    """float32 sums of at most 100 numbers near 1. With the sides exchanged the finding is found out."""
    small = settings(gates=("human",), runs=4)
    cell = {"world": gating.RESET, "method": "HG-DAgger 0.5"}
    points = gating.measure(small, cell).points
    problems, samplers, shared = chunk_choice_worlds.batch(gating.RESET, small)
    keys = jax.random.split(jax.random.key(0), 4)
    names = ("tau", "within", "beyond")
    for run in range(2):
        own = [point for point in points if point["run"] == run]
        assert all(name not in point for point in own[:-1] for name in names)
        problem, sampler = jax.tree.map(lambda leaf, run=run: leaf[run], (problems, samplers))
        wanted = by_hand(problem, sampler, keys[run], shared)
        np.testing.assert_allclose([own[-1][name] for name in names], wanted, rtol=1e-4)
    table = pa.Table.from_pylist(points, gating.CLAIM.schema)
    [finding] = gating_findings.trusted(table)
    assert finding.state in ("holds", "information")
    assert finding.low is not None
    assert finding.low > 0
    swapped = [point | {"within": point.get("beyond"), "beyond": point.get("within")} for point in points]
    [finding] = gating_findings.trusted(pa.Table.from_pylist(swapped, gating.CLAIM.schema))
    assert finding.state in ("refuted", "not shown")


def test_the_same_settings_give_the_same_bits():
    cell = {"world": gating.RESET, "method": "novelty rate 0.1"}
    first, second = (gating.measure(settings(), cell).points for _ in range(2))
    assert first == second
    assert first != gating.measure(settings(seed=1), cell).points


@pytest.mark.parametrize(
    "flag",
    ["--horizon=2", "--worlds=moon", "--gates=door", "--rounds=5", "--episodes=-1", "--per_query=-1", "--runs=1"],
)
def test_bad_flags_are_named(flag, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(gating.CLAIM, ["gating", f"--out={out}", flag]) == 2
    message = capsys.readouterr().err
    assert flag.split("=")[0] in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(gating.CLAIM, directory) > 0
