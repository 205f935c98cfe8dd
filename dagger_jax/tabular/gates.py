"""Gates: in which states the expert takes over from the learner and is asked, and in which it hands back.

A gate is called before every round, inside the loop, and answers with an `Intervention` by step and state. Gates with
two thresholds have hysteresis: who is in control is carried through the episode by both interpreters. Labels are the
expert's actions while it is in control; an intervention is each time it takes over; a context switch each time control
changes hands (`evidence.gated_prices`).

What is novel, doubtful or wrong is read off the learner's tables: `novelty` and `predicted_error` off the labels of a
row, `doubt` off an ensemble. What the expert itself sees while it acts (`disagreement`, `risk`) is exact.

A gate that reads the predicted error `needs` labels of kind "imitate": see `labels.fits`.
"""

from typing import Any, ClassVar, Protocol

import jax.numpy as jnp

from dagger_jax import ties
from dagger_jax.checks import known, require
from dagger_jax.tabular.transitions import push_each
from dagger_jax.tabular.worlds import backward
from dagger_jax.types import Array, Intervention, Node, Occupancy, Problem


class Gate(Protocol):
    """(problem, the learner's memory, its policy, the novice's law in the last round [T, S]) -> Intervention."""

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Intervention: ...


# ---- scores of states, [T, S] ---------------------------------------------------------------------------------


def novelty(problem: Problem, memory: Any) -> Array:
    """1 / (1 + labels seen) of a tabular learner's row."""
    return 1.0 / (1.0 + _rows(problem, _table(memory, "weight")))


def predicted_error(problem: Problem, memory: Any, policy: Array) -> Array:
    """The share of a row's labels that the policy would have missed: SafeDAgger's classifier; 1 where there is none.

    Needs labels of kind "imitate": there an action's cost is the weight of the labels that differ from it.
    """
    missed = (_over_time(problem, policy) * _rows(problem, _table(memory, "costs"))).sum(-1)
    weight = _rows(problem, memory.weight)
    return jnp.where(weight > 0, missed / jnp.where(weight > 0, weight, 1.0), 1.0)


def spread(problem: Problem, members: Array) -> Array:
    """How far an ensemble's members [E, L, S, A] are from their mean: total variation, averaged over them."""
    return _over_time(problem, 0.5 * jnp.abs(members - members.mean(0)).sum(-1).mean(0))


def doubt(problem: Problem, memory: Any) -> Array:
    """The `spread` of a `learners.Ensemble`, given its memory; raises ValueError for another learner's."""
    return spread(problem, _table(memory, "members")[:, :, problem.world.observation])


def disagreement(problem: Problem, policy: Array) -> Array:
    """Total variation between the learner's and the expert's action: what an expert in control can see."""
    return _over_time(problem, 0.5 * jnp.abs(policy - problem.expert).sum(-1))


def risk(problem: Problem, policy: Array) -> Array:
    """The learner's expected cost to go above the expert's, V_t(s) - V*_t(s); ThriftyDAgger's critic, exact here.

    A difference that rounding may have made is 0.
    """
    own, expert = (backward(problem.world, acting)[1][:-1] for acting in (policy, problem.expert))
    return jnp.where(jnp.abs(own - expert) <= ties.rounding(expert, 16 + problem.world.steps), 0.0, own - expert)


# ---- gates ----------------------------------------------------------------------------------------------------


class Safe(Node):
    """Takes over where the predicted error is at least a threshold: SafeDAgger (Zhang and Cho 2017, arXiv 1605.06450).

    At threshold 0 it takes over everywhere: DAgger with beta = 1. Raises ValueError for a threshold below 0.
    """

    threshold: Array | float
    needs: ClassVar[str] = "imitate"

    def __post_init__(self):
        require("Safe.threshold", self.threshold, 0)

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Intervention:
        return _memoryless(predicted_error(problem, memory, policy) >= self.threshold)


