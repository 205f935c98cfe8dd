"""Every algorithm is a table: one row a round, one entry a step, read by both interpreters.

Two walkers run through one episode on shared randomness. The novice is moved by the learner (by the expert
with probability `beta`), the guide by the expert. `join` puts the guide where the novice is: from there the
expert continues, which is a chunk. `back` puts the novice where the guide is. Labels are asked for at the
walkers' states. Nothing else distinguishes the algorithms below, and every entry is data: no schedule
recompiles a program.

    algorithm                beta      join              back              labels
    behavioural cloning      -         t = 0             never             guide
    chunked, lengths l       beta_n    chunk starts(l)   never             guide
    DAgger                   beta_n    every step        never             novice
    forward training         -         every step        never             novice at t = n
    reset variant            -         t = 0             chunk starts(l)   novice
    round trip               -         chunk starts(l)   returns           both, half each
    SMILe, SEARN             (1-a)^n   every step        never             novice; retain 0, mixing_rate for what acts
    AggreVaTe                beta_n    every step        never             novice, costs-to-go; after 1
    LOLS, NRPI               roll-in   every step        never             novice, costs-to-go; after: roll-out
    DART                     -         t = 0             never             guide; noise
    Stagger                  -         every step        never             novice, one step an episode

Constructors are pure functions of numbers, some static (N, T), and may be called under jit. What is made of traced
numbers is traced; everything else is NumPy's, and takes no compiling.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer, Key, Real, Shaped

from dagger_jax.checks import known, namespace, require
from dagger_jax.schedules.betas import beta_constant, beta_geometric, beta_indicator, beta_linear
from dagger_jax.schedules.columns import filled, padded, row, stack, table, training_weights, validate
from dagger_jax.schedules.partitions import (
    by_offset,
    drawn,
    forks,
    geometric,
    growing,
    offsets,
    partition,
    remaining,
    restart,
    starts,
)
from dagger_jax.types import Array, Schedule

__all__ = [
    "aggrevate",
    "behavioural_cloning",
    "beta_constant",
    "beta_geometric",
    "beta_indicator",
    "beta_linear",
    "by_offset",
    "chunked",
    "dagger",
    "dart",
    "drawn",
    "filled",
    "forks",
    "forward_training",
    "geometric",
    "growing",
    "lols",
    "offsets",
    "padded",
    "partition",
    "remaining",
    "reset",
    "restart",
    "round_trip",
    "row",
    "scheduled_sampling",
    "searn",
    "smile",
    "smile_choice",
    "spread_steps",
    "stack",
    "stagger",
    "starts",
    "table",
    "training_weights",
    "validate",
]

# ---- algorithms ------------------------------------------------------------------------------------


def behavioural_cloning(rounds: int, horizon: int) -> Schedule:
    """The expert alone is followed and labelled (Pomerleau 1989; Ross and Bagnell 2010, Theorem 2.1)."""
    return chunked(rounds, starts(horizon, horizon))


def chunked(rounds: int, chunk_starts: Shaped[Array, "*N T"], beta: Real[Array, " N"] | None = None) -> Schedule:
    """The learner rolls in, the expert continues each chunk and is labelled on it.

    docs/theory.md#chunks-definition. Chunks of one step are DAgger, one chunk of T steps is behavioural cloning.

    Args:
      rounds: N.
      chunk_starts: [T] or [N, T], from `starts`, `partition` or `geometric`.
      beta: [N], probability a step that the expert acts while rolling in; 0 if None.
    """
    acts = 0.0 if beta is None else _by_round(beta)
    return table(rounds, chunk_starts.shape[-1], beta=acts, join=chunk_starts, label_guide=1.0)


def dagger(rounds: int, horizon: int, beta: Real[Array, " N"] | None = None) -> Schedule:
    """DAgger, Algorithm 3.1 of Ross, Gordon and Bagnell (2011).

    Args:
      rounds: N.
      horizon: T.
      beta: [N], probability a step that the expert acts; 1[n = 1] if None.
    """
    acts = _by_round(beta_indicator(rounds) if beta is None else beta)
    return table(rounds, horizon, beta=acts, join=1.0, label_novice=1.0)


def scheduled_sampling(rounds: int, horizon: int, copied: Real[Array, " N"]) -> Schedule:
    """The expert's actions along its own walk are the labels, at prefixes that are the learner's own in part.

    Scheduled sampling (Bengio et al. 2015, arXiv 1506.03099).

    Args:
      rounds: N.
      horizon: T.
      copied: [N], probability per step that the novice copies the guide's action.
    """
    return table(rounds, horizon, join=starts(horizon, horizon), label_guide=1.0, copied=_by_round(copied))


def forward_training(horizon: int) -> Schedule:
    """Round n labels step n alone, on the states of the policies before it (Ross and Bagnell 2010)."""
    return table(horizon, horizon, join=1.0, label_novice=np.eye(horizon))


def smile(rounds: int, horizon: int, alpha: Real[Array, ""] | float) -> Schedule:
    """SMILe, Algorithm 4.1 of Ross and Bagnell (2010): pi^n = pi^(n-1) + alpha (1 - alpha)^(n-1) (pihat_n - pi*).

    Each pihat_n fits the states of pi^(n-1) alone. The expert is left with probability (1 - alpha)^n a step; without
    it the mixture is `Outcome.acting`, the output.

    Args:
      rounds: N.
      horizon: T.
      alpha: in (0, 1); the theorem's choice is `smile_choice`.

    Raises:
      ValueError: an alpha outside (0, 1) (a concrete one only).
    """
    require("alpha", known(alpha), 0, 1, "()")
    left, spent = _left_and_spent(rounds, alpha)
    rate = namespace(left).minimum(alpha * left / spent, 1.0)  # the newest's share of what is not the expert's
    return table(rounds, horizon, beta=left[:, None], join=1.0, label_novice=1.0, mixing_rate=rate, retain=0.0)


def smile_choice(horizon: int) -> tuple[float, int]:
    """alpha = sqrt(3) / (T^2 sqrt(log T)) and N = 2 log T / alpha of SMILe's Theorem 4.1 (T >= 3)."""
    if horizon < 3:
        raise ValueError(f"SMILe's choice needs a horizon of at least 3 steps, got {horizon}")
    alpha = math.sqrt(3) / (horizon**2 * math.sqrt(math.log(horizon)))
    return alpha, math.ceil(2 * math.log(horizon) / alpha)


