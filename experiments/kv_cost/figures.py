"""Figures of the cost of generation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from dagger_jax import report

MARKERS = {"cache": "o", "no cache": "s", "prefill": "^"}


def _axis(ax: Axes, title: str, lengths: Any, ylabel: str) -> None:
    ax.set_title(title)
    ax.set_xlabel("n (tokens)")
    ax.set_ylabel(ylabel)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(LogFormatter())  # labels where there is room
    ax.set_xlim(min(lengths) / 1.15, max(lengths) * 1.15)


def _measured(ax: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str, way: str) -> None:
    """Medians over repeats and the middle half of them."""
    low, high = np.quantile(y, [0.25, 0.75], axis=0)
    report.loglog(ax, x, np.median(y, axis=0), low=low, high=high, colour=colour, label=label, marker=MARKERS[way])


@np.errstate(divide="ignore", invalid="ignore")
def _scaled(flops: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Seconds at the one FLOP/s that fits best, in logs."""
    return flops * np.exp(np.log(seconds / flops).mean())


def token(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Cost of a token against what it attends to, a panel a way."""
    caption = (
        "Time of one more token that attends to n (a step of the batch), with a KV cache and by a pass over all n. "
        "Bands: the middle half of the repeats. Dashed: the FLOP model at one FLOP/s a curve, the one that fits best. "
        "A step with a cache, on a CPU: from some size on XLA shares a product among threads, which on a busy machine "
        "costs more than it saves; a process that is bound to one core (taskset) shows none."
    )
    figure, axes = report.panels(2, caption=caption)
    shades = report.colours(list(found))
    for ax, way in zip(axes, ("cache", "no cache"), strict=True):
        for name, each in found.items():
            curve = each[way]
            _measured(ax, curve.lengths, 1e3 * curve.token, shades[name], name, way)
            model = _scaled(curve.flops, 1e3 * np.median(curve.token, axis=0))
            ax.plot(curve.lengths, model, "--", color="black", linewidth=1, zorder=5)
        _axis(ax, f"one token, {'with' if way == 'cache' else 'without'} cache", curve.lengths, "ms a token")
    axes[0].legend(fontsize=9)
    return figure


@np.errstate(divide="ignore", invalid="ignore")
def sequence(found: Mapping[str, Mapping[str, Any]], fits: Mapping[str, np.ndarray]) -> Figure:
    """Cost of a sequence, and a token's share of it, which would be constant if the cost were linear."""
    caption = (
        "Left: time of a text of n tokens, circles with a cache, squares without, triangles by one prefill, which "
        "reads n known tokens at once. Right: with a cache, "
        "relative to n times a token of the shortest text: a linear cost would stay at 1. Dashed: the fit "
        "a n + b n². Bands: the middle half of the repeats. Dotted: where b n² is as large as a n, if shown."
    )
    figure, axes = report.panels(2, caption=caption)
    shades = report.colours(list(found))
    ends = []
    for name, each in found.items():
        for way in MARKERS:
            curve = each[way]
            _measured(axes[0], curve.lengths, curve.sequence, shades[name], name if way == "cache" else "", way)
        curve, (a, b) = each["cache"], fits[name]
        share = curve.sequence / curve.lengths
        unit = np.median(share[:, 0])
        low, middle, high = np.quantile(share / unit, [0.25, 0.5, 0.75], axis=0)
        axes[1].plot(curve.lengths, middle, marker="o", color=shades[name], label=name)
        axes[1].fill_between(curve.lengths, low, high, color=shades[name], alpha=0.2, linewidth=0)
        axes[1].plot(curve.lengths, (a + b * curve.lengths) / unit, "--", color="black", linewidth=1, zorder=5)
        ends.append(curve.lengths[-1])
        if b > 0 and curve.lengths[0] < a / b < curve.lengths[-1]:
            axes[1].axvline(a / b, color=shades[name], linestyle=":", linewidth=1.2)
    _axis(axes[0], "a whole text", curve.lengths, "seconds a text")
    axes[1].axhline(1.0, color="#888888", linewidth=1)
    axes[1].set_title("with cache: cost of n tokens / (n times one)")
    axes[1].set_xlabel("n (tokens)")
    axes[1].set_ylabel("times the linear cost")
    axes[1].set_xlim(0, max(ends) * 1.03)
    axes[1].set_ylim(bottom=0)
    axes[0].legend(fontsize=9)
    return figure


@np.errstate(divide="ignore", invalid="ignore")
def achieved(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """FLOPs and bytes of the model by the time measured: flat where the model explains the time."""
    caption = (
        "The model's FLOPs (left) and bytes (right) by the time measured: a token with a cache (circles), without "
        "(squares) and of a prefill (triangles). Bytes are shown with a cache alone, since those of the others are the "
        "parameters' and little else. Where a curve is flat, the model explains how the time grows."
    )
    figure, axes = report.panels(2, caption=caption)
    shades = report.colours(list(found))
    for name, each in found.items():
        for way in MARKERS:
            curve = each[way]
            speed = curve.flops / curve.token / 1e9
            _measured(axes[0], curve.lengths, speed, shades[name], name if way == "cache" else "", way)
        curve = each["cache"]
        _measured(axes[1], curve.lengths, curve.bytes / curve.token / 1e9, shades[name], name, "cache")
    _axis(axes[0], "FLOPs", curve.lengths, "GFLOP/s")
    _axis(axes[1], "bytes, with cache", curve.lengths, "GB/s")
    axes[0].legend(fontsize=9)
    return figure
