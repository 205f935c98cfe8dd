"""Methods compared on paired runs: ratios of mean gaps, and a best one that is judged on other runs than chose it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dagger_jax import intervals

NOTHING = 1e-12  # gaps up to here are 0, and two of them equal


def ratio(values: np.ndarray, reference: np.ndarray) -> intervals.Interval:
    """Ratio of mean gaps with its 95% interval; runs are paired."""
    return intervals.ratio(values, reference, nothing=NOTHING)


class Chosen(NamedTuple):
    """The best of several methods, one choice for each half of the runs."""

    names: tuple[str, ...]  # what the even runs chose, and the odd ones if that is another
    gap: np.ndarray  # [R] of each run under what the other half chose

    @property
    def title(self) -> str:
        """The names, for a sentence."""
        return " or ".join(self.names)


def best(gaps: Mapping[str, np.ndarray]) -> Chosen:
    """The method of least mean gap [R], chosen on one half of the runs and judged on the other, both ways, pooled.

    Chosen and judged on the same runs it would look better than it is, by more the more methods there are. Methods
    that have no gap in some run (NaN) are not chosen.

    Raises:
      ValueError: no method has a gap in every run, or there are fewer than two runs.
    """
    able = {name: np.asarray(gap, float) for name, gap in gaps.items() if np.isfinite(gap).all()}
    if not able or len(next(iter(able.values()))) < 2:
        raise ValueError("a best method needs one that has a gap in every run, and two runs")
    own = [min(able, key=lambda name, half=half: able[name][half::2].mean()) for half in (0, 1)]
    pooled = np.empty(len(able[own[0]]))
    for half in (0, 1):
        pooled[half::2] = able[own[1 - half]][half::2]
    return Chosen(tuple(dict.fromkeys(own)), pooled)
