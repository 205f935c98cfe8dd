"""The experiment `no_regret` in a small setting: what it writes, what it finds, what it refuses."""

import itertools
import json

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax import schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import gallery, interaction
from experiments.claim import NOT_SHOWN, REFUTED
from experiments.claim.options import resolve
from experiments.claim.running import execute
from experiments.no_regret import experiment as no_regret
from experiments.no_regret import figures as no_regret_figures
from experiments.no_regret.experiment import BETAS, CLAIM, LEARNERS
from tests import degenerate

WORLDS, ROUNDS, REPLICAS = 4, 8, 40
SMALL = ("--learners=hedge", "--horizon=5", f"--rounds={ROUNDS}", f"--replicas={REPLICAS}", f"--runs={WORLDS}")


def run(*flags):
    return execute(CLAIM, ["no_regret", *flags])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("no_regret") / "out"
    return run(f"--out={out}", "--preset=quick", "--worlds=random_mdp", *SMALL), out


@pytest.fixture(scope="module")
def small():
    """Settings and points of one world and a learner without a theorem."""
    few = {"worlds": ("random_mdp",), "learners": ("follow_the_leader",), "betas": ("linear", "zero")}
    settings = resolve(CLAIM, "quick", horizon=4, rounds=6, replicas=20, runs=3, **few)
    return settings, [no_regret.measure(settings, cell).points for cell in no_regret.cells(settings)]


def test_every_finding_holds_that_so_few_replicas_can_show(finished):
    status, out = finished
    assert status == 5  # 40 replicas cannot show a share below 1%
    findings = json.loads((out / "findings.json").read_text())
    unshown = [each["claim"] for each in findings if each["state"] not in ("holds", "information")]
    assert len(unshown) == 3
    assert all("4.2" in each for each in unshown)
    text = " ".join(finding["claim"] for finding in findings)
    for words in ("Theorem 4.1, best", "our shift term", "footnote 3", "without a shift term", "own regret bound"):
        assert words in text
    for words in ("exponent of gamma_N", "Theorem 4.2, best policy, 40 replicas", "half the last term", "slack"):
        assert words in text
    assert {path.stem for path in out.glob("*.png")} == {"rounds_random_mdp", "regret", "looseness", "failures"}


def test_points_are_what_they_say(finished):
    table = pq.read_table(finished[1] / "points.parquet")
    rows = table.to_pylist()
    exact = [row for row in rows if row["interpreter"] == "exact"]
    assert len(exact) == len(BETAS) * WORLDS * ROUNDS
    assert len(rows) - len(exact) == len(BETAS) * REPLICAS * 2
    assert {row["round"] for row in rows if row["interpreter"] == "sampled"} == {1, ROUNDS}
    for row in exact:
        without = row["hindsight"] + row["regret"]
        assert row["bound"] == pytest.approx(without + row["shift"], abs=1e-12)
        assert row["sharp"] == pytest.approx(without + row["sharp_shift"], abs=1e-12)
        assert row["best_own"] <= row["mixture"] + 1e-12
        assert 0 < row["hindsight"] < 1  # the expert is out of the class
        if row["beta"] == "zero":
            assert row["shift"] == row["sharp_shift"] == 0
            assert row["mixture"] == pytest.approx(row["bound"], abs=1e-12)  # met with equality
        if row["beta"] == "indicator":
            assert row["shift"] == pytest.approx(2 / row["round"])
    settings = resolve(CLAIM, "quick", learners=("hedge",), rounds=ROUNDS)
    cube = no_regret_figures.cubes(settings, table, "random_mdp", "exact")["hedge"]
    assert cube["best_own"].shape == (len(BETAS), WORLDS, ROUNDS)
    np.testing.assert_allclose(cube["best_own"], np.minimum.accumulate(cube["last"], -1), rtol=1e-12)
    assert (np.diff(cube["regret_bound"], axis=-1) < 0).all()


def test_hindsight_is_the_least_loss_of_all_deterministic_tables(small):
    """By trial of all 81 tables on the laws of every round; sums of float64. The sum with gamma_N is the mean loss."""
    settings, (exact, _) = small
    tables = np.array(list(itertools.product(range(no_regret.ACTIONS), repeat=no_regret.OBSERVATIONS)))
    for run, problem in enumerate(no_regret.problems(settings, "random_mdp")):
        learner = LEARNERS["follow_the_leader"].build(problem.world, 0.0)
        acts = np.eye(no_regret.ACTIONS)[tables[:, problem.world.observation]]  # [81, S, A]
        for name in settings.betas:

            def play(problem, beta, learner=learner):
                see = lambda moment: (moment.play.novice.sum(-1), moment.acting)
                schedule, interpreter = schedules.dagger(6, 4, beta), interaction.exactly(problem)
                return interaction.run(problem, schedule, learner, interpreter, measure=see).measured

            laws, played = float64(play)(problem, np.asarray(BETAS[name](6), float))  # [N, T, S], [N, 1, S, A]
            expert = np.broadcast_to(problem.expert, (4, 8, 3))  # deterministic: what is not its action is wrong
            each = 1 - np.einsum("nts,ksa,tsa->nk", laws, acts, expert) / 4
            loss = 1 - np.einsum("nts,nsa,tsa->n", laws, played[:, 0], expert) / 4
            rows = [row for row in exact if row["run"] == run and row["beta"] == name]
            assert [row["round"] for row in rows] == list(range(1, 7))
            n = np.arange(1, 7)
            wanted = (each.cumsum(0) / n[:, None]).min(-1)
            np.testing.assert_allclose([row["hindsight"] for row in rows], wanted, atol=1e-12)
            sums = [row["hindsight"] + row["regret"] for row in rows]
            np.testing.assert_allclose(sums, loss.cumsum() / n, atol=1e-12)
            assert (wanted < each.cumsum(0).mean(-1) / n).all()  # the control: tables differ


