"""Figures in one style."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from dagger_jax.report.settling import logarithmic, settle
from dagger_jax.runtime.files import replace

# Okabe and Ito (2008): told apart with any colour vision. Their yellow is too pale for lines.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "figure.facecolor": "white",
    "font.size": 11,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "savefig.dpi": 150,
    # Element ids are drawn at random otherwise, and the same figure would be another file each time.
    "svg.hashsalt": "dagger_jax",
}


class Picture(NamedTuple):
    """A saved figure."""

    name: str
    caption: str
    png: Path
    svg: Path


class Undrawn(NamedTuple):
    """A figure that could not be drawn."""

    name: str
    reason: str


@contextmanager
def style() -> Iterator[None]:
    """Gives figures made inside the context the project's look; matplotlib's settings are restored after it.

    Yields:
        Nothing.
    """
    with matplotlib.rc_context(_STYLE):
        yield


def panels(columns: int = 1, rows: int = 1, *, caption: str = "") -> tuple[Figure, list[Axes]]:
    """Makes a figure of equal panels, without pyplot's global state.

    Args:
        columns: how many panels stand beside each other.
        rows: how many stand below each other.
        caption: what the figure shows, in a sentence; the report prints it.

    Returns:
        The figure and its panels, row by row.
    """
    figure = Figure(figsize=(min(4.2 * columns + 1.2, 16), 3.6 * rows + 0.3), layout="constrained")
    figure.set_label(caption)
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


def colours(names: Sequence[str]) -> dict[str, str]:
    """Assigns one colour a name, so that a name keeps its colour over all panels.

    Args:
        names: such as the algorithms, in the order of the legend.

    Returns:
        Colour by name; colours repeat from the eighth name on.
    """
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(dict.fromkeys(names))}


def loglog(
    axes: Axes,
    x: ArrayLike,
    y: ArrayLike,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    theory: ArrayLike | None = None,
    label: str = "",
    colour: str | None = None,
    marker: str = "o",
    width: float = 1.8,
) -> str:
    """Draws a measurement over logarithmic axes: points with a band, and the theorem's value dashed, in black.

    Values that have no logarithm are marked at the lower end of the axis when the figure is saved (`settle`); where
    none has, the axis is linear.

    Args:
        axes: where to draw.
        x: such as the horizon, [M], positive.
        y: what was measured, [M]; NaN where nothing was.
        low: lower end of the band, [M].
        high: upper end of the band, [M].
        theory: what a theorem says, [M].
        label: the name in the legend.
        colour: of points and band; the next of the palette by default.
        marker: matplotlib's sign for a point.
        width: of the line, in points.

    Returns:
        The colour.
    """
    order = np.argsort(np.asarray(x, float))

    def drawn(values: ArrayLike) -> np.ndarray:
        return np.asarray(values, float)[order]

    (line,) = axes.plot(drawn(x), drawn(y), marker=marker, label=label or "_nolegend_", color=colour, linewidth=width)
    shade = to_hex(line.get_color())
    if low is not None and high is not None:
        axes.fill_between(drawn(x), drawn(low), drawn(high), color=shade, alpha=0.2, linewidth=0)
    if theory is not None:
        # In black and on top: a measurement that agrees with its theory would hide a line of its own colour.
        axes.plot(drawn(x), drawn(theory), linestyle="--", linewidth=1, color="black", zorder=5)
    logarithmic(axes, "x", base=2)  # horizons are powers of two as a rule
    logarithmic(axes, "y")
    return shade


def save(figure: Figure, directory: Path, name: str) -> Picture:
    """Writes a figure as NAME.png and NAME.svg; the same figure gives the same SVG, byte for byte.

    Args:
        figure: the figure; its label is the caption. It is changed as `settle` says.
        directory: where the files go.
        name: their name, without suffix.

    Returns:
        The saved figure.
    """
    paths = {kind: directory / f"{name}.{kind}" for kind in ("png", "svg")}
    settle(figure)
    with style(), warnings.catch_warnings():
        # A name may have signs that the font lacks; a box stands for each.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        for kind, path in paths.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
            replace(path, buffer.getvalue())
    return Picture(name, str(figure.get_label() or name.replace("_", " ")), paths["png"], paths["svg"])
