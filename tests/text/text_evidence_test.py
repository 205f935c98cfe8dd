"""Evidence of text: exact against the enumeration of all texts, sampled against exact within its intervals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import evidence as tabular_evidence
from dagger_jax import randomness, schedules
from dagger_jax.detect import ratio
from dagger_jax.tabular import exact
from dagger_jax.text import evidence, transformer, walk, worlds, writers

T, V, B = 6, 3, 4096
EXPERT = writers.random_markov(V, 2, 1)
LEARNER = writers.random_markov(V, 1, 2, 2.0)
TEXTS = worlds.texts(V, T)
KEY = randomness.for_round(randomness.words(jax.random.key(0)), 0)
IDS = jnp.arange(B, dtype=jnp.uint32)
CHUNKS = schedules.row(schedules.chunked(1, schedules.starts(T, 3)), 0)
MOVES = {"join": np.array([1, 0.3, 0, 0.8, 0.5, 0]), "beta": np.array([0.5, 0, 0.2, 0, 0.9, 0])}
LABELS = {"label_guide": np.array([1, 1, 0, 2, 1, 0]), "label_novice": np.array([0, 1, 1, 1, 1, 0])}
COINS = schedules.row(schedules.table(1, T, **MOVES, **LABELS), 0)


def over_time(machine, seed):
    """A machine whose law changes at every step."""
    shape = (T, *np.shape(machine.following))
    return writers.Machine(
        np.random.default_rng(seed).dirichlet(np.ones(V), shape[:-1]), machine.following, machine.first
    )


PAIRS = {
    "markov": (EXPERT, LEARNER),
    "over time": (over_time(EXPERT, 3), over_time(LEARNER, 4)),
    "one of both": (over_time(LEARNER, 5), EXPERT),
}
EVERY = pytest.mark.parametrize("name", PAIRS)


def laws_of(writer):
    """Of all texts: the law before each token [M, T, V], and the text's own probability [M]."""
    law = np.exp(worlds.laws(writer, TEXTS))
    return law, np.take_along_axis(law, TEXTS[..., None], -1)[..., 0].prod(-1)


@EVERY
def test_exact_evidence_is_the_enumeration_of_all_texts(name):
    """729 texts, each with its probability. Tolerance: the sum of some 10^3 products in float64."""
    (p, all_p), (q, all_q) = map(laws_of, PAIRS[name])
    found = evidence.measure(*PAIRS[name], CHUNKS, "wrong")
    kl = (p * np.log(p / q)).sum(-1)
    wanted = {"kl": kl, "tv": 0.5 * abs(p - q).sum(-1), "nats": -(p * np.log(q)).sum(-1)}
    for own, weights, acts in ((found.own, all_q, q), (found.expert, all_p, p)):
        for each, values in (wanted | {"cost": (acts * (1 - p)).sum(-1)}).items():
            np.testing.assert_allclose(getattr(own, each), weights @ values, rtol=1e-11, err_msg=each)
    assert found.expert.kl.sum() == pytest.approx((all_p * np.log(all_p / all_q)).sum(), rel=1e-11)  # the chain rule


@EVERY
def test_the_variation_of_whole_texts_is_that_of_the_leaves_of_their_tree(name):
    """A product along each text, against the exact interpreter's forward recursion over prefixes; float64."""
    expert, learner = PAIRS[name]
    tree = worlds.prefix_tree(expert, T)
    policies = tree.expert, np.asarray(worlds.unrolled(learner, T).emission)
    own, other = (np.asarray(exact.deploy(tree, policy).last, np.float64) for policy in policies)
    wanted = 0.5 * abs(own - other).sum()
    assert wanted > 0.1
    assert evidence.text_variation(expert, learner, T) == pytest.approx(wanted, rel=1e-11)


@EVERY
@pytest.mark.parametrize("row", [CHUNKS, COINS], ids=["chunks", "coins"])
def test_the_training_law_is_that_of_the_tree_of_prefixes(name, row):
    expert, learner = PAIRS[name]
    tree, policy = worlds.prefix_tree(expert, T), np.asarray(worlds.unrolled(learner, T).emission)
    laws = exact.play(tree, policy, row)
    shares = schedules.training_weights(row)
    law = np.asarray(shares[0])[:, None] * laws.novice + np.asarray(shares[1])[:, None] * laws.guide
    found = evidence.measure(expert, learner, row).training
    p = np.asarray(tree.expert)
    kl = (p * np.log(p / policy)).sum(-1)
    np.testing.assert_allclose(found.tv, (law * 0.5 * abs(p - policy).sum(-1)).sum(-1), rtol=1e-6)
    np.testing.assert_allclose(found.kl, (law * kl).sum(-1), rtol=1e-6)  # shares are float32
    assert (found.tv > 0).tolist() == (np.asarray(row.label_guide + row.label_novice) > 0).tolist()


