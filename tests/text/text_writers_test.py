"""Writers against brute force: counts, enumerated hidden paths and derivations; token worlds and their costs."""

import itertools
from collections import Counter, defaultdict

import jax
import numpy as np
import pytest

from dagger_jax import evidence, schedules
from dagger_jax.tabular import exact, interaction, learners
from dagger_jax.text import evidence as tokens_evidence
from dagger_jax.text import transformer, walk, worlds, writers

T, V = 5, 3
TEXTS = worlds.texts(V, T)


def probabilities(writer, length=T):
    """P(next | prefix) for every prefix shorter than `length`, by feeding texts. {prefix: [V]}"""
    laws = np.exp(worlds.laws(writer, worlds.texts(writer.vocabulary, length)))
    texts = worlds.texts(writer.vocabulary, length).tolist()
    return {tuple(text[:t]): laws[i, t] for i, text in enumerate(texts) for t in range(length)}


def conditionals(whole, length=T, vocabulary=V):
    """P(next | prefix) from probabilities of whole texts {text: p}; prefixes of probability 0 are left out."""
    prefixes = defaultdict(float)
    for text, p in whole.items():
        for t in range(length + 1):
            prefixes[text[:t]] += p
    return {
        prefix: np.array([prefixes.get((*prefix, token), 0.0) / p for token in range(vocabulary)])
        for prefix, p in prefixes.items()
        if len(prefix) < length and p > 0
    }


def agree(writer, wanted, length=T, tolerance=1e-12):
    got = probabilities(writer, length)
    for prefix, law in wanted.items():
        np.testing.assert_allclose(got[prefix], law, atol=tolerance, err_msg=str(prefix))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_markov_writes_the_law_of_its_last_tokens(order):
    law = np.random.default_rng(order).dirichlet(np.ones(V), (V + 1,) * order)
    context = lambda prefix: ((V,) * order + prefix)[len(prefix) :]
    prefixes = {tuple(text[:t]) for text in TEXTS.tolist() for t in range(T)}
    agree(writers.markov(law, order), {prefix: law[context(prefix)] for prefix in prefixes})


@pytest.mark.parametrize(("order", "smoothing"), [(0, 0.25), (1, 0.25), (3, 0.25), (3, 0.0)])
def test_fitted_is_smoothed_counts(order, smoothing):
    text = np.random.default_rng(7).integers(0, V, 60)  # not all contexts of three occur
    counts = Counter(
        tuple(window)
        for length in range(1, order + 2)
        for window in np.lib.stride_tricks.sliding_window_view(text, length).tolist()
    )
    wanted = {}
    for prefix in {tuple(whole[:t]) for whole in TEXTS.tolist() for t in range(T)}:
        context = prefix[max(len(prefix) - order, 0) :]  # after a beginning, as many tokens as there are
        each = np.array([counts[(*context, token)] for token in range(V)])
        total = each.sum() + V * smoothing
        wanted[prefix] = (each + smoothing) / total if total else np.full(V, 1 / V)
    agree(writers.fitted(text, V, order, smoothing), wanted)


