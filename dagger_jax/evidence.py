"""What the theorems' right-hand sides are made of, measured exactly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dagger_jax import schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact
from dagger_jax.tabular.worlds import backward, reachable
from dagger_jax.types import Array, Occupancy, Problem, Schedule


class Constants(NamedTuple):
    """Properties of a problem, whoever learns in it."""

    to_go: Array  # [T, S, A] Q*_t(s, a), expected cost from step t: take a, then follow the expert
    value: Array  # [T + 1, S] V*_t(s); 0 after step T
    recoverability: Array  # [] u: what one deviation costs at most, over reachable states
    span: Array  # [T] D_t: max - min of V* over the states reachable just after step t
    improvement: Array  # [] what one deviation gains at most: 0 for an optimal expert


class Evidence(NamedTuple):
    """One learner under one row of a schedule. Errors are total variation from the expert's action law."""

    gap: Array  # [] J(pi) - J(pi*), the learner alone against the expert alone
    expert_cost: Array  # [] J(pi*)
    eps: Array  # [T] error under the training law rho_t
    eta: Array  # [T] error under the learner's own law d_pi^t
    advantage: Array  # [T] E[Q*_t(s, a) - V*_t(s)] under the learner's own law
    training_advantage: Array  # [T] the same under the training law
    shift: Array  # [T] total variation between d_pi^t and rho_t; 0 where nothing is labelled: there is no rho_t
    overlap: Array  # [T] see `exact.Laws`: 1 - overlap bounds the chunk's distance
    steps: Array | int  # [] how many are taken: T, but where a world is padded


@float64
def constants(problem: Problem) -> Constants:
    """Costs-to-go, recoverability u and spans D_t of a problem, by backward induction.

    docs/theory.md#recoverability-and-span.
    """
    to_go, value = backward(problem.world, problem.expert)
    reached = reachable(problem.world)
    # A deterministic expert is compared with itself, a stochastic one with its best action.
    certain = jnp.broadcast_to(jnp.asarray(problem.expert), to_go.shape).max(-1) == 1
    worst = to_go.max(-1) - jnp.where(certain, value[:-1], to_go.min(-1))
    there, later = reached[1:], value[1:-1]
    highest = jnp.where(there, later, -jnp.inf).max(-1)
    lowest = jnp.where(there, later, jnp.inf).min(-1)
    span = jnp.append(jnp.where(there.any(-1), highest - lowest, 0.0), 0.0)  # nothing is reached after the last step
    gained = jnp.where(reached, value[:-1] - to_go.min(-1), 0.0).max()
    return Constants(to_go, value, jnp.where(reached, worst, 0.0).max(), span, gained)


@float64
def measure(problem: Problem, policy: Float[Array, "L S A"], row: Schedule, known: Constants) -> Evidence:
    """Exact evidence of a fixed policy under a row.

    Args:
      problem: the world and its expert.
      policy: [L, S, A] the learner's action probabilities.
      row: columns [T]. Steps that ask no label have no training law: eps, training_advantage and shift are 0.
      known: `constants(problem)`.
    """
    training = exact.play(problem, policy, row)
    deployed = exact.deploy(problem, policy)
    novice_share, guide_share = schedules.training_weights(row)
    law = novice_share[:, None] * training.novice + guide_share[:, None] * training.guide
    error = 0.5 * jnp.abs(policy - problem.expert).sum(-1)
    disadvantage = (policy * known.to_go).sum(-1) - known.value[:-1]
    own = deployed.novice
    return Evidence(
        gap=deployed.novice_cost - deployed.guide_cost,
        expert_cost=deployed.guide_cost,
        eps=(law * error).sum(-1),
        eta=(own * error).sum(-1),
        advantage=(own * disadvantage).sum(-1),
        training_advantage=(law * disadvantage).sum(-1),
        shift=0.5 * jnp.abs((novice_share + guide_share)[:, None] * own - law).sum(-1),
        overlap=jnp.where(problem.world.taken, training.overlap, 1.0),
        steps=problem.world.steps,
    )


class Prices(NamedTuple):
    """What a row asks of the expert, per episode (expected, where coins decide). Leading axes are the row's."""

    labels: Array  # [] steps that the expert labels
    handovers: Array  # [] times it is called to a state that it has not come to by itself
    steps: Array  # [] steps that it acts: for the novice, on the guide's walk as far as needed, after deviations


