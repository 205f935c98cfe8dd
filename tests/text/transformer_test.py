"""The decoder: one model, however its tokens are read."""

import functools
import itertools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import cost
from dagger_jax.text import transformer
from dagger_jax.text.transformer import Config

T, V = 12, 7
full, prefill, decode, two_streams = map(
    jax.jit, (transformer.full, transformer.prefill, transformer.decode, transformer.two_streams)
)
FLOAT32 = {"rtol": 0, "atol": 2e-5}  # of logits that are of order 1: sums in another order
BFLOAT16 = {"rtol": 0, "atol": 0.06}  # 8 bits of mantissa, two layers

KINDS = pytest.mark.parametrize(
    ("dtype", "positions", "tolerance"),
    [("float32", "rotary", FLOAT32), ("float32", "learned", FLOAT32), ("bfloat16", "rotary", BFLOAT16)],
)
EXACT = pytest.mark.parametrize("positions", ["rotary", "learned"])


@functools.cache
def model(dtype: Any = "float32", positions: Any = "rotary", length=T):
    """Small, with parameters that are not symmetric: biases and scales are moved away from 0 and 1."""
    config = Config(V, length, width=16, layers=2, heads=2, dtype=dtype, positions=positions)
    rng = np.random.default_rng(1)
    params = jax.jit(transformer.init)(config, jax.random.key(0))
    return config, jax.tree.map(lambda leaf: leaf + np.float32(0.1) * rng.normal(size=leaf.shape).astype("f"), params)


def text(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).integers(V, size=shape or (T,)))


def decoded(config, params, tokens, cache=None, begin=0):
    """Logits of each token from `begin`, decoded one at a time."""
    inputs = np.concatenate([[V], tokens[:-1]])
    cache = transformer.empty(config) if cache is None else cache
    found = []
    for position in range(begin, len(tokens)):
        logits, cache = decode(config, params, cache, inputs[position], position)
        found.append(logits)
    return np.stack(found)


# ---- cache ---------------------------------------------------------------------------------------------------------


@KINDS
def test_decoding_with_a_cache_is_the_full_pass_at_every_position(dtype, positions, tolerance):
    config, params = model(dtype, positions)
    tokens = text(2)
    whole = full(config, params, tokens)
    assert whole.shape == (T, V)
    assert whole.dtype == jnp.float32
    np.testing.assert_allclose(decoded(config, params, tokens), whole, **tolerance)
    assert np.ptp(whole) > 1  # the tolerance is small beside what is compared


@KINDS
def test_prefill_at_every_length_is_the_full_pass_and_decoding_goes_on_from_it(dtype, positions, tolerance):
    config, params = model(dtype, positions)
    tokens = text(3)
    whole = full(config, params, tokens)
    for count in range(T):
        # What stands after the prefix must not matter: it is padding.
        padded = jnp.where(jnp.arange(T - 1) < count, tokens[:-1], (tokens[:-1] + 1) % V)
        logits, cache = prefill(config, params, transformer.empty(config), padded, count)
        np.testing.assert_allclose(logits, whole[count], **tolerance)
        if count + 1 < T:
            rest = decoded(config, params, tokens, cache, count + 1)
            np.testing.assert_allclose(rest, whole[count + 1 :], **tolerance)


def test_a_prefill_shorter_than_the_cache():
    config, params = model()
    tokens = text(3)
    logits, cache = prefill(config, params, transformer.empty(config), tokens[:4], 4)
    whole = full(config, params, tokens)
    np.testing.assert_allclose(logits, whole[4], **FLOAT32)
    np.testing.assert_allclose(decoded(config, params, tokens, cache, 5), whole[5:], **FLOAT32)


def test_what_was_in_a_cache_beyond_the_position_does_not_matter():
    config, params = model()
    dirty = jax.tree.map(lambda part: part + 3.0, transformer.empty(config))
    np.testing.assert_array_equal(
        decoded(config, params, text(4), dirty), decoded(config, params, text(4), transformer.empty(config))
    )


