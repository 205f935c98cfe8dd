"""Words that are drawn ahead of the steps that read them: the same bits, each computed once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import gallery, randomness, schedules, walk
from dagger_jax.randomness import Words
from dagger_jax.tabular import rollout
from dagger_jax.types import Intervention
from tests.walked import KEY, ROWS, T, same

PROBLEM = gallery.random_mdp(T, 5, 3, seed=2, temperature=0.3)
WORLD = rollout.tables(PROBLEM)
POLICY = np.random.default_rng(4).dirichlet(np.ones(3), (T, 5))
IDS = np.arange(300, dtype=np.uint32)


def test_packed_words_come_back():
    """Of all exponents, NaNs that signal and infinities included; what is not packed stays."""
    high = np.arange(2**9, dtype=np.uint32) << np.uint32(23)
    first = (high[:, None] | np.array([0, 1, 2**22, 2**23 - 1], np.uint32)).ravel()
    words = Words(first, first[::-1].copy())
    packed = jax.jit(randomness.crossing)(words)
    assert packed.dtype == jnp.complex64
    same(jax.jit(randomness.crossed)({"packed": packed, "plain": words, "none": None})["packed"], words)
    same(randomness.crossed([words]), [words])


@pytest.mark.parametrize("name", ["noise", "gate"])
def test_words_are_the_same_ahead_of_their_step(name, monkeypatch):
    """One step ahead, or three of T = 8."""
    takeover = Intervention(np.full((T, 5), 0.3), np.full((T, 5), 0.2)) if name == "gate" else None
    row = schedules.row(ROWS["coins" if name == "gate" else name], 0)
    plays = []
    for ahead in (1, 3):
        monkeypatch.setattr(walk, "AHEAD", ahead)
        plays.append(jax.jit(lambda row: rollout.play(WORLD, POLICY, row, KEY, IDS, takeover))(row))
    same(*plays)


def test_a_coin_is_drawn_where_a_row_is_not_certain():
    """A chance below all words: the coin is drawn, and nothing comes of it."""
    row = schedules.row(ROWS["chunks"], 0)
    row = row._replace(noise=jnp.zeros(T))
    play = jax.jit(lambda row: rollout.play(WORLD, POLICY, row, KEY, IDS))
    same(play(row), play(row._replace(noise=jnp.full(T, 1e-12))))
    assert np.any(play(row)[1].parted != play(row._replace(noise=jnp.full(T, 0.5)))[1].parted)


class Placed(rollout.Tables):
    """The same world, which begins in one state, without a word."""

    def reset(self, word):
        return jnp.zeros((), jnp.int32)


@pytest.mark.parametrize(("alone", "pairs"), [(True, 1), (False, 2)])
def test_each_word_is_computed_once(alone, pairs, monkeypatch):
    """One fusion of the compiled program has the twenty rotations of a pair of words, however many read it."""
    fields = ("initial", "transition", "cost", "expert", "law", "horizon")
    world, row = Placed(**{name: getattr(WORLD, name) for name in fields}), schedules.row(ROWS["chunks"], 0)

    def fusions(ahead):
        monkeypatch.setattr(walk, "AHEAD", ahead)
        play = jax.jit(lambda row: rollout.play(world, POLICY, row, KEY, IDS, alone=alone))
        text = play.lower(row).compile().as_text() or ""
        return sum(part.count(" shift-right-logical(") >= 19 for part in text.split("\n}\n"))

    assert fusions(4) == pairs
    assert fusions(1) > pairs  # the control
