"""The report: one file that loads nothing, escapes everything, and says what it leaves out."""

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.colors import to_hex

from dagger_jax import report

FINDINGS = [
    {
        "claim": "a < b",
        "source": "1.2",
        "world": "cliff",
        "expected": 2.0,
        "observed": 1.98765,
        "low": 1.9,
        "high": 2.1,
    },
    {"claim": "<script>", "source": "1.3", "world": "copy_chain", "expected": None, "observed": "linear"},
]
RUN = {"seed": 3, "flags": {"horizons": (4, 8)}, "versions": {"jax": "0.0"}, "git_revision": None}


def _figure():
    with report.style():
        figure, (axes, _) = report.panels(2, caption="Gap & horizon.")
        horizons = np.array([32, 4, 16])
        report.loglog(axes, horizons, horizons**2, low=horizons, high=horizons**3, theory=horizons, label="dagger")
        axes.legend()
    return figure


def _page(directory, *states, rows=200):
    findings = [
        {"low": None, "high": None, **finding, "state": state} for finding, state in zip(FINDINGS, states, strict=True)
    ]
    table = pa.table({"world": ["<b>"] * 5, "gap": [0.123456789] * 5, "chunk": pa.nulls(5, pa.int64())})
    pictures = [report.save(_figure(), directory, "growth")]
    report.page(directory / "r.html", "T & <i>", "One <b> claim.", findings, pictures, table, RUN, rows=rows)
    return (directory / "r.html").read_text()


def test_the_page_loads_nothing(tmp_path):
    page = _page(tmp_path, "holds", "information")
    assert page.count("data:image/svg+xml;base64,") == 1
    assert re.findall(r'(?:src|href)\s*=\s*"(?!data:)', page) == []
    assert not re.search(r"https?:|@import|url\(|<script|<link", page)


def test_the_page_escapes_and_formats(tmp_path):
    page = _page(tmp_path, "holds", "information")
    assert "<title>T &amp; &lt;i&gt;</title>" in page
    assert "&lt;script&gt;" in page
    assert "Gap &amp; horizon." in page
    assert ">1.988<" in page
    assert ">0.1235<" in page
    assert "[1.9, 2.1]" in page
    assert ">4, 8<" in page
    assert "<th>chunk</th>" not in page


def test_the_page_says_what_fails_and_what_is_left_out(tmp_path):
    passing = _page(tmp_path, "holds", "information")
    # Nothing is expected of the second finding: it is no test that could be passed.
    assert "1 of 1 findings hold. 1 more is for information." in passing
    assert passing.count('<b class="information">INFO</b>') == 1
    assert passing.count('<b class="holds">HOLDS</b>') == 2
    assert "All 5 points." in passing
    failing = _page(tmp_path, "refuted", "not shown", rows=2)
    assert "0 of 2 findings hold, 1 is refuted, 1 is not shown." in failing
    assert failing.count('<b class="refuted">REFUTED</b>') == 2
    assert failing.count('<b class="not-shown">NOT SHOWN</b>') == 1
    assert "The first 2 points; 3 more are in points.parquet" in failing
    undecided = _page(tmp_path, "holds", "not shown")
    assert undecided.count('<b class="not-shown">NOT SHOWN</b>') == 2


def test_figures_are_reproducible_and_leave_no_settings_behind(tmp_path):
    before = dict(matplotlib.rcParams)
    first, second = (report.save(_figure(), tmp_path, name) for name in ("a", "b"))
    assert first.svg.read_bytes() == second.svg.read_bytes()
    assert first.png.read_bytes() == second.png.read_bytes()
    assert first.png.read_bytes().startswith(b"\x89PNG")
    assert first.caption == "Gap & horizon."
    assert dict(matplotlib.rcParams) == before


