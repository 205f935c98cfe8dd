"""Figures of `sample_complexity`, but for Stagger's; and what they share."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from dagger_jax import report

from ..claim import Drawings, Settings
from .cases import ACTIONS
from .findings import Rows, column, select, swept

HORIZON = "horizon H (steps)"
GAP = "expected gap E[J(π) − J(π*)] (cost per episode)"
NAMES = {
    "reset_cliff": "a table a step, dense cost",
    "sparse_reset_cliff": "a table a step, R = 1",
    "stationary_reset_cliff": "one shared table, dense cost",
    "sparse_stationary_reset_cliff": "one shared table, R = 1",
    "behavioural_cloning": "behavioural cloning",
    "forward_training": "forward training",
    "dagger": "DAgger",
    "stagger": "Stagger",
    "mimic_md": "Mimic-MD",
    "replay": "replay estimation",
    "log_loss, smoothing 0": "log loss",
    "log_loss, smoothing 1": "log loss, smoothed",
    "follow_the_leader": "majority",
}


def all_of(settings: Settings, rows: Rows) -> Drawings:
    """The figures whose points were measured."""
    drawn: dict[str, Callable[[], Figure]] = {}
    parts = {part: select(rows, part=part) for part in settings.parts}
    if own := parts.get("cloning"):
        drawn["cloning"] = partial(_cloning, own, parts.get("random_worlds", []))
        drawn["growth_by_class"] = partial(_classes, own, parts.get("distances", []))
    asked = {part: parts.get(part, []) for part in ("interactive", "two_states")}
    if any(asked.values()):
        drawn["interaction"] = partial(_interaction, asked["interactive"], asked["two_states"])
    if own := parts.get("known_transitions"):
        drawn["known_transitions"] = partial(_known, own)
    return drawn


def band(ax: Axes, x: np.ndarray, rows: Rows, label: str, colour: str | None = None, marker: str = "o") -> None:
    """Mean gaps with their 95% intervals, and the theory where every point has one."""
    gaps, errors = column(rows, "gap"), 1.96 * np.nan_to_num(column(rows, "gap_stderr"))
    stated = column(rows, "closed_form")
    known = None if np.isnan(stated).any() else stated
    low, high = np.maximum(gaps - errors, gaps / 100), gaps + errors
    report.loglog(ax, x, gaps, low=low, high=high, theory=known, label=label, colour=colour, marker=marker)


def axes_of(ax: Axes, x: str, y: str, title: str, ticks: Iterable[float] = ()) -> None:
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, fontsize=10)
    if ticks := sorted(set(ticks)):
        ax.set_xticks(ticks, minor=False)
        ax.minorticks_off()
    if ax.get_yscale() == "log":
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def ends(values: np.ndarray, factor: float) -> np.ndarray:
    """The ends of a line over what is positive of the values, and a factor beyond them; nothing where nothing is."""
    positive = values[values > 0]
    return np.array([positive.min() / factor, positive.max() * factor]) if len(positive) else positive


def through(x: np.ndarray, gaps: np.ndarray, power: float) -> np.ndarray:
    """The line of a power of x through the middle of what is positive of the gaps; NaN where nothing is."""
    known = gaps > 0
    level = np.exp(np.mean(np.log(gaps[known] / x[known] ** power))) if known.any() else np.nan
    return level * x**power


def dashes(ax: Axes, label: str, style: str = "k--") -> None:
    ax.plot([], [], style, linewidth=1, label=label)
    ax.legend(fontsize=9)


# ---- a table a step -------------------------------------------------------------------------------------------------


def _cloning(rows: Rows, drawn: Rows) -> Figure:
    replicas = max(row["replicas"] for row in rows)
    caption = (
        f"Behavioural cloning in the reset cliff, {replicas:,} replicas a point, 95% bands (narrower than the lines "
        "at most points). Dashed, black: the closed form. Lower right: every mean gap against the bound of tabular "
        "cloning; none is above the line."
    )
    figure, axes = report.panels(2, 2, caption=caption)
    figure.set_size_inches(11, 8.4)
    horizon, states, count, last = axes
    for world in ("reset_cliff", "identity_bandit"):
        own = swept(select(rows, world=world), "horizon")
        band(horizon, column(own, "horizon"), own, world.replace("_", " "))
    fixed = swept(select(rows, world="reset_cliff"), "horizon")[0]
    axes_of(
        horizon,
        HORIZON,
        GAP,
        "against the horizon: slopes 2 and 1",
        column(select(rows, world="reset_cliff"), "horizon"),
    )
    own = swept(select(rows, world="reset_cliff"), "states")
    band(states, column(own, "states") - 2, own, "reset cliff")
    axes_of(states, "rare states, S − 2", GAP, "against the number of states: slope 1", column(own, "states") - 2)
    own = swept(select(rows, world="reset_cliff"), "trajectories")
    band(count, column(own, "trajectories"), own, "reset cliff")
    title = f"against N: slope −1 (S = {fixed['states']} here and in the first panel)"
    axes_of(count, "expert trajectories N", GAP, title, column(own, "trajectories"))
    for ax in (horizon, states, count):
        dashes(ax, "closed form")
    bounded = [row for row in (*rows, *drawn) if row["bound"] is not None]
    kinds = {"reset cliff": "reset_cliff", "identity bandit": "identity_bandit", "random worlds": "random_mdp"}
    for name, world in kinds.items():
        own = select(bounded, world=world)
        last.plot(column(own, "bound"), column(own, "gap"), "o", label=f"{name}: mean gap", alpha=0.7)
    if drawn:
        last.plot(
            column(drawn, "bound"),
            column(drawn, "middle"),
            "_",
            color="grey",
            markersize=9,
            label="random worlds: Σ (H−h+1) Σ d (1−d)ᴺ",
        )
    line = ends(column(bounded, "bound"), 2)
    last.plot(line, line, "k--", linewidth=1, label="gap = bound")
    report.logarithmic(last, "x", "y")
    axes_of(last, "S H (H+1) / (2 e N) (cost per episode)", GAP, "against the bound")
    last.legend(fontsize=9)
    return figure


# ---- classes and distances ------------------------------------------------------------------------------------------


def _classes(rows: Rows, scatter: Rows) -> Figure:
    caption = (
        "Left: the growth in H is the class's and the cost's. With one table shared over time and a sparse cost (an "
        "episode succeeds or fails, R = 1) the gap does not grow; dense costs make it linear, and a table a step "
        "costs one more power of H. Dashed, black: closed forms. Right: gaps of learners of every kind against R "
        "times the squared Hellinger distance of trajectory laws; none is above the line."
    )
    figure, axes = report.panels(2 if scatter else 1, caption=caption)
    figure.set_size_inches(12 if scatter else 6.4, 5.2)
    left = axes[0]
    names = ("reset_cliff", "sparse_reset_cliff", "stationary_reset_cliff", "sparse_stationary_reset_cliff")
    for place, world in enumerate(names):
        own = swept(select(rows, world=world), "horizon")
        label = f"{NAMES[world]}, N = {own[0]['trajectories']:,}"
        band(left, column(own, "horizon"), own, label, colour=report.colours(names)[world], marker="osD^"[place])
    axes_of(left, HORIZON, GAP, "slopes 2, 1, 1 and 0", column(own, "horizon"))
    dashes(left, "closed form")
    if left.get_yscale() == "log":
        low, high = left.get_ylim()
        left.set_ylim(low, high * 6)  # room for the legend
    if scatter:
        right = axes[1]
        learners = list(dict.fromkeys(row["learner"] for row in scatter))
        for place, learner in enumerate(learners):
            own = [row for row in select(scatter, learner=learner) if row["gap"] > 1e-6]
            x, y = column(own, "bound"), column(own, "gap")
            right.plot(x, y, "o^s"[place % 3], markersize=4, alpha=0.5, label=NAMES[learner], rasterized=True)
        shown = column([row for row in scatter if row["gap"] > 1e-6], "bound")
        line = ends(shown, 1.5)
        right.plot(line, line, "k--", linewidth=1, label="gap = R D_H²")
        right.plot(line, line / 2, "k:", linewidth=1, label="gap = R D_H² / 2 (R TV, if deterministic)")
        report.logarithmic(right, "x", "y")
        worlds = len({row["world"] for row in scatter})
        title = f"{len(scatter):,} learners in {worlds} worlds, those of gap > 1e-6"
        axes_of(right, "R D_H²(Pπ, Pπ*) (cost per episode)", "gap J(π) − J(π*) (cost per episode)", title)
        right.legend(fontsize=9)
    return figure


# ---- interaction ----------------------------------------------------------------------------------------------------


def _interaction(rows: Rows, pair: Rows) -> Figure:
    places = ("Left: ", "Right: ") if rows and pair else ("", "")
    captions = (
        "the recoverable reset cliff, learners fitted to as many labels; means of replicas with 95% bands. Where it "
        "has seen no label, cloning takes action 0, which is wrong in the bad state, or guesses uniformly, which "
        "leaves that state after A tries on average. Dashed, black: cloning's closed forms, and a line of slope 1.",
        "two states, of which the rare one is seen by nobody with probability about 1/e: cloning and asking cost the "
        "same, above the lower bound.",
    )
    told = [place + text for place, text, own in zip(places, captions, (rows, pair), strict=True) if own]
    caption = " ".join(text[0].upper() + text[1:] for text in told)
    figure, axes = report.panels((1 if rows else 0) + (1 if pair else 0), caption=caption)
    figure.set_size_inches(5.6 * len(axes), 4.6)
    if rows:
        ax = axes[0]
        for algorithm, learner in dict.fromkeys((row["algorithm"], row["learner"]) for row in rows):
            own = sorted(select(rows, algorithm=algorithm, learner=learner), key=lambda row: row["horizon"])
            x = column(own, "horizon")
            default = {"follow_the_leader": ", wrong default", "log_loss": ", guessing"}[learner]
            label = NAMES[algorithm] + (default if algorithm == "behavioural_cloning" else "")
            band(ax, x, own, label)
            if algorithm == "dagger":
                ax.plot(x, through(x, column(own, "gap"), 1), "k--", linewidth=1, zorder=5)
        title = f"recoverable reset cliff, S = {rows[0]['states']}, A = {ACTIONS}, N = {rows[0]['trajectories']:,}"
        axes_of(ax, HORIZON, GAP, title, x)
        dashes(ax, "cloning's closed forms, and ∝ H")
    if pair:
        ax = axes[-1]
        for place, algorithm in enumerate(dict.fromkeys(row["algorithm"] for row in pair)):
            own = sorted(select(pair, algorithm=algorithm), key=lambda row: row["horizon"])
            x, bar = column(own, "horizon") * 1.06 ** (place - 1), 1.96 * column(own, "gap_stderr")
            ax.errorbar(x, column(own, "gap"), bar, fmt="osD"[place % 3], capsize=3, label=NAMES[algorithm])
        x = column(own, "horizon")
        ax.plot(x, column(own, "closed_form"), "k--", linewidth=1, label="(1/n)(1−1/n)ⁿ H/2")
        ax.plot(x, column(own, "bound"), "k:", linewidth=1, label="lower bound H / (8 n)")
        report.logarithmic(ax, "x", base=2)
        report.logarithmic(ax, "y")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes_of(ax, HORIZON, GAP, f"two-state bandit, n = {pair[0]['trajectories']}", x)
        ax.legend(fontsize=9)
    return figure


# ---- known transitions ----------------------------------------------------------------------------------------------


def _known(rows: Rows) -> Figure:
    caption = (
        "What knowing the transitions is worth: Mimic-MD and replay estimation beside cloning on the same "
        f"{rows[0]['trajectories']} demonstrations, means of {rows[0]['replicas']} replicas with 95% bands. Leaky "
        "cliff: the expert itself falls sometimes; dashed, black: slopes 2 and 1.5. Identity bandit: nothing to be "
        "gained; dashed: the closed form. Random worlds: they mix at once, and mistakes do not last."
    )
    worlds = list(dict.fromkeys(row["world"] for row in rows))
    figure, axes = report.panels(len(worlds), caption=caption)
    figure.set_size_inches(4.7 * len(worlds), 4.6)
    for ax, world in zip(axes, worlds, strict=True):
        for place, method in enumerate(("behavioural_cloning", "mimic_md", "replay")):
            own = sorted(select(rows, world=world, algorithm=method), key=lambda row: row["horizon"])
            x, gaps = column(own, "horizon"), column(own, "gap")
            band(ax, x, own, NAMES[method], marker="osD"[place])
            if world == "leaky_cliff" and method != "replay":
                power = 2 if method == "behavioural_cloning" else 1.5
                ax.plot(x, through(x, gaps, power), "k--", linewidth=1, zorder=5)
        axes_of(
            ax,
            HORIZON,
            GAP if ax is axes[0] else "",
            "random worlds" if world == "random_mdp" else world.replace("_", " "),
            x,
        )
        ax.legend(fontsize=9)
    return figure
