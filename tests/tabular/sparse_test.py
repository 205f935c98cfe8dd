"""Sparse transitions: what they give is what the same transitions give as a table; and worlds too large for one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy import stats

import dagger_jax as dj
from dagger_jax import bounds, detect, evidence, memory, randomness, schedules, tabular
from dagger_jax.bounds.statistics import cost_range, trajectories
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gates, interaction, known_dynamics, labels, learners, oracle, rollout, transitions
from dagger_jax.tabular.worlds import padded
from dagger_jax.types import Intervention, Problem, Successors

T, S, A, K = 5, 6, 3, 3
OVER_TIME = pytest.mark.parametrize("steps", [1, T], ids=["constant", "over time"])
equal = lambda one, other: jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), one, other)


def drawn(steps=1, states=S, seed=0):
    """Rows of 1 to K successors [L S A, S], one of them listed twice, as a sparse matrix."""
    rng = np.random.default_rng(seed)
    rows = steps * states * A
    counts = rng.integers(1, K + 1, rows)
    indptr = np.append(0, counts.cumsum())
    indices = np.concatenate([rng.permutation(states)[:count] for count in counts])
    data = np.concatenate([rng.dirichlet(np.ones(count)) for count in counts])
    place = int(np.flatnonzero(counts == K)[0])
    indices[indptr[place] + 1] = indices[indptr[place]]
    return scipy.sparse.csr_array((data, indices, indptr), shape=(rows, states))


def rest(steps=1, states=S, seed=1):
    rng = np.random.default_rng(seed)
    cost = rng.random((steps, states, A))
    return {
        "cost": cost if steps > 1 else cost[0],
        "initial": rng.dirichlet(np.ones(states)),
        "observation": rng.permutation(np.arange(states) % 4),
    }


def pair(steps=1, seed=0):
    """A random problem as lists and as a table, and a learner's policy."""
    rng, matrix = np.random.default_rng(seed + 2), drawn(steps, seed=seed)
    table = matrix.toarray().reshape(*([steps] if steps > 1 else []), S, A, S)
    expert = rng.dirichlet(np.ones(A), (T, S))
    both = (tabular.world(moves, **rest(steps, seed=seed + 1), horizon=T) for moves in (matrix, table))
    return *(Problem(world, expert) for world in both), rng.dirichlet(np.ones(A), (T, S))


def row_of(**columns):
    columns = {"join": np.eye(T)[0], "label_guide": 1.0} | columns
    return schedules.row(schedules.table(1, T, **columns), 0)


@OVER_TIME
def test_a_table_is_what_the_lists_say(steps):
    lists, table, _ = pair(steps)
    assert lists.world.transition.shape == (steps, S, A, K)
    equal(transitions.dense(lists.world.transition), table.world.transition)
    assert transitions.dense(table.world.transition) is table.world.transition


@OVER_TIME
@pytest.mark.parametrize(
    "compute",
    [
        lambda problem, policy: tabular.backward(problem.world),
        lambda problem, policy: tabular.backward(problem.world, policy),
        lambda problem, policy: tabular.reachable(problem.world),
        lambda problem, policy: cost_range(problem.world),
        lambda problem, policy: trajectories(problem, policy),
        lambda problem, policy: dj.experts.optimal(problem.world),
        lambda problem, policy: exact.deploy(problem, policy),
        lambda problem, policy: exact.play(
            problem,
            policy,
            row_of(join=[1, 0.5, 0, 0.2, 1], back=[0, 0, 0.3, 0.2, 0], beta=np.full(T, 0.3), noise=np.full(T, 0.2)),
            Intervention(np.full((T, S), 0.3), np.full((T, S), 0.4)),
        ),
        lambda problem, policy: detect.recursion(problem, policy, row_of(join=[1, 0, 1, 0, 0])),
        lambda problem, policy: detect.ratio_laws(problem, policy, problem.world.initial, 1, 3),
        lambda problem, policy: oracle.policy(problem, row_of(), np.full(T, 0.01), "worst"),
        lambda problem, policy: dj.evaluate(problem, policy)._replace(slack=None),
    ],
    ids=["best", "of policy", "reachable", "range", "trajectories", "expert", "deploy", "play", "recursion", "ratio"]
    + ["oracle", "evaluate"],
)
def test_exact_recursions_are_a_tables(steps, compute):
    lists, table, policy = pair(steps)
    equal(compute(lists, policy), compute(table, policy))


