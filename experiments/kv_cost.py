"""What n tokens cost to generate, with and without a KV cache: not n times what one costs.

python -m experiments.kv_cost --out=DIR
"""

import functools
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from dagger_jax import cost
from dagger_jax.tokens import transformer
from experiments import claim, kv_cost_figures
from experiments.claim import BadFlag, Claim, Finding, Measurement, Settings

UNCACHED = 2  # tokens that are timed without a cache at each length
CALLS, ENOUGH = 9, 0.03  # a time is the least of so many calls, or of those that take so many seconds
HEAD_SIZE = 32  # from here on what XLA counts beside matrix products is below `TOLERANCE`
TOLERANCE = 0.10  # of the FLOP model against XLA's count
WAYS = ("cache", "no cache")

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


def config_of(settings: Settings, cell: Mapping[str, Any], length: int) -> transformer.Config:
    """The model of a cell, for texts of so many tokens."""
    return transformer.Config(
        settings.vocabulary, length, cell["width"], cell["layers"], settings.heads, dtype=settings.dtype
    )


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a model size."""
    if len(settings.lengths) < 4:
        raise BadFlag("lengths", f"{len(settings.lengths)} of them fit no curve; allowed: four or more, increasing")
    if any(after <= before for before, after in itertools.pairwise(settings.lengths)):
        raise BadFlag("lengths", f"{','.join(map(str, settings.lengths))} do not increase; allowed: increasing lengths")
    if settings.runs < 3:
        raise BadFlag("runs", f"{settings.runs} leaves no interval; allowed: whole numbers, 3 or more")
    sizes = [{"width": width, "layers": layers} for width in settings.widths for layers in settings.layers]
    for cell in sizes:
        try:
            config_of(settings, cell, settings.lengths[-1])
        except ValueError as error:
            raise BadFlag("heads", f"{error}; allowed: heads of an even size that divide every width") from error
    return sizes


# ---- measured ------------------------------------------------------------------------------------------------------


def with_cache(config: transformer.Config, count: int, params: Any, cache: transformer.Cache, tokens: jax.Array) -> Any:
    """The cache grows to the configuration's length, and the last `count` tokens that it holds are written.

    Each attends to the whole capacity. The likeliest token is taken, so that each waits for the one before.
    """
    # Whatever the layout: axes that are too short are those of the tokens.
    room = lambda part, full: [(0, to - now) for now, to in zip(part.shape, full.shape, strict=True)]
    full = nothing(config, tokens.shape[0])
    cache = jax.tree.map(lambda part, full: jnp.pad(part, room(part, full)), cache, full)
    one = jax.vmap(functools.partial(transformer.decode, config, params), in_axes=(0, 0, None))

    def step(carry: tuple[transformer.Cache, jax.Array], position: jax.Array) -> tuple[Any, None]:
        cache, tokens = carry
        logits, cache = one(cache, tokens, position)
        return (cache, logits.argmax(-1)), None

    return jax.lax.scan(step, (cache, tokens), config.length - count + jnp.arange(count))[0]


def without_cache(config: transformer.Config, params: Any, texts: jax.Array) -> jax.Array:
    """The last `UNCACHED` tokens of texts [B, n], each by a pass over all n inputs."""

    def step(texts: jax.Array, position: jax.Array) -> tuple[jax.Array, None]:
        logits = jax.vmap(functools.partial(transformer.full, config, params))(texts)
        return texts.at[:, position].set(logits[:, position].argmax(-1)), None

    return jax.lax.scan(step, texts, config.length - UNCACHED + jnp.arange(UNCACHED))[0]


class Programs(NamedTuple):
    """Compiled for one length n."""

    cached: Callable[..., Any]  # writes the tokens since the length before, all attend to n
    plain: Callable[..., Any]
    texts: jax.Array  # [B, n]
    count: int  # tokens since the length before


def programs(settings: Settings, cell: Mapping[str, Any], params: Any) -> dict[int, Programs]:
    """By length; lengths follow each other as the capacities of one growing cache."""
    found = {}
    for before, length in itertools.pairwise((0, *settings.lengths)):
        config = config_of(settings, cell, length)
        cache = nothing(config_of(settings, cell, before or length), settings.batch)
        tokens, texts = jnp.zeros(settings.batch, int), jnp.zeros((settings.batch, length), int)
        cached = jax.jit(functools.partial(with_cache, config, length - before))
        plain = jax.jit(functools.partial(without_cache, config))
        found[length] = Programs(
            cached.lower(params, cache, tokens).compile(),
            plain.lower(params, texts).compile(),
            texts,
            length - before,
        )
    return found


def nothing(config: transformer.Config, batch: int) -> transformer.Cache:
    """Empty caches of a batch."""
    return jax.tree.map(lambda part: jnp.zeros((batch, *part.shape), part.dtype), transformer.empty(config))


def timed(program: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds of a call, the least of several if it is short, and its result: whatever else runs only adds to it."""
    taken: list[float] = []
    result = None
    while len(taken) < CALLS and sum(taken) < ENOUGH:
        begun = time.perf_counter()
        result = jax.block_until_ready(program(*arguments))
        taken.append(time.perf_counter() - begun)
    return min(taken), result


