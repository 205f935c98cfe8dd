"""Figures in one style, and one offline HTML page that shows a claim."""

from dagger_jax.report.drawing import PALETTE, Picture, colours, loglog, panels, save, style
from dagger_jax.report.html_page import number, page, state, summary

__all__ = ["PALETTE", "Picture", "colours", "loglog", "number", "page", "panels", "save", "state", "style", "summary"]
