"""What the engine asks of a world, an agent, a gate, a reducer: any object with these methods will do.

Shapes are those of one step of one episode; the engine maps over episodes. Whatever holds arrays must be a pytree: a
`NamedTuple`, a `types.Node`, a flax dataclass. Sizes are static.
"""

from collections.abc import Callable
from typing import Any, Protocol

from dagger_jax.randomness import Words
from dagger_jax.types import Array


class World(Protocol):
    """A world with a horizon.

        class Drift(NamedTuple):
            horizon: int = 50
            def reset(self, word): return randomness.normal(word)
            def observe(self, state, step): return state
            def advance(self, state, action, step, word):
                return state + action + 0.1 * randomness.normal(word), jnp.clip(abs(state), 0, 1)

    Optional: `shaken(word) -> action`, any action, for rows with `noise`.
    """

    @property
    def horizon(self) -> int:
        """T, steps of one episode. Static."""
        ...

    def reset(self, word: Words) -> Any:
        """The first state; the words are its own."""
        ...

    def observe(self, state: Any, step: Array) -> Any:
        """What the learner sees. Experts see the state."""
        ...

    def advance(self, state: Any, action: Any, step: Array, word: Words) -> tuple[Any, Array]:
        """The next state, and the cost [] in [0, 1]. The word that picked the action is not to be read."""
        ...


class Agent(Protocol):
    """Whoever acts: an expert, a learner, a writer."""

    def start(self) -> Any:
        """Its memory before an episode; () if it needs none, which costs nothing."""
        ...

    def act(self, memory: Any, view: Any, step: Array) -> tuple[Any, Any]:
        """Its memory after it has seen this step, and the law of its action (see `laws`)."""
        ...


class Takeover(Protocol):
    """When the expert takes over from the learner and when it hands back, inside an episode."""

    @property
    def acts(self) -> Array | float:
        """1: the expert acts while it has taken over; 0: it is only asked."""
        ...

    def decide(self, state: Any, view: Any, own: Any, wanted: Any, step: Array) -> tuple[Array, Array]:
        """Probabilities [] of taking over here, and of handing back."""
        ...


class Reducer(Protocol):
    """What is kept of an episode's steps."""

    def step(self, shown: Any, counted: Array) -> Any:
        """Of one step `walk.Step` of all episodes of a block [B]; those that are not `counted` [B] are repeats."""
        ...

    def blocks(self, one: Callable[[Any], tuple[Any, Any]], xs: Any, count: int) -> tuple[Any, Any]:
        """All blocks: `one` maps a block's `xs` to (what is kept of its steps, the walkers at its end)."""
        ...
