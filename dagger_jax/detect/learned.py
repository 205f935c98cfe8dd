"""Detectors that are learned: a classifier two-sample test, and a kernel one (schedules notes, 5 and 7).

Both see chunks as one-hot codes of what was done at each step. The log-likelihood ratio is a sum of such codes'
weights, so logistic regression on them has the best detector in its class; a restricted view has less.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from dagger_jax.detect.samples import Estimate


class Tested(NamedTuple):
    """A classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545)."""

    accuracy: Estimate  # held out, balanced classes; Clopper-Pearson interval
    auc: float  # held out
    p_value: float  # of an accuracy this high under the null, where it is binomial with chance 1/2
    least_distance: float  # TV is at least 2 accuracy - 1: from the interval's lower end, at least 0


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
      novice: [B, F] of chunks that the learner did; equally many, so that classes are balanced.
      seed: of the split.
      classifier: any of scikit-learn's; logistic regression if None.
      confidence: of the accuracy's interval.

    Raises:
      ValueError: unequal numbers, or fewer than 4 chunks of each.
    """
    if len(guide) != len(novice) or len(guide) < 4:
        raise ValueError(f"the test needs equally many chunks, at least 4 of each: got {len(guide)}, {len(novice)}")
    order = np.random.default_rng(seed).permutation(len(guide))
    train, test = order[: len(order) // 2], order[len(order) // 2 :]

    def both(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([guide[rows], novice[rows]]), np.r_[np.ones(len(rows)), np.zeros(len(rows))]

    features, truth = both(test)
    fitted = (LogisticRegression(max_iter=2000) if classifier is None else classifier).fit(*both(train))
    right = int((fitted.predict(features) == truth).sum())
    outcome = stats.binomtest(right, len(truth), alternative="two-sided")
    interval = outcome.proportion_ci(confidence)
    p_value = stats.binomtest(right, len(truth), alternative="greater").pvalue
    auc = roc_auc_score(truth, fitted.predict_proba(features)[:, 1])
    accuracy = Estimate(right / len(truth), float(interval.low), float(interval.high))
    return Tested(accuracy, float(auc), float(p_value), max(0.0, 2 * accuracy.low - 1))


class KernelTest(NamedTuple):
    """A kernel two-sample test (Gretton et al. 2012)."""

    mmd_squared: float  # unbiased, so it may be negative
    p_value: float  # by permutation


def kernel_test(
    guide: np.ndarray, novice: np.ndarray, seed: int = 0, permutations: int = 500, decay: float = 1.0
) -> KernelTest:
    """The unbiased squared maximum mean discrepancy of chunks of codes, and its permutation test.

    Args:
      guide: [B, k] codes of chunks that the expert continued.
      novice: [B', k] of chunks that the learner did.
      seed: of the permutations.
      permutations: how many.
      decay: the kernel is exp(-decay x share of steps that differ).

    Returns:
      The statistic and the share of permutations (itself among them) with one at least as large.
    """
    chunks = np.concatenate([guide, novice])
    differ = (chunks[:, None, :] != chunks[None, :, :]).mean(-1)
    kernel = np.exp(-decay * differ)
    np.fill_diagonal(kernel, 0.0)
    first, total = len(guide), len(chunks)

    def statistic(label: np.ndarray) -> np.ndarray:
        """Of labels [R, B + B'], 1 for the guide's."""
        m, n = first, total - first
        other = 1 - label
        within = np.einsum("ri,ij,rj->r", label, kernel, label) / (m * (m - 1))
        beside = np.einsum("ri,ij,rj->r", other, kernel, other) / (n * (n - 1))
        across = np.einsum("ri,ij,rj->r", label, kernel, other) / (m * n)
        return within + beside - 2 * across

    truth = (np.arange(total) < first).astype(float)
    rng = np.random.default_rng(seed)
    shuffled = np.stack([rng.permutation(truth) for _ in range(permutations)])
    observed = float(statistic(truth[None])[0])
    as_large = int((statistic(shuffled) >= observed - 1e-12).sum())
    return KernelTest(observed, (1 + as_large) / (1 + permutations))
