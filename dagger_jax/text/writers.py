"""Writers: whoever continues a prefix with known probabilities. Experts are writers, and so are learners.

A writer is `start() -> state` and `feed(state, token, position) -> (state, log probabilities [V])`: it is given the
token before `position` (V: the beginning) and says how the next one is distributed. A state stands for a prefix and is
a tree of arrays of fixed shape, so that it is carried through a scan, and jumps with a walker from one prefix to
another.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dagger_jax import checks
from dagger_jax.precision import product
from dagger_jax.text import transformer
from dagger_jax.types import Array, Node

IMPOSSIBLE = -1e9  # log probability of what is never written


class Writer(Protocol):
    """See the module."""

    @property
    def vocabulary(self) -> int: ...

    def start(self) -> Any: ...

    def feed(self, state: Any, token: Array, position: Array | int) -> tuple[Any, Array]: ...


class Machine(Node):
    """A finite machine: the token written decides on the next state. Q states, L = T where it changes with the step.

    Markov writers of any order, bounded brackets and grammars, garbage that is never left.
    """

    emission: Array  # [L, Q, V] probability of the next token
    following: Array  # [Q, V] int, the state after a token
    first: int = struct.field(pytree_node=False, default=0)

    @property
    def vocabulary(self) -> int:
        return self.emission.shape[-1]

    def start(self) -> Array:
        """The state before the first token."""
        return jnp.asarray(self.first)

    def feed(self, state: Array, token: Array, position: Array | int) -> tuple[Array, Array]:
        """The state after the token, and log probabilities [V] of the next."""
        after = jnp.asarray(self.following)[state, jnp.minimum(token, self.vocabulary - 1)]
        state = jnp.where(token == self.vocabulary, state, after)
        step = position if self.emission.shape[0] > 1 else 0
        return state, logarithm(jnp.asarray(self.emission)[step, state])


class Hidden(Node):
    """A hidden Markov model: a hidden state moves, then writes. A prefix's state is its filter. H hidden states."""

    transition: Array  # [H, H]
    emission: Array  # [H, V]
    initial: Array  # [H] law of the hidden state that writes the first token

    @property
    def vocabulary(self) -> int:
        return self.emission.shape[-1]

    def start(self) -> Array:
        """The law of the hidden state that writes the first token. [H]"""
        return jnp.asarray(self.initial)

    def feed(self, state: Array, token: Array, position: Array | int) -> tuple[Array, Array]:
        """The filter after the token, and log probabilities [V] of the next."""
        emission = jnp.asarray(self.emission)
        joint = state * emission[:, jnp.minimum(token, self.vocabulary - 1)]
        total = joint.sum()
        # A prefix that cannot be written leaves the filter where it was.
        known = jnp.where(total > 0, joint / jnp.where(total > 0, total, 1.0), state)
        moved = product("h,hg->g", known, jnp.asarray(self.transition))
        state = jnp.where(token == self.vocabulary, state, moved)
        return state, logarithm(product("h,hv->v", state, emission))


class Stack(NamedTuple):
    """What a grammar has still to write, the top last."""

    symbols: Array  # [D] int
    height: Array  # [] int; -1: the prefix is in no word of the grammar


