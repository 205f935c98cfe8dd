"""Rates of imitation: closed forms by hand, a small run of the whole binary, and numbers that are wrong."""

import itertools
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from dagger_jax.tabular import gallery
from experiments import claim
from experiments.claim.running import execute
from experiments.sample_complexity import cases, classes, figures, findings, known, prices
from experiments.sample_complexity import experiment as sample_complexity
from tests import degenerate

SMALL = ("--horizons=4", "--states=4,6,8", "--trajectories=40,80,160", "--runs=400", "--trained=8", "--costs=1,3")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("complexity") / "out"
    # 8 replicas cannot show all of it.
    assert execute(sample_complexity.CLAIM, ["sample_complexity", f"--out={out}", "--preset=quick", *SMALL]) == 5
    return out


@pytest.fixture(scope="module")
def settings():
    sizes = {"horizons": (4,), "states": (4, 6, 8), "trajectories": (40, 80, 160), "costs": (1, 3)}
    return claim.resolve(sample_complexity.CLAIM, "quick", runs=400, trained=8, **sizes)


def test_results_are_complete(directory, settings):
    rows = pq.read_table(directory / "points.parquet").to_pylist()
    assert {row["part"] for row in rows} == set(sample_complexity.PARTS)
    found = json.loads((directory / "findings.json").read_text())
    assert "refuted" not in {finding["state"] for finding in found}
    slopes = [finding for finding in found if "slope in" in finding["claim"]]
    assert {finding["expected"] for finding in slopes} >= {1, -1}  # in S and N; one horizon is too few for one in H
    for name in ("cloning", "growth_by_class", "interaction", "known_transitions", "stagger"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
        assert (directory / f"{name}.svg").stat().st_size > 10_000
    cloned = findings.select(rows, part="cloning")
    assert all(row["replicas"] == 400 and row["gap_stderr"] > 0 for row in cloned)
    near = findings.select(rows, part="distances")
    assert all(row["gap"] <= row["bound"] + 1e-9 for row in near)
    assert len({row["world"] for row in near}) == len(classes.SCATTER)


@pytest.mark.parametrize(
    ("part", "column", "factor", "words"),
    [
        ("cloning", "gap", 1.5, "closed form"),
        ("cloning", "bound", 0.2, "never violated"),
        ("random_worlds", "middle", 1e-3, "random worlds"),
        ("interactive", "gap", 3.0, "closed form"),
        ("two_states", "gap", 0.2, "H / (8 n)"),
        ("distances", "hellinger", 2.5, "TV <= D_H²"),
        ("distances", "bound", 0.1, "gap <= R D_H²"),
        ("stagger", "bound", 0.1, "mu H log B / N"),
        ("stagger", "difference", 1e6, "states labelled"),
    ],
)
def test_a_number_that_is_wrong_is_found(directory, settings, part, column, factor, words):
    table = pq.read_table(directory / "points.parquet")
    wrong = [
        row | ({column: row[column] * factor} if row["part"] == part and row[column] is not None else {})
        for row in table.to_pylist()
    ]
    failed = [
        finding
        for finding in sample_complexity.verdict(settings, table.from_pylist(wrong, table.schema))
        if finding.state is claim.REFUTED
    ]
    assert any(words in finding.claim for finding in failed)


def test_one_replica_shows_nothing_and_refutes_nothing(directory, settings):
    table = pq.read_table(directory / "points.parquet")
    alone = [row | {"gap_stderr": None, "difference_stderr": None, "replicas": 1} for row in table.to_pylist()]
    found = sample_complexity.verdict(settings, table.from_pylist(alone, table.schema))
    assert claim.REFUTED not in {finding.state for finding in found}
    told = [each for each in found if each.state is claim.HOLDS]
    assert all("D_H²" in each.claim for each in told)  # exact, learner by learner


def test_who_wins_is_not_shown_where_gaps_are_not_told_apart(directory, settings):
    table = pq.read_table(directory / "points.parquet")
    wide = [row | {"gap_stderr": row["gap"]} if row["part"] == "stagger" else row for row in table.to_pylist()]
    found = sample_complexity.verdict(settings, table.from_pylist(wide, table.schema))
    states = {each.state for each in found if "exactly where" in each.claim}
    assert states == {claim.NOT_SHOWN}


def test_one_expert_stands_for_all_drawn_ones():
    """The mean gap over drawn experts of a majority is the gap of uniform guesses, both exact, for the same data."""
    horizon, states = 2, 4
    unseen = np.array([[True, False, True, False], [False, True, True, False]])
    problem = cases.plain(cases.cliff(horizon, states, 5))
    expert = np.broadcast_to(problem.expert, (horizon, states, 4))
    guesses = np.where(unseen[..., None], 0.25, expert)
    (uniform,) = cases.gaps(problem, guesses[None])
    drawn = []
    for actions in itertools.product(range(4), repeat=4):  # the expert's own, in the four rows that were not seen
        policy = np.array(expert)  # of a majority, which takes action 0 there; relabelled, the expert's own is fixed
        right = np.array(actions)[:, None] == 0
        policy[unseen] = np.where(right, expert[unseen], np.roll(expert[unseen], 1, axis=-1))
        drawn.append(policy)
    assert np.mean(cases.gaps(problem, np.stack(drawn))) == pytest.approx(float(uniform), rel=1e-12)


def test_mistakes_judges_every_table_as_the_recursion_does():
    problem = classes.stagger_world(5, 240, 4.0)
    wrong = np.random.default_rng(0).random((20, classes.STAGGER_STATES)) < 0.4
    for certain in (True, False):
        found = classes.mistakes(problem, wrong, certain=certain)
        expert = np.asarray(problem.expert[0])
        other = np.roll(expert, 1, axis=-1) if certain else np.full_like(expert, 0.25)
        policies = np.where(wrong[..., None], other, expert)[:, None]
        np.testing.assert_allclose(found, cases.gaps(problem, policies), rtol=1e-12)


def test_leaky_cliff_costs_its_expert_what_leaks():
    problem = known.leaky_cliff(4, 5, 20, (0,))
    never = 0.75 ** np.arange(4)
    assert problem.world.transition.shape == (1, 5, 4, 5)
    (none,) = cases.gaps(problem, np.asarray(problem.expert)[None])
    assert none == pytest.approx(0, abs=1e-12)
    # A learner that is wrong everywhere falls at once: costs 1 at steps 2..4; the expert's fall by chance.
    (all_wrong,) = cases.gaps(problem, np.roll(np.asarray(problem.expert), 1, axis=-1)[None])
    assert all_wrong == pytest.approx(3 - (1 - never[1:]).sum(), rel=1e-9)


def test_slope_is_weighted_and_leaves_saturated_points_out():
    x = np.array([4.0, 8, 16, 32])
    rows = [
        {"gap": 0.1 * h**2 * bend, "gap_stderr": 1e-4 * h**2, "error": 0.01 * bend, "horizon": h}
        | {"closed_form": 0.1 * h**1.9}
        for h, bend in zip(x, (1, 1, 1, 0.5), strict=True)
    ]
    rows[-1]["error"] = 0.02  # x 32 steps is beyond the limit
    rows[2]["error"] = 0.005
    law = findings.slope(x, rows)
    assert law is not None
    assert law.value == pytest.approx(2, abs=1e-9)
    assert law.theory == pytest.approx(1.9, abs=1e-9)
    assert 0 < law.stderr < 0.01
    assert findings.slope(x[:2], rows[:2]) is None


@pytest.mark.parametrize("actions", [None, 4, 40])
def test_prices_cross_where_the_worst_gaps_are_equal(actions):
    """Against a wrong default (None) and against guesses; to first order in 1 / labels, of which there are 10^6."""
    horizon, states, budget = 31, 8, 10**6
    stays = 1.0 if actions is None else 1 - 1 / actions
    cost, wrong = prices.crossing(horizon, states, stays), 1 - 1 / (actions or 4)
    asked = wrong * states * horizon * cost / budget
    shown = gallery.stationary_reset_cliff_gap(horizon, states, actions or 4, budget, budget, stays=stays)
    assert asked == pytest.approx(shown, rel=1e-3)


def test_a_fall_lasts_as_long_as_theory_says():
    assert prices.lasting(31, 1.0) == pytest.approx(16)
    assert prices.lasting(10_000, 0.75) == pytest.approx(
        4, rel=1e-2
    )  # A tries; short by A (A - 1) / H of the last falls
    assert prices.crossing(10_000, 8, 0.75) < 1.2  # so with A = 4 and guesses Stagger wins at C = 1 at most


def test_prices_are_those_of_each_rival(directory):
    """In a run of its own numbers: the guess is the stronger rival, and more actions make it weaker."""
    rows = findings.select(pq.read_table(directory / "points.parquet").to_pylist(), part="stagger")
    stuck, guess, wide = (prices.contest(rows, (1, 3), rival) for rival in prices.RIVALS)
    assert [price.cost for price in stuck] == [1, 3]
    for one, other in zip(stuck, guess, strict=True):
        assert one.ratio < other.ratio
        assert one.equal > other.equal
    assert wide == guess  # H = 4 = A there


def test_knowing_transitions_takes_a_power_off_only_with_its_interval():
    """A slope that is lower, but not by its 95% interval, is not enough."""

    def rows(error):
        return [
            {"algorithm": algorithm, "horizon": h, "gap": 1e-3 * h**power, "gap_stderr": error * 1e-3 * h**power}
            | {"error": 1e-4, "closed_form": None}
            for algorithm, power in (("mimic_md", 1.5), ("behavioural_cloning", 2.0))
            for h in (4, 8, 16)
        ]

    sure, unsure = (findings.slower(rows(error)) for error in (0.01, 0.45))
    assert sure is not None
    assert unsure is not None
    assert sure.observed == pytest.approx(unsure.observed)
    assert sure.state is claim.HOLDS
    assert unsure.state is claim.NOT_SHOWN


@pytest.mark.parametrize("parts", [("interactive",), ("two_states",), ("interactive", "two_states")])
def test_interaction_caption_names_the_panels_it_has(directory, parts):
    rows = pq.read_table(directory / "points.parquet").to_pylist()
    figure = figures.all_of(claim.resolve(sample_complexity.CLAIM, "quick", parts=parts), rows)["interaction"]()
    caption = str(figure.get_label())
    assert len(figure.axes) == len(parts)
    assert ("Left:" in caption) == ("Right:" in caption) == (len(parts) == 2)
    assert ("cliff" in caption) == ("interactive" in parts)


@pytest.mark.parametrize(
    "flag",
    [
        "--parts=moon",
        "--horizons=1",
        "--states=2",
        "--states=200",
        "--trajectories=1",
        "--trained=1",
        "--labels=10",
        "--horizons=300,400",
        "--costs=0",
        "--costs=99",
    ],
)
def test_bad_flags_are_named(flag, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(sample_complexity.CLAIM, ["sample_complexity", f"--out={out}", "--preset=quick", flag]) == 2
    message = capsys.readouterr().err
    assert ("--labels" if "400" in flag else flag.split("=")[0]) in message
    assert "allowed" in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_same_settings_and_block_give_the_same_bits(settings):
    wanted = ("cloning", "known_transitions", "stagger")
    blocks = {part: next(cell for cell in sample_complexity.cells(settings) if cell["part"] == part) for part in wanted}
    for cell in blocks.values():
        once, again = (sample_complexity.measure(settings, cell).points for _ in range(2))
        assert once == again


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(sample_complexity.CLAIM, directory) > 0
