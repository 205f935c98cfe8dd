"""JAX_ENABLE_X64 changes nothing of what is sampled, and no type.

Counts are whole numbers over a number of episodes: equal bit for bit. Other floats may be fused in another order.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dagger_jax import gallery, loop, randomness, schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.controllers import DetectabilityBudget
from dagger_jax.family import family
from dagger_jax.tabular import interaction, learners, rollout
from dagger_jax.text import scheming, training, transformer, writers

N = T = 6
PROBLEM = gallery.random_mdp(T, 4, 3, seed=13, temperature=0.15, concentration=0.3)
IDS = jnp.arange(500, dtype=jnp.uint32)
KEY = jax.random.key(3)


def rows():
    """Every row of the family, with a learner whose policies are quotients of floats."""
    learner = learners.tabular(PROBLEM.world, learners.LogLoss(1.0), shared=False)
    tables = rollout.tables(PROBLEM)

    def run(schedule, key):
        interpreter = interaction.by_sampling(tables, randomness.words(key), IDS)
        return interaction.run(PROBLEM, schedule, learner, interpreter, measure=lambda moment: moment.play)

    return jax.jit(jax.vmap(run, (0, None)))(schedules.stack(list(family(N, T).values())), KEY)


def algorithm(name):
    """One with its own label, learner, gate or controller, not under jit."""
    row = ALGORITHMS[name]
    interpreter = interaction.by_sampling(rollout.tables(PROBLEM), randomness.words(KEY), IDS)
    parts = {"gate": row.gate, "controller": row.controller, "label": row.label, "key": KEY}
    learner = row.learner(PROBLEM.world, False)
    return interaction.run(
        PROBLEM, row.build(N, T, 2), learner, interpreter, measure=lambda moment: moment.play, episodes=500.0, **parts
    )


CONFIG = transformer.Config(4, T, width=8, layers=1, heads=2)
EXPERT = writers.with_garbage(writers.random_markov(3, 1, 2), 0.5)


def text():
    """A transformer in chunk training, with a controller."""
    recipe, controller = training.Recipe(CONFIG, optax.adam(1e-2)), DetectabilityBudget(0.3)
    state = training.begin(recipe, KEY, controller)
    chunks = schedules.chunked(2, schedules.starts(T, 2))
    measure = lambda moment: (moment.text, moment.loss)
    return training.advance(
        recipe, EXPERT, chunks, state, randomness.words(KEY), IDS[:8], rounds=2, controller=controller, measure=measure
    )


def schemer():
    """A scheming learner in training."""
    recipe, controller = training.Recipe(CONFIG, optax.adam(1e-2)), DetectabilityBudget(0.3)
    mind = scheming.begin(recipe, transformer.init(CONFIG, KEY), 0.3, controller)
    words = randomness.words(KEY)
    return scheming.advance(recipe, EXPERT, mind, words, IDS[:8], 0.0, 1.0, known=True, rounds=2, controller=controller)


OWN = ("dart", "searn", "aggrevate", "hedge_dagger", "lazy_dagger", "thrifty_dagger", "ensemble_dagger")
CASES = {"rows": rows, "text": text, "schemer": schemer} | {name: (lambda name=name: algorithm(name)) for name in OWN}


@pytest.mark.parametrize("name", CASES)
def test_what_is_sampled_is_the_same(name):
    with jax.enable_x64(False):
        ordinary = CASES[name]()
    with jax.enable_x64(True):
        assert jnp.zeros(()).dtype == np.float64  # the control
        wide = CASES[name]()
    assert jax.tree.structure(ordinary) == jax.tree.structure(wide)
    for one, other in zip(jax.tree.leaves(ordinary), jax.tree.leaves(wide), strict=True):
        assert one.dtype == other.dtype
        if np.issubdtype(one.dtype, np.floating):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(one, other)
    for one, other in zip(jax.tree.leaves(drawn(ordinary)), jax.tree.leaves(drawn(wide)), strict=True):
        np.testing.assert_array_equal(one, other)


def drawn(outcome):
    """The frequencies, or the texts, that were sampled."""
    if isinstance(outcome, interaction.Outcome):
        return outcome.measured
    return outcome[1][0] if isinstance(outcome[0], loop.State) else ()
