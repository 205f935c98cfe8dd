"""SMILe, SEARN, AggreVaTe, NRPI and DART: every theorem on random worlds, where it is an equality, and wrong ones."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dagger_jax import algorithms, schedules
from dagger_jax.bounds import costs, mixtures
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, experts, gallery, interaction
from dagger_jax.tabular import worlds as tabular
from dagger_jax.tabular.worlds import backward
from dagger_jax.types import Problem

TOLERANCE = 1e-9  # sums of a few hundred products of numbers up to T, in float64
ROUNDS, WORLDS = 5, 100
SETTINGS = {  # horizon, states, actions, concentration, temperature
    "mixing": (5, 4, 3, 0.5, None),
    "nearly deterministic": (6, 3, 2, 0.05, None),
    "softened expert": (5, 4, 3, 0.3, 0.3),
    "two steps, softened": (2, 2, 2, 0.05, 1.0),
    "arbitrary expert": (6, 3, 2, 0.05, "arbitrary"),
    "two steps, arbitrary": (2, 3, 2, 0.05, "arbitrary"),
}
EVERY = pytest.mark.parametrize("setting", SETTINGS)


def worlds(setting, count=WORLDS, seed=0, observations=None):
    """Random problems, stacked. An "arbitrary" expert is deterministic and can be improved on."""
    horizon, states, actions, concentration, temperature = SETTINGS[setting]
    arbitrary = temperature == "arbitrary"
    options = {"concentration": concentration, "temperature": None if arbitrary else temperature}
    each = [
        gallery.random_mdp(horizon, states, actions, seed + i, observations=observations, **options)
        for i in range(count)
    ]
    if arbitrary:
        choice = np.random.default_rng(seed).integers(0, actions, (count, horizon, states))
        each = [Problem(p.world, experts.deterministic(c, actions), p.name) for p, c in zip(each, choice, strict=True)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def policies(problem, rng, rounds=ROUNDS):
    """[W, N, T, S, A]: mixtures of the expert with random, nearly deterministic tables; every third without it."""
    count, horizon, states, actions = problem.expert.shape
    tables = rng.dirichlet(np.full(actions, 0.1), (count, rounds, horizon, states))
    share = 10.0 ** rng.uniform(-2, 0, (count, rounds, 1, 1, 1))
    share[::3] = 1.0
    return (1 - share) * problem.expert[:, None] + share * tables


def recursion(build, newest, share):
    """What a schedule's columns make of the newest policies: acting [N, ...], left [N], output."""
    row = build(len(newest), newest.shape[1], share)
    acting, stack = newest[0], []
    for n in range(len(newest)):
        stack.append(acting)
        acting = (1 - row.mixing_rate[n]) * acting + row.mixing_rate[n] * newest[n]
    return jnp.stack(stack), row.beta[:, 0], acting


@float64
def judged(problem, newest, share):
    """Evidence and every bound of SMILe's mixture and of SEARN's, [W]."""

    def one(problem, newest, share):
        def seen_under(build):
            acting, left, output = recursion(build, newest, share)
            return mixtures.mixture(problem, acting, newest, left, output)

        of_smile, of_searn = seen_under(schedules.smile), seen_under(schedules.searn)
        with_span = of_searn._replace(loses=of_searn.span, gains=0 * of_searn.span)
        return {
            "smile": (of_smile, mixtures.smile(of_smile, share)),
            "smile_sharp": (of_smile, mixtures.smile_sharp(of_smile, share)),
            "searn": (of_searn, mixtures.searn(of_searn, share)),
            "searn_sharp": (of_searn, mixtures.searn_sharp(of_searn, share)),
            "searn_regret": (of_searn, mixtures.searn_regret(of_searn, share)),
            "searn_published": (of_searn, mixtures.searn_published(of_searn, share, problem.world.horizon)),
        }, {"span": mixtures.searn_sharp(with_span, share), "smile's mixture": mixtures.searn_sharp(of_smile, share)}

    return jax.vmap(one)(problem, newest, share)


# ---- SMILe and SEARN -------------------------------------------------------------------------------------


