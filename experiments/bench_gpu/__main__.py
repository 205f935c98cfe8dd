"""The command: python -m experiments.bench_gpu --out=DIR, or --report=gpu.json to print the table of a finished run."""

import argparse
import json
import sys
from pathlib import Path

from experiments.bench_gpu.conduct import conduct
from experiments.bench_gpu.parts import PARTS
from experiments.bench_gpu.table import table


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench_gpu")
    parser.add_argument("--out")
    parser.add_argument("--report")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--minutes", type=float, default=5)
    given = parser.parse_args(arguments)
    if given.report:
        print(table(json.loads(Path(given.report).read_text())))
        return 0
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "gpu.json"
    found = conduct({name: PARTS[name] for name in given.parts.split(",")}, given.small, 60 * given.minutes, path)
    print(f"\n{table(found)}\n\nwritten to {path}")
    return 3 if any("error" in part for part in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
