"""Every row of the zoo as published: with its own label, learner, gate and controller, in a stochastic world.

`family_test` plays the same tables with one learner for all. Stochastic transitions, a stochastic expert.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import bounds, evidence, gallery, randomness
from dagger_jax import schedules as rows
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gates, interaction, labels, learners, rollout

N = T = 4
EPISODES = 2048  # a round and seed
PROBLEM = gallery.random_mdp(T, 4, 3, seed=15, temperature=0.1, concentration=0.3, observations=3)
WORLD = rollout.tables(PROBLEM)
IDS = jnp.arange(EPISODES, dtype=jnp.uint32)
KEYS = jax.random.split(jax.random.key(2014), 2)
EVERY = pytest.mark.parametrize("name", ALGORITHMS)
GATED = [name for name, row in ALGORITHMS.items() if row.gate is not None]
traced = []


def run(schedule, key, gate, controller, learner, label):
    """One sampled run: what each round showed, which gate it was played with, and how it ended."""
    traced.append(label)
    sample, played_with = interaction.by_sampling(WORLD, randomness.words(key), IDS), []

    def interpret(policy, row, round, *gated):
        played_with[:] = gated
        return sample(policy, row, round, *gated)

    def see(moment):
        takeover = played_with[0] if played_with else None
        return moment.acting, moment.play, moment.row, moment.newest, moment.asked, takeover

    parts = {"measure": see, "gate": gate, "controller": controller, "label": label, "key": key}
    return interaction.run(PROBLEM, schedule, learner, interpret, episodes=float(EPISODES), **parts)


def program(row):
    """Rows of one label, learner, gate and controller share a program: their schedules are data."""
    return _program(row.learner(PROBLEM.world, False), row.label, row.gate is None, row.controller is None)


@functools.cache
def _program(learner, label, ungated, uncontrolled):
    each = functools.partial(run, learner=learner, label=label)
    return jax.jit(jax.vmap(each, (None, 0, None, None)))


@functools.cache
def results(name):
    row = ALGORITHMS[name]
    return jax.device_get(program(row)(row.build(N, T, 2), KEYS, row.gate, row.controller))


@functools.cache
def plays(name):
    """What infinitely many episodes show of the policies that acted, under the rows and gates that they acted with."""
    acting, _, row, _, _, takeover = results(name).measured
    return exact_plays(PROBLEM, acting, row, takeover)  # [2, N, ...]


def exact_play(problem, policy, row, takeover):
    return exact.frequencies(problem, exact.play(problem, policy, row, takeover))


prices_of = jax.jit(evidence.prices)
gated_prices_of = jax.jit(jax.vmap(jax.vmap(evidence.gated_prices)))
exact_plays = float64(jax.vmap(jax.vmap(exact_play, (None, 0, 0, 0)), (None, 0, 0, 0)))


def test_the_expert_is_stochastic():
    likeliest = PROBLEM.expert.max(-1)
    assert 0.5 < likeliest.mean() < 0.97
    assert (likeliest < 0.9).any(0).sum() >= 3  # of four states


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@EVERY
def test_sources_bounds_and_outputs(name):
    row = ALGORITHMS[name]
    assert row.bound in bounds.of_rows()
    assert not row.theorem or row.theorem in bounds.BOUNDS
    # A paper with its year, or this project.
    assert any(character.isdigit() for character in row.source) or row.source.startswith("this project: ")
    assert row.output in ("last", "acting", "mixture", "best")
    schedule = rows.validate(row.build(N, T, 2))
    assert (np.asarray(schedule.mixing_rate) < 1).any() == (row.output == "acting")
    judged = rows.validate(row.judged_by(T, 2))
    assert judged.beta.shape == (1, T)
    outcome = results(name)
    for policy in (outcome.newest, outcome.acting, outcome.measured[0]):
        assert policy.shape[-3:] == (T, 4, 3)
        np.testing.assert_allclose(policy.sum(-1), 1, atol=1e-5)
        assert policy.min() >= -1e-6


@EVERY
def test_the_mixture_follows_from_the_policies_and_rates(name):
    """Each round acts by (1 - rate) x what acted + rate x newest, float32; where the rate is 1 by the newest."""
    acting, _, row, newest, _, _ = results(name).measured
    learner = ALGORITHMS[name].learner(PROBLEM.world, False)
    untrained = [learner.policy(learner.params(learner.init(jax.random.split(key)[0])), PROBLEM.world) for key in KEYS]
    same(acting[:, 0], np.stack(untrained))
    rate = row.mixing_rate[:, :, None, None, None]
    mixed = (1 - rate) * acting + rate * newest
    np.testing.assert_allclose(mixed[:, :-1], acting[:, 1:], atol=3e-7)
    np.testing.assert_allclose(mixed[:, -1], results(name).acting, atol=3e-7)


@EVERY
def test_sampled_labels_are_exact(name):
    """z of label frequencies, both walkers and the intervened, pooled over rounds and seeds: all |z| <= 4.

    Given the policy, the row and the gate that acted, rounds are independent. Some 2,100 z in all: a right engine
    fails with probability 0.13 at most. First keys tried.
    """
    play, wanted = results(name).measured[1], plays(name)
    for part in ("novice", "guide") + (("intervened", "entered") if name in GATED else ()):
        z = scores(getattr(play, part), getattr(wanted, part))
        assert np.abs(z).max() <= 4, part
        assert z.size >= (1 if part == "entered" else 30)
    assert (play.intervened is None) == (wanted.intervened is None) == (name not in GATED)


def scores(seen, law):
    """z, pooled over runs and rounds; cells that expect less than 20 counts in all are left out."""
    seen, law = np.asarray(seen, np.float64), np.asarray(law)
    variance = (law * (1 - law)).sum((0, 1)) / EPISODES
    often = variance * EPISODES**2 >= 20
    return ((seen - law).sum((0, 1)) / np.sqrt(np.maximum(variance, 1e-30)))[often]


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in GATED])
def test_a_row_gets_the_labels_that_it_asks_for(name):
    """Per episode and round the row's weights, each 1 where a label is asked; importance weights have a mean of 1."""
    _, play, row, _, asked, _ = results(name).measured
    labels = prices_of(row).labels
    np.testing.assert_array_equal(labels, (row.label_novice + row.label_guide).sum(-1))
    if name != "reweighed_cloning":
        np.testing.assert_allclose(asked, labels, rtol=1e-5)
    else:
        covered = (play.novice.sum(-1) * (play.guide.sum(-1) > 0)).sum((-1, -2))  # the guide was there too
        np.testing.assert_allclose(asked, covered, rtol=1e-4)
        assert (asked > 0.9 * T).all()


