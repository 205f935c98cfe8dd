"""The zoo: one budget for all, programs that are shared without a trace, and a small run of the whole binary."""

import json
from collections import Counter

import jax
import jax.monitoring
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from dagger_jax import evidence, gallery, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.precision import float64
from dagger_jax.tabular import known_dynamics, rollout
from experiments.claim.contract import Settings
from experiments.claim.running import execute
from experiments.shared import study
from experiments.shared import training as zoo_training
from experiments.zoo import budget as zoo_budget
from experiments.zoo import experiment as zoo
from experiments.zoo import findings as zoo_findings
from experiments.zoo import known as zoo_known
from experiments.zoo import theorems as zoo_theorems
from experiments.zoo import worlds as zoo_worlds
from tests import degenerate

WORLDS = ("chunk_reset", "density_ratio")  # of equal sizes: one block a horizon
NAMES = ("behavioural_cloning", "dagger", "searn", "stagger", "safe_dagger", "mimic_md")
SMALL = (f"--worlds={','.join(WORLDS)}", f"--algorithms={','.join(NAMES)}", "--horizons=2,4,8", "--demonstrations=16")


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A run so small that its findings need not hold: its folder, and how many programs it made of each function."""
    out, made = tmp_path_factory.mktemp("zoo") / "out", Counter()

    def lasted(event, start_time, end_time, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration":
            made[fun_name] += 1

    jax.monitoring.register_event_time_span_listener(lasted)
    try:
        assert execute(zoo.CLAIM, ["zoo", f"--out={out}", "--preset=quick", "--runs=3", *SMALL]) in (0, 1, 5)
    finally:
        jax.monitoring.unregister_event_time_span_listener(lasted)
    return out, made


@pytest.fixture(scope="module")
def directory(small_run):
    return small_run[0]


def settings(**changes):
    return Settings(dict(zoo.SWEEP["quick"]) | {"seed": 0} | changes)


# ---- one budget --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, row in ALGORITHMS.items() if row.gate is None and not row.strategy])
@pytest.mark.parametrize("horizon", [8, 32])
def test_everybody_asks_for_the_same_labels(name, horizon):
    """T for each of 64 demonstrations; Warm-Stagger's last rounds go beyond and are cut off where it is spent."""
    schedule, episodes = zoo_budget.spending(name, horizon, 64)
    schedules.validate(schedule)
    asked = episodes * float(float64(evidence.prices)(schedule).labels.sum())
    if name == "warm_stagger":
        assert asked >= 64 * horizon
    else:
        assert asked == pytest.approx(64 * horizon)


def test_families_share_schedules_shapes_and_hold_everybody_once():
    found = zoo_budget.families(list(ALGORITHMS))
    assert sorted(name for family in found for name in family) == sorted(ALGORITHMS)
    assert len(found) < len(ALGORITHMS) / 2
    for family in found:
        assert (
            len(
                {
                    (zoo_budget.spending(n, 8, 64).schedule.join.shape, zoo_budget.spending(n, 8, 64).episodes)
                    for n in family
                }
            )
            == 1
        )


# ---- nothing is changed by sharing a program ---------------------------------------------------------------------


SEVERAL = ("chunk_reset", "recoverable_reset_cliff", "dyck", "hard")  # the others take a compilation each