def once(config: transformer.Config, params: Any, ready: Mapping[int, Programs], first: int) -> dict[str, np.ndarray]:
    """Seconds per token at each length, both ways; they take turns, and `first` begins. `config` is the shortest's."""
    batch = next(iter(ready.values())).texts.shape[0]
    cache, tokens = nothing(config, batch), jnp.full(batch, config.vocabulary)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for each in ready.values():
        for way in WAYS if first == 0 else WAYS[::-1]:
            if way == "cache":
                taken, (cache, tokens) = timed(each.cached, params, cache, tokens)
                seconds[way].append(taken / each.count)
            else:
                taken, _ = timed(each.plain, params, each.texts)
                seconds[way].append(taken / UNCACHED)
    return {way: np.array(values) for way, values in seconds.items()}


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Seconds of a token at each length and of the sequence up to it, every repeat; the model's and XLA's counts."""
    config = config_of(settings, cell, settings.lengths[-1])
    params = transformer.init(config, jax.random.key(settings.seed))
    ready = programs(settings, cell, params)
    shortest = config_of(settings, cell, settings.lengths[0])
    once(shortest, params, ready, 0)  # warms up
    seconds = [once(shortest, params, ready, run % 2) for run in range(settings.runs)]
    counts = np.array([each.count for each in ready.values()])
    points = []
    for way in WAYS:
        total = np.cumsum([each[way] * counts for each in seconds], axis=1)
        for place, (length, each) in enumerate(ready.items()):
            cached, batch = way == "cache", settings.batch
            token = cost.decode(config, length, batch) if cached else cost.full(config, length, batch=batch)
            known = settings.lengths[: place + 1]
            text = cost.sequence(config, length, cached=cached, capacities=known, batch=batch)
            xla = cost.counted(each.cached if cached else each.plain)  # a loop's body once: one token
            common = {"world": "decoder", "algorithm": way, "learner": "transformer", "horizon": length}
            common |= {"width": cell["width"], "layers": cell["layers"], "interpreter": "sampled"}
            common |= {"token_flops": token.flops, "token_bytes": token.bytes, "sequence_flops": text.flops}
            common |= {"xla_flops": _known(xla.flops), "xla_bytes": _known(xla.bytes)}
            points += [
                common | {"run": run, "token_seconds": seconds[run][way][place], "sequence_seconds": total[run, place]}
                for run in range(settings.runs)
            ]
    return Measurement(points, 2 * settings.runs * settings.batch * settings.lengths[-1])


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# ---- what the points say -------------------------------------------------------------------------------------------


class Curve(NamedTuple):
    """One model size, one way. R repeats, M lengths."""

    lengths: np.ndarray  # [M]
    token: np.ndarray  # [R, M] seconds
    sequence: np.ndarray  # [R, M] seconds
    flops: np.ndarray  # [M] of a token, of the whole batch
    bytes: np.ndarray  # [M]
    total: np.ndarray  # [M] FLOPs of the sequence
    xla: np.ndarray  # [M], NaN where XLA does not tell
    xla_bytes: np.ndarray  # [M]


Size = tuple[int, int]  # width and layers


def curves(settings: Settings, table: pa.Table) -> dict[Size, dict[str, Curve]]:
    """By size and way."""
    found: dict[Size, dict[str, Curve]] = {}
    rows = table.to_pylist()
    names = ("token_flops", "token_bytes", "sequence_flops", "xla_flops", "xla_bytes")
    for size in dict.fromkeys((row["width"], row["layers"]) for row in rows):
        for way in WAYS:
            own = [row for row in rows if (row["width"], row["layers"], row["algorithm"]) == (*size, way)]
            lengths = sorted({row["horizon"] for row in own})
            own.sort(key=lambda row: (row["run"], row["horizon"]))
            shape = (-1, len(lengths))
            times = (
                np.array([row[name] for row in own], float).reshape(shape)
                for name in ("token_seconds", "sequence_seconds")
            )
            counts = (np.array([row[name] for row in own[: len(lengths)]], float) for name in names)
            found.setdefault(size, {})[way] = Curve(np.array(lengths), *times, *counts)
    return found


def fit(lengths: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(a, b) of a n + b n², by least relative squares; seconds [..., M] -> [..., 2]."""
    # Relative errors: both sides are divided by the cost, and the right one is then 1.
    powers = np.stack([lengths, lengths**2.0], -1) / seconds[..., None]
    gram = np.swapaxes(powers, -1, -2) @ powers
    return np.linalg.solve(gram, powers.sum(-2)[..., None])[..., 0]


