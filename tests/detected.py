"""What the tests of detectability share: small worlds, and learners near their experts."""

import numpy as np

from dagger_jax import schedules
from dagger_jax.tabular import gallery

T, S, A = 7, 3, 2
FIRST, LENGTH = 2, 3
ROW = schedules.row(schedules.chunked(1, schedules.partition(T, [FIRST, LENGTH, T - FIRST - LENGTH])), 0)


def random_case(seed, temperature=None, share=None, zeros=0.0):
    """A random world, and a learner near its expert; some of both's actions may be impossible."""
    rng = np.random.default_rng(seed)
    problem = gallery.random_mdp(T, S, A, seed=seed, temperature=temperature)
    policy = rng.dirichlet(np.ones(A), (T, S))
    share = rng.uniform(0, 1) if share is None else share
    policy = (1 - share) * np.asarray(problem.expert) + share * policy
    if zeros:
        sure = np.eye(A)[rng.integers(0, A, (T, S))]
        policy = np.where(rng.random((T, S, 1)) < zeros, sure, policy)
        if temperature is not None:
            sure = np.eye(A)[rng.integers(0, A, (T, S))]
            expert = np.where(rng.random((T, S, 1)) < zeros, sure, problem.expert)
            problem = problem.replace(expert=expert)
    return problem, policy


CASES = {
    "deterministic": {},
    "deterministic, unlikely zeros": {"zeros": 0.4},
    "stochastic": {"temperature": 0.5},
    "stochastic, unlikely zeros": {"temperature": 0.5, "zeros": 0.4},
    "identical": {"temperature": 0.5, "share": 0.0},
}
