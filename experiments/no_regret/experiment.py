"""DAgger's Theorems 4.1 and 4.2 as inequalities, for every beta schedule and online learner: held, and how loose.

python -m experiments.no_regret --out=DIR
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from flax import struct
from scipy import stats

from dagger_jax import bounds, randomness, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import gallery, interaction, labels, learners, rollout
from dagger_jax.tabular.worlds import backward
from dagger_jax.types import Array, Node, Problem, World

from .. import claim
from ..claim import HOLDS, INFORMATION, NOT_SHOWN, BadFlag, Claim, Finding, Measurement, Settings, compared, devices
from ..shared import needs, states, study, training
from . import figures as drawn

STATES, ACTIONS, OBSERVATIONS = 8, 3, 4  # of random worlds: two states look alike, the expert is out of the class
TOLERANCE = 1e-9  # of float64 sums of this size
ROUNDING = 1e-5  # of float32 sums of losses
CLEARLY = 1e-3  # what counts as a violation where one is expected

BETAS: Mapping[str, Callable[[int], Array]] = {
    "indicator": schedules.beta_indicator,
    "geometric_0.5": lambda rounds: schedules.beta_geometric(rounds, 0.5),
    "geometric_0.9": lambda rounds: schedules.beta_geometric(rounds, 0.9),
    "linear": lambda rounds: schedules.beta_linear(rounds, rounds // 2),
    "one_over_n": lambda rounds: 1 / np.arange(1, rounds + 1, dtype=np.float32),
    "constant_0.1": lambda rounds: schedules.beta_constant(rounds, 0.1),
    "zero": lambda rounds: schedules.beta_constant(rounds, 0.0),
}


# ---- online learners ------------------------------------------------------------------------------------------


class Falling(Node):
    """A rule whose rate in round n is its rate in the first over sqrt(n): no number of rounds need be known."""

    rule: Any
    horizon: int = struct.field(pytree_node=False)  # labels a round

    def __call__(self, costs: Array, weight: Array) -> Array:
        return self.rule.replace(rate=self.rule.rate / jnp.sqrt(1 + weight.sum() / self.horizon))(costs, weight)


class Online(NamedTuple):
    """A learner, and its regret's theorem where there is one: at an observation, with rates eta_n that do not grow,

    sum_n [l_n(pihat_n) - l_n(pi)] <= span / eta_N + sum_n eta_n square(costs of round n), for every pi.
    """

    build: Callable[[World, float], learners.Learner]  # (world, rate of the first round)
    span: Callable[[int], float] | None = None  # of the number of actions
    source: str = ""
    square: Callable[[np.ndarray], np.ndarray] = lambda costs: costs.var(-1) * costs.shape[-1] / 2  # [..., A] -> [...]

    def rate(self, world: World) -> float:
        """eta_1 = eta_n sqrt(n): the best constant if all T labels of a round are at one observation."""
        if self.span is None:
            return 0.0
        label, spans = np.arange(world.actions) > 0.0, world.observations * self.span(world.actions)
        return float(np.sqrt(spans / (2 * self.square(1.0 * label))) / world.horizon)

    def bound(self, world: World, costs: np.ndarray) -> np.ndarray:
        """The theorem's average regret after each round, given the costs [..., N, O, A] that it met."""
        if self.span is None:
            return np.full(costs.shape[:-2], np.nan)
        n, spans = np.arange(1, costs.shape[-3] + 1), world.observations * self.span(world.actions)
        eta = self.rate(world) / np.sqrt(n)
        return (spans / eta + (eta * self.square(costs).sum(-1)).cumsum(-1)) / (world.horizon * n)


def _tabular(rule: Callable[[float, int], learners.Rule]) -> Callable[[World, float], learners.Learner]:
    return lambda world, rate: learners.tabular(world, rule(rate, world.horizon), shared=True)


