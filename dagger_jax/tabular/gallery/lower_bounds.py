"""Lower bounds of tabular imitation: states too rare to be shown, and what not knowing them costs."""

import numpy as np
from scipy import stats

from dagger_jax.tabular import experts
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.gallery.parts import leads_to, mistaken, rare_law, squeeze, unseen
from dagger_jax.types import Problem


def reset_cliff(
    horizon: int,
    states: int = 8,
    actions: int = 4,
    samples: int = 200,
    seed: int | tuple[int, ...] = 0,
    *,
    recoverable: bool = False,
    stationary: bool = False,
) -> Problem:
    """The lower bound of Rajaraman et al. (2020), and its variant with a way back.

    docs/theory.md#the-reset-cliff and docs/theory.md#the-recoverable-reset-cliff.

    States: good ones 0..S-2, the bad one S-1. In a good state the expert's action, drawn at random for every state and
    step, costs 0 and leads to a fresh good state, of law `reset_law`, by which it starts, too; any other costs 1 and
    leads to the bad state. The bad state costs 1 and stays, whatever is done (the expert: 0): u = T, D = T - t after
    step t. If `recoverable`, one action there, the expert's, drawn from 1..A-1 for every step, costs 0 and leads to a
    fresh good state, any other costs 1 and stays: u = 1, D = 0. `stationary` draws one expert for all steps.

    Closed forms: `reset_cliff_gap` of a table a step, `stationary_reset_cliff_gap` of one table for all steps. Where
    there is a way back cloning pays as much as where there is none only if it keeps a wrong action in the bad state,
    as action 0 is; a uniform guess leaves it after A tries on average.

    Source: arXiv 2009.05990; the way back is ours, for the setting of Rajaraman et al. 2021, NeurIPS 34, 1325-1336.

    Raises:
      ValueError: unless 3 <= S <= samples + 3 (and A >= 2 if `recoverable`: numpy's, of an empty range).
    """
    if states < 3 or states - 2 > samples + 1:
        raise ValueError(f"reset_cliff needs 3 <= S <= samples + 3, got S = {states}, samples = {samples}")
    rng = np.random.default_rng(seed)
    steps = 1 if stationary else horizon
    choice = rng.integers(0, actions, (steps, states))
    choice[:, -1] = rng.integers(1, actions, steps) if recoverable else 0
    fresh = reset_law(states, samples)
    right = np.eye(actions, dtype=bool)[choice]
    right[:, -1] &= recoverable
    transition = np.where(right[..., None], fresh, np.eye(states)[-1])
    world = tabular.world(transition if steps > 1 else transition[0], squeeze(~right), fresh, horizon)
    name = "stationary_" * stationary + "recoverable_" * recoverable + "reset_cliff"
    return Problem(world, experts.deterministic(choice, actions), name)


def reset_law(states: int, samples: int) -> np.ndarray:
    """Law of a fresh state in `reset_cliff`: S - 2 rare ones, one common one, never the bad one. [S]"""
    return np.append(rare_law(states - 2, samples), 0)


def reset_cliff_gap(
    horizon: int, states: int, actions: int, samples: int, draws: int, *, stays: float = 1.0, last: bool = False
) -> float:
    """E[gap] in `reset_cliff` of a table a step, in cost an episode, over experts and data. Exact.

    For a learner that is right where it has seen one of `draws` labels and guesses elsewhere: it errs in a good state
    with probability q = (1 - 1/A) sum_s rho(s) (1 - rho(s))^draws, and sum_h 1 - (1 - q)^h is its gap where no mistake
    is made good: docs/theory.md#the-reset-cliff. Tables of different steps err independently, so their mean error q
    will do.

    Args:
      horizon: T.
      states: S.
      actions: A.
      samples: of the world.
      draws: labels of each step, n of n trajectories.
      stays: probability of a wrong action in the bad state: 1 where nothing is recoverable or a wrong default is kept,
        1 - 1/A for a uniform guess. The gap is then sum_h q sum_{i<h} (stays - q)^i: a fall costs at most
        1 / (1 - stays) steps on average, and not up to T.
      last: only the last step costs.
    """
    q = (1 - 1 / actions) * unseen(reset_law(states, samples), draws)
    by_step = mistaken(horizon, q, stays)
    return float(by_step[-1] if last else by_step.sum())