@EVERY
def test_mixtures_on_random_worlds(setting):
    """100 worlds x 5 rounds, shares from 0.03 to 1, so that leaving the expert out costs from everything to nothing."""
    rng = np.random.default_rng(0)
    problem = worlds(setting)
    newest, share = policies(problem, rng), 10.0 ** rng.uniform(-1.5, 0, WORLDS)
    judgements, _ = judged(problem, newest, share)
    bound = {name: value for name, (_, value) in judgements.items()}
    for name, (seen, value) in judgements.items():
        assert np.abs(seen.gap).max() > 0.1
        assert (seen.gap <= value + TOLERANCE).all(), name
        assert (seen.regret >= -TOLERANCE).all()
        assert (np.maximum(seen.loses, seen.gains) <= seen.span + TOLERANCE).all()
    assert (bound["smile_sharp"] <= bound["smile"] + TOLERANCE).all()
    assert (bound["searn_sharp"] <= bound["searn"] + TOLERANCE).all()
    assert (bound["searn_regret"] <= bound["searn_published"] + TOLERANCE).all()


def test_wrong_bounds_are_found_out_by_random_worlds_too():
    """The controls of the sweep above: the span in place of u + v, and SEARN's theorem for SMILe's mixture."""
    problem = worlds("two steps, arbitrary", 400, seed=7)
    rng = np.random.default_rng(7)
    newest = policies(problem, rng, 1)
    judgements, wrong = judged(problem, newest, np.ones(400))  # leaving the expert out costs nothing
    seen, value = judgements["searn_sharp"]
    assert (seen.gap <= value + TOLERANCE).all()
    assert (seen.gap > wrong["span"] + 1e-3).any()
    judgements, wrong = judged(problem, policies(problem, rng), np.full(400, 0.8))
    assert (judgements["smile"][0].gap > wrong["smile's mixture"] + 1e-3).any()


def test_what_is_measured_is_the_mixture_of_the_definition():
    """pi^n = pi^(n-1) + alpha (1 - alpha)^(n-1) (pihat_n - pi*), and each step is Kakade and Langford's equality."""
    problem = gallery.random_mdp(5, 4, 3, 1, temperature=0.3)
    newest = np.random.default_rng(1).dirichlet(np.full(3, 0.2), (ROUNDS, 5, 4))
    alpha = 0.4
    acting, left, output = float64(functools.partial(recursion, schedules.smile))(newest, alpha)
    seen = mixtures.mixture(problem, acting, newest, left, output)
    current = np.asarray(problem.expert)
    for n in range(ROUNDS):
        np.testing.assert_allclose(left[n] * problem.expert + (1 - left[n]) * acting[n], current, atol=1e-12)
        law = exact.deploy(problem, current).novice
        to_go, value = backward(problem.world, current)
        wanted = (law * ((newest[n] * to_go).sum(-1) - value[:-1])).sum(-1)
        np.testing.assert_allclose(seen.advantage[n], wanted, atol=1e-12)
        np.testing.assert_allclose(seen.eps[n], (law * 0.5 * np.abs(newest[n] - problem.expert).sum(-1)).sum(-1))
        current = current + alpha * (1 - alpha) ** n * (newest[n] - problem.expert)
    last = (1 - alpha) ** ROUNDS
    np.testing.assert_allclose(output, (current - last * problem.expert) / (1 - last), atol=1e-12)
    ended = exact.deploy(problem, output)
    np.testing.assert_allclose(seen.gap, ended.novice_cost - ended.guide_cost, atol=1e-12)


def test_smile_is_reached_for_small_alpha():
    """Chunk-reset chain, u = 1: errors with eps in both states cost T eps, and so says the bound as alpha -> 0.

    With alpha = 0.005 its second-order factor is 1 + alpha T / 4 at most, 2.5 %, and e^-20 of the expert is left.
    """
    problem, eps, alpha, rounds = gallery.chunk_reset(20), 1e-2, 0.005, 4000
    newest = np.broadcast_to(np.array([[1 - eps, eps]] * 2), (rounds, 1, 2, 2))
    left = (1 - alpha) ** np.arange(rounds)
    seen = mixtures.mixture(problem, newest, newest, left, newest[0])
    np.testing.assert_allclose(seen.gap, 20 * eps, rtol=1e-12)
    bound = float64(mixtures.smile_sharp)(seen, alpha)
    assert 1 <= bound / seen.gap <= 1.03
    # In the plain form the second order does not vanish with the errors: T (T - 1) / 2 x alpha / 2 here.
    loose = float64(mixtures.smile)(seen, alpha)
    np.testing.assert_allclose(loose - 20 * eps, 190 * alpha / (2 - alpha), rtol=1e-3)


