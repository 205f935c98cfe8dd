"""Figures of the roll-in and roll-out table, and of algorithms that may beat their expert."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dagger_jax import report
from dagger_jax.algorithms import ALGORITHMS

Means = Mapping[tuple[str, str, str], Mapping[str, tuple[float, float, float]]]

MEASURES = {
    "gap": "J(π) − J(expert)",
    "over_best": "J(π) − J(best of the class)",
    "local": "gain of one-step deviations",
}


def table(means: Means, world: str, experts: Sequence[str], shares: Sequence[str]) -> Figure:
    """Roll-in by roll-out, a row of panels an expert, a panel a measure: numbers on a shade."""
    caption = (
        f"Roll-in by roll-out in {world}, cost per episode, mean and half width of the 95% interval over worlds. "
        "Above: an optimal reference; below: a corrupted one. Left: below 0 is better than the reference. Middle: "
        "what a better policy of the class would save. Right: 0 is locally optimal. Darker is dearer; both experts "
        "share one scale, but at the left."
    )
    figure, axes = report.panels(len(MEASURES), len(experts), caption=caption)
    figure.set_size_inches(12.5, 3.4 * len(experts))
    for row, expert in enumerate(experts):
        for column, (measure, name) in enumerate(MEASURES.items()):
            ax = axes[row * len(MEASURES) + column]
            values = np.array([[means[world, expert, f"{i}, {o}"][measure] for o in shares] for i in shares])
            others = [expert] if measure == "gap" else experts
            every = [means[world, e, f"{i}, {o}"][measure][0] for e in others for i in shares for o in shares]
            low = min(every) if measure == "gap" else 0.0
            high = max(*every, low + 1e-9)
            ax.imshow(values[..., 0], cmap="Blues", vmin=low, vmax=low + 1.35 * (high - low), aspect="auto")
            for i, o in np.ndindex(len(shares), len(shares)):
                value, least, most = values[i, o]
                dark = value - low > 0.8 * (high - low)
                ax.text(
                    o, i, f"{_short(value)}\n± {_short((most - least) / 2)}",
                    ha="center", va="center", fontsize=10, color="white" if dark else "black",
                )  # fmt: skip
            ax.set_xticks(range(len(shares)), shares)
            ax.set_yticks(range(len(shares)), shares if column == 0 else [""] * len(shares))
            ax.tick_params(length=0)
            ax.grid(False)
            for spine in ax.spines.values():
                spine.set_visible(False)
            ax.set_title(f"{expert} reference: {name}", fontsize=11)
            if row == len(experts) - 1:
                ax.set_xlabel("roll-out")
            if column == 0:
                ax.set_ylabel("roll-in")
    return figure


def algorithms(means: Means, worlds: Sequence[str], experts: Sequence[str], names: Sequence[str]) -> Figure:
    """J against the expert's, every algorithm and world, with intervals; the best of the class dashed."""
    caption = (
        "Cost per episode above the expert's, at infinite data: left of 0 the learner is better than its expert. Bars: "
        "95% intervals over worlds. Dashed: the best deterministic policy of the class. Panels differ in scale."
    )
    figure, axes = report.panels(len(worlds), len(experts), caption=caption)
    figure.set_size_inches(3.3 * len(worlds) + 1.2, 2.6 * len(experts) + 0.4)
    colours = report.colours(names)
    for row, expert in enumerate(experts):
        for column, world in enumerate(worlds):
            ax = axes[row * len(worlds) + column]
            for place, name in enumerate(names):
                value, low, high = means[world, expert, name]["gap"]
                ax.errorbar(
                    [value], [place], xerr=report.bar(value, low, high), fmt="o", color=colours[name], capsize=3
                )
            own = means[world, expert, names[0]]
            ax.axvline(0.0, color="#888888", linewidth=1)
            ax.axvline(own["gap"][0] - own["over_best"][0], color="black", linestyle="--", linewidth=1)
            ax.set_yticks(
                range(len(names)), [ALGORITHMS[name].title for name in names] if column == 0 else [""] * len(names)
            )
            ax.set_ylim(len(names) - 0.4, -0.6)
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.set_title(f"{world}\n{expert} expert", fontsize=11)
            if row == len(experts) - 1:
                ax.set_xlabel("J(π) − J(expert), cost per episode")
    return figure


def _short(value: float) -> str:
    text = "0" if abs(value) < 5e-5 else f"{value:.4f}" if abs(value) < 0.01 else f"{value:.3f}"
    return text.replace("-", "−")
