"""Figures of the chunk-length frontier and of what the cost of a hand-over changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from dagger_jax import intervals, report

from ..shared.axes import plain
from ..shared.chunk_methods import CUT
from ..shared.chunk_worlds import PLACES
from ..shared.rivals import ratio
from .findings import WATCHED, WAYS, AtBudget, Way, best_of

GREY = "#888888"
KINDS = {
    "fixed": ("#0072B2", "o", "fixed length k (number: steps)"),
    "schedule": ("#009E73", "s", "schedule over rounds"),
    "controller": ("#D55E00", "^", "controller"),
    "published": ("#8A5A9E", "X", "published strategy"),
}
WAY_COLOURS = dict(zip(WAYS, ("#009E73", "#E69F00", "#D55E00", "#CC79A7"), strict=True))


def costs(sweep: Mapping[str, Mapping[float, Mapping[str, Way]]], watch: float) -> Figure:
    """Ratio to the best fixed length against the cost of a hand-over, a panel per world."""
    caption = (
        "Gap at an equal cost, relative to that of the best fixed length, against what a hand-over costs. Below the "
        "line at 1 it pays to change the length. Bands: 95% intervals over runs, one at a time. The best of several "
        f"are chosen on one half of the runs and judged on the other. Watching paid: {watch:g} labels a step."
    )
    figure, axes = _panels(len(sweep), caption, 3.5)
    for ax, (world, by_cost) in zip(axes, sweep.items(), strict=False):
        asked = list(by_cost)
        least = min((cost for cost in asked if cost > 0), default=1.0)
        for way, colour in WAY_COLOURS.items():
            value, low, high = np.array([by_cost[cost][way].ratio for cost in asked]).T
            label = WAYS[way].replace("chunks cut where disagreement accumulates", "cut where disagreement accumulates")
            line = "--" if way == "watched" else "-"
            ax.plot(asked, value, line, marker="o", color=colour, label=label)
            ax.fill_between(asked, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.axhline(1.0, color="#444444", linewidth=1.2)
        ax.set_xscale("symlog", linthresh=least, linscale=0.5)
        ax.set_xlim(-0.15 * least, max(1.3 * max(asked), least))
        ax.set_xticks(asked, [f"{cost:g}" for cost in asked])
        ax.minorticks_off()
        report.logarithmic(ax, "y")
        low, high = ax.get_ylim()
        ax.set_ylim(min(max(low, 0.05), 0.85), max(min(high, 20), 1.2))
        plain(ax, "y")
        ax.set_title(PLACES[world].title, fontsize=11)
        ax.set_xlabel("cost of a hand-over (labels)")
    for ax in axes[:: _columns(len(sweep))]:
        ax.set_ylabel("gap / gap of the best fixed k")
    _legend(figure, axes, len(sweep))
    return figure


def frontier(found: Mapping[str, Mapping[str, AtBudget]], budget: float, cost: float) -> Figure:
    """Gap against detectability at the same cost, a panel per world: fixed lengths, and the best of each other kind."""
    caption = (
        f"Regret against detectability at an equal cost, a hand-over at {cost:g} labels. Numbers: fixed lengths k, "
        "joined. Named: of schedules, controllers and published strategies the one of least mean gap; pale: the "
        "others. Bars: 95% intervals over runs. Dotted: the detectability budget. Down and left is better; k = 1 "
        "cannot be detected. Arrows: so many are beyond the panel."
    )
    figure, axes = _panels(len(found), caption, 4.2)
    for ax, (world, methods) in zip(axes, found.items(), strict=False):
        _frontier(ax, {name: each for name, each in methods.items() if np.isfinite(each.gap).all()}, budget)
        ax.set_title(PLACES[world].title, fontsize=11)
        ax.set_xlabel("what a detector can know (mean total variation)")
    for ax in axes[:: _columns(len(found))]:
        ax.set_ylabel("gap (cost per episode)")
    _legend(figure, axes, len(found))
    return figure


def _frontier(ax: Axes, methods: Mapping[str, AtBudget], budget: float) -> None:
    place = {name: (float(each.detectability.mean()), float(each.gap.mean())) for name, each in methods.items()}
    fixed = [name for name, each in methods.items() if each.kind == "fixed"]
    most = 1.2 * max(place[name][1] for name in fixed)
    named = []
    for kind, (colour, marker, label) in KINDS.items():
        # With `back` a detector's distance means nothing: such strategies have no place here.
        own = [name for name, each in methods.items() if each.kind == kind and np.isfinite(place[name][0])]
        if not own:
            continue
        x, y = np.array([place[name] for name in own]).T
        if kind == "fixed":
            _bars(ax, methods, own, colour)
            ax.plot(x, y, "-o", color=colour, markersize=13, label=label, zorder=4)
            for name, px, py in zip(own, x, y, strict=True):
                number = name.removeprefix("k = ")
                ax.annotate(number, (px, py), ha="center", va="center", color="white", fontsize=8, zorder=5)
            continue
        ax.plot(x[y <= most], y[y <= most], marker, color=colour, alpha=0.35, markersize=6, zorder=2)
        chosen = min((name for name in own if name not in (CUT, WATCHED)), key=lambda name: place[name][1], default="")
        best = [name for name in (chosen, CUT, WATCHED) if name in own]
        _bars(ax, methods, best, colour)
        ax.plot([], [], marker, color=colour, markersize=8, linestyle="none", label=label)
        for name in best:
            ax.plot(*place[name], marker, color=colour, markersize=8, markeredgecolor="white", zorder=6)
            short = {CUT: "cut where it disagrees", WATCHED: "cut, watching paid"}.get(name, name)
            named.append((*place[name], short, colour))
    ax.axvline(budget, color=GREY, linestyle=":", zorder=1)
    values = np.array([y for _, y in place.values() if 0 < y <= most])
    if len(values):
        report.logarithmic(ax, "y")
        ends = [methods[name].gap.mean() + sign * _half(methods[name].gap) for name in fixed for sign in (-1, 1)]
        low, high = max(min(ends), 0.6 * values.min()), min(max(ends), 2 * most)
        ax.set_ylim(0.9 * min(values.min(), low), 1.1 * max(most, high))
        plain(ax, "y")
    above = sum(y > most for _, y in place.values())
    if above:
        ax.annotate(
            f"\u2191 {above} more", (0.02, 0.985), xycoords="axes fraction", va="top", fontsize=9, color="#666666",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, zorder=8,
        )  # fmt: skip
    _beside(ax, named)


def _half(gap: np.ndarray) -> float:
    """Half the 95% interval of a mean over runs."""
    around = intervals.mean(gap)
    return float(around.high - around.value)


def _bars(ax: Axes, methods: Mapping[str, AtBudget], names: Sequence[str], colour: str) -> None:
    for name in names:
        gap, seen = methods[name].gap, methods[name].detectability.mean()
        ax.errorbar(seen, gap.mean(), _half(gap), color=colour, capsize=2, linewidth=1, zorder=3)


def _beside(ax: Axes, named: Sequence[tuple[float, float, str, str]]) -> None:
    """Names in a column at the right, in the order of their points, apart from each other, each with a thin line."""
    low, high = ax.get_xlim()
    ax.set_xlim(low, low + 1.75 * (high - low))
    to_axes = ax.transData + ax.transAxes.inverted()
    free = -np.inf
    for x, y, name, colour in sorted(named, key=lambda one: one[1]):
        height = float(np.clip(to_axes.transform((x, y))[1], 0.03, 0.97))
        free = max(height, free + 0.075)
        ax.annotate(
            name, (x, y), xytext=(0.6, free), textcoords="axes fraction", va="center", fontsize=9, color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkB": 3}, zorder=7,
        )  # fmt: skip


def ratios(found: Mapping[str, Mapping[str, AtBudget]], cost: float) -> Figure:
    """Gap relative to that of the best fixed length, every method and world, with intervals."""
    caption = (
        f"Mean gap at an equal cost, a hand-over at {cost:g} labels, relative to that of the best fixed length, which "
        "is chosen on one half of the runs and judged on the other. Bars: 95% intervals, runs paired. Left of 1 is "
        "better. Arrows: beyond the panel."
    )
    figure, axes = report.panels(len(found), caption=caption)
    names = list(dict.fromkeys(name for methods in found.values() for name in methods))
    figure.set_size_inches(2.7 * len(found) + 3, 1.4 + 0.24 * len(names))
    for ax, (world, methods) in zip(axes, found.items(), strict=True):
        fixed = best_of(methods, "fixed").gap
        for place, name in enumerate(names):
            if name not in methods or not np.isfinite(methods[name].gap).all():
                continue
            value, low, high = ratio(methods[name].gap, fixed)
            colour, marker, _ = KINDS[methods[name].kind]
            if not 0.25 <= value <= 10:
                ax.plot([np.clip(value, 0.27, 9.3)], [place], ">" if value > 1 else "<", color=colour)
                continue
            ax.errorbar([value], [place], xerr=[[value - low], [high - value]], fmt=marker, color=colour, capsize=2)
        ax.axvline(1.0, color=GREY, linestyle="--", linewidth=1)
        report.logarithmic(ax, "x")
        ax.set_xlim(0.25, 10)
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=9))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_title(world.replace("_", " "), fontsize=10)
        ax.set_yticks(range(len(names)), names if ax is axes[0] else [""] * len(names), fontsize=9)
        ax.set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel("gap / gap of the best fixed k", fontsize=10)
    return figure


def partition(plans: list[dict[str, Any]]) -> Figure:
    """What the best partition saves against the best equal chunks, by the price of a hand-over."""
    caption = (
        "Hand-over cost plus the bound of the best partition, relative to the best equal chunks, for the errors by "
        "step that training left (k = 1). Bands: all runs. At 1 a length that varies inside the episode is no help."
    )
    figure, (ax,) = report.panels(caption=caption)
    for world in dict.fromkeys(row["world"] for row in plans):
        own = [row for row in plans if row["world"] == world]
        prices = sorted({row["price"] for row in own})
        shares = np.array(
            [[_share(row["bound"], row["best_fixed"]) for row in own if row["price"] == price] for price in prices]
        )
        (line,) = ax.plot(prices, shares.mean(1), marker="o", label=world.replace("_", " "))
        ax.fill_between(prices, shares.min(1), shares.max(1), alpha=0.15, color=line.get_color())
    report.logarithmic(ax, "x")
    ax.axhline(1.0, color=GREY, linestyle="--", linewidth=1)
    ax.set_xlabel("price of a hand-over (units of the world's cost)")
    ax.set_ylabel("best partition / best equal chunks")
    ax.legend()
    return figure


def _columns(worlds: int) -> int:
    """Panels in a row; the legend has a panel of its own where one is left."""
    return min(3, worlds + 1)


def _panels(worlds: int, caption: str, height: float) -> tuple[Figure, list[Axes]]:
    columns = _columns(worlds)
    rows = -(-(worlds + 1) // columns)
    figure, axes = report.panels(columns, rows, caption=caption)
    figure.set_size_inches(4.9 * columns, height * rows)
    return figure, axes


def _legend(figure: Figure, axes: Sequence[Axes], worlds: int) -> None:
    """The legend in the panel after the last world's; others are emptied."""
    for ax in axes[worlds:]:
        ax.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    axes[worlds].legend(handles, labels, loc="center left", fontsize=10, markerscale=0.8)


def _share(value: float | None, of: float | None) -> float:
    """A ratio, 1 of nothing to nothing, and NaN where it is not known."""
    if value is None or of is None or (of == 0 and value != 0):
        return np.nan
    return value / of if of else 1.0