class Grammar(Node):
    """A probabilistic context-free grammar in Greibach form, one rule a (symbol, token): symbol -> token, symbols.

    Its state is the stack of symbols that a leftmost derivation has still to write, so every prefix has one
    derivation, and which tokens continue it is known. When the stack is empty, when a prefix is in no word, or when a
    rule would need a higher stack, only `end` is written. G symbols, K the longest tail, D the highest stack.
    """

    probability: Array  # [G, V] of each symbol's rule that writes a token; 0: there is none
    tail: Array  # [G, V, K] int symbols that the rule leaves to be written, in order; -1: none
    end: int = struct.field(pytree_node=False)  # the token after a word
    height: int = struct.field(pytree_node=False)  # D
    symbol: int = struct.field(pytree_node=False, default=0)  # the one to begin with

    @property
    def vocabulary(self) -> int:
        return self.probability.shape[-1]

    def start(self) -> Stack:
        """The first symbol alone."""
        return Stack(jnp.zeros(self.height, int).at[0].set(self.symbol), jnp.asarray(1))

    def allowed(self, state: Stack) -> Array:
        """Probabilities of the tokens that continue the prefix [V]: the rules of the top symbol, renormalised."""
        top = state.symbols[jnp.maximum(state.height - 1, 0)]
        grows = (jnp.asarray(self.tail)[top] >= 0).sum(-1) - 1
        fits = jnp.asarray(self.probability)[top] * (state.height + grows <= self.height)
        total = fits.sum()
        ends = jax.nn.one_hot(self.end, self.vocabulary)
        return jnp.where((state.height > 0) & (total > 0), fits / jnp.where(total > 0, total, 1.0), ends)

    def feed(self, state: Stack, token: Array, position: Array | int) -> tuple[Stack, Array]:
        """The stack after the token, and log probabilities [V] of the next."""
        token = jnp.asarray(token)
        written = jnp.minimum(token, self.vocabulary - 1)
        possible = self.allowed(state)[written] > 0
        top = state.symbols[jnp.maximum(state.height - 1, 0)]
        tail = jnp.asarray(self.tail)[top, written]
        symbols, height = state.symbols, jnp.maximum(state.height - 1, 0)
        for symbol in tail[::-1]:  # the first to be written goes on top
            symbols = jnp.where(
                symbol >= 0, jnp.asarray(symbols).at[jnp.minimum(height, self.height - 1)].set(symbol), symbols
            )
            height = height + (symbol >= 0)
        height = jnp.where(state.height > 0, height, state.height)
        after = Stack(symbols, jnp.where(possible, height, -1))
        begun = token != self.vocabulary
        state = jax.tree.map(lambda new, old: jnp.where(begun, new, old), after, state)
        return state, logarithm(self.allowed(state))


class Frozen(Node):
    """A transformer with its parameters: a learner, or a trained one as the writer. Its state is its KV cache."""

    config: transformer.Config
    params: Any

    @property
    def vocabulary(self) -> int:
        return self.config.vocabulary

    def start(self) -> transformer.Cache:
        """An empty cache."""
        return transformer.empty(self.config)

    def feed(self, state: transformer.Cache, token: Array, position: Array | int) -> tuple[transformer.Cache, Array]:
        """The cache after the token, and log probabilities [V] of the next."""
        logits, state = transformer.decode(self.config, self.params, state, token, position)
        return state, jax.nn.log_softmax(logits)


def longest(writer: Any) -> float:
    """Tokens T that a writer, and every writer in it, can write at most: a cache or a law by step has an end."""
    bounded = lambda node: isinstance(node, Frozen | Machine)
    parts = jax.tree.leaves(writer, is_leaf=bounded)
    lengths = [part.config.length for part in parts if isinstance(part, Frozen)]
    lengths += [len(part.emission) for part in parts if isinstance(part, Machine) and len(part.emission) > 1]
    return min(lengths, default=float("inf"))


def logarithm(law: Array) -> Array:
    """Natural logarithms, IMPOSSIBLE where a probability is 0."""
    return jnp.where(law > 0, jnp.log(jnp.where(law > 0, law, 1.0)), IMPOSSIBLE)


# ---- machines ----------------------------------------------------------------------------------------------------


def markov(law: Array, order: int) -> Machine:
    """The order-m Markov writer of P(next | last m tokens), [V + 1, ..., V + 1, V]; V stands before the beginning.

    Raises:
      ValueError: a law of another shape, or whose rows do not sum to 1.
    """
    law = np.asarray(law, float)
    vocabulary = law.shape[-1]
    if order < 0 or law.shape != (*((vocabulary + 1,) * order), vocabulary):
        raise ValueError(f"law must be [V + 1] * {order} + [V], got {list(law.shape)}")
    law = checks.laws("law", law)
    states = (vocabulary + 1) ** order
    contexts = np.arange(states)[:, None]
    following = (
        (contexts * (vocabulary + 1) + np.arange(vocabulary)) % states if order else np.zeros((1, vocabulary), int)
    )
    return Machine(law.reshape(1, states, vocabulary), following, states - 1)  # all V: the beginning


