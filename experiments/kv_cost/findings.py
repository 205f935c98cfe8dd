"""What the points of the cost of generation say: fits, findings and tables."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from dagger_jax import cost
from dagger_jax.text import transformer

from ..claim import INFORMATION, Finding, Settings, compared, settled

HEAD_SIZE = 32  # from here on what XLA counts beside matrix products is below `TOLERANCE`
TOLERANCE = 0.10  # of the FLOP model against XLA's count
BYTES = 1.5  # times the model's, that XLA may move for a token with a cache: a cache copied whole adds 1 and more
MODEL = "this experiment; FLOPs of a token after Kaplan et al. 2020, arXiv 2001.08361"
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


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The median of repeats [R] and its 95% interval, of order statistics: right for any law of times, with R >= 6.

    Below that it is infinite on both sides. Values may be infinite.
    """
    values, last = np.sort(values), len(values) - 1
    place = int(stats.binom.ppf(0.025, len(values), 0.5)) - 1
    ends = (values[place], values[last - place]) if place >= 0 else (-np.inf, np.inf)
    return float(np.median(values)), float(ends[0]), float(ends[1])


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
    first, last = lengths[0], lengths[-1]
    dearer = interval(curve.sequence[:, -1] / curve.sequence[:, 0] * first / last)
    fitted = fit(lengths, curve.sequence)
    share = interval(fitted[:, 1] * last / (fitted[:, 0] + fitted[:, 1] * last))
    model = cost.crossing(config_of(settings, {"width": size[0], "layers": size[1]}, int(last)))
    return [
        _above(
            f"with a cache, a token of a text of {last} costs more than one of a text of {first}: ratio of their costs",
            *(world, 1, dearer),
        ),
        _above(
            f"with a cache, n tokens cost a n + b n² with b > 0: share of b n² at n = {last}",
            *(world, 0, share),
        ),
        Finding(
            f"for information: n from which the quadratic term is the larger one (from FLOPs alone: {model:,.0f})",
            *("this experiment", world, None, *interval(overtakes(fitted)), INFORMATION),
        ),
    ]


def _above(text: str, world: str, least: float, found: tuple[float, float, float]) -> Finding:
    """That what is measured in every repeat, from programs that took turns, is above a number."""
    state = compared(found[1], found[2], least=least, strict=True)
    return Finding(text, MODEL, world, f"above {least}", *found, state=state)


def _saved(size: Size, found: Mapping[str, Curve]) -> list[Finding]:
    cached, plain, prefill = (found[way] for way in WAYS)
    world, last = named(size), cached.lengths[-1]
    steeper = interval(slope(cached.lengths, plain.sequence) - slope(cached.lengths, cached.sequence))
    saved = interval(plain.sequence[:, -1] / cached.sequence[:, -1])
    at_once = interval(cached.sequence[:, -1] / prefill.sequence[:, -1])
    flops = [plain.total[-1] / cached.total[-1], cached.total[-1] / prefill.total[-1]]
    return [
        _above(
            "without a cache the cost of n tokens grows faster: difference of the slopes in log-log axes",
            *(world, 0, steeper),
        ),
        _above(
            f"the cache saves time at n = {last}: how many times dearer the text is without it (FLOPs: {flops[0]:.3g} "
            "times)",
            *(world, 1, saved),
        ),
        _above(
            f"{last} known tokens are read at once, by a prefill, in less time than token by token with a cache: how "
            f"many times less (FLOPs: {flops[1]:.3g} times, since a prefill computes what its mask bars)",
            *(world, 1, at_once),
        ),
    ]


def _counted(settings: Settings, size: Size, found: Mapping[str, Curve]) -> list[Finding]:
    small = size[0] // settings.heads < HEAD_SIZE
    aside = f" (heads below {HEAD_SIZE}: for information, softmax counts)" if small else ""

    def judged(text: str, ratios: np.ndarray, expected: str, fits: Callable[[np.ndarray], np.ndarray]) -> Finding:
        ratios = ratios[np.isfinite(ratios)]
        if not len(ratios):
            text += "; XLA does not tell on this device"
            return Finding(text, "XLA's cost analysis", named(size), None, None, None, None, state=INFORMATION)
        observed, low, high = float(np.median(ratios)), float(ratios.min()), float(ratios.max())
        state, expects = (INFORMATION, None) if small else (settled(bool(fits(ratios).all())), expected)
        return Finding(text + aside, "XLA's cost analysis", named(size), expects, observed, low, high, state=state)

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
        _, low, high = interval(overtakes(fit(curve.lengths, curve.sequence)))
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
