"""Lower bounds of tabular imitation: states too rare to be shown, and what not knowing them costs."""

import numpy as np

from dagger_jax import experts
from dagger_jax.environments import tabular
from dagger_jax.environments.gallery.parts import leads_to, rare_law, squeeze, unseen
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
    """The lower bound of Rajaraman et al. (2020), and its variant with a way back (theory 4.2, 4.3(a)).

    Good states 0..S-2, bad state S-1. In a good state the expert's action, drawn at random for every state and
    step, costs 0 and leads to a fresh good state; any other costs 1 and leads to the bad state. S - 2 good
    states have probability zeta = 1 / (samples + 1) each. The bad state costs 1 and stays, whatever is done;
    if `recoverable`, one action there, never 0, costs 0 and leads to a fresh good state: then u = 1.
    `stationary` draws one expert for all steps.
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


def reset_cliff_gap(horizon: int, states: int, actions: int, samples: int, draws: int) -> float:
    """E[gap] = sum_h 1 - (1 - q)^h, q = (1 - 1/A) sum_s rho(s) (1 - rho(s))^draws, over experts and data.

    For a learner that is right where it has seen one of `draws` labels and guesses elsewhere.
    """
    q = (1 - 1 / actions) * unseen(reset_law(states, samples), draws)
    return horizon - (1 - q) * -np.expm1(horizon * np.log1p(-q)) / q


def identity_bandit(
    horizon: int,
    states: int = 8,
    actions: int = 4,
    samples: int = 200,
    seed: int | tuple[int, ...] = 0,
    *,
    stationary: bool = False,
) -> Problem:
    """Nothing moves, so knowing the transitions does not help (theory 4.3(c)): u = 1, D = 0.

    States 0..S-1, the last one common, the others rare, of probability 1 / (samples + 1) each; every action stays.
    The expert's action, drawn at random for every state and step, costs 0, any other 1. `stationary` draws one
    expert for all steps.
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
    """The least world that costs every learner, online or not, T / (8 n) (theory 4.3(b)): u = 1, D = 0.

    States x (0), y (1), the first y with probability 1 / n, n = `samples`; every action stays. In x nothing costs,
    the expert's action is 0. In y the expert's action, 0 or 1, drawn once, costs 0 and the other 1.
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
    return (1 - 1 / samples) ** (samples if draws is None else draws) * horizon / (2 * samples)


def two_state_bandit_least(horizon: int, samples: int) -> float:
    """T / (8 n): no learner that has seen n trajectories does better on average (n >= 2; theory 4.3(b), derived)."""
    return horizon / (8 * samples)
