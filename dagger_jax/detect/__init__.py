"""Who is writing, the expert or the learner? Exactly, by roll-outs, and by learned detectors."""

from dagger_jax.detect.learned import KernelTest, Tested, classify, codes, kernel_test, one_hot
from dagger_jax.detect.ratio import (
    Defection,
    Detectability,
    RatioLaw,
    Recursion,
    distances,
    log_ratio,
    ratio_laws,
    recursion,
    scheme,
)
from dagger_jax.detect.samples import Estimate, auc, bounded_mean, estimate, ratios

__all__ = [
    "Defection",
    "Detectability",
    "Estimate",
    "KernelTest",
    "RatioLaw",
    "Recursion",
    "Tested",
    "auc",
    "bounded_mean",
    "classify",
    "codes",
    "distances",
    "estimate",
    "kernel_test",
    "log_ratio",
    "one_hot",
    "ratio_laws",
    "ratios",
    "recursion",
    "scheme",
]
