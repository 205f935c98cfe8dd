"""Estimates from roll-outs: the ratios are those of the trace, the intervals hold what they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import detect, randomness, schedules
from dagger_jax.tabular import exact, gallery, rollout

T, S, A, FIRST = 6, 3, 2, 2
LENGTH = T - FIRST
NAMES = detect.Detectability._fields
trace = jax.jit(rollout.trace)


def case(temperature, share, seed=1):
    """A random world, a learner that mixes a random policy into the expert's, one chunk after a roll-in."""
    problem = gallery.random_mdp(T, S, A, seed=seed, temperature=temperature)
    other = np.random.default_rng(seed).dirichlet(np.ones(A), (T, S))
    policy = (1 - share) * np.asarray(problem.expert) + share * other
    return problem, policy, schedules.row(schedules.chunked(1, schedules.partition(T, [FIRST, LENGTH])), 0)


def walked(problem, policy, row, episodes, seed=0):
    key = randomness.for_round(randomness.words(jax.random.key(seed)), 0)
    return trace(rollout.tables(problem), policy, row, key, jnp.arange(episodes, dtype=jnp.uint32))


@functools.cache
def sampled(temperature, share, episodes):
    """Ratios at the chunk's first and last step, and the exact distances there."""
    problem, policy, row = case(temperature, share)
    novice = exact.play(problem, policy, row).novice
    laws = detect.ratio_laws(problem, policy, novice[FIRST], FIRST, LENGTH)
    pair = detect.ratios(walked(problem, policy, row, episodes), detect.log_ratio(problem, policy))
    return {k: (detect.distances(laws[k - 1]), *(each[FIRST + k - 1] for each in pair)) for k in (1, LENGTH)}


# ---- ratios --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [None, 0.5])
@pytest.mark.parametrize("steps", [[T], [1] * T, [2, 1, 3], "coins", "patience"], ids=str)
def test_ratios_of_a_trace_equal_the_recomputation(temperature, steps):
    problem, policy, _ = case(temperature, 0.3)
    starts = schedules.geometric(T, 2.5) if isinstance(steps, str) else schedules.partition(T, steps)
    row = schedules.row(schedules.chunked(1, starts), 0)
    if steps == "patience":
        row = row._replace(patience=jnp.full(T, 0.2), join=jnp.eye(T)[0])
    seen = jax.tree.map(np.asarray, walked(problem, policy, row, 64))
    guide, novice = detect.ratios(seen, detect.log_ratio(problem, policy))
    assert guide.dtype == np.float64
    assert not np.isnan(guide).any()
    assert not np.isnan(novice).any()
    expert = np.asarray(problem.expert)
    for episode in range(64):
        totals = [0.0, 0.0]
        for step in range(T):
            if seen.joined[step, episode]:
                totals = [0.0, 0.0]
            for place, (states, acts) in enumerate(((seen.guide, seen.guided), (seen.novice, seen.acts))):
                where = step, states[step, episode], acts[step, episode]
                if expert[where] == 0:
                    totals[place] = -np.inf
                else:
                    totals[place] += np.log(expert[where] / policy[where])
            assert guide[step, episode] == pytest.approx(totals[0], abs=1e-12)
            assert novice[step, episode] == pytest.approx(totals[1], abs=1e-12)


def test_one_table_for_all_steps_will_do():
    problem, _, row = case(0.5, 0.3)
    problem = problem.replace(expert=problem.expert[:1])
    policy = np.tile(np.array([0.3, 0.7]), (1, S, 1))
    seen = walked(problem, policy, row, 32)
    short = detect.ratios(seen, detect.log_ratio(problem, policy))
    long = detect.ratios(seen, np.repeat(detect.log_ratio(problem, policy), T, axis=0))
    jax.tree.map(np.testing.assert_array_equal, short, long)


