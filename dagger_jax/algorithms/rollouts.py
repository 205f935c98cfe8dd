"""Published roll-out strategies: who acts, for how long, and when, with their usual parameters."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import optax

from dagger_jax import schedules
from dagger_jax.algorithms.row import Algorithm, cloning, dagger
from dagger_jax.controllers import AdaptiveWindow, ChangePoint, JumpStart
from dagger_jax.strategies import (
    by_round,
    corrections,
    excursions,
    inverse_sigmoid,
    jump_start,
    linear_decay,
    mbpo_length,
    mixer,
    over_rounds,
    prefix,
)
from dagger_jax.tabular.gates import Novelty, Thrifty
from dagger_jax.tabular.labels import RollOut

_strategy = partial(Algorithm, strategy=True)


def _forks(rounds: int, horizon: int) -> np.ndarray:
    """Spread over the episode. [N]"""
    return np.round(np.linspace(0, horizon - 1, rounds)).astype(np.int32)


def _tenth(horizon: int) -> float:
    return max(1.0, horizon / 10)


STRATEGIES: Mapping[str, Algorithm] = {
    "scheduled_sampling_linear": _strategy(
        lambda rounds, horizon, chunk: schedules.dagger(
            rounds, horizon, by_round(linear_decay(0.0, 1.0, 1.0 / rounds), rounds)
        ),
        "Bengio et al. 2015, arXiv 1506.03099, with the expert's labels at the visited states",
    ),
    "scheduled_sampling_exponential": _strategy(
        lambda rounds, horizon, chunk: schedules.dagger(rounds, horizon, schedules.beta_geometric(rounds, 0.7)),
        "Bengio et al. 2015, arXiv 1506.03099, with the expert's labels at the visited states",
    ),
    "scheduled_sampling_inverse_sigmoid": _strategy(
        lambda rounds, horizon, chunk: schedules.dagger(
            rounds, horizon, by_round(inverse_sigmoid(max(1.0, rounds / 4)), rounds)
        ),
        "Bengio et al. 2015, arXiv 1506.03099, with the expert's labels at the visited states",
    ),
    "jsrl": _strategy(
        lambda rounds, horizon, chunk: jump_start(np.round(np.linspace(horizon, 0, rounds)).astype(np.int32), horizon),
        "Uchendu et al. 2023, arXiv 2204.02372, curriculum; gated: controllers.JumpStart",
    ),
    "popd": _strategy(
        lambda rounds, horizon, chunk: prefix(
            over_rounds(optax.linear_schedule(_tenth(horizon), horizon, max(1, rounds - 1)), rounds, horizon),
            horizon,
        ),
        "arXiv 2605.31490: the roll-out horizon grows",
    ),
    "topd": _strategy(
        lambda rounds, horizon, chunk: prefix(over_rounds(_tenth(horizon), rounds, horizon), horizon),
        "arXiv 2605.31490: 10% of the horizon",
    ),
    "mixer": _strategy(
        lambda rounds, horizon, chunk: mixer(
            over_rounds(optax.linear_schedule(horizon, 1, max(1, rounds - 1)), rounds, horizon), horizon
        ),
        "Ranzato et al. 2016, arXiv 1511.06732",
    ),
    "mbpo": _strategy(
        lambda rounds, horizon, chunk: excursions(
            over_rounds(mbpo_length(1, min(15, horizon), rounds // 5, max(rounds // 5 + 1, rounds)), rounds, horizon),
            horizon,
        ),
        "Janner et al. 2019, arXiv 1906.08253: excursions of 1 to 15 steps",
    ),
    "corrections": _strategy(
        lambda rounds, horizon, chunk: corrections(_forks(rounds, horizon), horizon),
        "arXiv 2512.14895: the expert finishes what the learner began, forks spread over the episode",
    ),
    "founding": _strategy(
        lambda rounds, horizon, chunk: corrections(_forks(rounds, horizon), horizon, max(1, horizon // 8)),
        "this project: k steps by the expert after forks of the learner; docs/theory.md#published-roll-out-strategies",
    ),
    "jsrl_gated": _strategy(
        cloning,
        "Uchendu et al. 2023, arXiv 2204.02372: the chunk halves while performance holds",
        controller=JumpStart(),
    ),
    "adwin": _strategy(
        dagger,
        "after arXiv 2605.28396: a window that doubles while late errors are like early ones",
        controller=AdaptiveWindow(),
    ),
    "change_point": _strategy(
        dagger,
        "after arXiv 2605.13643: chunks end at a BIC change point of the error by offset",
        controller=ChangePoint(),
    ),
    "thrifty_quantile": _strategy(
        dagger,
        "Hoque et al. 2021, arXiv 2109.08273: novelty or risk, thresholds refitted to a rate of 20%",
        gate=Thrifty(0.2),
    ),
    "crsail_quantile": _strategy(
        dagger,
        "arXiv 2512.00453: the most novel 20% of steps",
        gate=Novelty(0.2),
    ),
    "rollout_steps": _strategy(
        dagger,
        "VW --search_rollout_num_steps: the learner for 4 steps, then the expert; docs/theory.md#lols",
        label=RollOut(4),
    ),
}
