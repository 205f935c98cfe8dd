"""Figures of DAgger's no-regret theorems, and how its points are read."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from dagger_jax import intervals, report

from ..claim import Drawings, Settings
from ..shared import study

Cube = Mapping[str, np.ndarray]  # by column: [B, W, N] beta schedules, worlds or replicas, numbers of rounds
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#8A5A9E", "#888888"
PAPER = "Ross, Gordon and Bagnell 2011"
SHARP = f"docs/theory.md#dagger-the-shift-of-the-law, docs/theory.md#dagger-finite-samples, after {PAPER}"
# Of Theorem 4.2: what is held, what it bounds, shift term, factor of the published last term, source. Half of that term
# is enough: an episode's loss lies in an interval of length l_max, not 2 l_max (Hoeffding's lemma, derived here).
STATEMENTS = (
    ("Theorem 4.2, best policy", "best_own", "shift", 1.0, f"{PAPER}; docs/theory.md#dagger-finite-samples"),
    ("Theorem 4.2, uniform mixture", "mixture", "shift", 1.0, f"{PAPER}, footnote 3; docs/theory.md#dagger"),
    ("Theorem 4.2 with our shift term and half the last term, mixture", "mixture", "sharp_shift", 0.5, SHARP),
)
COLOURS = (*report.PALETTE[:6], PURPLE)  # black is theory's


# ---- reading --------------------------------------------------------------------------------------------------


def checkpoints(settings: Settings) -> np.ndarray:
    """After how many rounds sampled replicas are judged: a tenth, and all."""
    return np.unique([max(1, settings.rounds // 10), settings.rounds])


def cubes(settings: Settings, table: pa.Table, world: str, what: str) -> dict[str, Cube]:
    """The columns of numbers by learner, of one world, `what` is exact or sampled."""
    shape = len(settings.betas), -1, len(checkpoints(settings)) if what == "sampled" else settings.rounds
    numbers = [name for name in table.column_names if pa.types.is_floating(table[name].type)]
    place = {name: np.array(table[name].to_pylist()) for name in ("interpreter", "world", "learner")}
    here = (place["interpreter"] == what) & (place["world"] == world)
    found = {}
    for learner in settings.learners:
        own = table.filter(pa.array(here & (place["learner"] == learner)))
        found[learner] = {name: own[name].to_numpy().astype(float).reshape(shape) for name in numbers}
    return found


def excess(settings: Settings, cube: Cube, bounded: str, shift: str) -> np.ndarray:
    """How far what is bounded is above Theorem 4.2 without its last term, in units of sqrt(2 / (m N)): [B, R, C].

    The theorem fails where this is above sqrt(log(1 / delta)).
    """
    without = cube["hindsight"] + cube["regret"] + cube[shift]
    return (cube[bounded] - without) / np.sqrt(2 / (settings.episodes * checkpoints(settings)))


def exponents(settings: Settings, cube: Cube) -> np.ndarray:
    """Slopes of log gamma_N (mean over worlds) over log N from round N / 6 on, of beta schedules where gamma > 0."""
    n = np.arange(1, settings.rounds + 1)
    late = n >= settings.rounds / 6
    gamma = cube["regret"].mean(1)[:, late]
    return np.array([np.polyfit(np.log(n[late]), np.log(each), 1)[0] for each in gamma if (each > 1e-9).all()])


# ---- drawing --------------------------------------------------------------------------------------------------


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Both sides against N, regret, what the bound is made of, and how often sampling breaks it."""
    exactly, sampled = (
        {study.shown(world): cubes(settings, table, world, what) for world in settings.worlds}
        for what in ("exact", "sampled")
    )
    first = settings.learners[0]
    drawn = {
        f"rounds_{world}": partial(rounds, exactly[world][first], settings.betas, world, first) for world in exactly
    }
    return drawn | {
        "regret": partial(regret, exactly, settings.betas),
        "looseness": partial(looseness, exactly, settings.betas),
        "failures": partial(failures, settings, sampled),
    }


