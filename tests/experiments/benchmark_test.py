"""What the benchmark measures the sampler against does the work that it says; and what of it is absent is said."""

import importlib.util
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from dagger_jax import randomness, schedules
from dagger_jax.tabular import gallery, rollout
from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import peers, plain, rollouts, tables
from experiments.benchmark.turns import Taken, in_turn
from experiments.claim import options, tool

KEY_OF_JAX = jax.random.key(3)
KEY = randomness.for_round(randomness.words(KEY_OF_JAX), 1)


def case(states, actions, horizon, seed=0):
    """A problem and a policy that never, and that always, acts in some way in some states."""
    problem = gallery.random_mdp(horizon, states, actions, seed=seed, stationary=True)
    problem = problem.replace(expert=problem.expert[:1])  # any will do: nobody follows it
    policy = np.random.default_rng(seed).dirichlet(np.ones(actions), (1, states)).astype(np.float32)
    policy[0, 0] = np.eye(actions)[-1]
    policy[0, 1, : actions - 1] = 1 / (actions - 1)
    policy[0, 1, -1] = 0
    return problem, policy


def played(kernel, problem, policy, episodes, threads=1):
    """What a kernel plays; skips where this machine has no such kernel."""
    try:
        return peers.Peers(problem, policy, KEY).play(kernel, episodes, threads)
    except peers.Absent as absent:
        pytest.skip(str(absent))


def law(problem, policy):
    """The law of the state after the last step, [S], and the expected cost."""
    world, at, cost = problem.world, np.asarray(problem.world.initial, float), 0.0
    for _ in range(world.horizon):
        moves = at[:, None] * policy[0].astype(float)
        cost += (moves * world.cost[0]).sum()
        at = np.einsum("sa,sax->x", moves, np.asarray(world.transition[0], float))
    return at / at.sum(), cost


@pytest.mark.parametrize("kernel", ["scalar_same_draws", "avx512_same_draws"])
@pytest.mark.parametrize(("states", "actions", "episodes"), [(2, 2, 1), (7, 3, 151), (100, 5, 64)])
def test_c_draws_what_the_sampler_draws(kernel, states, actions, episodes):
    """Costs and last states bit for bit; of episodes that fill no vector, too."""
    horizon = 20
    longer, policy = case(states, actions, horizon + 1)  # whose last state but one is traced
    problem = longer.replace(world=longer.world.replace(horizon=horizon))
    cost, state = played(kernel, problem, policy, episodes)
    ids = jnp.arange(episodes, dtype=jnp.uint32)
    row = lambda steps: schedules.row(schedules.behavioural_cloning(1, steps), 0)
    _, seen = rollout.play(rollout.tables(problem), policy, row(horizon), KEY, ids, alone=True)
    np.testing.assert_array_equal(cost, seen.novice_cost)
    traced = rollout.trace(rollout.tables(longer), policy, row(horizon + 1), KEY, ids)
    np.testing.assert_array_equal(state, traced.novice[-1])


@pytest.mark.parametrize("kernel", peers.KERNELS)
def test_threads_and_vectors_change_nothing(kernel):
    problem, policy = case(7, 3, 20)
    cost, state = played(kernel, problem, policy, 151)
    for episodes, threads in ((151, 3), (151, 200), (63, 1)):  # 63: none of them in vectors
        again = played(kernel, problem, policy, episodes, threads)
        np.testing.assert_array_equal(cost[:episodes], again[0])
        np.testing.assert_array_equal(state[:episodes], again[1])


@pytest.mark.parametrize("kernel", peers.KERNELS)
def test_c_draws_from_the_law(kernel):
    """A fixed seed: the last states of 20,000 episodes fit the exact law, and not that of another policy."""
    problem, policy = case(7, 3, 4, seed=1)
    cost, state = played(kernel, problem, policy, 20_000)
    seen = np.bincount(state, minlength=7)
    expected, mean = law(problem, policy)
    assert chisquare(seen, expected * len(state)).pvalue > 0.001
    assert chisquare(seen, law(problem, policy[:, ::-1])[0] * len(state)).pvalue < 1e-9
    if kernel in ("scalar", "avx512"):  # they keep no costs
        assert not cost.any()
    else:
        assert abs(cost.mean() - mean) < 4 * cost.std() / np.sqrt(len(cost))


def test_naive_plays_the_same_game():
    problem, policy = case(7, 3, 6, seed=1)
    cost = np.asarray(
        jax.jit(lambda keys: plain.naive(problem.world, policy, keys))(jax.random.split(KEY_OF_JAX, 4000))
    )
    assert abs(cost.mean() - law(problem, policy)[1]) < 4 * cost.std() / np.sqrt(len(cost))
    assert abs(cost.mean() - law(problem, policy[:, ::-1])[1]) > 8 * cost.std() / np.sqrt(len(cost))


