"""Figures of `chunk_price`."""

from collections.abc import Iterable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dagger_jax import intervals, report

from ..claim import Drawings, Settings
from . import cases
from .findings import Rows, column, dialled, divisors, fit, select
from .lengths import EACH, inspected, means_of

LENGTH, HORIZON = "chunk length k (steps)", "horizon T (steps)"
GAP = "gap J(π) − J(π*) (cost per episode)"
SHARE = "gap / (T ε) (cost of one mistake)"


def all_of(settings: Settings, rows: Rows) -> Drawings:
    """The figures whose points were measured."""
    drawn = {"gap_against_length": partial(_against_length, settings, rows)}
    if own := select(rows, world="chunk_reset"):
        equal = select(own, part="equal chunks")
        drawn |= {"dial": partial(_dial, settings, equal)} if len(settings.horizons) > 1 else {}
        drawn |= {"random_lengths": partial(_random, settings, own), "reset_variant": partial(_reset, settings, equal)}
    return drawn


def _against_length(settings: Settings, rows: Rows) -> Figure:
    horizon, eps = max(settings.horizons), settings.eps
    caption = (
        f"Gap against chunk length. Exact for oracle learners of training error ε = {eps:g} a step; fitted learners: "
        "mean over runs with 95% intervals. Dashed, black: theory. On the cliff, where no mistake can be made good, "
        "the length makes no difference; elsewhere it is the price. Waves: the last chunk is cut at T."
    )
    worlds = list(settings.worlds)
    figure, axes = report.panels(min(len(worlds), 2), -(-len(worlds) // 2), caption=caption)
    figure.set_size_inches(11, 4.2 * -(-len(worlds) // 2))
    for spare in axes[len(worlds) :]:
        spare.set_visible(False)
    for ax, world in zip(axes, worlds, strict=False):
        own = select(rows, world=world, law="equal")
        match world:
            case "recoverable_reset_cliff":
                _draw_fitted(ax, settings, own)
            case "debt":
                _draw_debt(ax, settings, own)
            case _:
                _draw_exact(ax, world, horizon, select(own, horizon=horizon, algorithm="chunked"))
        report.logarithmic(ax, "x", base=2)
        report.logarithmic(ax, "y", base=10 if world in ("chunk_reset", "cliff") else 2)
        _plain(ax)
        ax.set_xlabel(LENGTH)
        ax.set_ylabel(GAP)
        ax.legend(fontsize=9)
    return figure


def _plain(ax: Axes) -> None:
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_exact(ax: Axes, world: str, horizon: int, rows: Rows) -> None:
    words = {"first": "all error at each chunk's first step", "uniform": "the same error at every step"}
    for placement, label in words.items():
        if not (own := select(rows, placement=placement)):
            continue
        k, eps = column(own, "chunk"), own[0]["eps"]
        (line,) = ax.plot(k, column(own, "gap"), linewidth=4, alpha=0.55, label=label)
        if world == "cliff":
            ax.plot(k, np.full(len(k), eps * horizon * (horizon + 1) / 2), "k--", linewidth=1)
            ax.annotate("ε T (T+1)/2", (k[0], own[0]["gap"] * 1.1), color=line.get_color())
            if own[0]["gap"] > 0:
                ax.set_ylim(own[0]["gap"] / 10, own[0]["gap"] * 10)
        else:
            factor, text = (k, "ε T k") if placement == "first" else ((k + 1) / 2, "ε T (k+1)/2")
            ax.plot(k, eps * horizon * factor, "k--", linewidth=1)
            middle, where = int(np.sqrt(horizon)), (-8, 4) if placement == "first" else (8, -10)
            side = "right" if placement == "first" else "left"
            point = middle, eps * horizon * factor[middle - 1]
            ax.annotate(text, point, where, textcoords="offset points", color=line.get_color(), ha=side)
    about = "mistakes are undone at once (u = 1)" if world == "chunk_reset" else "mistakes last (negative control)"
    ax.set_title(f"{world}, T = {horizon}: {about}", fontsize=10)


def _draw_debt(ax: Axes, settings: Settings, rows: Rows) -> None:
    horizon = rows[0]["horizon"]
    for u in sorted(settings.u):
        own = select(rows, u=u)
        k = column(own, "chunk")
        ax.plot(k, column(own, "gap"), marker="o", label=f"u = {u}")
        ax.plot(k, u * k * horizon * settings.eps, "k--", linewidth=1)
    ax.set_title(f"debt, T = {horizon}: a mistake costs u; theory u k T ε, less the end", fontsize=10)


def _draw_fitted(ax: Axes, settings: Settings, rows: Rows) -> None:
    chunks = np.array(sorted(settings.chunks))
    gaps = np.stack([column(select(rows, chunk=chunk), "gap") for chunk in chunks])
    mean, low, _ = intervals.mean(gaps.T)
    label = f"fitted to sampled labels, {gaps.shape[1]} runs"
    ax.errorbar(chunks, mean, mean - low, marker="o", capsize=3, label=label)
    scale = (mean / (chunks + 1)).mean()
    ax.plot(chunks, scale * (chunks + 1), "k--", linewidth=1, label="∝ k + 1")
    ax.set_title(f"recoverable_reset_cliff, T = {rows[0]['horizon']}: learners fitted to labels", fontsize=10)


def _dial(settings: Settings, equal: Rows) -> Figure:
    caption = (
        "The dial between the linear and the quadratic end: chunk_reset, k = T^α, all error at each chunk's first "
        "step. Left: exact gaps; dashed, black: ε T^(1+α). Right: the fitted growth exponent, bars are the range of "
        "local slopes, and the line 1 + α."
    )
    figure, (left, right) = report.panels(2, caption=caption)
    figure.set_size_inches(11, 4.4)
    alphas = sorted(settings.alphas)
    for alpha in alphas:
        rows = dialled(settings, equal, alpha)
        horizons, gaps = column(rows, "horizon"), column(rows, "gap")
        name = f"k = T^{alpha:g}"
        colour = report.loglog(
            left, horizons, gaps, theory=settings.eps * horizons ** (1 + alpha), label=name, width=2.5
        )
        if (law := fit(horizons, gaps)) is not None:
            bar = report.bar(law.exponent, law.low, law.high)
            right.errorbar([alpha], [law.exponent], bar, fmt="o", color=colour, markersize=8, capsize=3)
    left.set_xlabel(HORIZON)
    left.set_ylabel(GAP)
    left.set_xticks(sorted(settings.horizons))
    left.legend(fontsize=9)
    right.plot([0, 1], [1, 2], "k--", linewidth=1, label="1 + α (theory)")
    right.annotate("DAgger: k = 1", (0, 1), (10, -4), textcoords="offset points")
    right.annotate("behavioural cloning: k = T", (1, 2), (-10, -2), textcoords="offset points", ha="right")
    right.set_xlabel("α, where k = T^α")
    right.set_ylabel("growth exponent of the gap in T")
    right.legend()
    return figure


def _random(settings: Settings, own: Rows) -> Figure:
    rows = select(own, part="random lengths")
    horizon, scale = rows[0]["horizon"], rows[0]["horizon"] * settings.eps
    caption = (
        f"Chunk lengths that vary, chunk_reset, the same error at every step, {len(rows):,} random partitions. Left: "
        f"gap per mistake against mean length (T = {horizon}; coins T = {max(settings.horizons)}); points are means "
        "with 95% intervals, dashed is E[K(K+1)]/(2E[K]) for long episodes. Right: every partition by its number of "
        "chunks; the line is equal lengths, below which none can fall."
    )
    figure, (left, right) = report.panels(2, caption=caption)
    figure.set_size_inches(12, 5)
    means = np.array(means_of(rows))
    equal = select(own, part="equal chunks", placement="uniform", horizon=horizon)
    fixed = np.array([select(equal, chunk=int(mean))[0]["gap"] for mean in means]) / scale
    colours = report.colours(["equal", *EACH, "coins", "random cuts"])
    left.plot(means, fixed, "s-", color=colours["equal"], label="equal lengths")
    left.plot(means, (means + 1) / 2, "k--", linewidth=1, label="E[K(K+1)]/(2E[K]) (theory)")
    for name in EACH:
        gaps = [column(select(rows, law=name, chunk=int(mean)), "gap") / scale for mean in means]
        found = [intervals.mean(each) for each in gaps]
        seen, error = [each.value for each in found], [each.value - each.low for each in found]
        left.errorbar(means, seen, error, fmt="o-", color=colours[name], label=name, capsize=3)
        left.plot(means, [inspected(cases.laws(int(mean))[name]) for mean in means], "k--", linewidth=1)
    coins = select(own, part="geometric")
    shares = column(coins, "gap") / (max(settings.horizons) * settings.eps)
    left.plot(column(coins, "chunk"), shares, "^", color=colours["coins"], label="coins, worst learner", markersize=9)
    report.logarithmic(left, "x", "y", base=2)
    _plain(left)
    left.set_xlabel("mean chunk length (steps)")
    left.set_ylabel(SHARE)
    left.legend(fontsize=9)
    for name in (*EACH, "random cuts"):
        each = select(rows, law=name)
        x, y = column(each, "pieces"), column(each, "gap") / scale
        right.plot(x, y, ".", color=colours[name], label=name, markersize=3, alpha=0.6, rasterized=True)
    pieces = np.unique(column(rows, "pieces"))
    squares = [(cases.equal(horizon, int(count)) * (cases.equal(horizon, int(count)) + 1)).sum() for count in pieces]
    right.plot(pieces, np.array(squares) / (2 * horizon), color="black", label="equal lengths: the least")
    report.logarithmic(right, "x", "y", base=2)
    _plain(right)
    right.set_xlabel("number of chunks (hand-overs per episode)")
    right.set_ylabel(SHARE)
    right.legend(fontsize=9, markerscale=3)
    return figure


def _reset(settings: Settings, equal: Rows) -> Figure:
    horizon, eps = max(settings.horizons), settings.eps
    caption = (
        "The reset variant (the learner starts from the expert's states) against chunks (the expert continues from "
        "the learner's). Left: against the length, which acts the other way round. Right: against the horizon at "
        "fixed lengths. Exact, chunk_reset; dashed, black: T + T (T-k)/2 and (k+1)/2, times ε. The teeth are last "
        "chunks cut at T; points are lengths that divide T."
    )
    figure, (left, right) = report.panels(2, caption=caption)
    figure.set_size_inches(11, 4.4)
    kinds: Iterable[tuple[str, str, str]] = (
        ("reset", "last", "reset variant, error at last steps"),
        ("chunked", "uniform", "chunks, uniform error"),
    )
    for algorithm, placement, label in kinds:
        rows = select(equal, algorithm=algorithm, placement=placement)
        own = select(rows, horizon=horizon)
        (line,) = left.plot(column(own, "chunk"), column(own, "gap"), linewidth=1, alpha=0.6)
        colour = line.get_color()
        whole = divisors(own)
        k = column(whole, "chunk")
        left.plot(k, column(whole, "gap"), "o", color=colour, label=label)
        theory = horizon + horizon * (horizon - k) / 2 if algorithm == "reset" else horizon * (k + 1) / 2
        left.plot(k, eps * theory, "k--", linewidth=1)
        for chunk, style in zip(sorted(settings.chunks)[:: len(settings.chunks) - 1 or 1], ("-", ":"), strict=False):
            series = select(rows, chunk=chunk)
            x, y = column(series, "horizon"), column(series, "gap")
            right.plot(x, y, style, marker="o", color=colour, label=f"{label.split(',')[0]}, k = {chunk}")
    left.set_xlabel(LENGTH)
    left.set_ylabel(GAP)
    left.set_title(f"T = {horizon}", fontsize=10)
    left.legend(fontsize=9)
    report.logarithmic(right, "x", base=2)
    report.logarithmic(right, "y")
    _plain(right)
    right.set_xlabel(HORIZON)
    right.set_xticks(sorted(settings.horizons))
    right.legend(fontsize=9)
    return figure
