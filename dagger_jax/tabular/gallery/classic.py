"""Small worlds of the reduction theorems, and a random one.

u is what one deviation from the expert costs at most, D_t the span of its cost-to-go over the states just after step t
= 1..T: `evidence.constants` computes both.
"""

import numpy as np

from dagger_jax.tabular import experts
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.gallery.parts import leads_to, mistaken
from dagger_jax.types import Problem


def cliff(horizon: int) -> Problem:
    """Two states, no way back: u = T, so nothing beats quadratic growth (docs/theory.md#the-cliff).

    States G (start), B. In G the expert's action 0 stays, cost 0; action 1 goes to B, cost 1. B is absorbing,
    cost 1 whatever is done; the expert's action there is 0. D_t = T - t. Closed form: `cliff_gap`.
    """
    transition = leads_to([[0, 1], [1, 1]])
    world = tabular.world(transition, np.array([[0, 1], [1, 1]]), np.eye(2)[0], horizon)
    return Problem(world, experts.deterministic(np.zeros(2, int), 2), "cliff")


def cliff_gap(horizon: int, eps: float) -> float:
    """sum_t 1 - (1 - eps)^t for a learner that errs with eps in G at every step."""
    return float(mistaken(horizon, eps).sum())


def rb3(horizon: int, cost: float = 0.0) -> Problem:
    """The three states of Ross and Bagnell (2010): one decision, for ever (docs/theory.md#the-three-state-world).

    States s0 (start), s1, s2. Action 0, the expert's, leads from s0 to s1, action 1 to s2; both are absorbing.
    `cost` a step in s0 (right action) and s1, 1 in s2 and for the wrong action. u = T (1 - cost),
    D_t = (T - t) (1 - cost). Closed form: `rb3_gap`.
    """
    transition = leads_to([[1, 2], [1, 1], [2, 2]])
    costs = np.array([[cost, 1], [cost, cost], [1, 1]])
    world = tabular.world(transition, costs, np.eye(3)[0], horizon)
    return Problem(world, experts.deterministic(np.zeros(3, int), 2), "rb3")


def rb3_gap(horizon: int, eps: float, cost: float = 0.0) -> float:
    """T eps (T - J*): the learner errs in s0 with probability T eps, and nowhere else."""
    return horizon * eps * (horizon - cost * horizon)


def copy_chain(horizon: int) -> Problem:
    """Kaariainen's next-symbol prediction: the expert repeats the last symbol written.

    docs/theory.md#the-copy-chain.

    States: the last symbol, right (0, start) or wrong (1). Action 0 repeats it, action 1 flips it; the new
    symbol costs 1 if wrong. The expert repeats, mistakes included. u = T, D_t = T - t. Closed form: `copy_chain_gap`.
    """
    transition = leads_to([[0, 1], [1, 0]])
    world = tabular.world(transition, np.array([[0, 1], [1, 0]]), np.eye(2)[0], horizon)
    return Problem(world, experts.deterministic(np.zeros(2, int), 2), "copy_chain")


def copy_chain_gap(horizon: int, eps: float) -> float:
    """sum_t [1 - (1 - 2 eps)^t] / 2: the learner flips with probability eps in both states."""
    return float(mistaken(horizon, 2 * eps).sum() / 2)


def chunk_reset(horizon: int) -> Problem:
    """Two states, any mistake undone at once: u = 1, D = 0 (docs/theory.md#the-chunk-reset-chain).

    States G (start), B. Action 0, the expert's, leads to G at cost 0; action 1 to B at cost 1. Closed form:
    `chunk_reset_gap`.
    """
    transition = leads_to([[0, 1], [0, 1]])
    world = tabular.world(transition, np.array([[0, 1], [0, 1]]), np.eye(2)[0], horizon)
    return Problem(world, experts.deterministic(np.zeros(2, int), 2), "chunk_reset")


def chunk_reset_gap(lengths: np.ndarray, eps: float) -> float:
    """sum_j sum_{i <= k_j} 1 - (1 - eps)^i: errs with eps in training, always elsewhere."""
    lengths = np.asarray(lengths)
    return float(np.cumsum(mistaken(lengths.max(), eps))[lengths - 1].sum())