def test_bounds_are_a_tables():
    lists, table, policy = pair(T)
    one, other = (dj.evaluate(problem, policy, row=row_of()).slack for problem in (lists, table))
    assert set(one) == set(other) == set(bounds.slacks(row_of(), *evidence_of(table, policy)))
    equal(dict(one), dict(other))


def evidence_of(problem, policy):
    known = evidence.constants(problem)
    return evidence.measure(problem, policy, row_of(), known), known


@OVER_TIME
def test_interventions_and_short_roll_outs_are_a_tables(steps):
    """What reads all steps at once: the states in which a gate acts, and costs-to-go of a few steps of the learner."""
    takeover = Intervention(np.full((T, S), 0.3), np.full((T, S), 0.4))

    @float64
    def found(problem, policy):
        row = row_of(join=np.ones(T), label_guide=0.0, label_novice=1.0)
        play = exact.frequencies(problem, exact.play(problem, policy, row, takeover))
        return gates.interventions(problem, policy, play, takeover), labels.RollOut(2)(problem, play, row, policy).costs

    lists, table, policy = pair(steps)
    equal(found(lists, policy), found(table, policy))


def test_a_batch_of_worlds_and_a_padded_one_are_a_tables():
    several = [pair(T, seed)[:2] for seed in range(3)]
    lists, tables = (jax.tree.map(lambda *leaves: np.stack(leaves), *each) for each in zip(*several, strict=True))
    gap = float64(jax.vmap(lambda problem: exact.deploy(problem, jnp.full((1, S, A), 1 / A)).novice_cost))
    equal(gap(lists), gap(tables))
    short, table, policy = pair(T)
    long = padded(short, T + 3)
    assert long.world.transition.shape == (T + 3, S, A, K)
    wide = np.concatenate([policy, policy[:3]])
    one, other = exact.deploy(long, wide), exact.deploy(table, policy)
    equal((one.novice[:T], one.novice_cost, one.guide_cost), (other.novice, other.novice_cost, other.guide_cost))


def test_algorithms_that_know_the_transitions_make_a_table():
    lists, table, _ = pair()
    rng = np.random.default_rng(0)
    runs = known_dynamics.simulate(table.world, np.asarray(table.expert), 6, rng)
    one, other = (known_dynamics.mimic_md(problem.world, runs).policy for problem in (lists, table))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)  # of a linear program


# ---- sampled ---------------------------------------------------------------------------------------------------------


def test_where_moves_are_certain_every_bit_is_a_tables():
    """One successor a row: no word is read, so that roll-outs and what is learnt from them are equal."""
    rng = np.random.default_rng(4)
    after = rng.integers(0, S, (S, A))
    matrix = scipy.sparse.csr_array((np.ones(S * A), after.ravel(), np.arange(S * A + 1)), shape=(S * A, S))
    both = [tabular.world(moves, **rest(), horizon=T) for moves in (matrix, np.eye(S)[after])]
    problems = [Problem(world, np.full((1, S, A), 1 / A)) for world in both]
    runs = [dj.train("dagger", problem, rounds=2, episodes=64, key=jax.random.key(3)) for problem in problems]
    jax.tree.map(np.testing.assert_array_equal, *((run.policy, run.history) for run in runs))


