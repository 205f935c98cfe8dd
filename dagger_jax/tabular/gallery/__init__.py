"""Named worlds, each with its exact expert, its source and its closed form where there is one.

In the worlds that are not drawn at random the expert's action at the start has index 0, the one that an
untrained majority learner takes. Where the start is drawn, it is so in the likeliest state.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from dagger_jax.tabular.gallery.classic import (
    chunk_reset,
    chunk_reset_gap,
    cliff,
    cliff_gap,
    copy_chain,
    copy_chain_gap,
    debt,
    random_mdp,
    rb3,
    rb3_gap,
    tightrope,
)
from dagger_jax.tabular.gallery.games import car, car_road, dyck, dyck_gap
from dagger_jax.tabular.gallery.labelling import (
    cheap_and_dear,
    cheap_and_dear_gap,
    hybrid,
    hybrid_gap,
    hybrid_useful,
    leaf_tree,
    leaf_tree_gap,
)
from dagger_jax.tabular.gallery.lower_bounds import (
    identity_bandit,
    identity_bandit_gap,
    reset_cliff,
    reset_cliff_gap,
    reset_law,
    stationary_reset_cliff_gap,
    two_state_bandit,
    two_state_bandit_gap,
    two_state_bandit_least,
)
from dagger_jax.tabular.gallery.regimes import (
    density_ratio,
    density_ratio_gap,
    easy,
    goldilocks,
    goldilocks_error,
    goldilocks_gap,
    goldilocks_ratio,
    hard,
    hard_gap,
)
from dagger_jax.types import Problem

__all__ = [
    "WORLDS",
    "Entry",
    "car",
    "car_road",
    "cheap_and_dear",
    "cheap_and_dear_gap",
    "chunk_reset",
    "chunk_reset_gap",
    "cliff",
    "cliff_gap",
    "copy_chain",
    "copy_chain_gap",
    "debt",
    "density_ratio",
    "density_ratio_gap",
    "dyck",
    "dyck_gap",
    "easy",
    "goldilocks",
    "goldilocks_error",
    "goldilocks_gap",
    "goldilocks_ratio",
    "hard",
    "hard_gap",
    "hybrid",
    "hybrid_gap",
    "hybrid_useful",
    "identity_bandit",
    "identity_bandit_gap",
    "leaf_tree",
    "leaf_tree_gap",
    "random_mdp",
    "rb3",
    "rb3_gap",
    "reset_cliff",
    "reset_cliff_gap",
    "reset_law",
    "stationary_reset_cliff_gap",
    "tightrope",
    "two_state_bandit",
    "two_state_bandit_gap",
    "two_state_bandit_least",
]


class Entry(NamedTuple):
    """A row of the gallery."""

    build: Callable[..., Problem]  # (horizon, **arguments)
    about: str  # for a newcomer, one line
    source: str
    stationary: bool = False  # does one table for all steps hold the expert?
    longest: int = 1 << 20  # horizon, in steps, up to which its size suits a sweep
    states: Callable[[int], int] | None = None  # how many there are at a horizon, where they grow with it

    @property
    def arguments(self) -> dict[str, Any]:
        """What it takes besides the horizon, with the values that are taken where nothing is given."""
        taken = inspect.signature(self.build).parameters.values()
        fixed = self.build.keywords if isinstance(self.build, partial) else {}
        return {each.name: each.default for each in taken if each.name not in ("horizon", *fixed)}

    @property
    def drawn(self) -> bool:
        """Whether another seed is another world."""
        return "seed" in self.arguments


WORLDS: Mapping[str, Entry] = {
    "cliff": Entry(cliff, "one mistake is never undone: u = T", "Ross and Bagnell 2010"),
    "rb3": Entry(rb3, "one decision at the start, for ever", "Ross and Bagnell 2010"),
    "copy_chain": Entry(copy_chain, "the expert copies, mistakes included", "Kaariainen 2006"),
    "chunk_reset": Entry(chunk_reset, "every mistake is undone at once: u = 1", "this project"),
    "debt": Entry(debt, "every mistake costs u, in instalments", "this project"),
    "tightrope": Entry(tightrope, "a walker in the wind, seen through noise", "this project", stationary=True),
    "random_mdp": Entry(random_mdp, "Dirichlet transitions, uniform costs", "this project"),
    "reset_cliff": Entry(reset_cliff, "rare states, a bad one for ever", "Rajaraman et al. 2020, arXiv 2009.05990"),
    "recoverable_reset_cliff": Entry(
        partial(reset_cliff, recoverable=True),
        "rare states, a bad one with a way back: u = 1",
        "this project, after Rajaraman et al. 2021, NeurIPS 34, 1325-1336",
    ),
    "stationary_reset_cliff": Entry(
        partial(reset_cliff, stationary=True),
        "as reset_cliff, one expert for all steps",
        "after Foster et al. 2024, arXiv 2407.15007",
        stationary=True,
    ),
    "identity_bandit": Entry(
        identity_bandit, "rare states and nothing moves: u = 1", "this project, after arXiv 2009.05990"
    ),
    "stationary_identity_bandit": Entry(
        partial(identity_bandit, stationary=True),
        "as identity_bandit, one expert for all steps",
        "this project, after arXiv 2009.05990",
        stationary=True,
    ),
    "two_state_bandit": Entry(
        two_state_bandit, "one rare state costs T / (8 n)", "Foster et al. 2024, arXiv 2407.15007", stationary=True
    ),
    "cheap_and_dear": Entry(
        cheap_and_dear,
        "few dear mistakes or many cheap ones",
        "after Ross and Bagnell 2014, arXiv 1406.5979",
        stationary=True,
    ),
    "leaf_tree": Entry(
        leaf_tree,
        "a tree with one good leaf",
        "after Sun et al. 2017, arXiv 1703.01030",
        longest=8,
        states=lambda horizon: 2 ** min(horizon, 10),
    ),
    "hybrid": Entry(hybrid, "many states to be shown, a few to be asked about", "after arXiv 2412.07057, Theorem 8"),
    "car": Entry(
        car,
        "a road with obstacles and a short view",
        "after arXiv 2407.15007",
        states=lambda horizon: 3 * horizon + 4,
    ),
    "dyck": Entry(dyck, "balanced brackets: a mistake counts once", "after arXiv 2407.15007"),
    "easy": Entry(easy, "covariate shift, realizable", "after arXiv 2102.02872", stationary=True),
    "goldilocks": Entry(
        goldilocks, "covariate shift that reweighting mends", "after arXiv 2102.02872", stationary=True
    ),
    "hard": Entry(hard, "covariate shift that only asking mends", "after arXiv 2102.02872", stationary=True),
    "density_ratio": Entry(density_ratio, "no law exceeds C times the expert's", "after arXiv 2102.02872"),
}
