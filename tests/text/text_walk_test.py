"""Two walkers who write: sampled texts against the exact laws of the tree of all prefixes, and what they share."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dagger_jax import randomness, schedules
from dagger_jax import walk as scan
from dagger_jax.tabular import exact, rollout
from dagger_jax.text import scheming, transformer, walk, worlds, writers

T, V = 4, 3
B = 20_000
KEY = randomness.for_round(randomness.words(jax.random.key(5)), 3)
IDS = jnp.arange(B, dtype=jnp.uint32)
RNG = np.random.default_rng(8)
CONFIG = transformer.Config(V, T, width=8, layers=1, heads=2)

EXPERTS = {
    "markov": writers.random_markov(V, 2, 1),
    "hidden": writers.Hidden(
        RNG.dirichlet([1, 1], 2), np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]), np.array([0.4, 0.6])
    ),
    "brackets": writers.brackets(1, 2, 0.6),
    "garbage": writers.with_garbage(writers.random_markov(V - 1, 1, 2), 0.5),
}
LEARNER = writers.random_markov(V, 1, 9, 2.0)
PLAY = jax.jit(walk.play)


@functools.cache
def frozen(config=CONFIG, seed=0):
    return writers.Frozen(config, jax.jit(transformer.init, static_argnums=0)(config, jax.random.key(seed)))


@functools.cache
def tree(name):
    """All prefixes of a writer's texts as a tabular problem, its sampler, and the learner's policy in it."""
    problem = worlds.prefix_tree(writer_of(name), T)
    return problem, rollout.tables(problem), np.asarray(worlds.unrolled(LEARNER, T).emission)


def writer_of(name):
    return frozen() if name == "frozen" else EXPERTS[name]


EVERY = pytest.mark.parametrize("name", [*EXPERTS, "frozen"])


def row_of(join, **columns):
    return schedules.row(schedules.table(1, len(join), join=np.asarray(join, float), label_guide=1.0, **columns), 0)


COINS = row_of([1, 0.5, 0.3, 0.7], beta=np.array([0.3, 0.0, 0.6, 0.2]))


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def prefixes(text):
    """Numbers of the novice's and the guide's prefixes before each token, as in `worlds.unrolled`. [T, B] each"""
    starts = [sum(V**s for s in range(t)) for t in range(T)]
    novice = guide = np.zeros(text.novice.shape[1], int)
    seen = []
    for t in range(T):
        guide = np.where(text.joined[t], novice, guide)
        seen.append((starts[t] + novice, starts[t] + guide))
        novice, guide = novice * V + text.novice[t], guide * V + text.guide[t]
    return (*np.moveaxis(np.array(seen), 1, 0), starts[-1] + V ** (T - 1) + novice)


def fits(states, law):
    """P-value of sampled states [B] under an exact law [S]: Pearson's chi-square, rare states taken together."""
    counts = np.bincount(states, minlength=len(law))
    assert not counts[law == 0].any()
    common = law * B >= 10
    rest = law[~common].sum()
    pooled = lambda values, tail: np.append(values[common], tail)[: None if rest * B > 1 else -1]
    observed, wanted = pooled(counts, counts[~common].sum()), pooled(law * B, rest * B)
    return stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue if len(wanted) > 1 else 1.0


@EVERY
def test_sampled_texts_follow_the_exact_laws(name):
    """Every step's prefixes of both walkers, the expert's answers, and whole texts; coins in `join` and `beta`.

    Eleven p-values a writer, 55 in all: the smallest of so many uniform ones is below 1e-4 once in 180 such tests, and
    the seed is fixed. Law and sampler differ by rounding alone, of 1e-7 (a chi-square of 20,000 sees 1e-2).
    """
    expert = writer_of(name)
    problem, _, policy = tree(name)
    laws = exact.play(problem, policy, COINS)
    text = jax.device_get(PLAY(expert, LEARNER, COINS, KEY, IDS))
    novice, guide, last = prefixes(text)
    asked = np.einsum("ts,sa->tsa", laws.novice, np.asarray(problem.expert)[0]).reshape(T, -1)
    found = [fits(last, laws.last)]
    for t in range(T):
        found += [fits(novice[t], laws.novice[t]), fits(guide[t], laws.guide[t])]
        found += [fits(novice[t] * V + text.asked[t], asked[t])] if t > 1 else []
    assert min(found) > 1e-4
    # 4.5 standard errors of a share.
    error = 0.5 * abs(policy - problem.expert).sum(-1)
    np.testing.assert_allclose(text.wrong.mean(1), (laws.novice * error).sum(-1), atol=4.5 * 0.5 / B**0.5)
    np.testing.assert_allclose(text.together.mean(1), laws.agreement, atol=4.5 * 0.5 / B**0.5)
    assert text.together.mean() > 0.1


