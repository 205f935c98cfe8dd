"""What is known is built by NumPy: no program is compiled for it, and under jit it is the same."""

import jax
import numpy as np
import pytest

from dagger_jax import randomness, schedules, strategies
from dagger_jax.algorithms import ALGORITHMS, schedule
from dagger_jax.family import family
from dagger_jax.runtime import programs

N, T = 7, 23
KEY = jax.random.key(3)
# SMILe and SEARN take JAX's exponentials, whose last bit is its own; Stagger draws; optax's schedules are JAX's.
COMPILED = {"smile", "searn", "stagger", "warm_stagger", "popd", "mixer", "mbpo"}
COMPILED |= {"scheduled_sampling_linear", "scheduled_sampling_inverse_sigmoid"}
BUILT = {
    **{name: lambda row=row: row.build(N, T, 4) for name, row in ALGORITHMS.items() if name not in COMPILED},
    **{text: lambda text=text: schedule(text, N, T) for text in ("chunk:4", "geometric:2.5", "partition:3+5")},
    "forks": lambda: schedules.chunked(N, schedules.forks(T, [3, 9])),
    "growing": lambda: schedules.reset(N, schedules.growing(T, 1, 1.5)),
    "round trip": lambda: schedules.round_trip(N, schedules.forks(T, [3]), schedules.forks(T, [9])),
    "stagger": lambda: schedules.stagger(N, T, np.arange(N), 2),
    "linear": lambda: schedules.dagger(N, T, schedules.beta_linear(N, 3)),
    "lengths": lambda: strategies.excursions(np.arange(1, N + 1), T),
}


def test_nothing_is_compiled():
    with programs.counting() as count:
        made = [build() for build in BUILT.values()]
        for one in made:
            schedules.training_weights(schedules.row(schedules.validate(one), 0))
        schedules.stack([BUILT[name]() for name in ("dagger", "dart", "lengths")])
        randomness.for_round(randomness.words(KEY), 5)
    assert count.names() == {}


@pytest.mark.parametrize("name", BUILT)
def test_under_jit_it_is_the_same(name):
    """All of it, while something else is traced; and whatever is traced is not NumPy's."""
    plain, traced = BUILT[name](), jax.jit(lambda x: (BUILT[name](), schedules.dagger(N, T, x)))(np.zeros(N))
    jax.tree.map(np.testing.assert_array_equal, traced, (plain, schedules.dagger(N, T, np.zeros(N))))


def test_a_round_of_a_known_table_is_taken_by_a_traced_number():
    table = family(N, T)["everything"]
    found = jax.vmap(lambda n: schedules.row(table, n))(np.arange(N))
    jax.tree.map(np.testing.assert_array_equal, found, table)


@pytest.mark.parametrize("round", [0, 5, 2**32 - 1])
def test_keys_of_rounds_are_the_same_on_the_host(round):
    known = randomness.for_round(randomness.words(KEY), round)
    traced = jax.jit(lambda key, n: randomness.for_round(randomness.words(key), n))(KEY, np.uint32(round))
    jax.tree.map(np.testing.assert_array_equal, known, traced)
    assert known.first.dtype == known.second.dtype == np.uint32
