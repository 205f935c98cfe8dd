"""How far demonstrations go: sums over all data sets where they can be listed, random worlds where they cannot."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

from dagger_jax import evidence, schedules
from dagger_jax.bounds import statistics
from dagger_jax.detect import recursion
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, gallery
from dagger_jax.tabular import worlds as tabular
from dagger_jax.types import Problem

TOLERANCE = 1e-9  # sums of a few hundred products of numbers up to T, in float64
WORLDS = 200
SETTINGS = {  # horizon, states, actions, concentration, temperature
    "mixing": (5, 4, 3, 1.0, None),
    "nearly deterministic": (6, 3, 2, 0.05, None),
    "softened expert": (5, 4, 3, 0.3, 0.3),
    "arbitrary expert": (6, 3, 2, 0.05, "arbitrary"),
}
EVERY = pytest.mark.parametrize("setting", SETTINGS)


def worlds(setting, count=WORLDS, seed=0):
    """Random problems, stacked. An "arbitrary" expert is deterministic and can be improved on."""
    horizon, states, actions, concentration, temperature = SETTINGS[setting]
    arbitrary = temperature == "arbitrary"
    options = {"concentration": concentration, "temperature": None if arbitrary else temperature}
    each = [gallery.random_mdp(horizon, states, actions, seed + i, **options) for i in range(count)]
    if arbitrary:
        choice = np.random.default_rng(seed).integers(0, actions, (count, horizon, states))
        each = [Problem(p.world, experts.deterministic(c, actions), p.name) for p, c in zip(each, choice, strict=True)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def learners(problem, rng):
    """[W, T, S, A]: the expert, mixed with random, nearly deterministic tables."""
    tables = rng.dirichlet(np.full(problem.expert.shape[-1], 0.1), problem.expert.shape[:-1])
    share = 10.0 ** rng.uniform(-3, 0, (len(tables), 1, 1, 1))
    return (1 - share) * problem.expert + share * tables


def runs(problem, policy):
    """Every run (s_1, a_1, .., s_T, a_T), its probability and its cost, by enumeration."""
    world, steps = problem.world, problem.world.horizon
    cost = np.broadcast_to(world.cost, (steps, world.states, world.actions))
    for path in itertools.product(range(world.states), range(world.actions), repeat=steps):
        states, actions = path[::2], path[1::2]
        chance = world.initial[states[0]]
        for t in range(steps):
            chance *= policy[t, states[t], actions[t]]
            if t + 1 < steps:
                chance *= world.transition[t, states[t], actions[t], states[t + 1]]
        yield path, chance, sum(cost[t, states[t], actions[t]] for t in range(steps))


deployed = float64(jax.vmap(exact.deploy, in_axes=(None, 0)))


# ---- tabular cloning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_cloning_over_all_data_sets(draws, seed):
    """2 steps, 3 states: the 9 runs of a deterministic expert in every order, up to 6,561 data sets.

    The sum form is the expectation of sum_h (H - h + 1) x the chance of an unseen state, exactly, and bounds the
    expected gap whatever is done at unseen states.
    """
    problem = gallery.random_mdp(2, 3, 2, seed, concentration=0.3)
    law = exact.deploy(problem, problem.expert).guide
    acts = problem.expert.argmax(-1)
    chance = {
        (s, r): problem.world.initial[s] * problem.world.transition[0, s, acts[0, s], r]
        for s, r in itertools.product(range(3), repeat=2)
    }
    masks = dict.fromkeys(itertools.product((False, True), repeat=6), 0.0)  # what is seen: its probability
    for data in itertools.product(chance, repeat=draws):
        seen = np.zeros((2, 3), bool)
        for s, r in data:
            seen[0, s] = seen[1, r] = True
        masks[tuple(seen.ravel().tolist())] += np.prod([chance[run] for run in data])
    seen, weight = np.array(list(masks)).reshape(-1, 2, 3), np.array(list(masks.values()))
    np.testing.assert_allclose(weight.sum(), 1, rtol=1e-12)

    bound = float64(statistics.cloning_expected)(law, draws)
    missed = (law * ~seen).sum(-1)  # [M, H]
    np.testing.assert_allclose(weight @ missed, float64(statistics.unseen)(law, draws), atol=1e-12)
    np.testing.assert_allclose(weight @ missed @ [2, 1], bound, rtol=1e-12)
    gaps = []
    for guess in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.5, 0.5])):
        policy = np.where(seen[..., None], problem.expert, guess)
        done = deployed(problem, policy)
        gaps.append(weight @ (done.novice_cost - done.guide_cost))
    assert max(gaps) <= bound + TOLERANCE
    assert max(gaps) > 0.02 * bound


def test_cloning_tabular():
    """1 / (e N) a state is reached for states of probability 1 / (N + 1), up to a factor 1 - 1 / (2 N)."""
    rng = np.random.default_rng(0)
    for draws in (1, 3, 10, 200):
        laws = rng.dirichlet(np.full(7, 0.3), (300, 5))
        most = statistics.cloning_tabular(5, 7, draws)
        assert (float64(statistics.cloning_expected)(laws, draws) <= most * (1 + 1e-6)).all()  # `most` is a float32
        even = np.full((5, draws + 1), 1 / (draws + 1))
        ratio = float64(statistics.cloning_expected)(even, draws) / statistics.cloning_tabular(5, draws + 1, draws)
        assert 1 - 1 / draws <= ratio <= 1 + 1e-6
    assert ratio > np.e / 3  # so S H (H + 1) / (2 x 3 N) is false
    np.testing.assert_allclose(statistics.cloning_tabular(4, 3, 10), 3 * 4 * 5 / (2 * np.e * 10), rtol=1e-6)


@pytest.mark.parametrize(("horizon", "states", "draws"), [(5, 4, 50), (20, 8, 200), (40, 5, 20)])
def test_cloning_on_the_reset_cliff(horizon, states, draws):
    """Its closed form: within (1 - 1/A) of the sum form where errors are rare, below it everywhere."""
    gap = gallery.reset_cliff_gap(horizon, states, 4, draws, draws)
    law = np.broadcast_to(gallery.reset_law(states, draws), (horizon, states))
    bound = float64(statistics.cloning_expected)(law, draws)
    assert gap <= bound <= statistics.cloning_tabular(horizon, states, draws)
    rare = horizon * float64(statistics.unseen)(law, draws)[0]
    # Errors after the first cost nothing more: the gap falls short by a share of at most T x the chance of one.
    assert gap >= 0.75 * bound * (1 - rare)


def test_orders():
    """Where the two rates of Mimic-MD meet, N = S H, and their slopes."""
    order = statistics.mimic_md_order
    np.testing.assert_allclose(order(16, 5, 80), 16 * np.sqrt(5 / 80), rtol=1e-6)
    np.testing.assert_allclose(order(16, 5, 80), 5 * 16**1.5 / 80, rtol=1e-6)
    np.testing.assert_allclose(order(16, 5, 20) / order(16, 5, 80), 2, rtol=1e-6)  # N^-1/2 below
    np.testing.assert_allclose(order(16, 5, 80) / order(16, 5, 320), 4, rtol=1e-6)  # N^-1 above
    np.testing.assert_allclose(statistics.interactive_order(2.0, 16, 5, 80), 2.0, rtol=1e-6)


def test_identity_lower_bound():
    """Against the exact value of the best learner; equal at n = 2, so that H / (7 n) is false."""
    for horizon, n in itertools.product((1, 7), (2, 3, 10, 100)):
        least = gallery.two_state_bandit_least(horizon, n)
        assert least <= gallery.two_state_bandit_gap(horizon, n) * (1 + 1e-6)
    np.testing.assert_allclose(gallery.two_state_bandit_least(7, 2), gallery.two_state_bandit_gap(7, 2), rtol=1e-6)


# ---- laws of whole trajectories --------------------------------------------------------------------------


@float64
def compared(problem, policy):
    def one(problem, policy):
        seen = statistics.trajectories(problem, policy)
        bounds = (statistics.by_total_variation, statistics.by_hellinger, statistics.by_hellinger_root)
        return seen, [bound(seen) for bound in bounds]

    return jax.vmap(one)(problem, policy)


@EVERY
def test_trajectories_on_random_worlds(setting):
    """gap <= R TV <= R D_H^2 and D_H^2 <= 2 TV for deterministic experts, gap <= R D_H sqrt(1 - D_H^2 / 4) for all."""
    problem = worlds(setting)
    seen, (by_variation, by_hellinger, by_root) = compared(problem, learners(problem, np.random.default_rng(0)))
    assert seen.gap.max() > 0.1
    assert (seen.range <= SETTINGS[setting][0]).all()
    assert (np.abs(seen.gap) <= by_variation + TOLERANCE).all()
    assert (np.abs(seen.gap) <= by_root + TOLERANCE).all()
    if SETTINGS[setting][-1] != 0.3:
        assert (by_variation <= by_hellinger + TOLERANCE).all()
        assert (by_variation <= by_root + TOLERANCE).all()
        assert (seen.hellinger <= 2 * seen.total_variation + TOLERANCE).all()


@pytest.mark.parametrize("temperature", [None, 0.3])
def test_trajectories_by_enumeration(temperature):
    """All 512 runs of 3 steps, 4 states, 2 actions."""
    for seed in range(4):
        problem = gallery.random_mdp(3, 4, 2, seed, temperature=temperature)
        policy = np.random.default_rng(seed).dirichlet(np.full(2, 0.5), (3, 4))
        paths, of_expert, costs = zip(*runs(problem, problem.expert), strict=True)
        of_learner = np.array([chance for _, chance, _ in runs(problem, policy)])
        of_expert = np.array(of_expert)
        seen = statistics.trajectories(problem, policy)
        np.testing.assert_allclose(seen.hellinger, ((of_expert**0.5 - of_learner**0.5) ** 2).sum(), rtol=1e-10)
        np.testing.assert_allclose(seen.gap, np.dot(of_learner - of_expert, costs), rtol=1e-10)
        np.testing.assert_allclose(seen.range, max(costs) - min(costs), rtol=1e-12)  # every run is possible here
        variation = 0.5 * np.abs(of_expert - of_learner).sum()
        if temperature is not None:
            assert seen.total_variation >= variation - 1e-12
            continue
        np.testing.assert_allclose(seen.total_variation, variation, rtol=1e-10)
        agreed = [np.prod([policy[t, p[2 * t], p[2 * t + 1]] for t in range(3)]) for p in paths]
        np.testing.assert_allclose(seen.total_variation, 1 - np.dot(of_expert, agreed), rtol=1e-10)


def test_cost_range_of_what_is_possible():
    """A dear state that no run comes to does not count, nor a start that none has."""
    transition = np.zeros((3, 2, 3))
    transition[[0, 1, 2], :, [0, 1, 2]] = 1
    world = tabular.world(transition, np.array([[0.2, 0.5], [0.3, 0.4], [1.0, 0.0]]), np.array([0.5, 0.5, 0]), 4)
    np.testing.assert_allclose(statistics.cost_range(world), 4 * (0.5 - 0.2), rtol=1e-12)


def test_trajectory_bounds_are_reached():
    """All is decided at the first step: gap = R TV, and R D_H^2 to first order. Half of it (a convention) fails."""
    eps = 1e-3
    problem = gallery.rb3(10)
    policy = np.broadcast_to(np.array([1.0, 0.0]), (10, 3, 2)).copy()
    policy[0, 0] = 1 - eps, eps
    seen = statistics.trajectories(problem, policy)
    np.testing.assert_allclose(seen.gap, float64(statistics.by_total_variation)(seen), rtol=1e-12)
    np.testing.assert_allclose(seen.gap, float64(statistics.by_hellinger)(seen), rtol=eps)
    assert seen.gap > 1.9 * float64(statistics.by_hellinger)(seen._replace(hellinger=seen.hellinger / 2))


# ---- finite classes --------------------------------------------------------------------------------------


def occurrences(law, draws):
    """Every count of draws from a law [K], and its probability."""
    kinds = len(law)
    bars = np.array(list(itertools.combinations(range(draws + kinds - 1), kinds - 1)))
    edges = np.c_[np.full(len(bars), -1), bars, np.full(len(bars), draws + kinds - 1)]
    counts = np.diff(edges) - 1
    log = gammaln(draws + 1) - gammaln(counts + 1).sum(1) + counts @ np.log(law)
    return counts, np.exp(log)


@pytest.mark.parametrize("seed", range(4))
def test_zero_one_loss_fails_at_most_with_delta(seed):
    """One step, 3 states, all 8 deterministic policies, 12 demonstrations: the worst that agrees with the data."""
    draws, rng = 12, np.random.default_rng(seed)
    start = rng.dirichlet(np.full(3, 0.5))
    world = tabular.world(np.broadcast_to(np.eye(3)[:, None], (3, 2, 3)), np.tile([0.0, 1.0], (3, 1)), start, 1)
    counts, chance = occurrences(world.initial, draws)
    np.testing.assert_allclose(chance.sum(), 1, rtol=1e-9)
    gap = ((counts == 0) * world.initial).sum(1)  # it errs wherever it can
    assert gap.max() > 0.5
    for delta in (0.9, 0.5, 0.1, 0.01):
        bound = float(statistics.zero_one_loss(statistics.cost_range(world), np.log(8), delta, draws))
        assert chance[gap > bound].sum() <= delta


def test_half_of_zero_one_loss_is_false():
    """The two-state bandit, its rare state not seen in 200 runs and then guessed wrongly with probability 0.05."""
    draws, fails = 200, 0.05
    rare = 1 - (2 * fails) ** (1 / draws)  # the gap of a step, when it happens
    np.testing.assert_allclose((1 - rare) ** draws / 2, fails, rtol=1e-12)
    bound = float(statistics.zero_one_loss(1.0, np.log(2), 0.99 * fails, draws))  # may fail less often than that
    assert 0.5 * bound < rare <= bound


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("certain", [True, False])
def test_log_loss_fails_at_most_with_delta(seed, certain):
    """One step, 2 states, 2 actions: maximum likelihood in a class, over all data sets of 25 demonstrations.

    For a deterministic expert the 4 deterministic policies and a rare state, of ties the worst; for a stochastic one
    5 policies that are hard to tell from it.
    """
    draws, rng = 25, np.random.default_rng(seed)
    start = np.array([0.96, 0.04] if certain else [0.5, 0.5])
    world = tabular.world(np.broadcast_to(np.eye(2)[:, None], (2, 2, 2)), rng.random((2, 2)), start, 1)
    if certain:
        class_ = np.eye(2)[list(itertools.product(range(2), repeat=2))][:, None]
        expert = class_[seed]
    else:
        first = rng.uniform(0.3, 0.7, 2) + 0.15 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1, -1]])
        class_ = np.stack([first, 1 - first], -1)[:, None]
        expert = class_[0]
    law = (start[:, None] * expert[0]).ravel()
    kept, size = law > 0, np.log(len(class_))
    counts, chance = occurrences(law[kept], draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = counts[:, None] * np.log(class_[:, 0].reshape(len(class_), 4)[:, kept])
    likelihood = np.where(counts[:, None] > 0, each, 0.0).sum(-1)
    best = likelihood >= likelihood.max(1, keepdims=True) - 1e-9
    seen = float64(jax.vmap(statistics.trajectories, in_axes=(None, 0)))(Problem(world, expert), class_)
    hellinger, gap = (np.where(best, each, -np.inf).max(1) for each in (seen.hellinger, seen.gap))
    assert hellinger.max() > 0
    rate = statistics.log_loss if certain else statistics.log_loss_stochastic
    for delta in (0.9, 0.5, 0.1):
        assert chance[hellinger > float(statistics.hellinger_rate(size, delta, draws))].sum() <= delta
        assert chance[gap > float(rate(seen.range[0], size, delta, draws))].sum() <= delta
    # The control: a thirtieth of the rate at delta = 0.1 fails more often than it may.
    assert chance[hellinger > float(statistics.hellinger_rate(size, 0.1, 30 * draws))].sum() > 0.1


# ---- Stagger ---------------------------------------------------------------------------------------------


def stagger_chain(problem, class_, rounds):
    """Stagger with log loss on deterministic policies, exactly: a chain over which of them agree with all labels.

    Returns the expected gap after each number of rounds, and per set its gap and where a label leads, for sampling.
    """
    acts, wanted = class_.argmax(-1), problem.expert.argmax(-1)
    right = acts == wanted  # [B, T, S]
    everyone = tuple(range(len(class_)))
    sets, law, expected = {}, {everyone: 1.0}, []

    def visit(alive):
        done = exact.deploy(problem, class_[list(alive)].mean(0))
        leads = [
            (p / problem.world.horizon, tuple(i for i in alive if right[i, t, s]))
            for (t, s), p in np.ndenumerate(done.novice)
            if p > 0
        ]
        sets[alive] = float(done.novice_cost - done.guide_cost), leads

    for _ in range(rounds):
        following, gap = {}, 0.0
        for alive, weight in law.items():
            if alive not in sets:
                visit(alive)
            gap += weight * sets[alive][0]
            for p, after in sets[alive][1]:
                following[after] = following.get(after, 0.0) + weight * p
        law = following
        expected.append(gap)
    return np.cumsum(expected) / np.arange(1, rounds + 1), sets, everyone


@pytest.mark.parametrize("seed", range(3))
def test_stagger(seed):
    """8 policies, 3 steps, 3 states: the expectation at every N, and the share of 2,000 runs that fail at delta."""
    rounds, rng = 40, np.random.default_rng(seed)
    problem = gallery.random_mdp(3, 3, 2, seed, concentration=0.3)
    acts = rng.integers(0, 2, (8, 3, 3))
    acts[0] = problem.expert.argmax(-1)
    class_ = np.eye(2)[acts]
    u = float(evidence.constants(problem).recoverability)
    expected, sets, everyone = stagger_chain(problem, class_, rounds)
    labels = np.arange(1, rounds + 1)
    bound = float64(statistics.stagger_expected)(u, 3, np.log(8), labels)
    assert (expected <= bound + TOLERANCE).all()
    assert expected.max() > 0.02
    means = []
    for _ in range(2000):
        alive, paid = everyone, 0.0
        for _ in range(rounds):
            gap, leads = sets[alive]
            paid += gap
            if gap == 0:
                break  # nothing changes any more
            chances = np.cumsum([p for p, _ in leads])
            alive = leads[min(int(np.searchsorted(chances, rng.random() * chances[-1])), len(leads) - 1)][1]
        means.append(paid / rounds)
    # Monte Carlo against the chain: five standard errors
    np.testing.assert_allclose(np.mean(means), expected[-1], atol=5 * np.std(means) / np.sqrt(2000))
    for delta in (0.5, 0.1):
        limit = float(statistics.stagger(u, 3, np.log(8), delta, rounds))
        assert np.mean(np.array(means) > limit) <= delta + 4 * np.sqrt(delta / 2000)


# ---- density ratios --------------------------------------------------------------------------------------


@EVERY
def test_density_ratio_on_random_worlds(setting):
    """u C T eps, with C from the laws themselves; eta_t <= C eps_t at every step."""
    problem = worlds(setting)
    row = schedules.row(schedules.behavioural_cloning(1, SETTINGS[setting][0]), 0)

    @float64
    def judge(problem, policy):
        def one(problem, policy):
            known = evidence.constants(problem)
            seen, ratio = evidence.measure(problem, policy, row, known), statistics.largest_ratio(problem, policy)
            return seen, ratio, statistics.density_ratio(seen, known, ratio)

        return jax.vmap(one)(problem, policy)

    seen, ratio, bound = judge(problem, learners(problem, np.random.default_rng(1)))
    assert (ratio >= 1 - TOLERANCE).all()
    assert (seen.eta <= ratio[:, None] * seen.eps + TOLERANCE).all()
    assert (seen.gap <= bound + TOLERANCE).all()
    if setting != "softened expert":
        assert (seen.eta.sum(-1) > 1.01 * seen.eps.sum(-1)).any()


def test_density_ratio_is_reached():
    """A learner that always errs in the rare state comes there twice as often: C = 2 (1 - 2^-T), and C = 1 is false."""
    horizon = 400
    problem = gallery.density_ratio(horizon, ratio=2.0, rare=0.1)
    row = schedules.row(schedules.behavioural_cloning(1, horizon), 0)
    policy = np.eye(2)[None, [0, 1]]
    known, ratio = evidence.constants(problem), statistics.largest_ratio(problem, policy)
    seen = evidence.measure(problem, policy, row, known)
    np.testing.assert_allclose(ratio, 2, rtol=1e-12)
    bound = float64(statistics.density_ratio)
    # The first steps fall short of the limit: sum_t 2^-t = 1 of T.
    np.testing.assert_allclose(seen.gap / bound(seen, known, ratio), 1 - 1 / horizon, rtol=1e-9)
    assert seen.gap > 1.9 * bound(seen, known, 1.0)


def test_density_ratio_where_actions_move_nothing():
    """C = 1 and u = 1 on the identity bandit: the bound is the gap. On the cliff C is infinite: it says nothing."""
    problem = gallery.identity_bandit(6, 4, 2, 20)
    row = schedules.row(schedules.behavioural_cloning(1, 6), 0)
    known, wrong = evidence.constants(problem), 0.8 * problem.expert + 0.1
    ratio, seen = statistics.largest_ratio(problem, wrong), evidence.measure(problem, wrong, row, known)
    np.testing.assert_allclose(ratio, 1, rtol=1e-12)
    np.testing.assert_allclose(float64(statistics.density_ratio)(seen, known, ratio), seen.gap, rtol=1e-12)
    assert np.isinf(statistics.largest_ratio(gallery.cliff(6), np.full((1, 2, 2), 0.5)))


# ---- open-loop action chunks -----------------------------------------------------------------------------


def open_loop(problem, plans, length):
    """The same world with the state at the plan's beginning kept in mind, and plans [T, S, A] made there.

    A state is a pair (begin, now); the plan's action at step t depends on t and `begin` alone.
    """
    world = problem.world
    horizon, states, actions = world.horizon, world.states, world.actions
    transition = np.zeros((horizon, states, states, actions, states, states))
    for t, begin, now in itertools.product(range(horizon), range(states), range(states)):
        for then in range(states):
            kept = then if (t + 1) % length == 0 else begin
            transition[t, begin, now, :, kept, then] = world.transition[t, now, :, then]
    pairs = states**2
    start = np.zeros((states, states))
    np.fill_diagonal(start, world.initial)
    cost = np.broadcast_to(world.cost[:, None], (horizon, states, states, actions)).reshape(horizon, pairs, actions)
    pair_world = tabular.world(transition.reshape(horizon, pairs, actions, pairs), cost, start.ravel(), horizon)
    shape = (horizon, states, states, actions)
    expert = np.broadcast_to(problem.expert[:, None], shape).reshape(horizon, pairs, actions)
    policy = np.broadcast_to(plans[:, :, None], shape).reshape(horizon, pairs, actions)
    return Problem(pair_world, expert), policy


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_action_chunks_on_random_worlds(length):
    """6 steps, 3 states; plans that follow where the expert would be without chance, and random ones."""
    reached = 0.0
    for seed in range(12):
        problem = gallery.random_mdp(6, 3, 2, seed, concentration=0.05)
        rng = np.random.default_rng(seed)
        acts, plans = problem.expert.argmax(-1), np.zeros((6, 3, 2))
        for begin in range(3):
            here = begin
            for t in range(6):
                here = begin if t % length == 0 else here
                plans[t, begin, acts[t, here]] = 1
                here = problem.world.transition[t, here, acts[t, here]].argmax()
        share = 0.3 * (seed % 3) * rng.random((6, 1, 1))
        plans = (1 - share) * plans + share * rng.dirichlet(np.ones(2), (6, 3))
        pairs, policy = open_loop(problem, plans, length)
        # The plan's errors, begun in the expert's law: the roll-in is the expert's, beta = 1.
        rolled = schedules.chunked(1, schedules.starts(6, length), np.ones(1))
        errors = recursion(pairs, policy, schedules.row(rolled, 0)).total_variation[length - 1 :: length]
        done = exact.deploy(pairs, policy)
        gap, bound = done.novice_cost - done.guide_cost, float64(statistics.action_chunks, static=("length",))
        value = bound(errors, length=length)
        assert gap <= value + TOLERANCE
        reached = max(reached, gap / max(value, 1e-9))
    assert reached > 0.1


@pytest.mark.parametrize(("horizon", "length"), [(12, 1), (12, 3), (12, 12)])
def test_action_chunks_on_the_cliff(horizon, length):
    """Plans that fail with eps_c, at their first step: the closed form, and the bound to first order in eps_c."""
    eps = 1e-5
    policy = np.broadcast_to(np.array([1.0, 0.0]), (horizon, 2, 2)).copy()
    policy[::length, 0] = 1 - eps, eps
    done = exact.deploy(gallery.cliff(horizon), policy)
    gap = done.novice_cost - done.guide_cost
    # The closed form is computed in float32 here: its terms are all positive, so 1e-5 is ample.
    np.testing.assert_allclose(statistics.action_chunks_cliff(horizon, length, eps), gap, rtol=1e-5)
    even = float(statistics.action_chunks_even(horizon, length, eps))
    np.testing.assert_allclose(even, statistics.action_chunks(jnp.full(horizon // length, eps), length), rtol=1e-5)
    assert gap <= even * (1 + 1e-6)
    np.testing.assert_allclose(gap, even, rtol=horizon * eps)
    np.testing.assert_allclose(even, horizon * (horizon + length) / (2 * length) * eps, rtol=1e-6)
    if length > 1:  # the expert's chunks go the other way: u k T eps would be larger for longer ones
        assert even < float(statistics.action_chunks_even(horizon, 1, eps))