def test_beta_schedules_do_not_increase():
    for name, beta in BETAS.items():
        values = np.asarray(beta(12))
        assert values.shape == (12,), name
        assert (np.diff(values) <= 0).all(), name
        assert ((values >= 0) & (values <= 1)).all(), name


@pytest.mark.parametrize("name", [name for name, each in LEARNERS.items() if each.span is not None])
def test_regret_bounds_hold_for_any_sequence_of_costs(name):
    """The learners' own theorem beyond DAgger: costs that turn against the learner's likeliest action."""
    world, online, rng = gallery.random_mdp(4, 6, 3, observations=2).world, LEARNERS[name], np.random.default_rng(0)
    learner = online.build(world, online.rate(world))
    update = jax.jit(lambda memory, batch: learner.update(None, memory, batch, 1.0))
    memory, costs, paid = learner.init(), [], []
    for _ in range(40):
        policy = np.asarray(learner.params(memory))[0]
        share = rng.dirichlet(np.ones(2)) * world.horizon
        costs.append(share[:, None] * (np.arange(3) == policy.argmax(1, keepdims=True)))
        paid.append((policy * costs[-1]).sum())
        batch = no_regret.labels.Batch(np.zeros(2, int), np.arange(2), costs[-1], share)
        memory = update(memory, batch)
    met = np.array(costs)
    regret = np.cumsum(paid) - met.cumsum(0).min(-1).sum(-1)
    allowed = online.bound(world, met) * world.horizon * np.arange(1, 41)
    assert (regret <= allowed + 1e-4).all()
    assert regret[-1] > 0.1 * allowed[-1]  # not idle


def test_blocks_are_their_settings_alone(small):
    settings, points = small
    for cell, found in zip(no_regret.cells(settings), points, strict=True):
        again = no_regret.measure(settings, cell)
        assert again.points == found
        assert again.environment_steps == (2 * 20 * 6 * 4 if cell["what"] == "sampled" else 0)


def test_a_false_point_is_found_out(small):
    """The verdict is no formality: one wrong number, and its finding does not hold."""
    settings, (exact, sampled) = small
    table = lambda: pa.Table.from_pylist([*exact, *sampled], schema=CLAIM.schema)
    assert REFUTED not in {finding.state for finding in no_regret.verdict(settings, table())}

    def spoiled(points, changes, state=REFUTED):
        kept = [dict(point) for point in points]
        for point in points:
            point.update(changes(point))
        failed = [finding.claim for finding in no_regret.verdict(settings, table()) if finding.state is state]
        for point, old in zip(points, kept, strict=True):
            point.update(old)
        return " | ".join(failed)

    last = [exact[-1]]
    assert spoiled(last, lambda p: {"bound": p["best_own"] - 1e-6}).startswith("Theorem 4.1, best of N")
    assert spoiled(last, lambda p: {"sharp": p["best_own"] - 1e-6}).startswith(
        "Theorem 4.1 with our shift term, best of N"
    )
    assert "uniform mixture" in spoiled(last, lambda p: {"mixture": p["sharp"] + 1e-6})
    assert "without a shift term" in spoiled(exact, lambda p: {"best_own": 0.0}, NOT_SHOWN)
    assert "Theorem 4.2, best policy" in spoiled(sampled, lambda p: {"best_own": p["bound"] + 3})
    assert "half the last term" in spoiled(sampled, lambda p: {"mixture": p["sharp"] + 0.8})
    assert not spoiled(last, lambda p: {"last": 1.0})  # the last policy is promised nothing


def test_shares_have_exact_intervals():
    """Of 300 replicas none failed: at most 1% do, with 95%. 20 cannot show that; a tenth of 300 refutes it."""
    assert no_regret.share_interval(0, 300)[1] == pytest.approx(1 - 0.05 ** (1 / 300))
    assert no_regret.share_interval(0, 300) < (0.0, 0.01) < (0.0, no_regret.share_interval(0, 20)[1])
    assert no_regret.share_interval(30, 300)[0] > 0.01
    assert no_regret.share_interval(20, 20)[1] == 1.0


def test_a_regret_above_its_bound_is_found_out(finished):
    table = pq.read_table(finished[1] / "points.parquet")
    settings = resolve(CLAIM, "quick", worlds=("random_mdp",), learners=("hedge",), rounds=ROUNDS, runs=WORLDS)
    place = table.column_names.index("regret_bound")
    halved = table.set_column(place, "regret_bound", pa.array(0.2 * table["regret_bound"].to_numpy()))
    failed = [finding.claim for finding in no_regret.verdict(settings, halved) if finding.state is REFUTED]
    assert len(failed) == 1
    assert "hedge: gamma_N is within the learner's own regret bound" in failed[0]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--runs=1", "2 or more"),
        ("--rounds=5", "from 6 to 1000"),
        ("--horizon=1", "from 2 to 256"),
        ("--betas=rising", "geometric_0.5"),
        ("--learners=oracle", "gradient_descent"),
        ("--deltas=0.1,1", "above 0, 0.99 or less"),
        ("--replicas=3", "from 20"),
        ("--worlds=moon", "dagger-jax list worlds"),
    ],
)
def test_bad_flags_are_one_line_and_write_nothing(tmp_path, capsys, flag, words):
    out = tmp_path / "out"
    assert run(f"--out={out}", flag) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert flag.split("=")[0] in error
    assert words in error
    assert not out.exists()


def test_figures_cope_with_any_points(finished):
    assert degenerate.draw(CLAIM, finished[1]) > 0