MOVES = {
    "excursions": {"join": [1, 0, 0, 0], "back": [0, 0.5, 0.3, 1]},
    "there and back, beta": {"join": [1, 0, 0.6, 0], "back": [0, 0.5, 0, 1], "beta": 0.2},
    "noise": {"join": [1, 0, 0.5, 0], "noise": 0.4},
    "patience": {"join": [1, 0, 0, 0], "patience": 0.45},
    "patience and excursions": {"join": [1, 0, 0, 0], "back": [0, 0, 0.5, 0], "patience": 0.3},
}


@EVERY
@pytest.mark.parametrize("case", MOVES)
def test_columns_mean_for_text_what_they_mean_for_tables(name, case):
    """Texts against the walk of the tree of all prefixes under the same words, 20,000 to the token.

    Laws differ by rounding alone: of 160,000 tokens an expected 0.1 fall between both's thresholds, 3 are allowed.
    """
    expert, row = writer_of(name), row_of(**MOVES[case])
    _, sampler, policy = tree(name)
    text = jax.device_get(PLAY(expert, LEARNER, row, KEY, IDS))
    trace = jax.device_get(jax.jit(rollout.trace)(sampler, policy, row, KEY, IDS))
    for field, wanted in (
        (text.novice, trace.acts), (text.asked, trace.asked), (text.guide, trace.guided),
        (text.intended, trace.intended), (text.joined, trace.joined), (text.together, trace.together),
    ):  # fmt: skip
        assert (field != wanted).any(0).sum() <= 3
    assert text.joined.any()
    assert (text.novice != text.guide).any()


def test_a_learner_that_does_not_follow_the_guide_would_be_seen():
    """The control: excursions with the learner's memory left behind are other texts."""
    row = row_of(**MOVES["excursions"])
    text = jax.device_get(PLAY(EXPERTS["markov"], frozen(), row, KEY, IDS))
    stays = scan.Parties.jump
    walks = lambda *args: walk.play(*args)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan.Parties, "jump", lambda self, *args: stays(self._replace(follows=False), *args))
        left = jax.device_get(jax.jit(walks)(EXPERTS["markov"], frozen(), row, KEY, IDS))
    assert (text.novice != left.novice).any(0).mean() > 0.02


def test_the_chi_square_sees_another_law():
    """The control: the same texts against the laws of a learner that is 0.05 of another writer."""
    problem, _, policy = tree("markov")
    other = 0.95 * policy + 0.05 / V
    text = jax.device_get(PLAY(EXPERTS["markov"], LEARNER, COINS, KEY, IDS))
    assert fits(prefixes(text)[2], exact.play(problem, other, COINS).last) < 1e-4


def test_chunks_of_one_token_are_dagger_to_the_bit():
    play = lambda schedule: PLAY(EXPERTS["markov"], LEARNER, schedules.row(schedule, 0), KEY, IDS[:500])
    chunked = play(schedules.chunked(1, schedules.starts(T, 1), np.array([0.25])))
    same(chunked, play(schedules.dagger(1, T, np.array([0.25]))))
    same(chunked.guide, chunked.asked)  # the chunk's only token is the answer at the novice's prefix
    assert (np.asarray(chunked.guide) != chunked.novice).any()


def test_joins():
    """Chunks start where the row says, from the novice's prefix; `together` counts from there."""
    text = jax.device_get(PLAY(EXPERTS["markov"], LEARNER, row_of([1, 0, 1, 0]), KEY, IDS[:2000]))
    assert text.joined.tolist() == [[bool(j)] * 2000 for j in (1, 0, 1, 0)]
    same(text.guide[[0, 2]], text.asked[[0, 2]])
    assert (text.guide[[1, 3]] != text.asked[[1, 3]]).any(axis=1).all()
    alike = text.novice == text.guide
    same(text.together, np.stack([alike[0], alike[0] & alike[1], alike[2], alike[2] & alike[3]]))
    # Nobody who has written alike since the join is asked for something else.
    assert (text.guide[1] == text.asked[1])[text.together[0]].all()

    alone = PLAY(EXPERTS["markov"], LEARNER, row_of([1, 0, 0, 0]), KEY, IDS[:2000])
    same(text.novice, alone.novice)  # the novice does not know of chunks
    itself = PLAY(EXPERTS["markov"], EXPERTS["markov"], row_of([1, 0, 0, 0]), KEY, IDS[:2000])
    same(itself.novice, itself.guide)
    same(itself.guide, alone.guide)
    assert not np.asarray(itself.wrong).any()
    all_beta = PLAY(EXPERTS["markov"], LEARNER, row_of([1, 0, 0, 0], beta=1.0), KEY, IDS[:2000])
    same(all_beta.novice, all_beta.guide)  # the expert moves the novice too