def test_a_text_may_begin_anywhere_in_what_was_fitted():
    """0 1 1 0 1 2, order 2, by hand: three of six tokens are 1; after a first 1 come 1, 0 and 2, once each."""
    found = probabilities(writers.fitted(np.array([0, 1, 1, 0, 1, 2]), V, 2, smoothing=0.0), 3)
    for prefix, law in (((), [2 / 6, 3 / 6, 1 / 6]), ((0,), [0, 1, 0]), ((1,), [1 / 3, 1 / 3, 1 / 3])):
        np.testing.assert_allclose(found[prefix], law, atol=1e-12, err_msg=str(prefix))  # float64
    np.testing.assert_allclose(found[0, 1], [0, 0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(found[2, 2], [1 / 3] * 3, atol=1e-12)  # the text never shows it


def test_hidden_is_the_sum_over_hidden_paths():
    rng = np.random.default_rng(3)
    move, emit, first = rng.dirichlet(np.ones(2), 2), rng.dirichlet(np.ones(V), 2), rng.dirichlet(np.ones(2))
    emit[0] = [0.6, 0.4, 0.0]
    whole = {}
    for text in map(tuple, TEXTS.tolist()):
        whole[text] = sum(
            first[path[0]]
            * np.prod([move[a, b] for a, b in itertools.pairwise(path)])
            * np.prod([emit[h, token] for h, token in zip(path, text, strict=True)])
            for path in itertools.product(range(2), repeat=T)
        )
    assert sum(whole.values()) == pytest.approx(1)
    agree(writers.Hidden(move, emit, first), conditionals(whole))


def derivations(kinds, depth, going_on, length):
    """Probabilities of texts of bracket words, from their definition: {text: p}, by a recursion over open brackets."""
    texts = {}

    def write(text, opened, p):
        if len(text) == length:
            texts[text] = p
            return
        closing = kinds + opened[-1] if opened else 2 * kinds
        if len(opened) == depth:
            write((*text, closing), opened[:-1], p)
            return
        for kind in range(kinds):
            write((*text, kind), (*opened, kind), p * going_on / kinds)
        if opened:
            write((*text, closing), opened[:-1], p * (1 - going_on))
        else:  # the text has ended, and nothing else is written
            ended = text + (closing,) * (length - len(text))
            texts[ended] = p * (1 - going_on)

    write((), (), 1.0)
    return texts


@pytest.mark.parametrize(("kinds", "depth", "going_on", "length"), [(1, 2, 0.6, 7), (2, 2, 0.3, 5), (1, 1, 0.5, 5)])
def test_brackets_are_their_derivations(kinds, depth, going_on, length):
    whole = derivations(kinds, depth, going_on, length)
    assert sum(whole.values()) == pytest.approx(1)
    grammar = writers.brackets(kinds, depth, going_on)
    agree(grammar, conditionals(whole, length, 2 * kinds + 1), length, 1e-12)
    # After what is in no word nothing is written but the end.
    for prefix in ((kinds,), (kinds, 0), (0, kinds, kinds), (0, 2 * kinds)):
        assert probabilities(grammar, 4)[prefix].tolist() == np.eye(2 * kinds + 1)[2 * kinds].tolist()


def test_a_grammar_of_more_rules():
    """S -> a S B | b, B -> a | c: a rule with two symbols left, one that replaces the top; words a^n b (a|c)^n."""
    tail = np.full((2, 3, 2), -1)
    tail[0, 0] = 0, 1
    probability = np.array([[0.7, 0.3, 0.0], [0.4, 0.0, 0.6]])
    grammar = writers.Grammar(probability, tail, end=2, height=3)
    whole = defaultdict(float)

    def write(text, stack, p):
        if len(text) == T:
            whole[text] += p
        elif not stack:
            write((*text, 2), stack, p)
        elif stack[0] == "S":
            share = 0.7 if len(stack) < 3 else 0.0  # a rule that needs a higher stack is not used
            write((*text, 0), ("S", "B", *stack[1:]), p * share) if share else None
            write((*text, 1), stack[1:], p * (1 - share))
        else:
            write((*text, 0), stack[1:], p * 0.4)
            write((*text, 2), stack[1:], p * 0.6)

    write((), ("S",), 1.0)
    assert sum(whole.values()) == pytest.approx(1)
    agree(grammar, conditionals(whole))


def test_frozen_is_the_model():
    """Float32 against itself along another path: a few 1e-7 of a probability."""
    config = transformer.Config(V, 4, width=8, layers=1, heads=2)
    frozen = writers.Frozen(config, jax.jit(transformer.init, static_argnums=0)(config, jax.random.key(0)))
    tokens = worlds.texts(V, 4)[:9]

    def fed(text):
        inputs = transformer.shifted(config, text)
        step = lambda state, xs: frozen.feed(state, *xs)
        return jax.lax.scan(step, frozen.start(), (inputs, jax.numpy.arange(4)))[1]

    whole = jax.jit(jax.vmap(walk.along, (None, 0)))(frozen, tokens)
    np.testing.assert_allclose(jax.jit(jax.vmap(fed))(tokens), whole, atol=2e-6)


# ---- token worlds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recovers", [0.0, 0.25, 0.5, 1.0])
def test_recoverability_of_garbage(recovers):
    """One token of garbage costs (1 - (1 - r)^T) / r, T where r is 0: exactly what is expected of a geometric wait."""
    horizon = 12
    writer = writers.with_garbage(writers.random_markov(V, 1), recovers)
    known = evidence.constants(worlds.problem(writer, horizon, 1, "garbage"))
    wanted = (1 - (1 - recovers) ** horizon) / recovers if recovers else horizon
    assert known.value[0, 0] == 0  # the writer alone writes none
    assert known.recoverability == pytest.approx(wanted, abs=1e-9)


def test_a_natural_writer_recovers():
    """A Markov writer forgets its last token: u under the 0-1 cost is of order 1 and does not grow with T."""
    worlds_of = (worlds.problem(writers.random_markov(V, 1, 3), horizon, 1) for horizon in (16, 32))
    short, long = (evidence.constants(world).recoverability for world in worlds_of)
    assert short < 3
    assert long == pytest.approx(short, abs=0.05)


def test_a_world_knows_what_the_writer_knows():
    """Order 2 seen through the last token: the states are pairs, the observations tokens; policies become writers."""
    expert = writers.random_markov(V, 2, 1)
    problem = worlds.problem(expert, T, 1)
    assert (problem.world.states, problem.world.observations) == (1 + V + V**2, V + 1)
    assert worlds.problem(expert, T, None).world.observations == 1 + V + V**2
    again = worlds.laws(worlds.as_machine(problem, problem.expert), TEXTS)
    np.testing.assert_allclose(again, worlds.laws(expert, TEXTS))
    learner = learners.tabular(problem.world, learners.LogLoss(), shared=True)
    schedule = schedules.chunked(2, schedules.starts(T, 2))
    policy = interaction.run(problem, schedule, learner, interaction.exactly(problem)).newest
    fitted = worlds.as_machine(problem, policy)
    # The learner's texts, in the world and one by one (the policy is float32, its rows are not normalised again).
    last = exact.deploy(problem, policy).last
    by_token = np.bincount(problem.world.observation, last)[:V]
    np.testing.assert_allclose(by_token, np.bincount(TEXTS[:, -1], tokens_evidence.text_laws(fitted, T)), atol=1e-6)
    assert abs(by_token - 1 / V).max() > 0.05


def test_refusals():
    machine = writers.random_markov(2, 1)
    refused = [
        (lambda: writers.markov(np.ones((3, 2)), 1), "sum to 1"),
        (lambda: writers.markov(np.ones((2, 2)) / 2, 1), r"\[V \+ 1\] \* 1"),
        (lambda: writers.fitted(np.array([0, 1]), 2, 2), "too short for order 2"),
        (lambda: writers.fitted(np.array([0, 3, 1]), 2, 1), r"0\.\.1"),
        (lambda: writers.fitted(np.zeros(99, int), 99, 4), "2\\^24"),
        (lambda: writers.with_garbage(machine, 1.5), "recovers"),
        (lambda: writers.brackets(0, 1), "kinds"),
        (lambda: worlds.problem(machine, 4, -1), "context"),
        (lambda: worlds.problem(machine, 4, 1, "nats"), "cost must be one of wrong"),
        (lambda: worlds.problem(writers.random_markov(30, 2), 4, 3), "too many for a table"),
        (lambda: worlds.prefix_tree(writers.random_markov(10, 1), 9), "too many to enumerate"),
        (lambda: worlds.as_machine(worlds.problem(machine, 4, 1), np.ones((1, 2, 2))), "policy must have shape"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message):
            call()
