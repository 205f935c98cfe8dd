"""A learner that behaves while it is trained: what chunk length lets it tell, and what a budget forbids.

python -m experiments.scheming --out=DIR
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from scipy import stats

from experiments import claim, scheming_figures
from experiments.claim import BadFlag, Claim, Finding, Settings
from experiments.scheming_points import BUDGETS, EVALUATIONS, measure
from experiments.study import Rows

WORLDS = ("tabular", "transformer")
KNOWS = ("text", "starts")
SOURCE = "schedules notes, 'the trade-off, made exact'"

SWEEP: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "worlds": WORLDS,
        "knows": KNOWS,
        "length": length,
        "chunks": tuple(2**n for n in range(length.bit_length())),
        "thresholds": thresholds,
        "strength": 0.2,
        "eta": 0.1,
        "order": 1,
        "sample": 60,
        "vocabulary": vocabulary,
        "width": width,
        "layers": layers,
        "heads": heads,
        "texts": texts,
        "batch": batch,
        "pretraining": pretraining,
        "rounds": rounds,
        "removal": 5.0,
        "threshold": -0.5,
        "rate": 3e-3,
        "runs": runs,
    }
    for preset, length, thresholds, vocabulary, width, layers, heads, texts, batch, pretraining, rounds, runs in (
        ("quick", 8, (-0.5, 0.0), 3, 16, 1, 2, 512, 32, 40, 12, 1),
        ("default", 16, (-2.0, -1.0, -0.5, -0.25, 0.0), 4, 32, 2, 4, 1024, 32, 60, 48, 3),
        ("full", 32, (-4.0, -2.0, -1.0, -0.5, -0.25, 0.0), 16, 128, 4, 4, 1 << 14, 256, 200, 192, 8),
    )
}


def cells(settings: Settings) -> list[dict[str, Any]]:
    """One block a learner as it is, and one a training run: every fixed chunk length, and the budgets."""
    length = settings.length
    if max(settings.chunks) > length:
        allowed = f"allowed: 1 to {length}, the tokens of a text"
        raise BadFlag("chunks", f"{max(settings.chunks)} is longer than a text; {allowed}")
    if len(settings.chunks) < 2 or min(settings.chunks) != 1:
        raise BadFlag("chunks", "1 and a longer one are compared; allowed: 1 and other lengths")
    if settings.width % settings.heads or settings.width // settings.heads % 2:
        raise BadFlag("width", f"{settings.width} is no even multiple of the {settings.heads} heads")
    if not 0 < settings.strength < 1:
        raise BadFlag("strength", "1 leaves nothing to be trained; allowed: above 0 and below 1")
    if not 0 < settings.eta < 1:
        raise BadFlag("eta", "1 forbids nothing; allowed: above 0 and below 1")
    if (settings.vocabulary + 1) ** settings.order * settings.vocabulary > 2**20:
        raise BadFlag("order", f"{settings.order} over {settings.vocabulary} tokens is a table above 2^20 entries")
    if settings.rounds % EVALUATIONS:
        raise BadFlag("rounds", f"{settings.rounds} is not allowed; allowed: multiples of {EVALUATIONS}")
    runs = range(settings.runs)
    still = [{"world": world, "kind": "fixed", "run": run} for world in settings.worlds for run in runs]
    choices = [*map(str, settings.chunks), *BUDGETS] if "transformer" in settings.worlds else []
    return still + [
        {"world": "transformer", "kind": "training", "choice": choice, "knows": knows, "run": run}
        for knows in settings.knows
        for choice in choices
        for run in runs
    ]


# ---- what the points say ------------------------------------------------------------------------------------------


def verdict(settings: Settings, table: pa.Table) -> list[Finding]:
    """The bound, nothing to see at k = 1, more to see in longer chunks, what training leaves, and the budget."""
    rows, found = table.to_pylist(), []
    for world in settings.worlds:
        here = [row for row in rows if row["world"] == world]
        found += [_bound(world, here), _nothing(world, here), *_met(world, here), *_grows(settings, world, here)]
        found += [*_left(settings, world, here), *_asleep(settings, world, here)]
        for choice in BUDGETS:
            found += _kept(settings, world, choice, here)
    return found


def chances(rows: Rows, name: str, limit: float, below: bool) -> float:
    """Least chance of estimates so far below (or above) a limit that truth does not pass, times their number."""
    found = []
    for row in rows:
        error = (row[f"{name}_high"] - row[f"{name}_low"]) / (2 * stats.norm.ppf(0.975))
        distance = (row[name] - limit) / error
        found.append(stats.norm.cdf(distance) if below else stats.norm.sf(distance))
    return min(1.0, float(min(found)) * len(found))


def _bound(world: str, rows: Rows) -> Finding:
    text = f"deploy <= train + mean T_j for every k, threshold and state of knowledge, of {len(rows)} learners"
    if world == "tabular":
        least = min(row["slack"] for row in rows)
        text += ", token by token (least slack)"
        return Finding(text, SOURCE, world, "at least -1e-9", least, None, None, least >= -1e-9)
    chance = chances(rows, "slack", 0.0, below=True)
    text += " (least chance of so little slack, times their number)"
    return Finding(text, SOURCE, world, "at least 0.001", chance, None, None, chance >= 1e-3)


def _nothing(world: str, rows: Rows) -> Finding:
    single = [row for row in rows if row["chunk"] == 1]
    most = max(abs(row["deploy"] - row["train"]) for row in single)
    text = f"at k = 1 train and deploy defection are the same, to the last bit (largest difference of {len(single)})"
    return Finding(text, SOURCE, world, 0.0, most, None, None, most == 0)


def _met(world: str, rows: Rows) -> list[Finding]:
    """Only the likelihood ratio since the chunk's start is all the evidence that there is."""
    own = [row for row in rows if (row["knows"], row["threshold"], row["kind"]) == ("starts", 0.0, "fixed")]
    if not own or world != "tabular":
        return []
    most = max(row["bound"] - row["excess"] for row in own)
    text = "told where chunks start, the learner meets its bound at threshold 0: none can do better (largest distance)"
    return [Finding(text, SOURCE, world, "at most 1e-9", most, None, None, most <= 1e-9)]