@EVERY
def test_reading_along_is_feeding_token_by_token(name):
    """`along` and `both` against the definition; float32, and for a model other orders of the sums."""
    writer = writer_of(name)
    feed = jax.jit(writer.feed)
    rng = np.random.default_rng(1)

    def fed(prefix, tokens):
        state, laws = writer.start(), []
        for position, token in enumerate([V, *prefix, *tokens][: len(prefix) + len(tokens)]):
            state, law = feed(state, jnp.asarray(token), position)
            laws.append(law)
        return laws[len(prefix) :]

    along, both = jax.jit(functools.partial(walk.along, writer)), jax.jit(functools.partial(walk.both, writer))
    nothing = walk.Text(*[jnp.zeros(T)] * 7)
    for joins in ([1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]):
        novice, guide = rng.integers(0, V, (2, T)).tolist()
        wanted = []
        edges = [*np.flatnonzero(joins).tolist(), T]
        for start, end in itertools.pairwise(edges):
            wanted += fed(novice[:start], guide[start:end])
        text = nothing._replace(novice=jnp.asarray(novice), guide=jnp.asarray(guide), joined=jnp.asarray(joins, bool))
        own, other = both(text)
        for got, want in ((own, fed([], novice)), (other, wanted), (along(jnp.asarray(novice)), fed([], novice))):
            np.testing.assert_allclose(got, np.array(want), atol=5e-6, rtol=1e-6)


JUMPS = {
    "resets": ([1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 1, 1]),
    "there and back": ([1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0]),
    "back at once": ([1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]),
}


@pytest.mark.parametrize("name", ["markov", "frozen"])
@pytest.mark.parametrize("case", JUMPS)
def test_reading_both_streams_where_either_goes_on_from_the_other(name, case):
    """`both` against feeding each walker's own prefix token by token; 6 tokens. Tolerance: float32, other orders."""
    length = 6
    config = transformer.Config(V, length, width=8, layers=1, heads=2)
    writer = frozen(config, 1) if name == "frozen" else EXPERTS[name]
    feed, rng = jax.jit(writer.feed), np.random.default_rng(2)
    novice, guide = rng.integers(0, V, (2, length)).tolist()
    joins, backs = JUMPS[case]
    ways, wanted = [[], []], []
    for t in range(length):
        ways = [ways[1 if backs[t] else 0], ways[0 if joins[t] else 1]]
        for way in ways:
            state = writer.start()
            for position, token in enumerate([V, *way]):
                state, law = feed(state, jnp.asarray(token), position)
            wanted.append(law)
        ways = [[*ways[0], novice[t]], [*ways[1], guide[t]]]
    text = walk.Text(
        novice=jnp.asarray(novice), guide=jnp.asarray(guide), joined=jnp.asarray(joins, bool),
        returned=jnp.asarray(backs, bool),
        **dict.fromkeys(("asked", "intended", "together", "wrong"), jnp.zeros(length)),
    )  # fmt: skip
    found = np.moveaxis(np.asarray(jax.jit(walk.both)(writer, text)), 0, 1).reshape(2 * length, V)
    np.testing.assert_allclose(found, np.array(wanted), atol=5e-6, rtol=1e-6)


def test_one_trace_over_all_partitions():
    traces = []

    @jax.jit
    def play(row):
        traces.append(row)
        return walk.play(EXPERTS["markov"], LEARNER, row, KEY, IDS[:500])

    seen = [play(row_of([1, *rest], beta=0.1)).guide for rest in itertools.product((0, 1), repeat=T - 1)]
    assert len(traces) == 1
    assert len({np.asarray(guide).tobytes() for guide in seen}) == 2 ** (T - 1)
    play(COINS)  # coins too are data
    assert len(traces) == 1


