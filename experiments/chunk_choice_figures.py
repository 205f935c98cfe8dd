"""Figures of the chunk-length frontier."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dagger_jax import report

KINDS = {
    "fixed": ("#0072B2", "o", "fixed length"),
    "schedule": ("#009E73", "s", "schedule over rounds"),
    "controller": ("#D55E00", "^", "controller"),
    "published": ("#8A5A9E", "x", "published strategy"),
}


def frontier(found: Mapping[str, Mapping[str, Any]], budget: float) -> Figure:
    """Gap against detectability at the same price, a panel a world; methods are numbered, fixed lengths joined."""
    caption = (
        "Regret against detectability at an equal price. Blue: fixed lengths k, joined; squares: schedules over "
        "rounds; triangles: controllers; crosses: published strategies, all numbered as in the legend. Bars: 95% "
        "intervals over runs. Dotted: the detectability budget. Down and left is better; k = 1 cannot be detected."
    )
    figure, axes = report.panels(len(found), caption=caption)
    figure.set_size_inches(5.2 * len(found), 6.6)
    numbered: dict[str, int] = {}
    for ax, (world, methods) in zip(axes, found.items(), strict=True):
        for kind, (colour, marker, name) in KINDS.items():
            own = {method: each for method, each in methods.items() if each.kind == kind}
            x = np.array([each.detectability.mean() for each in own.values()])
            y = np.array([each.gap.mean() for each in own.values()])
            error = [1.96 * each.gap.std() / np.sqrt(max(len(each.gap) - 1, 1)) for each in own.values()]
            line = "-" if kind == "fixed" else "none"
            ax.errorbar(x, y, error, linestyle=line, color=colour, marker=marker, label=name, capsize=2, linewidth=1.2)
            for method, px, py in zip(own, x, y, strict=True):
                if np.isnan(px):
                    continue  # with `back` a detector's distance means nothing
                text = method if kind == "fixed" else str(numbered.setdefault(method, len(numbered) + 1))
                ax.annotate(text, (px, py), xytext=(5, 4), textcoords="offset points", fontsize=8, color=colour)
        ax.axvline(budget, color="#888888", linestyle=":")
        report.logarithmic(ax, "y")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        ax.tick_params(axis="y", which="both", labelsize=8)
        ax.set_title(world)
        ax.set_xlabel("mean T_j: what a detector can know (total variation)")
    axes[0].set_ylabel("gap at equal price (cost per episode)")
    axes[0].legend(fontsize=9)
    names = [f"{number} {method}" for method, number in numbered.items()]
    lines = ["    ".join(names[start : start + 9]) for start in range(0, len(names), 9)]
    figure.supxlabel("\n".join(lines), fontsize=8.5)
    return figure


def ratios(found: Mapping[str, Mapping[str, Any]], values: Mapping[str, Mapping[str, tuple]]) -> Figure:
    """Gap relative to that of the best fixed length, every method and world, with intervals."""
    caption = (
        "Mean gap at an equal price, relative to that of the best fixed length, which is chosen in hindsight on the "
        "same runs. Bars: 95% bootstrap intervals, runs paired. Left of 1 is better."
    )
    figure, axes = report.panels(len(found), caption=caption)
    names = list(next(iter(found.values())))
    figure.set_size_inches(4.2 * len(found) + 2, 1.2 + 0.25 * len(names))
    for ax, (world, methods) in zip(axes, found.items(), strict=True):
        for place, name in enumerate(names):
            value, low, high = values[world][name]
            colour, marker, _ = KINDS[methods[name].kind]
            bar = report.bar(value, low, high)
            ax.errorbar([value], [place], xerr=bar, fmt=marker, color=colour, capsize=2)
        ax.axvline(1.0, color="#888888", linestyle="--", linewidth=1)
        report.logarithmic(ax, "x")
        ax.set_title(world)
        ax.set_yticks(range(len(names)), names if ax is axes[0] else [""] * len(names), fontsize=8)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_xlabel("gap / gap of the best fixed k")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        ax.tick_params(axis="x", which="both", labelsize=8)
    return figure


def partition(plans: list[dict[str, Any]]) -> Figure:
    """What the best partition saves against the best equal chunks, by the price of a hand-over."""
    caption = (
        "Hand-over cost plus bound 7.2(4) of the best partition, relative to the best equal chunks, for the errors by "
        "step that training left (k = 1). Bands: all runs. At 1 a length that varies inside the episode is no help."
    )
    figure, (ax,) = report.panels(caption=caption)
    for world in dict.fromkeys(row["world"] for row in plans):
        own = [row for row in plans if row["world"] == world]
        prices = sorted({row["price"] for row in own})
        shares = np.array(
            [[_share(row["bound"], row["best_fixed"]) for row in own if row["price"] == price] for price in prices]
        )
        (line,) = ax.plot(prices, shares.mean(1), marker="o", label=world)
        ax.fill_between(prices, shares.min(1), shares.max(1), alpha=0.15, color=line.get_color())
    report.logarithmic(ax, "x")
    ax.axhline(1.0, color="#888888", linestyle="--", linewidth=1)
    ax.set_xlabel("price of a hand-over (units of the world's cost)")
    ax.set_ylabel("best partition / best equal chunks")
    ax.legend()
    return figure


def _share(value: float | None, of: float | None) -> float:
    """A ratio, 1 of nothing to nothing, and NaN where it is not known."""
    if value is None or of is None or (of == 0 and value != 0):
        return np.nan
    return value / of if of else 1.0
