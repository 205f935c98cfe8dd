"""Both walkers through the steps of an episode: the only scan over them, for every kind of world.

The novice acts by the learner (or, with probability beta, by the expert), the guide by the expert, on the same
randomness, under one row of a schedule. What a world, an agent, a takeover and a reducer must offer: see `protocols`.
`tabular.exact` and `text.evidence` move whole laws instead, where a world allows it: nowhere else do walkers move.

Words (see `randomness.Use`): MOVE.first picks every action and MOVE.second moves every world, so that walkers that are
alike act and move alike. MEET.first is the coin of both jumps, MEET.second that of noise, or of copying. GATE.first is
the gate's coin; GATE.second that of a mixture which is tossed for, or the draw of a learner that copies.
"""

# Strict, but for what JAX's own signatures leave unknown:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dagger_jax import loops, randomness
from dagger_jax.laws import Law
from dagger_jax.protocols import Agent, Reducer, Takeover, World
from dagger_jax.randomness import Use, Words
from dagger_jax.sampling import heads, limit
from dagger_jax.types import Array, Schedule

CPU_BLOCK = 4096  # episodes walked at once on a CPU: their walkers stay in a core's cache
BYTES = 256  # of a device's memory for an episode of two walkers: what is carried, and the temporaries of a step
KEPT = 25  # likewise of any episode of a round, in a block or not: its number and place, and what it ends with
AHEAD = 4  # steps whose words a CPU draws at once, see `randomness.crossing`; others draw them where they are read
CERTAIN = 1e4  # nats: the evidence of one action that only one of both could have taken


def _device() -> Any:
    """The default device."""
    with jax.ensure_compile_time_eval():
        (device,) = jnp.zeros(()).devices()
    return device


