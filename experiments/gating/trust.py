"""HG-DAgger's threshold of doubt: what it says of the learner after training."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import randomness
from dagger_jax.algorithms import Algorithm
from dagger_jax.precision import float64
from dagger_jax.tabular import gates, interaction, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Array, Problem, Schedule

from ..claim import devices
from ..shared import study, training


class Trust(NamedTuple):
    """What HG-DAgger knows of its learner after a run; the risk of a state is V - V*, exactly. All [R]."""

    tau: Array  # the threshold of doubt; infinite where the human never took over
    within: Array  # mean risk of the states that can be reached, and where the learner's doubt is at most tau
    beyond: Array  # where it is above; NaN where there is no such state


def trust(
    algorithm: Algorithm,
    problems: Problem,
    samplers: rollout.Tables,
    schedule: Schedule,
    keys: Array,
    *,
    episodes: int,
    shared: bool,
) -> Trust:
    """HG-DAgger trained once more, its log of doubts kept. Arguments as in `shared.training.train`."""
    own = training.parts(algorithm, study.chosen(problems.world, 0), shared)
    tau, doubt, newest = _doubts(own, problems, samplers, schedule, keys, episodes=episodes)
    risk, met = map(np.asarray, _known(problems, newest))
    trusted = np.asarray(doubt <= tau[:, None, None])
    return Trust(np.asarray(tau), _mean(risk, met & trusted), _mean(risk, met & ~trusted))


@functools.partial(devices.jit, static_argnames=("episodes",))
def _doubts(
    own: training.Parts,
    problems: Problem,
    samplers: rollout.Tables,
    schedule: Schedule,
    keys: Array,
    *,
    episodes: int,
) -> tuple[Array, Array, Array]:
    """The threshold of doubt [R], the doubts after the last round [R, T, S], and the policies then [R, L, S, A]."""
    ids = jnp.arange(episodes, dtype=jnp.uint32)

    def one(problem: Problem, sampler: rollout.Tables, key: Array) -> tuple[Array, Array, Array]:
        def record(moment: interaction.Moment) -> tuple[Array, Array]:
            # This gate reads the policy alone: it decides here as it did before the round.
            takeover = own.gate(problem, moment.memory, moment.acting, moment.play.novice.sum(-1))
            entered = gates.interventions(problem, moment.acting, moment.play, takeover)
            return gates.doubt(problem, moment.memory), entered

        interpreter = interaction.by_sampling(sampler, randomness.words(key), ids)
        end = interaction.run(
            problem, schedule, own.learner, interpreter, label=own.label, measure=record, gate=own.gate, key=key
        )
        doubts, entered = end.measured
        # A round is played by the learner of the round before; the first, by an untrained one, is not in the log.
        return gates.doubt_threshold(doubts[:-1], entered[1:]), doubts[-1], end.newest

    return jax.vmap(one)(problems, samplers, keys)


@float64
def _known(problems: Problem, policies: Array) -> tuple[Array, Array]:
    """The risk of every step and state, and whether it can be reached. [R, T, S] each"""
    return jax.vmap(lambda problem, policy: (gates.risk(problem, policy), tabular.reachable(problem.world)))(
        problems, policies
    )


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Means [R] over some of the entries [R, ...]; NaN where there are none."""
    count, total = where.sum((1, 2)), (values * where).sum((1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