def test_it_is_the_tabular_evidence():
    """The same numbers from two engines: dense transitions over states there, pairs of machine states here."""
    problem = worlds.problem(EXPERT, T, 1, "wrong")
    policy = np.asarray(LEARNER.emission)[:, problem.world.observation]  # the last token is the learner's state
    row = CHUNKS._replace(beta=jnp.full(T, 0.25))
    wanted = tabular_evidence.measure(problem, policy, row, tabular_evidence.constants(problem))
    found = evidence.measure(EXPERT, worlds.as_machine(problem, policy), row, "wrong")
    np.testing.assert_allclose(found.training.tv, wanted.eps, rtol=1e-12)
    np.testing.assert_allclose(found.own.tv, wanted.eta, rtol=1e-12)
    assert (found.own.cost - found.expert.cost).sum() == pytest.approx(wanted.gap, rel=1e-11)
    np.testing.assert_allclose(evidence.measure(EXPERT, LEARNER, row, "wrong"), found, rtol=1e-12)


@functools.cache
def sampled(name):
    return evidence.sampled(*PAIRS[name], COINS if name == "over time" else CHUNKS, KEY, IDS, "wrong")


@pytest.mark.parametrize("name", ["markov", "over time"])
def test_sampled_evidence_is_exact_within_its_errors(name):
    """72 means: the largest of so many standard scores is above 4.5 once in 2,000; rounding: float32 logarithms."""
    row = COINS if name == "over time" else CHUNKS
    wanted, seen = evidence.measure(*PAIRS[name], row, "wrong"), sampled(name)
    for got, want, error in zip(*map(jax.tree.leaves, (seen.mean, wanted, seen.error)), strict=True):
        assert (abs(got - want) <= 4.5 * error + 2e-6).all()
        assert (error < 0.03).all()


def test_sampled_excess_is_exact_within_its_interval():
    """At all lengths, at 99.9 %, with ExAccErr of both signs far from 0; and the interval is not wide."""
    wanted = evidence.measure(EXPERT, LEARNER, CHUNKS)
    true = evidence.excess(wanted.own.kl, wanted.expert.kl)
    assert not true.error.any()
    np.testing.assert_allclose(true.eps, np.cumsum(wanted.expert.kl) / np.arange(1, T + 1))
    walks = sampled("markov").alone.walks
    seen = evidence.excess(walks.novice.kl, walks.guide.kl)
    low, high = seen.interval(0.999)
    assert ((low - 1e-3 <= true.percent) & (true.percent <= high + 1e-3)).all()  # rounding, float32
    assert abs(true.percent).max() > 10 > 4 * seen.error.max()


def test_the_interval_of_excess_covers():
    """128 batches of 32 texts: the 90 % interval covers 104 to 126 times, but for 1 case in 1,000 of a binomial law.

    The delta method is approximate at 32 texts, hence the lower end at 85 %.
    """
    wanted = evidence.measure(EXPERT, LEARNER, CHUNKS)
    true = evidence.excess(wanted.own.kl, wanted.expert.kl).percent[-1]
    walks = sampled("markov").alone.walks
    batches = [
        evidence.excess(*(np.asarray(w.kl)[:, i : i + 32] for w in walks)).interval(0.9) for i in range(0, B, 32)
    ]
    covered = sum(low[-1] <= true <= high[-1] for low, high in batches)
    assert stats.binom.ppf(1e-3, len(batches), 0.85) <= covered <= stats.binom.ppf(1 - 1e-3, len(batches), 0.9)


def test_tokens_without_memory_accumulate_nothing():
    """Independent tokens: whose prefixes they are does not matter, ExAccErr is 0 at every length."""
    found = evidence.measure(writers.random_markov(V, 0, 1), writers.random_markov(V, 0, 2), CHUNKS)
    np.testing.assert_allclose(evidence.excess(found.own.kl, found.expert.kl).percent, 0, atol=1e-10)
    assert found.own.kl.min() > 0.01
    assert np.isnan(evidence.excess(np.zeros(T), np.zeros(T)).percent).all()  # 0 / 0


