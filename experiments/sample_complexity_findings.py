"""What the points of `sample_complexity` say, but for whole trajectories and Stagger."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from experiments.claim import INFORMATION, Finding, Settings, settled

Rows = list[dict[str, Any]]
SIGMAS = 4.0  # how improbable a deviation must be
LIMIT = 0.1  # of the expected number of mistakes: beyond it every power law bends (theory 9.2)


def select(rows: Rows, **wanted: Any) -> Rows:
    """The rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def column(rows: Rows, name: str) -> np.ndarray:
    """A column as an array; null is nan."""
    return np.array([row[name] for row in rows], float)


def allowance(rows: Rows) -> np.ndarray:
    """Standard errors that are as improbable as four of a normal law, with what few replicas know of their error."""
    return stats.t.isf(stats.norm.sf(SIGMAS), np.maximum(column(rows, "replicas") - 1, 1))


class Slope(NamedTuple):
    """A slope of log mean gap against log x."""

    value: float
    stderr: float
    theory: float  # that of the closed forms, on the same points with the same weights; nan if there are none


def slope(x: np.ndarray, rows: Rows) -> Slope | None:
    """Weighted least squares over independent points; None where fewer than three are unsaturated and positive."""
    gaps, errors = column(rows, "gap"), column(rows, "gap_stderr")
    mistakes = np.nan_to_num(column(rows, "error")) * column(rows, "horizon")
    kept = (gaps > 0) & (errors > 0) & (mistakes <= LIMIT) & (errors < gaps / 2)
    if kept.sum() < 3 or np.ptp(x[kept]) == 0:
        return None
    x, gaps, errors, forms = np.log(x[kept]), gaps[kept], errors[kept] / gaps[kept], column(rows, "closed_form")[kept]
    weights = np.maximum(errors, 0.01) ** -2  # no point decides alone
    centred = (x - np.average(x, weights=weights)) * weights
    unit = centred / (centred @ x)
    return Slope(float(unit @ np.log(gaps)), float(np.sqrt(unit**2 @ errors**2)), float(unit @ np.log(forms)))


def swept(rows: Rows, axis: str) -> Rows:
    """The rows of the sweep of one axis: where the two others have the value that most rows have."""
    for other in {"horizon", "states", "trajectories"} - {axis}:
        values, counts = np.unique(column(rows, other), return_counts=True)
        rows = select(rows, **{other: int(values[counts.argmax()])})
    return sorted(rows, key=lambda row: row[axis])


def all_of(settings: Settings, rows: Rows) -> list[Finding]:
    """The findings of tables a step, of interaction and of known transitions, as far as they were measured."""
    found: list[Finding | None] = []
    parts: dict[str, Rows] = {part: select(rows, part=part) for part in settings.parts}
    for part, judge in (
        ("cloning", _cloning),
        ("interactive", _interactive),
        ("two_states", _two_states),
        ("known_transitions", _known),
    ):
        if parts.get(part):
            found += judge(parts[part])
    if tables := [
        row
        for part in ("cloning", "random_worlds", "interactive", "known_transitions")
        for row in parts.get(part, [])
        if row["bound"] is not None
    ]:
        found += _bounded(tables)
    return [finding for finding in found if finding is not None]


# ---- equalities and growth ------------------------------------------------------------------------------------------


def closed(text: str, source: str, rows: Rows) -> Finding | None:
    """Mean gaps equal their closed forms."""
    rows = [row for row in rows if row["closed_form"] is not None and row["gap_stderr"]]
    if not rows:
        return None
    scores = np.abs(column(rows, "gap") - column(rows, "closed_form")) / column(rows, "gap_stderr")
    text = f"{text} ({len(rows)} points of {rows[0]['replicas']:,} replicas; largest distance in standard errors)"
    holds, limit = bool((scores <= allowance(rows)).all()), float(allowance(rows).max())
    return Finding(
        text, source, rows[0]["world"], f"at most {limit:.3g}", scores.max(), None, None, state=settled(holds)
    )


def grows(text: str, source: str, rows: Rows, x: np.ndarray, expected: float, slack: float = 0.2) -> Finding | None:
    """The gap grows as a power of x: as its closed form does, where there is one, and near to the power's limit."""
    law = slope(x, rows)
    if law is None:
        return None
    known = not np.isnan(law.theory)
    off = abs(law.value - (law.theory if known else expected))
    holds = off <= SIGMAS * law.stderr + (0 if known else slack) and abs(law.value - expected) <= slack + 4 * law.stderr
    if known:
        text = f"{text} (theory's curve on these points: {law.theory:.4g})"
    interval = law.value - 1.96 * law.stderr, law.value + 1.96 * law.stderr
    return Finding(text, source, rows[0]["world"], expected, law.value, *interval, state=settled(holds))


