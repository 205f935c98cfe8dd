"""Figures of gaps that grow with the horizon."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dagger_jax import growth, intervals, report
from dagger_jax.tabular import gallery

from ..shared import study
from ..shared.study import Rows, Series, fit, gaps

MARKERS = "osD^vP*X"


def gap_figure(series_rows: Mapping[Series, Rows], caption: str, columns: int = 3) -> Figure:
    """Gap against horizon, a panel a world, learner and error.

    Points are exact (means over runs, with 95% bands), rings are sampled, dashes are closed forms, dotted
    lines grow as T and as T².
    """
    panels = list(dict.fromkeys((s.world, s.learner, s.eps) for s in series_rows))
    columns = min(columns, len(panels))
    figure, axes = report.panels(columns, -(-len(panels) // columns), caption=caption)
    names = list(dict.fromkeys(series.title() for series in series_rows))
    colours = report.colours(names)
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    for series, rows in series_rows.items():
        ax = axes[panels.index((series.world, series.learner, series.eps))]
        _draw(ax, series, rows, colours, names.index(series.title()), len(names))
    for ax, (world, learner, eps) in zip(axes, panels, strict=False):
        about = gallery.WORLDS[world].about if world in gallery.WORLDS else "a user's world"
        heading = Series(world, learner, "", None, eps).learner_title()
        ax.set_title(f"{study.shown(world)}: {heading}\n{about}")
        ax.title.set_fontsize(10)
        ax.set_xlabel("horizon T (steps)")
        if ax.get_yscale() == "log":
            _guides(ax)
    axes[0].set_ylabel("gap J(π) − J(π*) (cost per episode)")
    axes[0].legend(fontsize=9)
    return figure


def _draw(ax: Axes, series: Series, rows: Rows, colours: Mapping[str, str], place: int, of: int) -> None:
    horizons, values, _ = gaps(rows)
    mean, low, high = intervals.mean(values)
    known = {row["horizon"]: row["closed_form"] for row in rows if row["closed_form"] is not None}
    colour = report.loglog(
        ax,
        horizons,
        mean,
        low=low,
        high=high,
        theory=[known[horizon] for horizon in horizons] if len(known) == len(horizons) else None,
        label=series.title(),
        colour=colours[series.title()],
        marker=MARKERS[place % len(MARKERS)],
        width=1.4 + 0.6 * (of - 1 - place),  # lines that coincide show as rims of each other
    )
    if sampled := [row for row in rows if row["interpreter"] == "sampled"]:
        errors = [1.96 * (row["gap_stderr"] or 0.0) for row in sampled]
        x, y = [row["horizon"] for row in sampled], [row["gap"] for row in sampled]
        ax.errorbar(x, y, errors, fmt="o", color=colour, mfc="none", markersize=11, capsize=2, linewidth=1)


def _guides(ax: Axes) -> None:
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x = np.array([left, right])
    for power, name in ((1, "T"), (2, "T²")):
        y = bottom * 1.5 * (x / left) ** power
        ax.plot(x, y, ":", color="#888888", linewidth=1)
        inside = min(right, left * (top / (bottom * 1.5)) ** (1 / power)) / 1.25
        place = inside, bottom * 1.5 * (inside / left) ** power
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
        ax.annotate(f"∝ {name}", place, color="#666666", fontsize=9, ha="right", bbox=box)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


def law_exponent(exponent: int, horizons: np.ndarray, closed_form: Mapping[int, float]) -> float:
    """The exponent that a fit finds in theory's own curve on these horizons: the closed form, else T or T(T + 1)/2."""
    curve = horizons if exponent == 1 else horizons * (horizons + 1) / 2
    if all(horizon in closed_form for horizon in horizons):
        curve = np.array([closed_form[horizon] for horizon in horizons])
    return growth.fit(horizons, curve).exponent


def exponent_figure(series_rows: Mapping[Series, Rows], expected: Mapping[Series, int]) -> Figure:
    """The fitted exponent of every series that has one, beside that of the law that theory states."""
    fitted = [(series, rows, law) for series, rows in series_rows.items() if (law := fit(rows)) is not None]
    caption = (
        "Growth exponent of the gap in the horizon. Points: fitted, with 95% intervals over runs (for exact gaps "
        "the range of local slopes); grey where neither law describes the series. Bars: the same fit to theory's own "
        "curve on the same horizons. Saturated horizons (T × training error above 0.1) are left out."
    )
    figure, (ax,) = report.panels(caption=caption)
    figure.set_size_inches(9, 1.2 + 0.25 * max(len(fitted), 1))
    for place, (series, rows, law) in enumerate(fitted):
        if series in expected:
            known = {row["horizon"]: row["closed_form"] for row in rows if row["closed_form"] is not None}
            stated = law_exponent(expected[series], gaps(rows)[0][law.kept], known)
            ax.plot([stated, stated], [place - 0.4, place + 0.4], color="#D55E00", linewidth=3, alpha=0.6)
        interval = report.bar(law.exponent, law.low, law.high)
        # Grey where no power law describes the series: its exponent then says little.
        colour = "#999999" if law.verdict not in ("linear", "quadratic") else "#0072B2"
        ax.errorbar([law.exponent], [place], xerr=interval, fmt="o", color=colour, capsize=3)
    labels = [f"{study.shown(s.world)}, {s.learner_title()}: {s.title()}" for s, _, _ in fitted]
    ax.set_yticks(range(len(fitted)), labels, fontsize=8)
    ax.set_ylim(len(fitted) - 0.4, -0.6)
    ax.set_xlabel("growth exponent of the gap in T")
    return figure
