"""The one loop over steps and over rounds: a scan whose number of turns may be data."""

# Strict, but for what JAX's own signatures leave unknown:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from dagger_jax.types import Array

C = TypeVar("C")


def scan(
    body: Callable[[C, Any], tuple[C, Any]], init: C, xs: Any, length: Array | None = None, *, reverse: bool = False
) -> tuple[C, Any]:
    """`jax.lax.scan(body, init, xs)`, of which only the first `length` turns are taken.

    Args:
      body: (carry, x) -> (carry, y), traced once.
      init: the carry before the first turn.
      xs: arrays [M, ...]: M turns at most.
      length: [] int, at most M; it is data, so one program serves every length, and the turns beyond it take no time.
        Under `vmap` it must not be batched. None: M turns, and the result can be differentiated.
      reverse: from the last of these turns to the first.

    Returns:
      The carry after the last turn that is taken, and the y of every turn, [M, ...]: zeros where none was taken.
    """
    if length is None:
        return jax.lax.scan(body, init, xs, reverse=reverse)
    once = jax.jit(body)
    place = lambda i: jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), xs)
    (most,) = {leaf.shape[0] for leaf in jax.tree.leaves(xs)}
    shapes = jax.eval_shape(lambda: once(init, place(0))[1])
    empty = jax.tree.map(lambda y: jnp.zeros((most, *y.shape), y.dtype), shapes)

    def turn(i: Array, carried: tuple[C, Any]) -> tuple[C, Any]:
        carry, ys = carried
        i = length - 1 - i if reverse else i
        carry, y = once(carry, place(i))
        put = lambda all, one: jax.lax.dynamic_update_index_in_dim(all, one, i, 0)
        return carry, jax.tree.map(put, ys, y)

    return jax.lax.fori_loop(0, length, turn, (init, empty))


class Ahead(NamedTuple):
    """What each turn of a loop draws, for several turns at once, and carried to them: see `randomness.crossing`."""

    draw: Callable[[Array], Any]  # of the turn [], a tree of arrays
    at_once: int  # turns; they need not divide the loop's

    def begin(self) -> Any:
        """What is carried before turn 0."""
        if self.at_once == 1:
            return ()
        shapes = jax.eval_shape(self.draw, jax.ShapeDtypeStruct((), jnp.int32))
        return jax.tree.map(lambda one: jnp.zeros((self.at_once, *one.shape), one.dtype), shapes)

    def take(self, carried: Any, turn: Array) -> tuple[Any, Any]:
        """What is carried on, and draw(turn)."""
        if self.at_once == 1:
            return carried, self.draw(turn)
        many = lambda: jax.vmap(self.draw)(turn + jnp.arange(self.at_once, dtype=turn.dtype))
        carried = jax.lax.cond(turn % self.at_once == 0, many, lambda: carried)
        one = lambda leaf: jax.lax.dynamic_index_in_dim(leaf, turn % self.at_once, keepdims=False)
        return carried, jax.tree.map(one, carried)
