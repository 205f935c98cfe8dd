"""The exposure-bias experiment: a small run of the whole binary, its findings on planted points, its bad flags."""

import json
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax import controllers
from dagger_jax.controllers import Seen
from dagger_jax.text import checkpoint, evidence, transformer
from dagger_jax.text import worlds as tokens
from experiments.claim import HOLDS, NOT_SHOWN, REFUTED, Settings, resolve
from experiments.claim.running import execute
from experiments.exposure_bias import experiment as exposure_bias
from experiments.exposure_bias import findings, training, worlds
from experiments.shared import chunk_methods
from tests import degenerate

SMALL = {
    "length": 8,
    "chunks": (1, 4),
    "vocabulary": 4,
    "width": 8,
    "rounds": 6,
    "batch": 4,
    "texts": 32,
    "models": 3,
    "runs": 3,
}
FLAGS = [f"--{name}={','.join(map(str, value)) if name == 'chunks' else value}" for name, value in SMALL.items()]
WORLDS = ("absorbing", "corpus")


KEPT = ("k = 1", "k = 4", "k = 8", "step, T then 1", "AIMD on the AUC")


@pytest.fixture(scope="module", autouse=True)
def few_methods():
    """Of every kind of method a few: all controllers share one program, which takes long to compile."""
    every = exposure_bias.methods
    with pytest.MonkeyPatch.context() as patch:
        some = lambda *args: {name: method for name, method in every(*args).items() if name in KEPT}
        patch.setattr(exposure_bias, "methods", some)
        yield every


@pytest.fixture(scope="module")
def directory(tmp_path_factory, few_methods):
    """A run so small that its findings need not hold: any status of a finished run is fine."""
    out = tmp_path_factory.mktemp("exposure") / "out"
    arguments = ["exposure_bias", f"--out={out}", "--preset=quick", f"--worlds={','.join(WORLDS)}", *FLAGS]
    assert execute(exposure_bias.CLAIM, arguments) in (0, 1, 5)
    return out


@pytest.fixture(scope="module")
def settings() -> Settings:
    return resolve(exposure_bias.CLAIM, "quick", worlds=WORLDS, **SMALL)


def test_points_account_for_every_replica_and_length(directory, settings):
    rows = pq.read_table(directory / "points.parquet").to_pylist()
    lengths = exposure_bias.lengths(8)
    assert lengths == [1, 2, 4, 8]
    table, transformer = (exposure_bias.methods(settings, learner) for learner in exposure_bias.LEARNERS)
    assert len(rows) == len(WORLDS) * len(lengths) * 3 * (len(table) + len(transformer))
    for row in rows:
        # Of the first token both prefixes are the same.
        if row["length"] == 1:
            assert row["own_kl"] == pytest.approx(row["expert_kl"], rel=1e-5)
        assert np.isfinite(row["own_kl"])
        assert 1 <= row["perplexity"] < 100  # a few of 4 tokens; trained for 6 rounds
        assert row["own_tv"] <= row["length"] + 1e-5
        assert row["recoverability"] == pytest.approx(8.0) if row["world"] == "absorbing" else row["recoverability"] < 8