LEARNERS: Mapping[str, Online] = {
    "follow_the_leader": Online(_tabular(lambda rate, horizon: learners.Majority())),
    "log_loss": Online(_tabular(lambda rate, horizon: learners.LogLoss(0.1))),
    "hedge": Online(
        _tabular(lambda rate, horizon: Falling(learners.Hedge(rate), horizon)),
        np.log,
        "Freund and Schapire 1997",
        lambda costs: np.ptp(costs, axis=-1) ** 2 / 8,
    ),
    "regularised_leader": Online(
        _tabular(lambda rate, horizon: Falling(learners.RegularisedLeader(rate), horizon)),
        lambda actions: (1 - 1 / actions) / 2,
        "Shalev-Shwartz 2012, section 2.4",
    ),
    "gradient_descent": Online(
        lambda world, rate: learners.Descent(rate, 1, world.observations, world.actions),
        lambda actions: 1.0,
        "Zinkevich 2003",
    ),
}

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": ("random_mdp", "tightrope"),
        "betas": tuple(BETAS),
        "learners": ("follow_the_leader", "hedge", "gradient_descent") if preset == "quick" else tuple(LEARNERS),
        "horizon": horizon,
        "rounds": rounds,
        "episodes": 1,
        "replicas": replicas,
        "deltas": (0.5, 0.1, 0.01),
        "runs": runs,
    }
    for preset, horizon, rounds, replicas, runs in (
        ("quick", 8, 20, 300, 12),
        ("default", 16, 60, 400, 40),
        ("full", 32, 120, 1000, 80),
    )
}


# ---- the blocks of work ---------------------------------------------------------------------------------------


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A block a world and learner, exactly and sampled, over all beta schedules."""
    if settings.runs < 2:
        raise BadFlag("runs", f"{settings.runs} leaves no interval; allowed: whole numbers, 2 or more")
    study.check_worlds(settings.worlds, (settings.horizon,))
    return [
        {"what": what, "world": world, "learner": learner}
        for what in ("exact", "sampled")
        for world in settings.worlds
        for learner in settings.learners
    ]


def problems(settings: Settings, world: str) -> list[Problem]:
    """A problem a run; where nothing is drawn, one."""
    if world != "random_mdp":
        return [study.problem(world, settings.horizon)]
    sizes = {"observations": OBSERVATIONS, "concentration": 0.2, "stationary": True}
    return [
        gallery.random_mdp(settings.horizon, STATES, ACTIONS, (settings.seed, run), **sizes)
        for run in range(settings.runs)
    ]


class Round(NamedTuple):
    """Of one round, or stacked over rounds. O observations, A actions."""

    loss: Array  # [] l_n(pihat_n): expected 0-1 loss, average a step, on what the round saw
    own: Array  # [] the same under the law of pihat_n alone, exactly
    costs: Array  # [O, A] summed cost of the round's labels


def _play(problem: Problem, beta: Array, fits: learners.Learner, interpreter: interaction.Interpreter) -> Round:
    """All N rounds of DAgger under beta [N]."""
    world = problem.world
    erring = world.replace(cost=1 - jnp.asarray(problem.expert))  # a step costs the learner's error there

    def record(moment: interaction.Moment) -> Round:
        batch = labels.imitate(problem, moment.play, moment.row, moment.acting)
        costs = jnp.zeros((world.observations, world.actions)).at[world.observation].add(batch.costs.sum(0))
        alone = jnp.asarray(world.initial) @ backward(erring, moment.acting)[1][0]
        return Round((batch.costs * moment.acting).sum() / world.horizon, alone / world.horizon, costs)

    schedule = schedules.dagger(beta.shape[0], world.horizon, beta)
    return interaction.run(problem, schedule, fits, interpreter, measure=record).measured


@float64
def _exactly(problems: Problem, betas: Array, fits: learners.Learner) -> Round:
    """[B, W, N]."""
    one = lambda problem, beta: _play(problem, beta, fits, interaction.exactly(problem))
    return jax.vmap(jax.vmap(one, in_axes=(0, None)), in_axes=(None, 0))(problems, betas)


@functools.partial(devices.jit, static_argnames="episodes")
def _sampled(
    problems: Problem, tables: rollout.Tables, keys: Array, betas: Array, fits: learners.Learner, *, episodes: int
) -> Round:
    """[B, R, N], a key a replica, and a problem where they are a batch."""
    ids = jnp.arange(episodes, dtype=jnp.uint32)

    def one(problem: Problem, sampler: rollout.Tables, key: Array, beta: Array) -> Round:
        interpreter = interaction.by_sampling(sampler, randomness.words(key), ids, alone=True)
        return _play(problem, beta, fits, interpreter)

    each = 0 if np.ndim(problems.world.initial) > 1 else None
    over_replicas = jax.vmap(one, in_axes=(each, each, 0, None))
    return devices.over_devices(jax.vmap(lambda beta: over_replicas(problems, tables, keys, beta)))(betas)


@functools.partial(float64, static=("horizon",))
def _terms(loss: Array, own: Array, hindsight: Array, betas: Array, *, horizon: int) -> bounds.NoRegret:
    """Of [B, W, N] and [B, N]: the theorems' terms after every number of rounds, [B, W, N]."""
    one = functools.partial(bounds.no_regret_by_round, horizon=horizon)
    return jax.vmap(jax.vmap(one, in_axes=(0, 0, 0, None)))(loss, own, hindsight, betas)