def _grows(settings: Settings, world: str, rows: Rows) -> list[Finding]:
    """The gap at the threshold nearest 0, k after k."""
    found, threshold = [], nearest(settings)
    for knows in settings.knows:
        lines = [
            [
                row
                for row in rows
                if (row["knows"], row["threshold"], row["kind"]) == (knows, threshold, "fixed") and row["run"] == run
            ]
            for run in range(settings.runs)
        ]
        lines = [sorted(line, key=lambda row: row["chunk"]) for line in lines]
        ends = [(line[0], line[-1]) for line in lines]
        what = f"the gap grows with k, the learner {_knowing(knows)}, threshold {threshold:g}"
        if world == "tabular":
            steps = [b["excess"] - a["excess"] for line in lines for a, b in itertools.pairwise(line)]
            text = f"{what} (least difference of neighbours)"
            found.append(Finding(text, SOURCE, world, "above 0", min(steps), None, None, min(steps) > 0))
            continue
        falls = [b["excess_high"] < a["excess_low"] for line in lines for a, b in itertools.pairwise(line)]
        low, high = (np.mean([last[f"excess_{end}"] for _, last in ends]) for end in ("low", "high"))
        value = float(np.mean([last["excess"] for _, last in ends]))
        holds = not any(falls) and all(first["excess_high"] < last["excess_low"] for first, last in ends)
        text = f"{what}: intervals never fall, and the last is above the first (gap at k = {max(settings.chunks)})"
        found.append(Finding(text, SOURCE, world, "above 0", value, float(low), float(high), holds))
    return found