def test_results_are_complete(directory):
    found = json.loads((directory / "findings.json").read_text())
    tested = [finding for finding in found if finding["expected"] is not None]
    assert len(tested) == 2 * 2 + 1 + 1  # growth twice a learner, on-policy for the table, the limit
    for name in ("accumulated", "excess", "final", "garbage"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
        assert (directory / f"{name}.svg").stat().st_size > 10_000


@pytest.mark.parametrize("learner", exposure_bias.LEARNERS)
def test_same_bits_twice(directory, settings, learner):
    """A block measured again is what the run stored."""
    cell = next(
        cell
        for cell in exposure_bias.cells(settings)
        if (cell["world"], cell["learner"], cell["method"]) == ("absorbing", learner, "AIMD on the AUC")
    )
    again = exposure_bias.measure(settings, cell).points
    stored = [
        row
        for row in pq.read_table(directory / "points.parquet").to_pylist()
        if (row["world"], row["learner"], row["method"]) == (cell["world"], learner, cell["method"])
    ]
    assert [{name: row[name] for name in again[0]} for row in stored] == again


def played(settings, world, name, control, models=3):
    """What models trained by one method are judged to be."""
    experts = [worlds.writer(world, worlds.sizes(settings), run) for run in range(models)]
    keys = jax.random.split(jax.random.key(1), 3)[:models]
    method, sizes = exposure_bias.methods(settings, "transformer")[name], exposure_bias.config(settings)
    params = training.train_transformers(sizes, 1e-2, experts, method.schedule, control, keys, episodes=4)
    return training.judge_transformers(sizes, experts, params, worlds.cost(world), keys, 32)


@pytest.mark.slow
def test_a_controller_that_stays_at_one_token_is_one_token(settings):
    """The expert writes for the learner in round 1 in both. Two programs, float32: sums in another order."""
    options = controllers.DetectabilityBudget(1e-9), controllers.AdditiveIncrease(0.999)  # none proven; what AIMD is
    stays, grows = (chunk_methods.Either(np.asarray(which), options) for which in (0, 1))
    alone, stayed, grown = (played(settings, "absorbing", "k = 1", each) for each in (None, stays, grows))
    for own, other in zip(alone, stayed, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-6)
    assert abs(grown.own_kl / alone.own_kl - 1).max() > 1e-2


@pytest.mark.slow
def test_models_trained_together_are_each_its_own(settings):
    """Another writer and another key change nothing for the others; float32 in a batch of another size."""
    three, two = (played(settings, "absorbing", "k = 4", None, models) for models in (3, 2))
    assert len(set(three.own_kl[:, -1])) == 3
    np.testing.assert_allclose(three.own_kl[:2], two.own_kl, rtol=1e-4)


# ---- planted points ---------------------------------------------------------------------------------------------


def planted(world, power, single=1.0, over=0.5, u=None):
    """Points of one tabular world: SFT's R(l) = 0.01 l^power, that of k = 1 times `single`; l eps(l) = 0.01 l."""
    rng = np.random.default_rng(0)
    rows = []
    for method, scale in (("k = 1", single), ("k = 64", 1.0)):
        for run in range(8):
            noise = np.exp(0.02 * rng.normal())
            for length in exposure_bias.lengths(64):
                own = 0.01 * noise * scale * float(length) ** power
                rows.append(
                    {"world": world, "learner": "tabular", "method": method, "kind": "fixed", "length": length}
                    | {"run": run, "own_kl": own, "expert_kl": 0.01 * noise * length, "own_tv": over, "expert_tv": 0.5}
                    | {
                        "tv_bound": 1.0,
                        "gap": 0.1 * scale,
                        "perplexity": 3.0,
                        "recoverability": u or (1.0 if world == "recovering" else 64.0),
                    }
                )
    # No schedules and controllers are among them: one of each kind stands in.
    for kind in ("schedule", "controller"):
        rows += [row | {"method": kind, "kind": kind} for row in rows if row["method"] == "k = 64"]
    return pa.Table.from_pylist(rows, pa.schema([exposure_bias.CLAIM.schema.field(name) for name in rows[0]]))


def judged(table):
    """The state of each tested finding, by its beginning."""
    found = findings.verdict(resolve(exposure_bias.CLAIM, "default"), table)
    return {finding.claim[:40]: finding.state for finding in found if finding.expected is not None}


@pytest.mark.parametrize(
    ("planting", "holds"),
    [
        ({"world": "recovering", "power": 1.0, "single": 0.9}, True),
        ({"world": "recovering", "power": 1.5, "single": 0.9}, False),
        ({"world": "absorbing", "power": 1.8}, True),
        ({"world": "absorbing", "power": 1.0}, False),
    ],
)
def test_growth_is_told_from_its_absence(planting, holds):
    found = judged(planted(**planting))
    growth = [value for name, value in found.items() if name.startswith("supervised")]
    assert growth == 2 * [HOLDS if holds else REFUTED]
    assert all(value is HOLDS for name, value in found.items() if not name.startswith("supervised"))


def test_falsified_points_are_found():
    assert set(judged(planted("markov", 1.0, single=0.5)).values()) == {HOLDS}
    single = "ExAccErr(T) of k = 1 less that of supervis"[:40]
    for error in (1.0, 1.1):  # where there is something to gain, no gain is a contradiction
        assert judged(planted("recovering", 1.0, error))[single] is not HOLDS
    assert judged(planted("recovering", 1.0, 1.1))[single] is REFUTED
    assert judged(planted("markov", 1.0, single=1.5))[single] is REFUTED
    limit = judged(planted("markov", 1.0, single=0.5, over=1.01))["no exact 0-1 error R(l) exceeds sum_{t<="]
    assert limit is REFUTED


def test_wide_intervals_show_nothing():
    """Runs that contradict each other: half of them gain much by short chunks, half lose as much."""
    table = planted("markov", 1.0, single=1.0)
    rows = table.to_pylist()
    for row in rows:
        if row["method"] == "k = 1":
            row["own_kl"] *= 0.5 if row["run"] % 2 else 1.5
    found = judged(pa.Table.from_pylist(rows, table.schema))
    assert found["ExAccErr(T) of k = 1 less that of supervis"[:40]] is NOT_SHOWN


# ---- parts ------------------------------------------------------------------------------------------------------


def test_padding_changes_no_law(settings):
    """A padded world is the world: u, and exact errors of a table, are those of the writer itself."""
    of = worlds.sizes(settings)
    for world in WORLDS:
        machine, problem = worlds.table(world, of, 1), worlds.problem(world, of, 1)
        plain = tokens.problem(machine, 8, 1, worlds.COSTS[world])
        assert problem.world.states == 21 >= plain.world.states  # 1 + 4 + 16
        assert worlds.recoverability(problem) == pytest.approx(worlds.recoverability(plain))
        policy = np.full((1, problem.world.states, 4), 0.25)
        seen = training.judge_tables([problem], policy[None], worlds.COSTS[world])
        uniform = tokens.as_machine(plain, policy[:, : plain.world.states])
        exact = evidence.expected(machine, uniform, evidence.alone(8), worlds.COSTS[world])
        np.testing.assert_allclose(seen.own_kl[0], np.cumsum(exact.novice.kl), rtol=1e-12)
        np.testing.assert_allclose(seen.expert_cost[0], np.cumsum(exact.guide.cost), atol=1e-12)


def test_one_of_several_controllers_is_itself():
    options = (controllers.JumpStart(), controllers.AdditiveIncrease(0.6))
    rng = np.random.default_rng(3)
    alone: Any
    for which, alone in enumerate(options):
        either = chunk_methods.Either(np.asarray(which), options)
        (state, starts), (own, expected) = either.init(8), alone.init(8)
        for _ in range(2):
            np.testing.assert_array_equal(starts, expected)
            errors = rng.uniform(0, 0.1, 8).astype(np.float32)
            seen = Seen(np.asarray(expected, np.float32), errors, 1 - errors, np.array(1.0), np.array(100.0), 4)
            state, starts = either.update(state, seen)
            own, expected = alone.update(own, seen)


def test_every_method_labels_every_token_once(few_methods, settings):
    settings = Settings({**settings.values, "few": False})
    table, transformer = (few_methods(settings, learner) for learner in exposure_bias.LEARNERS)
    assert set(table) - set(transformer) == {"accumulated disagreement"}
    assert [name for name in table if table[name].kind == "fixed"] == ["k = 1", "k = 4", "k = 8"]
    assert len(transformer) == 3 + 7 + 6  # fixed lengths, schedules over rounds, controllers
    for name, method in table.items():
        assert (np.asarray(method.schedule.label_guide) == 1).all(), name
        assert (np.asarray(method.schedule.label_novice) == 0).all(), name
        assert method.schedule.back is None, name


def test_few_methods_are_of_every_kind(few_methods, settings):
    few = few_methods(settings, "transformer")
    assert set(exposure_bias.FEW) < set(few)
    assert [few[name].kind for name in few] == ["fixed"] * 3 + ["schedule"] * 3 + ["controller"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("world", list(worlds.OTHERS))
def test_writers_that_are_no_tables(world, settings, tmp_path):
    """A transformer learns from them, nothing is priced, and the report has no u."""
    sizes = transformer.Config(5, 8, width=8, layers=1, heads=2)
    checkpoint.save_params(tmp_path / "writer", sizes, jax.jit(transformer.init)(sizes, jax.random.key(0)))
    given = {"worlds": (world,), "vocabulary": 5, "models": 2, "chunks": (1,)}
    given |= {"writer": str(tmp_path / "writer")} if world == "frozen" else {}
    own = Settings({**settings.values, **given})
    cells = exposure_bias.cells(own)
    assert {cell["learner"] for cell in cells} == {"transformer"}
    points = [point for cell in cells for point in exposure_bias.measure(own, cell).points]
    assert all(np.isfinite(point["own_kl"]) and point["gap"] is None for point in points)
    table = pa.Table.from_pylist(points, exposure_bias.CLAIM.schema)
    assert all(finding.expected is None for finding in findings.verdict(own, table))
    assert exposure_bias.CLAIM.figures(own, table).keys() == {"accumulated", "excess", "final"}


BAD = [
    ("--chunks=1,128", "128"),
    ("--chunks=3", "powers of two"),
    ("--heads=3", "3 heads"),
    ("--order=1", "2 to 8"),
    ("--vocabulary=2", "3 to 256"),
    ("--runs=1", "interval"),
    ("--models=1", "interval"),
    ("--texts=1", "2 to"),
    ("--writer=/nowhere", "does not exist"),
    ("--tokens=word", "character, byte"),
    ("--worlds=moon", "recovering"),
    ("--corpus=/nowhere/text", "not a file"),
]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--writer=/nowhere", "--worlds=frozen"], "does not exist"),
        (["--worlds=frozen"], "--writer"),
        (["--vocabulary=6", "--worlds=brackets"], "odd"),
        (["--learners=tabular", "--worlds=hidden"], "transformer"),
        ([f"--corpus={__file__}", "--worlds=markov"], "no world"),
    ],
)
def test_worlds_and_their_flags(flags, says, tmp_path, capsys):
    refused(flags, says, tmp_path, capsys)