def test_a_trace_without_a_guide_is_refused():
    problem, policy, row = case(None, 0.3)
    alone = walked(problem, policy, row, 4)._replace(guide=None)
    with pytest.raises(ValueError, match="no guide"):
        detect.ratios(alone, detect.log_ratio(problem, policy))


def test_ratios_have_the_exact_law():
    """Every value of the ratio as often as the law says, within 5 standard errors."""
    problem, policy, row = case(0.5, 0.9)
    novice = exact.play(problem, policy, row).novice
    law = detect.ratio_laws(problem, policy, novice[FIRST], FIRST, 2)[-1]
    count = 40_000
    pair = detect.ratios(walked(problem, policy, row, count), detect.log_ratio(problem, policy))
    for sample, chances in zip(pair, (law.guide, law.novice), strict=True):
        nearest = np.abs(sample[FIRST + 1][:, None] - law.llr[None, 1:-1])
        assert nearest.min(1).max() < 1e-6
        seen = np.bincount(nearest.argmin(1), minlength=len(law.llr) - 2) / count
        error = np.sqrt(chances[1:-1] * (1 - chances[1:-1]) / count) + 1 / count
        assert (np.abs(seen - chances[1:-1]) < 5 * error).all()


# ---- estimates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("temperature", [None, 0.5])
def test_estimates_of_many_episodes_are_near(temperature, coupled):
    for known, guide, novice in sampled(temperature, 0.3, 100_000).values():
        shift = 0 if coupled else 1  # the novice of another episode
        found = detect.estimate(guide, np.roll(novice, shift), confidence=1 - 1e-5)
        assert set(found) == set(NAMES)
        for name, (value, low, high) in found.items():
            assert low <= value <= high
            assert low - 1e-9 <= getattr(known, name) <= high + 1e-9, name
            assert high - low < 0.05


REPLICAS, EPISODES = 400, 250


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize(
    ("temperature", "share"),
    [(None, 0.003), (None, 0.03), (None, 0.3), (0.5, 0.03), (0.5, 0.3), (0.5, 0.9)],
    ids=["rare", "seldom", "often", "small biases", "biases", "large biases"],
)
def test_intervals_hold_the_exact_value_as_often_as_they_say(temperature, share, coupled):
    """400 replicas: 95% minus 2.5 standard errors is 0.922. Where almost nothing is seen they may hold it always."""
    for known, guide, novice in sampled(temperature, share, REPLICAS * EPISODES).values():
        novice = np.roll(novice, 0 if coupled else EPISODES)
        covered = dict.fromkeys(NAMES, 0)
        for guides, novices in zip(guide.reshape(REPLICAS, -1), novice.reshape(REPLICAS, -1), strict=True):
            for name, (_, low, high) in detect.estimate(guides, novices).items():
                covered[name] += low - 1e-9 <= getattr(known, name) <= high + 1e-9
        assert min(covered.values()) / REPLICAS >= 0.922, covered
        if share >= 0.3 and known.total_variation > 0.1:  # enough is seen: not too cautious either
            assert covered["total_variation"] / REPLICAS <= 0.99, covered
            assert covered["auc"] / REPLICAS <= 0.995, covered


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.99])
def test_confidence_is_what_is_asked_for(confidence):
    known, guide, novice = sampled(None, 0.3, REPLICAS * EPISODES)[LENGTH]
    covered = [
        {name: low <= getattr(known, name) <= high for name, (_, low, high) in found.items()}
        for pair in zip(guide.reshape(REPLICAS, -1), novice.reshape(REPLICAS, -1), strict=True)
        for found in (detect.estimate(*pair, confidence=confidence),)
    ]
    error = np.sqrt(confidence * (1 - confidence) / REPLICAS)
    for name in NAMES:
        assert abs(np.mean([each[name] for each in covered]) - confidence) < 3.5 * error, name


