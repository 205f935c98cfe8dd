"""What n tokens cost to generate, with and without a KV cache, and to read at once: not n times what one costs.

python -m experiments.kv_cost --out=DIR
"""

import functools
import itertools
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from dagger_jax import cost
from dagger_jax.text import transformer

from .. import claim
from ..claim import BadFlag, Claim, Drawings, Measurement, Settings
from ..shared import needs
from . import figures as drawn
from . import findings
from .findings import WAYS, config_of

SWEEPS = 4  # over all programs in a repeat; the least of each one's calls is its time

SWEEP: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        "lengths": (64, 128, 256, 512),
        "widths": (64, 128),
        "layers": (1,),
        "heads": 1,
        "vocabulary": 64,
        "batch": 1,
        "runs": 9,
        "dtype": "float32",
    },
    "default": {
        "lengths": (64, 128, 256, 384, 512, 768, 1024),
        "widths": (64, 128, 256),
        "layers": (2,),
        "heads": 2,
        "vocabulary": 256,
        "batch": 1,
        "runs": 9,
        "dtype": "float32",
    },
    "full": {
        "lengths": (512, 1024, 2048, 3072, 4096, 6144, 8192),
        "widths": (512, 1024, 2048),
        "layers": (4, 8),
        "heads": 8,
        "vocabulary": 4096,
        "batch": 16,
        "runs": 15,
        "dtype": "bfloat16",
    },
}


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a model size."""
    if len(settings.lengths) < 4:
        raise BadFlag("lengths", f"{len(settings.lengths)} of them fit no curve; allowed: four or more, increasing")
    if any(after <= before for before, after in itertools.pairwise(settings.lengths)):
        raise BadFlag("lengths", f"{','.join(map(str, settings.lengths))} do not increase; allowed: increasing lengths")
    if settings.runs < 6:
        raise BadFlag("runs", f"{settings.runs} leaves no 95% interval of a median; allowed: whole numbers, 6 or more")
    sizes = [{"width": width, "layers": layers} for width in settings.widths for layers in settings.layers]
    for cell in sizes:
        try:
            config_of(settings, cell, settings.lengths[-1])
        except ValueError as error:
            raise BadFlag("heads", f"{error}; allowed: heads of an even size that divide every width") from error
    return sizes


# ---- measured ------------------------------------------------------------------------------------------------------


def grown(config: transformer.Config, cache: transformer.Cache) -> transformer.Cache:
    """Caches [B] of the configuration's length that hold what shorter ones hold. New arrays, never the old ones."""
    batch = jax.tree.leaves(cache)[0].shape[0]
    room = lambda full, part: jax.lax.dynamic_update_slice(full, part, (0,) * part.ndim)
    return jax.tree.map(room, nothing(config, batch), cache)


def with_cache(config: transformer.Config, count: int, params: Any, cache: transformer.Cache, tokens: jax.Array) -> Any:
    """The last `count` tokens that caches [B] of the configuration's length hold are written; the caches, and the last.

    Each attends to the whole capacity. The likeliest token is taken, so that each waits for the one before.
    """
    one = jax.vmap(functools.partial(transformer.decode, config, params), in_axes=(0, 0, None))

    def step(carry: tuple[transformer.Cache, jax.Array], position: jax.Array) -> tuple[Any, None]:
        cache, tokens = carry
        logits, cache = one(cache, tokens, position)
        return (cache, logits.argmax(-1)), None

    return jax.lax.scan(step, (cache, tokens), config.length - count + jnp.arange(count))[0]


def without_cache(config: transformer.Config, params: Any, texts: jax.Array) -> jax.Array:
    """The last token of texts [B, n], by a pass over all n inputs. [B]"""
    logits = jax.vmap(functools.partial(transformer.full, config, params))(texts)
    return logits[:, -1].argmax(-1)


def at_once(config: transformer.Config, params: Any, texts: jax.Array) -> Any:
    """A prefill: the caches of texts [B, n], whose tokens are known, and the last token as `without_cache` has it."""
    one = jax.vmap(functools.partial(transformer.prefill, config, params), in_axes=(0, 0, None))
    logits, cache = one(nothing(config, texts.shape[0]), texts, config.length - 1)
    return cache, logits.argmax(-1)


