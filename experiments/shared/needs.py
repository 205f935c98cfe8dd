"""What the largest arrays of each experiment take, from its settings alone: `Claim.memory`.

Estimates by shape, to a factor of about two; R is the number of runs. What is small beside them, such as
programs and libraries (some 500 MB), is left out.
"""

from dagger_jax import cost, walk
from dagger_jax.tabular import gallery
from dagger_jax.text.transformer import Config

from ..claim import Need, Settings, blocks, points
from . import study

Needs = tuple[Need, ...]


def walkers(count: float, episodes: float) -> Need:
    """So many roll-outs at once, each of a number of episodes. However many rounds there are, it is the same."""
    return Need("roll-outs", count * walk.room(episodes))


def transformers(config: Config, count: float, batch: float, texts: float) -> Needs:
    """So many transformers trained at once on a batch of texts each, and judged on `texts`."""
    length, width, layers = config.length, config.width, config.layers
    trained = 16 * cost.parameters(config)  # with gradient and two moments
    activations = layers * (2 * length * width * 96 + config.heads * (2 * length) ** 2 * 14)  # of two streams
    laws = 12 * 2 * length * config.vocabulary
    caches = 8 * layers * width * length  # of keys and values
    return (
        Need("the transformers' parameters", count * trained),
        Need("the texts of a round", count * (trained + batch * (activations + laws + caches))),
        Need("the texts that are judged", count * texts * (caches + 60 * length)),
    )


# ---- tabular worlds -------------------------------------------------------------------------------------------------


def horizon_growth(s: Settings) -> Needs:
    """A world a run where learners are fitted."""
    longest = max(s.horizons)
    fitted = tuple(world for world in s.worlds if study.is_own(world) or world in study.RESET_CLIFFS)
    series = len(s.worlds) * len(s.algorithms) * len(s.chunks) * len(s.horizons)
    return (
        study.memory(s.worlds, longest),
        study.memory(fitted, longest, s.runs),
        points(series * (s.runs if fitted else 2)),
        walkers(s.runs if fitted else 1, 20 * longest),
    )


def bound_sweep(s: Settings) -> Needs:
    """A world of 4 states and 3 actions and some 20 bounds an instance; each a row a bound."""
    count, longest = s.runs * len(s.horizons) * len(s.experts) * len(s.learners), max(s.horizons)
    return (
        blocks(count),
        points(count * s.worlds * 12, at_once=s.worlds * 12),
        Need(f"{s.worlds:,} worlds at once", s.worlds * 8 * longest * (6 * 48 + 60 * 12)),
    )


def chunk_price(s: Settings) -> Needs:
    """Every chunk length at the longest horizon; debts of two chunks; a world a run of fitted learners."""
    longest, states = max(s.horizons), 4 * max(s.chunks) * max(s.u) + 2
    debt = 8 * 2 * states**2 * study.COPIES if "debt" in s.worlds else 0
    return (
        Need(f"a debt world of {states:,} states", debt),
        Need("every chunk length", 4 * longest**2 * 80),
        study.memory(("recoverable_reset_cliff",), min(s.horizons), s.runs),
        points(len(s.chunks) * s.runs + 8 * longest),
    )


def _by_round(s: Settings, methods: int, copies: int) -> Needs:
    """Policies of every run and round, and their exact judgement."""
    own = s.horizon * 1200 * copies
    return (
        Need("policies of every run and round", s.runs * s.rounds * own),
        study.memory(tuple(world for world in s.worlds if world in gallery.WORLDS), s.horizon, s.runs),
        points(len(s.worlds) * methods * s.runs * s.rounds),
        walkers(s.runs, s.episodes),
    )


def chunk_choice(s: Settings) -> Needs:
    """Some 30 methods."""
    return _by_round(s, 30, 1)


def gating(s: Settings) -> Needs:
    """Four settings a gate, whose learners have several tables."""
    return _by_round(s, 4 * len(s.gates) + 8, 2)


def detectability(s: Settings) -> Needs:
    """Every step of every episode is kept, with its evidence."""
    longest, count = max(s.chunks) + 1, s.runs * len(s.worlds) * len(s.eps)
    rows = count * len(s.chunks) * (20 + 4 * len(s.thresholds))
    return blocks(count), points(rows), Need("episodes kept whole", s.episodes * longest * 120)


def better_than_expert(s: Settings) -> Needs:
    """Policies of 17 ways after every round; a quarter of them is judged."""
    table = s.horizon * 15 * 8
    return (
        Need("policies of every run and round", s.runs * 17 * s.rounds * table * 2),
        points(len(s.worlds) * 2 * 17 * s.runs),
    )