# World, axis, slope; what it shows; where it is stated.
GROWTH = (
    ("reset_cliff", "horizon", 2, "a table a step, dense costs: slope of the gap in H", "4.2; 5, per-step tables"),
    ("reset_cliff", "states", 1, "a table a step: slope in the number of rare states, S - 2", "4.2"),
    ("reset_cliff", "trajectories", -1, "a table a step: slope in N", "4.2"),
    ("sparse_reset_cliff", "horizon", 1, "a table a step, sparse cost (R = 1): slope in H", "4.2; 5"),
    ("stationary_reset_cliff", "horizon", 1, "one shared table, dense costs: slope in H", "4.2, contrast 1; 5, E5.1"),
    ("sparse_stationary_reset_cliff", "horizon", 0, "one shared table, sparse cost (R = 1): slope in H", "5, E5.1"),
    ("identity_bandit", "horizon", 1, "nothing moves: slope in H", "4.3(c)"),
)


def _cloning(rows: Rows) -> Iterable[Finding | None]:
    for world in dict.fromkeys(row["world"] for row in rows):
        own = select(rows, world=world)
        yield closed(
            f"{world.replace('_', ' ')}: the mean gap of cloning equals its closed form", "theory 4.2, 4.3", own
        )
    for world, axis, expected, text, source in GROWTH:
        own = swept(select(rows, world=world), axis)
        x = column(own, axis) - 2 * (axis == "states")
        yield grows(f"{world.replace('_', ' ')}, {text}", f"theory {source}", own, x, expected)


# Of cloning the default where nothing was seen: the majority takes action 0, the log loss guesses.
DEFAULTS = {
    "follow_the_leader": "with one wrong action in the bad state",
    "log_loss": "that guesses uniformly where it has seen nothing",
}


def _interactive(rows: Rows) -> Iterable[Finding | None]:
    names = {"behavioural_cloning": 2, "forward_training": 1, "dagger": 1}
    for algorithm, expected in names.items():
        own = sorted(select(rows, algorithm=algorithm, learner="follow_the_leader"), key=lambda row: row["horizon"])
        default = f" {DEFAULTS['follow_the_leader']}" if algorithm == "behavioural_cloning" else ""
        text = f"recoverable reset cliff, {algorithm.replace('_', ' ')}{default}: slope in H"
        yield grows(text, "theory 4.3(a), 4.4", own, column(own, "horizon"), expected)
    cloned = select(rows, algorithm="behavioural_cloning")
    for learner, equal in (
        ("follow_the_leader", "pays what it pays where nothing recovers"),
        ("log_loss", "pays less"),
    ):
        own = select(cloned, learner=learner)
        text = f"recoverable reset cliff: cloning {DEFAULTS[learner]} {equal}: its closed form"
        yield closed(text, "theory 4.3(a), caveat; derived", own)
    own = sorted(select(cloned, learner="log_loss"), key=lambda row: row["horizon"])
    law = slope(column(own, "horizon"), own) if own else None
    if law is not None:
        text = (
            f"recoverable reset cliff, behavioural cloning {DEFAULTS['log_loss']}: slope in H, for information; it "
            f"leaves the bad state after A tries on average, and 1 is the limit (theory's curve: {law.theory:.4g})"
        )
        interval = law.value - 1.96 * law.stderr, law.value + 1.96 * law.stderr
        source, world = "theory 4.3(a), caveat", own[0]["world"]
        yield Finding(text, source, world, None, law.value, *interval, state=INFORMATION)
        longest = own[-1]["horizon"]
        (asked,) = select(rows, algorithm="dagger", horizon=longest) or [None]
        if asked is not None:
            text = f"and H = {longest}: DAgger's gap over the gap of that cloning, as many labels, for information"
            yield Finding(text, source, world, None, asked["gap"] / own[-1]["gap"], None, None, state=INFORMATION)


def _two_states(rows: Rows) -> Iterable[Finding | None]:
    yield closed("two-state bandit: cloning, DAgger and Stagger pay (1/n)(1-1/n)^n H/2 alike", "theory 4.3(b)", rows)
    least, seen = column(rows, "bound"), column(rows, "gap")
    ratio, holds = seen / least, bool((seen + allowance(rows) * column(rows, "gap_stderr") >= least).all())
    text = "two-state bandit: nobody is below H / (8 n), asked or not (least ratio of gap and bound)"
    yield Finding(
        text, "theory 4.3(b), E5.3", "two_state_bandit", "at least 1", ratio.min(), None, None, state=settled(holds)
    )


