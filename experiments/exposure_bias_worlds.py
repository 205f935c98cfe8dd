"""Writers of the exposure-bias experiment: one recovers from garbage, one never does, two see more than a table."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np

from dagger_jax import evidence
from dagger_jax.environments import tabular
from dagger_jax.tokens import corpus, worlds, writers
from dagger_jax.tokens.writers import Machine
from dagger_jax.types import Problem
from experiments.claim import BadFlag, Settings

LIBRARY = "library"  # the corpus where no file is named
RECOVERS = {"recovering": 1.0, "absorbing": 0.0}  # probability a token that the writer returns from garbage
MISSPECIFIED = ("markov", "corpus")  # writers that see more tokens than the tabular learner
NAMES = (*RECOVERS, *MISSPECIFIED)
CONCENTRATION = 0.5  # of the Dirichlet law that random writers' laws are drawn from


class Sizes(NamedTuple):
    """What decides on a world, besides its name."""

    length: int  # T
    vocabulary: int  # V
    order: int  # of writers outside the learner's class
    context: int  # tokens that the tabular learner sees
    corpus: str  # path or LIBRARY
    seed: int


def sizes(settings: Settings) -> Sizes:
    """The sizes among the settings."""
    return Sizes(*(settings.values[name] for name in Sizes._fields))


def cost(world: str) -> str:
    """The cost of tokens whose recoverability u the world is known by, a name of `worlds.COSTS`."""
    return "garbage" if world in RECOVERS else "wrong"


def writer(world: str, of: Sizes, run: int) -> Machine:
    """The expert of a run, a fresh random one but for the corpus; all have V tokens and equally many states.

    Raises:
      ValueError: a corpus that cannot be read, a table that is too large.
    """
    if world == "corpus":
        return _padded(writers.fitted(text(of).tokens, of.vocabulary, of.order), of)
    if world == "markov":
        return _padded(writers.random_markov(of.vocabulary, of.order, (of.seed, run), CONCENTRATION), of)
    own = writers.random_markov(of.vocabulary - 1, of.context, (of.seed, run), CONCENTRATION)
    return _padded(writers.with_garbage(own, RECOVERS[world]), of)


@functools.lru_cache(maxsize=4)
def text(of: Sizes) -> corpus.Corpus:
    """The corpus in V tokens."""
    path = None if of.corpus == LIBRARY else of.corpus
    return corpus.load(path, vocabulary=of.vocabulary, length=of.length, order=of.order)


def digest(of: Sizes) -> str:
    """Tells texts apart: another text behind the same path is another block of work."""
    return hashlib.sha256(text(of).tokens.tobytes()).hexdigest()[:12]


def problem(world: str, of: Sizes, run: int) -> Problem:
    """The world as a tabular problem for a learner that sees the last `context` tokens; as many states in all worlds.

    Raises:
      ValueError: as `writer`, and where there are too many states.
    """
    small = worlds.problem(writer(world, of, run), of.length, of.context, cost(world), world)
    own, count = small.world, small.world.states
    largest = sum(of.vocabulary**n for n in range(of.order + 1))  # texts of up to `order` tokens
    more = max(0, largest - count)
    transition = np.zeros((count + more, of.vocabulary, count + more))
    transition[:count, :, :count] = own.transition[0]
    transition[range(count, count + more), :, range(count, count + more)] = 1.0
    return Problem(
        tabular.world(
            transition=transition,
            cost=np.pad(own.cost[0], ((0, more), (0, 0))),
            initial=np.pad(own.initial, (0, more)),
            horizon=of.length,
            observation=np.pad(own.observation, (0, more)),
        ),
        np.pad(small.expert, ((0, 0), (0, more), (0, 0)), constant_values=1 / of.vocabulary),
        "tokens",
    )


def recoverability(of: Problem) -> float:
    """u: what one token costs at most, in garbage tokens, or where there are none in tokens the writer would change."""
    return float(evidence.constants(of).recoverability)


def check(settings: Settings) -> None:
    """Raises BadFlag for worlds that cannot be built."""
    of = sizes(settings)
    if of.order <= of.context:
        raise BadFlag("order", f"{of.order} is no more than the context; allowed: above {of.context}, the context")
    if "corpus" in settings.worlds:
        try:
            text(of)
        except (OSError, ValueError) as error:
            raise BadFlag("vocabulary" if str(error).startswith("vocabulary") else "corpus", str(error)) from error
    for world in settings.worlds:
        try:
            problem(world, of, 0)
        except ValueError as error:
            name = "vocabulary" if world in MISSPECIFIED else "context"
            raise BadFlag(name, f"{of.vocabulary} tokens, order {of.order}: {error}") from error


def _padded(machine: Machine, of: Sizes) -> Machine:
    """The first state first, and states that nothing leads to: all worlds of a size share their compiled programs."""
    count = len(machine.following)
    order = np.concatenate([[machine.first], np.delete(np.arange(count), machine.first)])
    emission, following = machine.emission[:, order], np.argsort(order)[machine.following[order]]
    more = (of.vocabulary + 1) ** of.order - count
    uniform = np.full((len(emission), more, of.vocabulary), 1 / of.vocabulary)
    own = np.repeat(np.arange(count, count + more)[:, None], of.vocabulary, 1)
    return Machine(np.concatenate([emission, uniform], 1), np.concatenate([following, own]))
