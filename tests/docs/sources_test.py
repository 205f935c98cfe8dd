"""What a user is shown cites papers, or says what was derived here: no document that is not in the repository."""

import ast
import re
from pathlib import Path

import pytest

from dagger_jax import algorithms, bounds
from dagger_jax.tabular import gallery

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "experiments").rglob("*.py"), *(ROOT / "dagger_jax").rglob("*.py")])
# "7.2(1)" and "E4.6" are sections of notes; those of papers have a word before them.
HIDDEN = re.compile(
    r"\btheory (?:\d|E\d)|\bnotes\b|\bWARNING\b|\bissue \d|\[(?:M\?|P|D|d)\]|\bE\d\.\d|"
    r"(?:^|[;,] )[1-9]\.\d+(?:\([a-z0-9]+\)|[;,]|$| [a-zA-Z(])"
)


def printed(source):
    """Every string of a module that is no docstring; of f-strings their words."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    spoken = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_string_cites_what_nobody_has(path):
    assert [text for text in printed(path.read_text(encoding="utf-8")) if HIDDEN.search(text)] == []


def test_every_source_names_a_paper_or_this_project():
    tables = (bounds.BOUNDS, algorithms.ALGORITHMS, gallery.WORLDS)
    for name, row in ((name, row) for table in tables for name, row in table.items()):
        text = row.source
        assert re.search(r"\b(?:19|20)\d\d\b|arXiv \d{4}\.\d{5}|this project|derived here|^VW ", text), (name, text)


@pytest.mark.parametrize(
    "text",
    [
        "theory 4.3(a)",
        "7.2 WARNING",
        "schedules notes 2d",
        "issue 5",
        "E4.6",
        "gates notes",
        "7.3",
        "7.4(i); E7.1",
        "[M?]",
    ],
)
def test_what_is_refused(text):
    assert HIDDEN.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "Ross, Gordon and Bagnell 2011, Theorem 4.1",
        "Shalev-Shwartz 2012, section 2.4",
        "arXiv 2407.15007",
        "gaps must be [R, M] or [M]",  # shapes
        "Theorem 4.1 with our shift term",
        "0.0",
    ],
)
def test_what_is_not_refused(text):
    assert not HIDDEN.search(text)
