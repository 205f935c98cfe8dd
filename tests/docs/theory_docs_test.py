"""docs/theory.md: what cites it and what it cites exists, and nothing cites a document that is not here."""

import ast
import functools
import importlib
import inspect
import io
import re
import tokenize
from pathlib import Path

import pytest

import dagger_jax
from dagger_jax import algorithms, bounds

ROOT = Path(__file__).resolve().parents[2]
THEORY = ROOT / "docs" / "theory.md"
CITING = ("dagger_jax/**/*.py", "experiments/**/*.py", "tests/**/*.py", "README.md", "BUILD_NOTES.md", "docs/*.md")
CITATION = re.compile(r"docs/theory\.md#([a-z0-9-]*)")
# Sections by number, which docs/theory.md does not have; those of papers have a year, an arXiv number or a word before.
PRIVATE = re.compile(
    "|".join(
        (
            r"\b[Tt]heory(?:\.md)?,? (?:section )?E?\d",
            r"\b(?:theory|schedules|gates|[Tt]he) notes\b",
            r"\[M\?\]|\bWARNING\b",
            r"\bE\d\.\d",
            r"\b[1-9]\.\d\([a-z0-9]+\)",
            r"(?<!\d, )(?<!\), )\b[Ss]ections? \d",
            r"(?:^|[.:] )[1-9]\.\d(?:[.:,]| and [1-9]\.\d)(?!\d)(?: [A-Za-z]|$)",  # "..., an equality. 7.3."
            r"(?:^| )\(\d\.\d\)",
            r"\b(?:of|What|in|by|from) 7\.[1-6]\b",
        )
    )
)


def prose():
    """The document without its fenced formulas."""
    return re.sub(r"^```.*?^```", "", THEORY.read_text(), flags=re.MULTILINE | re.DOTALL)