def bought_and_paid():
    """Two steps. The expert goes where it errs and the newest does not; the newest goes where it errs itself.

    At every state the span of Q is 1, but the newest's disadvantage is -1 in one state and +1 in the other.
    """
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 2] = transition[0, 1, 1] = 1
    transition[1, :, 1] = transition[2, :, 2] = 1
    world = tabular.world(transition, np.array([[0, 0], [0, 1], [1, 0]]), np.eye(3)[0], 2)
    return Problem(world, experts.deterministic(np.zeros(3, int), 2)), experts.deterministic(np.ones(3, int), 2)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_searn_needs_u_and_v(share):
    """The span of Q in place of u + v is false; with u + v one round is an equality."""
    problem, newest = bought_and_paid()
    current = (1 - share) * np.asarray(problem.expert) + share * newest
    ended = exact.deploy(problem, current)
    gap = ended.novice_cost - ended.guide_cost
    seen = mixtures.mixture(problem, np.stack([newest]), np.stack([newest]), np.ones(1), current)
    np.testing.assert_allclose([seen.loses[0], seen.gains[0], seen.span[0]], 1, rtol=1e-12)
    # Without leaving the expert out: the step from h_0 to h_1 alone.
    removed = float64(mixtures.without_expert)(2, 1.0 - share)
    np.testing.assert_allclose(float64(mixtures.searn)(seen, share) - removed, gap, atol=1e-12)
    with_span = seen._replace(loses=seen.span, gains=0 * seen.span)
    assert gap > float64(mixtures.searn)(with_span, share) - removed + 0.9 * share**2
    # Measured from the best action the loss has one sign, and the span is enough.
    assert gap <= float64(mixtures.searn_regret)(seen, share) - removed + TOLERANCE


def test_smile_needs_the_span_where_the_expert_draws_its_action():
    """One step, the expert tosses a coin between costs 0 and 1, the newest takes 1: error 1/2, gap 1/2."""
    world = tabular.world(np.ones((1, 2, 1)), np.array([[0.0, 1.0]]), np.ones(1), 1)
    problem, newest = Problem(world, np.full((1, 1, 2), 0.5)), np.array([[[[0.0, 1.0]]]])
    seen = mixtures.mixture(problem, newest, newest, np.ones(1), newest[0])
    np.testing.assert_allclose(seen.gap, 0.5)
    np.testing.assert_allclose(float64(mixtures.smile_sharp)(seen, 1.0), 0.5, rtol=1e-12)
    from_value = seen._replace(worst=seen.loses)  # max Q - V = 1/2: too small
    assert float64(mixtures.smile_sharp)(from_value, 1.0) < 0.3


@pytest.mark.parametrize("name", ["smile", "searn"])
def test_bounds_of_runs(name):
    """The algorithms themselves, on worlds where the learner cannot match the expert."""
    way, share = algorithms.ALGORITHMS[name], {"smile": 0.2, "searn": 0.4}[name]
    problem, rounds = worlds("mixing", 20, observations=2), 15

    def one(problem, schedule):
        learner = way.learner(problem.world, False)
        play = interaction.exactly(problem)
        measure = lambda moment: (moment.acting, moment.newest)
        done = interaction.run(problem, schedule, learner, play, label=way.label, measure=measure)
        acting, newest = done.measured
        seen = mixtures.mixture(problem, acting, newest, schedule.beta[:, 0], done.acting)
        bounds = (mixtures.smile_sharp, mixtures.searn_sharp, mixtures.searn_regret)
        return seen.gap, [bound(seen, share) for bound in bounds]

    schedule = way.build(rounds, SETTINGS["mixing"][0], 1)
    gap, bounds = float64(jax.vmap(one, in_axes=(0, None)))(problem, schedule)
    assert gap.max() > 0.05
    for bound in bounds:
        assert (gap <= bound + 1e-5).all()  # `share` comes from columns made in float32


# ---- AggreVaTe -------------------------------------------------------------------------------------------


@float64
def aggrevated(problem, acting, beta):
    def one(problem, acting, beta):
        seen = costs.cost_to_go(problem, acting, beta)
        bounds = (costs.aggrevate, costs.aggrevate_sharp, costs.aggrevate_signed)
        return seen, [bound(seen, beta, problem.world.horizon) for bound in bounds]

    return jax.vmap(one)(problem, acting, beta)