@OVER_TIME
def test_the_sampler_draws_the_lists_law(steps):
    """Chi-square at every step, state and action that 2^14 episodes came to; seeds are fixed."""
    lists, table, policy = pair(steps)
    count = 1 << 14
    key = randomness.for_round(randomness.words(jax.random.key(5)), 0)
    sampler = rollout.tables(lists)
    assert sampler.transition.shape == (steps, S, A, 4)
    trace = rollout.trace(sampler, policy, row_of(), key, np.arange(count, dtype=np.uint32))
    wanted, chances = np.broadcast_to(table.world.transition, (T, S, A, S)), []
    for step in range(T - 1):
        place = np.ravel_multi_index((trace.novice[step], trace.acts[step]), (S, A))
        seen = np.zeros((S * A, S))
        np.add.at(seen, (place, np.asarray(trace.novice[step + 1])), 1)
        for counts, law in zip(seen, wanted[step].reshape(-1, S), strict=True):
            assert counts[law == 0].sum() == 0
            if (law > 0).sum() > 1 and counts.sum() * law[law > 0].min() > 5:
                chances.append(stats.chisquare(counts[law > 0], counts.sum() * law[law > 0])[1])
    assert len(chances) > 30
    assert stats.chi2.sf(-2 * np.log(chances).sum(), 2 * len(chances)) > 1e-3  # Fisher
    assert min(chances) > 1e-3 / len(chances)


def test_learners_fit_what_a_table_would_show():
    """Exact labels: bit for bit but for rounding. Sampled ones: the gaps of 3 rounds of 2^13 episodes differ little."""
    lists, table, _ = pair()
    one, other = (dj.train("chunked", problem, rounds=3, chunk=2, key=jax.random.key(0)) for problem in (lists, table))
    np.testing.assert_array_equal(one.policy.table, other.policy.table)
    learner = learners.tabular(lists.world, learners.LogLoss(), False)
    gaps = []
    for problem in (lists, table):
        ids = jnp.arange(1 << 13, dtype=jnp.uint32)
        plays = interaction.by_sampling(rollout.tables(problem), randomness.words(jax.random.key(0)), ids)
        done = interaction.run(problem, schedules.dagger(3, T, np.zeros(3)), learner, plays)
        gaps.append(float(dj.evaluate(problem, done.newest).gap))
    assert gaps[0] == pytest.approx(gaps[1], abs=0.02)


# ---- given, refused, kept --------------------------------------------------------------------------------------------


def given(matrix):
    return {"indptr": matrix.indptr, "indices": matrix.indices, "data": matrix.data}


def changed(name, place, value):
    def change(arrays):
        arrays[name] = np.array(arrays[name])
        arrays[name][place] = value

    return change


def replaced(**others):
    return lambda arrays: arrays.update(others)


REFUSED = [
    (changed("indptr", 0, 1), r"indptr\[0\] is 1: it must be 0"),
    (changed("indptr", -1, 3), rf"indptr\[{S * A}\] is 3: it must be \d+"),
    (changed("indptr", 4, 1), r"indptr\[4\] is 1, below indptr\[3\], which is \d+"),
    (changed("indices", 5, S), rf"indices\[5\] is {S}: it must lie in 0\.\.{S - 1}"),
    (changed("indices", 2, -1), r"indices\[2\] is -1: it must lie in"),
    (changed("data", 3, 1.5), r"data\[3\] is 1\.5: it must lie in \[0, 1\]"),
    (changed("data", 3, np.nan), r"data\[3\] is nan: it must be finite"),
    (changed("data", 0, 0.0), r"transition\[0, 0\] sums to .*: probabilities must sum to 1"),
    (replaced(indptr=np.arange(5)), rf"indptr must have {S * A} \+ 1 entries to fit cost \[S, A\] = \[{S}, {A}\]"),
    (replaced(indptr=np.zeros(0, int)), r"indptr must have 18 \+ 1 entries .*, got 0"),
    (replaced(indptr=np.zeros((2, 2), int)), "indptr must have 1 axis, got 2"),
    (replaced(data=np.ones(3)), r"indices and data must be equally long, got \d+ and 3"),
    (replaced(indices=np.zeros(drawn().nnz)), "indices must hold integers, got float64"),
    (replaced(cost=np.zeros((S, A + 1))), r"indptr must have 24 \+ 1 entries to fit cost"),
    (replaced(initial=np.ones(2) / 2), r"initial must have shape \[6\] to fit cost"),
    (replaced(transition=np.ones((S, A, S)) / S), "must hold indptr, indices, data, cost, initial and perhaps"),
    (lambda arrays: arrays.pop("data"), "must hold indptr, indices, data, cost, initial and perhaps observation"),
    (replaced(data=np.full(drawn().nnz, "a")), "holds data as <U1, not as real numbers"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:24] for _, message in REFUSED])
