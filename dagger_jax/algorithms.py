"""The algorithms, one table: which schedule, which learner, which theorem.

An algorithm is data: its schedule's columns. `build(rounds, horizon, chunk)` makes it; everything else here
says how to read its result.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax

from dagger_jax import gates, learners, schedules
from dagger_jax.controllers import Controller, FittedNoise
from dagger_jax.gates import Gate
from dagger_jax.labels import Label, Reweighed, deviate, deviate_acting, imitate
from dagger_jax.learners import Learner
from dagger_jax.types import Schedule, World

Output = Literal["last", "acting", "mixture", "best"]


def _every_step(horizon: int, chunk: int) -> Schedule:
    return schedules.chunked(1, schedules.starts(horizon, 1))


def _leader(world: World, shared: bool) -> learners.Tabular:
    return learners.tabular(world, learners.Majority(), shared)


class Algorithm(NamedTuple):
    """A row of the zoo."""

    build: Callable[[int, int, int], Schedule]  # (rounds, horizon, chunk length) -> [N, T]
    source: str
    judged_by: Callable[[int, int], Schedule] = _every_step  # (horizon, chunk) -> [1, T]: what its theorem is about
    bound: str = "u T eta"  # key of `bounds.BOUNDS`: the theorem that is specific to it
    kind: str = "chunks"  # of row: "cloning", "chunks" or "reset"
    chunked: bool = False  # does the chunk length matter?
    per_step: bool = False  # does it need one policy a step, and as many rounds as steps?
    label: Label = imitate
    learner: Callable[[World, bool], Learner] = _leader  # (world, one table for all steps?) -> as published, in a table
    gate: Gate | None = None
    controller: Controller | None = None
    # Which policy is the result: the newest; the mixture without the expert; one of the rounds' own, drawn for an
    # episode; the one of them with the least loss in the round that it played, before it was fitted to it.
    output: Output = "last"


def _ensemble(world: World, shared: bool) -> Learner:
    return learners.Ensemble(_leader(world, shared))


def _log_loss(world: World, shared: bool) -> Learner:
    return learners.tabular(world, learners.LogLoss(), shared)


def _sized(kind: Any, rate: float) -> Callable[[World, bool], Learner]:
    """An online learner of the world's sizes."""
    return lambda world, shared: kind(rate, 1 if shared else world.horizon, world.observations, world.actions)


def _cloning(rounds: int, horizon: int, chunk: int) -> Schedule:
    return schedules.behavioural_cloning(rounds, horizon)


def _dagger(rounds: int, horizon: int, chunk: int) -> Schedule:
    return schedules.dagger(rounds, horizon)


def _learned(rounds: int, horizon: int, chunk: int) -> Schedule:
    """The novice walks from the first round on: a gate decides where the expert takes over, everywhere at first."""
    return schedules.dagger(rounds, horizon, schedules.beta_constant(rounds, 0.0))


def _steps(rounds: int, horizon: int) -> Any:
    return schedules.spread_steps(rounds, horizon, jax.random.key(0))


