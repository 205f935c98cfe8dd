"""What several worlds of the gallery are made of."""

import numpy as np
from scipy import special


def leads_to(targets: list[list[int]] | np.ndarray) -> np.ndarray:
    """Deterministic transitions from the next state of each state and action, [..., S, A] -> [..., S, A, S]."""
    targets = np.asarray(targets)
    return np.eye(targets.shape[-2])[targets]


def squeeze(over_time: np.ndarray) -> np.ndarray:
    """[1, ...] -> [...]: what does not vary over time is given without the axis."""
    return over_time[0] if over_time.shape[0] == 1 else over_time


def rare_law(rare: int, samples: int) -> np.ndarray:
    """`rare` states of probability 1 / (samples + 1) each, and a last one with the rest. [rare + 1]"""
    law = np.full(rare + 1, 1 / (samples + 1))
    law[-1] = 1 - rare / (samples + 1)
    return law


def unseen(law: np.ndarray, draws: int) -> float:
    """Expected probability of the states that `draws` draws of a law have not shown."""
    return float((law * np.exp(special.xlog1py(draws, -law))).sum())


def mistaken(horizon: int, error: np.ndarray | float, stays: float = 1.0) -> np.ndarray:
    """P(a mistake at step h = 1..T), [..., T], if that of step h - 1 leads to where another follows with `stays`.

    m_h = (1 - m_{h-1}) error + m_{h-1} stays, so m_h = error sum_{i<h} (stays - error)^i, where nothing cancels. For
    mistakes that stay it is 1 - (1 - error)^h.
    """
    each = np.asarray(error)[..., None]
    return each * np.cumsum((stays - each) ** np.arange(horizon), axis=-1)