def stationary_reset_cliff_gap(
    horizon: int,
    states: int,
    actions: int,
    samples: int,
    draws: int,
    *,
    stays: float = 1.0,
    last: bool = False,
    fixed: bool = False,
) -> float:
    """The same of one table shared over time, which has seen `draws` labels, n T of n trajectories. Exact; derived.

    What is unseen is so at every step. Given that, the error in a good state is the same at every step, and the form of
    `reset_cliff_gap` holds; it is averaged over what is unseen, and less than its value at the mean error q, which is
    the form of a table per step (docs/theory.md#the-reset-cliff). How many rare states are unseen, and whether the
    common one is, is a chain over labels.

    Args: as for `reset_cliff_gap`, and
      fixed: guesses once for all steps, so that a state is always wrong or always right, instead of at every step.
    """
    rare, chance, wrong = states - 2, 1 / (samples + 1), 1 - 1 / actions
    common = 1 - rare * chance
    missing, absent = np.arange(rare + 1), np.arange(2)  # rare states without a label, and the common one
    mass = missing[:, None] * chance + absent * common
    step = np.zeros((rare + 1, 2, rare + 1, 2))
    step[missing[:, None], absent, missing[:, None], absent] = 1 - mass
    step[missing[1:, None], absent, missing[:-1, None], absent] = missing[1:, None] * chance
    step[missing, 1, missing, 0] = common
    law = np.linalg.matrix_power(step.reshape(mass.size, mass.size), draws)[-1].reshape(mass.shape)
    if fixed:
        rare_wrong, common_wrong = (stats.binom.pmf(kinds, kinds[:, None], wrong) for kinds in (missing, absent))
        law = rare_wrong.T @ law @ common_wrong
    by_step = law.reshape(-1) @ mistaken(horizon, mass.reshape(-1) * (1 if fixed else wrong), stays)
    return float(by_step[-1] if last else by_step.sum())


def identity_bandit(
    horizon: int,
    states: int = 8,
    actions: int = 4,
    samples: int = 200,
    seed: int | tuple[int, ...] = 0,
    *,
    stationary: bool = False,
) -> Problem:
    """Nothing moves, so knowing the transitions does not help (docs/theory.md#the-identity-bandit): u = 1, D = 0.

    States 0..S-1, the last one common, the others rare, of probability 1 / (samples + 1) each; every action stays.
    The expert's action, drawn at random for every state and step, costs 0, any other 1. `stationary` draws one
    expert for all steps. Closed form: `identity_bandit_gap`. Source: ours, for the lower bound of known transitions.

    Raises:
      ValueError: unless 2 <= S <= samples + 2 and A >= 2.
    """
    if not 2 <= states <= samples + 2 or actions < 2:
        raise ValueError(
            f"identity_bandit needs 2 <= S <= samples + 2 and A >= 2, got S = {states}, samples = {samples}, "
            f"A = {actions}"
        )
    choice = np.random.default_rng(seed).integers(0, actions, (1 if stationary else horizon, states))
    stays = leads_to(np.repeat(np.arange(states)[:, None], actions, axis=1))
    world = tabular.world(stays, squeeze(1 - np.eye(actions)[choice]), rare_law(states - 1, samples), horizon)
    return Problem(world, experts.deterministic(choice, actions), "stationary_" * stationary + "identity_bandit")


def identity_bandit_gap(horizon: int, states: int, actions: int, samples: int, draws: int) -> float:
    """E[gap] = T (1 - 1/A) sum_s rho(s) (1 - rho(s))^draws, over experts and data of `draws` trajectories.

    For a learner that is right where it has seen a label and elsewhere guesses, or takes one action for all. A
    state is shown at all steps or at none: the same with `stationary`.
    """
    return horizon * (1 - 1 / actions) * unseen(rare_law(states - 1, samples), draws)


def two_state_bandit(horizon: int, samples: int = 20, seed: int | tuple[int, ...] = 0) -> Problem:
    """The least world that costs every learner, online or not, T / (8 n): u = 1, D = 0.

    docs/theory.md#the-two-state-bandit.

    States x (0), y (1), the first y with probability 1 / n, n = `samples`; every action stays. In x nothing costs,
    the expert's action is 0. In y the expert's action, 0 or 1, drawn once, costs 0 and the other 1. Closed form:
    `two_state_bandit_gap`, and `two_state_bandit_least` for every learner. Source: arXiv 2407.15007, section 2.4.

    Raises:
      ValueError: if samples < 2.
    """
    if samples < 2:
        raise ValueError(f"two_state_bandit needs samples >= 2, got {samples}")
    wanted = int(np.random.default_rng(seed).integers(2))
    costs = np.stack([np.zeros(2), 1 - np.eye(2)[wanted]])
    start = np.array([1 - 1 / samples, 1 / samples])
    world = tabular.world(leads_to([[0, 0], [1, 1]]), costs, start, horizon)
    return Problem(world, experts.deterministic(np.array([0, wanted]), 2), "two_state_bandit")


def two_state_bandit_gap(horizon: int, samples: int, draws: int | None = None) -> float:
    """E[gap] = (1/n) (1 - 1/n)^draws T / 2, over the expert and `draws` trajectories (None: n of them)."""
    missed = np.exp((samples if draws is None else draws) * np.log1p(-1 / samples))
    return float(missed * horizon / (2 * samples))


def two_state_bandit_least(horizon: int, samples: int) -> float:
    """T / (8 n): no learner that has seen n trajectories does better on average (n >= 2).

    docs/theory.md#the-two-state-bandit.
    """
    return horizon / (8 * samples)
