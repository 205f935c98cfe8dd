"""Worlds that end early: who is at an end stays there, free of cost, and does nothing."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import schedules
from dagger_jax.tabular import rollout
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem
from tests.walked import IDS, KEY, ROWS, T, played, same

EDGE = 4  # states 0..EDGE; both ends end the episode


class Edges(NamedTuple):
    """A walk on integers that ends at either edge."""

    inner: Any  # the tables of the same walk, in which it would go on from there

    @property
    def horizon(self):
        return self.inner.horizon

    def reset(self, word):
        return self.inner.reset(word)

    def observe(self, state, step):
        return state

    def advance(self, state, action, step, word):
        return self.inner.advance(state, action, step, word)

    def shaken(self, word):
        return self.inner.shaken(word)

    def ended(self, state):
        return (state == 0) | (state == EDGE)


def problems(apart=False):
    """The walk without an end, whose every step costs 1, with its end as a free absorbing state, and a learner.

    Both act alike at the edges, unless they are to be `apart` there.
    """
    states, rng = np.arange(EDGE + 1), np.random.default_rng(2)
    down, up = np.eye(EDGE + 1)[(states - 1) % (EDGE + 1)], np.eye(EDGE + 1)[(states + 1) % (EDGE + 1)]
    going = np.stack([0.8 * down + 0.2 * up, 0.3 * down + 0.7 * up], axis=1)
    edges = np.isin(states, (0, EDGE))
    absorbed = np.where(edges[:, None, None], np.eye(EDGE + 1)[:, None], going)
    expert, learner = rng.dirichlet([1, 1], (2, EDGE + 1))
    expert[edges], learner[edges] = [1, 0], [0, 1] if apart else [1, 0]
    start = np.array([0.0, 0.3, 0.4, 0.3, 0.0])
    make = lambda move, cost: Problem(tabular.world(move, cost, start, T), expert[None])
    ones = np.ones((EDGE + 1, 2))
    return make(going, ones), make(absorbed, np.where(edges[:, None], 0.0, ones)), learner[None]


@pytest.mark.parametrize("name", ROWS)
def test_an_end_is_a_free_absorbing_state(name):
    """To the bit; but noise still moves the hand of a walker in a table, where nobody acts after the end."""
    going, absorbed, policy = problems()
    row = schedules.row(ROWS[name], 0)
    world = Edges(rollout.tables(going))
    shown, ends = played(world, *rollout.agents(world.inner, policy), row)
    wanted = jax.jit(rollout.trace)(rollout.tables(absorbed), policy, row, KEY, IDS)
    _, kept = jax.jit(rollout.play)(rollout.tables(absorbed), policy, row, KEY, IDS)
    shared = ("novice", "asked", "acts", "guide", "intended", "guided")
    for field in shared + (() if name == "noise" else ("together",)):
        same(getattr(shown, field), getattr(wanted, field))
    same(shown.lives, ~world.ended(wanted.novice))
    same(shown.guide_lives, ~world.ended(wanted.guide))
    same(shown.joined, wanted.joined & shown.guide_lives)
    same((ends.novice_cost, ends.guide_cost), (kept.novice_cost, kept.guide_cost))
    same(ends.chunks, shown.joined.sum(0))
    if name != "noise":
        same(ends.parted, kept.parted)
    assert 0.1 < np.mean(shown.lives & shown.guide_lives) < 0.9


@pytest.mark.parametrize("name", ROWS)
def test_every_living_step_costs_and_counts_once(name):
    """Every living step costs 1: so the steps that live, of the walker that is labelled, are the cost."""
    world, row = Edges(rollout.tables(problems()[0])), schedules.row(ROWS[name], 0)
    shown, ends = played(world, *rollout.agents(world.inner, problems()[2]), row)
    for lives, cost in ((shown.lives, ends.novice_cost), (shown.guide_lives, ends.guide_cost)):
        np.testing.assert_array_equal(lives.sum(0), cost)
    if row.back is None:
        assert not (~shown.lives[:-1] & shown.lives[1:]).any()  # nobody comes back to life but by a jump
        still = shown.novice[1:] == shown.novice[:-1]
        assert still[~shown.lives[:-1]].all()
    revived = ~shown.guide_lives[:-1] & shown.guide_lives[1:]
    assert not (revived & ~shown.joined[1:]).any()
    if name == "dagger":
        same(shown.guide_lives, shown.lives)


def test_who_is_at_an_end_does_nothing():
    """Where both are at an end their hands say nothing, though they would differ; a living one's do."""
    going, _, policy = problems(apart=True)
    world, row = Edges(rollout.tables(going)), schedules.row(ROWS["cloning"], 0)
    shown, ends = played(world, *rollout.agents(world.inner, policy), row)
    differ = (shown.acts != shown.guided) & (shown.lives | shown.guide_lives)
    same(ends.parted, jnp.where(differ.any(0), differ.argmax(0), T))
    same(shown.together, jnp.cumsum(differ, axis=0) == 0)
    over = ~(shown.lives | shown.guide_lives)
    assert (shown.acts != shown.guided)[over].all()  # the control: they would have parted there
    assert shown.together[-1][over[-1]].any()
