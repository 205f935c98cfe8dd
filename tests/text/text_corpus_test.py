"""Texts as tokens: every character comes back, or is the token of all others; what is no text is refused by name."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest

from dagger_jax.text import corpus, writers

TEXT = "the cat sat on the mat. naïve Zoë\n" * 3


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


def test_characters_come_back(path):
    loaded = corpus.load(path)
    assert loaded.text(loaded.tokens) == TEXT
    assert loaded.source == str(path)
    assert loaded.tokens.dtype == np.int32
    counts = np.bincount(loaded.tokens, minlength=loaded.vocabulary)
    assert (np.diff(counts) <= 0).all()  # the most frequent first
    assert dict(zip(loaded.names, counts.tolist(), strict=True)) == Counter(TEXT)


def test_bytes_come_back(path):
    loaded = corpus.load(path, "bytes")
    assert len(loaded.tokens) == len(TEXT.encode())
    assert loaded.text(loaded.tokens) == TEXT.replace("ï", r"\xc3\xaf").replace("ë", r"\xc3\xab")


@pytest.mark.parametrize("vocabulary", [2, 5, 12])
def test_a_small_vocabulary_keeps_the_most_frequent(path, vocabulary):
    loaded = corpus.load(path, vocabulary=vocabulary)
    kept = {name for name, _ in sorted(Counter(TEXT).items(), key=lambda each: (-each[1], each[0]))[: vocabulary - 1]}
    assert loaded.vocabulary == vocabulary
    assert set(loaded.names) == kept | {corpus.OTHER}
    assert loaded.text(loaded.tokens) == "".join(c if c in kept else corpus.OTHER for c in TEXT)


def test_all_symbols_need_no_other(path):
    everything = corpus.load(path)
    again = corpus.load(path, vocabulary=everything.vocabulary)
    assert corpus.OTHER not in again.names
    np.testing.assert_array_equal(again.tokens, everything.tokens)


def test_a_byte_order_mark_is_not_text(tmp_path):
    (tmp_path / "marked").write_text(TEXT, encoding="utf-8-sig")
    assert "\N{ZERO WIDTH NO-BREAK SPACE}" not in corpus.load(tmp_path / "marked").names


def test_the_default_is_english_that_python_carries():
    loaded = corpus.load(vocabulary=28, length=256, order=2)
    assert loaded.source == corpus.DEFAULT
    assert len(loaded.tokens) > 200_000
    assert loaded.names[:2] == (" ", "e")
    assert "statement" in loaded.text(loaded.tokens[:5000])


def test_a_writer_fitted_to_one_part_is_judged_on_the_other():
    """Order 2 tells the held-out text better than order 0 does: both below ln V, the gap far above chance."""
    fitted, held_out = corpus.split(corpus.load(vocabulary=28), 0.1, length=64)
    assert len(fitted.tokens) == pytest.approx(9 * len(held_out.tokens), rel=1e-3)
    assert fitted.names == held_out.names

    def nats(order):
        law = np.asarray(writers.fitted(fitted.tokens, 28, order).emission).reshape(*(29,) * order, 28)
        windows = np.lib.stride_tricks.sliding_window_view(held_out.tokens, order + 1)
        return -np.log(law[tuple(windows.T)]).mean()

    assert nats(2) + 0.3 < nats(1) + 0.1 < nats(0) < np.log(28)


def test_windows_cut_the_text(path):
    loaded = corpus.load(path)
    cut = corpus.windows(loaded, 10)
    assert cut.shape == (len(TEXT) // 10, 10)
    assert loaded.text(cut.reshape(-1)) == TEXT[: cut.size]


def test_refusals(tmp_path, path):
    names = {
        "nothing": b"",
        "latin": "naïve".encode("latin-1"),
        "zero": b"a\0b",
        "same": b"aaaa",
        "marked": b"\xef\xbb\xbf",
    }
    files = {name: tmp_path / name for name in names}
    for name, content in names.items():
        files[name].write_bytes(content)
    loaded = corpus.load(path)
    refused = [
        (lambda: corpus.load(""), "path is empty"),
        (lambda: corpus.load(tmp_path), "is not a file"),
        (lambda: corpus.load(tmp_path / "absent"), "absent is not a file"),
        (lambda: corpus.load(files["nothing"]), "nothing is empty"),
        (lambda: corpus.load(files["marked"]), "marked is empty"),
        (lambda: corpus.load(files["latin"]), "latin is not text in UTF-8"),
        (lambda: corpus.load(files["latin"], "bytes"), "latin is not text in UTF-8"),
        (lambda: corpus.load(files["zero"]), "zero is not text"),
        (lambda: corpus.load(files["same"]), "one symbol alone"),
        (lambda: corpus.load(path, length=1000), "102 characters, fewer than the 1000 tokens"),
        (lambda: corpus.load(path, order=102), "too few for a writer of order 102"),
        (lambda: corpus.load(path, vocabulary=1), r"vocabulary must lie in 2\.\."),
        (lambda: corpus.load(path, vocabulary=99), r"vocabulary must lie in 2\.\.\d+, .* got 99"),
        (lambda: corpus.split(loaded, 1.0), "held_out"),
        (lambda: corpus.split(loaded, 0.1, length=20), "held-out part of .* fewer than 20"),
        (lambda: corpus.windows(loaded, 200), "cannot be cut into texts of 200"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message):
            call()


def test_memory_is_a_few_times_the_file(tmp_path, monkeypatch):
    """4 MiB with signs of one to four bytes: the bytes, a token of four bytes for each, and little else."""
    text = ("plain words, naïve ones, ΣΩ and 𝛽; " * 2**17)[: 2**22]
    (tmp_path / "long").write_text(text, encoding="utf-8")
    tracemalloc.start()
    loaded = corpus.load(tmp_path / "long")
    assert tracemalloc.get_traced_memory()[1] < 6 * 2**22 + 60e6  # 60 MB for parts and for counts of all of Unicode
    tracemalloc.stop()
    assert loaded.text(loaded.tokens[:100]) == text[:100]
    assert loaded.text(loaded.tokens[-100:]) == text[-100:]
    monkeypatch.setattr(corpus, "_PART", 7)  # signs are cut, and put together again
    short = corpus.load("long", data=text[:5000].encode())
    assert short.text(short.tokens) == text[:5000]
    monkeypatch.setattr(corpus, "MOST", 1000)
    with pytest.raises(ValueError, match="long is too large: allowed are 1,000 bytes"):
        corpus.load(tmp_path / "long")