def test_arrays_that_are_no_transitions_are_refused(change, message, tmp_path):
    arrays = given(drawn()) | rest()
    change(arrays)
    np.savez(tmp_path / "world.npz", **arrays)
    with pytest.raises(ValueError, match=r"world\.npz:? " + message):
        tabular.load(tmp_path / "world.npz", T)


@pytest.mark.parametrize(
    ("transition", "message"),
    [
        (scipy.sparse.csr_array((S * A, S + 1)), r"transition must have 6 columns to fit cost \[S, A\], got 7"),
        (scipy.sparse.csr_array((S, S)), r"indptr must have 18 \+ 1 entries"),
        (scipy.sparse.csr_array((S * A, S)), r"transition\[0, 0\] sums to 0"),
        (scipy.sparse.vstack([drawn()] * 2), "transition is given for 2 steps, but the horizon is 5"),
        (
            Successors(np.full((1, S, A, 1), S), np.ones((1, S, A, 1))),
            r"transition\.states\[0, 0, 0, 0\] is 6: it",
        ),
        (Successors(np.zeros((1, S, A, 1)), np.ones((1, S, A, 1))), "transition.states must hold integers"),
        (Successors(np.zeros((1, S, A, 1), int), np.ones((1, S, A, 2))), ".* must have shape \\[L, 6, 3, K\\] to fit"),
        (Successors(np.zeros((1, S, A, 1), int), np.full((1, S, A, 1), 2.0)), r"transition\.chance\[0, 0, 0, 0\] is 2"),
    ],
)
def test_matrices_and_lists_are_refused_by_name(transition, message):
    with pytest.raises(ValueError, match="^" + message):
        tabular.world(transition, **rest(), horizon=T)


def test_lists_that_were_checked_may_be_given_again():
    lists, _, _ = pair(T)
    again = tabular.world(lists.world.transition, **rest(T), horizon=T)
    equal(again, lists.world)


def test_rounded_rows_are_normalised_with_a_warning(tmp_path):
    matrix = drawn()
    np.savez(tmp_path / "world.npz", **given(matrix) | {"data": matrix.data * 1.00005}, **rest())
    with pytest.warns(UserWarning, match=r"world\.npz: (data has entries|transition sums to 1 within)"):
        loaded = tabular.load(tmp_path / "world.npz", T)
    np.testing.assert_allclose(loaded.transition.chance.sum(-1), 1, rtol=0, atol=1e-15)


@OVER_TIME
def test_a_sparse_world_that_was_saved_comes_back(steps, tmp_path):
    """From a matrix's own arrays, and whole; over time it is cut at a shorter horizon."""
    path, matrix = tmp_path / "world.npz", drawn(steps)
    world = tabular.world(matrix, **rest(steps), horizon=T)
    np.savez(path, **given(matrix), **rest(steps))
    jax.tree.map(np.testing.assert_array_equal, tabular.load(path, T), world)
    held: dict[str, Any] = tabular.arrays(world)
    np.savez(path, **held)
    back = tabular.load(path)
    equal(back, world)
    cut = tabular.load(path, 3)
    assert cut.transition.shape[0] == min(steps, 3)
    equal(cut, tabular.shorten(world, 3))
    assert dj.problem(str(path), horizon=3).world.transition.shape == cut.transition.shape
    if steps > 1:
        with pytest.raises(ValueError, match="is given for 5 steps, fewer than the horizon 6"):
            tabular.load(path, T + 1)


