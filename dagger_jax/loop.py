"""The outer loop of every algorithm: play a round, ask for labels, fit. The only scan over rounds.

All that a run knows between two rounds is in its `State`; everything else is a function of (key, round). So a run that
is cut into pieces gives the bits of one that is not (on one device).
"""

# Strict, but for what JAX's own signatures leave unknown:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import loops
from dagger_jax.controllers import Controller, Seen
from dagger_jax.protocols import Gate, Label, Learner
from dagger_jax.schedules import row as row_of
from dagger_jax.types import Array, Schedule


class State(NamedTuple):
    """Everything a run knows between two rounds: a tree of arrays, to be saved as it is."""

    round: Array  # [] int32, rounds done
    learner: Any  # the learner's state
    gate: Any  # what the gate keeps; None: no gate
    control: Any  # the controller's state; None: no controller
    column: Any  # [T] what it wrote into its column of the next row


class Moment(NamedTuple):
    """What a round shows to whoever measures it."""

    round: Array  # [] from 0
    row: Schedule  # columns [T], as they were played
    before: Any  # the learner's state when it acted
    agent: Any  # what acted
    shown: Any  # what was seen of the episodes
    batch: Any  # the labels
    info: Any  # what the learner says of its update
    learner: Any  # its state afterwards


class Parts(NamedTuple):
    """What the loop calls. World, expert and keys are what these are closed over.

    A run on something new is these five functions: see `tabular.interaction.parts` for tables,
    `text.training.parts` for text, `control.training.parts` for everything else.
    """

    learner: Learner
    play: Callable[[Any, Schedule, Array, Any], Any]  # (agent, row, round, takeover or None) -> what the episodes show
    label: Label
    seen: Callable[[Schedule, Any, Any], Seen] | None = None  # (row, agent, shown), where there is a controller
    gate: Gate | None = None
    controller: Controller | None = None


def begin(
    learner: Learner,
    key: Array | None,
    horizon: int,
    *,
    gate: Gate | None = None,
    controller: Controller | None = None,
) -> State:
    """The state before the first round.

    Args:
      learner: of the run, as the gate and the controller.
      key: for the learner's beginning; None where it draws nothing.
      horizon: T.
      gate: None: no gate.
      controller: None: no controller.
    """
    control, column = (None, None) if controller is None else controller.init(horizon)
    column = None if column is None else jnp.asarray(column, jnp.result_type(float))
    kept = None if gate is None else gate.init()
    return State(jnp.zeros((), jnp.int32), learner.init(key), kept, control, column)


def advance(
    parts: Parts,
    schedule: Schedule,
    state: State,
    *,
    rounds: int,
    key: Array | None = None,
    length: Array | None = None,
    measure: Callable[[Moment], Any] = lambda moment: None,
) -> tuple[State, Any]:
    """The next rounds of a run. Pure: jit it, vmap it over schedules, keys or whatever `parts` are closed over.

    Args:
      parts: of the run.
      schedule: [N, T], of the whole run; the last row is repeated beyond its end.
      state: from `begin`, or as it was saved.
      rounds: how many to do. Static.
      key: for learners that draw; round n draws from `fold_in(key, n)`.
      length: [] int, at most `rounds`: only so many are done. It is data: one program serves all. None: all.
      measure: pure; what it returns of each round is stacked.

    A controller rewrites its column round by round from what the round showed, but after rounds with beta > 0, in which
    the expert moves the novice too: what is seen there of the learner is not its own.

    Returns:
      The state after them, and what was measured.

    Raises:
      ValueError: a controller and a gate at once, or a controller without `seen`.
    """
    controller, gate, last = parts.controller, parts.gate, schedule.join.shape[0] - 1
    if controller is not None and gate is not None:
        raise ValueError("a controller reads the learner's own walk, a gate interrupts it: give one of them")

    def one_round(state: State, _: Array) -> tuple[State, Any]:
        row = row_of(schedule, jnp.minimum(state.round, last))
        row = row if controller is None else row._replace(**{controller.column: state.column})
        agent = parts.learner.agent(state.learner, row)
        takeover = None if gate is None else gate.decide(state.gate, state.learner)
        shown = parts.play(agent, row, state.round, takeover)
        batch = parts.label(shown, row, agent)
        draws = None if key is None else jax.random.fold_in(key, state.round)
        learner, info = parts.learner.update(draws, state.learner, batch, row)
        measured = measure(Moment(state.round, row, state.learner, agent, shown, batch, info, learner))
        after = state._replace(round=state.round + 1, learner=learner)
        if gate is not None:
            after = after._replace(gate=gate.update(state.gate, shown))
        if controller is not None:
            if parts.seen is None:
                raise ValueError("a controller reads what a round showed: these parts have no `seen`")
            told = controller.update(state.control, parts.seen(row, agent, shown))
            told = told[0], told[1].astype(jnp.asarray(state.column).dtype)
            own = True if row.beta is None else row.beta.max() == 0
            kept = jax.tree.map(lambda new, old: jnp.where(own, new, old), told, (state.control, state.column))
            after = after._replace(control=kept[0], column=kept[1])
        return after, measured

    return loops.scan(one_round, state, jnp.arange(rounds), length)