class Ensemble(Node):
    """Takes over where discrepancy or doubt is above its threshold: EnsembleDAgger (Menda et al. 2019,
    arXiv 1807.08364).

    Needs `learners.Ensemble`, whose members' spread is the doubt. The discrepancy is the one predicted from earlier
    labels: the measured one would need the expert's action at every step. Raises ValueError for a threshold below 0.
    """

    discrepancy: Array | float
    doubt: Array | float
    needs: ClassVar[str] = "imitate"

    def __post_init__(self):
        require("Ensemble.discrepancy", self.discrepancy, 0)
        require("Ensemble.doubt", self.doubt, 0)

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Intervention:
        wrong = predicted_error(problem, memory, policy) > self.discrepancy
        return _memoryless(wrong | (doubt(problem, memory) > self.doubt))


class Lazy(Node):
    """Two thresholds: LazyDAgger (Hoque et al. 2021, arXiv 2104.00053).

    The expert takes over where the predicted error is above `high`, and keeps control until the learner's
    disagreement, which it sees while it acts, is below `low`, whatever is predicted there. The noise that the paper
    adds to the expert's actions while it is in control is not there. Raises ValueError unless 0 <= low <= high.
    """

    high: Array | float
    low: Array | float
    needs: ClassVar[str] = "imitate"

    def __post_init__(self):
        require("Lazy.high", self.high, 0)
        require("Lazy.low", self.low, 0)
        if isinstance(self.low, int | float) and isinstance(self.high, int | float) and self.low > self.high:
            raise ValueError(f"Lazy.low must not be above Lazy.high, got low = {self.low:g}, high = {self.high:g}")

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Intervention:
        enter = predicted_error(problem, memory, policy) > self.high
        return _hysteresis(enter, disagreement(problem, policy) < self.low)


class Human(Node):
    """The human decides: HG-DAgger (Kelly et al. 2019, arXiv 1810.02890).

    It takes over where what the learner is about to do endangers more than `tolerance` (`risk`, in units of cost), and
    hands back where it does not. The learner's doubt has no part in that: as in the paper it is logged where the human
    intervenes, and `doubt_threshold` fits to that log where the trained learner can be trusted. Raises ValueError for
    a tolerance below 0.
    """

    tolerance: Array | float

    def __post_init__(self):
        require("Human.tolerance", self.tolerance, 0)

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Intervention:
        return _memoryless(risk(problem, policy) > self.tolerance)


class Thrifty(Node):
    """Novelty or risk, each to half of a target rate, refitted each round: ThriftyDAgger (arXiv 2109.08273).

    With hysteresis the expert keeps control until the learner's disagreement is below `low` as well. Raises
    ValueError for a rate outside [0, 1] and for `low` below 0.
    """

    rate: Array | float
    low: Array | float | None = None

    def __post_init__(self):
        require("Thrifty.rate", self.rate, 0, 1)
        require("Thrifty.low", self.low, 0)

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Intervention:
        novel = above_quantile(novelty(problem, memory), law, self.rate / 2)
        risky = above_quantile(risk(problem, policy), law, self.rate / 2)
        enter = novel + (1 - novel) * risky
        if self.low is None:
            return _memoryless(enter)
        return _hysteresis(enter, (1 - enter) * (disagreement(problem, policy) < self.low))


class Novelty(Node):
    """The most novel states up to a share of steps: CRSAIL's conformal query rate (arXiv 2512.00453), where the
    distance to the nearest neighbours is the novelty of a table's row. Raises ValueError for a rate outside [0, 1].
    """

    rate: Array | float

    def __post_init__(self):
        require("Novelty.rate", self.rate, 0, 1)

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Intervention:
        return _memoryless(above_quantile(novelty(problem, memory), law, self.rate))


class AskOnly(Node):
    """Any gate, but the learner keeps control: the expert is asked where it would have taken over.

    With a gate that is always open this is DAgger.
    """

    gate: Gate

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Intervention:
        return self.gate(problem, memory, policy, law)._replace(acts=0.0)


# ---- thresholds -----------------------------------------------------------------------------------------------