@pytest.mark.parametrize("name", GATED)
def test_a_gate_gets_the_labels_that_it_asks_for(name):
    """Labels, interventions and switches per episode, sampled within 4 standard errors' bound of the exact ones."""
    _, play, _, _, asked, _ = results(name).measured
    sampled, wanted = (jax.tree.map(np.asarray, gated_prices_of(part)) for part in (play, plays(name)))
    np.testing.assert_allclose(asked, sampled.labels, rtol=1e-5)
    for seen, law in zip(sampled, wanted, strict=True):
        assert np.abs(seen - law).max() < 4 * (T / 2) / np.sqrt(EPISODES)  # numbers in 0..T deviate by T / 2 at most
    assert (sampled.switches <= 2 * sampled.interventions + 1e-5).all()
    assert (sampled.labels >= sampled.interventions - 1e-5).all()
    # Nothing is known yet, so the expert has the wheel throughout. But a human sees what the learner is about to do,
    # and LazyDAgger's expert hands back where it sees that the untrained learner agrees by luck.
    if name not in ("hg_dagger", "lazy_dagger"):
        np.testing.assert_allclose(sampled.labels[:, 0], T, rtol=1e-5)
        np.testing.assert_allclose(sampled.interventions[:, 0], 1, rtol=1e-5)
    assert (sampled.labels[:, -1] < 0.95 * T).all()
    assert (sampled.labels[:, -1] > 0.01 * T).all()


@EVERY
def test_a_seed_is_its_bits(name):
    """The same keys: the same bits in everything. The two keys of a batch differ in every round."""
    row = ALGORITHMS[name]
    traced.clear()
    again = program(row)(row.build(N, T, 2), KEYS, row.gate, row.controller)
    assert not traced  # nor is anything compiled again
    same(again, results(name))
    novice = results(name).measured[1].novice
    assert (novice[0] != novice[1]).any((1, 2, 3)).all()


def parts(row):
    return row.learner(PROBLEM.world, False), row.label, type(row.gate), type(row.controller)