# ---- large -----------------------------------------------------------------------------------------------------------

LARGE = 20_000


def large():
    """20,000 states, 4 actions, 3 successors each."""
    rng, actions = np.random.default_rng(0), 4
    rows = LARGE * actions
    arrays = np.tile([0.5, 0.3, 0.2], rows), rng.integers(0, LARGE, 3 * rows), 3 * np.arange(rows + 1)
    matrix = scipy.sparse.csr_array(arrays, shape=(rows, LARGE))
    return tabular.world(matrix, rng.random((LARGE, actions)), np.eye(1, LARGE)[0], 4)


def test_twenty_thousand_states_are_sampled_and_exact():
    """An expected cost by either interpreter, in memory that is linear in the lists: nothing is S x S."""
    problem = dj.problem(large())
    policy = np.full((1, LARGE, 4), 0.25)
    laws = exact.deploy(problem, policy)
    key = randomness.for_round(randomness.words(jax.random.key(0)), 0)
    sampler, ids = rollout.tables(problem), np.arange(1 << 12, dtype=np.uint32)
    row = schedules.row(schedules.behavioural_cloning(1, 4), 0)
    _, ends = jax.jit(rollout.play)(sampler, policy, row, key, ids)
    costs = np.asarray(ends.novice_cost, float)
    assert costs.mean() == pytest.approx(float(laws.novice_cost), abs=5 * costs.std() / np.sqrt(len(ids)))
    assert laws.novice.sum(-1) == pytest.approx(1)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, float) if np.asarray(leaf).dtype.kind == "f" else leaf, row)
        exactly = jax.jit(exact.play).lower(problem, policy, wide).compile()
    for program in (exactly, jax.jit(rollout.play).lower(sampler, policy, row, key, ids).compile()):
        sizes: Any = program.memory_analysis()
        assert sizes.temp_size_in_bytes + sizes.output_size_in_bytes < LARGE * 4 * (3 * 8 * 10 + 4 * 8 * 10)


def test_a_table_of_twenty_thousand_states_is_refused_with_its_bytes(monkeypatch):
    monkeypatch.setattr(memory, "host", lambda: 2**33)
    table = np.broadcast_to(1 / LARGE, (LARGE, 4, LARGE))
    message = (
        r"^transition \[20000, 4, 20000\] would take 35\.8 GiB \(38,400,000,000 bytes\), and 8\.0 GiB are free; "
        "a world whose states have few successors is given as a sparse matrix"
    )
    with pytest.raises(ValueError, match=message):
        tabular.world(table, np.zeros((LARGE, 4)), np.eye(1, LARGE)[0], 4)
    with pytest.raises(ValueError, match=r"^a table of transitions \[1, 20000, 4, 20000\] would take 11\.9 GiB"):
        transitions.dense(large().transition)


def test_rows_of_very_unequal_lengths_are_refused_with_their_bytes(monkeypatch):
    """One state leads everywhere: the lists would be as long as a table."""
    counts = np.append(LARGE, np.ones(2 * LARGE - 1, int))
    indices = np.append(np.arange(LARGE), np.zeros(2 * LARGE - 1, int))
    data = np.append(np.full(LARGE, 1 / LARGE), np.ones(2 * LARGE - 1))
    matrix = scipy.sparse.csr_array((data, indices, np.append(0, counts.cumsum())), shape=(2 * LARGE, LARGE))
    monkeypatch.setattr(memory, "host", lambda: 2**33)
    message = r"padded to \[1, 20000, 2, 20000\], would take .*: the longest row has 20,000 entries, the mean one 1\.5"
    with pytest.raises(ValueError, match=message):
        tabular.world(matrix, np.zeros((LARGE, 2)), np.eye(1, LARGE)[0], 4)
