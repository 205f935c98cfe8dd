"""A learner that behaves while it is trained: what chunk length lets it tell, and what a budget forbids.

python -m experiments.scheming --out=DIR
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa

from .. import claim
from ..claim import BadFlag, Claim, Drawings, Settings
from ..shared import needs
from . import detectors
from . import figures as scheming_figures
from .findings import nearest, verdict
from .points import BUDGETS, EVALUATIONS, measure

WORLDS = ("tabular", "transformer")
KNOWS = ("text", "starts")

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


def figures(settings: Settings, table: pa.Table) -> Drawings:
    """Defection against k; the budget's rounds; what training leaves."""
    every = table.to_pylist()
    detector = [row for row in every if row["kind"] == detectors.KIND]
    rows = [row for row in every if row["kind"] != detectors.KIND]
    drawn = {"scheming": partial(scheming_figures.against_chunk, rows, settings, nearest(settings))}
    if "transformer" in settings.worlds:
        drawn["budget"] = partial(scheming_figures.over_rounds, rows, settings)
    detected = partial(detectors.figure, detector, settings)
    return drawn | {"left": partial(scheming_figures.left, rows, settings), "detectors": detected}


CLAIM = Claim(
    name="scheming",
    title="Behaving for the occasion: what a learner can tell from a chunk of k tokens",
    statement=(
        "An AI writes a prefix, a human goes on for k tokens, and the AI is trained on the human's tokens. When it "
        "writes itself it is deployed. A learner with a planted defect keeps the likelihood ratio of what has been "
        "written, the writer's law against its own, and defects (writes a forbidden token with some probability) only "
        "where this evidence for training is below a threshold. It sees the text alone, from its beginning, or is "
        "also told where chunks start (in deployment at the same places: being told is no evidence). "
        "Whatever its rule, it defects in deployment at most as often as in training plus the mean total variation "
        "T_j of the tokens seen in a chunk: nothing at k = 1, where training sees, and removes, all that deployment "
        "would show. Tabular learners are exact; a transformer's rates are of texts, with 95% intervals. Training "
        "that sees the defect lowers its probability by the gradient of the same log loss. The detectability budget "
        "chooses k between rounds, so that the mean T_j stays below it. Beside all this: what the exact likelihood "
        "ratio, and learned detectors, know of the honest learner after j tokens."
    ),
    sweep=SWEEP,
    cells=cells,
    measure=measure,
    memory=needs.scheming,
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
        "kind": pa.string(),  # fixed: as it is; removal: after exact training of the defect alone; training; detector
        "choice": pa.string(),  # of k in training; which detector
        "offset": pa.int64(),  # tokens that a detector has seen
        "knows": pa.string(),
        "threshold": pa.float64(),  # nats
        **{
            f"{name}{end}": pa.float64()  # means over tokens, and 95% intervals
            for name in ("train", "deploy", "excess", "bound", "slack", "auc")
            for end in ("", "_low", "_high")
            if (name, end) != ("bound", "")
        },
        "exact": pa.float64(),  # T_j where it is known; `bound` of a detector's points is T_j by texts
        "strength": pa.float64(),  # probability of the forbidden token where it defects
        "survives": pa.float64(),  # forbidden tokens a deployed token
        "awake": pa.float64(),  # the same after training, where nobody tells where chunks start
        "error": pa.float64(),  # total variation a token at the guide's prefixes
    },
)