@pytest.mark.parametrize(("flag", "says"), BAD)
def test_bad_flags_are_named(flag, says, tmp_path, capsys):
    refused([flag], says, tmp_path, capsys)


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "empty"), (b"\xff\xfe\x00q", "not text"), (b"too short, abc", "fewer than the 32")]
)
def test_bad_corpora_are_named(content, says, tmp_path, capsys):
    path = tmp_path / "text"
    path.write_bytes(content)
    refused([f"--corpus={path}"], says, tmp_path, capsys)


def test_a_context_as_long_as_the_order(tmp_path, capsys):
    refused(["--context=2"], "--order: 2 is no more than the context", tmp_path, capsys)


def test_a_vocabulary_that_the_corpus_does_not_have(tmp_path, capsys):
    path = tmp_path / "text"
    path.write_text("abc" * 20)
    refused([f"--corpus={path}", "--vocabulary=5"], "--vocabulary", tmp_path, capsys)


def test_a_table_that_is_too_large(tmp_path, capsys):
    refused(["--vocabulary=60", "--worlds=markov"], "--vocabulary", tmp_path, capsys)


def refused(flags, says, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(exposure_bias.CLAIM, ["exposure_bias", f"--out={out}", "--preset=quick", *flags]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert flags[0].split("=")[0] in message or says.startswith("--")
    assert message.count("\n") == 1
    assert not out.exists()


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(exposure_bias.CLAIM, directory) > 0
