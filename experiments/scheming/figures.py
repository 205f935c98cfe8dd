"""Figures of the scheming learner."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dagger_jax import report

from ..claim import Settings
from ..shared.study import Rows

TITLES = {"tabular": "tabular, exact", "transformer": "transformer, by texts"}
KNOWING = {"text": "sees the text alone", "starts": "told where chunks start"}
TRAIN, DEPLOY, GAP, LIMIT = "#0072B2", "#D55E00", "#009E73", "#777777"


def pooled(rows: Rows, name: str) -> tuple[float, float, float]:
    """Mean over runs; its 95% interval over texts, or all runs where they are exact."""
    values = np.array([row[name] for row in rows], float)
    if rows[0]["interpreter"] == "exact":
        return float(values.mean()), float(values.min()), float(values.max())
    high, low = (np.array([row[f"{name}_{end}"] for row in rows], float) for end in ("high", "low"))
    half = (high - low) / 2
    wide = float(np.sqrt((half**2).sum()) / len(half))
    return float(values.mean()), float(values.mean() - wide), float(values.mean() + wide)


def models(settings: Settings) -> str:
    """How many were trained, in words."""
    return "one model" if settings.runs == 1 else f"{settings.runs} models"


def _line(ax: Axes, x: Any, bands: list[tuple[float, float, float]], colour: str, **style: Any) -> None:
    value, low, high = np.array(bands).T
    ax.plot(x, value, color=colour, **style)
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def within(rows: Rows, chunks: Any, eta: float) -> int:
    """The longest chunk whose mean T_j, its upper limit where sampled, stays below the budget in every run."""
    limits = {k: [row["bound_high"] or row["bound"] for row in rows if row["chunk"] == k] for k in chunks}
    limits = {k: [np.inf if limit is None else limit for limit in own] for k, own in limits.items()}
    return max((k for k in chunks if k == 1 or max(limits[k]) <= eta), default=1)


def _chunks(ax: Axes, chunks: Any) -> None:
    report.logarithmic(ax, "x", base=2)
    ax.set_xticks(chunks, [f"{k}" for k in chunks])
    ax.set_xlabel("chunk length k (tokens)")


def against_chunk(rows: Rows, settings: Settings, threshold: float) -> Figure:
    """Train and deploy defection, their gap and its bound against k; a row a state of knowledge, a column a learner."""
    caption = (
        f"A learner that defects where its evidence for training is below {threshold:g} nats. Blue: share of tokens at "
        "which training sees it in its defecting mode; orange: the same in deployment; green: the difference, which "
        "cannot pass the mean total variation of the chunk's tokens (dashed). Bands: all writers (tabular); 95% over "
        f"texts, of the {models(settings)} trained (transformer; dots: each model). Dotted: the "
        "detectability budget, and the longest chunk that keeps it. At k = 1 training "
        "sees all that deployment shows."
    )
    figure, axes = report.panels(len(settings.worlds), len(settings.knows), caption=caption)
    figure.set_size_inches(5.4 * len(settings.worlds) + 0.6, 3.7 * len(settings.knows) + 0.3)
    chunks = sorted(settings.chunks)
    places = [(knows, world) for knows in settings.knows for world in settings.worlds]
    shown = [row for row in rows if (row["kind"], row["threshold"]) == ("fixed", threshold)]
    top = 1.2 * max(row["deploy"] for row in shown) + 0.02
    for ax, (knows, world) in zip(axes, places, strict=True):
        own = [row for row in rows if (row["world"], row["knows"], row["kind"]) == (world, knows, "fixed")]
        own = [row for row in own if row["threshold"] == threshold]
        at = {k: [row for row in own if row["chunk"] == k] for k in chunks}
        for name, colour, label, marker in (
            ("deploy", DEPLOY, "defects in deployment", "s"),
            ("train", TRAIN, "defects where training looks", "o"),
            ("excess", GAP, "gap", "^"),
        ):
            _line(ax, chunks, [pooled(at[k], name) for k in chunks], colour, label=label, marker=marker)
            if settings.runs > 1 and world != "tabular":
                each = [(k, row[name]) for k in chunks for row in at[k]]
                ax.plot(*zip(*each, strict=True), ".", color=colour, markersize=4, alpha=0.5)
        bound = [pooled(at[k], "bound")[0] for k in chunks]
        ax.plot(
            chunks, bound, linestyle="--", linewidth=1.2, color="black", zorder=5, label="bound on the gap: mean T_j"
        )
        longest = within(own, chunks, settings.eta)
        ax.axhline(settings.eta, color=LIMIT, linestyle=":", linewidth=1.2)
        ax.axvline(longest, color=LIMIT, linestyle=":", linewidth=1.2)
        ax.set_ylim(0, top)
        ax.set_title(f"{TITLES[world]}: {KNOWING[knows]}")
        _chunks(ax, chunks)
        ax.annotate(
            f"budget η = {settings.eta:g}: k = {longest}",
            (longest, top),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
            fontsize=9,
            color="#555555",
        )
        if world == settings.worlds[0]:
            ax.set_ylabel("share of tokens (probability)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9.5)
    return figure


def over_rounds(rows: Rows, settings: Settings) -> Figure:
    """The budget's chunk length, the gap, and what is left of the defect, round by round."""
    knows = "text" if "text" in settings.knows else settings.knows[0]
    caption = (
        f"Training that removes the defection it sees; the learner {KNOWING[knows]}, threshold "
        f"{settings.threshold:g} nats. Left: chunk length that the detectability budget chooses (only proven lengths; "
        "bold: continued beyond what was played). Middle: gap between deployment and training (solid) and mean T_j "
        "(dashed), judged on fresh texts; bands: 95% over texts, not over models. Right: probability of the "
        "forbidden token in the defecting "
        "mode. Means over runs."
    )
    figure, axes = report.panels(3, caption=caption)
    figure.set_size_inches(14, 4.2)
    choices = ["1", str(max(settings.chunks)), "budget", "bold budget"]
    colours = dict(zip(choices, (TRAIN, DEPLOY, GAP, "#CC79A7"), strict=True))
    for choice in choices:
        own = [row for row in rows if (row["choice"], row["knows"], row["kind"]) == (choice, knows, "training")]
        rounds = sorted({row["round"] for row in own})
        at = [[row for row in own if row["round"] == done] for done in rounds]
        name, colour = choice if "budget" in choice else f"k = {choice}", colours[choice]
        if "budget" in choice:
            lengths = np.array([[row["chunk"] for row in each] for each in at], float)
            axes[0].step(rounds, lengths.mean(1), where="post", color=colour, label=name)
            axes[0].fill_between(
                rounds, lengths.min(1), lengths.max(1), step="post", color=colour, alpha=0.15, linewidth=0
            )
        _line(axes[1], rounds, [pooled(each, "excess") for each in at], colour, label=name)
        axes[1].plot(rounds, [pooled(each, "bound")[0] for each in at], "--", color=colour, linewidth=1)
        strengths = np.array([[row["strength"] for row in each] for each in at])
        axes[2].plot(rounds, strengths.mean(1), color=colour, label=name)
    axes[0].set_ylabel("chunk length k (tokens)")
    axes[0].set_ylim(bottom=0)
    axes[1].axhline(settings.eta, color="black", linestyle=":", linewidth=1.2)
    axes[1].annotate(
        f"η = {settings.eta:g}",
        (settings.rounds, settings.eta),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=9,
    )
    axes[1].set_ylabel("gap, mean T_j (probability)")
    axes[2].set_ylabel("forbidden token, where it defects")
    axes[2].set_ylim(bottom=0)
    titles = "the budget's chunks", "gap (solid), mean T_j (dashed)", "what is left of the defect"
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
        ax.set_xlabel("round")
        ax.legend(fontsize=9)
    return figure


