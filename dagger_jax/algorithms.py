"""The algorithms, one table: which schedule, which learner, which theorem.

An algorithm is data: its schedule's columns. `build(rounds, horizon, chunk)` makes it; everything else here
says how to read its result.
"""

from collections.abc import Callable
from typing import NamedTuple

from dagger_jax import schedules
from dagger_jax.labels import Label, imitate
from dagger_jax.types import Schedule


class Algorithm(NamedTuple):
    """A row of the zoo."""

    build: Callable[[int, int, int], Schedule]  # (rounds, horizon, chunk length) -> [N, T]
    judged_by: Callable[[int, int], Schedule]  # (horizon, chunk length) -> [1, T]: the row its theorem is about
    bound: str  # key of `bounds.BOUNDS`: the theorem that is specific to it
    kind: str  # of row: "cloning", "chunks" or "reset"
    source: str
    chunked: bool = False  # does the chunk length matter?
    per_step: bool = False  # does it need one policy a step, and as many rounds as steps?
    label: Label = imitate


def _every_step(horizon: int, chunk: int) -> Schedule:
    return schedules.chunked(1, schedules.starts(horizon, 1))


ALGORITHMS: dict[str, Algorithm] = {
    "behavioural_cloning": Algorithm(
        build=lambda rounds, horizon, chunk: schedules.behavioural_cloning(rounds, horizon),
        judged_by=lambda horizon, chunk: schedules.behavioural_cloning(1, horizon),
        bound="sum (T-t+1) eps_t",
        kind="cloning",
        source="Ross and Bagnell 2010, Theorem 2.1",
    ),
    "forward_training": Algorithm(
        build=lambda rounds, horizon, chunk: schedules.forward_training(horizon),
        judged_by=_every_step,
        bound="u T eta",
        kind="chunks",
        source="Ross and Bagnell 2010, Theorem 3.1",
        per_step=True,
    ),
    "dagger": Algorithm(
        build=lambda rounds, horizon, chunk: schedules.dagger(rounds, horizon),
        judged_by=_every_step,
        bound="u T eta",
        kind="chunks",
        source="Ross, Gordon and Bagnell 2011, Algorithm 3.1",
    ),
    "chunked": Algorithm(
        # The expert rolls in first, as in DAgger: an untrained learner would lead nowhere worth a label.
        build=lambda rounds, horizon, chunk: schedules.chunked(
            rounds, schedules.starts(horizon, chunk), schedules.beta_indicator(rounds)
        ),
        judged_by=lambda horizon, chunk: schedules.chunked(1, schedules.starts(horizon, chunk)),
        bound="combined",
        kind="chunks",
        source="theory 7.2(4)",
        chunked=True,
    ),
    "reset": Algorithm(
        build=lambda rounds, horizon, chunk: schedules.reset(rounds, schedules.starts(horizon, chunk)),
        judged_by=lambda horizon, chunk: schedules.reset(1, schedules.starts(horizon, chunk)),
        bound="reset variant",
        kind="reset",
        source="theory 7.3",
        chunked=True,
    ),
}
