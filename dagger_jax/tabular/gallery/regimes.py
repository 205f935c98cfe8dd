"""Covariate shift: what behavioural cloning loses is told by who can be imitated, and by a ratio of laws.

Costs are 0-1, for a wrong action, so that u = 1, D = 0 and the gap is the learner's error under its own law.
"""

import numpy as np

from dagger_jax.tabular import experts
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.gallery.parts import leads_to, mistaken
from dagger_jax.types import Problem

FRESH = np.array([0.8, 0.1, 0.1])  # law of a restart in `easy` and `goldilocks`: track, drift, careful


def easy(horizon: int, slip: float = 0.2, restart: float = 0.05) -> Problem:
    """As `goldilocks`, but the learner sees the state: realizable, cloning ends with no error at all.

    A learner that errs with probability eps in every state has a gap of T eps; any other at most C T eps, with C
    of `goldilocks_ratio`. u = 1, D = 0 (Spencer et al., arXiv 2102.02872; docs/theory.md#density-ratios; the world
    is ours).
    """
    return _restarting(horizon, slip, restart, np.arange(3), "easy")


def goldilocks(horizon: int, slip: float = 0.2, restart: float = 0.05) -> Problem:
    """Not realizable, but the ratio of laws is bounded: demonstrations do, once they are reweighted.

    States: track (0), drift (1), careful (2), which look alike to the learner. The expert's actions are 0, 1, 1, at
    cost 0; the other costs 1. On the track 0 stays, with probability `slip` it leads to drift; 1 leads to
    careful. In drift 1 leads to the track, 0 stays. Careful: 1 stays, 0 leads to drift. At the start, and at every
    step with probability `restart` whatever is done, the state is drawn from (0.8, 0.1, 0.1); the expert's first
    action is thus 0 with probability 0.8. u = 1, D = 0. Closed form: `goldilocks_gap`.

    The expert is mostly on the track: cloning takes action 0 for ever and is soon in drift. Weighted by
    d_pi / d_pi*, its own drift counts, and it takes 1 (where T is long enough for drift to prevail: T >= 7 for
    the default sizes and one table for all steps); it is then careful, and stays so.

    The regime is of Spencer et al. (arXiv 2102.02872; docs/theory.md#density-ratios), the world ours.
    """
    return _restarting(horizon, slip, restart, np.zeros(3, int), "goldilocks")


def goldilocks_gap(horizon: int, action: int, slip: float = 0.2, restart: float = 0.05) -> float:
    """Gap of a learner that takes one action for all: 0, cloning's, or 1, the reweighted fit's.

    Always 0 is right on the track only, where it is since a restart with (1 - slip)^age: at step t with
    probability 0.8 [r (1 - q^(t-1)) / (1 - q) + q^(t-1)], q = (1 - r)(1 - slip), r = restart. Always 1 is wrong
    there only: on a restart that lands there, and in the step after one that lands in drift.
    """
    track, drift, _ = FRESH
    if action == 1:
        later = (horizon > 1) * (1 - restart) * drift + max(horizon - 2, 0) * restart * (1 - restart) * drift
        return track * (1 + (horizon - 1) * restart) + later
    since = ((1 - restart) * (1 - slip)) ** np.arange(horizon)
    return horizon - track * float((restart * (np.cumsum(since) - since) + since).sum())


def goldilocks_error(horizon: int, slip: float = 0.2, restart: float = 0.05) -> float:
    """Cloning's training error eps in `goldilocks`: how often the expert is not on the track, where it takes 0.

    p_1 = 0.8 on the track, p_{t+1} = 0.8 r + (1 - r)(0.9 - slip p_t), r = restart.
    """
    track, _, careful = FRESH
    back = -(1 - restart) * slip
    settled = (restart * track + (1 - restart) * (1 - careful)) / (1 - back)
    return 1 - settled - (track - settled) * (1 - back**horizon) / ((1 - back) * horizon)


def goldilocks_ratio(restart: float = 0.05) -> float:
    """C: d_pi^t(s) <= C d_pi*^t(s) for all policies, steps and states, for every state has mass by restarts alone."""
    return 1 / (restart * float(FRESH.min()))


