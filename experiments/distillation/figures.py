"""Figures of the distillation experiment."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from dagger_jax import report

from . import findings
from .methods import SUPERVISED

KINDS = {
    "supervised": ("#000000", "D"),
    "chunks": ("#0072B2", "o"),
    "GKD": ("#D55E00", "s"),
    "mixture": ("#009E73", "^"),
    "scheduled sampling": ("#8A5A9E", "x"),
}
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3, 5, 10)  # of ratios


def ratios(found: findings.Found) -> Figure:
    """KL on own prefixes against supervised fine-tuning's: at equal labels and at equal wall time."""
    caption = (
        "KL(writer || learner) on the learner's own prefixes, relative to supervised fine-tuning: at equal labels of "
        "the writer (filled, 95% intervals over paired runs) and at equal wall time (hollow; median seconds measured "
        "on this machine, the fastest method's training time; other seconds would move them). Left of 1 is better."
    )
    figure, axes = report.panels(len(found), caption=caption)
    names = list(next(iter(found.values())))
    figure.set_size_inches(4.2 * len(found) + 2.2, 1.2 + 0.27 * len(names))
    for ax, (world, methods) in zip(axes, found.items(), strict=True):
        reference, time = methods[SUPERVISED], findings.common_time(methods)
        for place, name in enumerate(names):
            each = methods[name]
            colour, marker = KINDS[each.kind]
            value, low, high = findings.ratio(each.last("own_kl"), reference.last("own_kl"))
            ax.errorbar([value], [place], xerr=report.bar(value, low, high), fmt=marker, color=colour, capsize=2)
            timed = findings.ratio(each.after("own_kl", time), reference.after("own_kl", time)).value
            ax.plot([timed], [place + 0.25], marker="o", markersize=4, color=colour, markerfacecolor="none")
        ax.axvline(1.0, color="#888888", linestyle="--", linewidth=1)
        report.logarithmic(ax, "x")
        ax.set_title(world)
        ax.set_yticks(range(len(names)), names if ax is axes[0] else [""] * len(names), fontsize=8)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_xlabel("KL on own prefixes / supervised's\n(filled: equal labels, hollow: equal wall time)")
        low, high = ax.get_xlim()
        ax.set_xticks([tick for tick in TICKS if low <= tick <= high], minor=False)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.tick_params(axis="x", labelsize=8)
    return figure


def plane(found: findings.Found) -> Figure:
    """Fitting the writer's texts against writing like it: two divergences of whole texts, a point a method."""
    caption = (
        "Two divergences between whole texts, after the last round: forward KL (how badly the learner predicts the "
        "writer's texts) and reverse KL (how unlikely its own texts are for the writer), nats. Means over runs. "
        "Numbers as below; lines join GKD's lambdas of one divergence, in order. Down and left is better."
    )
    figure, axes = report.panels(len(found), caption=caption)
    figure.set_size_inches(5.4 * len(found) + 0.6, 6.6)
    numbers: dict[str, int] = {}
    for ax, (world, methods) in zip(axes, found.items(), strict=True):
        for divergence in dict.fromkeys(each.labelled for each in methods.values() if each.kind == "GKD"):
            line = [each for each in methods.values() if (each.kind, each.labelled) == ("GKD", divergence)]
            x, y = ([each.last(name).mean() for each in line] for name in ("writers_kl", "own_reverse"))
            ax.plot(x, y, color=KINDS["GKD"][0], linewidth=0.8, alpha=0.5)
        for name, each in methods.items():
            colour, marker = KINDS[each.kind]
            place = each.last("writers_kl").mean(), each.last("own_reverse").mean()
            number = numbers.setdefault(name, len(numbers) + 1)
            ax.plot(*place, marker=marker, color=colour, linestyle="none")
            ax.annotate(str(number), place, xytext=(4, 3), textcoords="offset points", fontsize=8, color=colour)
        ax.set_title(world)
        ax.set_xlabel("forward KL of the writer's texts (nats)")
    axes[0].set_ylabel("reverse KL of the learner's own texts (nats)")
    names = [f"{number} {name}" for name, number in numbers.items()]
    each_line = 3 * len(found)
    lines = ["    ".join(names[start : start + each_line]) for start in range(0, len(names), each_line)]
    figure.supxlabel("\n".join(lines), fontsize=8)
    return figure


def over_lambda(found: findings.Found) -> Figure:
    """What the share of the learner's texts changes, for each divergence."""
    caption = (
        "GKD's lambda, the share of texts that the learner writes: KL on own prefixes (above) and reverse KL there "
        "(below), relative to supervised fine-tuning at equal labels, with 95% intervals over paired runs."
    )
    figure, axes = report.panels(len(found), 2, caption=caption)
    for row, (measure, words) in enumerate((("own_kl", "KL"), ("own_reverse", "reverse KL"))):
        for column, (world, methods) in enumerate(found.items()):
            ax = axes[row * len(found) + column]
            lines = dict.fromkeys(each.labelled for each in methods.values() if each.kind == "GKD")
            colours = report.colours(list(lines))
            for shift, divergence in enumerate(lines):
                own = [each for each in methods.values() if (each.kind, each.labelled) == ("GKD", divergence)]
                own.sort(key=lambda each: each.fraction or 0.0)
                seen = np.array([findings.ratio(e.last(measure), methods[SUPERVISED].last(measure)) for e in own])
                x = np.array([each.fraction or 0.0 for each in own]) + 0.012 * (shift - len(lines) / 2)
                value, low, high = seen.T
                ax.errorbar(
                    x,
                    value,
                    report.bar(value, low, high),
                    marker="o",
                    color=colours[divergence],
                    label=divergence,
                    capsize=2,
                )
            ax.axhline(1.0, color="#888888", linestyle="--", linewidth=1)
            ax.set_xticks(sorted({each.fraction for each in methods.values() if each.fraction is not None}))
            if row == 0:
                ax.set_title(world)
            else:
                ax.set_xlabel("lambda: share of texts by the learner")
            if column == 0:
                ax.set_ylabel(f"{words} on own prefixes,\nover supervised's")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9)
    return figure


def accumulated(found: findings.Found) -> Figure:
    """ExAccErr against the length, for the methods that stand for the others."""
    caption = (
        "ExAccErr(l), per cent: how much more KL the learner's own prefixes of l tokens hold than the writer's. 0: no "
        "exposure bias; below 0 the learner fits its own prefixes better than the writer's. Bands: 95% over runs."
    )
    figure, axes = report.panels(len(found), caption=caption)
    for ax, (world, methods) in zip(axes, found.items(), strict=True):
        shown = [SUPERVISED, *(name for name, each in methods.items() if each.kind == "chunks")]
        wanted = [("forward", False), ("forward", True), ("reverse", True)]
        shown += [name for each in wanted if (name := findings.gkd(methods, *each)) is not None]
        colours = report.colours(shown)
        for name in shown:
            values = methods[name].lengths["excess"]
            length = np.arange(1, values.shape[1] + 1)
            low, high = np.array([findings.mean(column)[1:] for column in values.T]).T
            ax.plot(length, values.mean(0), color=colours[name], label=name)
            ax.fill_between(length, low, high, color=colours[name], alpha=0.12, linewidth=0)
        ax.axhline(0.0, color="#888888", linestyle="--", linewidth=1)
        ax.set_title(world)
        ax.set_xlabel("length l (tokens)")
    axes[0].set_ylabel("ExAccErr(l), %")
    axes[0].legend(fontsize=9)
    return figure
