"""Published roll-out strategies as schedules: who acts, for how long, and when.

Each is a constructor of a few lines with its citation, so that they can be compared at an equal cost. What a
strategy varies over rounds is a length in steps; `over_rounds` makes lengths of any optax schedule. The rules of all:
docs/theory.md#published-roll-out-strategies.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dagger_jax import schedules
from dagger_jax.checks import known, namespace
from dagger_jax.types import Array, Schedule

# ---- lengths over rounds --------------------------------------------------------------------------------------


def by_round(schedule: optax.Schedule, rounds: int) -> Array:
    """An optax schedule's values in rounds 0..N-1. [N]"""
    values = jnp.asarray(jax.vmap(schedule)(jnp.arange(rounds)))
    return namespace(values).asarray(values)


def over_rounds(schedule: optax.Schedule | Array | float, rounds: int, horizon: int) -> Array:
    """Whole lengths in 1..T, one a round, of an optax schedule (called with n = 0..N-1), an array or a number. [N]

    Raises:
      ValueError: a length that is not a number (outside jit only).
    """
    values = by_round(schedule, rounds) if callable(schedule) else schedule
    xp, found = namespace(values), known(values)
    values = xp.broadcast_to(xp.asarray(values), rounds)
    if found is not None and (bad := np.flatnonzero(np.isnan(values))).size:
        raise ValueError(f"the schedule's length in round {bad[0]} is not a number")
    return xp.clip(xp.round(values), 1, horizon).astype(np.int32)


def inverse_sigmoid(slowness: float) -> optax.Schedule:
    """kappa / (kappa + exp(n / kappa)), kappa >= 1: scheduled sampling's third decay (arXiv 1506.03099)."""
    return lambda n: slowness / (slowness + jnp.exp(n / slowness))


def linear_decay(floor: float, start: float, rate: float) -> optax.Schedule:
    """max(floor, start - rate n): scheduled sampling's first decay (arXiv 1506.03099)."""
    return lambda n: jnp.maximum(floor, start - rate * n)


def mbpo_length(first: float, last: float, begin: int, end: int) -> optax.Schedule:
    """min(max(x + (n - a) / (b - a) (y - x), x), y): MBPO's linear roll-out length (arXiv 1906.08253)."""
    return lambda n: jnp.clip(first + (n - begin) / (end - begin) * (last - first), first, last)


# ---- strategies over rounds -----------------------------------------------------------------------------------


def _by_step(steps: Array) -> Array:
    """[N] -> [N, 1], to be compared with steps."""
    return namespace(steps).asarray(steps)[:, None]


def chunks(lengths: Array, horizon: int) -> Schedule:
    """Chunks of k_n steps in round n. `lengths` [N], traced. The expert continues from the learner's states."""
    return schedules.chunked(lengths.shape[0], schedules.starts(horizon, lengths))


def excursions(lengths: Array, horizon: int) -> Schedule:
    """The learner's excursions of k_n steps from the expert's states; with `mbpo_length`, MBPO's branched roll-outs."""
    return schedules.reset(lengths.shape[0], schedules.starts(horizon, lengths))


def jump_start(guide_steps: Array, horizon: int) -> Schedule:
    """JSRL (arXiv 2204.02372): the guide acts for the first h_n steps, then the learner, labelled where it acts."""
    late = np.arange(horizon) >= _by_step(guide_steps)
    return schedules.table(guide_steps.shape[0], horizon, beta=1.0 - late, join=1.0, label_novice=late)


def prefix(lengths: Array, horizon: int) -> Schedule:
    """The learner is labelled on the first h_n steps of its own roll-out only.

    Growing h_n: POPD (arXiv 2605.31490). Constant T/10: TOPD (ibid.). Constant K: ESR (arXiv 2605.27028).
    """
    early = np.arange(horizon) < _by_step(lengths)
    return schedules.table(lengths.shape[0], horizon, join=1.0, label_novice=early)


def mixer(teacher_steps: Array, horizon: int) -> Schedule:
    """MIXER (arXiv 1511.06732): labels on the expert's first s_n steps, then on the learner's continuation of them."""
    step, s = np.arange(horizon), _by_step(teacher_steps)
    return schedules.table(
        teacher_steps.shape[0],
        horizon,
        join=step == 0,
        back=(step == s) & (step > 0),
        label_guide=step < s,
        label_novice=step >= s,
    )


def corrections(fork: Array, horizon: int, length: Array | int | None = None) -> Schedule:
    """The learner writes up to step f_n, then the expert, labelled, to the end or for `length` steps.

    To the end: on-policy expert corrections (arXiv 2512.14895). For k steps after a random prefix: the
    founding algorithm of this project.
    """
    step, f = np.arange(horizon), _by_step(fork)
    last = horizon if length is None else f + length
    join = (step == 0) | (step == f)
    return schedules.table(fork.shape[0], horizon, join=join, label_guide=(step >= f) & (step < last))
