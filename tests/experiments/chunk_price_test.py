"""The price of a chunk: closed forms, one trace for thousands of schedules, and a small run of the whole binary."""

import json

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from dagger_jax import schedules
from dagger_jax.tabular import gallery, oracle
from experiments import claim
from experiments.chunk_price import cases
from experiments.chunk_price import experiment as chunk_price
from experiments.claim.running import execute
from tests import degenerate

SMALL = ("--horizons=8,16,32", "--chunks=1,2,4", "--alphas=0,0.5,1", "--eps=0.001", "--u=1,2,4", "--runs=16")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("price") / "out"
    assert execute(chunk_price.CLAIM, ["chunk_price", f"--out={out}", "--preset=quick", *SMALL]) == 0
    return out


def test_every_point_is_within_its_bound_and_parts_are_complete(directory):
    rows = pq.read_table(directory / "points.parquet").to_pylist()
    assert {row["part"] for row in rows} == {"equal chunks", "random lengths", "geometric", "fitted"}
    assert all(row["gap"] <= row["bound"] + 1e-9 for row in rows)
    exactly = [row for row in rows if row["learner"] == "oracle"]
    np.testing.assert_allclose([row["training_error"] for row in exactly], 1e-3, rtol=1e-9)
    # At T = 32, its longest horizon, chunk_reset has every length in three ways; the cliff in one.
    assert sum(row["world"] == "chunk_reset" and row["law"] == "equal" and row["horizon"] == 32 for row in rows) == 96
    assert sum(row["part"] == "random lengths" for row in rows) >= 2048
    assert sum(row["part"] == "fitted" for row in rows) == 3 * 16


