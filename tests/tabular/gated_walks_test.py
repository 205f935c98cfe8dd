"""Walks with a gate: the exact laws against every outcome of every coin, the sampler against the exact laws."""

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import evidence, gallery, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Intervention, Problem

KEY = randomness.for_round(randomness.words(jax.random.key(2021)), 0)
PLAY = jax.jit(rollout.play, static_argnames=("alone", "block"))
EVERY_GATE = ["coins", "hysteresis", "memoryless", "asks only"]


def some_gate(kind, horizon, states, seed=0):
    """By coins; with certain entrances and exits; without memory; and one that only asks."""
    enter, leave = np.random.default_rng(seed).random((2, horizon, states))
    match kind:
        case "hysteresis":
            enter, leave = (enter > 0.6) * 1.0, (leave > 0.7) * 1.0
        case "memoryless":
            leave = 1 - enter
    return Intervention(enter, leave, 0.0 if kind == "asks only" else 1.0)


def row(seed, horizon, **columns):
    """Coins of join and back (never both at a step), of beta and of noise, all fractional."""
    rng = np.random.default_rng(seed)
    kind = np.arange(horizon) % 3
    join, back = np.where(kind == 1, rng.random(horizon), 0.0), np.where(kind == 2, rng.random(horizon), 0.0)
    join[0] = 1.0
    columns = {"join": join, "back": back, "beta": rng.random(horizon), "noise": rng.random(horizon)} | columns
    return schedules.row(schedules.table(1, horizon, **columns, label_guide=1.0), 0)


def ids(count, first=0):
    return np.arange(first, first + count, dtype=np.uint32)


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


# ---- exact = every outcome of every coin ------------------------------------------------------------------------

T, S, A = 5, 2, 2


def coin(probability):
    return [(happens, p) for happens, p in ((True, probability), (False, 1 - probability)) if p > 0]


def maximally(acts, expert, noise):
    """Probability that both walkers take action a: as large as their laws allow. [A]"""
    return np.minimum(acts, (1 - noise) * expert + noise / A)


def by_one_word(acts, expert, noise):
    """The same, as played. One word couples two actions as well as can be, once the noise's coin is known."""
    return (1 - noise) * np.minimum(acts, expert) + noise * np.minimum(acts, 1 / A)


def enumerate_paths(problem, policy, now, gate, couple):
    """Laws by brute force over both walkers and the wheel together; paths that are alike from here on are merged.

    Walkers that agree act together with the probability that `couple` says, others independently.
    """
    world, expert = problem.world, problem.expert
    now = jax.tree.map(lambda column: np.asarray(column, np.float64), now)
    shapes = {"novice": (T, S), "guide": (T, S), "last": S, "together": T, "intervened": (T, S), "entered": T}
    laws = {name: np.zeros(shape) for name, shape in (shapes | {"novice_cost": (), "guide_cost": ()}).items()}
    paths = {(s, s, True, False): p for s, p in enumerate(world.initial)}  # novice, guide, agreed, intervened
    for t in range(T):
        after = defaultdict(float)
        for (x, y, agreed, wheel), p in paths.items():
            for (joins, p_join), (backs, p_back) in itertools.product(coin(now.join[t]), coin(now.back[t])):
                n, g, together = (y if backs else x), (x if joins else y), agreed or joins or backs
                held = wheel and not backs
                for changes, p_change in coin(gate.leave[t, n] if held else gate.enter[t, n]):
                    q, intervened = p * p_join * p_back * p_change, held ^ changes
                    laws["novice"][t, n] += q
                    laws["guide"][t, g] += q
                    laws["intervened"][t, n] += q * intervened
                    laws["entered"][t] += q * (intervened and not held)
                    acts = now.beta[t] * expert[t, n] + (1 - now.beta[t]) * policy[t, n]
                    if intervened and gate.acts:
                        acts = expert[t, n]
                    guided = (1 - now.noise[t]) * expert[t, g] + now.noise[t] / A
                    laws["novice_cost"] += q * acts @ world.cost[t, n]
                    laws["guide_cost"] += q * guided @ world.cost[t, g]
                    both = couple(acts, expert[t, g], now.noise[t]) if together else np.zeros(A)
                    for p_move, *there in moves(world.transition[t], n, g, acts, guided, both):
                        after[*there, intervened] += q * p_move
        laws["together"][t] = sum(p for (_, _, agreed, _), p in after.items() if agreed)
        paths = after
    for (x, _, _, _), p in paths.items():
        laws["last"][x] += p
    return laws