def rounds(cube: Cube, betas: Sequence[str], world: str, learner: str) -> Figure:
    """Both sides of Theorem 4.1 against N, a panel a beta schedule."""
    caption = (
        f"Theorem 4.1 in {world}, learner {_words(learner)}: what is bounded (blue: the best of N policies on its own "
        "states; green: their uniform mixture), the bound as published (dashed black), with our shift term (orange), "
        "and without any (dotted, no theorem). Means over worlds with their 95% intervals. A loss is at most 1."
    )
    rows = 2 if len(betas) > 3 else 1
    columns = -(-(len(betas) + rows - 1) // rows)  # with two rows a panel is left for the legend
    figure, axes = report.panels(columns, rows, caption=caption)
    figure.set_size_inches(max(3.6 * columns, 7), 3.3 * rows + (0.9 if rows == 1 else 0))
    n = np.arange(1, cube["bound"].shape[-1] + 1)
    for place, (ax, beta) in enumerate(zip(axes, betas, strict=False)):
        own = {name: values[place] for name, values in cube.items()}
        _band(ax, n, own["mixture"], GREEN, "mixture's own loss")
        _band(ax, n, own["best_own"], BLUE, "best own loss (bounded)")
        _band(ax, n, own["sharp"], ORANGE, "Theorem 4.1 with our shift term")
        ax.plot(n, (own["hindsight"] + own["regret"]).mean(0), ":", color="#444444", label="ε_N + γ_N, no shift term")
        ax.plot(n, own["bound"].mean(0), "--", color="black", label="Theorem 4.1", zorder=5)
        ax.axhline(1.0, color=GREY, linewidth=0.8)
        _logarithmic(ax, n[-1])
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.set_title(f"β: {_words(beta)}", fontsize=11)
    _equal(axes[: len(betas)])
    _finish(figure, axes, len(betas), columns, "rounds N", "loss (probability of an error a step)")
    return figure


def regret(exactly: Mapping[str, Mapping[str, Cube]], betas: Sequence[str]) -> Figure:
    """Average regret against N, a row a world, a column a learner, a line a beta schedule."""
    caption = (
        "Average regret γ_N of each online learner over the rounds, mean over worlds, a line a beta schedule (some "
        "coincide), with the band over 95% of the worlds of the first. Dashed black: the learner's own regret bound, "
        "where it has one. Dotted: 1/√N from the first round on."
    )
    learners = list(next(iter(exactly.values())))
    figure, axes = report.panels(len(learners), len(exactly), caption=caption)
    figure.set_size_inches(max(3.2 * len(learners), 6), 3.4 * len(exactly) + 0.5)
    for place, (world, learner) in enumerate((w, each) for w in exactly for each in learners):
        ax, cube = axes[place], exactly[world][learner]
        n = np.arange(1, cube["regret"].shape[-1] + 1)
        for beta, colour, values in zip(betas, COLOURS, cube["regret"], strict=False):
            ax.plot(n, _positive(values.mean(0)), color=colour, label=f"β: {_words(beta)}", linewidth=1.4)
        low, high = np.quantile(cube["regret"][0], [0.025, 0.975], axis=0)
        ax.fill_between(n, _positive(low), _positive(high), color=COLOURS[0], alpha=0.15, linewidth=0)
        if not np.isnan(cube["regret_bound"]).any():
            allowed = cube["regret_bound"].max((0, 1))
            ax.plot(n, allowed, "--", color="black", linewidth=1.2, label="learner's own bound", zorder=5)
        ax.plot(n, cube["regret"][:, :, 0].mean() / np.sqrt(n), ":", color="#444444", label="∝ 1/√N")
        _logarithmic(ax, n[-1])
        ax.set_title(f"{world}\n{_words(learner)}", fontsize=10)
    _equal(axes)
    _finish(figure, axes, len(axes), len(learners), "rounds N", "average regret γ_N (loss a step)", outside=True)
    return figure


def looseness(exactly: Mapping[str, Mapping[str, Cube]], betas: Sequence[str]) -> Figure:
    """What the bound is made of after all rounds, a row a world, a column a learner, two bars a beta schedule."""
    caption = (
        "What Theorem 4.1 is made of after the last round, mean over worlds: ε_N, γ_N and the shift term, as published "
        "(upper bar, pale) and ours (lower bar). Black: what is bounded, the best own loss, with 95% of the worlds. "
        "Right of 1 (grey) a bound on this loss says nothing."
    )
    learners = list(next(iter(exactly.values())))
    figure, axes = report.panels(len(learners), len(exactly), caption=caption)
    figure.set_size_inches(max(3.0 * len(learners) + 1.2, 6), (0.9 + 0.38 * len(betas)) * len(exactly) + 0.6)
    y = np.arange(len(betas))
    for place, (world, learner) in enumerate((w, each) for w in exactly for each in learners):
        ax = axes[place]
        last = {name: values[..., -1].mean(1) for name, values in exactly[world][learner].items()}
        for offset, shift, shade, name in ((-0.2, "shift", 0.45, "as published"), (0.2, "sharp_shift", 1.0, "ours")):
            left = np.zeros(len(betas))
            for part, colour, text in (
                ("hindsight", BLUE, "ε_N, best in hindsight"),
                ("regret", GREEN, "γ_N, average regret"),
                (shift, ORANGE, f"shift term, {name}"),
            ):
                shown = text if part == shift or offset < 0 else None
                fill = shade if part == shift else 1.0
                ax.barh(y + offset, last[part], 0.36, left, color=colour, alpha=fill, label=shown)
                left = left + last[part]
        own = exactly[world][learner]["best_own"][..., -1]
        low, high = np.quantile(own, [0.025, 0.975], axis=1)
        bar = report.bar(own.mean(1), low, high)
        ax.errorbar(own.mean(1), y, xerr=bar, fmt="|", color="black", markersize=17, capsize=2, label="best own loss")
        ax.axvline(1.0, color=GREY, linewidth=0.8)
        ax.set_yticks(y, [_words(beta) for beta in betas] if place % len(learners) == 0 else [""] * len(betas))
        ax.set_ylim(len(betas) - 0.4, -0.6)
        ax.set_title(f"{world}\n{_words(learner)}", fontsize=10)
    _finish(figure, axes, len(axes), len(learners), "loss (probability of an error a step)", "", outside=True)
    return figure


def failures(settings: Settings, sampled: Mapping[str, Mapping[str, Cube]]) -> Figure:
    """In which share of replicas sampled inequalities fail against delta, a panel a world."""
    chosen = [settings.betas.index("zero")] if "zero" in settings.betas else list(range(len(settings.betas)))
    which = "β = 0, where there is no shift term to spare" if "zero" in settings.betas else "all beta schedules"
    caption = (
        f"Theorem 4.2: share of {settings.replicas} replicas in which it fails (all learners; {which}), against the "
        "share δ that it allows (dashed black), which falls to the right as the last term grows. Solid: after all "
        "rounds, dotted: after a tenth of them. Where a line ends no replica fails."
    )
    figure, axes = report.panels(len(sampled), caption=caption)
    figure.set_size_inches(max(4.8 * len(sampled), 6.5), 5)
    reach = np.linspace(0, np.sqrt(np.log(1 / min(*settings.deltas, 0.01))), 400)  # sqrt(log(1 / delta))
    ticks = sorted({1.0, 0.9, *settings.deltas})
    for ax, (world, cubes_) in zip(axes, sampled.items(), strict=True):
        for colour, (name, bounded, shift, factor, _) in zip((BLUE, GREEN, ORANGE), STATEMENTS, strict=True):
            above = np.stack([excess(settings, cube, bounded, shift)[chosen] for cube in cubes_.values()])
            for place, line in reversed(list(enumerate(("-",) if above.shape[-1] == 1 else (":", "-")))):
                shares = [(above[..., place] > factor * each).mean() for each in reach]
                ax.plot(reach, _positive(np.array(shares)), line, color=colour, label=name if line == "-" else None)
        ax.plot(reach, np.exp(-(reach**2)), "--", color="black", label="allowed: δ", zorder=5)
        ax.set_xticks(np.sqrt(np.log(1 / np.array(ticks))), [f"{tick:g}" for tick in ticks])
        report.logarithmic(ax, "y")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set_xlabel("δ, share of failures that is allowed")
        ax.set_title(world)
    _equal(axes)
    axes[0].set_ylabel("share of replicas in which it fails")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _words(name: str) -> str:
    return {"one_over_n": "1/n"}.get(name, name.replace("_", " "))


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def _band(ax: Axes, n: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    """Mean over worlds, with its 95% interval where there are several."""
    mean, low, high = intervals.mean(values)
    ax.plot(n, mean, color=colour, label=label)
    ax.fill_between(n, low, high, color=colour, alpha=0.2, linewidth=0)


def _logarithmic(ax: Axes, rounds: int) -> None:
    report.logarithmic(ax, "x", "y")
    ax.set_xticks([n for n in (1, 3, 10, 30, 100, 300, 1000) if n <= rounds])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: "")


def _equal(axes: list[Axes]) -> None:
    """One scale for all panels."""
    limits = [ax.get_ylim() for ax in axes]
    for ax in axes:
        ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _finish(
    figure: Figure, axes: list[Axes], used: int, columns: int, x: str, y: str, *, outside: bool = False
) -> None:
    """Labels at the edges; the legend in the spare panel, or below."""
    for spare in axes[used:]:
        spare.set_axis_off()
    for place in range(used):
        if place + columns >= used:
            axes[place].set_xlabel(x)
        if place % columns == 0 and y:
            axes[place].set_ylabel(y)
    handles: dict[str, Any] = {}
    for ax in axes[:used]:
        handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True)) | handles
    if not outside and used < len(axes):
        axes[used].legend(handles.values(), handles.keys(), loc="center", fontsize=10)
    else:
        fit = max(1, min(5, int(figure.get_size_inches()[0] // 2.4)))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=fit, fontsize=9)
