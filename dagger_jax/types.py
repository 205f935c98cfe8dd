"""The nouns. Letters: N rounds, T steps, B episodes, S states, A actions, O observations.

Arrays that may vary over time have a leading axis L, which is T, or 1 where they do not vary.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct

Array = jax.Array | np.ndarray
Column = Any  # an Array, or None: never, and known to the compiler
Transitions = Any  # an Array, or Successors; `tabular.transitions` reads both


class Node(struct.PyTreeNode):
    """A frozen dataclass that is a tree of its arrays, and knows its class.

    jaxlib (0.10) takes dataclasses of different classes for the same tree if their fields are alike: now and then `jit`
    would then run the program that was compiled for another class. The class's name, as a static field, tells them
    apart.
    """

    # JAX builds trees anew with whatever stands for a leaf: no type checker is to look at fields at run time.
    __no_type_check__ = True

    def __init_subclass__(cls, **kwargs):
        cls.__annotations__["kind"] = str
        cls.kind = dataclasses.field(
            default=f"{cls.__module__}.{cls.__qualname__}", metadata={"pytree_node": False}, kw_only=True, repr=False
        )
        super().__init_subclass__(**kwargs)


class Held(Node):
    """A tree on its way through `jit`: its arrays are data, its other leaves, such as a horizon, stay what they are."""

    arrays: tuple[Any, ...]
    others: tuple[Any, ...] = struct.field(pytree_node=False)
    form: Any = struct.field(pytree_node=False)

    @classmethod
    def of(cls, tree: Any) -> "Held":
        """Puts a tree in."""
        leaves, form = jax.tree.flatten(tree)
        data = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]
        arrays = tuple(leaf if is_data else None for leaf, is_data in zip(leaves, data, strict=True))
        return cls(arrays, tuple(None if is_data else leaf for leaf, is_data in zip(leaves, data, strict=True)), form)

    @property
    def tree(self) -> Any:
        """Takes it out."""
        leaves = [other if array is None else array for array, other in zip(self.arrays, self.others, strict=True)]
        return jax.tree.unflatten(self.form, leaves)


class Successors(Node):
    """Sparse transitions: the states that may follow, as lists, padded to the longest by chance 0 of any state."""

    states: Array  # [L, S, A, K] int, in 0..S-1; one may be listed twice
    chance: Array  # [L, S, A, K] probability of each

    @property
    def shape(self) -> tuple[int, ...]:
        return self.chance.shape

    def __len__(self) -> int:
        return len(self.chance)

    def __getitem__(self, steps: slice) -> "Successors":
        return Successors(self.states[steps], self.chance[steps])


class World(Node):
    """A tabular Markov decision process with costs and a finite horizon.

    The learner sees `observation[s]` of a state s; the expert sees s itself. Where two states share an
    observation, the expert need not be in the learner's class.
    """

    transition: Transitions  # [L, S, A, S] probability of the next state, or lists [L, S, A, K]
    cost: Array  # [L, S, A] expected immediate cost, in [0, 1] per step
    initial: Array  # [S] law of the first state
    observation: Array  # [S] int, in 0..O-1
    horizon: int = struct.field(pytree_node=False)  # T, steps of one episode
    observations: int = struct.field(pytree_node=False)  # O
    # [] int, steps of one episode where that is data: then T is what arrays are padded to, so that worlds of all
    # horizons share a program. Must not be batched under `vmap`. See `tabular.worlds.padded`.
    length: Array | None = None

    @property
    def steps(self) -> Array | int:
        """Steps of one episode."""
        return self.horizon if self.length is None else self.length

    @property
    def taken(self) -> Array:
        """Which steps of the arrays an episode has. [T] bool"""
        return np.arange(self.horizon) < self.steps

    @property
    def states(self) -> int:
        return self.cost.shape[-2]

    @property
    def actions(self) -> int:
        return self.cost.shape[-1]


class Name(NamedTuple):
    """A name for readers, which tells no two trees apart: problems of equal shapes share their programs."""

    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name)

    def __hash__(self) -> int:
        return hash(Name)


class Problem(Node):
    """A world and the expert to be imitated in it."""

    world: World
    expert: Array  # [L, S, A] probability of the expert's action
    called: Any = struct.field(pytree_node=False, default="world")  # a name, as a text

    def __post_init__(self):
        if isinstance(self.called, str):
            object.__setattr__(self, "called", Name(self.called))

    @property
    def name(self) -> str:
        """For readers. What comes out of `jit` may have the name of another problem of its shape."""
        return self.called.text


class Schedule(NamedTuple):
    """Who acts, where the walkers meet, and whose states are labelled: one row per round, one entry per step.

    A row (the same type without N) is what an interpreter reads. See `schedules` for how rows are made. None: never,
    known to the compiler, which leaves out what it would cost; `schedules.filled` writes the zeros.
    """

    join: Array  # [N, T] probability that the guide jumps to the novice's state: a chunk starts
    beta: Column = None  # [N, T] probability that the expert's action moves the novice
    back: Column = None  # [N, T] probability that the novice jumps to the guide's state: an excursion starts
    label_guide: Column = None  # [N, T] weight of the expert label asked for at the guide's state
    label_novice: Column = None  # [N, T] weight of the expert label asked for at the novice's state
    after: Column = None  # [N, T] probability that the expert, not the learner, completes a one-step deviation
    noise: Column = None  # [N, T] probability that the guide's executed action is replaced by a uniform one
    mixing_rate: Column = None  # [N] share of the newest iterate in the acting mixture (1: the newest acts alone)
    retain: Column = None  # [N] share of the earlier labels that the learner keeps (1: aggregate, 0: forget)
    # [N, T] the chunk also ends before the learner's error at the guide's states, summed since its start, would
    # exceed this. Lengths then depend on the states: the sampler's alone.
    patience: Column = None
    # [N, T] probability that the novice copies the guide's action, in place of its own, which is then drawn
    # independently of the guide's: scheduled sampling (Bengio et al. 2015, arXiv 1506.03099). The sampler's alone.
    copied: Column = None


class Intervention(NamedTuple):
    """Where the expert takes over the novice's walk, and where it hands back: what a gate decides."""

    enter: Array  # [T, S] probability that it takes over from the learner here
    leave: Array  # [T, S] probability that, in control, it hands back here; 1 - enter: a gate without memory
    acts: Array | float = 1.0  # [] 1: the expert also acts; 0: it is only asked, and the learner acts on


