"""Figures in one style, and one offline HTML page that shows a claim."""

from dagger_jax.report.drawing import PALETTE, Picture, colours, loglog, panels, save, style
from dagger_jax.report.html_page import BADGES, number, overall, page, summary

__all__ = [
    "BADGES",
    "PALETTE",
    "Picture",
    "colours",
    "loglog",
    "number",
    "overall",
    "page",
    "panels",
    "save",
    "style",
    "summary",
]