ALGORITHMS: Mapping[str, Algorithm] = {
    # ---- whose states are labelled -----------------------------------------------------------------------------
    "behavioural_cloning": Algorithm(
        _cloning,
        "Ross and Bagnell 2010, Theorem 2.1; docs/theory.md#behavioural-cloning",
        judged_by=lambda horizon, chunk: schedules.behavioural_cloning(1, horizon),
        bound="sum (T-t+1) eps_t",
        kind="cloning",
    ),
    "forward_training": Algorithm(
        lambda rounds, horizon, chunk: schedules.forward_training(horizon),
        "Ross and Bagnell 2010, Theorem 3.1; docs/theory.md#forward-training-and-own-law-errors",
        per_step=True,
    ),
    "dagger": Algorithm(_dagger, "Ross, Gordon and Bagnell 2011, Algorithm 3.1; docs/theory.md#dagger"),
    "chunked": Algorithm(
        # The expert rolls in first, as in DAgger: an untrained learner would lead nowhere worth a label.
        lambda rounds, horizon, chunk: schedules.chunked(
            rounds, schedules.starts(horizon, chunk), schedules.beta_indicator(rounds)
        ),
        "this project: the learner rolls in, the expert continues for k steps; docs/theory.md#chunks-definition",
        judged_by=lambda horizon, chunk: schedules.chunked(1, schedules.starts(horizon, chunk)),
        bound="combined",
        chunked=True,
    ),
    "reset": Algorithm(
        lambda rounds, horizon, chunk: schedules.reset(rounds, schedules.starts(horizon, chunk)),
        "this project: excursions of k steps; docs/theory.md#excursions-the-reset-variant",
        judged_by=lambda horizon, chunk: schedules.reset(1, schedules.starts(horizon, chunk)),
        bound="reset variant",
        kind="reset",
        chunked=True,
    ),
    "dart": Algorithm(
        lambda rounds, horizon, chunk: schedules.dart(rounds, horizon),
        "Laskey et al. 2017, arXiv 1703.09327; docs/theory.md#dart",
        controller=FittedNoise(),
    ),
    "stagger": Algorithm(
        lambda rounds, horizon, chunk: schedules.stagger(rounds, horizon, _steps(rounds, horizon)),
        "Li and Zhang 2025, arXiv 2412.07057, Theorem 3; docs/theory.md#stagger",
        learner=_log_loss,
        output="mixture",
    ),
    "warm_stagger": Algorithm(
        lambda rounds, horizon, chunk: schedules.stagger(rounds, horizon, _steps(rounds, horizon), rounds // 4),
        "Li and Zhang 2025, arXiv 2412.07057, Theorem 6; docs/theory.md#stagger",
        learner=_log_loss,
        output="mixture",
    ),
    # ---- mixtures of policies ----------------------------------------------------------------------------------
    "smile": Algorithm(
        lambda rounds, horizon, chunk: schedules.smile(rounds, horizon, 0.2),
        "Ross and Bagnell 2010, Algorithm 4.1, with the alpha of practice; docs/theory.md#smile",
        output="acting",
    ),
    "searn": Algorithm(
        lambda rounds, horizon, chunk: schedules.searn(rounds, horizon, 0.4),
        "Daume, Langford and Marcu 2009, arXiv 0907.0786, with the beta of practice; docs/theory.md#searn",
        label=deviate_acting,
        output="acting",
    ),
    # ---- costs-to-go -------------------------------------------------------------------------------------------
    "aggrevate": Algorithm(
        lambda rounds, horizon, chunk: schedules.aggrevate(rounds, horizon),
        "Ross and Bagnell 2014, arXiv 1406.5979, Theorem 2.1; docs/theory.md#aggrevate",
        bound="cost to go",
        label=deviate,
    ),
    "aggrevated": Algorithm(
        lambda rounds, horizon, chunk: schedules.aggrevate(rounds, horizon),
        "Sun et al. 2017, arXiv 1703.01030, natural gradient; docs/theory.md#aggrevated-and-the-leaf-tree",
        bound="cost to go",
        label=deviate,
        learner=_sized(learners.PolicyGradient, 10.0),
    ),
    "lols": Algorithm(
        lambda rounds, horizon, chunk: schedules.lols(rounds, horizon),
        "Chang et al. 2015, arXiv 1502.02206, beta = 1/2; docs/theory.md#lols",
        bound="cost to go",
        label=deviate,
    ),
    "nrpi": Algorithm(
        lambda rounds, horizon, chunk: schedules.lols(rounds, horizon, schedules.beta_constant(rounds, 1.0), 0.0),
        "Ross and Bagnell 2014, arXiv 1406.5979, section 3, the expert's law explores; docs/theory.md#nrpi",
        bound="cost to go",
        label=deviate,
    ),
    # ---- losses and online learners ----------------------------------------------------------------------------
    "log_loss_cloning": Algorithm(
        _cloning,
        "Foster, Block and Misra 2024, arXiv 2407.15007; docs/theory.md#log-loss",
        kind="cloning",
        learner=_log_loss,
    ),
    "log_loss_dagger": Algorithm(
        _dagger,
        "Foster, Block and Misra 2024, arXiv 2407.15007, LogLossDagger; docs/theory.md#log-loss",
        learner=_log_loss,
    ),
    "reweighed_cloning": Algorithm(
        _cloning,
        "after ALICE, Spencer et al. 2021, arXiv 2102.02872; docs/theory.md#density-ratios",
        kind="cloning",
        label=Reweighed(),
    ),
    "descent_dagger": Algorithm(
        _dagger,
        "Ross, Gordon and Bagnell 2011, with online gradient descent; docs/theory.md#dagger-learners-without-regret",
        learner=_sized(learners.Descent, 4.0),
    ),
    "hedge_dagger": Algorithm(
        _dagger,
        "Ross, Gordon and Bagnell 2011, with exponential weights; docs/theory.md#dagger-learners-without-regret",
        learner=lambda world, shared: learners.tabular(world, learners.Hedge(8.0), shared),
    ),
    "regularised_dagger": Algorithm(
        _dagger,
        "Ross, Gordon and Bagnell 2011, with the regularised leader; docs/theory.md#dagger-learners-without-regret",
        learner=lambda world, shared: learners.tabular(world, learners.RegularisedLeader(8.0), shared),
    ),
    # ---- which of DAgger's policies is the result ----------------------------------------------------------------
    "dagger_best": Algorithm(
        _dagger,
        "Ross, Gordon and Bagnell 2011, Algorithm 3.1: best on validation; docs/theory.md#dagger",
        output="best",
    ),
    "dagger_mixture": Algorithm(
        _dagger,
        "Ross, Gordon and Bagnell 2011, footnote 3: mixture of all rounds; docs/theory.md#dagger",
        output="mixture",
    ),
    # ---- gates: who acts, and who is asked ---------------------------------------------------------------------
    "safe_dagger": Algorithm(
        _learned, "Zhang and Cho 2017, arXiv 1605.06450; docs/theory.md#gates", gate=gates.Safe(0.1)
    ),
    "ensemble_dagger": Algorithm(
        _learned,
        "Menda et al. 2019, arXiv 1807.08364; docs/theory.md#gates",
        learner=_ensemble,
        gate=gates.Ensemble(0.1, 0.2),
    ),
    "lazy_dagger": Algorithm(
        _learned, "Hoque et al. 2021, arXiv 2104.00053; docs/theory.md#gates", gate=gates.Lazy(0.1, 0.05)
    ),
    "hg_dagger": Algorithm(
        _learned, "Kelly et al. 2019, arXiv 1810.02890; docs/theory.md#gates", learner=_ensemble, gate=gates.Human(0.1)
    ),
    "thrifty_dagger": Algorithm(
        _learned, "Hoque et al. 2021, arXiv 2109.08273; docs/theory.md#gates", gate=gates.Thrifty(0.2, 0.5)
    ),
}
