"""The cost of generation: its programs, its fits, a tiny run of the whole binary, and points that contradict it."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax import cost
from dagger_jax.text import transformer
from experiments.claim import HOLDS, INFORMATION, NOT_SHOWN, REFUTED, options
from experiments.claim.running import execute
from experiments.kv_cost import experiment as kv_cost
from experiments.kv_cost import findings as kv_cost_findings
from tests import degenerate

SMALL = ("--lengths=8,16,24,32", "--widths=64", "--layers=1", "--heads=1", "--vocabulary=16", "--runs=6")
SETTINGS = options.resolve(
    kv_cost.CLAIM, "quick", lengths=(8, 16, 24, 32), widths=(64,), layers=(1,), vocabulary=16, runs=6
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run so small that its findings need not hold: any status of a finished run is fine."""
    out = tmp_path_factory.mktemp("kv") / "out"
    assert execute(kv_cost.CLAIM, ["kv_cost", f"--out={out}", "--preset=quick", *SMALL]) in (0, 1, 5)
    return out


def spoiled(table, seconds, noise=0.01):
    """The points with times of our own: seconds(way, n) of a token, by a factor up to 1 + noise."""
    rows, rng = table.to_pylist(), np.random.default_rng(0)
    for row in rows:
        row["token_seconds"] = seconds(row["algorithm"], row["horizon"]) * (1 + noise * rng.random())
    for row in rows:
        own = [other for other in rows if (other["algorithm"], other["run"]) == (row["algorithm"], row["run"])]
        known = sorted((other["horizon"], other["token_seconds"]) for other in own)
        steps = [(n - before, taken) for (before, _), (n, taken) in zip([(0, 0.0), *known[:-1]], known, strict=True)]
        row["sequence_seconds"] = sum(
            count * taken for count, taken in steps[: len([n for n, _ in known if n <= row["horizon"]])]
        )
    return pa.Table.from_pylist(rows, schema=table.schema)


def held(table):
    """The states of findings, by words of what they say."""
    words = ("a token of a text", "n tokens cost", "for information", "grows faster", "saves time", "at once, by")
    words += ("XLA counts", "XLA moves")
    found = kv_cost_findings.verdict(SETTINGS, table)
    return {word: next(each.state for each in found if word in each.claim) for word in words}


def test_points_account_for_both_ways(directory):
    rows = pq.read_table(directory / "points.parquet").to_pylist()
    assert len(rows) == 3 * 4 * 6
    config = transformer.Config(16, 32, width=64, layers=1, heads=1)
    for row in rows:
        n, known = row["horizon"], range(8, row["horizon"] + 1, 8)
        token, text = {
            "cache": (cost.decode(config, n + 1), cost.sequence(config, n, capacities=known)),
            "no cache": (cost.full(config, n), cost.sequence(config, n, cached=False, capacities=known)),
            "prefill": (cost.prefill(config, n).times(1 / n), cost.prefill(config, n)),
        }[row["algorithm"]]
        assert (row["token_flops"], row["token_bytes"], row["sequence_flops"]) == (*token, text.flops)
        assert row["xla_flops"] == pytest.approx(row["token_flops"], rel=0.2)
        assert row["xla_bytes"] >= row["token_bytes"]
        assert row["token_seconds"] > 0
    for way in kv_cost.WAYS:
        for run in range(6):
            own = [row for row in rows if row["algorithm"] == way and row["run"] == run]
            blocks = np.cumsum([8 * row["token_seconds"] for row in own])
            whole = [row["horizon"] * row["token_seconds"] for row in own]
            np.testing.assert_allclose(
                whole if way == "prefill" else blocks, [row["sequence_seconds"] for row in own], rtol=1e-12
            )