class Programs(NamedTuple):
    """Compiled for one length n."""

    grow: Any  # from the capacity before to n
    loop: Any  # writes the tokens since the length before, all attend to n; takes over the caches
    plain: Any
    prefill: Any
    texts: jax.Array  # [B, n]
    count: int  # tokens since the length before

    def cached(self, params: Any, cache: transformer.Cache, tokens: jax.Array) -> Any:
        """The caches grow, and hold what is written: a call's time."""
        return self.loop(params, self.grow(cache), tokens)


def programs(settings: Settings, cell: Mapping[str, Any], params: Any) -> dict[int, Programs]:
    """By length; lengths follow each other as the capacities of one growing cache."""
    found = {}
    for before, length in itertools.pairwise((0, *settings.lengths)):
        config = config_of(settings, cell, length)
        cache, full = (nothing(config_of(settings, cell, size), settings.batch) for size in (before or length, length))
        tokens, texts = jnp.zeros(settings.batch, int), jnp.zeros((settings.batch, length), int)
        loop = jax.jit(functools.partial(with_cache, config, length - before), donate_argnums=1)
        found[length] = Programs(
            jax.jit(functools.partial(grown, config)).lower(cache).compile(),
            loop.lower(params, full, tokens).compile(),
            jax.jit(functools.partial(without_cache, config)).lower(params, texts).compile(),
            jax.jit(functools.partial(at_once, config)).lower(params, texts).compile(),
            texts,
            length - before,
        )
    return found


def nothing(config: transformer.Config, batch: int) -> transformer.Cache:
    """Empty caches of a batch."""
    return jax.tree.map(lambda part: jnp.zeros((batch, *part.shape), part.dtype), transformer.empty(config))


def calls(
    config: transformer.Config, params: Any, ready: Mapping[int, Programs]
) -> dict[tuple[str, int], Callable[[], Any]]:
    """What is timed, by way and length; `config` is the shortest's. Run once, the text with a cache is written."""
    batch = next(iter(ready.values())).texts.shape[0]
    cache, tokens = nothing(config, batch), jnp.full(batch, config.vocabulary)
    found: dict[tuple[str, int], Callable[[], Any]] = {}
    for length, each in ready.items():
        found["cache", length] = functools.partial(each.cached, params, cache, tokens)
        found["no cache", length] = functools.partial(each.plain, params, each.texts)
        found["prefill", length] = functools.partial(each.prefill, params, each.texts)
        cache, tokens = found["cache", length]()
    return found


def once(programs: Mapping[tuple[str, int], Callable[[], Any]]) -> dict[tuple[str, int], float]:
    """Seconds of a call of each, the least of several, since whatever else runs only adds to it.

    All take turns, forwards and backwards: what slows the machine for a while slows whatever is compared.
    """
    seconds = dict.fromkeys(programs, np.inf)
    for sweep in range(SWEEPS):
        for key in list(programs)[:: -1 if sweep % 2 else 1]:
            begun = time.perf_counter()
            jax.block_until_ready(programs[key]())
            seconds[key] = min(seconds[key], time.perf_counter() - begun)
    return seconds


