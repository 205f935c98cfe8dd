"""Experts of tabular worlds: policies [L, S, A] given as probabilities."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Float, Integer

from dagger_jax import checks
from dagger_jax.precision import float64
from dagger_jax.tabular.worlds import backward
from dagger_jax.ties import TIE, first_least
from dagger_jax.types import Array, Problem, World


def deterministic(choice: Integer[Array, "*L S"], actions: int) -> Float[np.ndarray, "k S {actions}"]:
    """The policy that takes `choice`, [S] or [T, S] actions. Returns [L, S, A]."""
    choice = np.asarray(choice)
    return np.eye(actions)[choice[None] if choice.ndim == 1 else choice]


@float64
def optimal(world: World) -> Float[Array, "T S A"]:
    """The policy of least expected cost, by backward induction; ties go to the lowest action. [T, S, A]"""
    q, _ = backward(world)
    return jax.nn.one_hot(first_least(q, TIE), world.actions, dtype=q.dtype)


@float64
def softened(world: World, temperature: Float[Array, ""] | float) -> Float[Array, "T S A"]:
    """A stochastic expert: pi(a|s) proportional to exp(-Q_t(s, a) / temperature), Q of the best policy.

    `temperature` is in units of cost. [T, S, A]
    """
    return jax.nn.softmax(-backward(world)[0] / temperature, axis=-1)


def corrupted(of: Problem | World, share: float, seed: int | Sequence[int]) -> Float[np.ndarray, "T S A"]:
    """A deterministic expert with mistakes: at every step and state, with probability `share`, its action is another.

    Args:
      of: a problem, whose expert is corrupted, or a world, whose optimal policy is.
      share: in [0, 1]; 0 is the expert itself, 1 takes a wrong action everywhere.
      seed: of numpy's generator, one number or several. It fixes the mistakes: the result is deterministic. [T, S, A]

    Raises:
      ValueError: a share outside [0, 1], or an expert that is not deterministic.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share:g}")
    world, expert = (of.world, of.expert) if isinstance(of, Problem) else (of, optimal(of))
    expert = np.broadcast_to(expert, (world.horizon, world.states, world.actions))
    if bad := checks.first(expert.max(-1) < 1):
        raise ValueError(f"expert{list(bad)} is {expert[bad].tolist()}: only a deterministic expert is corrupted")
    rng = np.random.default_rng(seed)
    # Both are drawn whatever the share: a larger share keeps the mistakes of a smaller one.
    drawn, away = rng.random(expert.shape[:2]), rng.integers(1, world.actions, expert.shape[:2])
    choice = (expert.argmax(-1) + np.where(drawn < share, away, 0)) % world.actions
    return deterministic(choice, world.actions)


def called(world: World, function: Callable[[int, int], int | Array]) -> Float[np.ndarray, "T S A"]:
    """Any callable as an expert: (step from 0, state) -> the index of an action, or its law [A]. [T, S, A]

    It is called once for every step and state.

    Raises:
      ValueError: naming step and state, where it answers with anything else.
    """
    return np.array([[_law(function, t, s, world.actions) for s in range(world.states)] for t in range(world.horizon)])


def _law(function: Callable[[int, int], int | Array], step: int, state: int, actions: int) -> np.ndarray:
    name = getattr(function, "__name__", type(function).__name__)
    answer = np.asarray(function(step, state))
    allowed = f"allowed: an action from 0 to {actions - 1}, or the probabilities of {actions} actions"
    refused = ValueError(f"expert {name}(step {step}, state {state}) returned {answer.tolist()!r}; {allowed}")
    if answer.ndim == 0 and np.issubdtype(answer.dtype, np.integer) and 0 <= answer < actions:
        return np.eye(actions)[answer]
    if answer.shape != (actions,) or not np.issubdtype(answer.dtype, np.number) or np.iscomplexobj(answer):
        raise refused
    try:
        return checks.laws(f"expert {name}(step {step}, state {state})", answer.astype(np.float64))
    except ValueError:
        raise refused from None
