"""Published algorithms of imitation learning, each with its own label, learner, gate and controller."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from dagger_jax import schedules
from dagger_jax.algorithms.row import Algorithm, cloning, dagger, leader
from dagger_jax.controllers import FittedNoise
from dagger_jax.tabular import gates, learners
from dagger_jax.tabular.labels import Reweighed, cost_to_go, cost_to_go_acting
from dagger_jax.tabular.learners import Learner
from dagger_jax.types import Schedule, World


def _ensemble(world: World, shared: bool) -> Learner:
    return learners.Ensemble(leader(world, shared), sizes=learners.Sizes.of(world))


def _log_loss(world: World, shared: bool) -> Learner:
    return learners.tabular(world, learners.LogLoss(), shared)


def _sized(kind: Any, rate: float) -> Callable[[World, bool], Learner]:
    """An online learner of the world's sizes."""
    return lambda world, shared: kind(rate, 1 if shared else world.horizon, world.observations, world.actions)


def _learned(rounds: int, horizon: int, chunk: int) -> Schedule:
    """The novice walks from the first round on: a gate decides where the expert takes over, everywhere at first."""
    return schedules.dagger(rounds, horizon, schedules.beta_constant(rounds, 0.0))


def _steps(rounds: int, horizon: int) -> Any:
    return schedules.spread_steps(rounds, horizon, jax.random.key(0))


