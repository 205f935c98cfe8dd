"""Figures of what a detector can see."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dagger_jax import report

from ..claim import Drawings, Settings
from ..shared.study import Rows
from .worlds import ABOUT, STOCHASTIC

BLUE, ORANGE, GREEN, PINK = report.PALETTE[:4]
GREY = "#666666"
Panels = dict[tuple[str, float | None], Rows]


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Total variation, AUC, learned detectors, growth laws and the scheming learner against the chunk length."""
    panels: Panels = {}
    for row in table.to_pylist():
        if row["run"] == 0:
            panels.setdefault((row["world"], row["eps"]), []).append(row)
    return {
        "distance": partial(
            _grid,
            panels,
            _distance,
            "total variation of the chunk",
            "Total variation between the expert's and the learner's chunk. Blue: exact; orange rings: likelihood "
            "ratios of roll-outs, with 95% intervals as a band; black dashes: closed form. Grey, dotted: the sum of "
            "all ε above, the greater of the largest ε (deterministic experts) and D_H²/2 below; grey, dash-dotted: "
            "the best of the bounds by KL and Hellinger distance.",
        ),
        "auc": partial(
            _grid,
            panels,
            _auc,
            "area under the ROC curve",
            "AUC of detectors. Grey area: where theory has the likelihood ratio's, (1+TV)/2 to 1-(1-TV)²/2. Blue: "
            "exact; orange rings: likelihood ratios of roll-outs; green squares: a trained classifier, held out; "
            "bands: 95% intervals.",
        ),
        "classifier": partial(
            _grid,
            panels,
            _classifier,
            "accuracy of a detector",
            "Held-out accuracy of a trained classifier (green, 95% intervals as a band) below the best possible, "
            "(1+TV)/2 (blue; where it is not known exactly, orange: the estimate's upper end). Triangles at the "
            "bottom: the kernel test rejects at 5% (full) or does not (open).",
        ),
        "growth": partial(_growth, panels),
        "scheming": partial(
            _grid,
            panels,
            _scheming,
            "share of steps with defection",
            "A learner that defects where its evidence for training, in nats, is below a threshold. Lines: in "
            "deployment, exactly; dotted: in training; black dashes: the bound, training plus the mean T_j, one a "
            "threshold. At threshold 0 the line lies on its bound. Rings and triangles: the same from roll-outs.",
        ),
    }