def random_markov(vocabulary: int, order: int, seed: int | tuple[int, ...] = 0, concentration: float = 0.5) -> Machine:
    """A Markov writer whose laws are drawn from a Dirichlet law."""
    rng = np.random.default_rng(seed)
    shape = (vocabulary + 1,) * order
    return markov(rng.dirichlet(np.full(vocabulary, concentration), shape), order)


def fitted(tokens: Array, vocabulary: int, order: int, smoothing: float = 0.5) -> Machine:
    """An order-m writer fitted to a text: (n(context, token) + a) / (n(context) + a V), a = `smoothing`.

    A text may begin anywhere in it: n tokens after a beginning, n < m, the context is these n alone, wherever they
    stand. So the first token has the law of all tokens. Contexts that the text never shows are uniform.

    Raises:
      ValueError: a text shorter than the order, tokens outside 0..V-1, or a table above 2^24 entries.
    """
    tokens = np.asarray(tokens)
    if len(tokens) <= order:
        raise ValueError(f"a text of {len(tokens)} tokens is too short for order {order}")
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        raise ValueError(f"tokens must lie in 0..{vocabulary - 1}, got {tokens.min()}..{tokens.max()}")
    if (vocabulary + 1) ** order * vocabulary > 2**24:
        raise ValueError(f"order {order} over {vocabulary} tokens needs a table above 2^24 entries")
    counts = np.zeros(((vocabulary + 1,) * order) + (vocabulary,))
    for known in range(order + 1):
        windows = np.lib.stride_tricks.sliding_window_view(tokens, known + 1)
        np.add.at(counts, ((vocabulary,) * (order - known) + tuple(windows.T)), 1)
    counts += smoothing
    total = counts.sum(-1, keepdims=True)
    return markov(np.divide(counts, total, out=np.full_like(counts, 1 / vocabulary), where=total > 0), order)


def with_garbage(writer: Machine, recovers: float) -> Machine:
    """A writer with one more token, garbage (the last, V): it never writes it, but a learner may.

    After garbage the writer returns to its beginning with probability `recovers` a token, and writes garbage otherwise:
    1 recovers at once (u = 1), 0 never (u = T).
    """
    if not 0 <= recovers <= 1:
        raise ValueError(f"recovers must lie in [0, 1], got {recovers}")
    emission, following = np.asarray(writer.emission), np.asarray(writer.following)
    length, states, vocabulary = emission.shape
    wider = np.zeros((length, states + 1, vocabulary + 1))
    wider[:, :states, :vocabulary] = emission
    wider[:, states, :vocabulary] = recovers * emission[:, writer.first]
    wider[:, states, vocabulary] = 1 - recovers
    after = np.full((states + 1, vocabulary + 1), states)
    after[:states, :vocabulary] = following
    after[states, :vocabulary] = following[writer.first] if recovers > 0 else states
    return Machine(wider, after, writer.first)


def brackets(kinds: int, depth: int, going_on: float = 0.5) -> Grammar:
    """Dyck words of several kinds, one after another: open with probability `going_on`, else close or end.

    Tokens: open 0..kinds-1, close kinds..2 kinds - 1, end 2 kinds.
    """
    if kinds < 1 or depth < 1:
        raise ValueError(f"brackets need kinds >= 1 and depth >= 1, got {kinds} and {depth}")
    vocabulary = 2 * kinds + 1
    probability, tail = np.zeros((kinds + 1, vocabulary)), np.full((kinds + 1, vocabulary, 2), -1)
    for symbol in range(kinds + 1):  # symbol 0 is the whole text, symbol j + 1 an open bracket of kind j
        probability[symbol, :kinds] = going_on / kinds
        probability[symbol, 2 * kinds if symbol == 0 else kinds + symbol - 1] = 1 - going_on
        for kind in range(kinds):
            tail[symbol, kind] = kind + 1, symbol
    return Grammar(probability, tail, 2 * kinds, depth + 1)
