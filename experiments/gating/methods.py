"""The gates that are compared, each at three settings, and fixed chunk lengths."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dagger_jax.algorithms import ALGORITHMS, Algorithm
from dagger_jax.tabular import gates
from dagger_jax.types import Array, Intervention, Node, Problem

from ..shared.training import Chosen


class Kind(NamedTuple):
    """A gate by its own parameter."""

    name: str
    row: str  # of `ALGORITHMS`: schedule and learner
    gate: Callable[[float], gates.Gate]
    values: tuple[float, float, float]  # the middle one also with a learner that stays in control
    rated: bool = False  # is the parameter a rate of steps?


KINDS: Mapping[str, Kind] = {
    "safe": Kind("SafeDAgger", "safe_dagger", gates.Safe, (0.02, 0.1, 0.3)),
    "ensemble": Kind("EnsembleDAgger", "ensemble_dagger", lambda v: gates.Ensemble(v, 2 * v), (0.02, 0.1, 0.3)),
    "lazy": Kind("LazyDAgger", "lazy_dagger", lambda v: gates.Lazy(v, v / 2), (0.02, 0.1, 0.3)),
    "human": Kind("HG-DAgger", "hg_dagger", gates.Human, (0.1, 0.5, 1.0)),
    "thrifty": Kind("ThriftyDAgger", "thrifty_dagger", lambda v: gates.Thrifty(v, 0.5), (0.05, 0.1, 0.2), True),
    "novelty": Kind("novelty rate", "safe_dagger", gates.Novelty, (0.05, 0.1, 0.2), True),
}


class Wheel(Node):
    """A gate, and who acts where it is open: `acts` 1 the expert, 0 the learner (`gates.AskOnly`).

    One compiled program serves both.
    """

    gate: Callable[..., Intervention]  # a `gates.Gate`, perhaps chosen by a number
    acts: Array | float

    def __call__(self, problem: Problem, memory: Any, policy: Array, law: Array) -> Intervention:
        return self.gate(problem, memory, policy, law)._replace(acts=self.acts)


class Method(NamedTuple):
    """A gate at one setting, or a fixed chunk length."""

    algorithm: Algorithm
    kind: str  # key of KINDS; chunk for a fixed length
    asks: bool = False  # the learner stays in control
    value: float | None = None  # threshold or rate
    chunk: int | None = None


def methods(kinds: tuple[str, ...], horizon: int) -> dict[str, Method]:
    """Fixed lengths: powers of two, and T; every gate at three settings, the middle one also where it only asks."""
    lengths = [2**n for n in range(horizon.bit_length()) if 2**n < horizon] + [horizon]
    found = {f"k = {k}": Method(ALGORITHMS["chunked"], "chunk", chunk=k) for k in lengths}
    for key in kinds:
        kind = KINDS[key]
        for value in kind.values:
            for asks in (False, True)[: 1 + (value == kind.values[1])]:
                gate = Wheel(_among(kinds, key, value), 0.0 if asks else 1.0)
                name = f"{kind.name} {value:g}" + ", asks only" * asks
                found[name] = Method(ALGORITHMS[kind.row]._replace(gate=gate), key, asks, value)
    return found


def _among(kinds: tuple[str, ...], key: str, value: float) -> Chosen:
    """A gate as a choice among all whose learner is the same, which so share their programs."""
    learner = {each: ALGORITHMS[KINDS[each].row].learner for each in kinds}
    alike = [each for each in kinds if learner[each] is learner[key]]
    return Chosen.of({each: KINDS[each].gate(value if each == key else KINDS[each].values[1]) for each in alike}, key)


def algorithm_of(method: Method) -> str:
    """The key of `ALGORITHMS`, or of the gate where no row has it."""
    return "chunked" if method.kind == "chunk" else KINDS[method.kind].row if method.kind != "novelty" else "novelty"
