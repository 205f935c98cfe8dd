"""The theorems' right-hand sides, as functions of a schedule's row and of measured evidence.

Statements and proofs are in docs/theory.md. All theorems are rows of the table `BOUNDS`. `chunks`: one
learner, one row.
`rounds`: DAgger, at every number of rounds. `mixtures`: SMILe, SEARN. `costs`: AggreVaTe, NRPI, DART. `statistics`: how
far so many demonstrations go.
"""

from dagger_jax.bounds import costs, mixtures, statistics
from dagger_jax.bounds.chunks import (
    chunk_combined,
    chunk_cost_weighted,
    chunk_distance,
    chunk_longest,
    chunk_recoverable,
    chunk_span,
    law_shift,
    own_error,
    own_law,
    performance_difference,
    quadratic,
    random_phase,
    reset_variant,
    to_the_end,
)
from dagger_jax.bounds.registry import BOUNDS, CHUNKS, Bound, kinds, of_rows, slack, slacks
from dagger_jax.bounds.rounds import (
    NoRegret,
    no_regret,
    no_regret_by_round,
    theorem_4_1,
    theorem_4_1_sharp,
    theorem_4_2,
    theorem_4_2_sharp,
)

__all__ = [
    "BOUNDS",
    "CHUNKS",
    "Bound",
    "NoRegret",
    "chunk_combined",
    "chunk_cost_weighted",
    "chunk_distance",
    "chunk_longest",
    "chunk_recoverable",
    "chunk_span",
    "costs",
    "kinds",
    "law_shift",
    "mixtures",
    "no_regret",
    "no_regret_by_round",
    "of_rows",
    "own_error",
    "own_law",
    "performance_difference",
    "quadratic",
    "random_phase",
    "reset_variant",
    "slack",
    "slacks",
    "statistics",
    "theorem_4_1",
    "theorem_4_1_sharp",
    "theorem_4_2",
    "theorem_4_2_sharp",
    "to_the_end",
]