@pytest.mark.parametrize(
    "world", [name if name in SEVERAL else pytest.param(name, marks=pytest.mark.slow) for name in zoo_worlds.PLACES]
)
def test_padding_changes_nothing(world):
    """Gap, u, and price of a random policy, with unreachable states added; rounding of sums in another order."""
    horizon = 4
    problem = zoo_worlds.PLACES[world].build(horizon, 16, (0, 0))
    grown = zoo_worlds.padded(problem, zoo_worlds.sizes(world, horizon, 16))
    states, more = problem.world.states, grown.world.states - problem.world.states
    policy = np.random.default_rng(0).dirichlet(np.ones(problem.world.actions), (horizon, states))
    wider = np.concatenate([policy, np.full((horizon, more, problem.world.actions), 1 / problem.world.actions)], axis=1)
    row = schedules.row(schedules.chunked(1, schedules.starts(horizon, 2)), 0)
    one, two = evidence.constants(problem), evidence.constants(grown)
    np.testing.assert_allclose(two.recoverability, one.recoverability, rtol=1e-12)
    np.testing.assert_allclose(two.span, one.span, rtol=1e-12, atol=1e-12)
    seen, again = evidence.measure(problem, policy, row, one), evidence.measure(grown, wider, row, two)
    np.testing.assert_allclose(again.gap, seen.gap, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(again.eps, seen.eps, rtol=1e-12, atol=1e-12)
    assert len(np.unique(problem.world.observation)) <= grown.world.observations


def test_a_world_without_room_is_refused():
    problem = gallery.debt(4, most=20)
    with pytest.raises(ValueError, match="debt has 42 states, more than 24"):
        zoo_worlds.padded(problem, zoo_worlds.Sizes(2, False, False, 24, 24))


@pytest.mark.slow
@pytest.mark.parametrize("gated", [False, True])
def test_trained_together_is_trained_alone_bit_for_bit(gated):
    """Labels, rules, learners, gates and controllers chosen by number, in one program, against each row's own."""
    names = ["dagger", "searn", "nrpi", "log_loss_cloning", "hedge_dagger", "reweighed_cloning"]
    names += ["dart", "aggrevated", "descent_dagger"]
    if gated:
        names = ["safe_dagger", "lazy_dagger", "thrifty_dagger", "ensemble_dagger", "hg_dagger"]
    assert any(set(names) <= set(family) for family in zoo_budget.families(list(ALGORITHMS)))
    problems = [gallery.reset_cliff(6, 5, 3, 20, seed, recoverable=True) for seed in range(3)]
    batch, samplers = study.stacked(problems), study.stacked(list(map(rollout.tables, problems)))
    keys, first = jax.random.split(jax.random.key(0), 3), problems[0].world
    own = [zoo_training.parts(ALGORITHMS[name], first, False) for name in names]
    schedule = {name: ALGORITHMS[name].build(5, 6, 2) for name in names}
    for name, alone, joint in zip(names, own, zoo_training.together(own), strict=True):
        results = [
            zoo_training.train_batch(
                zoo_training.repeat(each, 3), batch, samplers, zoo_training.repeat(schedule[name], 3), keys, episodes=4
            )
            for each in (alone, joint)
        ]
        np.testing.assert_array_equal(results[0].labels, results[1].labels, err_msg=name)
        # XLA may fuse a rule's arithmetic otherwise in another program: a rounding of float32.
        np.testing.assert_allclose(results[0].newest, results[1].newest, atol=1e-6, err_msg=name)


def test_other_controllers_are_not_trained_together():
    world = gallery.cliff(4).world
    own = [zoo_training.parts(ALGORITHMS[name], world, True) for name in ("dagger", "jsrl_gated")]
    with pytest.raises(ValueError, match="only rows without controllers, or with DART's"):
        zoo_training.together(own)


def test_horizons_of_a_group_share_arrays_as_far_as_samplers_draw_alike():
    given = settings(horizons=(8, 16, 32), demonstrations=64)
    rooms = {horizon: zoo_worlds.sizes("car", horizon, 64) for horizon in (8, 16, 32)}
    assert [room.states for room in rooms.values()] == [40, 64, 104]
    wide = {horizon: zoo_worlds.widest(["car"], room, given) for horizon, room in rooms.items()}
    assert wide == {8: (rooms[16], 16), 16: (rooms[16], 16), 32: (rooms[32], 32)}
    assert zoo_worlds.widest(["leaf_tree"], zoo_worlds.sizes("leaf_tree", 8, 64), given)[1] == 8


# ---- the binary --------------------------------------------------------------------------------------------------


def test_one_program_a_family_and_judgement_for_all_horizons(small_run):
    families = zoo_budget.families([name for name in NAMES if name in ALGORITHMS])
    made = {name.removeprefix("jit(").removesuffix(")"): count for name, count in small_run[1].items()}
    assert made["train_batch"] == len(families) == 3
    assert [made[name] for name in ("of_one", "of_rounds", "_traces")] == [1, 1, 1]


def test_points_and_table_hold_everything(directory):
    rows = pq.read_table(directory / "points.parquet").to_pylist()
    assert len(rows) == len(WORLDS) * len(NAMES) * 3 * 3
    for row in rows:
        budget = 16 * row["horizon"]
        assert row["bounded"] <= row["bound"] + zoo_theorems.theorem(row["algorithm"]).tolerance
        assert 0 < row["labels"] <= budget * 1.25
        if zoo_known.ROWS[row["algorithm"]].gate is None:
            assert row["labels"] >= budget * (1 - 1e-6)
        # One label a roll-out takes T times as many roll-outs; a gate asks less in each.
        times = {"stagger": row["horizon"], "safe_dagger": row["rollouts"] / 16}.get(row["algorithm"], 1)
        assert row["rollouts"] == 16 * times
    table = csv.read_csv(directory / "every_algorithm_in_every_world.csv").to_pylist()
    assert {(row["world"], row["algorithm"]) for row in table} == {(w, n) for w in WORLDS for n in NAMES}
    assert all(row["gap_low"] <= row["gap"] <= row["gap_high"] for row in table)
    page = (directory / "report.html").read_text()
    assert "Every algorithm in every world" in page
    assert {path.name for path in directory.glob("*.png")} == {"gaps.png", "exponents.png", "prices.png"}
    assert len(json.loads((directory / "findings.json").read_text())) == len(NAMES) + 1


def test_a_broken_bound_and_an_overspent_budget_are_found(directory):
    table = pq.read_table(directory / "points.parquet")
    rows = table.to_pylist()
    chosen = settings(algorithms=NAMES, worlds=WORLDS, horizons=(2, 4, 8), demonstrations=16, runs=3)
    fine = [finding.state in ("holds", "information") for finding in zoo_findings.verdict(chosen, table)]
    assert all(fine[: len(NAMES) + 1])
    for place, column in ((NAMES.index("searn"), "bounded"), (len(NAMES), "labels")):
        spoiled = [dict(row) for row in rows]
        victim = next(row for row in spoiled if row["algorithm"] == "searn")
        victim[column] = 1e6
        found = zoo_findings.verdict(chosen, pa.Table.from_pylist(spoiled, schema=table.schema))
        assert found[place].state in ("refuted", "not shown")


def test_two_horizons_and_no_cloning_leave_out_what_they_cannot_say(directory):
    """No exponent, and nothing to compare with: neither is made up."""
    rows = [row for row in pq.read_table(directory / "points.parquet").to_pylist() if row["horizon"] > 2]
    rows = [row | {"world": "cliff"} for row in rows if row["world"] == "chunk_reset"]
    few = [row for row in rows if row["algorithm"] != "behavioural_cloning"]
    for each, algorithms in ((rows, NAMES), (few, NAMES[1:])):
        own = settings(algorithms=algorithms, worlds=("cliff",), horizons=(4, 8), demonstrations=16, runs=3)
        table = pa.Table.from_pylist(each, schema=zoo.CLAIM.schema)
        assert len(zoo_findings.verdict(own, table)) == len(algorithms) + 1
        shown = zoo_findings.tables(own, table)["every_algorithm_in_every_world"].to_pylist()
        assert all(row["exponent"] is None for row in shown)
        assert all((row["gap / cloning's"] is None) == (algorithms != NAMES) for row in shown)
        for draw in zoo.figures(own, table).values():
            assert draw().axes


def test_only_what_differs_after_correction_is_bold(directory):
    """Cloning's own gaps are no difference, nor are equal ones. Of 200 cells without any, whose p-values are spread
    evenly over [0, 1], 10 are below 0.05: none of them is left, and one clear difference is.
    """
    rng = np.random.default_rng(0)
    reference = 1 + 0.1 * rng.standard_normal(16)
    cell = zoo_findings.summary(settings(runs=3), pq.read_table(directory / "points.parquet"))
    assert np.isnan(cell[WORLDS[0], "behavioural_cloning"].differs)
    assert zoo_findings._same(reference, reference) == 1
    assert zoo_findings._same(reference + 1e-9, reference) == 1  # rounding
    assert zoo_findings._same(reference + 0.5, reference) == 0  # every run says the same
    first = cell[WORLDS[0], "dagger"]
    chance = [(place + 0.5) / 200 for place in range(200)]
    clear = zoo_findings._same(2 + 0.1 * rng.standard_normal(16), reference)
    cells = {("world", str(place)): first._replace(differs=p) for place, p in enumerate([*chance, clear])}
    found = [each.differs <= zoo_findings.DISCOVERED for each in zoo_findings._adjusted(cells).values()]
    assert sum(p <= 0.05 for p in chance) == 10
    assert found == [False] * 200 + [True]


def test_every_world_of_the_exponents_figure_has_one(directory):
    """Two worlds with exponents and one that was measured at two horizons only: it has no empty column."""
    rows = pq.read_table(directory / "points.parquet").to_pylist()
    few = [row | {"world": "debt"} for row in rows if row["world"] == WORLDS[0] and row["horizon"] > 2]
    own = settings(algorithms=NAMES, worlds=(*WORLDS, "debt"), horizons=(2, 4, 8), demonstrations=16, runs=3)
    found = zoo.figures(own, pa.Table.from_pylist(rows + few, schema=zoo.CLAIM.schema))
    labels = {name: [tick.get_text() for tick in found[name]().axes[0].get_xticklabels()] for name in found}
    assert any(label.startswith("debt") for label in labels["gaps"])
    assert not any(label.startswith("debt") for label in labels["exponents"])
    names = [tick.get_text() for tick in found["gaps"]().axes[0].get_yticklabels()]
    assert any(name.startswith("SEARN") for name in names)


def test_a_gap_near_the_horizon_has_no_exponent(directory):
    table = pq.read_table(directory / "points.parquet")
    own = settings(algorithms=NAMES, worlds=WORLDS, horizons=(2, 4, 8), demonstrations=16, runs=3)
    rows = [row | {"gap": 0.5 * row["horizon"]} for row in table.to_pylist()]
    found = zoo_findings.summary(own, pa.Table.from_pylist(rows, schema=table.schema))
    assert all(cell.growth is None for cell in found.values())


@pytest.mark.slow
def test_slices_change_nothing():
    """Runs trained a few at a time, under a limit that leaves room for few, are the same runs to the last bit."""
    own = {"algorithms": ("dagger", "searn"), "worlds": ("chunk_reset",), "horizons": (8,), "demonstrations": 16}
    points = []
    for memory in (1024, 1):
        chosen = settings(**own, runs=5, memory=memory)
        points.append(zoo.measure(chosen, zoo.cells(chosen)[0]).points)
    order = lambda point: (point["algorithm"], point["run"])
    assert sorted(points[0], key=order) == sorted(points[1], key=order)
    assert [point["algorithm"] for point in points[1]] != [point["algorithm"] for point in points[0]]  # it did slice


# ---- what an algorithm returns -----------------------------------------------------------------------------------


def trained(loss, beta):
    """One run of N rounds, one state, two actions; round n's policy takes the first with probability 1 / (n + 2)."""
    rounds = len(loss)
    row = schedules.dagger(rounds, 1, np.asarray(beta, float))
    chance = 1 / (2 + np.arange(rounds + 1))
    policies = np.stack([chance, 1 - chance], -1)[None, :, None, None]
    prices = [np.ones((1, rounds))] * 4
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[None], row)
    return zoo_training.Trained(policies[:, 0], policies[:, 1:], rows, np.array([loss], float), *prices)


