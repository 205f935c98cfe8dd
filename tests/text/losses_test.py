"""Losses of token worlds against their definitions, in numpy's float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagger_jax.text import losses
from dagger_jax.text.writers import IMPOSSIBLE, logarithm

TOLERANCE = 2e-5


def laws(seed, vocabulary=6, count=7, concentration=0.7):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(vocabulary, concentration), (2, count))


def kl(p, q):
    return (p * (np.log(p) - np.log(q))).sum(-1)


def generalised(beta, p, q):
    mixed = beta * p + (1 - beta) * q
    return beta * kl(p, mixed) + (1 - beta) * kl(q, mixed)


def logs(*each):
    return [jnp.log(jnp.asarray(law, jnp.float32)) for law in each]


@pytest.mark.parametrize("seed", range(3))
def test_divergences_are_their_definitions(seed):
    p, q = laws(seed)
    log_p, log_q = logs(p, q)
    np.testing.assert_allclose(losses.forward_kl(log_p, log_q), kl(p, q), rtol=1e-4, atol=TOLERANCE)
    np.testing.assert_allclose(losses.reverse_kl(log_p, log_q), kl(q, p), rtol=1e-4, atol=TOLERANCE)
    np.testing.assert_allclose(losses.total_variation(log_p, log_q), abs(p - q).sum(-1) / 2, atol=TOLERANCE)
    for beta in (0.1, 0.5, 0.9):
        found = losses.JensenShannon(beta)(log_p, log_q)
        np.testing.assert_allclose(found, generalised(beta, p, q), rtol=1e-4, atol=TOLERANCE)


def test_log_loss_picks_the_token():
    p, _ = laws(0)
    tokens = np.arange(7) % 6
    np.testing.assert_allclose(losses.log_loss(tokens, logs(p)[0]), -np.log(p[np.arange(7), tokens]), rtol=1e-5)


def test_log_loss_is_forward_kl_plus_entropy_on_average():
    p, q = laws(4)
    log_p, log_q = logs(p, q)
    each = jnp.stack([losses.log_loss(jnp.full(7, token), log_q) for token in range(6)], axis=-1)
    entropy = -(p * np.log(p)).sum(-1)
    np.testing.assert_allclose((p * each).sum(-1), losses.forward_kl(log_p, log_q) + entropy, rtol=1e-4)


def test_jensen_shannon_tends_to_both_kls():
    """Divided by beta (1 - beta): to the forward KL as beta -> 0, to the reverse as beta -> 1."""
    p, q = laws(1, concentration=5.0)
    for beta, limit in ((1e-4, kl(p, q)), (1 - 1e-4, kl(q, p))):
        np.testing.assert_allclose(generalised(beta, p, q) / (beta * (1 - beta)), limit, rtol=5e-3)
    with jax.enable_x64():
        log_p, log_q = jnp.log(jnp.asarray(p)), jnp.log(jnp.asarray(q))
        for beta, limit in ((1e-4, losses.forward_kl(log_p, log_q)), (1 - 1e-4, losses.reverse_kl(log_p, log_q))):
            found = losses.JensenShannon(beta)(log_p, log_q) / (beta * (1 - beta))
            np.testing.assert_allclose(found, limit, rtol=5e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 0.95), st.floats(0.1, 5.0))
def test_divergences_are_at_least_zero_and_swap(seed, beta, concentration):
    p, q = laws(seed, concentration=concentration)
    p, q = (np.maximum(law, 1e-6) / np.maximum(law, 1e-6).sum(-1, keepdims=True) for law in (p, q))
    log_p, log_q = logs(p, q)
    one = losses.JensenShannon(beta)
    for divergence in (losses.forward_kl, losses.reverse_kl, losses.total_variation, one):
        assert (np.asarray(divergence(log_p, log_q)) >= -TOLERANCE).all()
        np.testing.assert_allclose(divergence(log_p, log_p), 0, atol=TOLERANCE)
    np.testing.assert_allclose(losses.forward_kl(log_p, log_q), losses.reverse_kl(log_q, log_p), atol=TOLERANCE)
    swapped = losses.JensenShannon(1 - beta)(log_q, log_p)
    np.testing.assert_allclose(one(log_p, log_q), swapped, atol=TOLERANCE)
    assert (np.asarray(one(log_p, log_q)) <= np.log(2) + TOLERANCE).all()  # the entropy of a coin
    # Pinsker
    tv = np.asarray(losses.total_variation(log_p, log_q))
    assert (2 * tv**2 <= np.asarray(losses.forward_kl(log_p, log_q)) + TOLERANCE).all()


def test_symmetric_at_one_half():
    p, q = logs(*laws(2))
    half = losses.JensenShannon(0.5)
    np.testing.assert_allclose(half(p, q), half(q, p), atol=1e-6)


@pytest.mark.parametrize(
    "divergence", [losses.forward_kl, losses.reverse_kl, losses.JensenShannon(0.3)], ids=["forward", "reverse", "jsd"]
)
def test_gradients_are_those_of_differences(divergence):
    """With respect to the learner's logits, in float64, against central differences."""
    p, q = laws(3, count=1)
    with jax.enable_x64():
        log_p, logits = jnp.log(jnp.asarray(p[0])), jnp.log(jnp.asarray(q[0])) + 0.3
        loss = jax.jit(lambda x: divergence(log_p, jax.nn.log_softmax(x)))
        gradient = jax.grad(loss)(logits)
        step = 1e-5
        ways = jnp.eye(6) * step
        expected = [(loss(logits + way) - loss(logits - way)) / (2 * step) for way in ways]
        np.testing.assert_allclose(gradient, np.array(expected), rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(jax.grad(lambda x: divergence(log_p, jax.nn.log_softmax(x)))(log_p), 0, atol=1e-12)


def test_forward_kl_gradient_is_q_minus_p():
    p, q = laws(5, count=1)
    log_p, logits = logs(p[0], q[0])
    gradient = jax.grad(lambda x: losses.forward_kl(log_p, jax.nn.log_softmax(x)))(logits)
    np.testing.assert_allclose(gradient, q[0] - p[0], atol=TOLERANCE)


def test_tokens_that_the_expert_never_writes():
    """The forward KL and JSD stay finite; the reverse KL says what it would cost; nothing is nan."""
    p = jnp.asarray(logarithm(jnp.asarray([0.5, 0.5, 0.0])))
    q = jnp.log(jnp.asarray([0.25, 0.25, 0.5]))
    assert float(losses.forward_kl(p, q)) == pytest.approx(np.log(2))
    assert float(losses.JensenShannon(0.5)(p, q)) == pytest.approx(
        0.5 * np.log(0.5 / 0.375) + 0.5 * (0.5 * np.log(0.25 / 0.375) + 0.5 * np.log(2)), rel=1e-5
    )
    assert float(losses.reverse_kl(p, q)) == pytest.approx(-0.5 * IMPOSSIBLE, rel=1e-6)
    for divergence in (losses.forward_kl, losses.JensenShannon(0.5), losses.reverse_kl):
        gradient = jax.grad(lambda x, f=divergence: f(p, jax.nn.log_softmax(x)))(q)
        assert np.isfinite(gradient).all()
    # Where neither writes it, it costs nothing.
    assert float(losses.reverse_kl(p, p)) == 0
    assert float(losses.JensenShannon(0.5)(p, p)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_jensen_shannon_refuses_its_limits(beta):
    with pytest.raises(ValueError, match="beta must lie between 0 and 1"):
        losses.JensenShannon(beta)
