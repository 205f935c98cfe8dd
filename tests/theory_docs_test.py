"""docs/theory.md: what cites it and what it cites exists."""

import functools
import importlib
import re
from pathlib import Path

import pytest

import dagger_jax

ROOT = Path(__file__).resolve().parent.parent
THEORY = ROOT / "docs" / "theory.md"
CITING = ("dagger_jax/**/*.py", "experiments/**/*.py", "tests/**/*.py", "README.md", "BUILD_NOTES.md", "docs/*.md")
CITATION = re.compile(r"docs/theory\.md#([a-z0-9-]*)")


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
    files = re.findall(r"tests/\w+\.py", text)
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
