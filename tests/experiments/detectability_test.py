"""The experiment `detectability` in a small setting: what it writes, what it finds, what it refuses."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.claim import NOT_SHOWN, REFUTED
from experiments.claim.options import resolve
from experiments.claim.running import execute
from experiments.detectability import experiment as detectability
from experiments.detectability import points as detectability_points
from experiments.detectability.worlds import ABOUT, ROLL_IN, build, closed_form
from tests import degenerate

SMALL = ("--preset=quick", "--chunks=1,2,4,8", "--eps=0.05", "--episodes=2048")


def run(*flags):
    return execute(detectability.CLAIM, ["detectability", *flags])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("detectability") / "out"
    return run(f"--out={out}", *SMALL), out


def test_every_finding_holds(finished):
    status, out = finished
    assert status == 0
    found = json.loads((out / "findings.json").read_text())
    assert {finding["world"] for finding in found} == {*ABOUT, ", ".join(ABOUT)}
    text = " ".join(finding["claim"] for finding in found)
    for words in ("closed form", "total variation lies", "-ln(1 - TV) grows", "no classifier", "P_deploy", "hold the"):
        assert words in text
    figures = {path.stem for path in out.glob("*.png")}
    assert figures == {"distance", "auc", "classifier", "growth", "scheming"}


def test_points_are_what_they_say(finished):
    rows = pq.read_table(finished[1] / "points.parquet").to_pylist()
    assert {row["world"] for row in rows} == set(ABOUT)
    assert {row["horizon"] for row in rows} == {ROLL_IN + 8}
    assert all(row["gap"] > 0 for row in rows if row["world"] in ("chunk_reset", "aliased"))
    find = lambda **wanted: [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    for k in (1, 2, 4, 8):
        (point,) = find(world="chunk_reset", interpreter="exact", statistic="total_variation", chunk=k)
        assert point["value"] == pytest.approx(1 - 0.95**k, abs=1e-12)
        assert point["bound"] == pytest.approx(0.05 * k, abs=1e-12)
        assert point["least"] >= 0.05 - 1e-12
        (seen,) = find(world="chunk_reset", interpreter="sampled", statistic="total_variation", chunk=k)
        assert seen["exact"] == point["value"]
        assert seen["low"] < seen["value"] < seen["high"]
        assert 0 <= seen["covered"] <= 1
        (learned,) = find(world="coin", interpreter="learned", statistic="accuracy", chunk=k)
        assert 0 < learned["p_value"] <= 1
        assert 0 < learned["excess_p"] <= 1
        schemes = find(world="coin", interpreter="exact", statistic="deploy_defection", chunk=k)
        assert [row["threshold"] for row in schemes] == [-0.1, 0.0, 0.1]
        assert schemes[1]["value"] == pytest.approx(schemes[1]["bound"], abs=1e-9)
        watched = find(world="coin", interpreter="sampled", statistic="deploy_defection", chunk=k)
        for exactly, sampled in zip(schemes, watched, strict=True):
            assert abs(exactly["value"] - sampled["value"]) < 0.05


def test_blocks_are_their_settings_alone():
    settings = resolve(detectability.CLAIM, "quick", chunks=(1, 2), eps=(0.05,), episodes=256)
    cell = {"world": "coin", "eps": 0.05, "run": 0}
    first, second = (detectability_points.measure(settings, cell) for _ in range(2))
    assert first == second
    assert first.environment_steps == 2 * (ROLL_IN + 2) * 256


@pytest.mark.parametrize("world", ABOUT)
def test_learners_err_as_much_as_they_should(world):
    case = build(0, 6, world, None if world == "aliased" else 0.03, 0)
    assert case.eps.shape == (6,)
    if world == "aliased":
        assert (case.eps > 0.01).all()  # aliasing leaves it no choice
    else:
        np.testing.assert_allclose(case.eps, 0.03, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_closed_forms_agree_with_each_other(k):
    """A coin of bias 1/2 is a deterministic learner; small errors of chunk-reset are nearly k eps."""
    sure = closed_form("coin", 0.5 - 1e-12, k)
    assert sure["total_variation"] == pytest.approx(1 - 0.5**k)
    small = closed_form("chunk_reset", 1e-6, k)
    assert small["total_variation"] == pytest.approx(k * 1e-6, rel=1e-4)
    assert small["jensen_shannon"] == pytest.approx(np.log(2) / 2 * k * 1e-6, rel=1e-4)
    assert closed_form("softened", 0.1, k) == closed_form("aliased", None, k) == {}


def test_replicas_are_of_random_worlds_only():
    cells = detectability.cells(resolve(detectability.CLAIM, "full", eps=(0.1, 0.2), runs=3))
    count = {world: sum(cell["world"] == world for cell in cells) for world in ABOUT}
    assert count == {"chunk_reset": 2, "coin": 2, "softened": 6, "aliased": 3}


def test_a_false_point_is_found_out():
    """The verdict is no formality: one wrong number, and its finding does not hold."""
    settings = resolve(detectability.CLAIM, "quick", worlds=("coin",), chunks=(1, 2, 4), eps=(0.05,), episodes=512)
    points = detectability_points.measure(settings, detectability.cells(settings)[0]).points
    table = lambda: pa.Table.from_pylist(points, schema=detectability.CLAIM.schema)
    assert REFUTED not in {finding.state for finding in detectability.verdict(settings, table())}

    def spoiled(column, change, state=REFUTED, **wanted):
        (point, *_) = [p for p in points if all(p.get(name) == value for name, value in wanted.items())]
        kept, point[column] = point[column], change(point[column])
        failed = [finding.claim for finding in detectability.verdict(settings, table()) if finding.state is state]
        point[column] = kept
        return " ".join(failed)

    exact = {"interpreter": "exact", "chunk": 4}
    assert "closed form" in spoiled("value", lambda v: v + 1e-6, statistic="total_variation", **exact)
    assert "lies above" in spoiled("value", lambda v: 0.3, statistic="total_variation", **exact)
    assert "P_deploy" in spoiled("value", lambda v: v + 0.2, statistic="deploy_defection", threshold=0.1, **exact)
    assert "no classifier" in spoiled("excess_p", lambda v: 1e-9, statistic="accuracy", interpreter="learned")
    (law,) = [point for point in points if point.get("statistic") == "growth of kl"]
    law.update(value=1.5, low=1.4, high=1.6)
    assert REFUTED in {each.state for each in detectability.verdict(settings, table()) if "KL grows" in each.claim}
    law.update(value=1.0, low=1.0, high=1.0)
    assert "KL grows" in spoiled("low", lambda v: 0.2, NOT_SHOWN, statistic="growth of kl")
    learned = {"statistic": "accuracy", "interpreter": "learned"}
    assert "no classifier" in spoiled("high", lambda v: v + 0.3, NOT_SHOWN, **learned)
    assert "hold the exact" in spoiled("covered", lambda v: -50.0, statistic="kl", interpreter="sampled", chunk=4)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--eps=0.5", "above 0 and below 0.5"),
        ("--eps=0.01,0", "above 0 and below 0.5"),
        ("--chunks=0", "whole numbers from 1 to 512"),
        ("--worlds=cliff", "chunk_reset, aliased, coin, softened"),
        ("--episodes=10", "from 256"),
        ("--thresholds=nan", "'nan' is not allowed"),
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
    assert degenerate.draw(detectability.CLAIM, finished[1]) > 0
