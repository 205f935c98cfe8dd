"""What is asked of the expert. Every label is a cost per action, so one `Batch` serves every reduction."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from flax import struct

from dagger_jax.checks import require
from dagger_jax.schedules import filled
from dagger_jax.tabular.transitions import expect_each
from dagger_jax.tabular.worlds import backward
from dagger_jax.types import Array, Batch, Node, Occupancy, Problem, Schedule

Label = Callable[[Problem, Occupancy, Schedule, Array], Batch]


def imitate(problem: Problem, play: Occupancy, row: Schedule, policy: Array) -> Batch:
    """Cost 1 for every action but the expert's: the 0-1 loss. `policy` is not used.

    Args:
      problem: the world and its expert.
      play: of the round; [T, S, A] joint frequencies of (state, expert's action).
      row: of the schedule; `label_guide` and `label_novice` weigh the walkers.

    Returns:
      A batch with leading axes [T, S]; weights are per episode.
    """
    # Where a column is None nobody reads that walker's counts, and the compiler leaves the counting out.
    seen = (row.label_novice, play.novice), (row.label_guide, play.guide)
    each = [jnp.asarray(column)[:, None, None] * law for column, law in seen if column is not None and law is not None]
    asked = sum(each[1:], each[0]) if each else jnp.zeros_like(play.novice)
    weight = asked.sum(-1)
    return _batch(problem, weight[..., None] - asked, weight)


def cost_to_go(problem: Problem, play: Occupancy, row: Schedule, policy: Array) -> Batch:
    """Cost-to-go of a one-step deviation above the best one: AggreVaTe's label (arXiv 1406.5979).

    After the deviation the expert completes the episode with probability `row.after`, the learner's
    `policy` [L, S, A] otherwise (one coin a roll-out, as in LOLS, arXiv 1502.02206). Costs-to-go are exact.
    Arguments and return value as in `imitate`.
    """
    by_expert, by_learner = backward(problem.world, problem.expert)[0], backward(problem.world, policy)[0]
    after = filled(row).after[:, None, None]
    return _regrets(problem, imitate(problem, play, row, policy).weight, after * by_expert + (1 - after) * by_learner)


def cost_to_go_acting(problem: Problem, play: Occupancy, row: Schedule, policy: Array) -> Batch:
    """Cost-to-go of a deviation after which whoever moved the novice moves on: the expert at each step with `row.beta`.

    SEARN's label (arXiv 0907.0786): its current policy is a mixture of all classifiers and of the expert, drawn anew
    each step. Arguments and return value as in `imitate`.
    """
    beta = filled(row).beta[:, None, None]
    to_go = backward(problem.world, beta * problem.expert + (1 - beta) * policy)[0]
    return _regrets(problem, imitate(problem, play, row, policy).weight, to_go)


class Reweighed(Node):
    """The guide's labels, weighted by d_learner / d_expert of their state: importance-weighted cloning.

    ALICE's reweighting with cached demonstrations and a simulator (Spencer et al. 2021, arXiv 2102.02872): the novice
    walks on its own, unlabelled, and shows the learner's law. Ratios are cut at `most`. It helps where the learner
    cannot imitate everywhere and the ratio is bounded, the Goldilocks regime.

    Both laws are the round's own frequencies: a label is a function of one round. In a table ratio times guide is then
    the novice's frequency wherever the guide was as well, so where no ratio is cut the batch of a deterministic expert
    is DAgger's, without the states that the guide did not visit in that round. ALICE's demonstrations are cached, and
    serve every round. Raises ValueError for `most` not above 0.
    """

    most: float = 100.0

    def __post_init__(self):
        require("Reweighed.most", self.most, 0, ends="(]")

    def __call__(self, problem: Problem, play: Occupancy, row: Schedule, policy: Array) -> Batch:
        """A batch as `imitate`'s; raises ValueError where the novice walked alone."""
        if play.guide is None:
            raise ValueError("reweighed labels are the guide's: sample with alone=False")
        novice, guide = (law.sum(-1, keepdims=True) for law in (play.novice, play.guide))
        ratio = jnp.minimum(novice / jnp.where(guide > 0, guide, 1.0), self.most)
        return imitate(problem, play._replace(guide=ratio * play.guide), row, policy)


class RollOut(Node):
    """Cost-to-go of a one-step deviation after which the learner acts for `steps` steps, then the expert.

    VW's --search_rollout_num_steps, and THOR's horizon (arXiv 1805.11240): 0 steps are AggreVaTe's label, T steps
    the learner's own costs-to-go. Costs-to-go are exact. Raises ValueError for steps below 0.
    """

    steps: int = struct.field(pytree_node=False)

    def __post_init__(self):
        require("RollOut.steps", self.steps, 0)

    def __call__(self, problem: Problem, play: Occupancy, row: Schedule, policy: Array) -> Batch:
        """A batch as `imitate`'s."""
        to_go, value = backward(problem.world, problem.expert)
        world = problem.world
        taken = world.taken[:, None, None]
        for _ in range(self.steps):
            value = jnp.concatenate([(policy * to_go).sum(-1), value[-1:]])
            to_go = taken * (world.cost + expect_each(world.transition, value[1:]))
        return _regrets(problem, imitate(problem, play, row, policy).weight, to_go)


def fits(label: Label, *readers: Any) -> None:
    """Refuses a learner, a rule or a gate that reads the labels' costs as something that they are not.

    Such parts say in `needs` what they read: counts of actions, "imitate", or costs-to-go, "cost_to_go". A label that
    is not of this module is taken on trust.

    Raises:
      ValueError: naming the part, the label that it needs, and the one that it got.
    """
    label = getattr(label, "func", label)  # of a `jax.tree_util.Partial`
    if label is imitate or isinstance(label, Reweighed):
        got = "imitate"
    elif label is cost_to_go or label is cost_to_go_acting or isinstance(label, RollOut):
        got = "cost_to_go"
    else:
        return
    for reader in readers:
        for part in _parts(reader):
            if (needed := getattr(part, "needs", got)) != got:
                kind = {"imitate": "the expert's actions", "cost_to_go": "costs-to-go"}
                name = getattr(label, "__name__", type(label).__name__)
                raise ValueError(
                    f"{type(part).__name__} reads labels as {kind[needed]} (labels.{needed}), but labels.{name} "
                    f"gives {kind[got]}"
                )


def _parts(reader: Any) -> Iterator[Any]:
    """A tree's node, and the nodes in its fields."""
    if isinstance(reader, Node):
        yield reader
        for field in dataclasses.fields(reader):
            yield from _parts(getattr(reader, field.name))


def _regrets(problem: Problem, weight: Array, to_go: Array) -> Batch:
    """Costs-to-go above the best action's, weighted."""
    return _batch(problem, weight[..., None] * (to_go - to_go.min(-1, keepdims=True)), weight)


def _batch(problem: Problem, costs: Array, weight: Array) -> Batch:
    steps = jnp.arange(weight.shape[0])[:, None]
    observation = jnp.asarray(problem.world.observation)[None]
    return Batch(
        step=jnp.broadcast_to(steps, weight.shape),
        observation=jnp.broadcast_to(observation, weight.shape),
        costs=costs,
        weight=weight,
    )