def test_the_future_does_not_matter():
    config, params = model()
    tokens = text(5)
    whole = np.asarray(full(config, params, tokens))
    for place in range(T):
        other = np.asarray(full(config, params, tokens.at[place].set((tokens[place] + 1) % V)))
        np.testing.assert_allclose(other[: place + 1], whole[: place + 1], **FLOAT32)
        assert place == T - 1 or np.abs(other[place + 1] - whole[place + 1]).max() > 1e-3


def test_what_a_cache_holds_is_what_the_prefill_and_the_decoded_tokens_put_there():
    """The same keys and values by both ways, and nothing beyond them."""
    config, params = model()
    tokens, cache = text(3), transformer.empty(config)
    _, filled = prefill(config, params, cache, tokens[:7], 7)
    for position, token in enumerate([V, *tokens[:7]]):
        _, cache = decode(config, params, cache, token, position)
    for ours, theirs in zip(jax.tree.leaves(cache), jax.tree.leaves(filled), strict=True):
        np.testing.assert_allclose(ours, theirs, **FLOAT32)
        assert np.abs(ours[:, :8]).max(-1).min() > 1e-3
        np.testing.assert_array_equal(ours[:, 8:], 0)


def copied(program, elements):
    """Copies and transpositions of so many elements or more, outside the entry of a compiled program: in its loops."""
    shapes = []
    for computation in re.split(r"\n(?=\S)", program.as_text()):
        if not computation.startswith("ENTRY"):
            found = re.findall(r"= \(?\w+\[([\d,]*)\]\S* (?:copy|copy-start|transpose)\(", computation)
            shapes += [[int(size) for size in shape.split(",") if size] for shape in found]
    return [shape for shape in shapes if math.prod(shape) >= elements]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_decode_loop_copies_no_cache(batch):
    """A row is written a token: no array of the size of one layer's keys is copied in the loop, and few bytes move."""
    config = Config(V, 512, width=64, layers=2, heads=2)
    params = jax.jit(transformer.init)(config, jax.random.key(0))
    caches = jax.tree.map(lambda part: jnp.zeros((batch, *part.shape)), transformer.empty(config))

    def write(params, caches, tokens):
        def step(carry, position):
            one = lambda cache, token: transformer.decode(config, params, cache, token, position)
            logits, caches = jax.vmap(one)(*carry)
            return (caches, logits.argmax(-1)), None

        return jax.lax.scan(step, (caches, tokens), jnp.arange(512))[0]

    program = jax.jit(write, donate_argnums=1).lower(params, caches, jnp.full(batch, V)).compile()
    assert "while(" in str(program.as_text())
    assert not copied(program, 512 * 64)
    # Activations and scores are moved as well; every further pass over the caches would add 0.7 and more.
    assert cost.counted(program).bytes < 1.5 * cost.decode(config, 513, batch).bytes


def test_the_search_for_copies_finds_them():
    """The control: two arrays that change places in a loop have to be copied."""
    swap = lambda pair: jax.lax.fori_loop(0, 9, lambda _, pair: (pair[1], pair[0] + 1), pair)
    program = jax.jit(swap).lower((jnp.zeros((4, 8)), jnp.ones((4, 8)))).compile()
    assert copied(program, 32)
    assert not copied(program, 33)


# ---- two streams ---------------------------------------------------------------------------------------------------


def separate(config, params, novice, guide, joins):
    """The guide's logits by a pass over [prefix, chunk] for each chunk."""
    starts = [*np.flatnonzero(joins), T]
    found = []
    for begin, end in itertools.pairwise(starts):
        mixed = jnp.where(jnp.arange(T) < begin, novice, guide)  # what stands after the chunk is not seen by it
        found.append(full(config, params, mixed)[begin:end])
    return jnp.concatenate(found)


def partitions():
    """Chunks of one step, of T, equal ones, and random ones."""
    rng = np.random.default_rng(0)
    equal = [np.arange(T) % k == 0 for k in (1, 2, 5, T)]
    return [*equal, *(np.r_[True, rng.random(T - 1) < chance] for chance in (0.1, 0.3, 0.5, 0.8))]


