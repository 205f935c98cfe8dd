"""Learned discriminators of text: what a classifier finds in a chunk's tokens, beside what their exact ratios say."""

from typing import Any

import numpy as np

from dagger_jax.detect.learned import Tested, classify, one_hot
from dagger_jax.text.walk import Text


def learned(
    text: Text,
    vocabulary: int,
    start: int,
    length: int,
    context: int = 0,
    gram: int | None = None,
    seed: int = 0,
    classifier: Any = None,
    confidence: float = 0.95,
) -> Tested:
    """Is the expert writing? A classifier that is told one chunk's tokens.

    They are the guide's in one half of the texts, the novice's in the other.

    Args:
      text: [T, B], from `walk.play`.
      vocabulary: V.
      start: the step at which the chunk starts, in every text.
      length: tokens of it that are seen.
      context: tokens of the novice before it that are seen as well; they are no evidence by themselves.
      gram: None: what stands at each place is a feature. n: how often each sequence of n tokens occurs is one, wherever
        it stands; the exact ratio of two Markov writers of order n - 1 is a weighted sum of these, but for its start.
      seed: of the split into training and test.
      classifier: see `detect.learned.classify`.
      confidence: of the intervals.

    Returns:
      Its accuracy, at most (1 + TV) / 2 of the chunk's laws, and its AUC, with intervals.

    Raises:
      ValueError: a chunk that does not start there in every text, or does not hold so many tokens; fewer tokens seen
        than a gram has.
    """
    joined, end = np.asarray(text.joined), start + length
    if not (0 <= context <= start and length >= 1 and end <= len(joined)):
        raise ValueError(f"tokens {start - context}..{end - 1} are not in texts of {len(joined)} tokens")
    if not joined[start].all() or joined[start + 1 : end].any():
        raise ValueError(f"a chunk of at least {length} tokens must start at step {start} in every text")
    before, half = np.asarray(text.novice)[start - context : start], joined.shape[1] // 2
    guide, novice = (np.concatenate([before, np.asarray(who)[start:end]]).T for who in (text.guide, text.novice))
    apart = guide[:half], novice[half : 2 * half]
    features = [one_hot(each, vocabulary) if gram is None else counts(each, vocabulary, gram) for each in apart]
    return classify(*features, seed=seed, classifier=classifier, confidence=confidence)


def counts(tokens: np.ndarray, vocabulary: int, gram: int) -> np.ndarray:
    """How often each sequence of `gram` tokens occurs in each of the texts [B, T]. [B, V^gram]

    Raises:
      ValueError: texts that are shorter, or more than 2^16 sequences.
    """
    size, number = vocabulary**gram, tokens.shape[1] - gram + 1
    if not (gram >= 1 and number >= 1 and size <= 2**16):
        raise ValueError(f"gram {gram} of texts of {tokens.shape[1]} tokens, V = {vocabulary}, has no table of counts")
    windows = np.lib.stride_tricks.sliding_window_view(tokens, gram, axis=1)  # [B, number, gram]
    codes = windows @ vocabulary ** np.arange(gram)[::-1]
    return np.stack([np.bincount(line, minlength=size) for line in codes]).astype(np.float32)