def test_loglog_sorts_and_shows_what_has_no_logarithm_at_the_end_of_the_axis(tmp_path):
    figure, (axes,) = report.panels()
    colour = report.loglog(axes, [8, 2, 4], [0.0, 1.0, -2.0], theory=[3.0, 1.0, 2.0])
    measured, theory = axes.get_lines()
    assert to_hex(measured.get_color()) == colour
    assert theory.get_color() == "black"  # seen on top of a line that it agrees with
    report.save(figure, tmp_path, "some")
    measured, theory, marks = axes.get_lines()
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal(measured.get_xdata(), [2, 4, 8])
    np.testing.assert_array_equal(measured.get_ydata(), [1, np.nan, np.nan])
    np.testing.assert_array_equal(theory.get_ydata(), [1, 2, 3])
    np.testing.assert_array_equal(marks.get_xdata(), [4, 8])
    assert [text.get_text() for text in axes.texts] == ["< 0", "0"]


@pytest.mark.parametrize("y", [[0.0, 0.0], [-1.0, 0.0], [np.nan, np.nan], [0.0, np.nan]])
def test_loglog_of_nothing_positive_is_linear(tmp_path, y):
    figure, (axes,) = report.panels()
    report.loglog(axes, [1, 2], y, low=y, high=y, theory=y)
    report.save(figure, tmp_path, "none")
    assert axes.get_yscale() == "linear"
    assert axes.get_xscale() == ("linear" if np.isnan(y).all() else "log")
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), y)
    report.loglog(axes, [4], [2.0])  # a series that has a gap makes it logarithmic after all
    assert axes.get_yscale() == "log"


def test_zeros_along_x_stand_at_the_left(tmp_path):
    figure, (axes,) = report.panels()
    axes.plot([0.0, 1.0, 10.0], [1.0, 2.0, 3.0], "o-")
    report.logarithmic(axes, "x", "y")
    report.save(figure, tmp_path, "left")
    np.testing.assert_array_equal(axes.get_lines()[0].get_xdata(), [np.nan, 1, 10])
    np.testing.assert_array_equal(axes.get_lines()[1].get_ydata(), [1])


def test_bars_have_no_negative_arms():
    np.testing.assert_array_equal(report.bar(2.0, 1.0, 4.0), [[1], [2]])
    arms = report.bar([2.0, 2.0, np.nan, np.inf], [3.0, np.nan, 0.0, 1.0], [5.0, 4.0, 1.0, np.inf])
    np.testing.assert_array_equal(arms, [[0, 0, 0, 0], [3, 2, 0, 0]])


def test_text_is_shown_as_it_is(tmp_path):
    name = "a$x^$\x1b_{\x00é\n$"
    figure, (axes,) = report.panels()
    axes.plot([1], [1], label=name)
    axes.set_title(name)
    axes.set_xlabel(name)
    axes.set_xticks([1], [name])
    axes.annotate(name, (1, 1))
    axes.legend()
    figure.supxlabel(name)
    picture = report.save(figure, tmp_path, "names")
    root = ElementTree.fromstring(picture.svg.read_text())
    assert root.tag.endswith("svg")
    comments = picture.svg.read_text().count("a$x^$\\x1b_{\\x00é")
    assert comments >= 6


def test_a_figure_that_could_not_be_drawn_is_said_in_its_place(tmp_path):
    findings = [{"low": None, "high": None, **FINDINGS[0], "state": "holds"}]
    pictures = [report.Undrawn("growth", "ValueError: <x>"), report.save(_figure(), tmp_path, "more")]
    report.page(tmp_path / "r.html", "T", "C.", findings, pictures, pa.table({"gap": [0.1]}), RUN)
    page = (tmp_path / "r.html").read_text()
    assert page.index("growth could not be drawn: ValueError: &lt;x&gt;") < page.index("data:image/svg+xml")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (1 / 3, "0.3333"), (12345, "12345"), (True, "yes"), ([1, 2.5], "1, 2.5")]
)
def test_numbers_for_readers(value, text):
    assert report.number(value) == text


def test_a_name_keeps_its_colour():
    blue, red = report.PALETTE[:2]
    assert report.colours(["dagger", "cloning", "dagger"]) == {"dagger": blue, "cloning": red}
