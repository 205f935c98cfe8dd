"""What the points of the cost of generation say: fits, findings and tables."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dagger_jax import cost
from dagger_jax.tokens import transformer
from experiments.claim import INFORMATION, Finding, Settings, settled

HEAD_SIZE = 32  # from here on what XLA counts beside matrix products is below `TOLERANCE`
TOLERANCE = 0.10  # of the FLOP model against XLA's count
BYTES = 1.5  # times the model's, that XLA may move for a token with a cache: a cache copied whole adds 1 and more
WAYS = ("cache", "no cache", "prefill")  # a token at a time, with a cache and without; all tokens at once


def config_of(settings: Settings, cell: Mapping[str, Any], length: int) -> transformer.Config:
    """The model of a cell, for texts of so many tokens."""
    return transformer.Config(
        settings.vocabulary, length, cell["width"], cell["layers"], settings.heads, dtype=settings.dtype
    )


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


@np.errstate(divide="ignore", invalid="ignore")  # what took no time has no relative error
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
    """95%, of a bootstrap; values may be infinite."""
    values, last = np.sort(values), len(values) - 1
    return float(values[round(0.025 * last)]), float(values[round(0.975 * last)])


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
    """Whether a sequence's cost bends upwards, what cache and prefill save, whether FLOPs and bytes are right."""
    findings = []
    for size, found in curves(settings, table).items():
        findings += _bend(settings, size, found["cache"]) + _saved(size, found) + _counted(settings, size, found)
    return findings


def _bend(settings: Settings, size: Size, curve: Curve) -> list[Finding]:
    lengths, world = curve.lengths, named(size)
    middle, draws = np.median(curve.sequence, axis=0), resampled(curve.sequence)
    first, last = lengths[0], lengths[-1]

    dearer = lambda seconds: seconds[..., -1] / seconds[..., 0] * first / last
    low, high = interval(dearer(draws))
    text = f"with a cache, a token of a text of {last} costs more than one of a text of {first}: ratio of their costs"
    findings = [Finding(text, "issue 5", world, "above 1", float(dearer(middle)), low, high, state=settled(low > 1))]

    fitted, refitted = fit(lengths, middle), fit(lengths, draws)
    share = lambda pair: pair[..., 1] * last / (pair[..., 0] + pair[..., 1] * last)
    low, high = interval(share(refitted))
    text = f"with a cache, n tokens cost a n + b n² with b > 0: share of b n² at n = {last}"
    findings.append(Finding(text, "issue 5", world, "above 0", float(share(fitted)), low, high, state=settled(low > 0)))

    model = cost.crossing(config_of(settings, {"width": size[0], "layers": size[1]}, int(last)))
    low, high = interval(overtakes(refitted))
    text = f"for information: n from which the quadratic term is the larger one (from FLOPs alone: {model:,.0f})"
    findings.append(
        Finding(
            text,
            "cost of a token 2 M + 4 layers width n",
            world,
            None,
            float(overtakes(fitted)),
            low,
            high,
            state=INFORMATION,
        )
    )
    return findings


def _saved(size: Size, found: Mapping[str, Curve]) -> list[Finding]:
    cached, plain, prefill = (found[way] for way in WAYS)
    world, last = named(size), cached.lengths[-1]
    medians = [np.median(each.sequence, axis=0) for each in (cached, plain, prefill)]
    draws = [resampled(each.sequence) for each in (cached, plain, prefill)]

    steeper = lambda pair: slope(cached.lengths, pair[1]) - slope(cached.lengths, pair[0])
    low, high = interval(steeper(draws))
    text = "without a cache the cost of n tokens grows faster: difference of the slopes in log-log axes"
    findings = [Finding(text, "issue 5", world, "above 0", float(steeper(medians)), low, high, state=settled(low > 0))]

    low, high = interval(draws[1][:, -1] / draws[0][:, -1])
    value, flops = float(medians[1][-1] / medians[0][-1]), float(plain.total[-1] / cached.total[-1])
    text = (
        f"the cache saves time at n = {last}: how many times dearer the text is without it (FLOPs: {flops:.3g} times)"
    )
    findings += [Finding(text, "issue 5", world, "above 1", value, low, high, state=settled(low > 1))]

    low, high = interval(draws[0][:, -1] / draws[2][:, -1])
    value, flops = float(medians[0][-1] / medians[2][-1]), float(cached.total[-1] / prefill.total[-1])
    text = f"{last} known tokens are read at once, by a prefill, in less time than token by token with a cache: "
    text += f"how many times less (FLOPs: {flops:.3g} times, since a prefill computes what its mask bars)"
    return [*findings, Finding(text, "issue 5", world, "above 1", value, low, high, state=settled(low > 1))]


def _counted(settings: Settings, size: Size, found: Mapping[str, Curve]) -> list[Finding]:
    small = size[0] // settings.heads < HEAD_SIZE
    aside = f" (heads below {HEAD_SIZE}: for information, softmax counts)" if small else ""

    def judged(text: str, ratios: np.ndarray, expected: str, fits: Callable[[np.ndarray], np.ndarray]) -> Finding:
        ratios = ratios[np.isfinite(ratios)]
        if not len(ratios):
            text += "; XLA does not tell on this device"
            return Finding(text, "XLA's cost analysis", named(size), None, None, None, None, state=INFORMATION)
        observed, low, high = float(np.median(ratios)), float(ratios.min()), float(ratios.max())
        holds = small or bool(fits(ratios).all())
        source, expects = "XLA's cost analysis", None if small else expected
        return Finding(text + aside, source, named(size), expects, observed, low, high, state=settled(holds))

    flops = np.concatenate([curve.xla / curve.flops for curve in found.values()])
    return [
        judged(
            "XLA counts as many FLOPs as the closed forms: ratio, all lengths, with and without a cache and at once",
            flops,
            f"1 ± {TOLERANCE:g}",
            lambda ratios: np.abs(ratios - 1) <= TOLERANCE,
        ),
        judged(
            "with a cache, XLA moves the bytes of parameters, keys and values and few others, so no cache is copied: "
            "ratio to the closed form, all lengths",
            found["cache"].xla_bytes / found["cache"].bytes,
            f"1 to {BYTES:g}",
            lambda ratios: (ratios >= 1 - TOLERANCE) & (ratios <= BYTES),
        ),
    ]


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
