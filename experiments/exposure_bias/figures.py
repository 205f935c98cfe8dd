"""Figures of the exposure-bias experiment."""

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from dagger_jax import intervals, report

from ..claim import Drawings, Settings
from .findings import Found, Series, found

DYNAMIC = {"schedule": ("#8fbf9f", "schedules over rounds"), "controller": ("#e0b060", "controllers")}
MARKERS = {"tabular": ("#0072B2", "o"), "transformer": ("#D55E00", "^")}
FIXED = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#6A4C93", "#8C564B")
SFT = "#D55E00"
INTERVALS = (
    "Bands and bars: 95% intervals over runs (table), or over models, each trained by itself and judged by the mean of "
    "its fresh texts (transformer). A controller that stays at k = 1 is k = 1."
)
UNTRIED = " Methods without a triangle were not tried on transformers, whose models each take their time."


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Accumulated error and its excess along the text, the final excess and garbage by method."""
    everything, sft = found(table), f"k = {settings.length}"
    drawn = {
        "accumulated": partial(accumulated, everything, sft),
        "excess": partial(excess, everything, sft),
        "final": partial(final, everything, sft),
    }
    if garbage := {world: everything[world] for world in everything if world in ("recovering", "absorbing")}:
        drawn["garbage"] = partial(wasted, garbage, sft)
    return drawn


def accumulated(everything: Found, sft: str) -> Figure:
    """R(l) against l, a column a world, a row a learner."""
    caption = (
        "Error accumulated over the first l tokens at the learner's own prefixes, R(l), in nats. Dashed: l (lower) and "
        "l² (upper) through supervised fine-tuning (SFT) at T/8. Thin: schedules over rounds and controllers of k. "
        + INTERVALS
    )

    def draw(ax: Axes, series: Series, colour: str, name: str, main: bool) -> None:
        value = series.own.mean(0)
        _, low, high = intervals.of_positive(lambda own: own, series.own)
        bands = {"low": low, "high": high} if main else {}
        report.loglog(
            ax,
            series.lengths,
            value,
            label=name,
            colour=colour,
            marker="o" if main else "",
            width=1.8 if main else 0.8,
            **bands,
        )

    figure, panels = _grid(everything, sft, caption, draw)
    for ax, series in panels:
        own = series[sft]
        start = int(np.abs(own.lengths - own.lengths[-1] / 8).argmin())
        lengths, anchor = own.lengths[start:], own.own[:, start].mean()
        for power in (1, 2):
            ax.plot(lengths, anchor * (lengths / lengths[0]) ** power, color="black", linestyle="--", linewidth=1)
    _label(figure, everything, "R(l), nats")
    return figure


def excess(everything: Found, sft: str) -> Figure:
    """ExAccErr(l) against l, a column a world, a row a learner."""
    caption = (
        "Excess accumulated error ExAccErr(l) = R(l) / (l eps(l)) - 1, in percent: 0 where errors do not accumulate "
        "(dashed). Wide ranges are logarithmic beyond ±10%. Thin: schedules over rounds and controllers of k. "
        + INTERVALS
    )

    def draw(ax: Axes, series: Series, colour: str, name: str, main: bool) -> None:
        value, low, high = series.excess()
        width = 1.8 if main else 0.8
        ax.plot(series.lengths, value, color=colour, label=name, marker="o" if main else "", linewidth=width)
        if main:
            ax.fill_between(series.lengths, low, high, color=colour, alpha=0.2, linewidth=0)

    figure, panels = _grid(everything, sft, caption, draw)
    for ax, _ in panels:
        ax.axhline(0, color="black", linestyle="--", linewidth=1)
        report.logarithmic(ax, "x", base=2)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        _percent(ax, "y")
    _label(figure, everything, "ExAccErr(l), %")
    return figure


def final(everything: Found, sft: str) -> Figure:
    """ExAccErr(T) by method, table and transformer side by side."""
    caption = (
        "Excess accumulated error of whole texts, ExAccErr(T), by how the chunk length is chosen, at an equal number "
        "of the writer's tokens. Wide ranges are logarithmic beyond ±10%. Dashed: errors do not accumulate. "
        + INTERVALS
        + UNTRIED
    )
    values = lambda series: tuple(part[-1] for part in series.excess())
    figure, panels = _by_method(everything, sft, caption, values)
    for ax in panels:
        ax.axvline(0, color="black", linestyle="--", linewidth=1)
        _percent(ax, "x")
        ax.set_xlabel("ExAccErr(T), %")
    return figure


def wasted(everything: Found, sft: str) -> Figure:
    """Garbage tokens a text by method."""
    caption = (
        "Garbage: tokens a text, of T, that the writer alone never writes, or that leave the text where the writer "
        "alone never comes to. " + INTERVALS + UNTRIED
    )
    values = lambda series: intervals.of_means(lambda gap: gap[..., -1], series.gap)
    figure, panels = _by_method(everything, sft, caption, values)
    for ax in panels:
        report.logarithmic(ax, "x")
        if ax.get_xscale() == "log":
            low, high = np.log10(ax.get_xlim())
            ax.set_xlim(10 ** np.floor(low), 10 ** np.ceil(high))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("garbage tokens a text")
    return figure


# ---- parts ------------------------------------------------------------------------------------------------------


def _grid(everything: Found, sft: str, caption: str, draw: Any) -> tuple[Figure, list[tuple[Axes, Any]]]:
    rows = max(len(learners) for learners in everything.values())
    figure, axes = report.panels(len(everything), rows, caption=caption)
    figure.set_size_inches(max(3.9 * len(everything) + 0.6, 6.5), 3.2 * rows + 0.9)
    panels, handles = [], {}
    for column, (world, learners) in enumerate(everything.items()):
        for row, (learner, methods) in enumerate(learners.items()):
            ax = axes[row * len(everything) + column]
            fixed = [name for name in methods if methods[name].kind == "fixed" and name != sft]
            for series in methods.values():
                if series.kind != "fixed":
                    colour, label = DYNAMIC[series.kind]
                    draw(ax, series, colour, label, False)
            for place, name in enumerate(fixed):
                draw(ax, methods[name], FIXED[place % len(FIXED)], name, True)
            draw(ax, methods[sft], SFT, f"{sft}: SFT", True)
            ax.set_title(f"{world}, {learner}\n{_u(methods[sft])}", fontsize=10.5)
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
            panels.append((ax, methods))
    for ax in axes:
        ax.set_visible(ax.has_data())  # a writer that is no table has one learner
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=9.5)
    return figure, panels


def _u(series: Series) -> str:
    return "" if np.isnan(series.u) else f"u = {series.u:.3g}"


def _label(figure: Figure, everything: Found, name: str) -> None:
    for place, ax in enumerate(figure.axes):
        if place % len(everything) == 0:
            ax.set_ylabel(name)
        below = figure.axes[place + len(everything) :: len(everything)]
        if not any(other.get_visible() for other in below):
            ax.set_xlabel("l, tokens")


def _by_method(everything: Found, sft: str, caption: str, values: Any) -> tuple[Figure, list[Axes]]:
    names = list(dict.fromkeys(name for learners in everything.values() for each in learners.values() for name in each))
    figure, axes = report.panels(len(everything), caption=caption)
    figure.set_size_inches(max(3.5 * len(everything) + 2, 6.5), 1.6 + 0.27 * len(names))
    handles = {}
    for ax, (world, learners) in zip(axes, everything.items(), strict=True):
        for shift, (learner, methods) in zip((-0.15, 0.15), learners.items(), strict=False):
            colour, marker = MARKERS[learner]
            for name, series in methods.items():
                value, low, high = values(series)
                bar = report.bar(value, low, high)
                place = names.index(name) + shift
                handles[learner] = ax.errorbar([value], [place], xerr=bar, fmt=marker, color=colour, capsize=2)
        ax.set_title(f"{world}\n{_u(next(iter(learners.values()))[sft])}", fontsize=11)
        labels = [f"{name}: SFT" if name == sft else name for name in names]
        ax.set_yticks(range(len(names)), labels if ax is axes[0] else [""] * len(names), fontsize=9)
        ax.set_ylim(len(names) - 0.4, -0.6)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, fontsize=9.5)
    return figure, axes


def _percent(ax: Axes, axis: str) -> None:
    """Linear where all is within 30%; else linear within 10%, and logarithmic beyond."""
    own = ax.xaxis if axis == "x" else ax.yaxis
    ax.margins(0.08)
    if max(map(abs, ax.get_xlim() if axis == "x" else ax.get_ylim())) > 30:
        (ax.set_xscale if axis == "x" else ax.set_yscale)("symlog", linthresh=10, linscale=1)
        own.set_tick_params(labelsize=9)
        ax.margins(0.08)
    own.set_major_formatter(lambda value, _: f"{value:g}")