def test_garbage_accumulates_where_it_is_not_left():
    """R(l) is quadratic for u = T and linear for u of order 1, for a learner that is lost in garbage.

    It slips once in 400 tokens. In garbage, which the expert's texts never show, it is uniform, and so soon out of it
    where there is a way.
    """
    horizon, growth, percent = 64, [], []
    for recovers in (0.0, 0.1, 1.0):
        expert = writers.with_garbage(writers.random_markov(V, 1, 3), recovers)
        law = 0.99 * np.asarray(expert.emission) + 0.01 / (V + 1)
        law[:, -1] = 1 / (V + 1)
        found = evidence.measure(expert, writers.Machine(law, expert.following, expert.first), evidence.alone(horizon))
        seen = evidence.excess(found.own.kl, found.expert.kl)
        growth.append(seen.regret[-1] / seen.regret[horizon // 2 - 1])
        percent.append(seen.percent[-1])
    assert growth[0] > 3.5
    assert growth[2] == pytest.approx(2, abs=0.05)
    assert percent[0] > 10 * percent[1] > 0


def test_detection_by_offset_covers_the_exact_distances():
    """Chunks of 3: T_1, T_2 and the AUCs, means over both chunks of exact laws of the ratio. 99.9 % intervals."""
    problem = worlds.problem(EXPERT, T, 1)
    policy = np.asarray(LEARNER.emission)[:, problem.world.observation]
    laws = exact.play(problem, policy, CHUNKS)
    each = [ratio.ratio_laws(problem, policy, laws.novice[start], start, 2) for start in (0, 3)]
    found = evidence.by_offset(CHUNKS, sampled("markov").row.ratio, 0.999)
    assert found.chunks.tolist() == [2, 2, 2, 0, 0, 0]
    assert (found.distance.value[0], found.auc.value[0]) == (0.0, 0.5)
    for j in (1, 2):
        exactly = [ratio.distances(chunk[j - 1]) for chunk in each]
        for band, name in ((found.distance, "total_variation"), (found.auc, "auc")):
            assert band.low[j] <= np.mean([getattr(one, name) for one in exactly]) <= band.high[j]
            assert band.high[j] - band.low[j] < 0.05
    with pytest.raises(ValueError, match="beta"):
        evidence.by_offset(COINS, sampled("markov").row.ratio)


def test_perplexity_of_the_writers_text():
    text = walk.play(EXPERT, LEARNER, evidence.alone(T), KEY, IDS)
    wanted = np.exp(evidence.measure(EXPERT, LEARNER, CHUNKS).expert.nats.mean())
    found = evidence.perplexity(LEARNER, np.asarray(text.guide).T, 0.999)
    assert found.low < wanted < found.high < 1.05 * found.low
    assert evidence.perplexity(writers.markov(np.full(V, 1 / V), 0), TEXTS).value == pytest.approx(V, rel=1e-6)


def test_models_are_sampled_like_machines():
    """A transformer as the learner, against itself unrolled into a machine of all prefixes, and a hidden expert."""
    config = transformer.Config(V, 4, width=8, layers=1, heads=2)
    frozen = writers.Frozen(config, jax.jit(transformer.init, static_argnums=0)(config, jax.random.key(3)))
    hidden = writers.Hidden(
        np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([[0.8, 0.1, 0.1], [0.1, 0.3, 0.6]]), np.ones(2) / 2
    )
    row = schedules.row(schedules.chunked(1, schedules.starts(4, 2)), 0)
    wanted = evidence.measure(worlds.unrolled(hidden, 4), worlds.unrolled(frozen, 4), row)
    seen = evidence.sampled(hidden, frozen, row, KEY, IDS[:512])
    for got, want, error in zip(*map(jax.tree.leaves, (seen.mean, wanted, seen.error)), strict=True):
        assert (abs(got - want) <= 4.5 * error + 5e-6).all()
    with pytest.raises(ValueError, match="machine's states"):
        evidence.sampled(hidden, frozen, row, KEY, IDS[:8], "wrong")


def test_refusals():
    other = writers.random_markov(V + 1, 1)
    for call, message in (
        (lambda: evidence.measure(EXPERT, other, CHUNKS), "expert writes V = 3 tokens, the learner V = 4"),
        (lambda: evidence.measure(EXPERT, over_time(LEARNER, 1), evidence.alone(T + 1)), "for 6 steps, .* 7 tokens"),
        (lambda: evidence.text_variation(other, EXPERT, 2), "expert writes V = 4 tokens"),
        (lambda: evidence.sampled(EXPERT, LEARNER, CHUNKS, KEY, IDS[:1]), "at least 2 texts"),
        (lambda: evidence.measure(EXPERT, LEARNER, CHUNKS, "price"), "cost must be one of"),
        (lambda: evidence.text_variation(EXPERT, LEARNER, 40), "too many to enumerate"),
        (lambda: evidence.perplexity(LEARNER, TEXTS[0]), r"\[B, T\]"),
        (lambda: evidence.perplexity(LEARNER, TEXTS + 1), r"0\.\.2, got 1\.\.3"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
