"""What the points of `sample_complexity` say, but for whole trajectories and Stagger."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from ..claim import INFORMATION, REFUTED, Finding, Settings, compared
from ..shared import states

Rows = list[dict[str, Any]]
LIMIT = 0.1  # of the expected number of mistakes: beyond it every power law bends
HALF = 0.5  # of a power: nearer to this whole power than to any other
QUARTER = 0.25  # of a power, where half ones are told apart
WORSE = 0.2  # relative: what a learner may lose that is said to lose nothing
RAJARAMAN = "Rajaraman et al. 2020, arXiv 2009.05990"
INTERACTIVE = "Rajaraman et al. 2021, NeurIPS 34, 1325-1336"
FOSTER = "Foster, Block and Misra 2024, arXiv 2407.15007"
REPLAY = "Swamy et al. 2022, arXiv 2205.15397"
RESETS = f"{RAJARAMAN}; {FOSTER}; docs/theory.md#the-reset-cliff"
ALIKE = f"docs/theory.md#the-identity-bandit, after {RAJARAMAN}"
RETURNS = f"docs/theory.md#the-recoverable-reset-cliff, after {INTERACTIVE}"
PAIR = f"{FOSTER}; docs/theory.md#the-two-state-bandit"
KNOWN = f"{RAJARAMAN}; {REPLAY}; docs/theory.md#known-transitions"


def select(rows: Rows, **wanted: Any) -> Rows:
    """The rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def column(rows: Rows, name: str) -> np.ndarray:
    """A column as an array; null is nan."""
    return np.array([row[name] for row in rows], float)


class Slope(NamedTuple):
    """A slope of log mean gap against log x."""

    value: float
    stderr: float
    theory: float  # that of the closed forms, on the same points with the same weights; nan if there are none

    def interval(self) -> tuple[float, float]:
        """95%."""
        return self.value - 1.96 * self.stderr, self.value + 1.96 * self.stderr


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
    rows = [row for row in rows if row["closed_form"] is not None]
    if not rows:
        return None
    stated = column(rows, "closed_form")
    tested = states.equal(
        column(rows, "gap") - stated, column(rows, "gap_stderr"), stated, replicas=column(rows, "replicas")
    )
    known = sum(bool(row["gap_stderr"]) for row in rows)
    text = (
        f"{text} ({known} points of {rows[0]['replicas']:,} replicas; largest distance in standard errors; "
        f"{tested.power()})"
    )
    expected = f"at most {tested.limit:.3g}"
    return Finding(text, source, rows[0]["world"], expected, tested.value, None, None, state=tested.state)


def grows(text: str, source: str, rows: Rows, x: np.ndarray, expected: float) -> Finding | None:
    """The gap grows as a power of x: nearer to it than to any other whole one, and as its closed form does, if any."""
    law = slope(x, rows)
    if law is None:
        return None
    low, high = law.interval()
    state = compared(low, high, least=expected - HALF, most=expected + HALF)
    if not np.isnan(law.theory):
        text = f"{text} (theory's curve on these points: {law.theory:.4g})"
        far = abs(law.value - law.theory) > states.SIGMAS * law.stderr
        state = REFUTED if far else state
    return Finding(text, source, rows[0]["world"], expected, law.value, low, high, state=state)


# World, axis, slope; what it shows; where it is stated.
GROWTH = (
    ("reset_cliff", "horizon", 2, "a table a step, dense costs: slope of the gap in H", RESETS),
    ("reset_cliff", "states", 1, "a table a step: slope in the number of rare states, S - 2", RESETS),
    ("reset_cliff", "trajectories", -1, "a table a step: slope in N", RESETS),
    ("sparse_reset_cliff", "horizon", 1, "a table a step, sparse cost (R = 1): slope in H", RESETS),
    ("stationary_reset_cliff", "horizon", 1, "one shared table, dense costs: slope in H", RESETS),
    ("sparse_stationary_reset_cliff", "horizon", 0, "one shared table, sparse cost (R = 1): slope in H", RESETS),
    ("identity_bandit", "horizon", 1, "nothing moves: slope in H", ALIKE),
)