def block_size() -> int:
    """How many episodes are walked at once on the default device, unless told otherwise.

    On a CPU as many as fit its cache. Elsewhere a step is a few kernels, which only a large batch fills: as many as
    fit into a quarter of the device's memory, a power of two, up to 2^24.
    """
    device = _device()
    if device.platform == "cpu":
        return CPU_BLOCK
    memory = int((device.memory_stats() or {}).get("bytes_limit", 1 << 30))
    return min(1 << 24, 1 << ((memory // 4 // BYTES).bit_length() - 1))


def room(episodes: float) -> float:
    """Bytes of the device's memory that a round's episodes take at most: those of one block, and those of all."""
    return min(episodes, block_size()) * BYTES + episodes * KEPT


class Walker(NamedTuple):
    """One walker before a step: all that a jump copies."""

    state: Any
    expert: Any  # the expert's memory of the way here
    learner: Any  # the learner's; () also where it is not asked
    ratio: Any  # [] nats, log p - log q of the actions since the chunk's start; None: not watched


class Walkers(NamedTuple):
    """Carried from step to step, for one episode. Costs belong to the roles: a jump does not copy them."""

    novice: Walker
    guide: Walker | None  # None where the novice walks alone
    novice_cost: Array  # [] float32, so far
    guide_cost: Array
    parted: Any  # [] int32, first step at which they acted differently; T: none so far; None: no such thing
    chunks: Array  # [] int32, started so far
    together: Any  # [] bool, both have acted alike since the chunk's start; None where actions are continuous
    spent: Array  # [] the learner's error at the guide's states since then
    intervened: Array  # [] bool, the expert has taken over the novice's walk


class Step(NamedTuple):
    """What one step shows, to a reducer: of every episode, [B, ...]. None: there is no guide, no gate, no end."""

    step: Array  # []
    novice: Any  # its state
    wanted: Law  # the expert's law there
    own: Law  # the learner's
    asked: Any  # the action that the expert would have taken there
    acts: Any  # what the novice did
    guide: Any = None  # its state
    intended: Any = None  # the expert's action there
    guided: Any = None  # what the guide did
    joined: Any = None  # bool, a chunk starts here
    together: Any = None  # bool, both have acted alike since the chunk's start
    intervened: Any = None  # bool, the expert has taken over
    entered: Any = None  # bool, it takes over here
    lives: Any = None  # bool, the novice's episode has not ended: only then the step counts
    guide_lives: Any = None  # bool, the same of the guide
    guide_wanted: Any = None  # the expert's law at the guide's state
    guide_own: Any = None  # the learner's; None where it is not asked there
    returned: Any = None  # bool, an excursion starts here; None: the row has none
    distance: Any = None  # what a detector knows before this step of the chunk, see `walk`; None: not watched


def choose(condition: Array, yes: Any, no: Any) -> Any:
    """One of two trees, by a scalar."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def taken(world: Any) -> Array | int:
    """How many steps an episode takes: `world.length` [] where the world has it as data, else its horizon."""
    length = getattr(world, "length", None)
    return world.horizon if length is None else length


def remembers(agent: Agent) -> bool:
    """Whether an agent carries a memory. Static."""
    return bool(jax.tree.leaves(agent.start()))


def discrete(world: World, expert: Agent) -> bool:
    """Whether actions are numbered, so that two can be alike. Static."""

    def acts(word: Words) -> Any:
        return expert.act(expert.start(), world.reset(word), jnp.zeros((), jnp.int32))[1].draw(word)

    zero = jnp.zeros((), jnp.uint32)
    leaves = jax.tree.leaves(jax.eval_shape(acts, Words(zero, zero)))
    return all(jnp.issubdtype(leaf.dtype, jnp.integer) for leaf in leaves)


class Drawn(NamedTuple):
    """The words of a step; None: nobody reads them."""

    move: Any
    meet: Any
    turn: Any


class Answer(NamedTuple):
    """A walker with the memories of this step, and what both would do there."""

    walker: Walker
    wanted: Any  # the expert's law
    own: Any  # the learner's; None where it is not asked


class Parties(NamedTuple):
    """Who walks where."""

    world: Any  # a `World`, with or without what is optional
    expert: Agent
    learner: Agent
    takeover: Takeover | None
    follows: bool  # is the learner asked at the guide's states, too?
    watched: bool  # are likelihood ratios carried?
    discrete: bool  # can two actions be alike?

    def begin(self, key: Words, episode: Array, alone: bool) -> Walkers:
        """Both walkers in the world's first state."""
        zero, none = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        state = self.world.reset(randomness.bits(key, episode, 0, Use.START))
        novice = Walker(state, self.expert.start(), self.learner.start(), zero if self.watched else None)
        return Walkers(
            novice=novice,
            guide=None if alone else novice if self.follows else novice._replace(learner=()),
            novice_cost=zero,
            guide_cost=zero,
            parted=none + taken(self.world) if self.discrete else None,
            chunks=none,
            together=none == 0 if self.discrete else None,
            spent=zero,
            intervened=none > 0,
        )

    def ask(self, walker: Walker, step: Array, learner: bool = True) -> Answer:
        """Both laws at a walker's state."""
        known, wanted = self.expert.act(walker.expert, walker.state, step)
        walker = walker._replace(expert=known)
        if not learner:
            return Answer(walker, wanted, None)
        own, law = self.learner.act(walker.learner, self.world.observe(walker.state, step), step)
        return Answer(walker._replace(learner=own), wanted, law)

    def jump(self, novice: Any, guide: Any, joined: Array, back: Array | None) -> tuple[Any, Any]:
        """Both walkers, or both answers, after the jumps. A learner that does not follow keeps its memory."""

        def arrives(here: Any, there: Any) -> Any:
            return there if self.follows else there._replace(learner=here.learner)

        returned = novice if back is None else choose(back, arrives(novice, guide), novice)
        return returned, choose(joined, arrives(guide, novice), guide)

    def moved(self, answer: Answer, action: Any, step: Array, move: Words) -> tuple[Walker, Array, Any]:
        """A walker after an action, its cost, and whether its episode had not ended before."""
        at = answer.walker
        state, cost = self.world.advance(at.state, action, step, Words(move.second, move.first))
        if at.ratio is not None:
            gained = jnp.nan_to_num(answer.wanted.log_prob(action), neginf=-CERTAIN, posinf=CERTAIN)
            gained -= jnp.nan_to_num(answer.own.log_prob(action), neginf=-CERTAIN, posinf=CERTAIN)
            at = at._replace(ratio=at.ratio + gained)
        ended = getattr(self.world, "ended", None)
        if ended is None:
            return at._replace(state=state), cost, None
        over = ended(at.state)
        return at._replace(state=choose(over, at.state, state)), jnp.where(over, 0.0, cost), ~over

    def draw(self, bits: Callable[[Use], Any], row: Schedule, tosses: Array | None) -> Drawn:
        """The words of a step, of each use's bits. tosses: [] is a chance of the row not certain? None: no guide."""
        move, nothing = bits(Use.MOVE), lambda: jax.tree.map(jnp.zeros_like, move)
        turns = any(each is not None for each in (self.takeover, row.beta, row.copied))
        meet = None if tosses is None else jax.lax.cond(tosses, lambda: bits(Use.MEET), nothing)
        return Drawn(move, meet, bits(Use.GATE) if turns else None)

    def advance(self, words: Drawn, step: Array, now: Schedule, at: Walkers) -> tuple[Walkers, Step]:
        """One step of one episode: the walkers after it, and what they did."""
        move, meet, turn = words
        intervened, together, spent = at.intervened, at.together, at.spent
        there: Any = None
        joined: Any = None
        back: Any = None
        if at.guide is None:
            here = self.ask(at.novice, step)
        else:
            joined = heads(meet.first, limit(now.join))
            back = None if now.back is None else heads(meet.first, limit(now.back))
            # The chunk that starts here starts where the other walker is. Where chunks also end by what the learner
            # would do there, it is asked first, and the answers jump: it comes to the same.
            if now.patience is None:
                novice, guide = self.jump(at.novice, at.guide, joined, back)
                here, there = self.ask(novice, step), self.ask(guide, step, self.follows)
            else:
                here, there = self.ask(at.novice, step), self.ask(at.guide, step)
                joined |= spent + there.own.error(there.wanted) > jnp.asarray(now.patience, jnp.float32)
                here, there = self.jump(here, there, joined, back)
                spent = jnp.where(joined, 0.0, spent) + there.own.error(there.wanted)
            begun = joined if back is None else joined | back
            together = together if together is None else together | begun
            intervened = intervened if back is None else intervened & ~back  # an excursion is begun by the learner
            if self.watched:
                afresh = lambda a: a._replace(walker=a.walker._replace(ratio=jnp.where(begun, 0.0, a.walker.ratio)))
                here, there = afresh(here), afresh(there)
        novice, wanted, own = here

        # One word picks every action: walkers that are alike act alike.
        asked = wanted.draw(move)
        law = own if now.beta is None else own.mix(now.beta, wanted, turn.second)
        acts = law.draw(move)
        intended = guided = None
        if there is not None:
            intended = guided = there.wanted.draw(move)
            if now.noise is not None:
                guided = choose(heads(meet.second, limit(now.noise)), self.world.shaken(move), intended)
            if now.copied is not None:  # the novice's own draw must know nothing of what it may copy
                acts = law.draw(Words(turn.second, turn.first))
                acts = choose(heads(meet.second, limit(now.copied)), guided, acts)
        entered = None
        if self.takeover is not None:
            view = self.world.observe(novice.state, step)
            enter, leave = self.takeover.decide(novice.state, view, own, wanted, step)
            entered = ~intervened & heads(turn.first, limit(enter))
            intervened = entered | (intervened & ~heads(turn.first, limit(leave)))
            acts = choose(intervened & (jnp.asarray(self.takeover.acts) > 0), asked, acts)

        shown = Step(step, novice.state, wanted, own, asked, acts)
        if entered is not None:
            shown = shown._replace(intervened=intervened, entered=entered)
        walker, cost, lives = self.moved(here, acts, step, move)
        following = at._replace(novice=walker, novice_cost=at.novice_cost + cost, intervened=intervened, spent=spent)
        shown = shown._replace(lives=lives)
        if there is None:
            return following, shown
        walker, cost, guide_lives = self.moved(there, guided, step, move)
        parted = at.parted
        if guide_lives is not None:
            joined &= guide_lives
        if together is not None:
            alike = jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda a, b: jnp.all(a == b), acts, guided))
            if lives is not None:
                alike |= ~(lives | guide_lives)  # who is at an end does nothing
            together &= alike
            parted = jnp.where(alike, parted, jnp.minimum(parted, step))
        following = following._replace(
            guide=walker,
            guide_cost=at.guide_cost + cost,
            parted=parted,
            chunks=at.chunks + joined,
            together=together,
        )
        shown = shown._replace(guide=there.walker.state, intended=intended, guided=guided, joined=joined)
        shown = shown._replace(together=together, guide_lives=guide_lives, returned=back)
        shown = shown._replace(guide_wanted=there.wanted, guide_own=there.own)
        if self.watched:
            known = (jnp.abs(jnp.tanh(walker.ratio / 2)) for walker in (novice, there.walker))
            shown = shown._replace(distance=0.5 * sum(known))
        return following, shown


def walk(
    world: World,
    expert: Agent,
    learner: Agent,
    row: Schedule,
    key: Words,
    episodes: Array,
    *,
    takeover: Takeover | None = None,
    alone: bool = False,
    watched: bool = False,
    reduce: Reducer,
    block: int | None = None,
) -> tuple[Any, Walkers]:
    """One round of episodes.

    Args:
      world: with a horizon of T steps, of which `world.length` [] are taken where the world has that field.
      expert: asked at both walkers' states.
      learner: asked at the novice's observations, and at the guide's where chunks end by its error, where it is
        watched, or where it has a memory and excursions begin (`row.back`).
      row: one row of a schedule, columns [T]; a column [T, B] is one per episode. None is never, and costs nothing.
      key: of the round, from `randomness.for_round`.
      episodes: [B] uint32, global indices of the episodes to play.
      takeover: where the expert takes over from the learner; None: nowhere.
      alone: the novice walks alone, at half the cost; columns of jumps, noise and copying are not read.
      watched: `Step.distance` is |P - Q| / (P + Q) of what each walker did since the chunk's start, P by the expert and
        Q by the learner, averaged over both walkers: its mean is T_j, the total variation between both. Needs laws
        with a `log_prob`; where actions are continuous nothing else tells what a detector can know.
      reduce: what is kept of the steps.
      block: how many episodes walk at once; None: as many as the device likes. Of no influence on words and on
        discrete actions; states that are floats agree to rounding.

    Returns:
      What `reduce` makes of the steps, and the walkers after the last one, [B].

    Raises:
      ValueError: at trace time: a row with `noise` in a world without `shaken`; a row of another horizon.
    """
    if (steps := row.join.shape[0]) != world.horizon:
        raise ValueError(f"the schedule has {steps} steps, the world's horizon is {world.horizon}")
    if row.noise is not None and not hasattr(world, "shaken"):
        raise ValueError("schedule.noise needs a world that names its random action: give it `shaken(word) -> action`")
    ready = getattr(world, "ready", None)
    if ready is not None:
        expert, learner, row = ready(expert, learner, row)
    watched = watched and not alone
    follows = watched or row.patience is not None or (row.back is not None and remembers(learner))
    parties = Parties(world, expert, learner, takeover, follows, watched, discrete(world, expert))
    coins = jax.tree.leaves((row.join, row.back, row.noise, row.copied))
    tosses = None if alone else jnp.stack([jnp.any((coin > 0) & (coin < 1)) for coin in coins]).any()
    ahead = AHEAD if _device().platform == "cpu" else 1
    count = episodes.shape[0]
    size = min(block or block_size(), count)
    order = jnp.arange(-(-count // size) * size, dtype=jnp.int32).reshape(-1, size)
    xs = jnp.asarray(episodes)[order % count], order < count  # the last block is filled with repeats: not counted

    def one_block(xs: tuple[Array, Array]) -> tuple[Any, Walkers]:
        ids, counted = xs

        def draw(step: Array) -> Drawn:
            bits = lambda use: randomness.bits(key, ids, step, use)
            return parties.draw(bits if ahead == 1 else lambda use: randomness.crossing(bits(use)), row, tosses)

        drawn = loops.Ahead(draw, ahead)

        def advance(carry: tuple[Walkers, Any], xs: tuple[Array, Schedule]) -> tuple[tuple[Walkers, Any], Any]:
            (walkers, kept), (step, now) = carry, xs
            kept, words = drawn.take(kept, step)
            axes = jax.tree.map(lambda column: 0 if jnp.ndim(column) else None, now)
            one = lambda words, now, at: parties.advance(words, step, now, at)
            walkers, shown = jax.vmap(one, in_axes=(0, axes, 0))(randomness.crossed(words), now, walkers)
            return (walkers, kept), reduce.step(shown, counted)

        begin = jax.vmap(lambda episode: parties.begin(key, episode, alone))(ids), drawn.begin()
        steps = jnp.arange(world.horizon, dtype=jnp.int32), row._replace(mixing_rate=None, retain=None)
        (walkers, _), seen = loops.scan(advance, begin, steps, getattr(world, "length", None))
        return seen, walkers

    return reduce.blocks(one_block, xs, count)


class Whole(NamedTuple):
    """Keeps what `see` makes of every step, [T, B]: memory grows with both. Blocks are put side by side."""

    see: Callable[[Step], Any] = lambda shown: shown

    def step(self, shown: Step, counted: Array) -> Any:
        """What is kept of one step."""
        return self.see(shown)

    def blocks(self, one: Callable[[Any], tuple[Any, Walkers]], xs: Any, count: int) -> tuple[Any, Walkers]:
        """Blocks side by side, [T, B]."""
        seen, ends = jax.lax.map(one, xs)  # [blocks, T, size], [blocks, size]
        beside = lambda leaf: jnp.moveaxis(leaf, 0, 1).reshape(leaf.shape[1], -1, *leaf.shape[3:])[:, :count]
        return jax.tree.map(beside, seen), jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], ends)