def prices(row: Schedule, tried: int = 1, steps: Array | int | None = None) -> Prices:
    """What a row [..., T] without `patience` asks: a chunk is one hand-over, a label on the novice's walk too.

    Args:
      row: columns [..., T].
      tried: deviations behind a label of costs-to-go, each with a roll-out of its own; `labels.cost_to_go` tries all.
      steps: [] taken of the T, where a world is padded; None: all.
    """
    row = schedules.filled(row)
    asked_novice, asked_guide = (row.label_novice > 0) * 1.0, (row.label_guide > 0) * 1.0
    labels, handovers = (asked_novice + asked_guide).sum(-1), (asked_novice + asked_guide * row.join).sum(-1)

    def earlier(later: Array, xs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        asked, back, join_next = xs
        acts = jnp.maximum(asked, (1 - join_next) * later)  # the guide goes on only to where its state is needed
        return jnp.maximum(acts, (back > 0) * 1.0), acts

    join_next = jnp.concatenate([row.join[..., 1:], jnp.ones_like(row.join[..., :1])], axis=-1)
    by_step = jax.tree.map(lambda column: jnp.moveaxis(jnp.asarray(column), -1, 0), (asked_guide, row.back, join_next))
    guided = jax.lax.scan(earlier, jnp.zeros_like(by_step[0][0]), by_step, reverse=True)[1].sum(0)
    longest = row.join.shape[-1]
    left = (longest if steps is None else steps) - 1 - jnp.arange(longest)  # steps after a deviation
    return Prices(labels, handovers, row.beta.sum(-1) + guided + tried * (asked_novice * row.after * left).sum(-1))


class GatedPrices(NamedTuple):
    """What a gate asked of the expert in a round, per episode."""

    labels: Array  # [] steps at which it was in control
    interventions: Array  # [] times it took over
    switches: Array  # [] times control changed hands, either way


def gated_prices(play: Occupancy, steps: Array | int | None = None) -> GatedPrices:
    """Labels, interventions and context switches of a round that was played with a gate; `steps` as in `prices`.

    Raises:
      ValueError: a round that was played without one.
    """
    if play.intervened is None or play.entered is None:
        raise ValueError("this round was played without a gate: see `prices`")
    intervened = play.intervened.sum((-2, -1))
    before = jnp.concatenate([jnp.zeros_like(intervened[:1]), intervened[:-1]])
    handed_back = before + play.entered - intervened
    if steps is not None:  # nobody hands back at an episode's end
        handed_back = jnp.where(jnp.arange(len(intervened)) < steps, handed_back, 0.0)
    return GatedPrices(intervened.sum(), play.entered.sum(), (play.entered + handed_back).sum())


class Offsets(NamedTuple):
    """Evidence by offset inside the chunk, 0..T-1: means over all steps of an offset, 0 where there is none."""

    eps: Array  # [T] error under the training law
    distance: Array  # [T] T_j, what a detector can know before step j of the chunk; T_0 = 0
    labels: Array  # [T] labels asked, per episode
    handovers: Array  # [T] hand-overs, per episode
    steps: Array  # [T] int, steps of the episode that have this offset


def distances(row: Schedule, overlap: Float[Array, " T"]) -> Float[Array, " T"]:
    """T_j at every step, j its offset in a chunk of a row whose `join` is 0 or 1: what a detector knows before it."""
    return jnp.where(row.join > 0, 0.0, 1 - _before(overlap))


def _before(overlap: Array) -> Array:
    """The overlap before each step; 1 before the first. [T]"""
    return jnp.concatenate([jnp.ones_like(overlap[:1]), overlap[:-1]])


def by_offset(
    row: Schedule, eps: Float[Array, " T"], overlap: Float[Array, " T"], steps: Array | int | None = None
) -> Offsets:
    """Evidence by offset, from a row whose `join` is 0 or 1, its errors [T] and overlap [T] (`exact.Laws`).

    `steps` as in `prices`.
    """
    mean = lambda values: schedules.by_offset(values, row.join, steps)
    distance = distances(row, overlap)
    each, count = mean(eps)
    row = schedules.filled(row)
    asked_novice, asked_guide = (row.label_novice > 0) * 1.0, (row.label_guide > 0) * 1.0
    labels = mean(asked_novice + asked_guide)[0] * count
    handovers = mean(asked_novice + asked_guide * row.join)[0] * count
    return Offsets(each, mean(distance)[0], labels, handovers, count)


def detectability(row: Schedule, overlap: Float[Array, " T"]) -> Float[Array, ""]:
    """The mean of T_j over the steps that are labelled: for chunks of k steps (1/k) sum_{j<k} T_j. []

    A label on the novice's own walk gives nothing away. Where coins decide on chunks it is the expected value.
    Meaningless for rows with `back`: there the novice's law in training is not its own.
    """
    row = schedules.filled(row)
    asked_novice, asked_guide = (row.label_novice > 0) * 1.0, (row.label_guide > 0) * 1.0
    seen = asked_guide * (1 - row.join) * (1 - _before(overlap))
    return seen.sum() / jnp.maximum((asked_novice + asked_guide).sum(), 1.0)
