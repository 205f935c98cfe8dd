"""Published roll-out strategies as schedules: who acts, for how long, and when.

Each is a constructor of a few lines with its citation, so that they can be compared at an equal cost. What a
strategy varies over rounds is a length in steps; `over_rounds` makes lengths of any optax schedule. The rules of all:
docs/theory.md#published-roll-out-strategies.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from dagger_jax import schedules
from dagger_jax.controllers import AdaptiveWindow, ChangePoint, Controller, JumpStart
from dagger_jax.gates import Gate, Novelty, Thrifty
from dagger_jax.labels import Label, RollOut, imitate
from dagger_jax.types import Array, Schedule

# ---- lengths over rounds --------------------------------------------------------------------------------------


def over_rounds(schedule: optax.Schedule | Array | float, rounds: int, horizon: int) -> Array:
    """Whole lengths in 1..T, one a round, of an optax schedule (called with n = 0..N-1), an array or a number. [N]

    Raises:
      ValueError: a length that is not a number (outside jit only).
    """
    n = jnp.arange(rounds)
    values = jax.vmap(schedule)(n) if callable(schedule) else jnp.broadcast_to(jnp.asarray(schedule), n.shape)
    if not isinstance(values, jax.core.Tracer) and (bad := np.flatnonzero(np.isnan(values))).size:
        raise ValueError(f"the schedule's length in round {bad[0]} is not a number")
    return jnp.clip(jnp.round(values), 1, horizon).astype(jnp.int32)


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


def _positive(lengths: Array) -> None:
    if not isinstance(lengths, jax.core.Tracer) and (np.asarray(lengths) < 1).any():
        raise ValueError(f"chunk lengths must be at least 1 step, got {np.asarray(lengths).tolist()}")


def chunks(lengths: Array, horizon: int) -> Schedule:
    """Chunks of k_n steps in round n. `lengths` [N], traced. The expert continues from the learner's states."""
    _positive(lengths)
    return schedules.chunked(lengths.shape[0], jax.vmap(lambda k: schedules.starts(horizon, k))(lengths))


def excursions(lengths: Array, horizon: int) -> Schedule:
    """The learner's excursions of k_n steps from the expert's states; with `mbpo_length`, MBPO's branched roll-outs."""
    _positive(lengths)
    return schedules.reset(lengths.shape[0], jax.vmap(lambda k: schedules.starts(horizon, k))(lengths))


def jump_start(guide_steps: Array, horizon: int) -> Schedule:
    """JSRL (arXiv 2204.02372): the guide acts for the first h_n steps, then the learner, labelled where it acts."""
    late = jnp.arange(horizon) >= guide_steps[:, None]
    return schedules.table(guide_steps.shape[0], horizon, beta=1.0 - late, join=1.0, label_novice=late)


def prefix(lengths: Array, horizon: int) -> Schedule:
    """The learner is labelled on the first h_n steps of its own roll-out only.

    Growing h_n: POPD (arXiv 2605.31490). Constant T/10: TOPD (ibid.). Constant K: ESR (arXiv 2605.27028).
    """
    early = jnp.arange(horizon) < lengths[:, None]
    return schedules.table(lengths.shape[0], horizon, join=1.0, label_novice=early)


def mixer(teacher_steps: Array, horizon: int) -> Schedule:
    """MIXER (arXiv 1511.06732): labels on the expert's first s_n steps, then on the learner's continuation of them."""
    step, s = jnp.arange(horizon), teacher_steps[:, None]
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
    step, f = jnp.arange(horizon), fork[:, None]
    last = horizon if length is None else f + length
    join = (step == 0) | (step == f)
    return schedules.table(fork.shape[0], horizon, join=join, label_guide=(step >= f) & (step < last))


class Strategy(NamedTuple):
    """A published strategy with its usual parameters: a schedule, and what rewrites it while it runs."""

    build: Callable[[int, int], Schedule]  # (rounds, horizon) -> [N, T]
    source: str
    controller: Controller | None = None
    gate: Gate | None = None
    label: Label = imitate


def _tenth(horizon: int) -> float:
    return max(1.0, horizon / 10)


