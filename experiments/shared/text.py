"""The text that an experiment's writer is fitted to, and the flags that say which: one way for all experiments."""

import functools
import hashlib
from typing import get_args

from dagger_jax.text import corpus

from .. import claim
from ..claim import BadFlag, Settings, inputs

LIBRARY = "library"  # the corpus where no file is named
UNITS = {unit.removesuffix("s"): unit for unit in get_args(corpus.Unit)}  # character, byte

FLAGS = (
    claim.Flag(
        "corpus",
        "Text that a world's writer is fitted to: a file, or the help texts of Python's standard library.",
        f"{LIBRARY}, or the path of a text file in UTF-8",
        lambda text: text,
        many=False,
        load=lambda text: text if text == LIBRARY else inputs.file(text),
    ),
    claim.names("tokens", "What a token of that text is.", tuple(UNITS), many=False),
)


@functools.lru_cache(maxsize=4)
def read(name: str, tokens: str, vocabulary: int, length: int, order: int) -> corpus.Corpus:
    """A text, LIBRARY or one of `inputs`, in V tokens.

    Raises:
      ValueError: as `corpus.load`.
    """
    if name == LIBRARY:
        return corpus.load(None, UNITS[tokens], vocabulary, length, order)
    known = inputs.get(name)
    return corpus.load(known.name, UNITS[tokens], vocabulary, length, order, known.content)


def of(settings: Settings) -> corpus.Corpus:
    """The text that the settings ask for."""
    return read(*(settings.values[name] for name in ("corpus", "tokens", "vocabulary", "length", "order")))


def digest(settings: Settings) -> str:
    """Tells texts apart: Python's help is another text in another Python."""
    return hashlib.sha256(of(settings).tokens.tobytes()).hexdigest()[:12]


def check(settings: Settings, world: str) -> None:
    """Raises BadFlag for a text that cannot be read, or that is named though no world reads it."""
    if world not in settings.worlds:
        if settings.corpus != LIBRARY:
            allowed = f"{LIBRARY}, or add {world} to --worlds"
            raise BadFlag(
                "corpus", f"{inputs.named(settings.corpus)} is read by no world that is measured; allowed: {allowed}"
            )
        return
    try:
        of(settings)
    except ValueError as error:
        raise BadFlag("vocabulary" if str(error).startswith("vocabulary") else "corpus", str(error)) from error
