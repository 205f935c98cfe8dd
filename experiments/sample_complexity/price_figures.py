"""Stagger's figure in `sample_complexity`: single labels against demonstrations at equal price."""

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dagger_jax import report

from ..claim import Drawings, Settings
from .figures import GAP, HORIZON, axes_of, band, dashes
from .findings import Rows, column, select
from .prices import RIVALS, Rival, contest

DEFAULTS = {"follow_the_leader": ("cloning, wrong default", "s"), "log_loss": ("cloning, guessing", "D")}
HEADINGS = ("against a wrong default", "against a guess", "against a guess, A = H")


def all_of(settings: Settings, rows: Rows) -> Drawings:
    """The figure, if its points were measured."""
    own = select(rows, part="stagger")
    return {"stagger": partial(_stagger, settings, own)} if own else {}


def _stagger(settings: Settings, rows: Rows) -> Figure:
    longest, budget, costs = max(row["horizon"] for row in rows), settings.labels, sorted(settings.costs)
    own = select(rows, horizon=longest)
    few, many = (extreme(row["actions"] for row in own) for extreme in (min, max))
    caption = (
        f"Stagger against behavioural cloning at equal label cost, {budget} units, one table for all steps, "
        f"recoverable reset cliff (mu = 1, R = H), S = {own[0]['states']}. Upper row: H = {longest}, against how rare "
        f"its rare states are, A = {few} and {many}; dashed, black: closed forms. In the bad state, which no "
        "demonstration shows, cloning keeps one wrong action, or guesses as Stagger does. Upper right: the mixture's "
        f"gap against the number of labels, A = {few}, and its bound. Lower row: the worst gap over rarities, "
        f"Stagger's over cloning's, with a wrong default (A = {few}), with a guess (A = {few}), and with a guess among "
        "A = H actions; dashed, black: e S C / ((S−2) a), where a fall costs a steps on average, (H+1)/2 with a wrong "
        "default and less than A with a guess."
    )
    figure, (left, middle, right, *contests) = report.panels(3, 2, caption=caption)
    figure.set_size_inches(15, 9.4)
    colours = report.colours([*DEFAULTS, *map(str, costs)])
    _rarities(left, select(own, actions=few), budget, costs, colours)
    _rarities(middle, select(own, actions=many), budget, costs, colours)
    own = select(own, algorithm="stagger", actions=few)
    ratios = sorted({row["ratio"] for row in own})
    for place, ratio in enumerate((ratios[0], ratios[len(ratios) // 2], ratios[-1])):
        each = sorted(select(own, ratio=ratio), key=lambda row: row["labels"])
        band(right, column(each, "labels"), each, f"rarity {ratio:g} / {budget}", marker="osD"[place])
    labels = column(each, "labels")
    right.plot(labels, column(each, "bound"), "k:", linewidth=1.4, label="bound mu H log B / N")
    axes_of(right, "labels N, one a roll-out", GAP, f"Stagger's uniform mixture, H = {longest}, A = {few}", labels)
    right.set_xticks([tick for tick in labels if not any(tick < other < 1.4 * tick for other in labels)])
    dashes(right, "H (1−1/A) E[states labelled] / N")
    for ax, rival, heading in zip(contests, RIVALS, HEADINGS, strict=True):
        _contest(ax, rows, costs, rival, heading, colours)
    low, high = min(ax.get_ylim()[0] for ax in contests), max(ax.get_ylim()[1] for ax in contests)
    for ax in contests:
        ax.set_ylim(low, high)
    return figure


def _rarities(ax: Axes, rows: Rows, budget: int, costs: list[int], colours: dict[str, str]) -> None:
    """Gaps at equal label cost against how rare the rare states are, at one horizon and number of actions."""
    rows = sorted(rows, key=lambda row: row["rarity"])
    for learner, (label, marker) in DEFAULTS.items():
        own = select(rows, algorithm="behavioural_cloning", learner=learner)
        own = [row for row in own if (row["closed_form"] or 0) > 1e-4 and row["gap"] > 0]
        band(ax, column(own, "ratio"), own, label, colour=colours[learner], marker=marker)
    for cost in costs:
        own = select(rows, algorithm="stagger", labels=budget // cost)
        band(ax, column(own, "ratio"), own, f"Stagger, C = {cost}", colour=colours[str(cost)])
    x = f"rarity: probability of a rare state × {budget}"
    axes_of(ax, x, GAP, f"H = {rows[0]['horizon']}, A = {rows[0]['actions']}", column(own, "ratio"))
    seen = column(select(rows, algorithm="stagger"), "gap")
    if (seen > 0).any():
        ax.set_ylim(seen[seen > 0].min() / 2, seen.max() * 20)  # cloning falls out of sight; above is the legend's room
    dashes(ax, "closed form")


def _contest(ax: Axes, rows: Rows, costs: list[int], rival: Rival, heading: str, colours: dict[str, str]) -> None:
    """Ratios of worst gaps against the horizon, below 1 where Stagger wins."""
    found = contest(rows, costs, rival)
    for cost in costs:
        each = [price for price in found if price.cost == cost]
        horizons = np.array([price.horizon for price in each])
        theory = [cost / price.equal for price in each]
        values = [price.ratio for price in each]
        report.loglog(ax, horizons, values, theory=theory, label=f"C = {cost}", colour=colours[str(cost)])
    ax.axhline(1, color="grey", linewidth=1)
    ax.text(0.04, 0.05, "Stagger wins below 1", transform=ax.transAxes, fontsize=9, color="grey")
    axes_of(ax, HORIZON, "Stagger's worst gap / cloning's", heading, horizons)
    dashes(ax, "theory")
