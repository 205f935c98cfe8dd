"""The parts of a claim."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa
from matplotlib.figure import Figure

PRESETS = ("quick", "default", "full")

# The columns that every points.parquet has, whatever the claim.
COLUMNS: Mapping[str, pa.DataType] = {
    "claim": pa.string(),
    "world": pa.string(),
    "algorithm": pa.string(),  # behavioural_cloning, forward_training, dagger, chunked, ...
    "learner": pa.string(),  # oracle, follow_the_leader, ...
    "horizon": pa.int64(),  # steps
    "chunk": pa.int64(),  # steps; null where there is none
    "eps": pa.float64(),  # the training error that was set; null where none was
    "round": pa.int64(),
    "run": pa.int64(),  # the replica; null where there is one only
    "gap": pa.float64(),  # the learner's cost above the expert's, summed over the episode
    "gap_stderr": pa.float64(),  # null where the gap is exact
    "bound": pa.float64(),  # what the theorem allows; null where none applies
    "interpreter": pa.string(),  # exact or sampled
}


class BadFlag(ValueError):
    """A flag has a value that is not allowed."""

    def __init__(self, flag: str, message: str):
        super().__init__(f"--{flag}: {message}")


class State(StrEnum):
    """What the measurement says of a statement."""

    HOLDS = "holds"
    REFUTED = "refuted"
    NOT_SHOWN = "not shown"  # the interval is too wide to tell, or what it needs was not measured
    INFORMATION = "information"  # nothing was expected


HOLDS, REFUTED, NOT_SHOWN, INFORMATION = State


def settled(holds: bool) -> State:
    """The state of a statement that the measurement decides without sampling error, or by a stated test."""
    return State.HOLDS if holds else State.REFUTED


def compared(
    low: float | None,
    high: float | None,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    strict: bool = False,
) -> State:
    """The state of "it lies from `least` to `most`" for a quantity known to lie in [low, high].

    It holds if the whole interval is allowed, is refuted if none of it is, and is otherwise not shown; so is a
    quantity without an interval (None or NaN). `strict`: `least` and `most` themselves are not allowed.
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return State.NOT_SHOWN
    if strict:
        least = math.nextafter(least, math.inf) if math.isfinite(least) else least
        most = math.nextafter(most, -math.inf) if math.isfinite(most) else most
    if least <= low and high <= most:
        return State.HOLDS
    return State.REFUTED if high < least or low > most else State.NOT_SHOWN


class Finding(NamedTuple):
    """One statement that the measurement confirms, contradicts or leaves open."""

    claim: str  # in words
    source: str  # the theorem, by section or paper
    world: str
    expected: float | str | None
    observed: float | str | None
    low: float | None  # interval around what was observed
    high: float | None
    state: State


# What draws each figure, by file name.
Drawings = Mapping[str, Callable[[], Figure]]


class Measurement(NamedTuple):
    """What one block of work yields."""

    points: list[dict[str, Any]]  # one dict a row of points.parquet; missing columns are null
    environment_steps: int = 0


class Need(NamedTuple):
    """Memory that a run takes at one time."""

    what: str  # in words, as in "needs 3 GiB for ..."
    size: float  # bytes, to a factor of two
    device: bool = True  # of the device that JAX computes on, which on a CPU is the machine; or of the machine


@dataclass(frozen=True)
class Settings:
    """All that decides what is measured: the flags' values, read by name (`settings.horizons`)."""

    values: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        # A copy or an unpickled instance is asked for attributes before it has `values`.
        if name == "values" or name not in self.values:
            raise AttributeError(f"no setting {name!r}")
        return self.values[name]


@dataclass(frozen=True)
class Flag:
    """A flag of the command line.

    Attributes:
        name: without dashes.
        meaning: one or two sentences for `--help`, with the unit.
        allowed: the allowed values, in words.
        read: turns the text of one value into the value; None means that it is not allowed.
        many: a list of values, separated by commas; the setting is then a tuple.
        switch: on or off: --name, --noname, --name=true, --name=false.
        load: for a flag that takes paths or a user's own objects: reads what one names, or leaves another text; see
            `inputs`.
        nearest: for a flag of a registry's names: what is said of a text that is none of them.
    """

    name: str
    meaning: str
    allowed: str
    read: Callable[[str], Any]
    many: bool = True
    switch: bool = False
    load: Callable[[str], str] | None = None
    nearest: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Claim:
    """An experiment.

    Attributes:
        name: the experiment's module, such as horizon_growth.
        title: a headline.
        statement: the claim in one paragraph of plain text.
        sweep: for each preset the default of every flag, and of `runs`; a key without a flag is a fixed
            setting.
        cells: checks the settings (raises BadFlag) and lists the blocks of work in order, each a small
            JSON-able dict, no two alike.
        measure: measures one block; the same settings and cell give the same bits.
        verdict: what the points say about the claim.
        figures: what draws each figure, by file name, so that each may fail alone; a figure's label
            (`figure.set_label`) is its caption.
        flags: the experiment's own flags.
        columns: the columns of points.parquet besides COLUMNS.
        tables: summaries by file name, shown whole in the report and written as NAME.csv.
        memory: what the largest parts of a run take, from the settings alone, which are not checked yet: `cells`
            is called only if all fit.
        timed: seconds are measured, so that no two blocks may be measured at one time on one machine.
    """

    name: str
    title: str
    statement: str
    sweep: Mapping[str, Mapping[str, Any]]
    cells: Callable[[Settings], list[dict[str, Any]]]
    measure: Callable[[Settings, dict[str, Any]], Measurement]
    verdict: Callable[[Settings, pa.Table], list[Finding]]
    figures: Callable[[Settings, pa.Table], Drawings]
    flags: tuple[Flag, ...] = ()
    columns: Mapping[str, pa.DataType] = field(default_factory=dict)
    tables: Callable[[Settings, pa.Table], dict[str, pa.Table]] | None = None
    memory: Callable[[Settings], Sequence[Need]] = lambda settings: ()
    timed: bool = False

    def __post_init__(self):
        if tuple(self.sweep) != PRESETS:
            raise ValueError(f"{self.name}: sweep must have the presets {', '.join(PRESETS)}, in this order")
        for preset, values in self.sweep.items():
            missing = {flag.name for flag in self.flags} - set(values)
            if missing:
                raise ValueError(f"{self.name}: preset {preset} has no value for {', '.join(sorted(missing))}")
        if shared := COLUMNS.keys() & self.columns.keys():
            raise ValueError(f"{self.name}: {', '.join(sorted(shared))} are columns of every claim")

    @property
    def schema(self) -> pa.Schema:
        """The schema of points.parquet."""
        return pa.schema(list({**COLUMNS, **self.columns}.items()))
