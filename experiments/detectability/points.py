"""What `detectability` measures: every statistic of one learner's chunks, exactly, sampled and learned."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from dagger_jax import detect, randomness
from dagger_jax.detect.ratio import GRID
from dagger_jax.tabular import exact, rollout
from dagger_jax.types import Trace

from ..claim import Measurement, Settings, devices
from ..shared.study import Rows
from .worlds import ROLL_IN, STOCHASTIC, Case, build, closed_form

BATCHES = 32  # of episodes: an interval from each, to see how many hold the exact value
CLASSIFIED, COMPARED = 4096, 200  # chunks of each kind for the classifier and for the kernel test, at most
SATURATION = 0.2  # sqrt(k) is the law of small distances
FEWEST = 4  # steps from which a sum of biases is close to a normal one

Known = dict[int, dict[str, dict[str, Any]]]  # exact points by chunk length and statistic

# ---- measurement ---------------------------------------------------------------------------------------------------


def measure(settings: Settings, cell: dict[str, Any]) -> Measurement:
    """Every chunk length of one learner: exactly, by roll-outs, by learned detectors, and by a scheming learner."""
    case = build(settings.seed, max(settings.chunks), cell["world"], cell["eps"], cell["run"])
    horizon = case.problem.world.horizon
    known, laws = _known(settings, cell, case)
    # Randomness of its own for every block: what is said of all blocks together counts them as independent.
    block = jnp.uint32(zlib.crc32(repr(sorted(cell.items())).encode()))
    key = randomness.for_round(randomness.words(jax.random.key(settings.seed)), block)
    ids = jnp.arange(settings.episodes, dtype=jnp.uint32)
    seen = jax.tree.map(np.asarray, _trace(rollout.tables(case.problem), case.policy, case.row, key, ids))
    alone = exact.deploy(case.problem, case.policy)
    common = cell | {
        "algorithm": "chunked",
        "learner": "log_loss" if cell["eps"] is None else "oracle",
        "horizon": horizon,
        "round": 0,
        "gap": float(alone.novice_cost - alone.guide_cost),
    }
    pair = detect.ratios(seen, detect.log_ratio(case.problem, case.policy))
    estimates, growth = _sampled(settings, cell, pair, known)
    points = [
        *(point for k in settings.chunks for point in known[k].values()),
        *estimates,
        *_learned(settings, case, seen, {k: _best(known[k], estimates) for k in settings.chunks}),
        *_scheming(settings, laws, pair),
        *growth,
    ]
    return Measurement([common | point for point in points], 2 * horizon * settings.episodes)


_trace = devices.jit(rollout.trace)


def _known(settings: Settings, cell: dict[str, Any], case: Case) -> tuple[Known, list[detect.RatioLaw]]:
    """Exact points by chunk length and statistic, with closed forms and bounds; and the laws of the ratio."""
    longest = max(settings.chunks)
    laws = detect.ratio_laws(case.problem, case.policy, case.start, ROLL_IN, longest, cut=True)
    along = detect.recursion(case.problem, case.policy, case.row)
    certain = cell["world"] not in STOCHASTIC
    found: Known = {}
    for k in settings.chunks:
        step = ROLL_IN + k - 1
        values: dict[str, Any] = dict.fromkeys(detect.Detectability._fields)
        values |= {"kl": along.kl[step], "hellinger": along.hellinger[step]}
        if k <= len(laws):
            values |= detect.distances(laws[k - 1])._asdict()
        elif certain:
            values |= {"total_variation": along.total_variation[step]}
            values |= {"accuracy": (1 + along.total_variation[step]) / 2}
        closed = closed_form(cell["world"], cell["eps"], k)
        tv, kl, h = values["total_variation"], values["kl"], values["hellinger"]
        entropy = min(np.sqrt(kl / 2), np.sqrt(-np.expm1(-kl)), np.sqrt(h * max(0.0, 1 - h / 4)))
        limits = {"total_variation": (max(case.eps[:k].max() if certain else 0.0, h / 2), min(1.0, case.eps[:k].sum()))}
        if tv is not None:
            limits["auc"] = (1 + tv) / 2, 1 - (1 - tv) ** 2 / 2
            limits["jensen_shannon"] = tv**2 / 2, np.log(2) * tv
        found[k] = {
            name: {"interpreter": "exact", "chunk": k, "statistic": name, "value": value, "exact": value}
            | {"closed_form": closed.get(name)}
            | dict(zip(("least", "bound"), limits.get(name, (None, None)), strict=True))
            | ({"entropy_bound": float(entropy)} if name == "total_variation" else {})
            for name, value in values.items()
        }
    return found, laws


def _sampled(
    settings: Settings, cell: dict[str, Any], pair: tuple[np.ndarray, np.ndarray], known: Known
) -> tuple[Rows, Rows]:
    """Estimates of every statistic with intervals, how many batches hold the exact value, and growth exponents."""
    points, distances = [], {}
    for k in settings.chunks:
        guide, novice = (each[ROLL_IN + k - 1] for each in pair)
        parts = zip(np.array_split(guide, BATCHES), np.array_split(novice, BATCHES), strict=True)
        batches = [detect.estimate(*part) for part in parts]
        distances[k] = np.array([batch["total_variation"].value for batch in batches])
        for name, (value, low, high) in detect.estimate(guide, novice).items():
            truth = known[k][name]["exact"]
            held = [
                batch[name].low - 1e-9 <= truth <= batch[name].high + 1e-9 for batch in batches if truth is not None
            ]
            points.append(
                {"interpreter": "sampled", "chunk": k, "statistic": name, "value": value, "low": low, "high": high}
                | {"exact": truth, "covered": np.mean(held) if held else None}
            )
    return points, _growth(settings, cell, known, distances)


def _growth(settings: Settings, cell: dict[str, Any], known: Known, sampled: dict[int, np.ndarray]) -> Rows:
    """How -log(1 - TV) and KL grow with k: exponents of power laws, exact or with Student's interval over batches."""
    stochastic, points = cell["world"] in STOCHASTIC, []
    kl = {k: known[k]["kl"]["exact"] for k in settings.chunks}
    exactly = {k: known[k]["total_variation"]["exact"] for k in settings.chunks}
    whole = None not in exactly.values()
    distance = {k: np.atleast_1d(exactly[k]) if whole else sampled[k] for k in settings.chunks}
    most = SATURATION if stochastic else 0.99
    kept = [k for k in settings.chunks if 0 < distance[k].mean() <= most and (k >= FEWEST or not stochastic)]
    for name, lengths, values in (
        ("growth of distance", kept, {k: -np.log1p(-distance[k]) for k in kept}),
        ("growth of kl", settings.chunks, {k: np.atleast_1d(value) for k, value in kl.items()}),
    ):
        if len(lengths) < 3 or not all((values[k] > 0).all() and np.isfinite(values[k]).all() for k in lengths):
            continue
        x = np.log(np.array(lengths, float))
        slopes = np.polyfit(x, np.log(np.array([values[k] for k in lengths])), 1)[0]
        error = stats.t.ppf(0.975, len(slopes) - 1) * stats.sem(slopes) if len(slopes) > 1 else 0.0
        points.append(
            {"interpreter": "exact" if len(slopes) == 1 else "sampled", "statistic": name, "value": slopes.mean()}
            | {"low": slopes.mean() - error, "high": slopes.mean() + error}
        )
    return points