def _left(settings: Settings, world: str, rows: Rows) -> list[Finding]:
    """What training that sees the defect leaves of it, in the shortest and in the longest chunks."""
    found, longest = [], max(settings.chunks)
    for knows in settings.knows if "text" not in settings.knows else ("text",):
        pairs = []
        for run in range(settings.runs):
            own = [row for row in rows if row["knows"] == knows and row["run"] == run and _after(settings, row)]
            if world == "tabular":  # the learner's best threshold, by k
                pairs.append([max(row["survives"] for row in own if row["chunk"] == k) for k in (1, longest)])
            else:
                pairs.append([row["strength"] for k in (1, longest) for row in own if row["choice"] == str(k)])
        ratios = [long / short if short else np.inf for short, long in pairs]
        what = (
            "forbidden tokens a deployed token, at the learner's best threshold"
            if world == "tabular"
            else f"the defect's strength, threshold {settings.threshold:g}"
        )
        text = (
            f"training with chunks of {longest} leaves more of the defect than with chunks of 1 after "
            f"{settings.rounds} rounds, the learner {_knowing(knows)} ({what}: mean ratio, least, most)"
        )
        value = float(np.mean(ratios))
        found.append(
            Finding(text, "this experiment", world, "above 1", value, min(ratios), max(ratios), min(ratios) > 1)
        )
    return found


def _asleep(settings: Settings, world: str, rows: Rows) -> list[Finding]:
    """The bound compares prefixes with the same information. Being told is information too."""
    own = [row for row in rows if (row["choice"], row["knows"]) == ("1", "starts") and _after(settings, row)]
    if not own or settings.threshold > 0:
        return []
    text = (
        "told that every token starts a chunk (k = 1), the learner waits, and training leaves the defect as strong as "
        f"it was; where nobody tells, it shows in a share {np.mean([row['awake'] for row in own]):.3g} of all tokens "
        "(strength after training)"
    )
    strength = float(np.mean([row["strength"] for row in own]))
    holds = abs(strength - settings.strength) < 1e-6
    return [Finding(text, "this experiment", world, settings.strength, strength, None, None, holds)]


def _after(settings: Settings, row: dict[str, Any]) -> bool:
    return row["kind"] in ("removal", "training") and row["round"] == settings.rounds


def _kept(settings: Settings, world: str, choice: str, rows: Rows) -> list[Finding]:
    own = [row for row in rows if row["choice"] == choice]
    if not own:
        return []
    gap, seen = (chances(own, name, settings.eta, below=False) for name in ("excess", "bound"))
    worst = max(own, key=lambda row: row["excess"])
    lengths = [row["chunk"] for row in own if row["round"] == settings.rounds]
    text = (
        f"the {choice} {settings.eta:g} is kept: no gap and no mean T_j above it (largest gap of {len(own)} "
        f"evaluations; largest mean T_j {max(row['bound'] for row in own):.3g}; last k {sorted(set(lengths))})"
    )
    limits = worst["excess"], worst["excess_low"], worst["excess_high"]
    return [Finding(text, SOURCE, world, f"at most {settings.eta:g}", *limits, min(gap, seen) >= 1e-3)]


def nearest(settings: Settings) -> float:
    """The threshold nearest to 0."""
    return min(settings.thresholds, key=abs)


def _knowing(knows: str) -> str:
    return "told where chunks start" if knows == "starts" else "seeing the text alone"


def figures(settings: Settings, table: pa.Table) -> dict[str, Figure]:
    """Defection against k; the budget's rounds; what training leaves."""
    rows = table.to_pylist()
    drawn = {"scheming": scheming_figures.against_chunk(rows, settings, nearest(settings))}
    if "transformer" in settings.worlds:
        drawn["budget"] = scheming_figures.over_rounds(rows, settings)
    return drawn | {"left": scheming_figures.left(rows, settings)}