PUBLISHED: Mapping[str, Algorithm] = {
    # ---- whose states are labelled -----------------------------------------------------------------------------
    "behavioural_cloning": Algorithm(
        cloning,
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
    "dagger": Algorithm(
        dagger,
        "Ross, Gordon and Bagnell 2011, Algorithm 3.1; docs/theory.md#dagger",
        title="DAgger",
        theorem="DAgger 4.1, sharper",
    ),
    "chunked": Algorithm(
        # The expert rolls in first, as in DAgger: an untrained learner would lead nowhere worth a label.
        lambda rounds, horizon, chunk: schedules.chunked(
            rounds, schedules.starts(horizon, chunk), schedules.beta_indicator(rounds)
        ),
        "this project: the learner rolls in, the expert continues for k steps; docs/theory.md#chunks-definition",
        judged_by=lambda horizon, chunk: schedules.chunked(1, schedules.starts(horizon, chunk)),
        bound="combined",
        chunked=True,
        title="chunked DAgger",
    ),
    "reset": Algorithm(
        lambda rounds, horizon, chunk: schedules.reset(rounds, schedules.starts(horizon, chunk)),
        "this project: excursions of k steps; docs/theory.md#excursions-the-reset-variant",
        judged_by=lambda horizon, chunk: schedules.reset(1, schedules.starts(horizon, chunk)),
        bound="reset variant",
        kind="reset",
        chunked=True,
        title="reset variant",
    ),
    "dart": Algorithm(
        lambda rounds, horizon, chunk: schedules.dart(rounds, horizon),
        "Laskey et al. 2017, arXiv 1703.09327; docs/theory.md#dart",
        controller=FittedNoise(),
        title="DART",
        theorem="DART, coupled",
    ),
    "stagger": Algorithm(
        lambda rounds, horizon, chunk: schedules.stagger(rounds, horizon, _steps(rounds, horizon)),
        "Li and Zhang 2025, arXiv 2412.07057, Theorem 3; docs/theory.md#stagger",
        learner=_log_loss,
        output="mixture",
        sparse=lambda rounds, horizon: schedules.stagger(rounds, horizon, _steps(rounds, horizon)),
        title="Stagger",
    ),
    "warm_stagger": Algorithm(
        lambda rounds, horizon, chunk: schedules.stagger(rounds, horizon, _steps(rounds, horizon), rounds // 4),
        "Li and Zhang 2025, arXiv 2412.07057, Theorem 6; docs/theory.md#stagger",
        learner=_log_loss,
        output="mixture",
        sparse=lambda rounds, horizon: schedules.stagger(rounds, horizon, _steps(rounds, horizon), 1),
        title="Warm-Stagger",
    ),
    # ---- mixtures of policies ----------------------------------------------------------------------------------
    "smile": Algorithm(
        lambda rounds, horizon, chunk: schedules.smile(rounds, horizon, 0.2),
        "Ross and Bagnell 2010, Algorithm 4.1, with the alpha of practice; docs/theory.md#smile",
        output="acting",
        title="SMILe",
        theorem="SMILe, sharper",
    ),
    "searn": Algorithm(
        lambda rounds, horizon, chunk: schedules.searn(rounds, horizon, 0.4),
        "Daume, Langford and Marcu 2009, arXiv 0907.0786, with the beta of practice; docs/theory.md#searn",
        label=cost_to_go_acting,
        output="acting",
        title="SEARN",
        theorem="SEARN, sharper",
    ),
    # ---- costs-to-go -------------------------------------------------------------------------------------------
    "aggrevate": Algorithm(
        lambda rounds, horizon, chunk: schedules.aggrevate(rounds, horizon),
        "Ross and Bagnell 2014, arXiv 1406.5979, Theorem 2.1; docs/theory.md#aggrevate",
        bound="cost to go",
        label=cost_to_go,
        title="AggreVaTe",
        theorem="AggreVaTe, sharper",
    ),
    "aggrevated": Algorithm(
        lambda rounds, horizon, chunk: schedules.aggrevate(rounds, horizon),
        "Sun et al. 2017, arXiv 1703.01030, natural gradient; docs/theory.md#aggrevated-and-the-leaf-tree",
        bound="cost to go",
        label=cost_to_go,
        learner=_sized(learners.PolicyGradient, 10.0),
        title="AggreVaTeD",
        theorem="AggreVaTe, sharper",
    ),
    "lols": Algorithm(
        lambda rounds, horizon, chunk: schedules.lols(rounds, horizon),
        "Chang et al. 2015, arXiv 1502.02206, beta = 1/2; docs/theory.md#lols",
        bound="cost to go",
        label=cost_to_go,
        title="LOLS",
    ),
    "nrpi": Algorithm(
        lambda rounds, horizon, chunk: schedules.lols(rounds, horizon, schedules.beta_constant(rounds, 1.0), 0.0),
        "Ross and Bagnell 2014, arXiv 1406.5979, section 3, the expert's law explores; docs/theory.md#nrpi",
        bound="cost to go",
        label=cost_to_go,
        title="NRPI",
        theorem="NRPI, any comparator",
    ),
    # ---- losses and online learners ----------------------------------------------------------------------------
    "log_loss_cloning": Algorithm(
        cloning,
        "Foster, Block and Misra 2024, arXiv 2407.15007; docs/theory.md#log-loss",
        kind="cloning",
        learner=_log_loss,
        title="log-loss cloning",
        theorem="R D_H",
    ),
    "log_loss_dagger": Algorithm(
        dagger,
        "Foster, Block and Misra 2024, arXiv 2407.15007, LogLossDagger; docs/theory.md#log-loss",
        learner=_log_loss,
        title="DAgger, log loss",
        theorem="DAgger 4.1, sharper",
    ),
    "reweighed_cloning": Algorithm(
        cloning,
        "after ALICE, Spencer et al. 2021, arXiv 2102.02872; docs/theory.md#density-ratios",
        kind="cloning",
        label=Reweighed(),
        theorem="u C T eps",
    ),
    "descent_dagger": Algorithm(
        dagger,
        "Ross, Gordon and Bagnell 2011, with online gradient descent; docs/theory.md#dagger-learners-without-regret",
        learner=_sized(learners.Descent, 4.0),
        title="DAgger, gradient descent",
        theorem="DAgger 4.1, sharper",
    ),
    "hedge_dagger": Algorithm(
        dagger,
        "Ross, Gordon and Bagnell 2011, with exponential weights; docs/theory.md#dagger-learners-without-regret",
        learner=lambda world, shared: learners.tabular(world, learners.Hedge(8.0), shared),
        title="DAgger, Hedge",
        theorem="DAgger 4.1, sharper",
    ),
    "regularised_dagger": Algorithm(
        dagger,
        "Ross, Gordon and Bagnell 2011, with the regularised leader; docs/theory.md#dagger-learners-without-regret",
        learner=lambda world, shared: learners.tabular(world, learners.RegularisedLeader(8.0), shared),
        title="DAgger, regularised",
        theorem="DAgger 4.1, sharper",
    ),
    # ---- which of DAgger's policies is the result ----------------------------------------------------------------
    "dagger_best": Algorithm(
        dagger,
        "Ross, Gordon and Bagnell 2011, Algorithm 3.1: best on validation; docs/theory.md#dagger",
        output="best",
        title="DAgger, best policy",
        theorem="DAgger 4.1, sharper",
    ),
    "dagger_mixture": Algorithm(
        dagger,
        "Ross, Gordon and Bagnell 2011, footnote 3: mixture of all rounds; docs/theory.md#dagger",
        output="mixture",
        title="DAgger, mixture",
        theorem="DAgger 4.1, sharper",
    ),
    # ---- gates: who acts, and who is asked ---------------------------------------------------------------------
    "safe_dagger": Algorithm(
        _learned, "Zhang and Cho 2017, arXiv 1605.06450; docs/theory.md#gates", gate=gates.Safe(0.1), title="SafeDAgger"
    ),
    "ensemble_dagger": Algorithm(
        _learned,
        "Menda et al. 2019, arXiv 1807.08364; docs/theory.md#gates",
        learner=_ensemble,
        gate=gates.Ensemble(0.1, 0.2),
        title="EnsembleDAgger",
    ),
    "lazy_dagger": Algorithm(
        _learned,
        "Hoque et al. 2021, arXiv 2104.00053; docs/theory.md#gates",
        gate=gates.Lazy(0.1, 0.05),
        title="LazyDAgger",
    ),
    "hg_dagger": Algorithm(
        _learned,
        "Kelly et al. 2019, arXiv 1810.02890; docs/theory.md#gates",
        learner=_ensemble,
        gate=gates.Human(0.1),
        title="HG-DAgger",
    ),
    "thrifty_dagger": Algorithm(
        _learned,
        "Hoque et al. 2021, arXiv 2109.08273; docs/theory.md#gates",
        gate=gates.Thrifty(0.2, 0.5),
        title="ThriftyDAgger",
    ),
}