def resampled(values: np.ndarray, resamples: int = 1000) -> np.ndarray:
    """Medians over repeats [R, M] of bootstrap resamples [resamples, M]; the same draws for equal R."""
    draws = np.random.default_rng(0).integers(len(values), size=(resamples, len(values)))
    return np.median(values[draws], axis=1)


def interval(values: np.ndarray) -> tuple[float, float]:
    """95%, of a bootstrap."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def overtakes(coefficients: np.ndarray) -> np.ndarray:
    """n from which b n² exceeds a n; infinite where b is not positive, 0 where a is not. [..., 2] -> [...]"""
    a, b = coefficients[..., 0], coefficients[..., 1]
    return np.where(b > 0, np.maximum(a, 0) / np.where(b > 0, b, 1.0), np.inf)


def slope(lengths: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Of log cost against log n; seconds [..., M]."""
    x = np.log(lengths) - np.log(lengths).mean()
    return np.log(seconds) @ x / (x @ x)


def named(size: Size) -> str:
    """A model size in words."""
    return f"width {size[0]}, {size[1]} {'layer' if size[1] == 1 else 'layers'}"


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """Whether a sequence's cost bends upwards, what the cache saves, and whether FLOPs are counted rightly."""
    findings = []
    for size, found in curves(settings, table).items():
        findings += _bend(settings, size, found["cache"]) + _saved(size, found)
        findings += [_counted(settings, size, found)]
    return findings


def _bend(settings: Settings, size: Size, curve: Curve) -> list[Finding]:
    lengths, world = curve.lengths, named(size)
    middle, draws = np.median(curve.sequence, axis=0), resampled(curve.sequence)
    first, last = lengths[0], lengths[-1]

    dearer = lambda seconds: seconds[..., -1] / seconds[..., 0] * first / last
    low, high = interval(dearer(draws))
    text = f"with a cache, a token of a text of {last} costs more than one of a text of {first}: ratio of their costs"
    findings = [Finding(text, "issue 5", world, "above 1", float(dearer(middle)), low, high, holds=low > 1)]

    fitted, refitted = fit(lengths, middle), fit(lengths, draws)
    share = lambda pair: pair[..., 1] * last / (pair[..., 0] + pair[..., 1] * last)
    low, high = interval(share(refitted))
    text = f"with a cache, n tokens cost a n + b n² with b > 0: share of b n² at n = {last}"
    findings.append(Finding(text, "issue 5", world, "above 0", float(share(fitted)), low, high, holds=low > 0))

    model = cost.crossing(config_of(settings, {"width": size[0], "layers": size[1]}, int(last)))
    low, high = interval(overtakes(refitted))
    text = "for information: n from which the quadratic term is the larger one; expected from FLOPs alone"
    findings.append(
        Finding(text, "cost of a token 2 M + 4 layers width n", world, model, float(overtakes(fitted)), low, high, True)
    )
    return findings


def _saved(size: Size, found: Mapping[str, Curve]) -> list[Finding]:
    cached, plain = (found[way] for way in WAYS)
    world, last = named(size), cached.lengths[-1]
    medians = [np.median(each.sequence, axis=0) for each in (cached, plain)]
    draws = [resampled(each.sequence) for each in (cached, plain)]

    steeper = lambda pair: slope(cached.lengths, pair[1]) - slope(cached.lengths, pair[0])
    low, high = interval(steeper(draws))
    text = "without a cache the cost of n tokens grows faster: difference of the slopes in log-log axes"
    findings = [Finding(text, "issue 5", world, "above 0", float(steeper(medians)), low, high, holds=low > 0)]

    low, high = interval(draws[1][:, -1] / draws[0][:, -1])
    value, flops = float(medians[1][-1] / medians[0][-1]), float(plain.total[-1] / cached.total[-1])
    text = (
        f"the cache saves time at n = {last}: how many times dearer the text is without it (FLOPs: {flops:.3g} times)"
    )
    return [*findings, Finding(text, "issue 5", world, "above 1", value, low, high, holds=low > 1)]