def costs(settings: Settings, cell: Mapping[str, Any], way: str, length: int, each: Programs) -> dict[str, Any]:
    """The model's and XLA's counts of a token and of the texts up to it, of the whole batch."""
    config, batch = config_of(settings, cell, length), settings.batch
    known = tuple(size for size in settings.lengths if size <= length)
    match way:
        case "cache":
            token = cost.decode(config, length + 1, batch)  # the whole capacity, and itself
            text, xla = cost.sequence(config, length, capacities=known, batch=batch), cost.counted(each.loop)
        case "prefill":  # a token is one of its n
            text, xla = cost.prefill(config, length, batch), cost.counted(each.prefill).times(1 / length)
            token = text.times(1 / length)
        case _:
            token, xla = cost.full(config, length, batch=batch), cost.counted(each.plain)
            text = cost.sequence(config, length, cached=False, capacities=known, batch=batch)
    counts = {"token_flops": token.flops, "token_bytes": token.bytes, "sequence_flops": text.flops}
    return counts | {"xla_flops": _known(xla.flops), "xla_bytes": _known(xla.bytes)}


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Seconds of a token at each length and of the sequence up to it, every repeat; the model's and XLA's counts."""
    config = config_of(settings, cell, settings.lengths[-1])
    params = transformer.init(config, jax.random.key(settings.seed))
    ready = programs(settings, cell, params)
    timed = calls(config_of(settings, cell, settings.lengths[0]), params, ready)
    once(timed)  # warms up
    seconds = [once(timed) for _ in range(settings.runs)]
    counts = np.array([each.count for each in ready.values()])
    tokens_of = {"cache": counts, "no cache": np.ones_like(counts), "prefill": np.array(settings.lengths)}
    points = []
    for way in WAYS:
        # A prefill of n tokens is one call; otherwise a text is the sum of its blocks.
        taken = np.array([[each[way, length] for length in ready] for each in seconds]) / tokens_of[way]
        total = taken * settings.lengths if way == "prefill" else np.cumsum(taken * counts, axis=1)
        for place, (length, each) in enumerate(ready.items()):
            common = {"world": "decoder", "algorithm": way, "learner": "transformer", "horizon": length}
            common |= {"width": cell["width"], "layers": cell["layers"], "interpreter": "sampled"}
            common |= costs(settings, cell, way, length, each)
            points += [
                common | {"run": run, "token_seconds": taken[run, place], "sequence_seconds": total[run, place]}
                for run in range(settings.runs)
            ]
    return Measurement(points, len(WAYS) * settings.runs * settings.batch * settings.lengths[-1])


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Cost per token, cost per sequence, and what is achieved of the model's FLOPs and bytes."""
    found = {findings.named(size): each for size, each in findings.curves(settings, table).items()}
    middle = {name: np.median(each["cache"].sequence, axis=0) for name, each in found.items()}
    fits = {name: findings.fit(each["cache"].lengths, middle[name]) for name, each in found.items()}
    return {
        "token": partial(drawn.token, found),
        "sequence": partial(drawn.sequence, found, fits),
        "achieved": partial(drawn.achieved, found),
    }


CLAIM = Claim(
    name="kv_cost",
    title="The cost of a text is not linear in its length, with a KV cache either",
    statement=(
        "n tokens cost more than n times what one costs: even with a KV cache the (n+1)th still needs n query-key "
        "products. Measured is greedy generation by a decoder-only transformer from nothing. With a cache: its "
        "capacity grows through the lengths given, every token attends to the whole capacity of the moment "
        "(what is not written yet is masked, but computed), and a text is timed block by block. Without: every "
        "token is a pass over all n inputs; one token is timed at each length, and stands for all of its block. "
        "Prefill: n tokens that are known are read at once, and the cache is written. "
        "Every repeat (--runs) goes several times through all programs, which take turns, and keeps the least time of "
        "each; what is compared is compared within a repeat, and medians over repeats are reported with 95% intervals "
        "of order statistics. Where the machine is busy these are wide, and nothing is shown. Fitted is "
        "a n + b n² (seconds, least relative squares) to the cost of a text of n tokens with a cache; the FLOP model "
        "says 2 M + 4 layers width n for a token that attends to n, with M parameters in matrix products, so that a "
        "text's quadratic term is the larger one from about n = M / (layers width); bytes say the same of one "
        "text in float32. Times depend on the machine: the findings are ratios and signs."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.kv_cost,
    timed=True,
    verdict=findings.verdict,
    figures=figures,
    tables=findings.tables,
    flags=(
        claim.integers("lengths", "Lengths n, in tokens: the cache's capacities, increasing.", low=4, high=1 << 17),
        claim.integers("widths", "Widths of the model.", low=2, high=1 << 14),
        claim.integers("layers", "Numbers of layers.", low=1, high=200),
        claim.integers("heads", "Attention heads, of every model.", low=1, high=512, many=False),
        claim.integers("vocabulary", "Tokens V to choose from.", low=2, high=1 << 18, many=False),
        claim.integers("batch", "Texts that are written at once.", low=1, high=1 << 14, many=False),
        claim.names("dtype", "Of computation and cache.", ("float32", "bfloat16"), many=False),
    ),
    columns={
        "width": pa.int64(),
        "layers": pa.int64(),
        "token_seconds": pa.float64(),  # a step of the batch, attending to `horizon` keys
        "sequence_seconds": pa.float64(),  # `horizon` tokens of every text of the batch
        "token_flops": pa.float64(),  # the model's, of the batch
        "token_bytes": pa.float64(),  # the model's, of the batch
        "sequence_flops": pa.float64(),  # the model's, with the capacities measured
        "xla_flops": pa.float64(),  # XLA's, of a step; null where it does not tell
        "xla_bytes": pa.float64(),  # XLA's, of a step
    },
)
