"""Token worlds as tabular problems, so that the exact interpreter, its evidence and its bounds apply to text.

A state is what writer and learner need of a prefix: the writer's state, and the last c tokens, which the learner sees.
An action is a token; transitions are certain, for a prefix grows by the token written.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from dagger_jax.precision import float64
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.transitions import dense
from dagger_jax.text import walk
from dagger_jax.text.writers import Machine, Writer
from dagger_jax.types import Array, Problem

LARGEST_WORLD = 2**25  # entries S x A x S of a transition, 256 MiB
LARGEST_TREE = 2**22  # entries V^T x T x V of the laws before every token of every text


class States(NamedTuple):
    """What prefixes of at most T tokens can come to, in the order of first arrival. S states, the first is 0."""

    writer: np.ndarray  # [S] int, the machine's state
    context: np.ndarray | None  # [S] int, the last c tokens as a number of base V + 1 (V: before the beginning)
    following: np.ndarray  # [S, V] int, the state after a token; itself where T tokens have been written


# ---- costs -------------------------------------------------------------------------------------------------------


def wrong(machine: Machine, horizon: int) -> np.ndarray:
    """1 - the token's probability: how often the writer, asked at this prefix, writes another one."""
    return 1 - _law(machine)


def impossible(machine: Machine, horizon: int) -> np.ndarray:
    """1 where the writer never writes this token."""
    return (_law(machine) == 0).astype(float)


def garbage(machine: Machine, horizon: int) -> np.ndarray:
    """1 where the token is one that the writer alone never writes, or leads to a state that it alone never comes to.

    After garbage (`writers.with_garbage`) it is 1 until the text has recovered.
    """
    law, following = _law(machine), np.asarray(machine.following)
    seen = here = np.eye(law.shape[1], dtype=bool)[machine.first]
    written = np.zeros(law.shape[-1], bool)
    for step in range(horizon):
        possible = here[:, None] & (law[step if len(law) > 1 else 0] > 0)
        written |= possible.any(0)
        here = np.zeros_like(here)
        here[following[possible]] = True
        seen = seen | here
    return np.broadcast_to(~written | ~seen[following], (1, *following.shape)).astype(float)


Cost = Callable[[Machine, int], np.ndarray]  # (machine of Q states, T) -> [L, Q, V], in [0, 1] a token
COSTS: Mapping[str, Cost] = {"wrong": wrong, "impossible": impossible, "garbage": garbage}


def priced(machine: Machine, horizon: int, cost: str) -> np.ndarray:
    """A cost of tokens by its name: [L, Q, V], in [0, 1]. Raises ValueError for a name that is not in COSTS."""
    if cost not in COSTS:
        raise ValueError(f"cost must be one of {', '.join(COSTS)}, got {cost!r}")
    return COSTS[cost](machine, horizon)


# ---- worlds ------------------------------------------------------------------------------------------------------