def moves(transition, n, g, acts, guided, both):
    """Where two walkers go, as (probability, novice, guide, agreed)."""
    for a, s in itertools.product(range(A), range(S)):
        yield both[a] * transition[n, a, s], s, s, True
    rest = np.outer(acts - both, guided - both) / max(1 - both.sum(), 1e-300)
    for a, b, s, r in itertools.product(range(A), range(A), range(S), range(S)):
        yield rest[a, b] * transition[n, a, s] * transition[g, b, r], s, r, False


@pytest.mark.parametrize("kind", EVERY_GATE)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("deterministic", [False, True])
def test_laws_with_a_gate_equal_the_enumeration_of_all_paths(kind, seed, deterministic):
    """Tolerance: sums of some hundred path probabilities a step in float64."""
    rng = np.random.default_rng(seed)
    world = tabular.world(rng.dirichlet(np.ones(S), (T, S, A)), rng.random((T, S, A)), rng.dirichlet(np.ones(S)), T)
    expert, policy = rng.dirichlet(np.ones(A), (2, T, S))
    if deterministic:
        expert = experts.deterministic(rng.integers(0, A, (T, S)), A)
    problem, now, gate = Problem(world, expert), row(seed, T), some_gate(kind, T, S, seed)
    laws = exact.play(problem, policy, now, gate)
    for name, couple in (("agreement", by_one_word), ("overlap", maximally)):
        wanted = enumerate_paths(problem, policy, now, gate, couple)
        wanted[name] = wanted.pop("together")
        assert set(wanted) | {"agreement", "overlap"} == set(laws._fields) - {"policy"}
        for name, want in wanted.items():
            np.testing.assert_allclose(getattr(laws, name), want, rtol=1e-12, atol=1e-13, err_msg=name)
    assert 0.02 < wanted["intervened"].sum() / T < 0.98
    if kind != "asks only":  # the control: without the gate it is another walk
        assert np.abs(exact.play(problem, policy, now).novice - laws.novice).max() > 1e-3


# ---- sampled = exact --------------------------------------------------------------------------------------------

LONG, EPISODES, SHORT = 6, 32768, 1024
PROBLEM = gallery.random_mdp(LONG, 4, 3, seed=13, temperature=0.15, concentration=0.3)
WORLD = rollout.tables(PROBLEM)
POLICY = np.random.default_rng(4).dirichlet(np.ones(3), (LONG, 4))


def scores(seen, law, episodes=EPISODES):
    """z of frequencies against probabilities; those that expect less than 20 counts are left out."""
    seen, law = np.asarray(seen, float), np.asarray(law)
    often = np.minimum(law, 1 - law) * episodes >= 20
    return ((seen - law) / np.sqrt(np.maximum(law * (1 - law), 1e-30) / episodes))[often]