def test_results_are_complete(directory):
    assert len(json.loads((directory / "findings.json").read_text())) == 8
    for name in ("token", "sequence", "achieved"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
    costs = list(csv.DictReader((directory / "costs.csv").read_text().splitlines()))
    assert [int(row["n"]) for row in costs] == [8, 16, 24, 32] * 3
    (fitted,) = csv.DictReader((directory / "fits.csv").read_text().splitlines())
    assert int(fitted["parameters"]) == cost.parameters(transformer.Config(16, 32, width=64, layers=1, heads=1))


def test_findings_hold_where_the_points_say_so_and_fail_where_they_do_not(directory):
    table = pq.read_table(directory / "points.parquet")
    taken = {
        "cache": lambda n: 1e-3 + 1e-4 * n,
        "no cache": lambda n: 1e-3 * n + 1e-4 * n**2,
        "prefill": lambda n: 1e-4,
    }
    good = spoiled(table, lambda way, n: taken[way](n))
    told = {"for information": INFORMATION, "XLA counts": HOLDS, "XLA moves": HOLDS}
    assert held(good) == dict.fromkeys(told | held(good), HOLDS) | told
    slower = {"cache": lambda n: 1e-3 / (1 + n), "no cache": lambda n: 1e-4 / n**2, "prefill": lambda n: 1.0}
    wrong = held(spoiled(table, lambda way, n: slower[way](n)))  # a token gets cheaper, and the cache is no help
    assert wrong == dict.fromkeys(wrong, REFUTED) | told
    # On a busy machine times differ by a factor of hundreds from one repeat to the next: that is no contradiction.
    busy = held(spoiled(table, lambda way, n: taken[way](n), noise=1000.0))
    assert busy["a token of a text"] is NOT_SHOWN
    assert REFUTED not in busy.values()
    rows = [row | {"xla_flops": 1.2 * row["token_flops"]} for row in good.to_pylist()]
    assert held(pa.Table.from_pylist(rows, schema=table.schema))["XLA counts"] is REFUTED
    rows = [row | {"xla_bytes": 2 * row["token_bytes"]} for row in good.to_pylist()]  # as where caches are copied
    assert held(pa.Table.from_pylist(rows, schema=table.schema))["XLA moves"] is REFUTED
    rows = [row | {"xla_flops": None, "xla_bytes": None} for row in good.to_pylist()]
    silent = held(pa.Table.from_pylist(rows, schema=table.schema))  # nothing is told, nothing is claimed
    assert silent["XLA counts"] is silent["XLA moves"] is INFORMATION


def test_intervals_of_medians_are_exact_for_any_law():
    """Of 9 repeats the second least and greatest: 96.1%; 4,000 draws of a skewed law, 4 standard errors are 1.2%."""
    rng = np.random.default_rng(0)
    ends = [kv_cost_findings.interval(rng.pareto(1.0, 9))[1:] for _ in range(4000)]
    covered = np.mean([low <= 1.0 <= high for low, high in ends])  # 1 is the median
    assert abs(covered - (1 - 20 / 512)) < 0.012
    assert kv_cost_findings.interval(np.arange(9.0)) == (4.0, 1.0, 7.0)
    assert kv_cost_findings.interval(np.arange(5.0)) == (2.0, -np.inf, np.inf)  # too few


def test_all_programs_take_turns():
    """What is compared is called again and again in between: forwards, backwards, ..."""
    seen = []
    named = {("cache", n): lambda n=n: seen.append(n) for n in (1, 2, 3)}
    seconds = kv_cost.once(named)
    assert seen == [1, 2, 3, 3, 2, 1] * (kv_cost.SWEEPS // 2)
    assert all(0 < value < 1 for value in seconds.values())


def test_the_fit_finds_the_coefficients():
    n = np.array([64, 128, 256, 512.0])
    np.testing.assert_allclose(kv_cost_findings.fit(n, 3e-3 * n + 2e-5 * n**2), [3e-3, 2e-5])
    several = kv_cost_findings.fit(n, np.stack([n, n**2, n - n**2 / 1024]))
    np.testing.assert_allclose(several, [[1, 0], [0, 1], [1, -1 / 1024]], atol=1e-9)
    np.testing.assert_allclose(
        kv_cost_findings.overtakes(np.array([[3e-3, 2e-5], [1, 0], [1, -1], [-1, 2]])), [150, np.inf, np.inf, 0]
    )
    assert kv_cost_findings.slope(n, 5 * n**1.5) == pytest.approx(1.5)


def test_a_growing_cache_writes_what_full_passes_write():
    """The timed programs write the same text: capacities 8 and 16 against one full pass a token."""
    settings = options.resolve(kv_cost.CLAIM, "quick", lengths=(8, 16), vocabulary=16)
    cell = {"width": 64, "layers": 1}
    config = kv_cost.config_of(settings, cell, 16)
    params = jax.jit(transformer.init)(config, jax.random.key(3))
    ready = kv_cost.programs(settings, cell, params)
    cache, token = kv_cost.nothing(kv_cost.config_of(settings, cell, 8), 1), jnp.full(1, config.vocabulary)
    full, text = jax.jit(transformer.full), jnp.zeros(16, int)
    for length, each in ready.items():
        cache, token = each.cached(params, cache, token)
        for position in range(length - 8, length):
            text = text.at[position].set(full(config, params, text)[position].argmax())
        assert token[0] == text[length - 1]
        assert each.plain(params, text[None, :length])[0] == text[length - 1]
        read, last = each.prefill(params, text[None, :length])
        assert last[0] == text[length - 1]
        # Of order 1, by sums in another order, in float32.
        for ours, theirs in zip(jax.tree.leaves(read), jax.tree.leaves(cache), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)
    assert jax.tree.leaves(cache)[0].shape[0] == 1


@pytest.mark.parametrize(
    "flag",
    [
        "--lengths=8,16,32",
        "--lengths=8,32,16,64",
        "--lengths=1,16,32,64",
        "--widths=0",
        "--layers=0",
        "--heads=3",
        "--heads=128",
        "--vocabulary=1",
        "--batch=0",
        "--runs=5",
        "--dtype=float64",
    ],
)
def test_bad_flags_are_named(flag, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(kv_cost.CLAIM, ["kv_cost", f"--out={out}", "--preset=quick", flag]) == 2
    message = capsys.readouterr().err
    assert flag.split("=")[0] in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(kv_cost.CLAIM, directory) > 0