def test_the_normal_interval_would_fail_where_mistakes_are_rare():
    """The control: one mistake in a thousand, 250 episodes; see how often one sees none at all."""
    rng, tv, held = np.random.default_rng(0), 1e-3, 0
    agree = -np.log1p(-tv)
    for _ in range(200):
        novice = np.where(rng.random(250) < tv, -np.inf, agree)
        values = (np.tanh(agree / 2) + np.abs(np.tanh(novice / 2))) / 2
        error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        held += abs(values.mean() - tv) <= error
        low, high = detect.estimate(np.full(250, agree), novice)["total_variation"][1:]
        assert low <= tv <= high
    assert held < 100


@pytest.mark.parametrize(("episodes", "told"), [(50, 0), (400, 0), (4096, 0), (65536, 1)])
def test_kl_is_left_open_where_the_evidence_is_rare(episodes, told):
    """What the expert does once in a thousand episodes the learner does once in a million.

    95% of 400 replicas less 2.5 standard errors. Student's interval would hold the KL in 5%, 34% and 90% of the samples
    of the first three sizes. Of 65,536 episodes about 66 tell: there the interval is finite.
    """
    rng, rare, never = np.random.default_rng(0), 1e-3, 1e-6
    seldom, often = np.log(rare / never), np.log((1 - rare) / (1 - never))
    kl = rare * seldom + (1 - rare) * often
    held = finite = 0
    for _ in range(400):
        guide, novice = (np.where(rng.random(episodes) < chance, seldom, often) for chance in (rare, never))
        value, low, high = detect.estimate(guide, novice)["kl"]
        assert value == pytest.approx(guide.mean())
        held, finite = held + (low <= kl <= high), finite + np.isfinite(high)
        assert np.isfinite(high) or low == 0
    assert held / 400 >= 0.922
    assert (finite / 400 > 0.9) == told


def test_identical_and_disjoint_policies():
    found = detect.estimate(np.zeros(1000), np.zeros(1000))
    for name in ("total_variation", "kl", "hellinger", "jensen_shannon"):
        assert found[name].value == 0
        assert found[name].low == 0
        assert name == "kl" or found[name].high < 0.02
    assert found["kl"].high == np.inf  # what is rare and tells all may not have been seen
    assert found["accuracy"].value == found["auc"].value == 0.5
    found = detect.estimate(np.full(1000, np.inf), np.full(1000, -np.inf))
    wanted = {"total_variation": 1, "hellinger": 2, "jensen_shannon": np.log(2), "accuracy": 1, "auc": 1}
    for name, value in wanted.items():
        assert found[name].value == pytest.approx(value)
        assert found[name].high == pytest.approx(value)
        assert found[name].low > value - 0.02
    assert found["kl"] == (np.inf, np.inf, np.inf)


def test_the_auc_is_the_mean_over_all_pairs_of_different_episodes():
    rng = np.random.default_rng(0)
    guide, novice = rng.integers(0, 4, 30).astype(float), rng.integers(-1, 3, 30).astype(float)
    wins = np.where(guide[:, None] == novice, 0.5, guide[:, None] > novice)
    wanted = wins[~np.eye(30, dtype=bool)].mean()
    assert detect.auc(guide, novice).value == pytest.approx(wanted, abs=1e-12)
    assert detect.estimate(guide, novice)["auc"] == detect.auc(guide, novice)


def test_bad_samples_are_refused():
    good = np.zeros(5)
    for guide, novice in ((good, good[:4]), (good[:1], good[:1]), (good[None], good[None])):
        with pytest.raises(ValueError, match="at least 2 episodes"):
            detect.estimate(guide, novice)
    for guide, novice in ((good - np.inf, good), (good, good + np.inf), (good * np.nan, good), (good, good * np.nan)):
        with pytest.raises(ValueError, match="above -inf"):
            detect.estimate(guide, novice)
    for confidence in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match=r"confidence must lie in \(0, 1\)"):
            detect.estimate(good, good, confidence)