def test_results_are_complete(directory):
    findings = json.loads((directory / "findings.json").read_text())
    assert all(finding["state"] in ("holds", "information") for finding in findings)
    exponents = {f["expected"]: f["observed"] for f in findings if f["claim"].startswith("the dial")}
    assert set(exponents) == {1, 1.5, 2}
    assert exponents[1] == pytest.approx(1, abs=1e-9)  # k = 1 and k = T need no rounding
    assert exponents[2] == pytest.approx(2, abs=1e-9)
    for name in ("gap_against_length", "dial", "random_lengths", "reset_variant"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
        assert (directory / f"{name}.svg").stat().st_size > 10_000


def test_wrong_points_are_refuted_and_wide_ones_show_nothing(directory):
    table = pq.read_table(directory / "points.parquet")
    sizes = {"horizons": (8, 16, 32), "chunks": (1, 2, 4), "alphas": (0.0, 0.5, 1.0), "u": (1, 2, 4)}
    settings = claim.resolve(chunk_price.CLAIM, "quick", eps=0.001, runs=16, **sizes)

    def states(words, change):
        rows = [row | change(row) for row in table.to_pylist()]
        found = chunk_price.verdict(settings, table.from_pylist(rows, table.schema))
        return {each.state for each in found if words in each.claim}

    more = lambda factor: lambda row: {"gap": factor(row) * row["gap"]}
    assert states("gap = ", more(lambda row: 1.5)) == {claim.REFUTED}
    assert states("no gap is above", lambda row: {"bound": 0.5 * row["gap"]}) == {claim.REFUTED}
    steep = more(lambda row: row["horizon"] ** 1.0)
    assert claim.REFUTED in states("grows linearly in T", steep)
    assert states("proportional to k + 1, to a tenth", more(lambda row: row["chunk"] or 1)) == {claim.REFUTED}
    # Half of the runs are flat in k, half grow with (k + 1)^2: their mean looks linear, but who knows.
    bent = lambda row: row["chunk"] + 1 if row["run"] % 2 else 9 / (row["chunk"] + 1)
    wide = more(lambda row: bent(row) if row["part"] == "fitted" else 1)
    assert states("proportional to k + 1, to a tenth", wide) == {claim.NOT_SHOWN}
    alone = [row for row in table.to_pylist() if row["part"] != "random lengths" or row["law"] == "random cuts"]
    firsts: dict[tuple, dict] = {}
    for row in table.to_pylist():
        if row["part"] == "random lengths":
            firsts.setdefault((row["law"], row["chunk"]), row)
    found = chunk_price.verdict(settings, table.from_pylist([*alone, *firsts.values()], table.schema))
    assert {each.state for each in found if "variance hurts" in each.claim} == {claim.NOT_SHOWN}
    assert {each.state for each in found if "independent lengths" in each.claim} == {claim.NOT_SHOWN}


def test_thousands_of_schedules_are_one_trace(monkeypatch):
    traces, build = [], oracle.policy
    monkeypatch.setattr(oracle, "policy", lambda *args: traces.append(1) or build(*args))
    horizon, count = 13, 2500  # a horizon of its own, that no other test has compiled
    problem, rng = gallery.chunk_reset(horizon), np.random.default_rng(0)
    for resets in (np.zeros(count, bool), rng.random(count) < 0.5):  # and both directions mixed
        starts = rng.random((count, horizon)) < rng.random((count, 1))
        starts[:, 0] = True
        found = cases.price(problem, starts, resets, np.full(starts.shape, 1e-3))
        assert len(np.unique(starts, axis=0)) > 1000
        chunked = [gallery.chunk_reset_gap(cases.lengths(row), 1e-3) for row in starts[~resets]]
        np.testing.assert_allclose(found.gap[~resets], chunked, rtol=1e-9)
        assert (found.gap <= found.bound + 1e-9).all()
    assert len(traces) == 1


def test_closed_forms_by_hand():
    # Two chunks of 3 and one of 2, error 0.01 a step: first: 3 x 3 + 3 x 3 + 2 x 2; even, to first order: 6 + 6 + 3.
    starts = np.asarray(schedules.partition(8, [3, 3, 2]))
    assert cases.lengths(starts).tolist() == [3, 3, 2]
    assert sorted(cases.equal(8, 3)) == [2, 3, 3]
    even = np.full(8, 0.01)
    first = oracle.placement(starts, 0.01, "first")
    assert cases.closed_form("chunk_reset", ("chunked", "first"), starts, first, 0.01) == pytest.approx(0.22)
    assert cases.small_error("chunk_reset", "chunked", starts, first) == pytest.approx(0.22)
    assert cases.small_error("chunk_reset", "chunked", starts, even) == pytest.approx(0.15)
    assert cases.small_error("debt", "chunked", starts, even, u=3) == pytest.approx(
        0.01 * (8 + 6 + 3 + 5 + 4 + 3 + 2 + 1)
    )
    assert cases.small_error("cliff", "chunked", starts, even) == pytest.approx(0.36)
    last = oracle.placement(schedules.starts(8, 4), 0.01, "last")
    assert cases.small_error("chunk_reset", "reset", starts, last) == pytest.approx(0.01 * (8 + 8 * 4 / 2))


def test_expected_gap_of_independent_lengths():
    """The renewal recursion against every sequence of lengths 1 and 3, on four steps."""
    law = np.array([0.6, 0.0, 0.4])
    sequences = {(3, 1): 0.4, (1, 3): 0.6 * 0.4}
    sequences |= {(1, 1, 2): 0.6**2 * 0.4, (1, 1, 1, 1): 0.6**3}  # what is beyond step 4 is cut
    expected = sum(chance * gallery.chunk_reset_gap(np.array(pieces), 0.01) for pieces, chance in sequences.items())
    assert sum(sequences.values()) == pytest.approx(1)
    assert cases.renewal(4, law, 0.01) == pytest.approx(expected, rel=1e-9)
    assert all(law @ np.arange(1, len(law) + 1) == pytest.approx(4, rel=0.01) for law in cases.laws(4).values())


def test_coin_chunks_attain_their_bound():
    """Monte Carlo over coins, of the learner that the closed form speaks of: not the recursion that it came from."""
    (point,) = cases.geometric(16, [4], 0.004)
    rng, episodes, mean = np.random.default_rng(0), 400_000, 4
    bad, cost, law = np.zeros(episodes, bool), 0, 0.0
    for _ in range(16):
        # B has training mass p P(B): there the learner errs for certain, in G with what is left of its error.
        falls = (0.004 - law / mean) / (1 - law / mean)
        bad = bad | (rng.random(episodes) < falls)
        law = law + (1 - law) * falls
        cost += bad.mean()
    assert point["gap"] == pytest.approx(cost, rel=0.02)
    assert 0.99 * point["bound"] < point["gap"] <= point["bound"]
    assert point["training_error"] == pytest.approx(0.004, rel=1e-9)


@pytest.mark.parametrize(
    "flag", ["--chunks=64", "--eps=0", "--eps=0.5", "--alphas=1.5", "--u=0", "--worlds=moon", "--horizons=0"]
)
def test_bad_flags_are_named(flag, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(chunk_price.CLAIM, ["chunk_price", f"--out={out}", "--preset=quick", flag]) == 2
    message = capsys.readouterr().err
    assert flag.split("=")[0] in message
    assert "allowed" in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_same_settings_and_block_give_the_same_bits():
    settings = claim.resolve(chunk_price.CLAIM, "quick", horizons=(16,), chunks=(1, 2), partitions=32)
    (cell,) = [cell for cell in chunk_price.cells(settings) if cell["part"] == "random lengths"]
    once, again = (chunk_price.measure(settings, cell).points for _ in range(2))
    assert jax.tree.all(jax.tree.map(lambda one, other: one == other, once, again))


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(chunk_price.CLAIM, directory) > 0
