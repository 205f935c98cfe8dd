"""Figures in one style, and one offline HTML page that shows a claim."""

from dagger_jax.report.drawing import PALETTE, Picture, Undrawn, colours, loglog, panels, save, style
from dagger_jax.report.html_page import BADGES, number, overall, page, summary
from dagger_jax.report.settling import bar, logarithmic, settle

__all__ = [
    "BADGES",
    "PALETTE",
    "Picture",
    "Undrawn",
    "bar",
    "colours",
    "logarithmic",
    "loglog",
    "number",
    "overall",
    "page",
    "panels",
    "save",
    "settle",
    "style",
    "summary",
]