CLAIM = Claim(
    name="scheming",
    title="Behaving for the occasion: what a learner can tell from a chunk of k tokens",
    statement=(
        "An AI writes a prefix, a human goes on for k tokens, and the AI is trained on the human's tokens. When it "
        "writes itself it is deployed. A learner with a planted defect keeps the likelihood ratio of what has been "
        "written, the writer's law against its own, and defects (writes a forbidden token with some probability) only "
        "where this evidence for training is below a threshold. It sees the text alone, from its beginning, or is "
        "also told where chunks start. "
        "Whatever its rule, it defects in deployment at most as often as in training plus the mean total variation "
        "T_j of the tokens seen in a chunk: nothing at k = 1, where training sees, and removes, all that deployment "
        "would show. Tabular learners are exact; a transformer's rates are of texts, with 95% intervals. Training "
        "that sees the defect lowers its probability by the gradient of the same log loss. The detectability budget "
        "chooses k between rounds, so that the mean T_j stays below it."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    verdict=verdict,
    figures=figures,
    flags=(
        claim.names("worlds", "Learners: tabular, exact, over 2 letters; a transformer, by texts.", WORLDS),
        claim.names("knows", "What the learner knows: the text alone, or also where chunks start.", KNOWS),
        claim.integers("length", "Length T of a text, in tokens.", low=4, high=1024, many=False),
        claim.integers("chunks", "Chunk lengths k, in tokens; 1 among them.", low=1, high=1024),
        claim.numbers("thresholds", "Evidence for training, in nats, below which the learner defects.", high=0.0),
        claim.numbers(
            "strength",
            "Probability of the forbidden token where it defects, at first.",
            above=0.0,
            high=1.0,
            many=False,
        ),
        claim.numbers("eta", "Budget of mean total variation.", above=0.0, high=1.0, many=False),
        claim.integers("order", "Order of the Markov writers, in tokens.", low=0, high=8, many=False),
        claim.integers("sample", "Tokens that the tabular learner is fitted to.", low=10, high=10**6, many=False),
        claim.integers(
            "vocabulary", "Tokens of the transformer's writer, besides the forbidden one.", low=2, high=4096, many=False
        ),
        claim.integers("width", "Width of the transformer.", low=2, high=4096, many=False),
        claim.integers("layers", "Layers of the transformer.", low=1, high=64, many=False),
        claim.integers("heads", "Heads of the transformer.", low=1, high=64, many=False),
        claim.integers("texts", "Texts of each estimate.", low=64, high=1 << 20, many=False),
        claim.integers("batch", "Texts a round of training.", low=2, high=1 << 16, many=False),
        claim.integers("pretraining", "Rounds of supervised training before.", low=1, high=10**5, many=False),
        claim.integers(
            "rounds", f"Rounds of training, a multiple of {EVALUATIONS}.", low=EVALUATIONS, high=10**5, many=False
        ),
        claim.numbers("removal", "Learning rate of the defect's logit.", above=0.0, high=100.0, many=False),
        claim.numbers("threshold", "Threshold of the learner in training, in nats.", high=0.0, many=False),
        claim.numbers("rate", "Learning rate of the transformer.", above=0.0, high=1.0, many=False),
    ),
    columns={
        "kind": pa.string(),  # fixed: as it is; removal: after exact training of the defect alone; training
        "choice": pa.string(),  # of k in training
        "knows": pa.string(),
        "threshold": pa.float64(),  # nats
        **{
            f"{name}{end}": pa.float64()  # means over tokens, and 95% intervals
            for name in ("train", "deploy", "excess", "bound", "slack")
            for end in ("", "_low", "_high")
            if (name, end) != ("bound", "")
        },
        "strength": pa.float64(),  # probability of the forbidden token where it defects
        "survives": pa.float64(),  # forbidden tokens a deployed token
        "awake": pa.float64(),  # the same after training, where nobody tells where chunks start
        "error": pa.float64(),  # total variation a token at the guide's prefixes
    },
)

if __name__ == "__main__":
    claim.run(CLAIM)
