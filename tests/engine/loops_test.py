"""The one loop over steps and rounds, whose number of turns is data."""

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import loops
from tests.walked import same


def body(carry, x):
    return carry * 2 + x["a"], {"sum": carry + x["b"].sum(), "odd": carry % 2 == 1}


TURNS = {"a": jnp.arange(6), "b": jnp.arange(12.0).reshape(6, 2)}


def test_a_scan_without_length_is_that_of_jax():
    same(loops.scan(body, jnp.int32(1), TURNS), jax.lax.scan(body, jnp.int32(1), TURNS))


def test_a_scan_takes_as_many_turns_as_it_is_told():
    """One program, the body traced no more often than by any length; zeros beyond; under vmap over what is carried."""
    traced = []

    def counted(carry, x):
        traced.append(None)
        return body(carry, x)

    scan = jax.jit(lambda length, init: loops.scan(counted, init, TURNS, length))
    for length in range(7):
        carry, ys = scan(jnp.int32(length), jnp.int32(1))
        cut = jax.tree.map(lambda leaf, n=length: leaf[:n], TURNS)
        wanted, first = jax.lax.scan(body, jnp.int32(1), cut)
        assert carry == wanted
        same(jax.tree.map(lambda leaf, n=length: leaf[:n], ys), first)
        assert not any(np.any(leaf[length:]) for leaf in jax.tree.leaves(ys))
    assert len(traced) == 1
    inits = jnp.arange(5)
    many = jax.vmap(lambda init: loops.scan(body, init, TURNS, jnp.int32(4)))(inits)
    same(many[0], jax.vmap(lambda init: loops.scan(body, init, jax.tree.map(lambda x: x[:4], TURNS))[0])(inits))


def test_what_is_drawn_ahead_is_what_the_turn_draws():
    """By any number of turns at once, which need not divide the loop's; also where the length is data."""
    draw = lambda turn: {"square": turn**2, "row": turn + jnp.arange(3)}
    for count in (1, 2, 4, 7):
        drawn = loops.Ahead(draw, count)
        for length in (None, jnp.int32(6)):
            _, taken = loops.scan(drawn.take, drawn.begin(), jnp.arange(6), length)
            same(taken, jax.vmap(draw)(jnp.arange(6)))