class Occupancy(NamedTuple):
    """What one round's episodes show, whoever interpreted them: joint law of (state, expert's action).

    `exact.play` gives the law itself, `rollout.play` the observed frequencies. Each step sums to 1.
    """

    novice: Array  # [T, S, A] at the novice's states
    guide: Array | None  # [T, S, A] at the guide's states; None where the novice walked alone
    agreement: Array | None  # [T] share that acted alike since the chunk's start, by one word; None as above
    intervened: Array | None = None  # [T, S, A] at the novice's states, where the expert has taken over; None: no gate
    entered: Array | None = None  # [T] share of episodes in which it takes over at this step; None as above


class Trace(NamedTuple):
    """Everything that both walkers did; leading axes are free, [T, B] from `rollout.trace`. Integers and bools."""

    novice: Array  # its state
    asked: Array  # the expert's action there
    acts: Array  # what it did
    guide: Array | None  # its state; None, as all below, where the novice walks alone
    intended: Array | None  # the expert's action there
    guided: Array | None  # what it did
    joined: Array | None  # whether a chunk started here
    together: Array | None  # whether both have acted alike since the chunk's start
    intervened: Array | None = None  # whether the expert has taken over; None where there is no gate
    entered: Array | None = None  # whether it takes over here


class Batch(NamedTuple):
    """Labels: a weighted cost for every action at a step and an observation. Leading axes are free."""

    step: Array  # [...] int
    observation: Array  # [...] int
    costs: Array  # [..., A] weight x cost of each action
    weight: Array  # [...]