def _grid(panels: Panels, content: Callable[[Axes, Rows], None], label: str, caption: str) -> Figure:
    columns = min(4, len(panels))
    figure, axes = report.panels(columns, -(-len(panels) // columns), caption=caption)
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    for place, (ax, ((world, eps), rows)) in enumerate(zip(axes, panels.items(), strict=False)):
        error = "its own error" if eps is None else f"ε = {eps:g}"
        ax.set_title(f"{world}, {error}\n{ABOUT[world]}", fontsize=9)
        content(ax, rows)
        report.logarithmic(ax, "x", base=2)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set_xlabel("chunk length k (steps)")
        if place % columns == 0:
            ax.set_ylabel(label)
        if place == 0:
            ax.legend(fontsize=8)
    return figure


def _columns(rows: Rows, interpreter: str, statistic: str, *names: str) -> list[np.ndarray]:
    """Chunk lengths and columns of one statistic, where its value is known."""
    chosen = [row for row in rows if row["interpreter"] == interpreter and row["statistic"] == statistic]
    chosen = [row for row in chosen if row["value"] is not None]
    return [np.array([row[name] for row in chosen], float) for name in ("chunk", *names)]


def _band(ax: Axes, rows: Rows, interpreter: str, statistic: str, colour: str, marker: str, label: str) -> None:
    k, value, low, high = _columns(rows, interpreter, statistic, "value", "low", "high")
    ax.plot(k, value, marker, color=colour, mfc="none", markersize=8, label=label, zorder=4)
    ax.fill_between(k, low, high, color=colour, alpha=0.25, linewidth=0)


def _distance(ax: Axes, rows: Rows) -> None:
    k, value, closed = _columns(rows, "exact", "total_variation", "value", "closed_form")
    ax.plot(k, value, "o-", color=BLUE, label="exact")
    _band(ax, rows, "sampled", "total_variation", ORANGE, "o", "from roll-outs")
    if np.isfinite(closed).all() and len(closed):
        ax.plot(k, closed, "--", color="black", linewidth=1, zorder=5, label="closed form")
    bounds = [row for row in rows if row["interpreter"] == "exact" and row["statistic"] == "total_variation"]
    k = [row["chunk"] for row in bounds]
    for name, line, label in (
        ("bound", ":", "bounds by ε"),
        ("least", ":", "_nolegend_"),
        ("entropy_bound", "-.", "bound by KL, Hellinger"),
    ):
        ax.plot(k, [row[name] for row in bounds], line, color=GREY, linewidth=1.3, label=label)
    report.logarithmic(ax, "y")
    ax.set_ylim(bottom=min(ax.get_ylim()[0], 0.09))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _auc(ax: Axes, rows: Rows) -> None:
    k, least, most, value = _columns(rows, "exact", "auc", "least", "bound", "value")
    ax.fill_between(k, least, most, color="#bbbbbb", alpha=0.5, linewidth=0, label="allowed by TV")
    ax.plot(k, value, "o-", color=BLUE, label="exact")
    _band(ax, rows, "sampled", "auc", ORANGE, "o", "from roll-outs")
    _band(ax, rows, "learned", "auc", GREEN, "s", "classifier")


def _classifier(ax: Axes, rows: Rows) -> None:
    k, best = _columns(rows, "learned", "accuracy", "exact")
    exactly = _columns(rows, "exact", "accuracy", "value")
    if len(exactly[0]) < len(k):
        ax.plot(k, best, "o-", color=ORANGE, label="best possible, estimated")
    ax.plot(*exactly, "o-", color=BLUE, label="best possible, (1+TV)/2")
    _band(ax, rows, "learned", "accuracy", GREEN, "s", "classifier")
    k, chance = _columns(rows, "learned", "mmd_squared", "p_value")
    bottom, top = ax.get_ylim()
    foot = bottom - 0.06 * (top - bottom)
    for chosen, fill, label in ((chance <= 0.05, PINK, "kernel test rejects"), (chance > 0.05, "none", "does not")):
        if chosen.any():
            ax.plot(k[chosen], np.full(chosen.sum(), foot), "^", color=PINK, mfc=fill, label=label)


def _scheming(ax: Axes, rows: Rows) -> None:
    thresholds = sorted({row["threshold"] for row in rows if row["threshold"] is not None})
    colours = report.colours([f"{threshold:g}" for threshold in thresholds])
    for place, threshold in enumerate(thresholds):
        chosen, colour = [row for row in rows if row["threshold"] == threshold], colours[f"{threshold:g}"]
        k, deployed, bound = _columns(chosen, "exact", "deploy_defection", "value", "bound")
        width, last = 3.4 - 2.4 * place / len(thresholds), place == len(thresholds) - 1
        ax.plot(k, deployed, "-", color=colour, linewidth=width, label=f"threshold {threshold:g}")
        ax.plot(*_columns(chosen, "exact", "train_defection", "value"), ":", color=colour, linewidth=width)
        ax.plot(k, np.minimum(bound, 1), "--", color="black", linewidth=1, zorder=5, label="bound" if last else None)
        _band(ax, chosen, "sampled", "deploy_defection", colour, "o", "_nolegend_")
        _band(ax, chosen, "sampled", "train_defection", colour, "v", "_nolegend_")


def _growth(panels: Panels) -> Figure:
    caption = (
        "Growth with the chunk length, on logarithmic axes: -ln(1-TV), exact or (rings) from roll-outs, and "
        "KL(expert‖learner), exact. Deterministic experts (circles): both grow as k. Stochastic ones (squares): the "
        "distance grows as √k, KL as k. Dotted: slopes 1 and 1/2."
    )
    figure, axes = report.panels(2, caption=caption)
    figure.set_size_inches(11, 5)
    names = [f"{world}" + ("" if eps is None else f", ε = {eps:g}") for world, eps in panels]
    colours = report.colours(names)
    for name, ((world, _), rows) in zip(names, panels.items(), strict=True):
        marker = "s" if world in STOCHASTIC else "o"
        for ax, statistic in zip(axes, ("total_variation", "kl"), strict=True):
            k, value = _columns(rows, "exact", statistic, "value")
            seen, sampled = _columns(rows, "sampled", statistic, "value")
            curve = (lambda tv: -np.log1p(-np.minimum(tv, 1 - 1e-12))) if statistic == "total_variation" else np.array
            if len(k) < len(seen):
                ax.plot(seen, curve(sampled), marker, color=colours[name], mfc="none", markersize=9)
            ax.plot(k, curve(value), f"{marker}-", color=colours[name], label=name)
    for ax, label in zip(axes, ("-ln(1 - TV) of the chunk", "KL(expert‖learner) of the chunk (nats)"), strict=True):
        report.logarithmic(ax, "x", base=2)
        report.logarithmic(ax, "y")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        left, right = ax.get_xlim()
        bottom, top = ax.get_ylim()
        for power in (1.0, 0.5) if ax.get_yscale() == "log" else ():
            ends = np.array([left, right])
            line = bottom * 1.3 * (ends / left) ** power
            ax.plot(ends, line, ":", color="#888888", linewidth=1)
            ax.annotate("∝ k" if power == 1 else "∝ √k", (right, line[1]), color=GREY, ha="right", va="bottom")
        ax.set_xlim(left, right)
        ax.set_ylim(bottom, top)
        ax.set_xlabel("chunk length k (steps)")
        ax.set_ylabel(label)
    axes[0].legend(fontsize=8)
    return figure