@functools.cache
def sections():
    """Of each heading in order: (anchor as GitHub makes it, text below it)."""
    parts = re.split(r"^#+ +(.+)$", prose(), flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [(re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"), text) for title, text in pairs]


def anchors():
    return [anchor for anchor, _ in sections()]


def said(text, python):
    """Lines of prose: of a module those of comments and docstrings (other strings: sources_test.py)."""
    if not python:
        return text.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            lines += (ast.get_docstring(node) or "").splitlines()
    return lines


def private(text, python):
    return [line for line in said(text, python) if PRIVATE.search(line)]


def resolve(name):
    """The object of a dotted name below `dagger_jax`, or of an experiment's module."""
    found = importlib.import_module("experiments") if name.startswith("experiments.") else dagger_jax
    for part in name.removeprefix("experiments.").split("."):
        if not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return found


def named():
    """Dotted names in backticks whose first part is one of the package's modules, or `experiments`."""
    modules = {path.stem for path in (ROOT / "dagger_jax").iterdir() if not path.name.startswith("__")}
    quoted = re.findall(r"`([a-z_]+(?:\.\w+)*)`", prose())
    return sorted({name for name in quoted if "." in name and name.split(".")[0] in modules | {"experiments"}})


def test_headings_are_unique_and_plain():
    assert len(anchors()) > 30
    assert len(set(anchors())) == len(anchors())
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", anchor) for anchor in anchors())


def test_citations_resolve():
    """Of code, tests and documents."""
    for pattern in CITING:
        for path in ROOT.glob(pattern):
            for anchor in CITATION.findall(path.read_text()):
                if path != Path(__file__):
                    assert anchor in anchors(), f"{path.relative_to(ROOT)} cites #{anchor}"


@pytest.mark.parametrize("pattern", CITING)
def test_nothing_is_cited_that_is_not_here(pattern):
    paths = [path for path in ROOT.glob(pattern) if path.name not in ("sources_test.py", "theory_docs_test.py")]
    assert paths
    found = {str(path.relative_to(ROOT)): private(path.read_text(), path.suffix == ".py") for path in paths}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "nothing beats quadratic growth (theory 1.2(b)).",
        "R TV >= gap, any expert. Theory 5, derived.",
        "Theory section 8.",
        "gains at most eta by it (schedules notes).",
        "the notes are not sure of its form ([M?])",
        "7.2, WARNING: on the cliff it is false",
        "Slopes of E2.4 where they can be read off",
        "hand-over cost plus bound 7.2(4), by dynamic programming",
        "end(t) the last step of t's excursion. 7.3.",
        "7.5, over the 512 runs of 3 steps",
        "at least TV for a stochastic expert (7.5).",
        "What 7.3 and 7.5 say of each step.",
        "Not section 7's chunks",
    ],
)
def test_what_is_private(line):
    """The control: in a document, a docstring and a comment."""
    assert private(line, python=False)
    assert private(f'def function():\n    """{line}"""\n', python=True)
    assert private(f"x = 1  # {line}\n", python=True)


@pytest.mark.parametrize(
    "line",
    [
        "Ross, Gordon and Bagnell 2011, Theorems 4.1 and 4.2.",
        "Foster, Block and Misra (2024), section 2.4.",
        "arXiv 2407.15007, section 2.4",
        "the interval is 1.5 to 2.5, of a normal law",
        "Shifted by 1.5 steps; exponent 1.9",
    ],
)
def test_what_is_not_private(line):
    assert not private(line, python=False)


@pytest.mark.parametrize("name", bounds.BOUNDS)
def test_a_bound_leads_to_its_heading(name):
    cited = CITATION.findall(inspect.getdoc(bounds.BOUNDS[name].value) or "")
    assert cited
    assert set(cited) <= set(anchors())


@pytest.mark.parametrize("name", algorithms.ALGORITHMS)
def test_an_algorithm_leads_to_a_heading(name):
    """By its source, or by a paper of its source that the document names."""
    source = algorithms.ALGORITHMS[name].source
    papers = re.findall(r"\d{4}\.\d{5}", source)
    assert CITATION.search(source) or any(paper in prose() for paper in papers), source


def test_links_within_resolve():
    links = re.findall(r"\]\(#([^)]*)\)", prose())
    assert links
    assert set(links) <= set(anchors())


@pytest.mark.parametrize("name", named())
def test_names_of_modules_and_functions_exist(name):
    assert resolve(name) is not None


def test_the_names_are_found():
    """The controls: that names are found at all, and that one that does not exist is refused."""
    assert {"bounds.chunks.chunk_combined", "experiments.bound_sweep", "detect.ratio.scheme"} <= set(named())
    with pytest.raises((AttributeError, ImportError)):
        resolve("bounds.chunks.chunk_combinde")
    with pytest.raises((AttributeError, ImportError)):
        resolve("experiments.no_such_experiment")


@pytest.mark.parametrize("anchor", anchors())
def test_named_tests_exist(anchor):
    """Files by path, and each test function in one of the files that its section names."""
    text = dict(sections())[anchor]
    files = re.findall(r"tests/[\w/]+\.py", text)
    for file in files:
        assert (ROOT / file).is_file(), file
    there = "".join((ROOT / file).read_text() for file in files)
    for function in re.findall(r"`(test_\w+)`", text):
        assert f"def {function}(" in there, function


def test_every_bound_is_in_the_document():
    """Of the public functions that are a theorem's right-hand side."""
    from dagger_jax import bounds
    from dagger_jax.bounds import costs, mixtures, rounds, statistics

    values = {bound.value for bound in bounds.of_rows().values()}
    right = {f"bounds.chunks.{value.__name__}" for value in values} | {"bounds.chunks.random_phase"}
    for module in (costs, mixtures, rounds, statistics):
        own = {name for name, made in vars(module).items() if getattr(made, "__module__", "") == module.__name__}
        private = {name for name in own if name.startswith("_") or name[0].isupper()}
        right |= {f"{module.__name__.removeprefix('dagger_jax.')}.{name}" for name in own - private}
    evidence = {"bounds.mixtures.mixture"}  # what is measured, not what bounds it
    assert right - evidence <= set(named())
