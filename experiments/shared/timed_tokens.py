"""Speed of token worlds: texts written, read and trained on, and two streams against separate prefills."""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.table import Table

from dagger_jax import cost, loop, randomness, schedules
from dagger_jax.text import training, transformer, walk, writers
from dagger_jax.types import Array

LENGTH, VOCABULARY = 256, 64  # T and V
CHUNKS = (1, 4, 16)
AT_ONCE = 16  # prefills that are one batch
LONG = 1024  # texts at once from which a CPU is timed once


def timed(program: Callable[..., Any], *arguments: Any, repeats: int) -> tuple[float, float]:
    """(compile seconds, median run seconds) of a jitted program; without repeats the first call is all there is."""
    begun = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    first = time.perf_counter() - begun
    runs = [] if repeats else [first]
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        runs.append(time.perf_counter() - begun)
    median = statistics.median(runs)
    return max(first - median, 0.0), median


def decoder() -> transformer.Config:
    """A learner that a CPU can train; on other devices one that can fill them."""
    if jax.default_backend() == "cpu":
        return transformer.Config(VOCABULARY, LENGTH, width=64, layers=2, heads=2)
    return transformer.Config(VOCABULARY, LENGTH, width=512, layers=8, heads=8, dtype="bfloat16")


def needed(config: transformer.Config, batch: int) -> float:
    """FLOPs of the model to write or to read texts of T tokens: the t-th attends to t.

    What programs compute beside, since a mask bars it, is no use of a device, and is left out: 1.04 times as much is
    done in decoding and 1.12 times in two-stream passes by the model that other devices than a CPU run.
    """
    return cost.sequence(config, LENGTH, batch=batch).flops


def achieved(flops: float, seconds: float) -> dict[str, float | None]:
    """The model's FLOP/s (see `needed`), and their share of the device's bfloat16 peak where that is known."""
    peak = cost.peak(jax.devices()[0].device_kind)
    speed = flops / seconds
    return {"flops_per_second": speed, "utilisation": None if peak is None else speed / peak}


def generation(batches: Sequence[int], repeats: int, config: transformer.Config | None = None) -> list[dict[str, Any]]:
    """Tokens per second that a transformer writes under `walk.play`: cached decode, a Markov expert as the guide.

    Counted are the novice's tokens alone, and of their FLOPs those that the model needs.
    """
    config, expert = config or decoder(), writers.random_markov(VOCABULARY, 1)
    learner = writers.Frozen(config, transformer.init(config, jax.random.key(0)))
    row = schedules.row(schedules.chunked(1, schedules.starts(LENGTH, 4)), 0)
    key = randomness.for_round(randomness.words(jax.random.key(0)), 0)

    @jax.jit
    def play(learner: writers.Frozen, ids: Array) -> Array:
        return walk.play(expert, learner, row, key, ids, see=lambda text: text.novice)

    measured = []
    for batch in batches:
        ids, begun = jnp.arange(batch, dtype=jnp.uint32), time.perf_counter()
        program = play.lower(learner, ids).compile()
        compiling = time.perf_counter() - begun
        once = batch >= LONG and jax.default_backend() == "cpu"
        running = timed(program, learner, ids, repeats=0 if once else repeats)[1]
        speed = {"tokens_per_second": batch * LENGTH / running, "compile_seconds": compiling}
        measured.append({"what": "written", "batch": batch} | speed | achieved(needed(config, batch), running))
    return measured


