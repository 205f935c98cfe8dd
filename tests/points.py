"""What every experiment found at its quick preset when it was recorded, by column, in a small file.

Whole numbers and words must come out as they were, floats to rounding, on a scale on which small values count as much
as large ones. Times are left out. Record anew only where a change of results is intended:
python -m tests.points [NAME ...]
"""

import hashlib
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.claim.running import execute
from experiments.shared import catalog
from tests import golden

RECORD = Path(__file__).with_name("points.json")
NAMES = [name for name in catalog.commands() if name not in ("bench_gpu", "benchmark", "kv_cost")]  # these take times
TIMES = ("seconds", "fastest", "slowest")
LEAST = 1e-6  # what is far below it counts as 0


def told(table: pa.Table) -> dict[str, Any]:
    """What is recorded of points, in their order: a digest of each column, or what `golden.told` says of floats."""
    return {name: _told(table[name]) for name in table.column_names if name not in TIMES}


def _told(column: pa.ChunkedArray) -> Any:
    if not pa.types.is_floating(column.type):
        return hashlib.sha256(repr(column.to_pylist()).encode()).hexdigest()[:16]
    values = np.array(column.to_pylist(), float)  # None becomes nan
    return golden.told(np.arcsinh(values / LEAST).astype(np.float32))


def differing(recorded: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The columns whose values are not those of the record."""
    both = recorded.keys() & found.keys()
    same = {name for name in both if golden.agrees(found[name], recorded[name])}
    return sorted((recorded.keys() | found.keys()) - same)


def found(name: str) -> dict[str, Any]:
    """What an experiment finds now: its columns, and how many of its findings hold, or do not."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        status = execute(catalog.load(name), [name, "--preset=quick", f"--out={out}"])
        if status not in (0, 1, 5):  # finished, whatever the findings
            raise RuntimeError(f"{name} ended with status {status}")
        return read(out)


def read(directory: Path) -> dict[str, Any]:
    """The same of a finished run."""
    states = Counter(each["state"] for each in json.loads((directory / "findings.json").read_text()))
    return {"columns": told(pq.read_table(directory / "points.parquet")), "findings": dict(sorted(states.items()))}


def main(names: list[str]) -> None:
    """Records the experiments of these names, or all."""
    record = json.loads(RECORD.read_text()) if names else {}
    record |= {name: found(name) for name in names or NAMES}
    write(record)


def write(record: dict[str, Any]) -> None:
    """One line a column."""
    lines = []
    for name, told in sorted(record.items()):
        columns = ",\n".join(f"{json.dumps(column)}: {json.dumps(value)}" for column, value in told["columns"].items())
        lines.append(f'{json.dumps(name)}: {{"findings": {json.dumps(told["findings"])}, "columns": {{\n{columns}}}}}')
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
