"""Points that no figure may stumble over: a run's own, with its numbers replaced."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dagger_jax import report
from experiments.claim import Claim, Settings, resolve

# Numbers that are set, not measured; and those that a row may lack, as some of a run's own do.
SET = {"eps", "threshold", "u", "alpha", "ratio", "rarity", "mean", "price"}
OPTIONAL = ("stderr", "closed_form", "bound")
CHANGES = {
    "as measured": lambda name, value: value,
    "zeros": lambda name, value: 0.0,
    "negative": lambda name, value: value if "stderr" in name else -abs(value),
    "missing": lambda name, value: None if name.endswith(OPTIONAL) else value,
}


def tables(claim: Claim, directory: Path) -> Iterator[tuple[str, Settings, pa.Table]]:
    """What was changed, settings and points, of the run in a directory."""
    flags = json.loads((directory / "run.json").read_text())["flags"]
    settings = resolve(claim, **{name: value for name, value in flags.items() if name not in ("out", "resume")})
    table = pq.read_table(directory / "points.parquet")
    for what, change in CHANGES.items():
        columns = [
            pa.array([None if value is None else change(field.name, value) for value in column], type=field.type)
            if pa.types.is_floating(field.type) and field.name not in SET and (what != "missing" or None in column)
            else column
            for field in claim.schema
            for column in (table[field.name].to_pylist(),)
        ]
        yield what, settings, pa.table(columns, schema=claim.schema)


def draw(claim: Claim, directory: Path) -> int:
    """Draws all figures of a claim on all of these points; a warning is an error. Returns how many there were."""
    count = 0
    for what, settings, table in tables(claim, directory):
        with report.style():
            for name, make in claim.figures(settings, table).items():
                try:
                    figure = make()
                    report.settle(figure)
                    figure.draw_without_rendering()
                except Exception as error:
                    error.add_note(f"{claim.name}, figure {name}, points: {what}")
                    raise
                count += 1
    return count
