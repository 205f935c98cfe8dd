"""Detectors that are learned: a classifier two-sample test, and a kernel one (docs/theory.md#learned-detectors).

Both see chunks as one-hot codes of what was done at each step. The log-likelihood ratio is a sum of such codes'
weights, so logistic regression on them has the best detector in its class; a restricted view has less.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from dagger_jax.detect.samples import Estimate, auc
from dagger_jax.types import Array

View = Literal["both", "states", "actions"]


class Tested(NamedTuple):
    """A classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545)."""

    accuracy: Estimate  # held out, balanced classes; Clopper-Pearson interval
    auc: Estimate  # held out; the interval is DeLong's, for independent chunks
    p_value: float  # of an accuracy this high under the null, where it is binomial with chance 1/2
    least_distance: float  # TV is at least 2 accuracy - 1: from the interval's lower end, at least 0


def codes(state: Array, action: Array, states: int, actions: int, view: View = "both") -> tuple[np.ndarray, int]:
    """What a detector may see of each step, as one code: (codes of the arguments' shape, how many there are).

    Args:
      state: [...] from a `Trace`.
      action: [...] what was done there.
      states: S.
      actions: A.
      view: "both", or a restricted view.
    """
    state, action = np.asarray(state), np.asarray(action)
    match view:
        case "states":
            return state, states
        case "actions":
            return action, actions
        case "both":
            return state * actions + action, states * actions
    raise ValueError(f"view must be both, states or actions, got {view!r}")


def one_hot(codes: np.ndarray, size: int) -> np.ndarray:
    """Codes [B, k] of 0..size-1 as features [B, k x size]."""
    codes = np.asarray(codes)
    return np.eye(size, dtype=np.float32)[codes].reshape(len(codes), -1)


def classify(
    guide: np.ndarray,
    novice: np.ndarray,
    seed: int = 0,
    classifier: Any = None,
    confidence: float = 0.95,
) -> Tested:
    """Trains on half of the chunks and tests on the other half.

    Args:
      guide: [B, F] features of chunks that the expert continued.
      novice: [B, F] of chunks that the learner did; equally many, so that classes are balanced, and of other
        episodes: both walkers of one episode share their randomness, and nothing here would be binomial.
      seed: of the split.
      classifier: any of scikit-learn's that has probabilities; logistic regression if None.
      confidence: of the intervals, in (0, 1).

    Raises:
      ValueError: numbers or widths that differ, fewer than 4 chunks of each, or no confidence.
    """
    guide, novice = np.asarray(guide), np.asarray(novice)
    if guide.shape != novice.shape or guide.ndim != 2 or len(guide) < 4:
        raise ValueError(
            f"the test needs features [B, F] of equally many chunks, at least 4: got {guide.shape}, {novice.shape}"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    order = np.random.default_rng(seed).permutation(len(guide))
    train, test = order[: len(order) // 2], order[len(order) // 2 :]

    def both(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([guide[rows], novice[rows]]), np.r_[np.ones(len(rows)), np.zeros(len(rows))]

    features, truth = both(test)
    if classifier is None:
        from sklearn.linear_model import LogisticRegression  # takes half a second, which few need

        classifier = LogisticRegression(max_iter=2000)
    fitted = classifier.fit(*both(train))
    score = fitted.predict_proba(features)[:, 1]
    right = int((fitted.predict(features) == truth).sum())
    interval = stats.binomtest(right, len(truth)).proportion_ci(confidence)
    p_value = stats.binomtest(right, len(truth), alternative="greater").pvalue
    accuracy = Estimate(right / len(truth), float(interval.low), float(interval.high))
    found = auc(score[: len(test)], score[len(test) :], confidence)
    return Tested(accuracy, found, float(p_value), max(0.0, 2 * accuracy.low - 1))


class KernelTest(NamedTuple):
    """A kernel two-sample test (Gretton et al. 2012)."""

    mmd_squared: float  # unbiased, so it may be negative
    p_value: float  # by permutation


def kernel_test(
    guide: np.ndarray, novice: np.ndarray, seed: int = 0, permutations: int = 500, decay: float = 1.0
) -> KernelTest:
    """The unbiased squared maximum mean discrepancy of chunks of codes, and its permutation test.

    Args:
      guide: [B, k] codes of chunks that the expert continued, at least 2.
      novice: [B', k] of chunks that the learner did, of other episodes.
      seed: of the permutations.
      permutations: how many.
      decay: the kernel is exp(-decay x share of steps that differ).

    Returns:
      The statistic and the share of permutations (itself among them) with one at least as large. Memory and
      time grow with (B + B')^2.

    Raises:
      ValueError: fewer than 2 chunks of a kind, or chunks of different length.
    """
    guide, novice = np.asarray(guide), np.asarray(novice)
    first, second = len(guide), len(novice)
    if min(first, second) < 2 or guide.ndim != 2 or guide.shape[1:] != novice.shape[1:]:
        raise ValueError(f"the test needs codes [B, k], at least 2 chunks of each: got {guide.shape}, {novice.shape}")
    kernel = np.zeros((first + second, first + second))
    for step in np.concatenate([guide, novice]).T:
        kernel += step[:, None] != step[None, :]
    kernel = np.exp(-decay * kernel / guide.shape[1])
    np.fill_diagonal(kernel, 0.0)
    total = kernel.sum()

    def statistic(label: np.ndarray) -> np.ndarray:
        """Of labels [R, B + B'], 1 for the guide's."""
        toward = label @ kernel
        within, across = (toward * label).sum(-1), (toward * (1 - label)).sum(-1)
        beside = total - within - 2 * across
        return within / (first * (first - 1)) + beside / (second * (second - 1)) - 2 * across / (first * second)

    truth = (np.arange(first + second) < first).astype(float)
    rng = np.random.default_rng(seed)
    shuffled = np.stack([rng.permutation(truth) for _ in range(permutations)])
    observed = float(statistic(truth[None])[0])
    as_large = int((statistic(shuffled) >= observed - 1e-12).sum())
    return KernelTest(observed, (1 + as_large) / (1 + permutations))