def above_quantile(scores: Array, law: Array, rate: Array | float) -> Array:
    """1 where a score is among the top `rate` of the law's mass, a fraction at the threshold itself. [T, S]

    Exactly `rate` of the mass is taken, ties up to rounding are shared out. Before there is a law everything is taken.

    Raises:
      ValueError: a rate outside [0, 1] (a concrete one only).
    """
    require("rate", known(rate), 0, 1)
    flat, mass = scores.reshape(-1), law.reshape(-1)
    order = jnp.argsort(-flat)
    ranked = flat[order]
    total = mass.sum()
    reached = jnp.cumsum(mass[order])
    threshold = ranked[jnp.minimum((reached < rate * total).sum(), ranked.size - 1)]
    tie = ties.rounding(flat)
    above, equal = flat > threshold + tie, jnp.abs(flat - threshold) <= tie
    higher, level = (mass * above).sum(), (mass * equal).sum()
    share = jnp.clip((rate * total - higher) / jnp.where(level > 0, level, 1.0), 0.0, 1.0)
    taken = jnp.where(above, 1.0, jnp.where(equal, share, 0.0))
    return jnp.where(total > 0, taken, 1.0).reshape(scores.shape)


def interventions(problem: Problem, policy: Array, play: Occupancy, takeover: Intervention) -> Array:
    """The law of the states in which the expert takes over, in a round of a row without beta and `back`. [T, S]

    Args:
      problem: the world and its expert.
      policy: [L, S, A] that played the round.
      play: what was seen of it. Of sampled episodes the learner's last move before is averaged over.
      takeover: what the gate decided.

    Raises:
      ValueError: a round that was played without a gate.
    """
    if play.intervened is None:
        raise ValueError("interventions are a gate's: this round was played without one")
    alone = (play.novice - play.intervened).sum(-1)  # the learner is in control, and stays so
    arrives = push_each(problem.world.transition, alone[..., None] * policy)
    here = jnp.concatenate([jnp.asarray(problem.world.initial)[None], arrives[:-1]])
    return problem.world.taken[:, None] * here * takeover.enter


def doubt_threshold(doubts: Array, entered: Array, last: float = 0.25) -> Array:
    """HG-DAgger's tau: the mean doubt over the last quarter of the log of all interventions. []

    Where the learner's `doubt` is at most tau it is to be trusted; the paper judges a trained learner by that, and lets
    nobody take over by it. The rounds are the log's order; of the round in which the last quarter begins, all
    interventions count in part. Infinite where nobody ever intervened.

    Args:
      doubts: [N, T, S] the learner's doubt in each round, as it acted.
      entered: [N, T, S] the law of `interventions`.
      last: the share of the log that counts.

    Raises:
      ValueError: a share outside (0, 1].
    """
    require("last", last, 0, 1, "(]")
    count = entered.sum((-2, -1))
    later = jnp.cumsum(count[::-1])[::-1] - count
    share = jnp.clip((last * count.sum() - later) / jnp.where(count > 0, count, 1.0), 0.0, 1.0)
    total = (share * count).sum()
    mean = (share * (doubts * entered).sum((-2, -1))).sum() / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, mean, jnp.inf)


def _memoryless(enter: Array) -> Intervention:
    return _hysteresis(enter, 1.0 - enter)


def _hysteresis(enter: Array, leave: Array) -> Intervention:
    return Intervention(enter * 1.0, leave * 1.0)


def _table(memory: Any, name: str) -> Array:
    """Raises ValueError for a learner whose memory has no such table."""
    if not hasattr(memory, name):
        need = "learners.Ensemble" if name == "members" else "learners.Tabular or learners.Ensemble"
        raise ValueError(f"this gate reads the learner's {name}: it needs {need}, got a {type(memory).__name__}")
    return getattr(memory, name)


def _rows(problem: Problem, table: Array) -> Array:
    """A learner's table [L, O, ...] at every step and state, [T, S, ...]."""
    return _over_time(problem, table[:, problem.world.observation])


def _over_time(problem: Problem, array: Array) -> Array:
    return jnp.broadcast_to(array, (problem.world.horizon, *array.shape[1:]))
