"""One walker by a joint table of (action, next state): the law of the rows, drawn by other words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import gallery, randomness
from dagger_jax.tabular import exact, joint

KEY = randomness.for_round(randomness.words(jax.random.key(7)), 0)
IDS = np.arange(40_000, dtype=np.uint32)


@pytest.mark.parametrize(("steps", "stationary"), [(6, True), (5, False), (1, True)])
def test_costs_have_the_exact_mean(steps, stationary):
    """Of 40,000 episodes, within 4.5 standard errors; an even and an odd number of steps."""
    problem = gallery.random_mdp(steps, 5, 3, seed=2, temperature=0.3, stationary=stationary)
    policy = np.random.default_rng(4).dirichlet(np.ones(3), (1 if stationary else steps, 5))
    costs = np.asarray(jax.jit(joint.play)(joint.joint(problem, policy), KEY, IDS), float)
    error = costs.std() / np.sqrt(len(costs))
    assert abs(costs.mean() - exact.deploy(problem, policy).novice_cost) < 4.5 * error
    assert abs(costs.mean() - exact.deploy(problem, problem.expert).novice_cost) > 9 * error  # the control


def test_an_episode_is_its_index():
    """Of its index alone, whatever the block; and of so many steps as are taken."""
    problem = gallery.random_mdp(6, 5, 3, seed=2, stationary=True)
    world = joint.joint(problem, np.full((1, 5, 3), 1 / 3))
    play = jax.jit(joint.play, static_argnames="block")
    costs = play(world, KEY, IDS[:1000])
    np.testing.assert_array_equal(play(world, KEY, IDS[500:1000], block=7), costs[500:])
    for taken in (0, 3, 6):
        shorter = play(world.replace(steps=taken), KEY, IDS[:1000]) if taken else jnp.zeros(1000)
        np.testing.assert_array_equal(play(world.replace(taken=jnp.int32(taken)), KEY, IDS[:1000]), shorter)