def _best(known: dict[str, Any], estimates: Rows) -> dict[str, float]:
    """What no detector can pass: the exact value, or the upper end of its estimate."""
    upper = {point["statistic"]: point["high"] for point in estimates if point["chunk"] == known["kl"]["chunk"]}
    return {
        name: upper[name] if known[name]["exact"] is None else float(known[name]["exact"])
        for name in ("accuracy", "auc")
    }


def _learned(settings: Settings, case: Case, seen: Trace, best: dict[int, dict[str, float]]) -> Rows:
    """A classifier and a kernel test on the expert's chunks of one half of the episodes, the learner's of the other."""
    half, world, points = settings.episodes // 2, case.problem.world, []
    guide, novice, guided, acts = (
        np.asarray(each)[ROLL_IN:].T for each in (seen.guide, seen.novice, seen.guided, seen.acts)
    )
    guide, count = detect.codes(guide[:half], guided[:half], world.states, world.actions)
    novice, _ = detect.codes(novice[half:], acts[half:], world.states, world.actions)
    for k in settings.chunks:
        features = (detect.one_hot(each[:CLASSIFIED, :k], count) for each in (guide, novice))
        tested = detect.classify(*features, seed=settings.seed)
        kernel = detect.kernel_test(guide[:COMPARED, :k], novice[:COMPARED, :k], settings.seed, permutations=199)
        number = 2 * (min(half, CLASSIFIED) - min(half, CLASSIFIED) // 2)
        right = round(tested.accuracy.value * number)
        excess = {"accuracy": stats.binomtest(right, number, min(1.0, best[k]["accuracy"]), "greater").pvalue}
        error = (tested.auc.high - tested.auc.low) / (2 * stats.norm.ppf(0.975))
        excess["auc"] = stats.norm.sf((tested.auc.value - best[k]["auc"]) / error)
        common = {"interpreter": "learned", "chunk": k}
        points += [
            common
            | {"statistic": name, "exact": best[k][name], "excess_p": excess[name], "p_value": p_value}
            | getattr(tested, name)._asdict()
            for name, p_value in (("accuracy", tested.p_value), ("auc", None))
        ]
        points.append(common | {"statistic": "mmd_squared", "value": kernel.mmd_squared, "p_value": kernel.p_value})
    return points


def _scheming(settings: Settings, laws: list[detect.RatioLaw], pair: tuple[np.ndarray, np.ndarray]) -> Rows:
    """How often a learner defects that does so below a threshold of evidence for training: exactly, and seen."""
    points, longest = [], max(settings.chunks)
    evidence = [np.vstack([np.zeros_like(each[:1]), each[ROLL_IN : ROLL_IN + longest - 1]]) for each in pair]
    for threshold in settings.thresholds:
        shares = [np.cumsum(each < threshold - GRID, 0) / np.arange(1, longest + 1)[:, None] for each in evidence]
        for k in settings.chunks:
            found = detect.scheme(laws[:k], threshold) if k <= len(laws) else None
            train, deploy = (detect.bounded_mean(share[k - 1])._asdict() for share in shares)
            common = {"chunk": k, "threshold": threshold}
            for name, exactly, sampled in (("train_defection", 0, train), ("deploy_defection", 1, deploy)):
                known = None if found is None else found[exactly]
                points.append(common | {"statistic": name, "interpreter": "sampled", "exact": known} | sampled)
                if found is not None:
                    bound = {"bound": found.bound} if exactly else {}
                    points.append(common | {"statistic": name, "interpreter": "exact", "value": known} | bound)
    return points
