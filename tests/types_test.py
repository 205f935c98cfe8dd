"""The shapes that public functions declare are checked in the tests: see CHECKED in conftest.py."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CHECKED
from jaxtyping import TypeCheckError

from dagger_jax import evidence, randomness, sampling, schedules
from dagger_jax.tabular import exact, experts, gallery, rollout, worlds
from dagger_jax.text import losses

PROBLEM = gallery.cliff(3)
UNIFORM = np.full((1, PROBLEM.world.states, PROBLEM.world.actions), 1 / PROBLEM.world.actions)
ROW = schedules.row(schedules.dagger(1, 3), 0)
KEY = randomness.words(jax.random.key(0))
TWO, THREE = jnp.full(2, 0.5), jnp.full(3, 0.5)

WRONG = {
    "a policy without steps": lambda: exact.play(PROBLEM, UNIFORM[0], ROW),
    "of integers": lambda: evidence.measure(PROBLEM, UNIFORM.astype(int), ROW, evidence.constants(PROBLEM)),
    "episodes as a number": lambda: rollout.play(rollout.tables(PROBLEM), UNIFORM, ROW, KEY, jnp.uint32(5)),
    "a raw key": lambda: schedules.spread_steps(2, 3, jnp.zeros(2, jnp.uint32)),
    "steps that differ": lambda: schedules.by_offset(TWO, THREE),
    "probabilities for thresholds": lambda: sampling.choose(TWO, jnp.uint32(7)),
    "a share per round and step": lambda: schedules.dagger(2, 3, jnp.zeros((2, 3))),
    "vocabularies that differ": lambda: losses.forward_kl(TWO, THREE),
    "a policy of one state": lambda: worlds.backward(PROBLEM.world, UNIFORM[0]),
    "actions that are no integers": lambda: experts.deterministic(THREE, 2),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_wrong_shape_is_refused(call):
    with pytest.raises(TypeCheckError, match="Type-check error whilst checking the parameters of"):
        call()


def test_shapes_are_those_of_one_example_under_vmap_and_jit():
    """A function sees what its caller passes, without the axis that is mapped over."""
    each = jnp.stack([TWO, TWO])
    mapped = jax.jit(jax.vmap(losses.total_variation))(each, each)
    assert mapped.shape == (2,)
    with pytest.raises(TypeCheckError):
        jax.jit(jax.vmap(losses.total_variation, in_axes=(0, None)))(each, THREE)


def test_every_module_with_shapes_is_checked():
    """Whatever imports a dtype of jaxtyping is in the list, and nothing else is."""
    root, having = Path(__file__).parents[1], set()
    for path in (root / "dagger_jax").rglob("*.py"):
        heads = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        if "jaxtyping" in heads:
            having.add(".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))
    assert all(any(f"{name}.".startswith(f"{checked}.") for checked in CHECKED) for name in having)
    assert set(CHECKED) <= having