def taken(name, run, last, most=16):
    """Which rounds' own policies are returned."""
    found = zoo_training.results(ALGORITHMS[name], run, np.array([last]), most)
    return np.round(1 / found[:, 0, 0, 0, 0] - 2).astype(int).tolist()


def test_the_newest_the_best_and_the_mixture_are_what_they_say():
    run = trained([0.0, 0.3, 0.1, 0.1, 0.2], [1, 0, 0, 0, 0])
    assert taken("dagger", run, 4) == [5]  # fitted to the last round
    assert taken("dagger_best", run, 4) == [3]  # not round 0, where the expert walked; of equals the later
    assert taken("dagger_best", run, 1) == [1]
    assert taken("dagger_best", run, 0) == [1]  # the expert alone walked: the policy that would play next
    assert taken("dagger_mixture", run, 4) == [1, 2, 3, 4]
    assert taken("dagger_mixture", run, 4, most=2) == [1, 4]
    assert taken("dagger_mixture", run, 0) == [1]


def test_the_mixture_without_the_expert_is_the_one_that_was_played():
    """`played` is what `interaction.run` plays, from the newest policies alone: SMILe's rates, N = 4, by hand."""
    run = trained([0.0] * 4, [1, 0, 0, 0])
    rate = np.array([1.0, 0.4, 0.3, 0.2])
    rows = run.rows._replace(mixing_rate=np.broadcast_to(rate, run.rows.mixing_rate.shape[:2]))
    found = zoo_training.played(run._replace(rows=rows))[0, :, 0, 0, 0]
    acting = 1 / 2
    for n in range(4):
        assert found[n] == pytest.approx(acting)
        acting = (1 - rate[n]) * acting + rate[n] / (n + 3)
    assert found[4] == pytest.approx(acting)


