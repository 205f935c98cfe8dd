"""The zoo's figures: one square a world and algorithm."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from dagger_jax import report

from .findings import DISCOVERED
from .known import ROWS, title

Found = Mapping[tuple[str, str], Any]
ZERO = 5e-4  # a gap that is shown as 0


def gaps(found: Found) -> Figure:
    """Gap by world and algorithm; colours compare with behavioural cloning in the same world."""
    caption = (
        "Gap J(π) - J(π*) at the longest horizon, every algorithm given the same number of labels. Colours: its ratio "
        "to behavioural cloning's gap in the same world (blue: less). Bold: the mean gaps differ (t-tests over paired "
        f"runs; of all that are bold {DISCOVERED:.0%} at most are expected to be chance, after Benjamini and "
        "Hochberg). *: it did not ask for all of its labels. (+): somewhere it walked more than four times as many "
        "roll-outs for them as cloning. Empty: it cannot be used there."
    )

    def shown(cell: Any) -> tuple[float, str, bool]:
        ratio = cell.versus[0]
        star = (
            "*" if cell.labels < 0.9 * max(each.labels for each in found.values() if each.world == cell.world) else ""
        )
        return np.log2(np.clip(ratio, 2**-6, 2**6)), _short(cell.gaps.mean()) + star, cell.differs <= DISCOVERED

    scale = TwoSlopeNorm(0.0, -4, 4)
    return _squares(found, shown, "RdYlBu_r", scale, "gap / gap of behavioural cloning", caption, lambda v: f"{2**v:g}")


def exponents(found: Found) -> Figure:
    """Growth of the gap with the horizon."""
    caption = (
        "Exponent of the gap in the horizon T: slope of log mean gap against log T over all horizons measured, at an "
        "equal number of demonstrations' worth of labels. 1: linear, 2: quadratic. Bold: the 95% interval lies within "
        "1/4 of a whole number. Empty: no gap, or one above T / 4, which cannot grow freely. Left out: worlds without "
        "any exponent (fewer than three horizons)."
    )
    able = {world for (world, _), cell in found.items() if cell.growth is not None}
    found = {key: cell for key, cell in found.items() if key[0] in able or not able}

    def shown(cell: Any) -> tuple[float, str, bool]:
        law = cell.growth
        if law is None:
            return np.nan, "", False
        whole = round(law.exponent)
        sure = law.low > whole - 0.25 and law.high < whole + 0.25
        return law.exponent, f"{law.exponent:.1f}".replace("-0.0", "0.0"), sure

    return _squares(found, shown, "viridis", Normalize(0, 2.5), "exponent in T", caption, lambda v: f"{v:g}")


def prices(found: Found) -> Figure:
    """What the labels came with: hand-overs, switches and expert steps for each label, by algorithm."""
    caption = (
        "What else was asked of the expert for each label, median over worlds at the longest horizon (bars: all "
        "worlds): times it took over; steps that it acted itself, its roll-outs after deviations included, one an "
        "action. Then the share of the label budget that was asked for, and how many roll-outs were walked for as many "
        "labels as one demonstration has."
    )
    names = [name for name in ROWS if any(algorithm == name for _, algorithm in found)]
    figure, axes = report.panels(4, caption=caption)
    figure.set_size_inches(16, 1.2 + 0.27 * len(names))
    most = {world: max(cell.labels for (w, _), cell in found.items() if w == world) for world, _ in found}
    measures = (
        ("hand-overs or interventions a label", lambda cell: cell.handovers / max(cell.labels, 1e-9)),
        ("expert's own steps a label", lambda cell: cell.expert_steps / max(cell.labels, 1e-9)),
        ("labels asked / most asked in the world", lambda cell: cell.labels / max(most[cell.world], 1e-9)),
        ("roll-outs for T labels", lambda cell: cell.rollouts * cell.horizon / max(cell.labels, 1e-9)),
    )
    for ax, (unit, measure) in zip(axes, measures, strict=True):
        for place, name in enumerate(names):
            values = np.array([measure(cell) for (_, algorithm), cell in found.items() if algorithm == name])
            middle = float(np.median(values))
            bar = report.bar(middle, values.min(), values.max())
            ax.errorbar([middle], [place], xerr=bar, fmt="o", color=report.PALETTE[0], capsize=2)
        ax.set_yticks(range(len(names)), list(map(title, names)) if ax is axes[0] else [""] * len(names), fontsize=9)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_xlabel(unit)
        ax.set_xlim(left=0)
    return figure


def _squares(found: Found, shown: Any, colours: str, scale: Any, unit: str, caption: str, tick: Any) -> Figure:
    worlds = list(dict.fromkeys(world for world, _ in found))
    names = [name for name in ROWS if any(algorithm == name for _, algorithm in found)]
    values = np.full((len(names), len(worlds)), np.nan)
    figure, (ax,) = report.panels(caption=caption)
    figure.set_size_inches(3.2 + 0.58 * len(worlds), 2.4 + 0.27 * len(names))
    for (world, name), cell in found.items():
        y, x = names.index(name), worlds.index(world)
        values[y, x], text, strong = shown(cell)
        shade = scale(values[y, x]) if np.isfinite(values[y, x]) else 0.5
        ink = (
            "white"
            if (colours == "viridis" and shade < 0.55) or (colours != "viridis" and not 0.12 < shade < 0.88)
            else "black"
        )
        ax.text(x, y, text, ha="center", va="center", fontsize=7.5, color=ink, weight="bold" if strong else "normal")
    image = ax.imshow(values, cmap=colours, norm=scale, aspect="auto")
    ax.grid(visible=False)
    titles = [f"{world.replace('_', ' ')}, T = {_horizon(found, world)}" for world in worlds]
    ax.set_xticks(range(len(worlds)), titles, rotation=40, ha="right", fontsize=8.5)
    many = {cell.algorithm for cell in found.values() if cell.rollouts * cell.horizon > 4 * cell.labels}
    titles = [title(name) + (" (+)" if name in many else "") for name in names]
    ax.set_yticks(range(len(names)), titles, fontsize=9)
    bar = figure.colorbar(image, ax=ax, shrink=0.6, pad=0.01, label=unit)
    bar.ax.yaxis.set_major_formatter(lambda value, _: tick(value))
    return figure


def _horizon(found: Found, world: str) -> int:
    return next(cell.horizon for (w, _), cell in found.items() if w == world)


def _short(value: float) -> str:
    if abs(value) < ZERO:
        return "0"
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"
