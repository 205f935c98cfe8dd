"""The command: python -m experiments.bench_gpu --out=DIR, or --report=gpu.json to print the table of a finished run."""

import json
from dataclasses import replace

from .. import claim
from ..claim import BadFlag, Settings, inputs, tool
from ..claim.flags import OUT
from ..shared import program
from .conduct import conduct
from .parts import PARTS
from .table import table

ABOUT = (
    "is what the default device computes what a CPU computes, and how fast is it? Each part has its share of the time "
    "and fails alone; DIR/gpu.json is written anew after every measurement, so that a run that is cut off leaves what "
    "it found. It needs no installation: a checkout, and a Python with JAX."
)
DEFAULTS = {"out": None, "small": False, "parts": tuple(PARTS), "minutes": 5.0, "report": None}
FLAGS = (
    replace(OUT, meaning="The directory for gpu.json.", allowed="a directory that can be written"),
    claim.switch("small", "Every part at small sizes, on whatever device there is."),
    claim.names("parts", "What is measured, in this order.", tuple(PARTS)),
    claim.numbers("minutes", "Time for all parts, in minutes.", above=0, high=600, many=False),
    claim.names("report", "A gpu.json, whose figures are printed as a table.", (), files=".json", many=False),
)


def report(path: str) -> None:
    """Prints the table of a file that a run has written."""
    key = inputs.file(path)
    try:
        found = json.loads(inputs.get(key).content)
        text = table(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFlag("report", f"{inputs.shown(path)} is not what bench_gpu writes ({error!r})") from error
    print(text)


def main(settings: Settings) -> int:
    """Measures, or prints; returns the exit status: 3 where a part failed."""
    if settings.report:
        report(settings.report)
        return 0
    if settings.out is None:
        raise BadFlag("out", f"it must be given; allowed: {FLAGS[0].allowed}")
    path = settings.out / "gpu.json"
    tool.writable("out", path)
    found = conduct({name: PARTS[name] for name in settings.parts}, settings.small, 60 * settings.minutes, path)
    print(f"\n{table(found)}\n\nwritten to {path}")
    return program.FAILED if any("error" in part for part in found.values()) else 0


if __name__ == "__main__":
    tool.run("bench_gpu", ABOUT, FLAGS, DEFAULTS, main)
