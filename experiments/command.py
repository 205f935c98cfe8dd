"""The command dagger-jax: lists what there is, and runs an experiment as `python -m experiments.NAME` does."""

import difflib
import inspect
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagger_jax

from .shared import catalog, program

USAGE = """\
Usage:
  dagger-jax list [{kinds}]
      One line each, with arguments and source where it has them; experiments if nothing is named.
  dagger-jax NAME --out=DIR [flags]
      Runs an experiment; `dagger-jax NAME --help` explains its flags. In a checkout `python -m experiments.NAME` is
      the same program, with the same exit status.
  dagger-jax --version
  dagger-jax --help"""


def registries() -> dict[str, Mapping[str, Any]]:
    """What `list` knows besides experiments: rows by name, by kind."""
    from dagger_jax import algorithms, bounds, gallery
    from dagger_jax.algorithms import forms, language

    return {
        "worlds": gallery.WORLDS,
        "algorithms": algorithms.ALGORITHMS,
        "schedules": {**forms.FORMS, **language.CONTROLLERS},
        "bounds": bounds.BOUNDS,
    }


KINDS = ("worlds", "algorithms", "schedules", "bounds", "experiments")


def lines(kind: str) -> Iterator[str]:
    """The lines of `dagger-jax list KIND`."""
    if kind == "experiments":
        told = {name: catalog.about(name) for name in catalog.commands()}
    else:
        told = {name: _told(kind, row) for name, row in registries()[kind].items()}
    width = max(map(len, told))
    return (f"{name:{width}}  {text}" for name, text in told.items())


def _told(kind: str, row: Any) -> str:
    """A row in words: what it is about, an example, its arguments, its source."""
    about, made = getattr(row, "about", ""), row.build if kind == "worlds" else None
    if kind == "schedules" and callable(row):  # a controller
        about, made = (inspect.getdoc(row) or "").partition("\n")[0], row
    given = inspect.signature(made).parameters.values() if made else ()
    # A horizon is a flag of its own, and `kind` tells the classes of controllers apart.
    own = [each for each in given if each.name not in ("horizon", "kind")]
    arguments = [each.name if each.default is each.empty else f"{each.name}={each.default}" for each in own]
    parts = [about.rstrip("."), getattr(row, "example", ""), ", ".join(arguments), getattr(row, "source", "")]
    return "; ".join(part for part in parts if part)


def run(words: Sequence[str]) -> int:
    """Does what a command line asks for.

    Args:
        words: the command line, without the program's name.

    Returns:
        The exit status: 2 for what there is not, 0 otherwise. An experiment ends the process with its own.
    """
    match [*words]:
        case ["list"]:
            print("\n".join(lines("experiments")))
        case ["list", kind] if kind in KINDS:
            print("\n".join(lines(kind)))
        case ["list", kind, *_]:
            return _unknown(f"list {kind}", kind, KINDS, "`dagger-jax --help` explains it")
        case ["--version"]:
            print(f"dagger-jax {dagger_jax.__version__}")
        case [] | ["--help" | "-h" | "help", *_]:
            print(USAGE.format(kinds="|".join(KINDS)))
        case [name, *flags] if name in catalog.commands():
            program.begin(name)
            program.called = f"dagger-jax {name}"
            sys.argv = [name, *flags]
            runpy.run_module(catalog.module(name), run_name="__main__", alter_sys=True)
        case [name, *_]:
            return _unknown(name, name, ("list", *catalog.commands()), "`dagger-jax list` lists all")
    return 0


def _unknown(said: str, name: str, known: Sequence[str], more: str) -> int:
    nearest = ", ".join(difflib.get_close_matches(name, known, 3, cutoff=0.0))
    program.say(f"dagger-jax: there is no {said[:80]}; the nearest are {nearest}; {more}")
    return 2


def main() -> None:
    """The entry point; ends the process."""
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the list has gone: end as SIGPIPE does
        program.mute(sys.stdout)
        status = 141
    except OSError as error:
        program.mute(sys.stdout)
        program.say(f"dagger-jax: standard output: {error.strerror}")
        status = program.FAILED
    raise SystemExit(status)