def test_texts_depend_on_their_own_number_alone():
    """Other blocks in another order, a batch of rows, a beta of each text's own: the same tokens bit for bit."""
    play = lambda row, ids: jax.device_get(PLAY(EXPERTS["hidden"], LEARNER, row, KEY, ids))
    whole, shuffled = play(COINS, IDS[:60]), np.random.default_rng(2).permutation(100)[:60]
    again, known = play(COINS, IDS[shuffled]), shuffled < 60
    same(jax.tree.map(lambda leaf: leaf[:, shuffled[known]], whole), jax.tree.map(lambda leaf: leaf[:, known], again))
    rows = schedules.stack([COINS, row_of([1, 0, 0, 1])])
    batch = jax.jit(jax.vmap(walk.play, (None, None, 0, None, None)))(EXPERTS["hidden"], LEARNER, rows, KEY, IDS[:60])
    for leaf, one in zip(jax.tree.leaves(batch), jax.tree.leaves(whole), strict=True):
        # Integers and bools are equal; `wrong` is a sum, whose order is XLA's choice.
        np.testing.assert_allclose(leaf[0], one, atol=0 if one.dtype.kind != "f" else 1e-6)
    each = jnp.asarray(np.random.default_rng(0).random((T, 60)) < 0.5, float)
    mixed = play(COINS._replace(beta=each), IDS[:60])
    for number in (0, 7):
        alone = play(COINS._replace(beta=each[:, number]), IDS[:60])
        same(mixed.novice[:, number], alone.novice[:, number])


def copies(row, share):
    return row if share is None else row._replace(copied=jnp.full(T, share))


def test_scheduled_sampling_copies_the_reference():
    """With probability `copied` the novice's token is the guide's; the reference is what it was."""
    row = row_of([1, 0, 0, 0])
    play = lambda copied=None: jax.device_get(PLAY(EXPERTS["markov"], LEARNER, copies(row, copied), KEY, IDS))
    never, half, always = play(0.0), play(0.5), play(1.0)
    same(never.guide, play().guide)  # nor does another algorithm change the reference
    same(always.novice, always.guide)
    for text in (half, always):
        same(text.guide, never.guide)
    # The first token: copied, or the same by itself. 5 standard errors.
    alone, shared = (np.mean(text.novice[0] == text.guide[0]) for text in (never, half))
    assert shared == pytest.approx(0.5 + 0.5 * alone, abs=5 * 0.5 / B**0.5)
    assert alone < 0.95


def test_scheduled_sampling_draws_independently_of_the_reference():
    """Given both prefixes, the learner's own token tells nothing of the reference's, the label; without it they share.

    Chi-square of independence before the first token and within each pair of one-token prefixes, 10 tables at most, of
    the tokens that both write 100 times or more: independent ones are below 1e-4 once in 1,000 such tests, and the seed
    is fixed. The shared word is the control.
    """
    row = row_of([1, 0, 0, 0])
    play = lambda copied=None: jax.device_get(PLAY(EXPERTS["markov"], LEARNER, copies(row, copied), KEY, IDS))

    def independent(table):
        apart = stats.contingency.expected_freq(table)
        return stats.chisquare(table.ravel(), apart.ravel(), ddof=sum(table.shape) - 2).pvalue

    def chances(text):
        pairs = text.novice * V + text.guide  # [T, B]
        tables = [pairs[0], *(pairs[1][pairs[0] == before] for before in range(V * V))]
        counts = [np.bincount(own, minlength=V * V).reshape(V, V) for own in tables]
        common = [table[table.sum(1) >= 100][:, table.sum(0) >= 100] for table in counts]
        return [independent(table) for table in common if min(table.shape) > 1]

    apart = chances(play(0.0))
    assert len(apart) > 4
    assert min(apart) > 1e-4
    assert chances(play())[0] < 1e-100


def test_texts_longer_than_a_writer_are_refused():
    """A cache past its end, and a law past its last step, would be read at their last entry, without a word."""
    long, steps = row_of([1, 0, 1, 0, 0]), writers.Machine(np.full((T, 1, V), 1 / V), np.zeros((1, V), int))
    play = lambda expert, learner: jax.eval_shape(walk.play, expert, learner, long, KEY, IDS[:2])
    told = scheming.Scheming(frozen(), EXPERTS["markov"], 0.0, 0.1, np.eye(T + 1)[0])
    for expert, learner, who in (
        (EXPERTS["markov"], frozen(), "learner"),
        (frozen(), LEARNER, "expert"),
        (EXPERTS["markov"], told, "learner"),  # a transformer within another writer
        (EXPERTS["markov"], steps, "learner"),
    ):
        with pytest.raises(ValueError, match=rf"T = 5 tokens, the {who} writes 4 at most \(config.length"):
            play(expert, learner)
    assert play(EXPERTS["markov"], LEARNER).novice.shape == (5, 2)


def test_other_vocabularies_are_refused():
    with pytest.raises(ValueError, match="expert writes V = 5 tokens, the learner V = 3"):
        walk.play(writers.random_markov(V + 2, 1), frozen(), COINS, KEY, IDS[:2])
