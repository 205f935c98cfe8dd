"""Texts as tokens: a user's file, or the text that every Python installation carries.

That is the help of the language, `pydoc_data.topics` of the standard library: some 465,000 characters of English prose
and code in Python 3.11 (another version, another text).
"""

import codecs
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data import topics
from typing import Literal, NamedTuple

import numpy as np

from dagger_jax.types import Array

DEFAULT = "the topics of Python's help"  # its name where no path is given
OTHER = "\N{REPLACEMENT CHARACTER}"  # how the token of all other symbols is written
Unit = Literal["characters", "bytes"]
MOST = 2**30  # bytes of a file
SYMBOLS = sys.maxunicode + 1
_MARK, _PART = codecs.BOM_UTF8, 2**20  # bytes


class Corpus(NamedTuple):
    """A text. Tokens are numbered from the most frequent symbol on; the last may stand for all others."""

    tokens: np.ndarray  # [n] int32, in 0..V-1
    names: tuple[str, ...]  # [V] the symbol of each token; a byte that is no character is written \xff
    source: str  # path, or DEFAULT

    @property
    def vocabulary(self) -> int:
        return len(self.names)

    def text(self, tokens: Array) -> str:
        """Tokens [n] as text."""
        return "".join(self.names[token] for token in np.asarray(tokens).tolist())


def load(
    path: str | Path | None = None,
    unit: Unit = "characters",
    vocabulary: int | None = None,
    length: int = 1,
    order: int = 0,
    data: bytes | None = None,
) -> Corpus:
    """A text file in UTF-8 as tokens, of MOST bytes at most; it takes at most some 6 bytes of memory for each of them.

    Args:
      path: of the file; None: DEFAULT.
      unit: what a token is.
      vocabulary: V; the V - 1 most frequent symbols (ties: the lower code) are tokens, all others are one token. None:
        every symbol that occurs is a token.
      length: T; the text has to have that many tokens at least.
      order: m of the writer that is to be fitted to it; the text has to be longer.
      data: what the file holds, where it has been read already; `path` is then its name alone.

    Raises:
      ValueError: naming the path and what is wrong: no file, too large, empty, not text, too short, V out of range.
      OSError: where the file cannot be read.
    """
    if unit not in ("characters", "bytes"):
        raise ValueError(f"unit must be characters or bytes, got {unit!r}")
    if path is None:
        source, data = DEFAULT, default_text().encode()
    else:
        source = str(path)
        data = _read(path) if data is None else data
        _check(source, data)
    counts, size = np.zeros(SYMBOLS, np.int64), 0
    for part in _parts(data, unit, source):
        counts += np.bincount(part, minlength=SYMBOLS)
        size += len(part)
    if size < length:
        raise ValueError(f"{source} has {size} {unit}, fewer than the {length} tokens of a text")
    if size <= order:
        raise ValueError(f"{source} has {size} {unit}: too few for a writer of order {order}")
    found = np.flatnonzero(counts)
    if len(found) < 2:
        raise ValueError(f"{source} holds one symbol alone: a vocabulary has at least 2 tokens")
    most = len(found) if vocabulary is None else vocabulary
    if not 2 <= most <= len(found):
        raise ValueError(f"vocabulary must lie in 2..{len(found)}, the symbols of {source}, got {most}")
    ordered = found[np.argsort(-counts[found], kind="stable")]
    rank = np.zeros(SYMBOLS, np.int32)
    rank[ordered] = np.minimum(np.arange(len(found)), most - 1)
    tokens, done = np.empty(size, np.int32), 0
    for part in _parts(data, unit, source):
        tokens[done : done + len(part)] = rank[part]
        done += len(part)
    names = [_name(int(symbol), unit) for symbol in ordered[:most]]
    if most < len(found):
        names[-1] = OTHER
    return Corpus(tokens, tuple(names), source)


def default_text() -> str:
    """The topics of Python's help, in the order of their names."""
    return "\n\n".join(topics.topics[name] for name in sorted(topics.topics))


def split(corpus: Corpus, held_out: float = 0.1, length: int = 1) -> tuple[Corpus, Corpus]:
    """The text's beginning, to be fitted, and its last part, to be judged on; same tokens.

    Raises:
      ValueError: a share outside (0, 1), or a part shorter than `length` tokens.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must lie between 0 and 1, both excluded, got {held_out:g}")
    cut = round(len(corpus.tokens) * (1 - held_out))
    parts = corpus.tokens[:cut], corpus.tokens[cut:]
    for name, part in zip(("fitted", "held-out"), parts, strict=True):
        if len(part) < max(length, 1):
            raise ValueError(f"the {name} part of {corpus.source} has {len(part)} tokens, fewer than {max(length, 1)}")
    return corpus._replace(tokens=parts[0]), corpus._replace(tokens=parts[1])


def windows(corpus: Corpus, length: int) -> np.ndarray:
    """The text cut into texts of T tokens, what is left over is dropped. [n // T, T]

    Raises:
      ValueError: a text shorter than T.
    """
    count = len(corpus.tokens) // length if length > 0 else 0
    if count == 0:
        raise ValueError(f"{corpus.source} has {len(corpus.tokens)} tokens: it cannot be cut into texts of {length}")
    return corpus.tokens[: count * length].reshape(count, length)


def _read(path: str | Path) -> bytes:
    if not str(path):
        raise ValueError("the corpus's path is empty")
    if not Path(path).is_file():
        raise ValueError(f"the corpus {path} is not a file")
    with open(path, "rb") as stream:
        return stream.read(min(os.fstat(stream.fileno()).st_size, MOST + 1))


def _check(source: str, data: bytes) -> None:
    if len(data) > MOST:
        raise ValueError(f"the corpus {source} is too large: allowed are {MOST:,} bytes")
    if len(data) <= len(_MARK) and data in (b"", _MARK):
        raise ValueError(f"the corpus {source} is empty")
    if b"\0" in data:
        raise ValueError(f"the corpus {source} is not text: it holds a zero byte")


def _parts(data: bytes, unit: Unit, source: str) -> Iterator[np.ndarray]:
    """The symbols' codes, a part at a time, so that the text is never held in a wider form as a whole."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    begin = len(_MARK) if data.startswith(_MARK) else 0
    for place in range(begin, len(data), _PART):
        part = data[place : place + _PART]
        try:
            text = decoder.decode(part, final=place + _PART >= len(data))
        except UnicodeDecodeError as error:
            at = place + error.start
            raise ValueError(f"the corpus {source} is not text in UTF-8: {error.reason} near byte {at:,}") from error
        yield np.frombuffer(text.encode("utf-32-le"), np.uint32) if unit == "characters" else np.frombuffer(part, "u1")


def _name(symbol: int, unit: Unit) -> str:
    return chr(symbol) if unit == "characters" or symbol < 128 else f"\\x{symbol:02x}"
