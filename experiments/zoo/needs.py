"""What the largest arrays of the zoo take, from its settings alone."""

from ..claim import Need, Settings, points
from ..shared import study
from ..shared.needs import Needs
from . import known, worlds


def zoo(s: Settings) -> Needs:
    """A world of each of a group a run, its states rounded up; --memory of policies; the solvers' demonstrations."""
    most, kept, tables = 0, 0, 0
    for world in s.worlds:
        place = worlds.PLACES[world]
        horizon = min(max(s.horizons), place.longest)
        steps, states, actions, _ = study.sizes(world, horizon)
        states = max(24 if steps == 1 else 8, states)
        most += 8 * states * actions * (study.COPIES * steps * states + 10 * horizon)
        kept += horizon * s.demonstrations * 30
        tables += horizon * states * actions * 24 * 64  # of each round
    solvers = set(known.SOLVERS) & set(s.algorithms)
    return (
        Need("worlds of all runs", s.runs * most),
        Need("policies of all rounds", 2.5 * min(s.memory * 2**20, s.runs * tables * len(s.algorithms))),
        Need("demonstrations of all runs", s.runs * kept if solvers else 0),
        points(len(s.worlds) * len(s.algorithms) * len(s.horizons) * s.runs),
    )