def _fitted(settings: Settings, world: World, name: str) -> learners.Learner:
    """The learner; a table is a choice among the rules of all tables, which so share their programs."""
    built = {each: LEARNERS[each].build(world, LEARNERS[each].rate(world)) for each in settings.learners}
    own = built[name]
    rules = {each: learner.rule for each, learner in built.items() if isinstance(learner, learners.Tabular)}
    if not isinstance(own, learners.Tabular):
        return own
    return own.replace(rule=training.Chosen.of(rules, name))


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Both sides of the theorems after every number of rounds; of sampled replicas after a few and after all."""
    each, online, sampled = problems(settings, cell["world"]), LEARNERS[cell["learner"]], cell["what"] == "sampled"
    world, batch, steps = each[0].world, study.stacked(each), 0
    fits, n = _fitted(settings, world, cell["learner"]), np.arange(1, settings.rounds + 1)
    betas = np.stack([np.asarray(BETAS[name](settings.rounds), float) for name in settings.betas])
    if sampled:
        both = batch, rollout.tables(batch)
        which = np.arange(settings.replicas) % len(each) if len(each) > 1 else 0  # one problem is read by all
        both = jax.tree.map(lambda leaf: leaf[which], both)
        keys = jax.random.split(jax.random.key(settings.seed), settings.replicas)
        seen = _sampled(*both, keys, betas, fits, episodes=settings.episodes)
        steps = len(betas) * settings.replicas * settings.rounds * settings.episodes * settings.horizon
    else:
        seen = _exactly(batch, betas, fits)
    loss, own, costs = (np.asarray(leaf, float) for leaf in seen)
    hindsight = costs.cumsum(2).min(-1).sum(-1) / (settings.horizon * n)
    terms = _terms(loss, own, hindsight, betas, horizon=settings.horizon)
    columns = {
        "beta": np.array(settings.betas)[:, None, None],
        "run": np.arange(loss.shape[1])[:, None],
        "round": n,
        "bound": bounds.theorem_4_1(terms),
        "sharp": bounds.theorem_4_1_sharp(terms),
        **terms._asdict(),
        "mixture": own.cumsum(-1) / n,
        "last": own,
        "regret_bound": online.bound(world, costs),
    }
    kept = drawn.checkpoints(settings) - 1 if sampled else n - 1
    values = [np.broadcast_to(column, loss.shape)[..., kept].ravel().tolist() for column in columns.values()]
    common = {"world": cell["world"], "learner": cell["learner"], "algorithm": "dagger", "horizon": settings.horizon}
    common |= {"interpreter": cell["what"]} | ({} if online.span else {"regret_bound": None})
    return Measurement([dict(zip(columns, row, strict=True)) | common for row in zip(*values, strict=True)], steps)


# ---- what the points say --------------------------------------------------------------------------------------


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """The theorems first, then what is no theorem, the learners' regret, how loose all is, and what sampling does."""
    findings = []
    for world in settings.worlds:
        exactly, sampled = (drawn.cubes(settings, table, world, what) for what in ("exact", "sampled"))
        together = {name: np.stack([cube[name] for cube in exactly.values()]) for name in ("bound", *NUMBERS)}
        findings += _theorems(world, together) + _controls(settings, world, together)
        findings += [found for learner in exactly for found in _regrets(settings, world, learner, exactly[learner])]
        findings += _loose(settings, world, together)
        findings += _sampling(settings, world, list(sampled.values()))
    return findings


def _holds(text: str, source: str, world: str, slack: np.ndarray) -> Finding:
    least, text = float(slack.min()), f"{text}: least slack of {slack.size:,}"
    state = compared(least, least, least=-TOLERANCE)
    return Finding(text, source, world, f"at least -{TOLERANCE:g}", least, None, None, state=state)


def _told(text: str, world: str, values: np.ndarray) -> Finding:
    """For information: the median and 95% range of several values."""
    middle, *ends = np.quantile(values, [0.5, 0.025, 0.975]).tolist()
    low, high = ends if np.size(values) > 1 else (None, None)
    return Finding(text, "this experiment", world, None, middle, low, high, state=INFORMATION)


