"""Writers of the exposure-bias experiment: one recovers from garbage, one never does, two see more than a table.

And three that are no table at all, from which transformers alone learn: a hidden Markov model, brackets, and a
transformer from a checkpoint.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dagger_jax import evidence
from dagger_jax.tabular import worlds as tabular
from dagger_jax.text import checkpoint, worlds, writers
from dagger_jax.text.writers import Machine, Writer
from dagger_jax.types import Problem

from ..claim import BadFlag, Settings, inputs
from ..shared import text

NO_WRITER = "none"  # no checkpoint is named
RECOVERS = {"recovering": 1.0, "absorbing": 0.0}  # probability a token that the writer returns from garbage
MISSPECIFIED = ("markov", "corpus")  # writers that see more tokens than the tabular learner
TABLES = (*RECOVERS, *MISSPECIFIED)
COSTS = dict.fromkeys(RECOVERS, "garbage") | dict.fromkeys(MISSPECIFIED, "wrong")  # names of `worlds.COSTS`
CONCENTRATION = 0.5  # of the Dirichlet law that random writers' laws are drawn from
DEPTH = 4  # of brackets


class Sizes(NamedTuple):
    """What decides on a world, besides its name."""

    length: int  # T
    vocabulary: int  # V
    order: int  # of writers outside the learner's class
    context: int  # tokens that the tabular learner sees
    corpus: str  # of `inputs`, or `text.LIBRARY`
    tokens: str  # what a token of it is
    writer: str  # of `inputs`, or NO_WRITER
    seed: int


def sizes(settings: Settings) -> Sizes:
    """The sizes among the settings."""
    return Sizes(*(settings.values[name] for name in Sizes._fields))


def cost(world: str) -> str | None:
    """The cost of tokens whose recoverability u the world is known by; None where the writer is no table."""
    return COSTS.get(world)


def _hidden(of: Sizes, run: int) -> Writer:
    rng, states = np.random.default_rng((of.seed, run)), of.vocabulary
    law = lambda to, count: rng.dirichlet(np.full(to, CONCENTRATION), count)
    return writers.Hidden(law(states, states), law(of.vocabulary, states), np.full(states, 1 / states))


def _brackets(of: Sizes, run: int) -> Writer:
    if of.vocabulary % 2 == 0:
        raise ValueError(f"brackets have an odd number of tokens, two a kind and an end; allowed: {of.vocabulary + 1}")
    return writers.brackets(of.vocabulary // 2, DEPTH)


def _frozen(of: Sizes, run: int) -> Writer:
    known = inputs.get(of.writer)
    checkpoint.check(known.name, known.content.config, of.vocabulary, of.length)
    return known.content


def load(text: str) -> str:
    """Reads a checkpoint that a flag names, once; it is known by the sizes and parameters of its transformer."""
    if text == NO_WRITER or inputs.is_key(text):
        return text
    try:
        frozen = checkpoint.frozen(Path(text).expanduser())
    except (OSError, RuntimeError) as error:  # a user who is not known
        raise ValueError(f"{inputs.shown(text)} cannot be read ({error})") from error
    return inputs.keep(text, checkpoint.digest(frozen), frozen)


# By name: what builds the writer of a run, and the flag that is wrong where that fails.
OTHERS: dict[str, tuple[Callable[[Sizes, int], Writer], str]] = {
    "hidden": (_hidden, "vocabulary"),
    "brackets": (_brackets, "vocabulary"),
    "frozen": (_frozen, "writer"),
}
NAMES = (*TABLES, *OTHERS)


def writer(world: str, of: Sizes, run: int) -> Writer:
    """The expert of a run, a fresh random one but for corpus, brackets and checkpoint; V tokens, tables equally large.

    Raises:
      ValueError: a corpus that is not fit, a checkpoint of other sizes, a table too large, an even V for brackets.
    """
    return OTHERS[world][0](of, run) if world in OTHERS else table(world, of, run)


def table(world: str, of: Sizes, run: int) -> Machine:
    """The writer of a world in TABLES; raises as `writer`."""
    if world == "corpus":
        own = text.read(of.corpus, of.tokens, of.vocabulary, of.length, of.order)
        return _padded(writers.fitted(own.tokens, of.vocabulary, of.order), of)
    if world == "markov":
        return _padded(writers.random_markov(of.vocabulary, of.order, (of.seed, run), CONCENTRATION), of)
    own = writers.random_markov(of.vocabulary - 1, of.context, (of.seed, run), CONCENTRATION)
    return _padded(writers.with_garbage(own, RECOVERS[world]), of)


def digest(settings: Settings, world: str) -> dict[str, str]:
    """What a world rests on besides the settings: another text is another block of work."""
    return {"text": text.digest(settings)} if world == "corpus" else {}


def problem(world: str, of: Sizes, run: int) -> Problem:
    """The world as a tabular problem for a learner that sees the last `context` tokens; as many states in all worlds.

    Raises:
      ValueError: as `writer`, and where there are too many states.
    """
    small = worlds.problem(table(world, of, run), of.length, of.context, COSTS[world], world)
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
    text.check(settings, "corpus")
    if (of.writer != NO_WRITER) != ("frozen" in settings.worlds):
        raise BadFlag(
            "writer",
            f"{inputs.named(of.writer)} is not what --worlds asks for: a checkpoint, with the world frozen alone",
        )
    for world in settings.worlds:
        if world in OTHERS:
            build, flag = OTHERS[world]
            if "transformer" not in settings.learners:
                raise BadFlag("learners", f"a table cannot be trained and judged on {world}; allowed: transformer")
            try:
                build(of, 0)
            except ValueError as error:
                raise BadFlag(flag, str(error)) from error
            continue
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