def _bounded(rows: Rows) -> Iterable[Finding]:
    errors, gaps, bounds = allowance(rows) * column(rows, "gap_stderr"), column(rows, "gap"), column(rows, "bound")
    worlds = len({(row["world"], row["run"]) for row in rows})
    text = f"cloning's S H (H+1) / (2 e N) is never violated ({len(rows)} points, {worlds} worlds; largest share of it)"
    holds = bool((gaps - errors <= bounds).all())
    yield Finding(
        text, "theory 4.1, E4.6", "all", "at most 1", float((gaps / bounds).max()), None, None, state=settled(holds)
    )
    drawn = [row for row in rows if row["middle"] is not None]
    if drawn:
        gaps, exactly, bounds = (column(drawn, name) for name in ("gap", "middle", "bound"))
        errors = allowance(drawn) * column(drawn, "gap_stderr")
        holds = bool((gaps - errors <= exactly).all() and (exactly <= bounds).all())
        text = (
            "random worlds: mean gap <= Σ_h (H-h+1) Σ_s d_h(s)(1-d_h(s))^N <= S H (H+1) / (2 e N) (largest share that "
            "a gap has of the middle)"
        )
        share = float((gaps / exactly).max())
        yield Finding(text, "theory 4.1", "random_mdp", "at most 1", share, None, None, state=settled(holds))


# ---- known transitions ----------------------------------------------------------------------------------------------


def _known(rows: Rows) -> Iterable[Finding | None]:
    identity = select(rows, world="identity_bandit", algorithm="behavioural_cloning")
    yield closed("identity bandit, drawn experts: cloning equals its closed form", "theory 4.3(c)", identity)
    # (world, algorithm): the range that theory leaves for the exponent.
    ranges = {
        ("leaky_cliff", "behavioural_cloning"): (2, 2),
        ("leaky_cliff", "mimic_md"): (1, 1.5),
        ("leaky_cliff", "replay"): (1, 1.5),
        ("identity_bandit", "mimic_md"): (1, 1.5),
        ("identity_bandit", "replay"): (1, 1.5),
        ("random_mdp", "behavioural_cloning"): (None, None),
        ("random_mdp", "mimic_md"): (None, None),
        ("random_mdp", "replay"): (None, None),
    }
    for (world, algorithm), (least, most) in ranges.items():
        own = sorted(select(rows, world=world, algorithm=algorithm), key=lambda row: row["horizon"])
        law = slope(column(own, "horizon"), own) if own else None
        if law is None:
            continue
        interval = law.value - 1.96 * law.stderr, law.value + 1.96 * law.stderr
        text = f"{world.replace('_', ' ')}, {algorithm.replace('_', ' ')}: slope of the gap in H"
        if least is None or most is None:
            words = f"{text}, for information: such worlds mix at once, and mistakes do not last"
            yield Finding(words, "theory 4.1, E4.5", world, None, law.value, *interval, state=INFORMATION)
            continue
        slack = 3.3 * law.stderr + 0.1 * (least == most)  # a 99.9% interval; H is finite, and cloning's slope bends
        holds = least - slack <= law.value <= most + slack
        expected = f"{least:g} to {most:g}" if least < most else float(least)
        yield Finding(text, "theory 4.1, 4.6, E4.5", world, expected, law.value, *interval, state=settled(holds))
    yield slower(select(rows, world="leaky_cliff"))
    for world in ("leaky_cliff", "identity_bandit", "random_mdp"):
        for algorithm in ("mimic_md", "replay"):
            yield _against_cloning(world, algorithm, select(rows, world=world, algorithm=algorithm))


def slower(rows: Rows) -> Finding | None:
    """Whether Mimic-MD's slope in H is surely below cloning's in the leaky cliff; None where they are unknown."""
    laws = []
    for algorithm in ("mimic_md", "behavioural_cloning"):
        own = sorted(select(rows, algorithm=algorithm), key=lambda row: row["horizon"])
        laws.append(slope(column(own, "horizon"), own) if own else None)
    mimic, cloning = laws
    if mimic is None or cloning is None:
        return None
    less, error = mimic.value - cloning.value, 1.96 * np.hypot(mimic.stderr, cloning.stderr)
    text = (
        "leaky cliff: Mimic-MD's slope in H minus cloning's; knowing the transitions takes half a power off (the whole "
        "95% interval)"
    )
    holds = bool(less + error < 0)
    return Finding(
        text, "theory 4.1, 4.6", "leaky_cliff", "below 0", less, less - error, less + error, state=settled(holds)
    )


def _against_cloning(world: str, algorithm: str, rows: Rows) -> Finding | None:
    rows = [row for row in rows if row["difference_stderr"]]
    if not rows:
        return None
    scores = column(rows, "difference") / column(rows, "difference_stderr")
    worst = rows[int(scores.argmax())]
    name = f"{world.replace('_', ' ')}: {algorithm.replace('_', ' ')} beside cloning on the same data"
    # No theorem says so of random worlds: half of the data tells the actions, and the other half is noise there.
    stated = world != "random_mdp"
    what = "is never worse on average" if stated else "for information"
    text = f"{name}, {what} (largest difference of means in standard errors, at H = {worst['horizon']})"
    limit = float(allowance(rows).max())
    holds = bool(scores.max() <= limit) if stated else True
    expected = f"at most {limit:.3g}" if stated else None
    return Finding(text, "theory 4.1, 4.6, E4.5", world, expected, scores.max(), None, None, state=settled(holds))