@EVERY
@pytest.mark.parametrize("observations", [None, 2])
def test_aggrevate_on_random_worlds(setting, observations):
    """100 worlds x 5 policies, beta falling, drawn at random."""
    rng = np.random.default_rng(1)
    problem = worlds(setting, observations=observations)
    beta = np.sort(rng.random((WORLDS, ROUNDS)) ** 3)[:, ::-1]
    beta[::4] = 0.0
    acting = policies(problem, rng)
    if observations is not None:  # tables of observations, so that they are in the class
        acting = np.take_along_axis(acting, problem.world.observation[:, None, None, :, None], 3)
    else:  # some that improve on the expert where that is possible
        to_go = float64(jax.vmap(backward))(problem.world, problem.expert)[0]
        acting[::8] = (to_go == to_go.min(-1, keepdims=True))[::8, None]
    seen, (plain, sharp, signed) = aggrevated(problem, acting, beta)
    gap = seen.gap.mean(-1)
    assert (gap <= sharp + TOLERANCE).all()
    assert (sharp <= plain + TOLERANCE).all()
    assert (gap <= signed + TOLERANCE).all()
    assert (seen.hindsight <= seen.losses.mean(-1) + TOLERANCE).all()  # no policy beats the best table
    np.testing.assert_allclose(gap[::4], signed[::4], atol=1e-12)  # without beta
    if SETTINGS[setting][-1] is None:
        np.testing.assert_allclose(gap[::4], sharp[::4], atol=1e-12)  # min Q* = V* for the best expert
        if observations is None:
            np.testing.assert_allclose(seen.hindsight, 0, atol=1e-12)  # it is in the class
    elif observations is None:
        assert (signed < 0).any()  # it can be improved on, and the bound says so


def test_aggrevate_without_its_shift_term_is_false():
    """The control: policies that err only where the expert would not have led them."""
    problem = worlds("nearly deterministic")
    rng = np.random.default_rng(2)
    beta = np.full((WORLDS, ROUNDS), 0.7)
    seen, _ = aggrevated(problem, policies(problem, rng), beta)
    horizon = SETTINGS["nearly deterministic"][0]
    assert (seen.gap.mean(-1) > horizon * seen.losses.mean(-1) + 0.05).any()


@pytest.mark.parametrize("beta", [0.05, 0.5, 1.0])
def test_aggrevate_sharp_is_reached(beta):
    """The expert leaves G at once and never pays, the learner stays and pays 1 a step: gap T at any beta."""
    world = tabular.world(
        np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]]], float), np.array([[1, 0], [0, 0]]), np.eye(2)[0], 8
    )
    problem, stays = (
        Problem(world, experts.deterministic(np.ones(2, int), 2)),
        experts.deterministic(np.zeros(2, int), 2),
    )
    seen = costs.cost_to_go(problem, np.stack([stays] * 3), np.full(3, beta))
    np.testing.assert_allclose(seen.gap, 8)
    np.testing.assert_allclose(seen.losses.mean() * 8, ((1 - beta) ** np.arange(8)).sum(), rtol=1e-12)
    np.testing.assert_allclose(
        float64(costs.aggrevate_sharp, static=("horizon",))(seen, np.full(3, beta), horizon=8), 8, rtol=1e-12
    )


@pytest.mark.parametrize("steps", [1, 3])
def test_hindsight_by_brute_force(steps):
    """Over all tables of 2 observations and 2 actions: 4 shared ones, or 4^3 with one a step."""
    problem = gallery.random_mdp(3, 4, 2, seed=3, observations=2, temperature=0.5)
    rng = np.random.default_rng(0)
    acting = rng.dirichlet(np.ones(2), (ROUNDS, steps, 4))
    beta = np.array([1.0, 0.5, 0.2, 0.1, 0.0])
    seen = costs.cost_to_go(problem, acting, beta)
    to_go, _ = backward(problem.world, problem.expert)
    laws = np.stack(
        [exact.deploy(problem, b * problem.expert + (1 - b) * p).novice for b, p in zip(beta, acting, strict=True)]
    )
    means = []
    for table in itertools.product(itertools.product(range(2), repeat=2), repeat=steps):
        acts = np.array([np.array(table[t if steps > 1 else 0])[problem.world.observation] for t in range(3)])
        paid = np.take_along_axis(to_go, acts[..., None], -1)[..., 0] - to_go.min(-1)
        means.append((laws * paid).sum((1, 2)).mean() / 3)
    np.testing.assert_allclose(seen.hindsight, min(means), rtol=1e-12)
    assert min(means) > 0


# ---- NRPI ------------------------------------------------------------------------------------------------


@float64
def improved(problem, acting, nu, own):
    def one(problem, acting, nu, own):
        nu = jnp.where(own, exact.deploy(problem, problem.expert).novice, nu)
        seen = costs.improvement(problem, acting, problem.expert, nu)
        return seen, costs.nrpi(seen), costs.nrpi_against(seen)

    return jax.vmap(one)(problem, acting, nu, own)


