"""Worlds in which it matters what the expert is asked, and where: costs or actions, offline or interactively."""

import numpy as np

from dagger_jax.tabular import experts
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.gallery.parts import leads_to, mistaken
from dagger_jax.types import Problem

TREE_MOST = 10  # levels of a tree: 1023 states


def cheap_and_dear(horizon: int, rare: float = 0.4, cheap: float = 0.01, dear: float = 1.0) -> Problem:
    """Fewest mistakes are not least cost: 0-1 labels mislead, costs-to-go do not.

    docs/theory.md#cheap-and-dear-mistakes.

    States: common (0) and, with probability `rare`, rare (1), drawn anew at every step, whatever is done; the
    learner cannot tell them apart. The costs of actions 0, 1, 2 are 0, cheap, dear in the common state and
    dear, 0, cheap in the rare one. The expert takes the action that costs 0: 0 or 1. (The start is drawn as well:
    the expert's first action is 0 with probability 1 - rare.) u = dear, D = 0. Closed form: `cheap_and_dear_gap`.

    Of the learner's tables, action 0 makes the fewest mistakes, all of them dear; action 1 has the least
    cost-to-go, and makes cheap mistakes.
    """
    if not (0 < rare < 0.5 and 0 <= cheap <= dear <= 1 and (1 - rare) * cheap < rare * dear):
        raise ValueError(
            "cheap_and_dear needs 0 < rare < 1/2, 0 <= cheap <= dear <= 1 and (1 - rare) cheap < rare dear, "
            f"got rare = {rare}, cheap = {cheap}, dear = {dear}"
        )
    law = np.array([1 - rare, rare])
    costs = np.array([[0, cheap, dear], [dear, 0, cheap]])
    world = tabular.world(np.broadcast_to(law, (2, 3, 2)), costs, law, horizon, np.zeros(2, int))
    return Problem(world, experts.deterministic(np.array([0, 1]), 3), "cheap_and_dear")


def cheap_and_dear_gap(horizon: int, action: int, rare: float = 0.4, cheap: float = 0.01, dear: float = 1.0) -> float:
    """Gap of a learner that takes one action for all: T rare dear by 0-1 loss (0), T (1 - rare) cheap by costs (1)."""
    return horizon * (rare * dear, (1 - rare) * cheap, (1 - rare) * dear + rare * cheap)[action]


def leaf_tree(horizon: int, seed: int | tuple[int, ...] = 0) -> Problem:
    """A binary tree that costs only at its leaves: an expert shows the way, trial and error must search it.

    States: the 2^T - 1 nodes, root 0 (start), children of s: 2 s + 1 and 2 s + 2; T - 1 steps lead to a leaf by
    action 0 or 1, and step T is spent there. One leaf, drawn at random, costs 0, any other 1, once. The expert
    goes to it where it still can; elsewhere its action is 0. u = 1; D = 1, and 0 after step T. Closed form:
    `leaf_tree_gap`.

    After AggreVaTeD (arXiv 1703.01030), whose tree has S = 2^K - 1 states: K = T here.
    docs/theory.md#aggrevated-and-the-leaf-tree.
    """
    if not 2 <= horizon <= TREE_MOST:
        raise ValueError(f"leaf_tree needs 2 <= horizon <= {TREE_MOST}: it has 2^T - 1 states, got T = {horizon}")
    states = 2**horizon - 1
    leaves = states // 2  # also the number of inner nodes
    inner = np.arange(leaves)
    good = node = leaves + int(np.random.default_rng(seed).integers(leaves + 1))
    choice = np.zeros(states, int)
    while node:
        node, branch = divmod(node - 1, 2)
        choice[node] = branch
    ends = np.arange(leaves, states)
    targets = np.concatenate([np.stack([2 * inner + 1, 2 * inner + 2], -1), np.stack([ends, ends], -1)])
    dear = (np.arange(states) >= leaves) & (np.arange(states) != good)
    world = tabular.world(leads_to(targets), np.repeat(dear[:, None], 2, axis=1), np.eye(states)[0], horizon)
    return Problem(world, experts.deterministic(choice, 2), "leaf_tree")