def hard(horizon: int, slip: float = 0.02) -> Problem:
    """Not realizable, and the ratio of laws is infinite: cloning's gap is quadratic, only asking helps.

    States: track (0, start) and turn (1), which look alike to the learner, and lost (2). The expert's actions are 0,
    1, 1, at cost 0; the other costs 1. On the track 0 stays, with probability `slip` it leads to the turn. In
    the turn 1 leads to the track; in lost 1 does, and 0 stays lost. A wrong action on the track or in the turn
    leads to lost, where the expert never is: no demonstration to copy or to reweight. u = 1, D = 0. Closed form:
    `hard_gap`.

    The regime is of Spencer et al. (arXiv 2102.02872; docs/theory.md#density-ratios), the world ours.
    """
    if not 0 < slip <= 0.5:
        raise ValueError(f"hard needs 0 < slip <= 1/2, got slip = {slip}")
    transition = leads_to([[0, 2], [2, 0], [2, 0]])
    transition[0, 0] = 1 - slip, slip, 0
    choice = np.array([0, 1, 1])
    world = tabular.world(transition, 1 - np.eye(2)[choice], np.eye(3)[0], horizon, np.array([0, 0, 1]))
    return Problem(world, experts.deterministic(choice, 2), "hard")


def hard_gap(horizon: int, slip: float = 0.02) -> float:
    """T - (1 - (1 - slip)^T) / slip for cloning: action 0 on track and turn, and where it has seen nothing.

    Its training error is below slip, so this is about T^2 eps / 2. A learner that is right in lost loses T slip at
    most.
    """
    return float(mistaken(horizon - 1, slip).sum())


def density_ratio(horizon: int, ratio: float = 2.0, rare: float = 0.1) -> Problem:
    """No policy's law exceeds C times the expert's, C = `ratio`, and u C T eps is reached.

    docs/theory.md#density-ratios.

    States: usual (0), rare (1), the latter with probability `rare` at the start and after any action but one: the
    wrong action in the rare state leads to it with probability rare + 1 - 1/C. The expert's action 0 costs 0, action
    1 costs 1, in both states. u = 1, D = 0. So d_pi*(rare) = `rare` at every step, and d_pi^t(rare) is at most
    rare C (1 - (1 - 1/C)^t), by always erring there: C is the limit of large t, and the gap's of T C eps. Closed form:
    `density_ratio_gap`.
    """
    if not (ratio >= 1 and 0 < rare <= 1 / ratio):
        raise ValueError(
            f"density_ratio needs ratio >= 1 and 0 < rare <= 1 / ratio, got ratio = {ratio}, rare = {rare}"
        )
    law = np.array([1 - rare, rare])
    transition = np.tile(law, (2, 2, 1))
    transition[1, 1] = 1 / ratio - rare, rare + 1 - 1 / ratio
    world = tabular.world(transition, np.array([[0, 1], [0, 1]]), law, horizon)
    return Problem(world, experts.deterministic(np.zeros(2, int), 2), "density_ratio")


def density_ratio_gap(horizon: int, eps: float, ratio: float = 2.0, rare: float = 0.1) -> float:
    """Gap of a learner whose training error eps <= `rare` is all made in the rare state, at every step alike.

    It errs there with share e = eps / rare; d_pi^t(rare) = rare (1 - g^t) / (1 - g), g = e (1 - 1/C).
    """
    growth = eps / rare * (1 - 1 / ratio)
    return float(eps * np.cumsum(growth ** np.arange(horizon)).sum())


def _restarting(horizon: int, slip: float, restart: float, seen: np.ndarray, name: str) -> Problem:
    if not (0 < slip <= 0.5 and 0 < restart < 1):
        raise ValueError(f"{name} needs 0 < slip <= 1/2 and 0 < restart < 1, got slip = {slip}, restart = {restart}")
    transition = leads_to([[0, 2], [1, 0], [1, 2]])
    transition[0, 0] = 1 - slip, slip, 0
    choice = np.array([0, 1, 1])
    world = tabular.world((1 - restart) * transition + restart * FRESH, 1 - np.eye(2)[choice], FRESH, horizon, seen)
    return Problem(world, experts.deterministic(choice, 2), name)