@EVERY
def test_nrpi_on_random_worlds(setting):
    """Against the expert, which is in the class of all tables, with random exploration laws; equal for its own law."""
    rng = np.random.default_rng(3)
    problem = worlds(setting)
    horizon, states, *_ = SETTINGS[setting]
    acting, nu = policies(problem, rng), rng.dirichlet(np.full(states, 0.3), (WORLDS, horizon))

    own = np.arange(WORLDS) % 4 == 0
    seen, bound, sharp = improved(problem, acting, nu, own)
    gap = seen.gap.mean(-1)
    assert (gap <= sharp + TOLERANCE).all()
    assert (sharp <= bound + TOLERANCE).all()
    np.testing.assert_allclose(seen.distance[own], 0, atol=1e-12)
    np.testing.assert_allclose(gap[own], sharp[own], atol=1e-12)  # Kakade and Langford from the other side
    without = sharp - seen.span * seen.distance.sum(-1)
    assert (gap > without + 1e-3).any()  # the control: the distance is needed


# ---- DART ------------------------------------------------------------------------------------------------


@float64
def departed(problem, policy, noise):
    def one(problem, policy, noise):
        seen, horizon = costs.departure(problem, policy, noise), problem.world.horizon
        return seen, costs.dart(seen, horizon), costs.dart_coupled(seen, horizon)

    return jax.vmap(one)(problem, policy, noise)


@EVERY
def test_dart_on_random_worlds(setting):
    """Noise from 0 to 1, constant or drawn for each step."""
    rng = np.random.default_rng(4)
    problem = worlds(setting)
    horizon = SETTINGS[setting][0]
    noise = rng.random((WORLDS, horizon)) ** 2
    noise[::3] = noise[::3, :1]
    noise[::5] = 0.0

    seen, pinsker, coupled = departed(problem, policies(problem, rng, 1)[:, 0], noise)
    assert (seen.gap <= pinsker + TOLERANCE).all()
    assert (seen.gap <= coupled + TOLERANCE).all()
    assert (seen.total_variation <= 1 + TOLERANCE).all()
    if SETTINGS[setting][-1] != 0.3:
        assert (seen.gap > 0.05 * horizon).any()


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_departure_by_enumeration(noise):
    """All 4^2 x 2^2 runs of 2 steps, 4 states, 2 actions."""
    problem = gallery.random_mdp(2, 4, 2, 5, temperature=0.3)
    policy = np.random.default_rng(5).dirichlet(np.ones(2), (2, 4))
    perturbed = (1 - noise) * problem.expert + noise / 2
    first, second = [], []
    for s, a, r, b in itertools.product(range(4), range(2), range(4), range(2)):
        chance = problem.world.initial[s] * problem.world.transition[0, s, a, r]
        first.append(chance * policy[0, s, a] * policy[1, r, b])
        second.append(chance * perturbed[0, s, a] * perturbed[1, r, b])
    first, second = np.array(first), np.array(second)
    seen = costs.departure(problem, policy, noise)
    possible = first > 0
    np.testing.assert_allclose(seen.kl, (first * np.log(first / second))[possible].sum(), rtol=1e-10)
    assert seen.total_variation >= 0.5 * np.abs(first - second).sum() - 1e-12
    paid = [exact.deploy(problem, pi).novice_cost for pi in (policy, perturbed)]
    np.testing.assert_allclose(seen.gap, abs(paid[0] - paid[1]), atol=1e-12)


def test_dart_is_reached():
    """T x TV where the first action decides on everything; T sqrt(KL / 2) to second order at even odds, T = 1."""
    problem = gallery.rb3(10)
    policy = np.broadcast_to(np.array([1.0, 0.0]), (10, 3, 2)).copy()
    policy[0, 0] = 0.7, 0.3
    seen = costs.departure(problem, policy, 0.0)
    np.testing.assert_allclose([seen.gap, float64(costs.dart_coupled)(seen, 10)], 3.0, rtol=1e-12)
    assert np.isinf(seen.kl)  # without noise the expert never does what the learner does: the bound says nothing
    world = tabular.world(np.ones((1, 2, 1)), np.array([[0.0, 1.0]]), np.ones(1), 1)
    coin = costs.departure(Problem(world, np.array([[[1.0, 0.0]]])), np.array([[[0.51, 0.49]]]), 1.0)
    # KL = 2 x^2 + O(x^4) at x = 0.01: relative differences of order x^2
    np.testing.assert_allclose(float64(costs.dart)(coin, 1), coin.gap, rtol=1e-3)
    np.testing.assert_allclose(coin.gap, 0.01, rtol=1e-12)
    assert coin.gap > 1.05 * float64(costs.dart)(coin._replace(kl=0.9 * coin.kl), 1)  # sqrt(0.9) = 0.949
