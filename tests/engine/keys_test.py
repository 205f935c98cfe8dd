"""Where keys go: none is consumed twice, by the episodes or by a learner that draws."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import gallery, randomness, schedules
from dagger_jax.tabular import interaction, learners, rollout
from dagger_jax.types import Node

T = 5
PROBLEM = gallery.random_mdp(T, 3, 2, seed=3, temperature=0.3)
WORLD = rollout.tables(PROBLEM)
SMOOTH = learners.tabular(PROBLEM.world, learners.LogLoss(0.5), shared=False)


def sampled(learner, play, fit, measure):
    """Four rounds of DAgger; the episodes draw with `play`, the learner with `fit`."""
    interpreter = interaction.by_sampling(WORLD, randomness.words(play), jnp.arange(50, dtype=jnp.uint32))
    return interaction.run(PROBLEM, schedules.dagger(4, T), learner, interpreter, measure=measure, key=fit).measured


class Kept(NamedTuple):
    """A memory, what its learner drew, and the key that it drew with."""

    memory: learners.Memory
    drawn: jax.Array
    key: jax.Array


class Drawing(Node):
    """A learner that draws, at the start and at every update."""

    inner: learners.Tabular

    def init(self, key):
        return self.keep(self.inner.init(), key)

    def update(self, key, memory, batch, retain):
        return self.keep(self.inner.update(None, memory.memory, batch, retain), key)

    def keep(self, memory, key):
        data = jax.random.key_data(jax.random.clone(key))
        return Kept(memory, jax.random.uniform(key, (8,)), data)

    def params(self, memory):
        return self.inner.params(memory.memory)

    def policy(self, params, world):
        return self.inner.policy(params, world)


def test_keys_are_never_reused():
    """JAX's own checker finds no key consumed twice, and no two draws of a learner are alike."""

    def run(play, fit):
        return sampled(Drawing(SMOOTH), play, fit, lambda moment: moment.memory.drawn)

    with jax.debug_key_reuse(True):
        drawn = np.asarray(jax.jit(run)(*jax.random.split(jax.random.key(1))))
        with pytest.raises(jax.errors.KeyReuseError):  # the control: the checker is on
            jax.jit(lambda key: (jax.random.uniform(key), run(key, key)))(jax.random.key(1))
    assert len(np.unique(drawn)) == drawn.size == 4 * 8


def test_a_learners_first_key_is_no_parent_of_the_others():
    """What is drawn with a key, and keys folded from it, come of the same counters: do only one."""
    starts = []

    class Spy(Drawing):
        def init(self, key):
            starts.append(key)
            return super().init(key)

    play, fit = jax.random.split(jax.random.key(4))
    used = sampled(Spy(SMOOTH), play, fit, lambda moment: moment.memory.key)
    (start,) = starts
    children = jax.vmap(jax.random.fold_in, (None, 0))(start, jnp.arange(100))
    both = np.concatenate([jax.random.key_data(children), used])
    assert len(np.unique(used, axis=0)) == 4
    assert len(np.unique(both, axis=0)) == 104
