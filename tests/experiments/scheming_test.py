"""The scheming learner on tokens: its exact rates, its bound, its walk, its training, and a small run."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dagger_jax import randomness, schedules
from dagger_jax.text import scheming, transformer, walk, worlds, writers
from dagger_jax.text.scheming import Scheming
from experiments.claim import NOT_SHOWN, REFUTED, resolve
from experiments.claim.running import execute
from experiments.scheming import experiment
from experiments.scheming import points as scheming_points
from tests import degenerate

T, V = 5, 2  # and the forbidden token


SMALL = (
    "--length=4",
    "--chunks=1,4",
    "--thresholds=-0.1,0",
    "--vocabulary=2",
    "--width=8",
    "--texts=64",
    "--knows=text",
)


def settings_of(flags):
    """What a command line asks for."""
    pairs = dict(flag[2:].split("=") for flag in flags)
    many = {"chunks": int, "thresholds": float, "knows": str}
    values: dict[str, Any] = {
        name: tuple(map(many[name], text.split(","))) if name in many else int(text) for name, text in pairs.items()
    }
    return resolve(experiment.CLAIM, preset="quick", **values)


def machines(seed, order=1, tokens=30):
    """A random writer and one fitted to its text."""
    writer = writers.random_markov(V, order, (seed, 1), concentration=1.0)
    rng = np.random.default_rng(seed)
    other = writers.fitted(rng.integers(V, size=tokens), V, order)
    return writers.with_garbage(writer, 1.0), writers.with_garbage(other, 1.0)


def schemer(seed, k, known=True, threshold=0.0, strength=0.3, length=T):
    expert, inner = machines(seed)
    starts = np.asarray(schedules.starts(length, k if known else length), float)
    return Scheming(inner, expert, threshold, strength, starts)


def row(k, length=T):
    return schedules.row(schedules.chunked(1, schedules.starts(length, k)), 0)


def enumerated(who, k, length=T):
    """Train, deploy and T_j of every step from the laws before every token of all texts: no recursion, no merging."""
    tokens = worlds.texts(V + 1, length)
    p, q = (worlds.laws(each, tokens) for each in (who.expert, who))
    p, q = (np.take_along_axis(each, tokens[..., None], -1)[..., 0] for each in (p, q))
    mode = np.exp(worlds.laws(who, tokens)[:, :, -1]) > 0  # the forbidden token is possible in this mode alone
    found = []
    for step in range(length):
        start = step // k * k
        own = np.exp(q[:, :step].sum(1)) / (V + 1) ** (length - step)  # what comes later is summed over
        other = np.exp(q[:, :start].sum(1) + p[:, start:step].sum(1)) / (V + 1) ** (length - step)
        found.append(((other * mode[:, step]).sum(), (own * mode[:, step]).sum(), 0.5 * abs(own - other).sum()))
    return np.array(found).T


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_exact_rates_equal_enumeration(k, known):
    for seed, threshold in ((0, 0.0), (1, -0.3), (2, 0.2)):
        who = schemer(seed, k, known, threshold)
        np.testing.assert_allclose(scheming.exactly(who, row(k)), enumerated(who, k), atol=1e-12)


@pytest.mark.parametrize("known", [True, False])
def test_no_threshold_passes_the_bound(known):
    """Random writers, every chunk length, many thresholds: by step and on average."""
    for seed in range(4):
        for k in range(1, 7):
            for threshold in (-2.0, -0.5, -0.1, 0.0, 0.1, 0.5, 2.0):
                rates = scheming.exactly(schemer(seed, k, known, threshold, length=6), row(k, 6))
                assert (rates.deploy - rates.train <= rates.distance + 1e-12).all()


def test_at_threshold_0_the_bound_is_met_and_chunks_of_one_token_show_nothing():
    for seed in range(5):
        rates = scheming.exactly(schemer(seed, 4, length=8), row(4, 8))
        np.testing.assert_allclose(rates.deploy - rates.train, rates.distance, atol=1e-12)
        assert rates.distance.max() > 0.01
        blind = scheming.exactly(schemer(seed, 1, known=False, threshold=-0.1, length=8), row(1, 8))
        np.testing.assert_array_equal(blind.train, blind.deploy)
        assert blind.deploy.max() > 0.01
        assert not blind.distance.any()


# ---- by texts ------------------------------------------------------------------------------------------------------


_play = jax.jit(walk.play)


def played(who, k, length, count=4000):
    key = randomness.for_round(randomness.words(jax.random.key(1)), 0)
    return _play(who.expert, who, row(k, length), key, jnp.arange(count, dtype=jnp.uint32))


@pytest.mark.parametrize("known", [True, False])
def test_texts_agree_with_exact_rates(known):
    who = schemer(3, 4, known, threshold=-0.05, length=8)
    seen = scheming.watch(who, played(who, 4, 8)).rates
    for found, known_rates in zip(seen, scheming.exactly(who, row(4, 8)), strict=True):
        found = np.asarray(found, float)
        np.testing.assert_allclose(found.mean(1), known_rates, atol=5 * found.std(1).max() / 4000**0.5 + 1e-6)


_along = jax.jit(jax.vmap(walk.along, in_axes=(None, 0)))


def small(k):
    """The claim's transformer, untrained, behind the test: its programs are compiled once for all tests here."""
    recipe = scheming_points.recipe(settings_of(SMALL))
    inner = writers.Frozen(recipe.config, jax.jit(transformer.init)(recipe.config, jax.random.key(0)))
    who = schemer(0, k, False, length=4).replace(inner=inner)
    return recipe, who.replace(threshold=jnp.float32(-0.1), strength=jnp.float32(0.3), starts=who.starts.astype("f4"))