def _cloning(rows: Rows) -> Iterable[Finding | None]:
    for world in dict.fromkeys(row["world"] for row in rows):
        own = select(rows, world=world)
        yield closed(
            f"{world.replace('_', ' ')}: the mean gap of cloning equals its closed form",
            f"derived here, after {RAJARAMAN}",
            own,
        )
    for world, axis, expected, text, source in GROWTH:
        own = swept(select(rows, world=world), axis)
        x = column(own, axis) - 2 * (axis == "states")
        yield grows(f"{world.replace('_', ' ')}, {text}", source, own, x, expected)


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
        yield grows(text, f"{INTERACTIVE}; docs/theory.md#interaction", own, column(own, "horizon"), expected)
    cloned = select(rows, algorithm="behavioural_cloning")
    for learner, equal in (
        ("follow_the_leader", "pays what it pays where nothing recovers"),
        ("log_loss", "pays less"),
    ):
        own = select(cloned, learner=learner)
        text = f"recoverable reset cliff: cloning {DEFAULTS[learner]} {equal}: its closed form"
        yield closed(text, RETURNS, own)
    own = sorted(select(cloned, learner="log_loss"), key=lambda row: row["horizon"])
    law = slope(column(own, "horizon"), own) if own else None
    if law is not None:
        text = (
            f"recoverable reset cliff, behavioural cloning {DEFAULTS['log_loss']}: slope in H, for information; it "
            f"leaves the bad state after A tries on average, and 1 is the limit (theory's curve: {law.theory:.4g})"
        )
        interval = law.interval()
        source, world = RETURNS, own[0]["world"]
        yield Finding(text, source, world, None, law.value, *interval, state=INFORMATION)
        longest = own[-1]["horizon"]
        (asked,) = select(rows, algorithm="dagger", horizon=longest) or [None]
        if asked is not None:
            text = f"and H = {longest}: DAgger's gap over the gap of that cloning, as many labels, for information"
            yield Finding(text, source, world, None, asked["gap"] / own[-1]["gap"], None, None, state=INFORMATION)


def _two_states(rows: Rows) -> Iterable[Finding | None]:
    yield closed(
        "two-state bandit: cloning, DAgger and Stagger pay (1/n)(1-1/n)^n H/2 alike",
        PAIR,
        rows,
    )
    least, seen = column(rows, "bound"), column(rows, "gap")
    state = states.below(-seen, column(rows, "gap_stderr"), -least, column(rows, "replicas"))
    text = "two-state bandit: nobody is below H / (8 n), asked or not (least ratio of gap and bound)"
    ratio = float((seen / least).min())
    yield Finding(text, PAIR, "two_state_bandit", "at least 1", ratio, None, None, state=state)


def _bounded(rows: Rows) -> Iterable[Finding]:
    gaps, bounds, worlds = column(rows, "gap"), column(rows, "bound"), len({(row["world"], row["run"]) for row in rows})
    text = f"cloning's S H (H+1) / (2 e N) is never violated ({len(rows)} points, {worlds} worlds; largest share of it)"
    state = states.below(gaps, column(rows, "gap_stderr"), bounds, column(rows, "replicas"))
    source = f"{RAJARAMAN}; constant derived here: docs/theory.md#tabular-cloning"
    yield Finding(text, source, "all", "at most 1", float((gaps / bounds).max()), None, None, state=state)
    drawn = [row for row in rows if row["middle"] is not None]
    if drawn:
        gaps, exactly, bounds = (column(drawn, name) for name in ("gap", "middle", "bound"))
        text = (
            "random worlds: mean gap <= Σ_h (H-h+1) Σ_s d_h(s)(1-d_h(s))^N <= S H (H+1) / (2 e N) (largest share that "
            "a gap has of the middle)"
        )
        middle = float((bounds - exactly).min())
        state = states.worst(
            (
                states.below(gaps, column(drawn, "gap_stderr"), exactly, column(drawn, "replicas")),
                compared(middle, middle, least=0.0),
            )
        )
        yield Finding(text, source, "random_mdp", "at most 1", float((gaps / exactly).max()), None, None, state=state)