def states(machine: Machine, horizon: int, context: int | None) -> States:
    """What prefixes of at most T tokens come to, as pairs of machine state and the last `context` tokens.

    None: the machine's states alone.
    """
    following = np.asarray(machine.following)
    vocabulary = machine.vocabulary
    if context is not None and context < 0:
        raise ValueError(f"context must be at least 0 tokens, got {context}")
    if context is not None and len(following) * (vocabulary + 1.0) ** context > 2**62:
        raise ValueError(f"context {context} over {vocabulary} tokens has too many values to be numbered")
    contexts = 1 if context is None else (vocabulary + 1) ** context

    def after(codes: np.ndarray) -> np.ndarray:
        own, seen = codes // contexts, codes % contexts
        later = (seen[:, None] * (vocabulary + 1) + np.arange(vocabulary)) % contexts
        return following[own] * contexts + later

    limit = int((LARGEST_WORLD / vocabulary) ** 0.5)
    codes, targets = explore(machine.first * contexts + contexts - 1, after, horizon, limit)
    return States(codes // contexts, None if context is None else codes % contexts, targets)


def explore(
    first: int, after: Callable[[np.ndarray], np.ndarray], horizon: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """All numbers [S] that T steps come to from `first`, and where in them each token leads [S, V].

    Args:
      first: number to begin with.
      after: numbers [M] -> their successors [M, V].
      horizon: T, steps; what is reached by the last of them leads to itself.
      limit: of S.

    Raises:
      ValueError: more numbers than the limit.
    """
    known = frontier = np.array([first])
    for _ in range(horizon):
        frontier = np.setdiff1d(after(frontier), known)
        known = np.concatenate([known, frontier])
        if len(known) > limit:
            raise ValueError(f"texts of {horizon} tokens come to more than {limit} states: too many for a table")
        if not len(frontier):
            break
    order = np.argsort(known)
    targets = after(known)
    place = order[np.minimum(np.searchsorted(known, targets, sorter=order), len(known) - 1)]
    return known, np.where(known[place] == targets, place, np.arange(len(known))[:, None])


def problem(machine: Machine, horizon: int, context: int | None, cost: str = "wrong", name: str = "tokens") -> Problem:
    """A token world as a tabular problem: the machine is the expert, the learner sees the last `context` tokens.

    Args:
      machine: the writer.
      horizon: T, tokens.
      context: c; None: the learner sees the machine's state.
      cost: a name of COSTS. Nats are in no interval: see `evidence`.
      name: of the problem.

    Raises:
      ValueError: more than LARGEST_WORLD entries of a transition (`walk` needs none), an unknown cost, an emission
        over fewer steps than T.
    """
    charged = priced(machine, horizon, cost)
    emission = _law(machine)
    if 1 < len(emission) < horizon:
        raise ValueError(f"the machine's emission is given for {len(emission)} steps, the horizon is {horizon}")
    found = states(machine, horizon, context)
    seen = found.writer if found.context is None else found.context
    observation = np.unique(seen, return_inverse=True)[1].reshape(-1)
    over_time = slice(horizon) if len(emission) > 1 else slice(1)
    charged = np.broadcast_to(charged, emission.shape)[over_time, found.writer]
    world = tabular.world(
        transition=np.eye(len(seen))[found.following],
        cost=charged if len(charged) > 1 else charged[0],
        initial=np.eye(len(seen))[0],
        horizon=horizon,
        observation=observation,
    )
    return Problem(world, emission[over_time, found.writer], name)


def as_machine(problem: Problem, policy: Array) -> Machine:
    """A policy [L, S, A] of a token world as a writer, which `walk` can play: its states are the problem's.

    Raises:
      ValueError: a world whose transitions or first state are not certain, or not the same at every step.
    """
    transition, initial = dense(problem.world.transition), np.asarray(problem.world.initial)
    if len(transition) > 1 or (transition.max(-1) < 1).any() or initial.max() < 1:
        raise ValueError("only a world whose transitions and first state are certain is one of tokens")
    policy = np.asarray(policy)
    if policy.ndim != 3 or policy.shape[1:] != transition.shape[1:3]:
        raise ValueError(f"policy must have shape [L, {problem.world.states}, {problem.world.actions}]")
    return Machine(policy, transition[0].argmax(-1), int(initial.argmax()))


# ---- every prefix ------------------------------------------------------------------------------------------------


def texts(vocabulary: int, horizon: int) -> np.ndarray:
    """All texts of T tokens, in the order of the dictionary. [V^T, T] int32

    Raises:
      ValueError: more than LARGEST_TREE entries with a law at each token.
    """
    if vocabulary ** (horizon + 1.0) * horizon > LARGEST_TREE:
        raise ValueError(f"{vocabulary}^{horizon} texts are too many to enumerate")
    return np.stack(np.unravel_index(np.arange(vocabulary**horizon), (vocabulary,) * horizon), -1).astype(np.int32)


def laws(writer: Writer, tokens: Array) -> np.ndarray:
    """Log probabilities [M, T, V] of a writer before each token of texts [M, T], in float64 (a model's in its own)."""
    return np.asarray(_laws(writer, np.asarray(tokens)))


_laws = float64(jax.vmap(walk.along, in_axes=(None, 0)))


def unrolled(writer: Writer, horizon: int) -> Machine:
    """Any writer as a machine whose states are all prefixes up to T tokens: shorter first, then by the dictionary.

    Texts of T tokens lead to themselves, and are uniform.
    """
    vocabulary = writer.vocabulary
    each = np.exp(laws(writer, texts(vocabulary, horizon)))
    by_length = [each[:: vocabulary ** (horizon - length), length] for length in range(horizon)]
    emission = np.concatenate([*by_length, np.full((vocabulary**horizon, vocabulary), 1.0)])
    inner = len(emission) - vocabulary**horizon
    following = np.repeat(np.arange(len(emission))[:, None], vocabulary, 1)
    following[:inner] = 1 + np.arange(inner * vocabulary).reshape(inner, vocabulary)
    return Machine((emission / emission.sum(-1, keepdims=True))[None], following)


def prefix_tree(writer: Writer, horizon: int, cost: str = "wrong") -> Problem:
    """A problem whose states are all prefixes up to T tokens, as in `unrolled`. The learner sees all of them.

    The law of its state after T steps is that of whole texts.
    """
    return problem(unrolled(writer, horizon), horizon, None, cost, "prefixes")


def _law(machine: Machine) -> np.ndarray:
    return np.asarray(machine.emission, np.float64)
