"""Learned discriminators of text: what a classifier finds in a chunk's tokens, beside what their exact ratios say."""

from typing import Any

import numpy as np

from dagger_jax.detect.learned import Tested, classify, one_hot
from dagger_jax.tokens.walk import Text


def learned(
    text: Text,
    vocabulary: int,
    start: int,
    length: int,
    context: int = 0,
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
      seed: of the split into training and test.
      classifier: see `detect.learned.classify`.
      confidence: of the intervals.

    Returns:
      Its accuracy, at most (1 + TV) / 2 of the chunk's laws, and its AUC, with intervals.

    Raises:
      ValueError: a chunk that does not start there in every text, or does not hold so many tokens.
    """
    joined, end = np.asarray(text.joined), start + length
    if not (0 <= context <= start and length >= 1 and end <= len(joined)):
        raise ValueError(f"tokens {start - context}..{end - 1} are not in texts of {len(joined)} tokens")
    if not joined[start].all() or joined[start + 1 : end].any():
        raise ValueError(f"a chunk of at least {length} tokens must start at step {start} in every text")
    before, half = np.asarray(text.novice)[start - context : start], joined.shape[1] // 2
    guide, novice = (np.concatenate([before, np.asarray(who)[start:end]]).T for who in (text.guide, text.novice))
    features = one_hot(guide[:half], vocabulary), one_hot(novice[half : 2 * half], vocabulary)
    return classify(*features, seed=seed, classifier=classifier, confidence=confidence)
