"""Any row, in any small world: the walkers that are sampled have the laws that are computed.

Hypothesis draws values; shapes and columns that are None are few, so that few programs are compiled.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagger_jax import gallery, randomness, schedules
from dagger_jax.tabular import exact, rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem

EPISODES = 4000
IDS = np.arange(EPISODES, dtype=np.uint32)
SHAPES = ((2, 2, 5), (4, 3, 3))  # states, actions, steps
ERRORS = (
    5.0  # standard errors: of 50 examples of some 100 numbers each, one in 300 such files would pass them by chance
)
ROUNDING = 2e-6  # of what is computed in float32
SELDOM = 10 / EPISODES  # what is seen more seldom is compared as if it were seen as often
# beartype draws the items of a list that it looks at, inside of strategies too.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
SETTLED = settings(deadline=None, derandomize=True, max_examples=25)
SAMPLED = jax.jit(rollout.play)


@st.composite
def problems(draw, shape):
    """A world, an expert, deterministic or not, and a learner that is near to it or not; some states look alike."""
    states, actions, horizon = shape
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    concentration = draw(st.sampled_from([0.1, 1.0]))
    laws = lambda size, *axes: rng.dirichlet(np.full(size, concentration), axes)
    seen = rng.integers(0, draw(st.integers(1, states)), states)
    move, cost = laws(states, horizon, states, actions), rng.random((horizon, states, actions))
    world = tabular.world(move, cost, laws(states), horizon, seen)
    expert = laws(actions, horizon, states)
    if draw(st.booleans()):
        expert = np.eye(actions)[expert.argmax(-1)]
    own = np.where(draw(st.booleans()), laws(actions, horizon, states), 0.9 * expert + 0.1 / actions)
    return Problem(dataclasses.replace(world, observations=states), expert), own[:, seen]


@st.composite
def rows(draw, horizon):
    """A row of all columns that both interpreters know; at a step at most one walker may jump."""
    chance = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32))
    column = lambda entry: np.array(draw(st.lists(entry, min_size=horizon, max_size=horizon)))
    given = {name: column(chance) for name in ("join", "back", "beta", "noise")}
    given |= {name: column(st.floats(0, 3, width=32)) for name in ("label_guide", "label_novice")}
    first, returns = np.arange(horizon) == 0, column(st.booleans())
    given["join"] = np.where(first, 1.0, np.where(returns, 0.0, given["join"]))
    given["back"] = np.where(first | ~returns, 0.0, given["back"])
    none = draw(st.sampled_from([(), ("back",), ("noise", "beta", "label_guide", "label_novice")]))
    table = schedules.validate(schedules.table(1, horizon, **given)._replace(**dict.fromkeys(none)))
    return schedules.row(schedules.filled(table) if draw(st.booleans()) else table, 0)


def deviations(problem, policy, row, key, sampled=None):
    """The greatest deviations of what is sampled, by name, in standard errors.

    Args:
      problem, policy, row: what both interpreters are given.
      key: an integer, of the episodes.
      sampled: another row for the sampler, of a control.
    """
    laws = exact.play(problem, policy, row)
    wanted, words = exact.frequencies(problem, laws), randomness.words(jax.random.key(key))
    seen, kept = SAMPLED(rollout.tables(problem), policy, row if sampled is None else sampled, words, IDS)
    found = {}
    for name in ("novice", "guide", "agreement"):
        law, share = np.asarray(getattr(wanted, name)), np.asarray(getattr(seen, name), float)
        assert not share[law == 0].any(), f"{name}: what cannot be was seen"
        error = np.sqrt(np.maximum(law * (1 - law), SELDOM) / EPISODES)
        found[name] = (np.abs(share - law) / error).max()
        certain = np.abs(law - 1) < 1e-12
        np.testing.assert_allclose(share[certain], 1.0, atol=ROUNDING, err_msg=name)
    for name in ("novice_cost", "guide_cost"):
        cost = np.asarray(getattr(kept, name), float)
        off = abs(cost.mean() - getattr(laws, name)) - ROUNDING * problem.world.horizon
        found[name] = max(off, 0.0) / max(cost.std() / np.sqrt(EPISODES), 1e-9)
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_is_sampled_is_what_is_computed(shape):
    @SETTLED
    @given(problems(shape), rows(shape[-1]), st.integers(0, 2**31 - 1))
    def compare(pair, row, key):
        problem, policy = pair
        found = deviations(problem, policy, row, key)
        assert max(found.values()) <= ERRORS, found

    compare()


OTHER = {
    "join": ("novice", "guide", "guide_cost", "agreement"),
    "back": ("novice", "novice_cost", "agreement"),
    "beta": ("novice", "novice_cost", "agreement"),
    "noise": ("guide", "guide_cost", "agreement"),
}


@pytest.mark.parametrize("column", OTHER)
def test_another_row_is_noticed(column):
    """The control: one entry of a column is off by 0.7 in what the sampler plays."""
    problem = gallery.random_mdp(5, 2, 2, seed=1, temperature=0.1)
    policy = np.asarray(problem.expert)[..., ::-1]  # the learner does the opposite
    base = schedules.table(1, 5, join=np.eye(5)[0] + 0.2 * np.eye(5)[3], back=0.2 * np.eye(5)[2], beta=0.2, noise=0.2)
    row = schedules.row(base._replace(label_guide=jnp.ones((1, 5))), 0)
    more = 0.7 * (np.arange(5) == (3 if column == "join" else 2))
    other = row._replace(**{column: getattr(row, column) + more})
    assert max(deviations(problem, policy, row, 3).values()) <= ERRORS
    found = deviations(problem, policy, row, 3, sampled=other)
    assert max(found[name] for name in OTHER[column]) > ERRORS, found
