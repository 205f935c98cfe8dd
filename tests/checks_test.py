"""Numbers that make no sense are refused where something is built from them; what JAX puts in trees is not."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import schedules
from dagger_jax.algorithms import ALGORITHMS
from dagger_jax.checks import known, require
from dagger_jax.tabular import gallery, gates, interaction, labels, learners

WORLD = gallery.cliff(4).world
TABLE = learners.tabular(WORLD, learners.Majority(), shared=True)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gates.Safe(-0.1), "Safe.threshold must lie in [0, inf], got -0.1"),
        (lambda: gates.Safe(np.nan), "Safe.threshold must lie in [0, inf], got nan"),
        (lambda: gates.Safe(np.array([0.1, -0.1])), "Safe.threshold must lie in [0, inf], got [0.1, -0.1]"),
        (lambda: gates.Ensemble(-0.1, 0.1), "Ensemble.discrepancy must lie in [0, inf]"),
        (lambda: gates.Ensemble(0.1, -0.1), "Ensemble.doubt must lie in [0, inf]"),
        (lambda: gates.Lazy(0.1, -0.1), "Lazy.low must lie in [0, inf]"),
        (lambda: gates.Lazy(0.05, 0.5), "Lazy.low must not be above Lazy.high, got low = 0.5, high = 0.05"),
        (lambda: gates.Human(-1.0), "Human.tolerance must lie in [0, inf], got -1.0"),
        (lambda: gates.Thrifty(-0.5), "Thrifty.rate must lie in [0, 1], got -0.5"),
        (lambda: gates.Thrifty(0.5, -0.1), "Thrifty.low must lie in [0, inf]"),
        (lambda: gates.Novelty(2.0), "Novelty.rate must lie in [0, 1], got 2.0"),
        (lambda: gates.above_quantile(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.asarray(1.5)), "rate must lie in [0, 1]"),
        (lambda: gates.doubt_threshold(np.ones((1, 1, 1)), np.ones((1, 1, 1)), 0.0), "last must lie in (0, 1]"),
        (lambda: labels.RollOut(-1), "RollOut.steps must lie in [0, inf], got -1"),
        (lambda: labels.Reweighed(-1.0), "Reweighed.most must lie in (0, inf], got -1.0"),
        (lambda: learners.Hedge(-1.0), "Hedge.rate must lie in [0, inf), got -1.0"),
        (lambda: learners.Hedge(np.inf), "Hedge.rate must lie in [0, inf), got inf"),
        (lambda: learners.RegularisedLeader(-1.0), "RegularisedLeader.rate must lie in [0, inf)"),
        (lambda: learners.LogLoss(-1.0), "LogLoss.smoothing must lie in [0, inf)"),
        (lambda: learners.Smoothed(learners.Majority(), 0.0), "Smoothed.labels must lie in (0, inf), got 0.0"),
        (lambda: learners.Descent(-1.0, 1, 2, 2), "Descent.rate must lie in [0, inf)"),
        (lambda: learners.Descent(1.0, 1, 0, 2), "Descent.observations must lie in [1, inf], got 0"),
        (lambda: learners.PolicyGradient(np.nan, 1, 2, 2), "PolicyGradient.rate must lie in [0, inf), got nan"),
        (lambda: learners.Tabular(learners.Majority(), 0, 2, 2), "Tabular.steps must lie in [1, inf], got 0"),
        (lambda: learners.Cautious(learners.Descent(1.0, 1, 2, 2), 0.0), "Cautious.labels must lie in (0, inf)"),
        (lambda: learners.Ensemble(TABLE, 0), "Ensemble.size must lie in [1, inf], got 0"),
        (lambda: learners.Ensemble(TABLE, prior=-1.0), "Ensemble.prior must lie in [0, inf), got -1.0"),
        (lambda: schedules.smile(5, 4, 1.5), "alpha must lie in (0, 1), got 1.5"),
        (lambda: schedules.smile(5, 4, jnp.zeros(())), "alpha must lie in (0, 1), got 0.0"),
        (lambda: schedules.searn(5, 4, 2.0), "beta must lie in (0, 1], got 2.0"),
        (lambda: schedules.stagger(3, 4, jnp.array([99, -1, 2])), "steps must lie in [0, 3], got [99, -1, 2]"),
        (lambda: schedules.stagger(3, 4, jnp.arange(2)), "steps must be one a round, of shape [3], got [2]"),
        (lambda: schedules.stagger(3, 4, jnp.arange(3), -3), "warm must lie in [0, 3], got -3"),
        (lambda: schedules.stagger(3, 4, jnp.arange(3), 4), "warm must lie in [0, 3], got 4"),
        (lambda: schedules.aggrevate(3, 4, steps=jnp.full(3, 9)), "steps must lie in [0, 3], got [9, 9, 9]"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_built(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


def test_the_ends_of_an_interval_belong_to_it_or_not():
    for ends, inside in (("[]", [0, 0.5, 1]), ("()", [0.5]), ("[)", [0, 0.5]), ("(]", [0.5, 1])):
        for value in (-1, 0, 0.5, 1, 2):
            if value in inside:
                require("x", value, 0, 1, ends)
            else:
                with pytest.raises(ValueError, match=re.escape(f"x must lie in {ends[0]}0, 1{ends[1]}, got {value}")):
                    require("x", value, 0, 1, ends)


@pytest.mark.parametrize(
    "node", [gates.Safe(0.1), gates.Lazy(0.2, 0.1), learners.Smoothed(learners.Hedge(1.0), 2.0), labels.Reweighed(3.0)]
)
def test_trees_are_rebuilt_from_whatever_stands_for_a_leaf(node):
    """Tracers, nothing, objects, truth values, shapes, gradients below 0: JAX makes all of these."""
    leaves, tree = jax.tree.flatten(node)
    for leaf in (None, object(), True, "leaf", jax.ShapeDtypeStruct((), float), jnp.full((), -1.0)):
        jax.tree.unflatten(tree, [leaf] * len(leaves))
    sign = lambda tree: sum(-leaf for leaf in jax.tree.leaves(tree))
    assert jax.tree.leaves(jax.grad(sign)(node)) == [-1] * len(leaves)
    assert jax.jit(sign)(node) == pytest.approx(sign(node))
    batch = jax.tree.map(lambda leaf: jnp.full(3, leaf), node)
    np.testing.assert_allclose(jax.vmap(sign)(batch), sign(node))


def test_traced_numbers_are_not_looked_at():
    jax.jit(lambda x: schedules.smile(3, 2, x))(2.0)
    jax.jit(lambda x: schedules.stagger(3, 2, x))(jnp.full(3, 9))
    seen = []
    jax.jit(lambda x: seen.append(known(x)))(1.0)
    assert seen == [None]
    np.testing.assert_array_equal(np.ones(2), known(jnp.ones(2)))


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (learners.Descent(1.0, 1, 3, 2), "table has 1 steps, 3 observations and 2 actions; the world has 4"),
        (learners.PolicyGradient(1.0, 4, 2, 3), "table has 4 steps, 2 observations and 3 actions"),
        (learners.Tabular(learners.Majority(), 5, 2, 2), r"table has 5 steps, .* the world has 4 \(or 1, shared over"),
    ],
)
def test_a_table_of_another_worlds_sizes_is_refused(learner, message):
    problem = gallery.cliff(4)
    label = labels.cost_to_go if isinstance(learner, learners.PolicyGradient) else labels.imitate
    with pytest.raises(ValueError, match=message):
        interaction.run(problem, schedules.dagger(2, 4), learner, interaction.exactly(problem), label=label)


@pytest.mark.parametrize(
    ("horizon", "options", "message"),
    [
        (5, {}, "the schedule has 5 steps, the world's horizon is 4"),
        (4, {"gate": gates.Safe(0.1), "label": labels.cost_to_go}, r"Safe reads labels as the expert's actions"),
    ],
)
def test_parts_that_do_not_fit_are_refused_where_they_meet(horizon, options, message):
    problem = gallery.cliff(4)
    with pytest.raises(ValueError, match=message):
        interaction.run(problem, schedules.dagger(2, horizon), TABLE, interaction.exactly(problem), **options)


# ---- what is put together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_labels_of_the_zoo_are_what_its_learners_and_gates_read(name):
    row = ALGORITHMS[name]
    labels.fits(row.label, row.learner(WORLD, True), row.gate)


@pytest.mark.parametrize(
    ("label", "reader", "message"),
    [
        (
            labels.cost_to_go,
            learners.tabular(WORLD, learners.LogLoss(), True),
            "LogLoss reads labels as the expert's actions (labels.imitate), but labels.cost_to_go gives costs-to-go",
        ),
        (
            labels.cost_to_go_acting,
            learners.Ensemble(learners.tabular(WORLD, learners.Smoothed(learners.LogLoss(), 1.0), True)),
            "LogLoss reads labels as the expert's actions (labels.imitate), but labels.cost_to_go_acting gives",
        ),
        (labels.RollOut(2), gates.AskOnly(gates.Safe(0.1)), "Safe reads labels as the expert's actions"),
        (jax.tree_util.Partial(labels.cost_to_go), gates.Lazy(0.1, 0.1), "Lazy reads labels as the expert's actions"),
        (
            labels.Reweighed(),
            learners.PolicyGradient(1.0, 1, 2, 2),
            "PolicyGradient reads labels as costs-to-go (labels.cost_to_go), but labels.Reweighed gives the expert's",
        ),
    ],
)
def test_a_label_that_is_read_as_another_is_refused(label, reader, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        labels.fits(label, TABLE, reader)


def test_a_label_from_elsewhere_is_taken_on_trust():
    labels.fits(lambda *args: labels.cost_to_go(*args), learners.tabular(WORLD, learners.LogLoss(), True))
