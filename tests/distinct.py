"""Rows of the table that differ by label, learner or gate alone have the same schedule: it is tested once."""

from collections.abc import Mapping

import jax
import numpy as np

from dagger_jax.types import Schedule


def distinct(found: Mapping[str, Schedule]) -> dict[str, Schedule]:
    """The schedules without those that an earlier name has already."""
    kept: dict[tuple[bytes, ...], str] = {}
    for name, schedule in found.items():
        kept.setdefault(tuple(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(schedule)), name)
    return {name: found[name] for name in kept.values()}