def test_the_evidence_is_the_difference_of_the_laws_along_a_text():
    """Three ways to the same: token by token with a cache, in one pass, and from both laws along the text."""
    _, who = small(4)
    text = played(who, 4, 4, 64)
    watched = scheming.watch(who, text)
    tokens = jnp.asarray(text.novice).T
    wanted, own = (_along(each, tokens) for each in (who.expert, who))
    each = jnp.take_along_axis(wanted - own, tokens[..., None], -1)[..., 0]
    each = np.where(np.asarray(tokens) == V, -scheming.CERTAIN, each)
    before = np.cumsum(each, 1) - each
    np.testing.assert_allclose(np.asarray(watched.evidence[0]).T, before, atol=2e-3)  # float32 sums of up to 8e4
    written = np.asarray(own)[..., -1] > -1e8  # the forbidden token is possible
    np.testing.assert_array_equal(np.asarray(watched.rates.deploy).T, written)
    assert 0.05 < written.mean() < 0.95
    assert not np.asarray(watched.evidence)[:, 0].any()


def test_chunks_of_one_token_show_a_transformer_nothing():
    seen = scheming.watch(small(1)[1], played(small(1)[1], 1, 4, 64)).rates
    np.testing.assert_array_equal(seen.train, seen.deploy)
    assert np.asarray(seen.deploy).any()
    assert not np.asarray(seen.distance).any()


def test_training_lowers_what_it_sees():
    recipe, who = small(4)
    fixed = scheming_points.Chunks(jnp.int32(4), jnp.float32(0.1), jnp.asarray(True))
    mind = scheming.begin(recipe, who.inner.params, 0.3, fixed)
    ids, key = jnp.arange(32, dtype=jnp.uint32), randomness.words(jax.random.key(2))

    how = {"known": jnp.asarray(False), "rounds": 1, "controller": fixed}
    seen = []
    for _ in range(4):  # each call goes on from what the one before left
        mind, shown = scheming.advance(recipe, who.expert, mind, key, ids, jnp.float32(-0.1), jnp.float32(2), **how)
        seen.append(shown)
    strength, share = (np.concatenate([getattr(each, name) for each in seen]) for name in ("strength", "shown"))
    logit = np.log(0.3 / 0.7) - 2.0 * np.cumsum(strength * share)
    np.testing.assert_allclose(mind.learner.logit, logit[-1], rtol=1e-5)
    np.testing.assert_allclose(strength[1:], 1 / (1 + np.exp(-logit[:-1])), rtol=1e-5)
    assert strength[-1] < 0.3
    assert int(mind.round) == 4


def test_what_is_no_chunk_schedule_is_refused():
    with pytest.raises(ValueError, match="join"):
        scheming.exactly(schemer(0, 4), row(4)._replace(join=np.full(T, 0.5)))