def debt(horizon: int, u: int = 3, most: int = 40) -> Problem:
    """Every wrong action costs exactly u, in instalments (docs/theory.md#the-debt-world).

    States (m, f), index 2 m + f: debt m = 0..M, f = 1 iff the last action was wrong. The expert's action 0
    costs 1[m > 0] and m falls by 1. Action 1 costs 1 and the debt grows by u - 1, up to M = `most`. (Where the episode
    ends first, a deviation costs T.) D_t = min(t (u - 1), M, T - t). No closed form: a learner's gap is u times its
    wrong actions, less the debt unpaid after step T.
    """
    if u < 1 or most < u:
        raise ValueError(f"debt needs 1 <= u <= most, got u = {u} and most = {most}")
    owed = np.arange(most + 1)
    paid, grown = np.maximum(owed - 1, 0), np.minimum(owed + u - 1, most)
    targets = np.repeat(np.stack([2 * paid, 2 * grown + 1], -1), 2, axis=0)
    costs = np.repeat(np.stack([owed > 0, np.ones_like(owed)], -1), 2, axis=0)
    world = tabular.world(leads_to(targets), costs, np.eye(2 * most + 2)[0], horizon)
    return Problem(world, experts.deterministic(np.zeros(2 * most + 2, int), 2), "debt")


def tightrope(horizon: int) -> Problem:
    """A walker in the wind, seen through noise: not realizable by the learner (docs/theory.md#the-tightrope).

    States (x, v): position x = -5..5, index 3 (x + 5) + v + 1. The learner sees x + v, clipped to -5..5, where
    v is -1 or 1 with probability 0.05 each, drawn anew each step. Actions move by 0, -1, 1, -2, 2 (in this
    order: the first is what an untrained learner does); a drift sign(x) acts where |x| >= 2, wind -2..2 with
    probabilities .03, .2, .54, .2, .03. Cost 1[|x| >= 2]. The expert sees x and counters drift and position. u grows
    with T, from 2.41 at T = 5 to 3.38, D_t with T - t, from 1 before the last step to 3.93. No closed form.
    """
    reach = 5
    moves = np.array([0, -1, 1, -2, 2])
    x = np.arange(-reach, reach + 1)
    drift = np.where(np.abs(x) >= 2, np.sign(x), 0)
    lands = np.zeros((x.size, moves.size, x.size))
    for wind, chance in zip(range(-2, 3), (0.03, 0.2, 0.54, 0.2, 0.03), strict=True):
        landing = np.clip((x + drift)[:, None] + moves + wind, -reach, reach) + reach
        np.add.at(lands, (np.arange(x.size)[:, None], np.arange(moves.size)[None], landing), chance)
    noise = np.array([0.05, 0.9, 0.05])
    transition = np.repeat(np.einsum("xay,v->xayv", lands, noise).reshape(x.size, moves.size, -1), 3, axis=0)
    cost = np.repeat((np.abs(x) >= 2)[:, None] * np.ones(moves.size), 3, axis=0)
    seen = np.clip(x[:, None] + np.array([-1, 0, 1]), -reach, reach) + reach
    wanted = np.clip(-(x + drift), -2, 2)
    choice = np.repeat([int(np.flatnonzero(moves == move)[0]) for move in wanted], 3)
    start = np.einsum("x,v->xv", x == 0, noise).reshape(-1)
    world = tabular.world(transition, cost, start, horizon, seen.reshape(-1))
    return Problem(world, experts.deterministic(choice, moves.size), "tightrope")


def random_mdp(
    horizon: int,
    states: int = 5,
    actions: int = 3,
    seed: int | tuple[int, ...] = 0,
    *,
    observations: int | None = None,
    concentration: float = 0.5,
    temperature: float | None = None,
    stationary: bool = False,
) -> Problem:
    """A random world: Dirichlet transitions and starts, uniform costs, redrawn each step unless stationary.

    States and actions have no meaning. u and D are as drawn: u = 0.945 and D_t <= 0.622 in the default one of T = 9.
    No closed form. docs/theory.md#random-worlds.

    Args:
      horizon: T.
      states: S.
      actions: A.
      seed: of numpy's generator, one number or several.
      observations: O < S draws which states look alike, so that the expert is not realizable; None: all differ.
      concentration: of the Dirichlet laws; small values make transitions nearly deterministic.
      temperature: None for the optimal expert, otherwise of the softened, stochastic one, in units of cost.
      stationary: one transition law and cost for all steps.
    """
    rng = np.random.default_rng(seed)
    steps = () if stationary else (horizon,)
    transition = rng.dirichlet(np.full(states, concentration), (*steps, states, actions))
    costs = rng.random((*steps, states, actions))
    start = rng.dirichlet(np.full(states, concentration))
    seen = None if observations is None else rng.permutation(np.arange(states) % observations)
    world = tabular.world(transition, costs, start, horizon, seen)
    expert = experts.optimal(world) if temperature is None else experts.softened(world, temperature)
    return Problem(world, expert, "random_mdp")