def reading(batches: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Tokens per second that a transformer reads into its cache, all T of a text at once: a prefill."""
    config = decoder()
    params = transformer.init(config, jax.random.key(0))
    some = 8 if jax.default_backend() == "cpu" else 256  # at once: scores [heads, T, T] of more leave a CPU's caches

    @jax.jit
    def read(params: Any, texts: Array) -> Any:
        one = lambda text: transformer.prefill(config, params, transformer.empty(config), text, LENGTH - 1)
        return jax.lax.map(one, texts, batch_size=some)

    measured = []
    for batch in batches:
        texts = jnp.asarray(np.random.default_rng(0).integers(VOCABULARY, size=(batch, LENGTH)))
        compiling, running = timed(read, params, texts, repeats=repeats)
        speed = {"tokens_per_second": batch * LENGTH / running, "compile_seconds": compiling}
        measured.append({"what": "read", "batch": batch} | speed | achieved(needed(config, batch), running))
    return measured


def learning(repeats: int, batch: int | None = None, config: transformer.Config | None = None) -> list[dict[str, Any]]:
    """Tokens per second that are trained on, T labels a text, k = 4: a gradient step, and rounds that write too."""
    config, expert = config or decoder(), writers.random_markov(VOCABULARY, 1)
    batch = batch or (16 if jax.default_backend() == "cpu" else 256)
    recipe = training.Recipe(config, optax.adam(1e-3))
    schedule = schedules.chunked(1, schedules.starts(LENGTH, 4))
    key, ids = randomness.words(jax.random.key(0)), jnp.arange(batch, dtype=jnp.uint32)
    state = training.begin(recipe, jax.random.key(0))
    novice, guide = (jnp.asarray(np.random.default_rng(n).integers(VOCABULARY, size=(batch, LENGTH))) for n in (0, 1))
    joins = jnp.asarray(schedule.join[0]) > 0

    @jax.jit
    def update(state: loop.State) -> tuple[Any, Any]:
        gradient = jax.grad(lambda params: two_streams_loss(config, params, novice, guide, joins))(state.learner.params)
        changes, optimiser = recipe.optimiser.update(gradient, state.learner.optimiser, state.learner.params)
        return optax.apply_updates(state.learner.params, changes), optimiser

    advance = functools.partial(training.advance, rounds=1)
    written = needed(config, batch)
    flops = cost.TRAINING * 2 * written  # both streams: a guide's token attends to as many as the novice's beside it
    programs: dict[str, tuple[float, Callable[..., Any], tuple]] = {
        "trained, gradient step": (flops, update, (state,)),
        "trained, whole round": (flops + written, advance, (recipe, expert, schedule, state, key, ids)),
    }
    measured = []
    for name, (count, program, arguments) in programs.items():
        compiling, running = timed(program, *arguments, repeats=repeats)
        speed = {"tokens_per_second": batch * LENGTH / running, "compile_seconds": compiling}
        measured.append({"what": name, "batch": batch} | speed | achieved(count, running))
    return measured


def two_streams_loss(config: transformer.Config, params: Any, novice: Array, guide: Array, joins: Array) -> Array:
    """Mean log loss of the guide's tokens [B, T], in one pass over 2 T tokens each."""
    one = lambda novice, guide: transformer.two_streams(config, params, novice, guide, joins)[1]
    laws = jax.vmap(one)(novice, guide)
    return optax.softmax_cross_entropy_with_integer_labels(laws, guide).mean()


def prefills(config: transformer.Config, chunk: int, params: Any, novice: Array, guide: Array) -> Any:
    """The same loss and gradient by T/k passes over [prefix, chunk], padded to T: one program. Texts [T].

    `AT_ONCE` passes are one batch; their gradients are added up.
    """
    steps = jnp.arange(LENGTH)
    begins = jnp.arange(0, LENGTH, chunk).reshape(-1, min(AT_ONCE, LENGTH // chunk))

    def charged(params: Any, begin: Array) -> Array:
        mixed = jnp.where(steps < begin, novice, guide)
        each = optax.softmax_cross_entropy_with_integer_labels(transformer.full(config, params, mixed), guide)
        return jnp.where((steps >= begin) & (steps < begin + chunk), each, 0.0).sum() / LENGTH

    def some(total: Any, begins: Array) -> tuple[Any, None]:
        found = jax.value_and_grad(lambda params: jax.vmap(functools.partial(charged, params))(begins).sum())(params)
        return jax.tree.map(jnp.add, total, found), None

    nothing = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(some, nothing, begins)[0]


def streams(repeats: int) -> list[dict[str, Any]]:
    """Loss and gradient of one text: the two-stream pass against T/k separate prefills, as a ratio of times.

    Two kinds of prefill. Padded to T: one program, which is run and timed whole. Exact, as long as they are: a program
    a length, which is not run as such: single passes over one text are timed at lengths 16, 64, ..., T (every 48
    tokens), what lies between is interpolated, and the T/k times are summed. So exact ratios are estimates.
    """
    config, steps = decoder(), jnp.arange(LENGTH)
    params = transformer.init(config, jax.random.key(0))
    novice, guide = (jnp.asarray(np.random.default_rng(n).integers(VOCABULARY, size=LENGTH)) for n in (0, 1))
    loss = jax.jit(
        jax.value_and_grad(
            lambda params, joins: two_streams_loss(config, params, novice[None], guide[None], joins),
        )
    )
    lengths = list(range(16, LENGTH + 1, 48)) + [LENGTH] * (LENGTH % 48 != 16)

    def alone(params: Any, text: Array) -> Array:
        laws = transformer.full(config, params, text)
        return optax.softmax_cross_entropy_with_integer_labels(laws, text).mean()

    single = jax.jit(jax.value_and_grad(alone))
    often = max(9, repeats)  # they are short, and all ratios rest on them
    passes = [timed(single, params, guide[:length], repeats=often)[1] for length in lengths]
    once = timed(loss, params, steps % 4 == 0, repeats=often)[1]  # chunks are data: one program for every k
    measured = []
    for chunk in CHUNKS:
        padded = jax.jit(functools.partial(prefills, config, chunk))
        compiling, several = timed(padded, params, novice, guide, repeats=repeats if chunk > 1 else 1)
        ends = np.arange(chunk, LENGTH + 1, chunk)
        exact = float(np.interp(ends, lengths, passes).sum())
        models = {way: cost.trained(config, LENGTH, chunk, way).flops for way in ("padded", "naive", "two_streams")}
        measured.append(
            {
                "chunk": chunk,
                "two_streams_seconds": once,
                "padded_ratio": several / once,
                "exact_ratio": exact / once,
                "padded_flops": models["padded"] / models["two_streams"],
                "exact_flops": models["naive"] / models["two_streams"],
                "compile_seconds": compiling,
            }
        )
    return measured


def measure(batches: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Tokens written, read and trained on a second."""
    return generation(batches, repeats) + reading(batches, repeats) + learning(repeats)


def shown(tokens: list[dict[str, Any]], two_streams: list[dict[str, Any]]) -> list[Table]:
    """As tables."""
    config = decoder()
    title = f"tokens, T={LENGTH} width={config.width} layers={config.layers} V={VOCABULARY} {config.dtype}"
    speeds = Table("tokens", "batch", "tokens/s", "model GFLOP/s", "of the peak", "compile s", title=title)
    for line in tokens:
        share = "" if line["utilisation"] is None else f"{line['utilisation']:.1%}"
        rates = f"{line['tokens_per_second']:,.0f}", f"{line['flops_per_second'] / 1e9:.1f}", share
        speeds.add_row(line["what"], f"{line['batch']:,}", *rates, f"{line['compile_seconds']:.2f}")
    heads = "k", "padded prefills", "by FLOPs", "exact prefills, interpolated", "by FLOPs"
    title = "T/k prefills of one text, in times of one two-stream pass (loss and gradient)"
    ratios = Table(*heads, title=title)
    for line in two_streams:
        values = (line[name] for name in ("padded_ratio", "padded_flops", "exact_ratio", "exact_flops"))
        ratios.add_row(str(line["chunk"]), *(f"{value:.1f}" for value in values))
    return [speeds, ratios]