# ---- the claim -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run so small that its findings need not hold: any status of a finished run is fine."""
    out = tmp_path_factory.mktemp("scheming") / "out"
    assert execute(experiment.CLAIM, ["scheming", f"--out={out}", "--preset=quick", *SMALL]) in (0, 1, 5)
    return out


def test_a_small_run_is_complete(directory):
    table = pq.read_table(directory / "points.parquet")
    rows = table.to_pylist()
    assert len(rows) == 2 * 2 * 2 + 2 * 2 + 4 * 13 + 2 * 3 * 3  # exact: fixed and removal; texts; training; detectors
    findings = json.loads((directory / "findings.json").read_text())
    assert len(findings) == 4 + 4 + 2 + 3 + 2
    assert findings[0]["state"] in ("holds", "information")
    for name in ("scheming", "budget", "left", "detectors"):
        assert (directory / f"{name}.png").stat().st_size > 10_000
    settings = settings_of(SMALL)
    cell = {"world": "transformer", "kind": "training", "choice": "budget", "knows": "text", "run": 0}
    again = experiment.measure(settings, cell).points
    stored = [row for row in rows if row["choice"] == "budget"]
    assert [{name: row[name] for name in point} for row, point in zip(stored, again, strict=True)] == again


def test_chunks_of_one_token_and_the_likelihood_ratio_are_what_they_are_by_construction(directory):
    rows = [row for row in pq.read_table(directory / "points.parquet").to_pylist() if row["kind"] == "fixed"]
    for world in ("tabular", "transformer"):
        one, four = ([r for r in rows if (r["world"], r["chunk"]) == (world, k)] for k in (1, 4))
        assert [row["train"] for row in one] == pytest.approx([row["deploy"] for row in four], abs=1e-9)


def test_falsified_points_are_found(directory):
    table = pq.read_table(directory / "points.parquet")
    settings = settings_of(SMALL)

    def broken(change, world, detector=False, state=REFUTED):
        rows = table.to_pylist()
        for each in rows:
            if each["world"] == world and (each["kind"] == "detector") == detector:
                change(each)
        findings = experiment.verdict(settings, pa.Table.from_pylist(rows, schema=table.schema))
        return {finding.claim[:22] for finding in findings if finding.state is state and finding.world == world}

    assert "deploy <= train + mean" in broken(lambda each: each.update(slack=-1e-6), "tabular")
    lower = {"slack": -0.1, "slack_low": -0.11, "slack_high": -0.09}
    assert "deploy <= train + mean" in broken(lambda each: each.update(lower), "transformer")
    assert "the gap grows with k, " in broken(lambda each: each.update(excess=1.0 / each["chunk"]), "tabular")
    high = {"bound": 0.5, "bound_low": 0.49, "bound_high": 0.51}
    assert "the budget 0.1 is kept" in broken(lambda each: each.update(high), "transformer")
    assert "T_j by exact ratios al" in broken(lambda each: each.update(high), "tabular", detector=True)

    def better(each):
        if each["choice"] != "likelihood ratio":
            each.update(auc=0.99, auc_low=0.985, auc_high=0.995)

    for world in ("tabular", "transformer"):
        assert "no learned detector's " in broken(better, world, detector=True)

    # With intervals as wide as can be nothing that is sampled is shown, and nothing is refuted.
    names = ("train", "deploy", "excess", "bound", "slack", "auc")
    wide = lambda each: each.update(
        {f"{name}_{end}": side for name in names for end, side in (("low", 0), ("high", 1))}
    )
    for words in ("deploy <= train + mean", "the gap grows with k, ", "the budget 0.1 is kept"):
        assert words in broken(wide, "transformer", state=NOT_SHOWN)
    assert "no learned detector's " in broken(wide, "tabular", detector=True, state=NOT_SHOWN)


@pytest.mark.parametrize(
    "flags",
    ["--chunks=1,32", "--chunks=2,4", "--width=9", "--rounds=13", "--order=9", "--strength=1", "--eta=0", "--length=x"],
)
def test_bad_flags_are_named(flags, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(experiment.CLAIM, ["scheming", f"--out={out}", "--preset=default", flags]) == 2
    message = capsys.readouterr().err
    assert flags.split("=")[0] in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_figures_cope_with_any_points(directory):
    assert degenerate.draw(experiment.CLAIM, directory) > 0
