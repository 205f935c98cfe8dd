"""The distillation experiment: its methods, its evidence, and a small run of the whole binary."""

import json

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax import randomness
from dagger_jax.text import evidence, walk, writers
from experiments import claim
from experiments.claim.running import execute
from experiments.distillation import experiment as distillation
from experiments.distillation import findings as distillation_findings
from experiments.distillation import methods as ways
from tests import degenerate

pytestmark = pytest.mark.slow  # most of a minute of compiling; the other three token experiments are in the fast tests

SMALL = (
    *("--preset=quick", "--length=6", "--vocabulary=4", "--order=1", "--rounds=6", "--batch=4", "--runs=2"),
    *("--divergences=forward,reverse", "--lambdas=0,1", "--chunks=1,2", "--texts=16"),
)


def small(**given):
    sizes = {"length": 6, "vocabulary": 4, "order": 1, "rounds": 6, "batch": 4, "runs": 2, "chunks": (1, 2)}
    return claim.resolve(distillation.CLAIM, "quick", **{**sizes, **given})


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run so small that its findings need not hold: any status of a finished run is fine."""
    out = tmp_path_factory.mktemp("distillation") / "out"
    assert execute(distillation.CLAIM, ["distillation", f"--out={out}", *SMALL]) in (0, 1, 5)
    return out


def test_points_account_for_every_label(directory):
    rows = pq.read_table(directory / "points.parquet").to_pylist()
    names = list(ways.methods(small()))
    trained = [row for row in rows if row["what"] == "training"]
    # Six judgements and the beginning at the whole length, and the five shorter ones at the end.
    assert len(trained) == len(names) * 2 * (7 + 5)
    assert {row["method"] for row in trained} == set(names)
    assert all(row["labels"] == row["round"] * 4 * 6 for row in trained)
    for row in trained:
        for whose in ("own", "writers"):
            assert 0 <= row[f"{whose}_variation"] <= row["length"]
            assert row[f"{whose}_kl"] > 0
            assert row[f"{whose}_reverse"] > 0
    # Before training all methods have the same learner.
    first = {(row["run"], row["own_kl"], row["writers_reverse"]) for row in trained if row["round"] == 0}
    assert len(first) == 2
    timed = [row for row in rows if row["what"] == "seconds"]
    assert {row["method"] for row in timed} == set(names)
    assert all(0 < row["fastest"] <= row["seconds"] <= row["slowest"] for row in timed)


def test_results_are_complete(directory):
    findings = json.loads((directory / "findings.json").read_text())
    assert sum(finding["expected"] == "below 1" for finding in findings) == 4
    for name in ("ratios", "plane", "lambda", "accumulated"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
        assert (directory / f"{name}.svg").stat().st_size > 10_000
    lines = (directory / "methods.csv").read_text().splitlines()
    assert len(lines) == 1 + len(ways.methods(small()))


def changed(table, where, **columns):
    """The points with some columns of some rows multiplied."""
    rows = table.to_pylist()
    for row in rows:
        if where(row):
            row.update({name: row[name] * factor for name, factor in columns.items() if row[name] is not None})
    return pa.Table.from_pylist(rows, schema=table.schema)


@pytest.mark.parametrize(
    ("where", "columns", "words"),
    [
        (lambda row: row["method"] == "GKD, reverse, lambda = 1", {"own_reverse": 100}, "reverse KL, of texts"),
        (lambda row: row["method"] == "GKD, forward, lambda = 0", {"writers_kl": 100}, "forward KL, of texts"),
    ],
    ids=["reverse", "forward"],
)
def test_falsified_points_are_found_out(directory, where, columns, words):
    table = pq.read_table(directory / "points.parquet")
    findings = distillation.verdict(small(), changed(table, where, **columns))
    assert any(words in finding.claim and finding.state is claim.REFUTED for finding in findings)


def test_chunks_of_one_token_are_distillation_on_sampled_labels(directory):
    """The same tokens are asked for, and mean losses in float32 from two programs agree to 1e-4 nats."""
    ones = [row for row in pq.read_table(directory / "points.parquet").to_pylist() if row["what"] == "one token"]
    assert [row["differing"] for row in ones] == [0, 0]
    assert max(row["apart"] for row in ones) <= 1e-4


def test_pinsker(directory):
    """2 TV^2 <= KL at every prefix, so its mean is at least twice the square of the mean; float32."""
    for row in pq.read_table(directory / "points.parquet").to_pylist():
        for whose in ("own", "writers") if row["what"] == "training" else ():
            least = 2 * (row[f"{whose}_variation"] / row["length"]) ** 2 - 1e-5
            assert least <= min(row[f"{whose}_kl"], row[f"{whose}_reverse"]) / row["length"]


def test_made_up_points_confirm_the_measured_findings(directory):
    """The control of the falsified ones: what should be less is made less."""
    table = pq.read_table(directory / "points.parquet")
    table = changed(table, lambda row: row["method"] == "GKD, reverse, lambda = 1", own_reverse=1e-3)
    table = changed(table, lambda row: row["method"] == "GKD, forward, lambda = 0", writers_kl=1e-3)
    measured = [each for each in distillation.verdict(small(), table) if each.expected == "below 1"]
    assert len(measured) == 4
    assert all(each.state is claim.HOLDS for each in measured)


def test_runs_that_contradict_each_other_show_nothing(directory):
    """One run a thousand times better, the other a thousand times worse: the interval of the ratio holds 1."""
    table = pq.read_table(directory / "points.parquet")
    for run, factor in ((0, 1e-3), (1, 1e3)):
        table = changed(
            table,
            lambda row, run=run: row["run"] == run and row["what"] == "training" and "lambda = 1" in row["method"],
            own_reverse=factor,
        )
    found = [
        each for each in distillation.verdict(small(), table) if "reverse KL, of texts" in each.claim and each.expected
    ]
    assert claim.NOT_SHOWN in {each.state for each in found}


def test_labels_are_those_that_were_charged():
    """A schedule that labels half as much, or a stream that it does not label, is told from the others."""
    settings = small()
    method = ways.methods(settings)["chunks, k = 2"]
    half = method.schedule._replace(label_guide=0.5 * method.schedule.label_guide)
    for schedule, reads, wanted in ((method.schedule, "both", 24), (half, "both", 12), (half, "novice", 0)):
        recipe = ways.recipe(settings, method._replace(reads=reads))
        args = recipe, ways.experts(settings, "markov"), schedule, ways.begin(settings), ways.keys(settings)[1]
        assert np.asarray(ways.train(*args, batch=4, rounds=1)[2]).tolist() == [[wanted]] * 2  # runs, rounds


def test_wall_times_are_told_with_their_spread(directory):
    found = json.loads((directory / "findings.json").read_text())
    timed = [finding["claim"] for finding in found if "wall time" in finding["claim"] or "slowest" in finding["claim"]]
    assert len(timed) == 2
    assert all("ms a round" in claim for claim in timed)
    assert "in hindsight" in timed[0]


def test_methods_say_who_writes():
    settings = claim.resolve(distillation.CLAIM, "default")
    found = ways.methods(settings)
    assert len({name for name in found if found[name].kind == "GKD"}) == 15
    half = found["GKD, jsd:0.5, lambda = 0.5"]
    assert half.schedule.join.shape == (1, 32, 32)
    assert float(np.asarray(half.schedule.beta).mean()) == 0.5
    assert half.handovers == 0.5 * 32 + 0.5
    assert found["chunks, k = 8"].handovers == 4
    assert found["mixture, alpha = 0.2"].labels == "reverse"
    for name, decay in ways.decays(240).items():
        shares = np.asarray(found[f"scheduled sampling, {name}"].schedule.copied)[:, 0]
        assert (np.diff(shares) <= 0).all()
        assert shares[0] > 0.9
        assert shares[-1] < 0.1
        np.testing.assert_allclose(decay(0), shares[0])


def test_judgement_is_that_of_exact_evidence():
    """A learner that ignores its prefix, as a machine: sums over sampled prefixes against the recursion."""
    settings = small(texts=2000)
    experts, keys = ways.experts(settings, "markov"), ways.keys(settings)
    config = ways.config(settings)
    params = ways.begin(settings).learner.params
    biased = jax.tree.map(np.zeros_like, jax.device_get(params))
    biased["logits"]["bias"][:] = np.array([0.5, -1.0, 0.2, 0.0])
    seen = jax.device_get(ways.judge(config, experts, biased, keys[2], settings.texts))
    for run in range(settings.runs):
        expert = jax.tree.map(lambda leaf, run=run: leaf[run], experts)
        logits = biased["logits"]["bias"][run]
        law = np.exp(logits) / np.exp(logits).sum()
        machine = writers.Machine(law[None, None], np.zeros((1, 4), int))
        exact = evidence.expected(expert, machine, evidence.alone(settings.length))
        for who, steps in enumerate((exact.novice, exact.guide)):
            error = 5 * seen.kl[run, who].std(-1) / settings.texts**0.5 + 1e-4
            assert (abs(seen.kl[run, who].mean(-1) - steps.kl) < error).all()
            np.testing.assert_allclose(seen.variation[run, who], steps.tv, atol=0.03)
        # The reverse KL of whole texts is the mean log-likelihood ratio of the learner's texts.
        learner = writers.Frozen(config, jax.tree.map(lambda leaf, run=run: leaf[run], biased))
        words = randomness.for_round(randomness.words(keys[2][run]), 0)
        text = walk.play(expert, learner, evidence.alone(settings.length), words, np.arange(2000, dtype=np.uint32))
        ratio = -np.asarray(evidence.read(expert, learner, text).ratio[1], float).sum(0)
        wide = 5 * ratio.std() / 2000**0.5
        assert abs(ratio.mean() - seen.reverse[run, 0].sum()) < wide


def test_ratios_are_paired_and_means_have_intervals():
    reference = 10 ** np.linspace(-1, 2, 8)
    np.testing.assert_allclose(distillation_findings.ratio(0.9 * reference, reference), 0.9)
    value, low, high = distillation_findings.mean(np.array([1.0, 2.0, 3.0]))
    assert (low + high) / 2 == value == 2
    assert high - value == pytest.approx(4.303 / 3**0.5, rel=1e-3)


def test_a_corpus_of_ones_own(tmp_path):
    path = tmp_path / "own.md"  # any name will do
    path.write_text("abracadabra " * 20)
    settings = small(worlds=("text",), corpus=str(path))
    assert ways.experts(settings, "text").emission.shape == (2, 1, 5, 4)
    first = distillation.cells(settings)
    path.write_text("abracadabra, " * 20)  # another text is another block of work
    again = distillation.cells(small(worlds=("text",), corpus=str(path)))  # a file is read where flags are
    assert [cell["method"] for cell in again] == [cell["method"] for cell in first]
    assert not any(cell in first for cell in again)


@pytest.mark.parametrize(
    "flags",
    [
        ["--chunks=1,16"],
        ["--chunks=0"],
        ["--heads=3"],
        ["--heads=8"],
        ["--runs=1"],
        ["--rounds=100"],
        ["--lambdas=0,0.001"],
        ["--lambdas=1.5"],
        ["--divergences=jsd:1"],
        ["--divergences=backward"],
        ["--order=12"],
        ["--corpus=no/such.txt"],  # no world reads it
        ["--tokens=word"],
        ["--worlds=moon"],
    ],
    ids=lambda flags: flags[0],
)
def test_bad_flags_are_named(flags, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(distillation.CLAIM, ["distillation", "--preset=quick", f"--out={out}", *flags]) == 2
    message = capsys.readouterr().err
    assert flags[0].split("=")[0] in message
    assert message.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "flag"), [("", "corpus"), ("abcdefghij", "corpus"), ("ab" * 50, "vocabulary"), (None, "corpus")]
)
def test_bad_corpora_are_named(text, flag, tmp_path, capsys):
    """Empty, shorter than T, of too few symbols, not there."""
    path = tmp_path / "own.txt"
    if text is not None:
        path.write_text(text)
    flags = ["--worlds=text", f"--corpus={path}", f"--out={tmp_path / 'out'}"]
    assert execute(distillation.CLAIM, ["distillation", "--preset=quick", *flags]) == 2
    message = capsys.readouterr().err
    assert f"--{flag}" in message
    assert message.count("\n") == 1


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(distillation.CLAIM, directory) > 0