def searn(rounds: int, horizon: int, beta: Real[Array, ""] | float) -> Schedule:
    """SEARN (Daume, Langford and Marcu 2009): h_n = beta hhat_n + (1 - beta) h_(n-1), beginning with the expert.

    Labels are the costs-to-go of deviations from h_(n-1), `labels.cost_to_go_acting`. The output is the mixture without
    the expert, `Outcome.acting`.

    Raises:
      ValueError: a beta outside (0, 1] (a concrete one only).
    """
    require("beta", known(beta), 0, 1, "(]")
    left, spent = _left_and_spent(rounds, beta)
    rate = namespace(spent).minimum(beta / spent, 1.0)
    # The label does not read `after`: it says for `evidence.prices` how often the expert acts after a deviation.
    mixed = table(rounds, horizon, beta=left[:, None], join=1.0, label_novice=1.0, mixing_rate=rate, retain=0.0)
    return mixed._replace(after=mixed.beta)


def aggrevate(rounds: int, horizon: int, beta: Real[Array, " N"] | None = None, steps: Array | None = None) -> Schedule:
    """AggreVaTe (Ross and Bagnell 2014): DAgger's roll-in, costs-to-go of a deviation that the expert completes.

    To be used with `labels.cost_to_go`.

    Args:
      rounds: N.
      horizon: T.
      beta: [N], as in `dagger`.
      steps: [N] the one step of each round's episodes at which a deviation is tried, as published; None: every step.

    Raises:
      ValueError: not one step a round, or a step outside 0..T-1 (concrete ones only).
    """
    played = dagger(rounds, horizon, beta)
    asked = 1.0 if steps is None else _one_step(rounds, horizon, steps)
    after = np.ones(np.shape(played.join), played.join.dtype)
    return played._replace(after=after, label_novice=asked * played.label_novice)


def lols(
    rounds: int, horizon: int, roll_in: Real[Array, " N"] | None = None, roll_out: Real[Array, "..."] | float = 0.5
) -> Schedule:
    """LOLS (Chang et al. 2015), and all nine combinations of its table. To be used with `labels.cost_to_go`.

    Args:
      rounds: N.
      horizon: T.
      roll_in: [N] the expert's share of the roll-in: 1 reference, 0 learned, between a mixture a step. None: learned,
        but for the first round, as there is no learner before it. With the reference everywhere and `roll_out` 0 it is
        NRPI's label (Ross and Bagnell 2014), the expert's law being the exploration law.
      roll_out: the share of roll-outs that the expert completes: 1 reference, 0 learned, LOLS' beta between.
    """
    played = dagger(rounds, horizon, roll_in)
    xp = namespace(roll_out)
    return played._replace(after=xp.broadcast_to(xp.asarray(roll_out, played.join.dtype), played.join.shape))