@KINDS
def test_two_streams_are_separate_passes_over_prefix_and_chunk(dtype, positions, tolerance):
    config, params = model(dtype, positions)
    novice, guide = text(6), text(7)
    for joins in partitions():
        both = two_streams(config, params, novice, guide, jnp.asarray(joins))
        assert both.shape == (2, T, V)
        np.testing.assert_allclose(both[0], full(config, params, novice), **tolerance)
        np.testing.assert_allclose(both[1], separate(config, params, novice, guide, joins), **tolerance)


def test_chunks_of_one_step_and_of_the_whole_text():
    """k = 1: the guide is asked at the novice's prefixes. k = T: it is read as any text, the novice is not seen."""
    config, params = model()
    novice, guide, other = text(8), text(9), text(10)
    single = two_streams(config, params, novice, guide, jnp.ones(T, bool))
    np.testing.assert_allclose(single[1], single[0], **FLOAT32)
    whole = jnp.arange(T) == 0
    first = two_streams(config, params, novice, guide, whole)
    np.testing.assert_allclose(first[1], full(config, params, guide), **FLOAT32)
    np.testing.assert_array_equal(first[1], two_streams(config, params, other, guide, whole)[1])


def test_gradients_of_two_streams_are_the_sum_of_separate_ones():
    config, params = model()
    novice, guide = text(11), text(12)

    def charged(logits):
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), guide[:, None], 1).sum()

    one = jax.jit(jax.grad(lambda params, joins: charged(two_streams(config, params, novice, guide, joins)[1])))
    for joins in partitions()[1::3]:
        several = jax.grad(lambda params, joins=joins: charged(separate(config, params, novice, guide, joins)))(params)
        for ours, theirs in zip(jax.tree.leaves(one(params, joins)), jax.tree.leaves(several), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(several)) > 0.1


# ---- positions -----------------------------------------------------------------------------------------------------


def test_rotary_products_depend_on_the_distance_alone():
    query, key = jax.random.normal(jax.random.key(0), (2, 1, 3, 8))  # one token, 3 heads of size 8
    turned = lambda x, place: transformer.rotate(x, jnp.asarray([place]))
    product = lambda i, j: np.asarray((turned(query, i) * turned(key, j)).sum(-1))
    for i, j, shift in ((0, 0, 5), (7, 3, 11), (3, 7, 40), (20, 0, 1)):
        np.testing.assert_allclose(product(i, j), product(i + shift, j + shift), rtol=0, atol=1e-4)
    assert np.abs(product(7, 3) - product(7, 4)).max() > 0.1
    np.testing.assert_array_equal(turned(query, 0), query)
    np.testing.assert_allclose((turned(query, 9) ** 2).sum(-1), (query**2).sum(-1), rtol=1e-5)


@EXACT
def test_order_matters(positions):
    """Inputs in another order, the last one alike, give another law for what follows."""
    config, params = model(positions=positions)
    tokens = jnp.arange(6) % V
    swapped = tokens[jnp.asarray([1, 0, 2, 3, 4, 5])]
    ours, theirs = (full(config, params, each)[5] for each in (tokens, swapped))
    assert np.abs(ours - theirs).max() > 1e-3


def test_learned_positions_have_a_row_a_step():
    config, params = model(positions="learned")
    assert params["positions"]["embedding"].shape == (T, 16)
    other = jax.random.normal(jax.random.key(2), (16,))
    moved = params | {"positions": {"embedding": params["positions"]["embedding"].at[5].add(other)}}
    before, after = (np.asarray(full(config, each, text(13))) for each in (params, moved))
    np.testing.assert_array_equal(before[:5], after[:5])
    assert np.abs(before[5] - after[5]).max() > 1e-3
    assert "positions" not in model(positions="rotary")[1]


# ---- programs ------------------------------------------------------------------------------------------------------


def counting(function):
    """The function under jit, and the list of its traces."""
    traces = []

    def traced(*arguments):
        traces.append(len(traces))
        return function(*arguments)

    return jax.jit(traced), traces


