"""Which experiments there are: the folders of this package that hold a command. Nothing large is imported here."""

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..claim import Claim

_FOLDER = Path(__file__).parents[1]
_PACKAGE = __name__.rpartition(".shared.")[0]  # experiments in a checkout, dagger_jax.experiments where installed


def commands() -> tuple[str, ...]:
    """Names of all experiments, and of the benchmarks beside them."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/__main__.py")))


def module(name: str) -> str:
    """The full name of an experiment's package."""
    return f"{_PACKAGE}.{name}"


def about(name: str) -> str:
    """What an experiment shows, in one line; nothing of it is imported."""
    text = ast.get_docstring(ast.parse((_FOLDER / name / "__init__.py").read_text(encoding="utf-8")))
    return (text or "").partition("\n")[0]


def load(name: str) -> "Claim":
    """An experiment's claim; raises ModuleNotFoundError where there is none."""
    return importlib.import_module(f"{module(name)}.experiment").CLAIM