def dart(rounds: int, horizon: int, noise: Real[Array, "..."] | float = 0.0) -> Schedule:
    """DART (Laskey et al. 2017): the expert's executed action is perturbed, the label is the intended one.

    `noise` broadcasts against [N, T]; `controllers.FittedNoise` fits it to the learner. 0: behavioural cloning.
    """
    return table(rounds, horizon, join=starts(horizon, horizon), label_guide=1.0, noise=noise)


def stagger(rounds: int, horizon: int, steps: Array, warm: Any = 0) -> Schedule:
    """Stagger and Warm-Stagger (Li and Zhang 2025, arXiv 2412.07057): one label a roll-out of the current learner.

    Args:
      rounds: N, each of one episode as published.
      horizon: T.
      steps: [N] the step labelled in each round, from `spread_steps` or drawn uniformly.
      warm: the first rounds are the expert's own demonstrations, labelled at every step (Warm-Stagger).

    Raises:
      ValueError: not one step a round, a step outside 0..T-1, or `warm` outside 0..N (concrete ones only).
    """
    require("warm", known(warm), 0, rounds)
    first = np.arange(rounds)[:, None] < warm
    join = starts(horizon, horizon) | ~first
    return table(rounds, horizon, join=join, label_guide=first, label_novice=_one_step(rounds, horizon, steps) & ~first)


def _one_step(rounds: int, horizon: int, steps: Array) -> Bool[Array, "{rounds} {horizon}"]:
    """Whether it is the step that a round labels. [N, T]"""
    if jnp.shape(steps) != (rounds,):
        raise ValueError(f"steps must be one a round, of shape [{rounds}], got {list(jnp.shape(steps))}")
    require("steps", known(steps), 0, horizon - 1)
    return namespace(steps).asarray(steps)[:, None] == np.arange(horizon)


@functools.partial(jax.jit, static_argnames=("rounds", "horizon"))
def spread_steps(rounds: int, horizon: int, key: Key[Array, ""]) -> Integer[Array, " {rounds}"]:
    """Steps drawn uniformly, every T rounds each once: a permutation after another. [N]"""
    count = -(-rounds // horizon)
    each = jax.vmap(lambda k: jax.random.permutation(k, horizon))(jax.random.split(key, count))
    return each.reshape(-1)[:rounds]


def round_trip(rounds: int, chunk_starts: Shaped[Array, "*N T"], returns: Shaped[Array, "*k T"]) -> Schedule:
    """Both directions: the expert continues from the learner's state at `chunk_starts`, and the learner goes on
    from the expert's state at `returns`. Both walkers are labelled, each with half the weight.

    Args:
      rounds: N.
      chunk_starts: [T] or [N, T].
      returns: [T] or [N, T]; where a chunk starts none can be.
    """
    horizon = chunk_starts.shape[-1]
    back = _but_first(returns)
    return table(rounds, horizon, join=chunk_starts, back=back, label_guide=0.5, label_novice=0.5)


def reset(rounds: int, chunk_starts: Shaped[Array, "*N T"]) -> Schedule:
    """The learner makes excursions from the expert's states and is labelled on them.

    docs/theory.md#excursions-the-reset-variant.

    Args:
      rounds: N.
      chunk_starts: [T] or [N, T]; an excursion begins at each.
    """
    horizon = chunk_starts.shape[-1]
    back = _but_first(chunk_starts)
    return table(rounds, horizon, join=starts(horizon, horizon), back=back, label_novice=1.0)


def _but_first(boundary: Array) -> Array:
    """A boundary [..., T] with 0 at the first step, where nobody can come from elsewhere."""
    return namespace(boundary).where(np.arange(boundary.shape[-1]) == 0, 0.0, boundary)


def _by_round(share: Any) -> Array:
    """A number a round, [N], as a column of a table: [N, 1]."""
    return namespace(share).asarray(share)[:, None]


def _left_and_spent(rounds: int, share: Array | float) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """(1 - share)^(n-1) and 1 - (1 - share)^n, n = 1..N.

    A power of a rounded 1 - share would be off after thousands of rounds, and a difference for small shares.
    Exponentials are JAX's also where the share is known: NumPy's differ in the last bit.
    """
    n = np.arange(rounds + 1, dtype=jnp.result_type(float))
    rate = jnp.log1p(-namespace(share).asarray(share, n.dtype))
    xp = namespace(rate)
    rate = xp.asarray(rate)
    later, spent = xp.asarray(jnp.exp(n[1:-1] * rate)), xp.asarray(jnp.expm1(n[1:] * rate))
    return xp.concatenate([n[:1] + 1, later]), -spent