def _counted(settings: Settings, size: Size, found: Mapping[str, Curve]) -> Finding:
    ratios = np.concatenate([curve.xla / curve.flops for curve in found.values()])
    ratios = ratios[np.isfinite(ratios)]
    small = size[0] // settings.heads < HEAD_SIZE
    text = "XLA counts as many FLOPs as the closed forms: ratio, all lengths, with and without a cache"
    text += f" (heads below {HEAD_SIZE}: for information, softmax counts)" if small else ""
    if not len(ratios):
        text += "; XLA does not tell on this device"
        return Finding(text, "XLA's cost analysis", named(size), None, None, None, None, holds=True)
    holds = small or bool((np.abs(ratios - 1) <= TOLERANCE).all())
    expected = None if small else f"1 ± {TOLERANCE:g}"
    observed, low, high = float(np.median(ratios)), float(ratios.min()), float(ratios.max())
    return Finding(text, "XLA's cost analysis", named(size), expected, observed, low, high, holds)


def tables(settings: Settings, table: pa.Table) -> dict[str, pa.Table]:
    """Costs by size, way and length; and the fitted curves."""
    costs, fits = [], []
    for size, found in curves(settings, table).items():
        common = {"width": size[0], "layers": size[1]}
        for way, curve in found.items():
            token, text = np.median(curve.token, axis=0), np.median(curve.sequence, axis=0)
            costs += [
                common
                | {"way": way, "n": int(n), "ms a token": 1e3 * token[i], "s a sequence": text[i]}
                | {"MFLOP a token": curve.flops[i] / 1e6, "MB a token": curve.bytes[i] / 1e6}
                | {"XLA / model, FLOPs": curve.xla[i] / curve.flops[i]}
                | {"XLA / model, bytes": curve.xla_bytes[i] / curve.bytes[i]}
                | {"GFLOP/s": curve.flops[i] / token[i] / 1e9, "GB/s": curve.bytes[i] / token[i] / 1e9}
                for i, n in enumerate(curve.lengths)
            ]
        curve = found["cache"]
        config = config_of(settings, {"width": size[0], "layers": size[1]}, int(curve.lengths[-1]))
        a, b = fit(curve.lengths, np.median(curve.sequence, axis=0))
        low, high = interval(overtakes(fit(curve.lengths, resampled(curve.sequence))))
        fits.append(
            common
            | {"parameters": cost.parameters(config), "a, us": 1e6 * a, "b, ns": 1e9 * b}
            | {"b n² over a n from n =": float(overtakes(np.array([a, b]))), "low": low, "high": high}
            | {"FLOPs alone": cost.crossing(config)}
            | {
                f"slope, {way}": float(slope(each.lengths, np.median(each.sequence, axis=0)))
                for way, each in found.items()
            }
        )
    return {"costs": pa.Table.from_pylist(costs), "fits": pa.Table.from_pylist(fits)}


def figures(settings: Settings, table: pa.Table) -> dict[str, Figure]:
    """Cost per token, cost per sequence, and what is achieved of the model's FLOPs and bytes."""
    found = {named(size): each for size, each in curves(settings, table).items()}
    fits = {name: fit(each["cache"].lengths, np.median(each["cache"].sequence, axis=0)) for name, each in found.items()}
    return {
        "token": kv_cost_figures.token(found),
        "sequence": kv_cost_figures.sequence(found, fits),
        "achieved": kv_cost_figures.achieved(found),
    }


CLAIM = Claim(
    name="kv_cost",
    title="The cost of a text is not linear in its length, with a KV cache either",
    statement=(
        "n tokens cost more than n times what one costs: even with a KV cache the (n+1)th still needs n query-key "
        "products. Measured is greedy generation by a decoder-only transformer from nothing. With a cache: its "
        "capacity grows through the lengths given, every token attends to the whole capacity of the moment "
        "(what is not written yet is masked, but computed), and a text is timed block by block. Without: every "
        f"token is a pass over all n inputs; {UNCACHED} tokens are timed at each length, and stand for all of their "
        "block. A short call is made several times and the least time counts; both ways take turns, every repeat "
        "(--runs) gives a whole curve, and medians over repeats are reported with bootstrap intervals. Fitted is "
        "a n + b n² (seconds, least relative squares) to the cost of a text of n tokens; the FLOP model says "
        "2 M + 4 layers width n for a token that attends to n, with M parameters in matrix products, so that a "
        "text's quadratic term is the larger one from about n = M / (layers width). Times depend on the machine: "
        "the findings are ratios and signs."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    verdict=verdict,
    figures=figures,
    tables=tables,
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

if __name__ == "__main__":
    claim.run(CLAIM)
