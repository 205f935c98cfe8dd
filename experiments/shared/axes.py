"""Axes of figures."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

# Where ticks are labelled in every decade, by the ratio of an axis's ends.
STEPS: Mapping[float, Sequence[float]] = {
    2.5: (1.0, 1.1, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
    6: (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    200: (1.0, 2.0, 5.0),
    np.inf: (1.0,),
}


def plain(ax: Axes, *names: str) -> None:
    """Logarithmic axes ("x", "y") with few labels: the closer, the shorter the axis."""
    for name in names:
        axis, (low, high) = getattr(ax, f"{name}axis"), getattr(ax, f"get_{name}lim")()
        if axis.get_scale() != "log":  # nothing positive is drawn
            continue
        steps = next(steps for most, steps in STEPS.items() if high < most * low)
        axis.set_major_locator(LogLocator(subs=steps, numticks=20))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(NullFormatter())