# ---- known transitions ----------------------------------------------------------------------------------------------


def _known(rows: Rows) -> Iterable[Finding | None]:
    identity = select(rows, world="identity_bandit", algorithm="behavioural_cloning")
    yield closed("identity bandit, drawn experts: cloning equals its closed form", ALIKE, identity)
    # (world, learner): the range that theory leaves for the exponent.
    ranges = {
        ("leaky_cliff", "behavioural_cloning"): (2, 2),
        ("leaky_cliff", "known"): (1, 1.5),
        ("identity_bandit", "known"): (1, 1.5),
        ("random_mdp", "behavioural_cloning"): (None, None),
        ("random_mdp", "known"): (None, None),
    }
    for (world, learner), (least, most) in ranges.items():
        here = select(rows, world=world)
        for name, own in (
            _alike(here) if learner == "known" else [("behavioural cloning", select(here, algorithm=learner))]
        ):
            own = sorted(own, key=lambda row: row["horizon"])
            law = slope(column(own, "horizon"), own) if own else None
            if law is None:
                continue
            interval = law.interval()
            text = f"{world.replace('_', ' ')}, {name}: slope of the gap in H"
            if least is None or most is None:
                words = f"{text}, for information: such worlds mix at once, and mistakes do not last"
                yield Finding(words, RAJARAMAN, world, None, law.value, *interval, state=INFORMATION)
                continue
            # H is finite, and slopes bend: half powers are told apart.
            state = compared(*interval, least=least - QUARTER, most=most + QUARTER)
            expected = f"{least:g} to {most:g}, to a quarter" if least < most else float(least)
            source = KNOWN
            yield Finding(text, source, world, expected, law.value, *interval, state=state)
    yield slower(select(rows, world="leaky_cliff"))
    for world in ("leaky_cliff", "identity_bandit", "random_mdp"):
        for name, own in _alike(select(rows, world=world)):
            yield _against_cloning(world, name, own)


def _alike(rows: Rows) -> list[tuple[str, Rows]]:
    """Learners that know the transitions, with their rows; as one where they have the same numbers."""
    mimic, replay = (select(rows, algorithm=name) for name in ("mimic_md", "replay"))
    if np.array_equal(column(mimic, "gap"), column(replay, "gap")):
        return [("Mimic-MD and replay estimation", mimic)]
    return [("Mimic-MD", mimic), ("replay estimation", replay)]


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
    text = "leaky cliff: Mimic-MD's slope in H minus cloning's; knowing the transitions takes half a power off"
    state = compared(less - error, less + error, most=0.0, strict=True)
    source = KNOWN
    return Finding(text, source, "leaky_cliff", "below 0", less, less - error, less + error, state=state)


def _against_cloning(world: str, learner: str, rows: Rows) -> Finding | None:
    """No theorem speaks of random worlds: half of the data tells the actions, and the other half is noise there."""
    if not rows:
        return None
    differences, errors = column(rows, "difference"), column(rows, "difference_stderr")
    cloned = column(rows, "gap") - differences
    replicas = column(rows, "replicas")
    shares, wide = differences / cloned, stats.t.ppf(0.975, replicas - 1) * errors / cloned
    place = int(np.argmax(shares + wide))
    numbers = shares[place], shares[place] - wide[place], shares[place] + wide[place]
    name = f"{world.replace('_', ' ')}: {learner} beside cloning on the same data"
    at = f"(difference of mean gaps over cloning's, the largest upper end: at H = {rows[place]['horizon']})"
    if world == "random_mdp":
        return Finding(f"{name}, for information {at}", RAJARAMAN, world, None, *numbers, state=INFORMATION)
    state = states.below(differences, errors, WORSE * cloned, replicas)
    text = f"{name}, is not worse on average by more than a fifth {at}"
    return Finding(text, f"{RAJARAMAN}; {REPLAY}", world, f"at most {WORSE:g}", *numbers, state=state)