@pytest.mark.parametrize("kind", EVERY_GATE)
def test_the_sampler_plays_the_exact_laws(kind):
    """Some 230 |z| <= 4 a gate, four gates: a right engine fails with probability 0.06 at most. First seed tried.

    Chi-squares of states at each step, 18 a gate, have p-values above 1e-4. The control sees 0.05 more entrances.
    """
    now, gate = row(3, LONG), some_gate(kind, LONG, 4)
    laws = exact.play(PROBLEM, POLICY, now, gate)
    play, kept = jax.device_get(PLAY(WORLD, POLICY, now, KEY, ids(EPISODES), gate))
    wanted = exact.frequencies(PROBLEM, laws)
    assert laws.intervened is not None
    for name in ("novice", "guide", "intervened", "entered", "agreement"):
        assert np.abs(scores(getattr(play, name), getattr(wanted, name))).max() <= 4, name
    for seen, law in ((play.novice, laws.novice), (play.guide, laws.guide), (play.intervened, laws.intervened)):
        cells, law = (np.c_[x, 1 - x.sum(-1)] for x in (seen.sum(-1).astype(float), law))
        likely = law * EPISODES > 5
        terms = np.where(likely, EPISODES * (cells - law) ** 2 / np.where(likely, law, 1), 0)
        assert stats.chi2.sf(terms.sum(-1), np.maximum(likely.sum(-1) - 1, 1)).min() > 1e-4
        assert (cells[law < 1e-12] <= 1e-6).all()
    for seen, cost in ((kept.novice_cost, laws.novice_cost), (kept.guide_cost, laws.guide_cost)):
        assert abs(seen.astype(float).mean() - cost) < 4 * seen.std() / np.sqrt(EPISODES) + 1e-5  # float32 sums
    asked, exactly_asked = evidence.gated_prices(play), evidence.gated_prices(wanted)
    error = 4 * LONG / np.sqrt(EPISODES)  # of a mean of numbers in 0..2T
    assert max(abs(float(x) - y) for x, y in zip(asked, exactly_asked, strict=True)) < error
    more = gate._replace(enter=np.clip(gate.enter + 0.05, 0, 1))
    off = exact.frequencies(PROBLEM, exact.play(PROBLEM, POLICY, now, more))
    assert np.abs(scores(play.intervened, off.intervened)).max() > 5


def test_agreement_with_a_gate_is_the_exact_one_for_a_deterministic_expert():
    """z of the share that has acted alike, at every step; without noise one word couples maximally."""
    problem = gallery.random_mdp(LONG, 4, 3, seed=13, concentration=0.3)
    now, gate = row(3, LONG, noise=0.0), some_gate("coins", LONG, 4)
    play, _ = PLAY(rollout.tables(problem), POLICY, now, KEY, ids(EPISODES), gate)
    laws = exact.play(problem, POLICY, now, gate)
    agreement = laws.agreement
    np.testing.assert_allclose(agreement, laws.overlap, rtol=1e-12)
    assert np.abs(scores(play.agreement, agreement)).max() <= 4
    assert np.abs(scores(play.agreement, exact.play(problem, POLICY, now).agreement)).max() > 10  # the gate's doing


# ---- bit for bit ------------------------------------------------------------------------------------------------


def test_a_gate_that_is_never_open_is_none():
    now, never = row(3, LONG), Intervention(np.zeros((LONG, 4)), np.zeros((LONG, 4)))
    play, kept = PLAY(WORLD, POLICY, now, KEY, ids(SHORT), never)
    plain, wanted = PLAY(WORLD, POLICY, now, KEY, ids(SHORT))
    same((play._replace(intervened=None, entered=None), kept), (plain, wanted))
    assert float(play.intervened.sum()) == float(play.entered.sum()) == 0
    assert plain.intervened is plain.entered is None
    exactly_plain, exactly_never = (exact.play(PROBLEM, POLICY, now, *gate) for gate in ((), (never,)))
    for got, want in zip(exactly_never[:-2], exactly_plain[:-2], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)  # sums over two wheels


def test_a_gate_that_is_always_open_is_beta_one_or_asks_everywhere():
    now, zeros = row(3, LONG, back=0.0), np.zeros((LONG, 4))
    play, kept = PLAY(WORLD, POLICY, now, KEY, ids(SHORT), Intervention(zeros + 1, zeros))
    driven = PLAY(WORLD, POLICY, now._replace(beta=jnp.ones(LONG)), KEY, ids(SHORT))
    same((play._replace(intervened=None, entered=None), kept), driven)
    same(play.intervened, play.novice)
    np.testing.assert_array_equal(play.entered, np.eye(LONG)[0])  # it takes over once
    asked, kept = PLAY(WORLD, POLICY, now, KEY, ids(SHORT), Intervention(zeros + 1, zeros, 0.0))
    same((asked._replace(intervened=None, entered=None), kept), PLAY(WORLD, POLICY, now, KEY, ids(SHORT)))
    same(asked.intervened, asked.novice)