@pytest.mark.skipif(importlib.util.find_spec("gymnax") is None, reason="gymnax is not installed: extra [bench]")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gymnax_rolls_out():
    returns = jax.jit(plain.cartpole())(jax.random.split(KEY_OF_JAX, 3))
    assert returns.shape == (3, 1)
    assert (returns > 5).all()


@pytest.fixture
def compiler(monkeypatch):
    """Names another compiler."""

    def use(name):
        monkeypatch.setenv("CC", name)
        peers.library.cache_clear()

    yield use
    peers.library.cache_clear()


@pytest.mark.parametrize(
    ("name", "says"), [("no-such-cc", "no C compiler: no-such-cc is not found"), ("false", "false makes no library of")]
)
def test_without_a_compiler_c_is_absent(name, says, compiler):
    compiler(name)
    problem, policy = case(2, 2, 2)
    play = peers.Peers(problem, policy, KEY).play
    found = in_turn({"c": lambda: play("scalar", 1), "other": lambda: None}, 2)
    assert str(found["c"]).startswith(says)
    assert isinstance(found["other"], Taken)


def test_without_avx512_its_kernels_are_absent(compiler):
    problem, policy = case(7, 3, 20)
    inverse = played("inverse_cdf", problem, policy, 151)
    compiler("cc -mno-avx512f")
    try:
        np.testing.assert_array_equal(peers.Peers(problem, policy, KEY).play("inverse_cdf", 151), inverse)
    except peers.Absent:
        pytest.skip("this compiler does not know -mno-avx512f")
    with pytest.raises(peers.Absent, match="no AVX-512"):
        peers.Peers(problem, policy, KEY).play("avx512", 1)


def test_shares_are_of_the_same_turn():
    taken = {
        "one_walker": (100.0, Taken(3.0, 2.0, 4.0)),
        rollouts.LIMIT: (1000.0, Taken(1.0, 1.0, 2.0)),
        "gymnax": (10.0, "no such module [bench]"),
    }
    ours, limit, absent = rollouts.lines(64, 2, taken)
    assert (ours["steps_per_second"], ours["cpu_nanoseconds"], ours["compile_seconds"]) == (50.0, 4e7, 1.0)
    assert ours[f"of_{rollouts.LIMIT}"] == pytest.approx(0.05)
    assert ours[f"of_{rollouts.LIMIT}_by_cpu"] == pytest.approx(0.05)
    assert ours["of_naive"] is None
    assert limit[f"of_{rollouts.LIMIT}"] == 1
    assert absent == {"name": "gymnax", "batch": 64, "devices": 2, "absent": "no such module [bench]"}
    legend, table = tables.shown({"rollouts": [ours, limit, absent]})
    assert table.row_count == 3
    assert str(list(legend.columns[1].cells)[-1]).endswith("(absent: no such module \\[bench])")  # no markup


def test_calls_take_turns():
    said = []
    found = in_turn({name: lambda name=name: said.append(name) for name in "ab"}, 2)
    assert said == list("ababab")
    assert list(found) == list("ab")


def test_a_preset_sets_what_no_flag_sets():
    read = lambda *flags: tool.settings(benchmark.FLAGS, benchmark.DEFAULTS, ["benchmark", *flags], benchmark.PRESETS)
    quick, both = read("--preset=quick"), read("--preset=quick", "--repeats=7")
    assert read().repeats == benchmark.DEFAULTS["repeats"]
    assert (quick.repeats, both.repeats) == (benchmark.PRESETS["quick"]["repeats"], 7)
    assert quick.batches == both.batches == benchmark.PRESETS["quick"]["batches"]
    text = options.explain_tool("benchmark", "", benchmark.FLAGS, benchmark.DEFAULTS, benchmark.PRESETS)
    assert "Default: 5; 3 (quick); 9 (full)." in text
    for values in benchmark.PRESETS.values():
        assert set(values) <= set(benchmark.DEFAULTS)


@pytest.mark.slow
def test_the_command_writes_a_row_of_each(spawn, tmp_path):
    """On two devices, so small that it takes seconds."""
    out = tmp_path / "bench.json"
    flags = "--preset=quick", "--repeats=1", "--batches=3", "--cores=one,all", "--baseline_limit=1", "--partitions=3"
    process = spawn([sys.executable, "-m", "experiments.benchmark", f"--out={out}", "--devices=2", *flags])
    printed, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert str(out) in printed
    found = json.loads(out.read_text())
    assert [(row["devices"], row["batch"]) for row in found["rollouts"][:: len(tables.WORDS)]] == [(1, 3), (2, 4)]
    for devices in (1, 2):
        rows = [row for row in found["rollouts"] if row["devices"] == devices]
        assert {row["name"] for row in rows} == set(tables.WORDS)
        assert all("absent" in row or row["steps_per_second"] > 0 for row in rows)
    assert [line["partitions"] for line in found["whole"]] == [3]
    assert {line["what"] for line in found["exact"]} == {"laws", "evidence"}
