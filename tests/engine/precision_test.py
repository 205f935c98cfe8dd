"""float64 where exactness is promised, float32 elsewhere, and no global switch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import evidence, gallery, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, interaction, labels, learners, oracle
from dagger_jax.tabular import worlds as tabular

PROBLEM = gallery.random_mdp(4, 3, 2, seed=1, temperature=0.3)
POLICY = np.full((4, 3, 2), 0.5)
ROW = schedules.row(schedules.behavioural_cloning(1, 4), 0)


@pytest.fixture(autouse=True)
def _no_global_switch():
    assert not jax.config.read("jax_enable_x64")
    yield
    assert not jax.config.read("jax_enable_x64")
    assert jnp.zeros(1).dtype == jnp.float32


def floats(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if np.issubdtype(leaf.dtype, np.floating)]


EXACT = {
    "play": lambda: exact.play(PROBLEM, POLICY, ROW),
    "backward": lambda: tabular.backward(PROBLEM.world),
    "optimal": lambda: experts.optimal(PROBLEM.world),
    "softened": lambda: experts.softened(PROBLEM.world, 0.5),
    "constants": lambda: evidence.constants(PROBLEM),
    "measure": lambda: evidence.measure(PROBLEM, POLICY, ROW, evidence.constants(PROBLEM)),
    "oracle": lambda: oracle.policy(PROBLEM, ROW, np.full(4, 0.1)),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_functions_return_float64_numpy(name):
    leaves = jax.tree.leaves(EXACT[name]())
    assert leaves
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves)
    assert all(leaf.dtype == np.float64 for leaf in floats(leaves))


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, np.asarray, jnp.asarray])
def test_float64_reaches_the_inside(kind):
    """exp(-200) = 1.4e-87 is zero in float32, whatever a result is converted to afterwards."""
    small = lambda x: jnp.exp(-x)
    assert float64(small)(kind(200.0)) == pytest.approx(np.exp(-200.0), rel=1e-12, abs=0)
    assert jax.jit(small)(kind(200.0)) == 0


def test_arguments_keep_their_kind():
    """Floats become float64; integers, bools, keywords and static arguments pass as they are."""
    seen = []

    def spy(x, i, flag, *, word, y):
        seen.append((word, x.dtype.name, i.dtype.name, flag.dtype.name, y.dtype.name))
        return x + y

    half = np.asarray(0.5, np.float32)
    total = float64(spy, static=("word",))(half, np.int32(3), np.array(True), word="even", y=jnp.float32(1))
    assert seen == [("even", "float64", "int32", "bool", "float64")]
    assert total.dtype == np.float64
    assert float64(spy, static=("word",)).__name__ == "spy"


def test_compiles_once_for_other_data():
    traces = []
    double = float64(lambda x: traces.append(1) or 2 * x)
    assert [double(jnp.float32(1)), double(2.0), double(np.float64(3))] == [2, 4, 6]
    assert len(traces) == 1


def _vmapped(function):
    return lambda inputs: jax.vmap(function)(jax.tree.map(lambda leaf: leaf[None], inputs))[0]


@pytest.mark.parametrize("transform", [jax.jit, _vmapped])
def test_the_outermost_call_sets_the_precision(transform):
    """Inside jit or vmap an exact function is float32, and float64 where the outermost call is exact.

    Arrays are arguments: what a traced function closes over keeps the precision in which JAX saw it first.
    """
    cost = lambda inputs: exact.play(*inputs).novice_cost
    inputs = (PROBLEM, POLICY, ROW)
    within = transform(cost)(inputs)
    assert within.dtype == jnp.float32
    outermost = float64(transform(cost))(inputs)
    assert outermost.dtype == np.float64
    assert outermost == pytest.approx(float(cost(inputs)), rel=1e-13)
    assert float(within) == pytest.approx(float(cost(inputs)), rel=1e-5)


def test_exact_of_vmap_is_a_loop_in_float64():
    policies = np.random.default_rng(0).dirichlet(np.ones(2), (6, 4, 3))
    rows = schedules.dagger(6, 4, schedules.beta_geometric(6, 0.5))
    batched = float64(jax.vmap(exact.play, in_axes=(None, 0, 0)))(PROBLEM, policies, rows)
    for n in range(6):
        one = exact.play(PROBLEM, policies[n], schedules.row(rows, n))
        for got, want in zip(jax.tree.leaves(batched), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(got[n], want, rtol=1e-13, atol=1e-15)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(batched))


@pytest.mark.parametrize("label", [labels.imitate, labels.cost_to_go])
def test_a_run_in_exact_mode_is_float64_throughout(label):
    learner = learners.tabular(PROBLEM.world, learners.Majority(), shared=False)

    def run(problem, schedule):
        return interaction.run(problem, schedule, learner, interaction.exactly(problem), label=label)

    outcome = float64(run)(PROBLEM, schedules.dagger(3, 4))
    assert floats(outcome)
    assert all(leaf.dtype == np.float64 for leaf in floats(outcome))


def test_failure_leaves_no_switch_behind():
    def fails(x):
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        float64(fails)(1.0)
    assert not jax.config.read("jax_enable_x64")


@pytest.mark.parametrize("transform", ["jit", "scan"])
def test_exact_constants_inside_a_trace_do_not_leak_float64(transform):
    """A call whose arguments are all concrete, made while something else is traced: float32 joins float32."""
    add = lambda x: x + exact.play(PROBLEM, POLICY, ROW).novice_cost
    scan = lambda x: jax.lax.scan(lambda c, _: (add(c), None), x, None, length=2)[0]
    assert {"jit": jax.jit(add), "scan": scan}[transform](jnp.float32(0)).dtype == jnp.float32


@pytest.mark.parametrize("label", [labels.imitate, labels.cost_to_go])
def test_a_plain_run_over_a_closed_over_problem_is_float32(label):
    """`interaction.run` without `exact`: every label stays float32, and nothing warns of truncation."""
    learner = learners.tabular(PROBLEM.world, learners.Majority(), shared=False)
    run = lambda schedule: interaction.run(PROBLEM, schedule, learner, interaction.exactly(PROBLEM), label=label)
    for way in (run, jax.jit(run)):
        assert all(leaf.dtype == jnp.float32 for leaf in floats(way(schedules.dagger(3, 4))))
