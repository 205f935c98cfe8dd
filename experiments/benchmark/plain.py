"""Roll-outs in JAX as others write them."""

import importlib
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax.types import Array, World

from .peers import Absent

CARTPOLE_STEPS = 200


def naive(world: World, policy: Array, keys: Array) -> Array:
    """The plain roll-out: vmap over episodes, scan over steps, `jax.random.categorical` twice a step. Costs [B]."""
    chances, moves = jnp.log(jnp.asarray(policy[0])), jnp.log(jnp.asarray(world.transition[0]))
    cost = jnp.asarray(world.cost[0], jnp.float32)

    def episode(key: Array) -> Array:
        def step(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
            state, total = carry
            act, move = jax.random.split(key)
            action = jax.random.categorical(act, chances[state])
            return (jax.random.categorical(move, moves[state, action]), total + cost[state, action]), None

        first, rest = jax.random.split(key)
        start = jax.random.categorical(first, jnp.log(jnp.asarray(world.initial)))
        return jax.lax.scan(step, (start, jnp.float32(0)), jax.random.split(rest, world.horizon))[0][1]

    return jax.vmap(episode)(keys)


def cartpole() -> Callable[[Array], Array]:
    """gymnax's roll-out of CartPole by a tanh network of 2 x 64 that draws its actions: keys [B] -> returns [B, 1].

    It resets by itself, so that all `CARTPOLE_STEPS` steps are played.

    Raises:
      Absent: gymnax is not installed.
    """
    try:
        experimental = importlib.import_module("gymnax.experimental.rollout")  # an extra: only this row needs it
    except ImportError as error:
        raise Absent(f"{error}; pip install 'dagger_jax[bench]'") from error
    sizes = (4, 64, 64, 2)
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=pair) / np.sqrt(pair[0])).astype(np.float32) for pair in itertools.pairwise(sizes)]

    def forward(layers: list[Array], seen: Array, key: Array) -> Array:
        for layer in layers[:-1]:
            seen = jnp.tanh(seen @ layer)
        return jax.random.categorical(key, seen @ layers[-1])

    roller = experimental.RolloutWrapper(forward, env_name="CartPole-v1", num_env_steps=CARTPOLE_STEPS)
    return lambda keys: roller.batch_rollout(keys, layers)[-1]
