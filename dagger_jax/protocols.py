"""What the engine asks of a world, an agent, a gate, a reducer: any object with these methods will do.

Shapes are those of one step of one episode; the engine maps over episodes. Whatever holds arrays must be a pytree: a
`NamedTuple`, a `types.Node`, a flax dataclass. Sizes are static.
"""

from collections.abc import Callable
from typing import Any, Protocol

from dagger_jax.randomness import Words
from dagger_jax.types import Array, Schedule


class World(Protocol):
    """A world with a horizon.

        class Drift(NamedTuple):
            horizon: int = 50
            def reset(self, word): return randomness.normal(word)
            def observe(self, state, step): return state
            def advance(self, state, action, step, word):
                return state + action + 0.1 * randomness.normal(word), jnp.clip(abs(state), 0, 1)

    Optional: `shaken(word) -> action`, any action, for rows with `noise`; `ended(state) -> bool`: the episode is over,
    and the state stays, free of cost and without labels; `length`, [] int, of the horizon's steps only so many are
    taken, and its value is data; `ready(expert, learner, row)`, the same three made ready before the scan.
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
    """Whoever acts: an expert, a learner, a writer.

        class Counting(NamedTuple):                       # a memory: how many steps it has seen
            gain: Array
            def start(self): return jnp.zeros(())
            def act(self, memory, view, step):
                return memory + 1, laws.Normal(-self.gain * view, 1 / (1 + memory))

    A memory is any pytree: a recurrent network's carry, a key-value cache.
    """

    def start(self) -> Any:
        """Its memory before an episode; () if it needs none, which costs nothing."""
        ...

    def act(self, memory: Any, view: Any, step: Array) -> tuple[Any, Any]:
        """Its memory after it has seen this step, and the law of its action (see `laws`)."""
        ...


class Takeover(Protocol):
    """When the expert takes over from the learner and when it hands back, inside an episode.

    class Far(NamedTuple):
        limit: Array
        acts: float = 1.0
        def decide(self, state, view, own, wanted, step):
            far = own.error(wanted) > self.limit
            return far * 1.0, 1.0 - far
    """

    @property
    def acts(self) -> Array | float:
        """1: the expert acts while it has taken over; 0: it is only asked."""
        ...

    def decide(self, state: Any, view: Any, own: Any, wanted: Any, step: Array) -> tuple[Array, Array]:
        """Probabilities [] of taking over here, and of handing back."""
        ...


class Reducer(Protocol):
    """What is kept of an episode's steps: see `walk.Whole`, which keeps all of them, and `tabular.rollout.Counts`."""

    def step(self, shown: Any, counted: Array) -> Any:
        """Of one step `walk.Step` of all episodes of a block [B]; those that are not `counted` [B] are repeats."""
        ...

    def blocks(self, one: Callable[[Any], tuple[Any, Any]], xs: Any, count: int) -> tuple[Any, Any]:
        """All blocks: `one` maps a block's `xs` to (what is kept of its steps, the walkers at its end)."""
        ...


class Gate(Protocol):
    """Between rounds: what it keeps, and the `Takeover` of the next round.

    class Closing(NamedTuple):                        # takes over less from round to round
        def init(self): return jnp.ones(())
        def decide(self, kept, learner): return Far(1 - kept)
        def update(self, kept, shown): return 0.9 * kept
    """

    def init(self) -> Any:
        """What is kept before the first round."""
        ...

    def decide(self, kept: Any, learner: Any) -> Any:
        """The takeover of a round, of what was kept and the learner's state."""
        ...

    def update(self, kept: Any, shown: Any) -> Any:
        """What is kept after a round."""
        ...


class Label(Protocol):
    """What is asked of the expert: a batch for the learner.

    def everything(shown, row, agent):                # every step of the guide's walk, whatever the row says
        return shown.guide
    """

    def __call__(self, shown: Any, row: Schedule, agent: Any, /) -> Any:
        """Of what a round's episodes showed, under this row, when `agent` acted."""
        ...


class Learner(Protocol):
    """Fits labels, and acts.

    class Mean(NamedTuple):                           # the mean of all actions that were asked for
        def init(self, key): return jnp.zeros(2)
        def agent(self, state, row): return agents.Function(lambda view, step: laws.Point(state[0] / state[1]))
        def update(self, key, state, batch, row):
            return state + jnp.stack([(batch.weight * batch.action).sum(), batch.weight.sum()]), ()
    """

    def init(self, key: Array | None) -> Any:
        """The state of a learner that has seen no label."""
        ...

    def agent(self, state: Any, row: Schedule) -> Any:
        """What acts in a round with this row: an `Agent`, or whatever the run's `play` understands."""
        ...

    def update(self, key: Array | None, state: Any, batch: Any, row: Schedule) -> tuple[Any, Any]:
        """The state after the labels of a round, and what there is to say of it."""
        ...