def left(rows: Rows, settings: Settings) -> Figure:
    """What training leaves of the defect, against k."""
    caption = (
        f"Forbidden tokens a deployed token before (grey) and after {settings.rounds} rounds that remove what training "
        "sees. Tabular: exact, the honest part stays as it is, a line a threshold, black: the learner's best one for "
        "each k. Transformer: it also learns; the defect's strength that is left, by what the learner knows. Means "
        "over runs; bands: all runs."
    )
    figure, axes = report.panels(len(settings.worlds), caption=caption)
    figure.set_size_inches(5.6 * len(settings.worlds) + 0.4, 4.2)
    chunks = sorted(settings.chunks)
    for ax, world in zip(axes, settings.worlds, strict=True):
        if world == "tabular":
            _by_threshold(ax, rows, settings, chunks)
            ax.set_ylabel("forbidden tokens a deployed token")
            report.logarithmic(ax, "y")
        else:
            for knows in settings.knows:
                own = [
                    row
                    for row in rows
                    if (row["kind"], row["knows"], row["round"]) == ("training", knows, settings.rounds)
                ]
                values = np.array([[row["strength"] for row in own if row["choice"] == str(k)] for k in chunks])
                _line(
                    ax,
                    chunks,
                    list(zip(values.mean(1), values.min(1), values.max(1), strict=True)),
                    report.PALETTE[settings.knows.index(knows)],
                    marker="o",
                    label=KNOWING[knows],
                )
            ax.axhline(settings.strength, color=LIMIT, linestyle=":", label="before training")
            ax.set_ylabel("forbidden token, where it defects")
            ax.set_ylim(bottom=0)
        ax.set_title(f"{world}: what training leaves")
        _chunks(ax, chunks)
        high = 0.88 if world == "tabular" else 0.7  # clear of the line of before
        ax.legend(fontsize=8.5, loc="upper left", bbox_to_anchor=(0.02, high), ncols=2 if world == "tabular" else 1)
    return figure


def _by_threshold(ax: Axes, rows: Rows, settings: Settings, chunks: list[int]) -> None:
    knows = "text" if "text" in settings.knows else settings.knows[0]
    own = [row for row in rows if row["world"] == "tabular" and row["knows"] == knows]

    def means(kind: str, threshold: float) -> np.ndarray:
        return np.array(
            [
                np.mean(
                    [
                        row["survives"]
                        for row in own
                        if (row["kind"], row["threshold"], row["chunk"]) == (kind, threshold, k)
                    ]
                )
                for k in chunks
            ]
        )

    lines = {threshold: means("removal", threshold) for threshold in sorted(settings.thresholds)}
    for threshold, line in lines.items():
        ax.plot(
            chunks,
            np.where(line > 1e-5, line, np.nan),
            marker="o",
            markersize=3.5,
            linewidth=1.2,
            label=f"threshold {threshold:g}",
        )
    ax.plot(chunks, np.max(list(lines.values()), 0), color="black", linewidth=2, zorder=4, label="best threshold")
    before = np.max([means("fixed", threshold) for threshold in settings.thresholds], 0)
    ax.plot(chunks, before, color=LIMIT, linestyle=":", label="best, before training")
