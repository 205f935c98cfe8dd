"""How many programs are compiled, how many come from the cache, and how long that takes."""

import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jax.monitoring

_COMPILE, _HIT = "/jax/core/compile/backend_compile_duration", "/jax/compilation_cache/cache_hits"
_WORK = ("/jax/core/compile/jaxpr_trace_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration", _COMPILE)


class Program(NamedTuple):
    """What one call of the compiler made."""

    name: str  # the function's
    seconds: float  # of compiling, or of loading
    cached: bool  # it came from the cache


class Programs:
    """What was compiled since counting began; one of a library's eager operations counts as well."""

    def __init__(self):
        self.all: list[Program] = []
        self._spans: list[tuple[float, float, int]] = []

    @property
    def compiled(self) -> int:
        """How many programs were compiled."""
        return sum(not each.cached for each in self.all)

    @property
    def cached(self) -> int:
        """How many programs came from the cache."""
        return sum(each.cached for each in self.all)

    def add(self, other: "Programs") -> None:
        """Counts what another process has compiled, which takes no time from this one's threads."""
        self.all += other.all
        self._spans += [(begin, end, 0) for begin, end, _ in other._spans]

    def facts(self) -> dict[str, int | float | str]:
        """What run.json says: how many programs, in words and numbers, and the seconds that they took."""
        spent = self.seconds()
        words = f"{self.compiled} compiled, {self.cached} from the cache"
        return {
            "programs": f"{words}; tracing, compiling and loading took {spent:.1f} s",
            "programs_compiled": self.compiled,
            "programs_cached": self.cached,
            "compile_seconds": spent,
        }

    def names(self, longest: float = 0.0) -> Counter[str]:
        """How many programs were compiled or loaded in more than so many seconds, by their function's name."""
        return Counter(each.name for each in self.all if each.seconds > longest)

    def seconds(self, thread: int | None = None) -> float:
        """Seconds in which something was traced, lowered, compiled or loaded, by any thread or by one."""
        total, reached = 0.0, -math.inf
        for begin, end, owner in sorted(self._spans):
            if thread in (None, owner):
                total += max(end - max(begin, reached), 0.0)
                reached = max(reached, end)
        return total


@contextmanager
def counting() -> Iterator[Programs]:
    """Counts the programs that any thread compiles or loads while the context is open.

    Yields:
        The count so far, at any time.
    """
    programs, local = Programs(), threading.local()

    def happened(event: str, **_: str | int) -> None:
        if event == _HIT:
            local.hit = True

    def lasted(event: str, start_time: float, end_time: float, fun_name: str | int = "", **_: str | int) -> None:
        if event in _WORK:
            programs._spans.append((start_time, end_time, threading.get_ident()))
        if event == _COMPILE:
            name = str(fun_name).removeprefix("jit(").removesuffix(")")
            programs.all.append(Program(name, end_time - start_time, local.__dict__.pop("hit", False)))

    jax.monitoring.register_event_listener(happened)
    jax.monitoring.register_event_time_span_listener(lasted)
    try:
        yield programs
    finally:
        jax.monitoring.unregister_event_listener(happened)
        jax.monitoring.unregister_event_time_span_listener(lasted)