STRATEGIES: dict[str, Strategy] = {
    "scheduled_sampling_linear": Strategy(
        lambda rounds, horizon: schedules.dagger(
            rounds, horizon, jnp.asarray(jax.vmap(linear_decay(0.0, 1.0, 1.0 / rounds))(jnp.arange(rounds)))
        ),
        "Bengio et al. 2015, arXiv 1506.03099, with the expert's labels at the visited states",
    ),
    "scheduled_sampling_exponential": Strategy(
        lambda rounds, horizon: schedules.dagger(rounds, horizon, schedules.beta_geometric(rounds, 0.7)),
        "Bengio et al. 2015, arXiv 1506.03099, with the expert's labels at the visited states",
    ),
    "scheduled_sampling_inverse_sigmoid": Strategy(
        lambda rounds, horizon: schedules.dagger(
            rounds, horizon, jnp.asarray(jax.vmap(inverse_sigmoid(max(1.0, rounds / 4)))(jnp.arange(rounds)))
        ),
        "Bengio et al. 2015, arXiv 1506.03099, with the expert's labels at the visited states",
    ),
    "jsrl": Strategy(
        lambda rounds, horizon: jump_start(jnp.round(jnp.linspace(horizon, 0, rounds)).astype(jnp.int32), horizon),
        "Uchendu et al. 2023, arXiv 2204.02372, curriculum; gated: controllers.JumpStart",
    ),
    "popd": Strategy(
        lambda rounds, horizon: prefix(
            over_rounds(optax.linear_schedule(_tenth(horizon), horizon, max(1, rounds - 1)), rounds, horizon),
            horizon,
        ),
        "arXiv 2605.31490: the roll-out horizon grows",
    ),
    "topd": Strategy(
        lambda rounds, horizon: prefix(over_rounds(_tenth(horizon), rounds, horizon), horizon),
        "arXiv 2605.31490: 10% of the horizon",
    ),
    "mixer": Strategy(
        lambda rounds, horizon: mixer(
            over_rounds(optax.linear_schedule(horizon, 1, max(1, rounds - 1)), rounds, horizon), horizon
        ),
        "Ranzato et al. 2016, arXiv 1511.06732",
    ),
    "mbpo": Strategy(
        lambda rounds, horizon: excursions(
            over_rounds(mbpo_length(1, min(15, horizon), rounds // 5, max(rounds // 5 + 1, rounds)), rounds, horizon),
            horizon,
        ),
        "Janner et al. 2019, arXiv 1906.08253: excursions of 1 to 15 steps",
    ),
    "corrections": Strategy(
        lambda rounds, horizon: corrections(jnp.round(jnp.linspace(0, horizon - 1, rounds)).astype(jnp.int32), horizon),
        "arXiv 2512.14895: the expert finishes what the learner began, forks spread over the episode",
    ),
    "founding": Strategy(
        lambda rounds, horizon: corrections(
            jnp.round(jnp.linspace(0, horizon - 1, rounds)).astype(jnp.int32), horizon, max(1, horizon // 8)
        ),
        "this project: k steps by the expert after forks of the learner; docs/theory.md#published-roll-out-strategies",
    ),
    "jsrl_gated": Strategy(
        schedules.behavioural_cloning,
        "Uchendu et al. 2023, arXiv 2204.02372: the chunk halves while performance holds",
        controller=JumpStart(),
    ),
    "adwin": Strategy(
        schedules.dagger,
        "after arXiv 2605.28396: a window that doubles while late errors are like early ones",
        controller=AdaptiveWindow(),
    ),
    "change_point": Strategy(
        schedules.dagger,
        "after arXiv 2605.13643: chunks end at a BIC change point of the error by offset",
        controller=ChangePoint(),
    ),
    "thrifty_quantile": Strategy(
        schedules.dagger,
        "Hoque et al. 2021, arXiv 2109.08273: novelty or risk, thresholds refitted to a rate of 20%",
        gate=Thrifty(0.2),
    ),
    "crsail_quantile": Strategy(
        schedules.dagger,
        "arXiv 2512.00453: the most novel 20% of steps",
        gate=Novelty(0.2),
    ),
    "rollout_steps": Strategy(
        schedules.dagger,
        "VW --search_rollout_num_steps: the learner for 4 steps, then the expert; docs/theory.md#lols",
        label=RollOut(4),
    ),
}