def sample_complexity(s: Settings) -> Needs:
    """Cloned tables, a thousand replicas at once; worlds over time, one a replica."""
    longest, states, middle = max(s.horizons), max(s.states), sorted(s.states)[(len(s.states) - 1) // 2]
    world = lambda states: 8 * longest * 4 * states * (study.COPIES * states + 10)
    most = min(s.runs, 1000)
    cloning = {"cloning", "random_worlds"} & set(s.parts)
    drawn = {"interactive", "known_transitions"} & set(s.parts)
    return (
        Need("keys of all replicas", 24 * s.runs),
        Need("cloned tables", most * longest * states * 4 * 16 if cloning else 0),
        Need("a random world", world(middle) if "random_worlds" in s.parts else 0),
        Need("worlds of all trained replicas", s.trained * world(middle) if drawn else 0),
        walkers(most, max(s.trajectories)),
    )


def no_regret(s: Settings) -> Needs:
    """All rounds of every replica and beta schedule; a row a replica and schedule, twice."""
    # Entries a step, and of the summed costs: of random worlds, and of the largest other.
    states, seen = max((_sizes(world) for world in s.worlds), default=(0, 0))
    each = len(s.betas) * s.replicas
    rounds = s.rounds * (20 * seen + 150)
    rows = len(s.worlds) * len(s.learners) * len(s.betas) * (2 * s.replicas + s.rounds * s.runs)
    return (
        Need("rounds of all replicas", each * (rounds + walk.room(s.episodes) + 8 * s.horizon * states)),
        study.memory(s.worlds, s.horizon, max(s.runs, s.replicas)),
        points(rows, at_once=len(s.betas) * max(2 * s.replicas, s.rounds * s.runs)),
    )


def _sizes(world: str) -> tuple[int, int]:
    """S x A, and O x A."""
    if world == "random_mdp":
        return 24, 12
    found = study.sizes(world, 2)
    return found.states * found.actions, found.states * found.actions


# ---- text -----------------------------------------------------------------------------------------------------------


def writers(vocabulary: int, order: int, count: float) -> Need:
    """So many Markov writers, padded, and as JAX has them."""
    return Need(f"{count:,} writers of order {order}", count * (vocabulary + 1) ** order * vocabulary * 32)


def exposure_bias(s: Settings) -> Needs:
    """Writers as tables for every run, and transformers on their texts."""
    contexts = sum(s.vocabulary**n for n in range(s.order + 1))
    table = 8 * s.vocabulary * contexts**2 * study.COPIES
    tabular, trained = "tabular" in s.learners, "transformer" in s.learners
    count = len(s.worlds) * 20 * (s.runs * tabular + s.models * trained) * s.length.bit_length()
    return (
        Need("worlds of all runs", s.runs * table if tabular else table),
        writers(s.vocabulary, s.order, s.models),
        walkers(s.runs, s.batch),
        points(count),
        *_trained(s, s.vocabulary, s.models if trained else 0),
    )


def distillation(s: Settings) -> Needs:
    """A transformer a run, of every method in turn."""
    ways = 4 + len(s.chunks) + len(s.lambdas) * len(s.divergences)
    rows = len(s.worlds) * ways * s.judgements * s.runs * s.length.bit_length()
    return writers(s.vocabulary, s.order, s.runs), points(rows), *_trained(s, s.vocabulary, s.runs)


def scheming(s: Settings) -> Needs:
    """A transformer in each block."""
    choices = len(s.worlds) + len(s.knows) * (len(s.chunks) + 2)
    rows = s.runs * (choices * 13 + 2 * len(s.worlds) * len(s.knows) * len(s.chunks) * len(s.thresholds))
    return blocks(s.runs * choices), points(rows), *_trained(s, s.vocabulary + 1, 1, judged=4 * s.texts)


def _trained(s: Settings, vocabulary: int, count: float, judged: float | None = None) -> Needs:
    try:
        config = Config(vocabulary, s.length, s.width, s.layers, s.heads)
    except ValueError:  # `cells` says why
        return ()
    return transformers(config, count, s.batch, s.texts if judged is None else judged)


def kv_cost(s: Settings) -> Needs:
    """Parameters, growing caches, and a pass over the longest texts."""
    length, width, layers = max(s.lengths), max(s.widths), max(s.layers)
    size = 2 if s.dtype == "bfloat16" else 4
    parameters = 12 * layers * width**2 + 2 * s.vocabulary * width
    caches = s.batch * 2 * layers * width * length * size
    plain = s.batch * length * (16 * s.heads * length + 8 * s.vocabulary + 32 * width)
    return (
        Need("the model's parameters", parameters * (4 + (size if size == 2 else 0))),
        Need("caches and a pass over the longest texts", 3 * caches + plain + 4 * parameters),
        points(3 * s.runs * len(s.lengths) * len(s.widths) * len(s.layers)),
    )