@pytest.mark.parametrize("kind", EVERY_GATE)
def test_alone_and_in_any_blocks_the_novice_walks_as_in_company(kind):
    now, gate = row(3, LONG, back=0.0), some_gate(kind, LONG, 4)
    play, kept = PLAY(WORLD, POLICY, now, KEY, ids(SHORT), gate)
    alone, own = PLAY(WORLD, POLICY, now, KEY, ids(SHORT), gate, alone=True)
    same((alone.novice, alone.intervened, alone.entered), (play.novice, play.intervened, play.entered))
    same(own.novice_cost, kept.novice_cost)
    assert alone.guide is alone.agreement is None
    if kind == "coins":
        same(PLAY(WORLD, POLICY, now, KEY, ids(SHORT), gate, block=99), (play, kept))
    early, late = (PLAY(WORLD, POLICY, now, KEY, ids(SHORT // 2, first), gate)[0] for first in (0, SHORT // 2))
    same(jax.tree.map(lambda x, y: (x + y) / 2, early, late), play)


# ---- traces and prices ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY_GATE)
@pytest.mark.parametrize("excursions", [False, True])
def test_gated_prices_count_what_a_trace_shows(kind, excursions):
    """Labels, interventions and switches episode by episode; frequencies of 2^10 episodes are exact in float32."""
    now, gate = row(3, LONG, **({} if excursions else {"back": 0.0})), some_gate(kind, LONG, 4)
    play, _ = jax.device_get(PLAY(WORLD, POLICY, now, KEY, ids(SHORT), gate))
    seen = jax.device_get(jax.jit(rollout.trace)(WORLD, POLICY, now, KEY, ids(SHORT), gate))
    before = np.concatenate([np.zeros((1, SHORT), bool), seen.intervened[:-1]])
    if not excursions:
        np.testing.assert_array_equal(seen.entered, seen.intervened & ~before)
    handed_back = before & ~(seen.intervened & ~seen.entered)  # an excursion hands back too, also where it enters again
    counts = [x.sum() / SHORT for x in (seen.intervened, seen.entered, 1 * seen.entered + handed_back)]
    np.testing.assert_allclose(evidence.gated_prices(play), counts, rtol=1e-6)
    np.testing.assert_array_equal(play.entered, seen.entered.mean(1))
    for t, s in itertools.product(range(LONG), range(4)):
        here = seen.intervened[t] & (seen.novice[t] == s)
        np.testing.assert_array_equal(play.intervened[t, s], np.bincount(seen.asked[t][here], minlength=3) / SHORT)
    if kind != "asks only":
        np.testing.assert_array_equal(seen.acts[seen.intervened], seen.asked[seen.intervened])
    else:
        assert (seen.acts[seen.intervened] != seen.asked[seen.intervened]).mean() > 0.1
    plain = rollout.trace(WORLD, POLICY, now, KEY, ids(8))
    assert plain.intervened is plain.entered is None


def test_prices_of_a_round_without_a_gate_are_refused():
    with pytest.raises(ValueError, match="without a gate"):
        evidence.gated_prices(exact.frequencies(PROBLEM, exact.deploy(PROBLEM, POLICY)))


def test_a_batch_of_gates_is_a_loop():
    """In float64; tolerance: another order of the sums."""
    gates = [some_gate(kind, LONG, 4) for kind in EVERY_GATE]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *gates)
    many = float64(jax.vmap(exact.play, (None, None, None, 0)))(PROBLEM, POLICY, row(3, LONG), batch)
    for i, gate in enumerate(gates):
        one, each = exact.play(PROBLEM, POLICY, row(3, LONG), gate), jax.tree.map(lambda law, i=i: law[i], many)
        jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15), each, one)
