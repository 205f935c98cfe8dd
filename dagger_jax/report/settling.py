"""Figures that show whatever was measured: zeros on logarithmic axes, bars without an interval, names as they are."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter, LogFormatter
from numpy.typing import ArrayLike

from dagger_jax.runtime.files import printable


class _WhereThereIsRoom(LogFormatter):
    """Between the powers of the base: the same numbers, if the axis is so short that few would be named otherwise."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def logarithmic(axes: Axes, *which: Literal["x", "y"], base: float = 10) -> None:
    """Makes axes logarithmic if something positive is drawn, with numbers as people write them: 64, not 6 x 10^1.

    Call it after drawing; without anything positive an axis stays linear.

    Args:
        axes: the panel.
        which: the axes.
        base: of the logarithm, where ticks are.
    """
    for name in which:
        if np.isfinite(axes.dataLim.minposx if name == "x" else axes.dataLim.minposy):
            (axes.set_xscale if name == "x" else axes.set_yscale)("log", base=base)
            _axis(axes, name).set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            _axis(axes, name).set_minor_formatter(_WhereThereIsRoom(base))


def bar(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """The arms of error bars, for `xerr` or `yerr`.

    Args:
        value: [M] or one number.
        low: the interval's lower end, [M]; NaN or None where there is none.
        high: its upper end, [M].

    Returns:
        [2, M]: lengths, 0 where there is no interval or it does not contain the value.
    """
    middle, below, above = (np.atleast_1d(np.asarray(part, float)) for part in (value, low, high))
    with np.errstate(invalid="ignore"):
        arms = np.nan_to_num(np.stack([middle - below, above - middle]), posinf=0.0, neginf=0.0)
    return np.maximum(arms, 0.0)


def settle(figure: Figure) -> None:
    """Makes a finished figure one that can be saved and read, whatever its data and names are.

    What is measured and has no logarithm stands at the lower end of a logarithmic axis, open, with a 0 or a "< 0".
    Text is shown as it is: no mathematics between two $, control characters escaped.

    Args:
        figure: the figure; it is changed.
    """
    for axes in figure.axes:
        for name in ("x", "y"):
            if _axis(axes, name).get_scale() == "log":
                told: set[float] = set()
                for line in axes.get_lines():
                    if line.get_transform() == axes.transData:
                        _mark(axes, name, line, told)
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_text(_literal(text.get_text()))
    for axis in (_axis(axes, name) for axes in figure.axes for name in ("x", "y")):
        formatter = axis.get_major_formatter()
        # Others, such as a logarithm's, write mathematics of their own.
        if isinstance(formatter, FixedFormatter | FuncFormatter):
            axis.set_major_formatter(FuncFormatter(lambda value, place, of=formatter: _literal(of(value, place))))


def _axis(axes: Axes, name: str) -> Axis:
    return axes.xaxis if name == "x" else axes.yaxis


def _literal(text: str) -> str:
    return printable(text).replace("$", r"\$")


def _mark(axes: Axes, name: str, line: Line2D, told: set[float]) -> None:
    """Takes the values of a line that have no logarithm to the end of the axis."""
    data = [np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)]
    values, others = data if name == "x" else data[::-1]
    nothing = values <= 0
    if not nothing.any():
        return
    line.set_data(*(np.where(nothing, np.nan, values) if part is values else part for part in data))
    if line.get_linestyle() in ("--", ":", "-.") and line.get_marker() in ("None", "none", "", " ", None):
        return  # a law, not a measurement
    end = np.full(nothing.sum(), 0.03)
    places = others[nothing]
    where = axes.get_xaxis_transform() if name == "y" else axes.get_yaxis_transform()
    axes.plot(
        *((places, end) if name == "y" else (end, places)),
        marker="v" if name == "y" else "<",
        linestyle="none",
        color=line.get_color(),
        markerfacecolor="none",
        transform=where,
        scalex=False,
        scaley=False,
        label="_nolegend_",
    )
    for place, value in zip(places, values[nothing], strict=True):
        if np.isfinite(place) and place not in told:
            told.add(place)
            axes.annotate(
                "0" if value == 0 else "< 0",
                (place, 0.03) if name == "y" else (0.03, place),
                xycoords=where,
                xytext=(5, 3),
                textcoords="offset points",
                fontsize=8,
                color="#666666",
            )