# Rows that have these in common have a program in common, and differ in their tables: `family_test` has those.
PARTS = {parts(row): name for name, row in list(ALGORITHMS.items())[::-1]}


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS.values())
def test_jit_and_vmap_change_nothing(name):
    """Three rounds of one run op by op, against the compiled batch, for the first row of each program.

    Counts are equal. Policies to 1e-5: XLA fuses multiplications and additions, and op by op costs-to-go are float64.
    """
    row = ALGORITHMS[name]
    short = jax.tree.map(lambda column: column[:3], row.build(N, T, 2))
    with jax.disable_jit():
        plain = run(short, KEYS[1], row.gate, row.controller, row.learner(PROBLEM.world, False), row.label)
    compiled = jax.tree.map(lambda leaf: leaf[1, :3], results(name).measured)
    same(plain.measured[1], compiled[1])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), plain.measured, compiled)


# ---- parameters are data ----------------------------------------------------------------------------------------

VARIANTS = {
    "smile": lambda x: rows.smile(N, T, x),
    "searn": lambda x: rows.searn(N, T, x),
    "aggrevate": lambda x: rows.aggrevate(N, T, jnp.full(N, x), (10 * x + jnp.arange(N)).astype(int) % T),
    "lols": lambda x: rows.lols(N, T, jnp.full(N, x), 1 - x),
    "dart": lambda x: rows.dart(N, T, x),
    "stagger": lambda x: rows.stagger(N, T, (x * jnp.arange(N)).astype(int), (10 * x).astype(int)),
    "dagger": lambda x: rows.dagger(N, T, jnp.full(N, x)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_one_trace_for_all_parameters_of_a_row(name):
    """alpha, beta, steps, noise and the roll-out's share are data, also where they are traced themselves.

    Under jit the powers of float32 may be a rounding off.
    """
    build, row = VARIANTS[name], ALGORITHMS[name if name != "dart" else "dagger"]  # without its controller
    program(row)(build(jnp.asarray(0.2)), KEYS, row.gate, row.controller)
    traced.clear()
    seen = []
    for x in (0.1, 0.3, 0.45):
        schedule = rows.validate(build(jnp.asarray(x)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), jax.jit(build)(x), schedule)
        outcome = program(row)(schedule, KEYS, row.gate, row.controller)
        seen.append(np.asarray(outcome.memory.weight))
    assert not traced
    if name != "stagger":  # whose labels are one a round, wherever
        assert all(np.abs(one - two).max() > 1e-3 for one, two in itertools.pairwise(seen))


def test_thresholds_of_gates_are_data():
    """A batch of thresholds is a loop over them, in one compilation each; a wider gate asks otherwise."""
    learner = learners.tabular(PROBLEM.world, learners.Majority(), shared=False)
    schedule = rows.dagger(3, T, np.zeros(3))

    def asked(value):
        run = functools.partial(interaction.run, PROBLEM, schedule, learner, interaction.exactly(PROBLEM))
        both = (gates.Safe(value), gates.Thrifty(value, 0.5))
        return jnp.stack([run(gate=gate, measure=lambda moment: moment.asked).measured for gate in both])

    values = jnp.array([0.05, 0.4])
    together, one = jax.jit(jax.vmap(asked))(values), jax.jit(asked)
    np.testing.assert_allclose(together, np.stack([one(value) for value in values]), rtol=1e-5)
    assert (np.abs(together[0] - together[1]).max(-1) > 0.05).all()


def test_labels_of_the_zoo_are_the_published_ones():
    """Who is asked for costs-to-go, and whose result is which of its policies."""
    published = {name: row for name, row in ALGORITHMS.items() if not row.strategy}
    by_label = {name: row.label for name, row in published.items() if row.label is not labels.imitate}
    assert by_label.pop("reweighed_cloning") == labels.Reweighed()
    assert by_label.pop("searn") is labels.cost_to_go_acting
    assert set(by_label) == {"aggrevate", "aggrevated", "lols", "nrpi"}
    assert set(by_label.values()) == {labels.cost_to_go}
    assert [name for name in GATED if name in published] == [
        "safe_dagger",
        "ensemble_dagger",
        "lazy_dagger",
        "hg_dagger",
        "thrifty_dagger",
    ]
    outputs = {name: row.output for name, row in ALGORITHMS.items() if row.output != "last"}
    mixtures = dict.fromkeys(("stagger", "warm_stagger", "dagger_mixture"), "mixture")
    assert outputs == {"smile": "acting", "searn": "acting", "dagger_best": "best"} | mixtures