def _theorems(world: str, found: Mapping[str, np.ndarray]) -> list[Finding]:
    return [
        _holds(f"{name}, {which}, holds after every number of rounds", source, world, found[bound] - found[bounded])
        for bounded, which in (("best_own", "best of N policies"), ("mixture", "their uniform mixture (footnote 3)"))
        for name, bound, source in (
            ("Theorem 4.1", "bound", f"{drawn.PAPER}, Theorem 4.1; docs/theory.md#dagger"),
            ("Theorem 4.1 with our shift term", "sharp", drawn.SHARP),
        )
    ]


def _controls(settings: Settings, world: str, found: Mapping[str, np.ndarray]) -> list[Finding]:
    """What is no theorem; on random worlds, where learners change fast enough, it must be found out."""
    violated = found["best_own"] > found["hindsight"] + found["regret"] + CLEARLY
    shares = zip(settings.betas, violated.mean((0, 2, 3)), strict=True)
    text = "without a shift term the inequality is false, number of violations (shares: "
    text += ", ".join(f"{name} {share:.2g}" for name, share in shares) + ")"
    needed = world == "random_mdp" and "follow_the_leader" in settings.learners and set(settings.betas) != {"zero"}
    count = int(violated.sum())
    state = (HOLDS if count else NOT_SHOWN) if needed else INFORMATION
    control = Finding(text, "control", world, "above 0" if needed else None, count, None, None, state=state)
    text = "the last policy is promised nothing: share of rounds in which its own loss is above the sharp bound"
    return [control, _told(text, world, (found["last"] > found["sharp"] + TOLERANCE).mean())]


def _regrets(settings: Settings, world: str, learner: str, cube: Mapping[str, np.ndarray]) -> list[Finding]:
    name, proven = learner.replace("_", " "), LEARNERS[learner].span is not None
    slopes = drawn.exponents(settings, cube)
    text = f"{name}: exponent of gamma_N in N, median and range over beta schedules"
    text += "" if proven else "; no theorem says that it falls"
    text += "" if len(slopes) else " (none: gamma_N is 0 or less)"
    numbers = np.quantile(slopes, [0.5, 0, 1]).tolist() if len(slopes) else [None] * 3
    tested = proven and len(slopes) > 0
    expected, state = "below 0 (its bound: -0.5)" if tested else None, INFORMATION
    if tested:  # every slope is exact
        state = compared(float(slopes.max()), float(slopes.max()), most=0.0, strict=True)
    findings = [Finding(text, LEARNERS[learner].source or "this experiment", world, expected, *numbers, state=state)]
    if proven:
        source, text = LEARNERS[learner].source, f"{name}: gamma_N is within the learner's own regret bound"
        findings.append(_holds(text, source, world, cube["regret_bound"] - cube["regret"]))
    return findings


def _loose(settings: Settings, world: str, found: Mapping[str, np.ndarray]) -> list[Finding]:
    findings, lhs = [], found["best_own"][..., -1]
    if lhs.min() <= TOLERANCE:
        return []  # the expert is in the class and was learnt: nothing to divide by
    for name, bound in (("Theorem 4.1", "bound"), ("Theorem 4.1 with our shift term", "sharp")):
        useful = (found[bound] < 1).mean()
        text = f"{name}: bound over what it bounds after {settings.rounds} rounds; below the trivial 1 in {useful:.0%}"
        ratio = found[bound][..., -1] / lhs
        medians = zip(settings.betas, np.median(ratio, axis=(0, 2)), strict=True)
        text += f" of all rounds (medians: {', '.join(f'{beta} {median:.3g}' for beta, median in medians)})"
        findings.append(_told(text, world, ratio))
    return findings


def share_interval(count: int, replicas: int) -> tuple[float, float]:
    """Of a share, after Clopper and Pearson (1934): below the upper end with 95%; above the lower as surely as a normal
    law is within `states.SIGMAS`, as many shares are looked at.
    """
    low = stats.beta.ppf(stats.norm.sf(states.SIGMAS), count, replicas - count + 1) if count else 0.0
    high = stats.beta.ppf(0.95, count + 1, replicas - count) if count < replicas else 1.0
    return float(low), float(high)


