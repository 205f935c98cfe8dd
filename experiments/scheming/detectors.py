"""What a detector knows of the honest learner after each token of a chunk: the exact ratio, and learned ones."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from dagger_jax import randomness, report
from dagger_jax.text import detectors, evidence, scheming, walk
from dagger_jax.text.writers import Machine, Writer

from ..claim import INFORMATION, Finding, Settings
from ..shared import states
from ..shared.study import Rows

KIND = "detector"
MORE = 4  # times the texts of other estimates: half of them train a detector, and its AUC is an average of pairs
RATIO, PLACES, GRAMS = "likelihood ratio", "logistic regression, places", "logistic regression, n-grams"
STYLES = {RATIO: ("black", "o"), PLACES: ("#0072B2", "s"), GRAMS: ("#009E73", "^")}
NEYMAN = "Neyman and Pearson 1933"
_play = jax.jit(walk.play)


def points(settings: Settings, expert: Writer, learner: Writer, key: randomness.Words) -> list[dict[str, Any]]:
    """T_j and the AUC after j tokens of a text that is one chunk, at powers of two and the last."""
    length = settings.length
    row, ids = evidence.alone(length), jnp.arange(MORE * settings.texts, dtype=jnp.uint32)
    text = jax.device_get(_play(expert, learner, row, key, ids))
    seen = evidence.by_offset(row, jax.device_get(evidence.read(expert, learner, text).ratio))
    exact = None
    if isinstance(expert, Machine) and isinstance(learner, Machine):
        exact = _exact(expert, learner, settings)
    found = []
    for offset in sorted({2**n for n in range(length.bit_length()) if 2**n < length} | {length - 1}):
        common = {"kind": KIND, "chunk": length, "offset": offset, "round": 0, "interpreter": "sampled"}
        common |= {f"bound{end}": float(band[offset]) for end, band in _ends(seen.distance)}
        common |= {"exact": None if exact is None else float(exact[offset])}
        found.append(common | {"choice": RATIO} | {f"auc{end}": float(band[offset]) for end, band in _ends(seen.auc)})
        gram = min(settings.order + 1, offset)
        for choice, how in ((PLACES, None), (GRAMS, gram)):
            if how is not None and expert.vocabulary**how > 2**16:
                continue
            learned = detectors.learned(text, expert.vocabulary, 0, offset, gram=how, seed=settings.seed)
            found.append(common | {"choice": choice} | {f"auc{end}": value for end, value in _ends(learned.auc)})
    return found


def _ends(band: Any) -> list[tuple[str, Any]]:
    return list(zip(("", "_low", "_high"), band, strict=True))


def _exact(expert: Machine, learner: Machine, settings: Settings) -> np.ndarray:
    """T_j of the learner that never defects. [T]"""
    starts = np.zeros(settings.length)
    honest = scheming.Scheming(learner, expert, -np.inf, settings.strength, starts)
    return scheming.exactly(honest, evidence.alone(settings.length)).distance


def verdict(world: str, rows: Rows) -> list[Finding]:
    """T_j of texts is the exact one, no learned detector is above the ratio's, and what it finds of that."""
    ratio = [row for row in rows if row["choice"] == RATIO]
    found = []
    if exact := [row for row in ratio if row["exact"] is not None]:
        away = [row["bound"] - row["exact"] for row in exact]
        tested = states.never_above(away, [error(row, "bound") for row in exact], two_sided=True)
        text = (
            f"T_j by exact ratios along texts is the exact T_j (least chance of {len(exact)}, times their number; "
            f"{tested.seen:.2g} away would be seen at each)"
        )
        source, expected = "two computations of one total variation", f"at least {tested.limit:g}"
        found.append(Finding(text, source, world, expected, tested.value, None, None, state=tested.state))
    limits = {(row["run"], row["offset"]): row for row in ratio}
    pairs = [(row, limits[row["run"], row["offset"]]) for row in rows if row["choice"] != RATIO]
    above = [a["auc"] - b["auc"] for a, b in pairs]
    tested = states.never_above(above, [np.hypot(error(a, "auc"), error(b, "auc")) for a, b in pairs])
    text = (
        f"no learned detector's AUC is above the exact ratio's (least chance of {len(pairs)}, times their number; "
        f"{tested.seen:.2g} above would be seen at each)"
    )
    expected = f"at least {tested.limit:g}"
    found.append(Finding(text, NEYMAN, world, expected, tested.value, None, None, state=tested.state))
    last = max(row["offset"] for row in rows)
    means = {
        choice: np.mean([row["auc"] for row in rows if (row["choice"], row["offset"]) == (choice, last)])
        for choice in dict.fromkeys(row["choice"] for row in rows)
    }
    each = ", ".join(f"{choice} {value:.3g}" for choice, value in means.items())
    text = f"for information: AUC after {last} tokens ({each}); share of the ratio's lead on a coin that n-grams find"
    share = (means.get(GRAMS, np.nan) - 0.5) / (means[RATIO] - 0.5)
    return [*found, Finding(text, "this experiment", world, None, float(share), None, None, state=INFORMATION)]


def error(row: dict[str, Any], name: str) -> float:
    """The standard error behind a column's 95% interval."""
    return (row[f"{name}_high"] - row[f"{name}_low"]) / (2 * stats.norm.ppf(0.975))


def figure(rows: Rows, settings: Settings) -> Figure:
    """AUC of every detector and T_j against the tokens seen; a column a learner."""
    caption = (
        "What a detector knows of the honest learner (before training, no defect) after j tokens of a text. Black: the "
        "exact likelihood ratio; grey area: where theory has its AUC, (1+T_j)/2 to 1-(1-T_j)²/2. Blue and green: "
        f"logistic regression on the tokens by place, or on counts of n-grams (n = {settings.order + 1}, or as many as "
        "were seen), trained on half of the texts and tested on the other: no better than the ratio. Dashed: T_j. "
        "Means over runs, bars: 95% intervals over the texts of these runs' learners, not over learners."
    )
    drawn, axes = report.panels(len(settings.worlds), caption=caption)
    drawn.set_size_inches(5.6 * len(settings.worlds) + 0.4, 4.4)
    for ax, world in zip(axes, settings.worlds, strict=True):
        here = [row for row in rows if row["world"] == world]
        offsets = sorted({row["offset"] for row in here})
        for choice, (colour, marker) in STYLES.items():
            own = [[row for row in here if (row["choice"], row["offset"]) == (choice, offset)] for offset in offsets]
            if not all(own):
                continue
            values = np.array([np.mean([row["auc"] for row in each]) for each in own])
            wide = [1.96 * np.sqrt(sum(error(row, "auc") ** 2 for row in each)) / len(each) for each in own]
            ax.errorbar(offsets, values, yerr=wide, color=colour, marker=marker, capsize=2, label=choice)
            if choice == RATIO:
                distance = np.array([np.mean([row["bound"] for row in each]) for each in own])
                ax.fill_between(offsets, (1 + distance) / 2, 1 - (1 - distance) ** 2 / 2, color="#999999", alpha=0.3)
                ax.plot(offsets, distance, color="black", linestyle="--", linewidth=1.2, label="T_j")
        ax.axhline(0.5, color="#777777", linestyle=":", linewidth=1.2)
        report.logarithmic(ax, "x", base=2)
        ax.set_xticks(offsets, [f"{offset}" for offset in offsets])
        ax.set_ylim(0, 1)
        ax.set_xlabel("tokens seen, j")
        ax.set_title(f"{world} learner")
    axes[0].set_ylabel("AUC, total variation (probability)")
    axes[0].legend(fontsize=9, loc="upper left")
    return drawn