def test_one_program_for_every_prefix_length_position_and_partition():
    config, params = model()
    tokens, cache = text(14), transformer.empty(config)
    fill, filled = counting(transformer.prefill)
    step, stepped = counting(transformer.decode)
    streams, streamed = counting(transformer.two_streams)
    for count in range(T):
        _, cache = fill(config, params, cache, tokens, count)
        step(config, params, cache, tokens[count], count)
    for joins in partitions():
        streams(config, params, tokens, tokens, jnp.asarray(joins))
    assert len(filled) == len(stepped) == len(streamed) == 1
    other, _ = model(length=T + 1)  # the control: another configuration is another program
    step(other, params, transformer.empty(other), tokens[0], 0)
    assert len(stepped) == 2


def test_batches_are_vmapped_sequences():
    config, params = model()
    texts = text(15, 3, T)
    together = jax.vmap(lambda tokens: full(config, params, tokens))(texts)
    for tokens, logits in zip(texts, together, strict=True):
        np.testing.assert_allclose(logits, full(config, params, tokens), **FLOAT32)


# ---- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vocabulary": 1}, "vocabulary must be at least 2, got 1"),
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"width": 10, "heads": 4}, "width 10 is not a multiple of the 4 heads"),
        ({"width": 12, "heads": 4}, "rotary positions need heads of even size, got 3"),
        ({"dtype": "float16"}, "dtype must be float32 or bfloat16, got float16"),
        ({"positions": "sines"}, "positions must be rotary or learned, got sines"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**({"vocabulary": V, "length": T} | wrong))


def test_learned_positions_allow_heads_of_odd_size():
    assert Config(V, T, width=12, heads=4, positions="learned").head_size == 3


def test_parameters_are_float32_whatever_is_computed_in():
    for dtype in ("float32", "bfloat16"):
        config, params = model(dtype)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(transformer.empty(config))} == {dtype}


def test_texts_longer_than_the_model_are_refused_by_name():
    """When a program is traced: an index beyond the end would be clamped, and give the last one's answer."""
    config, params = model(positions="learned")
    tokens, cache = text(0, T + 1), transformer.empty(config)
    joins = jnp.ones(T + 1, bool)
    message = f"must be at most the model's {T} tokens, got shape"
    with pytest.raises(ValueError, match=f"tokens {message}"):
        full(config, params, tokens)
    with pytest.raises(ValueError, match=f"tokens {message}"):
        prefill(config, params, cache, tokens, 1)
    with pytest.raises(ValueError, match=f"novice {message}"):
        two_streams(config, params, tokens, tokens, joins)
    with pytest.raises(ValueError, match=rf"tokens {message} \[2, {T}\]"):
        full(config, params, text(0, 2, T))
    with pytest.raises(ValueError, match="novice, guide, joins must be of one length"):
        two_streams(config, params, tokens[:3], tokens[:4], joins[:4])
    assert full(config, params, tokens[:T]).shape == (T, V)


def test_caches_of_another_size_are_refused():
    config, params = model()
    for wrong in (T - 1, T + 1):
        cache = transformer.empty(Config(V, wrong, width=16, layers=2, heads=2))
        with pytest.raises(ValueError, match=rf"cache must hold 2 layers of \[2, {T}, 8\]"):
            decode(config, params, cache, 0, 0)
        with pytest.raises(ValueError, match="cache must hold 2 layers"):
            prefill(config, params, cache, text(0), 0)
    with pytest.raises(ValueError, match="cache must hold 2 layers"):
        decode(config, params, transformer.empty(Config(V, T, width=16, layers=1, heads=2)), 0, 0)


def test_positions_beyond_the_model_are_refused_or_have_no_answer():
    """Numbers are refused; what is known only when the program runs has NaN, never the last position's answer."""
    config, params = model()
    cache = transformer.empty(config)
    for wrong in (-1, T):
        with pytest.raises(ValueError, match=rf"position must lie in 0..{T - 1}, got {wrong}"):
            transformer.decode(config, params, cache, jnp.asarray(0), wrong)
    assert np.isnan(decode(config, params, cache, 0, T)[0]).all()
    assert np.isfinite(decode(config, params, cache, 0, T - 1)[0]).all()
    assert np.isnan(prefill(config, params, cache, text(0, 4), 5)[0]).all()
    assert np.isfinite(prefill(config, params, cache, text(0, 4), 4)[0]).all()
    assert np.isnan(prefill(config, params, cache, text(0), T)[0]).all()  # the cache is full: no input tells of it