def _sampling(settings: Settings, world: str, each: list[Mapping[str, np.ndarray]]) -> list[Finding]:
    """In which share of replicas the sampled inequality fails: the worst learner, schedule and number of rounds."""
    findings, above = [], np.zeros(0)
    listed = lambda values: ", ".join(f"{value:.3g}" for value in values)
    for name, bounded, shift, factor, source in drawn.STATEMENTS:
        above = np.stack([drawn.excess(settings, cube, bounded, shift) for cube in each])
        counts = [
            int((above > factor * np.sqrt(np.log(1 / delta)) + ROUNDING).sum(2).max()) for delta in settings.deltas
        ]
        ends = [share_interval(count, settings.replicas) for count in counts]
        rarest = int(np.argmax([high / delta for (_, high), delta in zip(ends, settings.deltas, strict=True)]))
        text = (
            f"{name}, {settings.replicas} replicas: at delta = {listed(settings.deltas)} it fails in at most "
            f"{listed(np.array(counts) / settings.replicas)} of them, in truth in up to "
            f"{listed(high for _, high in ends)} (95%); the largest over its delta"
        )
        state = states.worst(
            compared(low, high, most=delta) for (low, high), delta in zip(ends, settings.deltas, strict=True)
        )
        ratio = [value / settings.deltas[rarest] for value in (counts[rarest] / settings.replicas, *ends[rarest])]
        findings.append(Finding(text, source, world, "at most 1", *ratio, state=state))
    # What is left in `above` has our shift term, and the mixture's loss: where beta is 0 it is sampling error alone.
    middle = settings.deltas[len(settings.deltas) // 2]
    term, told = np.sqrt(np.log(1 / middle)), f"at delta = {middle:g}"
    needed = np.quantile(above, 1 - middle, axis=2).max() / term
    slack = np.stack([cube["bound"] - cube["best_own"] for cube in each])[..., -1]
    slack += term * np.sqrt(2 / (settings.episodes * settings.rounds))
    return [
        *findings,
        _told("without a last term 4.2 fails, largest share of replicas", world, (above > ROUNDING).mean(2).max()),
        _told(f"Theorem 4.2: share of the published last term that is needed {told}, at most", world, needed),
        _told(f"Theorem 4.2: slack after {settings.rounds} rounds {told}", world, slack),
    ]


NUMBERS = {
    "sharp": pa.float64(),  # the bound with our shift term
    "best_own": pa.float64(),  # what Theorem 4.1 bounds: the least own loss of rounds 1..N
    "hindsight": pa.float64(),  # eps_N
    "regret": pa.float64(),  # gamma_N
    "shift": pa.float64(),  # as published
    "sharp_shift": pa.float64(),
    "mixture": pa.float64(),  # own loss of the uniform mixture of rounds 1..N
    "last": pa.float64(),  # own loss of round N's policy
    "regret_bound": pa.float64(),  # what the learner's own theorem allows gamma_N; null where it has none
}

CLAIM = Claim(
    name="no_regret",
    title="DAgger's no-regret theorems hold at every number of rounds, and how loose they are",
    statement=(
        "Theorem 4.1 of DAgger (Ross, Gordon and Bagnell 2011) says that the best of N rounds' policies loses, on "
        "its own states, at most eps_N (the best policy in hindsight) plus gamma_N (the online learner's average "
        "regret) plus a term for the expert's share beta of the roll-in. The loss is the expected 0-1 loss, an average "
        "a step, the class all tables over observations that are shared over time: linear, so that eps_N and gamma_N "
        "are exact. Both sides are computed in float64 by recursion after every number of rounds, for seven beta "
        "schedules and five online learners, where the expert is outside the class. Beside it stands our sharper "
        "shift term, (l_max / N) sum_i avg_t [1 - (1 - beta_i)^(t-1)], the mixture of all rounds' policies (footnote "
        "3), the learners' own regret bounds, and Theorem 4.2, which speaks of sampled losses and fails in a share "
        "delta of replicas at most. The sum eps_N + gamma_N is the mean of the rounds' losses, whatever the best "
        "policy in hindsight: Theorem 4.1 tests that sum, and the split is tested by the learners' own regret bounds "
        "alone."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.no_regret,
    verdict=verdict,
    figures=drawn.figures,
    flags=(
        claim.names("worlds", study.WORLDS_HELP, tuple(gallery.WORLDS), files=".npz", kind="worlds"),
        claim.names("betas", "Beta schedules: the expert's share of the roll-in, by round.", tuple(BETAS)),
        claim.names("learners", "Online learners; the first is the one of the figures over rounds.", tuple(LEARNERS)),
        claim.integers("horizon", "Horizon T, in steps.", low=2, high=256, many=False),
        claim.integers("rounds", "Rounds N.", low=6, high=1000, many=False),
        claim.integers("episodes", "Sampled episodes m a round, of Theorem 4.2.", low=1, high=10_000, many=False),
        claim.integers("replicas", "Independent sampled runs, of Theorem 4.2.", low=20, high=100_000, many=False),
        claim.numbers("deltas", "Probabilities with which Theorem 4.2 may fail.", above=0.0, high=0.99),
    ),
    columns={"beta": pa.string(), **NUMBERS},
)