def leaf_tree_gap(horizon: int, eps: float) -> float:
    """1 - (1 - eps)^(T - 1): the learner errs with probability eps at every node of the path."""
    return float(mistaken(horizon - 1, eps)[-1])


def hybrid(
    horizon: int,
    ideal: int = 20,
    recoverable: int = 2,
    actions: int = 4,
    slip: float = 0.01,
    stay: float = 50.0,
    seed: int | tuple[int, ...] = 0,
) -> Problem:
    """Offline labels teach the many, interactive ones the few: neither alone will do.

    States, in this order: `ideal` E (start, uniform), `recoverable` E', B (fail), B' (reset). In E and E' the
    expert's action, drawn from 1..A-1 for every state and for all steps, costs 0, any other 1. From E it leads to
    a uniform E, with probability `slip` to a uniform E'; from E' to a uniform E. A wrong action leads from E to B,
    from E' to B'. B and B' cost 1 whatever is done (the expert: 0): B is left for a uniform E with probability
    1 / `stay`, B' for a uniform E' at once. D_t = stay (1 - (1 - 1/stay)^(T - t)), and u = 1 + D_1. Closed form:
    `hybrid_gap`.

    Cloning learns E from about `ideal` labels of any trajectories, but E' is hardly ever shown: 1 / slip labels
    for each. A learner that starts from nothing is in B nearly always, where a label says nothing. One that knows
    E stays, after a slip, in E' and B' until it is taught: a few interactive labels suffice.

    After the hybrid example of Li and Zhang (arXiv 2412.07057, Theorem 8; docs/theory.md#stagger), from which we have
    the four kinds of states and the order of costs. What leads where, `slip`, `stay` and 0-1 costs were chosen by us.
    """
    if min(ideal, recoverable) < 1 or actions < 3 or not 0 <= slip <= 1 or not stay >= 1:
        raise ValueError(
            "hybrid needs ideal >= 1, recoverable >= 1, A >= 3, 0 <= slip <= 1 and stay >= 1, got "
            f"ideal = {ideal}, recoverable = {recoverable}, A = {actions}, slip = {slip}, stay = {stay}"
        )
    taught = ideal + recoverable
    *_, fail, reset = one = np.eye(taught + 2)
    fresh, away = one[:ideal].mean(0), one[ideal:taught].mean(0)
    choice = np.append(np.random.default_rng(seed).integers(1, actions, taught), [0, 0])
    right = np.eye(actions, dtype=bool)[choice]
    right[taught:] = False
    in_ideal = np.arange(taught + 2) < ideal
    led = np.where(in_ideal[:, None], (1 - slip) * fresh + slip * away, fresh)
    erred = np.where(in_ideal[:, None], fail, reset)
    erred[taught:] = (1 - 1 / stay) * fail + fresh / stay, away
    transition = np.where(right[..., None], led[:, None], erred[:, None])
    world = tabular.world(transition, ~right, fresh, horizon)
    return Problem(world, experts.deterministic(choice, actions), "hybrid")


def hybrid_gap(horizon: int, slip: float = 0.01) -> float:
    """T - (1 - (1 - slip)^T) / slip for a learner that is right in all of E and nowhere in E'."""
    return float(mistaken(horizon - 1, slip).sum())


def hybrid_useful(horizon: int, stay: float = 50.0) -> float:
    """Share of steps in E, where a label says something, of a learner that is always wrong there (its gap is T).

    p_1 = 1, p_{t+1} = (1 - p_t) / stay, so p_t = (1 + stay (-1/stay)^(t - 1)) / (1 + stay).
    """
    return (1 + stay * (1 - (-1 / stay) ** horizon) / ((1 + 1 / stay) * horizon)) / (1 + stay)