# ---- told the transitions ----------------------------------------------------------------------------------------


def test_a_prior_where_it_was_seen_and_no_help_from_the_actions_numbers():
    """`chunk_reset`'s expert takes the first action everywhere; where no run shows a state nothing may tell so."""
    problem = zoo_worlds.PLACES["chunk_reset"].build(4, 16, (0, 0))
    data = known_dynamics.Demonstrations(np.zeros((4, 6), int), np.zeros((4, 6), int))
    found = [zoo_known.policy("mimic_md", problem, data, (seed,)) for seed in range(40)]
    np.testing.assert_allclose([policy[:, 0] for policy in found], np.tile([6.5 / 7, 0.5 / 7], (40, 4, 1)), atol=1e-9)
    first = np.mean([policy[2, 1, 0] for policy in found])
    assert 0.2 < first < 0.8  # 40 coins: 3.8 standard deviations


def test_states_that_look_alike_are_told():
    assert zoo_known.sees_states(gallery.cliff(4).world)
    assert not zoo_known.sees_states(zoo_worlds.PLACES["random_mdp"].build(4, 16, (0, 0)).world)


def test_every_algorithm_has_a_theorem_that_can_fail():
    for name in zoo_known.ROWS:
        assert zoo_theorems.theorem(name).name != "cost to go"  # an equality
    assert {row.theorem for row in zoo_known.ROWS.values() if row.theorem} == set(zoo_theorems.THEOREMS)


def test_predictions_name_what_there_is():
    for each in zoo_findings.PREDICTIONS:
        assert each.world in zoo_worlds.PLACES
        assert {each.better, each.worse} <= set(ALGORITHMS)
    assert set(zoo_worlds.PLACES) == set(gallery.WORLDS)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--demonstrations=20", "--demonstrations: 20 is not a multiple of the 16 rounds"),
        ("--runs=1", "--runs: 1 leaves no interval"),
        ("--algorithms=magic", "--algorithms"),
        ("--horizons=32", "--horizons: all are too long for leaf_tree"),
    ],
)
def test_bad_flags_are_refused(flag, message, tmp_path, capsys):
    arguments = [
        "zoo",
        f"--out={tmp_path / 'out'}",
        "--worlds=cliff,leaf_tree",
        *(() if flag.startswith("--runs") else ("--runs=2",)),
        flag,
    ]
    assert execute(zoo.CLAIM, arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(zoo.CLAIM, directory) > 0
