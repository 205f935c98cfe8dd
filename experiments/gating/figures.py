"""Figures of gates: regret against what is asked, and beside fixed chunks at an equal price."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from dagger_jax import intervals, report

from ..shared.axes import plain

GREY = "#777777"


def curves(
    found: Mapping[str, Mapping[str, Any]],
    column: str,
    what: str,
    names: Mapping[str, str],
    middle: Mapping[str, float],
) -> Figure:
    """Gap against the sum of one thing asked, a panel a world: gates in their middle setting, DAgger, cloning."""
    caption = (
        f"Regret of the learner alone against {what} so far, all episodes of a run; means over runs, with 95% "
        "intervals after the last round. Solid: gates in their middle setting. Dotted: the same gate, but the learner "
        "stays in control and only asks. Grey: fixed chunks, from k = 1 (DAgger) to k = T (behavioural cloning). "
        "Curves of gates that agree hide one another. Down and left is better."
    )
    figure, axes = report.panels(len(found), caption=caption)
    figure.set_size_inches(4.9 * len(found) + 0.6, 5.6)
    colours = report.colours(tuple(names))
    for ax, (world, methods) in zip(axes, found.items(), strict=True):
        fixed = [name for name, curve in methods.items() if curve.kind == "chunk"]
        for name, curve in methods.items():
            gate = curve.kind != "chunk"
            if gate and curve.value != middle[curve.kind]:
                continue
            if not gate and name not in (fixed[0], fixed[len(fixed) // 2], fixed[-1]):
                continue
            colour = colours[curve.kind] if gate else GREY
            style = ":" if curve.asks else "-"
            label = f"{names[curve.kind]}{', asks only' if curve.asks else ''}" if gate else name
            marker = "" if gate else {fixed[0]: "o", fixed[-1]: "s"}.get(name, "^")
            x, y = getattr(curve, column).mean(0), curve.gap.mean(0)
            half = intervals.mean(curve.gap).high - y
            every = max(1, len(x) // 6)
            ax.plot(
                x, y, style, color=colour, marker=marker, markevery=every, label=label, linewidth=1.6,
                zorder=2 if gate else 3,
            )  # fmt: skip
            ax.errorbar(x[-1:], y[-1:], half[-1:], color=colour, capsize=3, linewidth=1.2, zorder=4)
        lowest = min(curve.gap.mean(0).min() for curve in methods.values())
        report.logarithmic(ax, "x", "y")
        ax.set_ylim(bottom=max(lowest * 0.6, 1e-4))
        plain(ax, "x", "y")
        ax.set_title(world.replace("_", " "))
        ax.set_xlabel(f"{what} (sum over episodes)")
    axes[0].set_ylabel("gap of the learner alone (cost per episode)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, 2 * len(found) + 1), fontsize=9)
    return figure


def ratios(
    found: Mapping[str, Mapping[str, Any]], against: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]
) -> Figure:
    """Gap relative to that of the best fixed length at the price that the gate has spent."""
    caption = (
        "Gap of the learner alone at the price that the gate has spent, relative to that of the best fixed chunk at "
        "the same price, chosen for each gate on one half of the runs and judged on the other (named at the right). "
        "Open: the learner stays in control. Bars: 95% intervals, runs paired. Left of 1 is better."
    )
    figure, axes = report.panels(len(against), caption=caption)
    every = list(next(iter(against.values())))
    figure.set_size_inches(4.2 * len(against) + 2, 1.3 + 0.26 * len(every))
    colours = report.colours(tuple(names))
    for ax, (world, each) in zip(axes, against.items(), strict=True):
        for place, name in enumerate(every):
            value, low, high = each[name].ratio
            curve = found[world][name]
            ax.errorbar(
                [value], [place], xerr=report.bar(value, low, high), fmt="o", color=colours[curve.kind], capsize=2,
                markerfacecolor="white" if curve.asks else colours[curve.kind],
            )  # fmt: skip
            ax.annotate(
                each[name].best, (1.0, place), xycoords=("axes fraction", "data"), xytext=(-3, 0),
                textcoords="offset points", ha="right", va="center", fontsize=7, color=GREY,
            )  # fmt: skip
        ax.axvline(1.0, color="#888888", linestyle="--", linewidth=1)
        report.logarithmic(ax, "x")
        ax.set_title(world.replace("_", " "))
        ax.set_yticks(range(len(every)), every if ax is axes[0] else [""] * len(every), fontsize=8)
        ax.set_ylim(len(every) - 0.4, -0.6)
        ax.set_xlabel("gap / gap of the best fixed k (named at the right)")
        low, high = ax.get_xlim()
        ax.set_xlim(min(low, 0.8), max(high, 1.25) * 1.35)
        plain(ax, "x")
    return figure
