"""Runs a claim: measures what is not stored yet, judges, and writes the results."""

import io
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.csv
from rich.console import Console
from rich.text import Text

from dagger_jax import report
from dagger_jax.runtime import files, progress, record, store
from experiments.claim import inputs, options, sizes
from experiments.claim.contract import BadFlag, Claim, Finding, Settings

_COLOURS = {"holds": "green", "refuted": "red", "not shown": "yellow", "information": "blue"}
_STATUS = {"holds": 0, "refuted": 1, "not shown": 5}


def run(claim: Claim) -> None:
    """Runs a claim from the command line and ends the process: call it under `__main__`.

    Args:
        claim: the experiment.

    Raises:
        SystemExit: always. 0 every tested finding holds, 1 one is refuted, 2 bad input, 5 none is refuted but one
            is not shown, 130 interrupted.
    """
    raise SystemExit(execute(claim, sys.argv))


def execute(claim: Claim, arguments: Sequence[str]) -> int:
    """Does what a command line asks for.

    Args:
        claim: the experiment.
        arguments: the command line, the program's name first.

    Returns:
        The exit status.
    """
    try:
        if options.HELP & set(arguments):
            print(options.explain(claim), flush=True)
            return 0
        request = options.parse(claim, arguments)
        cells = _blocks(claim, request)
        findings = _conduct(claim, request, cells)
        return _STATUS[report.overall([finding._asdict() for finding in findings])]
    except (BadFlag, store.StoreError) as error:
        message = inputs.named(str(error) if isinstance(error, BadFlag) else f"--out: {error}")
        print(f"{claim.name}: {' '.join(message.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"{claim.name}: interrupted; finished blocks are stored, the same command resumes",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone: end as SIGPIPE does, and let Python's last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _blocks(claim: Claim, request: options.Request) -> list[dict[str, Any]]:
    sizes.check(claim, request.settings)
    cells = claim.cells(request.settings)
    distinct = Counter(json.dumps(files.plain(cell), sort_keys=True) for cell in cells)
    if len(distinct) < len(cells) or not cells:
        raise ValueError(f"cells must list at least one block, none twice: {distinct.most_common(1)}")
    return cells


def _conduct(claim: Claim, request: options.Request, cells: list[dict[str, Any]]) -> list[Finding]:
    settings, started = request.settings, time.gmtime()
    read = inputs.used(settings.values)
    identity = {
        "claim": claim.name,
        "settings": dict(settings.values),
        "files": request.files,
        "made_with": record.software(),
    }
    kept = store.open_store(request.out, identity, claim.schema)
    if not request.resume:
        store.forget(kept, cells)
    tables, counted = _measure(claim, settings, kept, cells)
    table = store.merge(kept, tables)
    findings = claim.verdict(settings, table)
    if not findings:
        raise ValueError("verdict must return at least one finding")
    findings = [each._replace(claim=inputs.named(each.claim), world=inputs.named(each.world)) for each in findings]
    facts = {
        "claim": claim.name,
        "findings": dict(Counter(str(finding.state) for finding in findings)),
        "flags": {**settings.values, "out": str(request.out), "resume": request.resume},
        "inputs": {key: f"{inputs.shown(each.path)}, sha256 {each.digest}" for key, each in read.items()},
        "seed": settings.seed,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", started),
        **counted,
        "device": record.device(),
        "versions": record.versions(),
        "git_revision": record.revision(),
    }
    _publish(claim, request, table, findings, facts)
    return findings


def _measure(claim: Claim, settings: Settings, kept: store.Store, cells) -> tuple[list[pa.Table], dict[str, Any]]:
    # Everything stored is read first: a damaged file shows before hours are spent, not after.
    tables = {index: table for index, cell in enumerate(cells) if (table := store.read(kept, cell)) is not None}
    missing = [index for index in range(len(cells)) if index not in tables]
    found, steps, begun = len(tables), 0, time.perf_counter()
    work = progress.track(missing, lambda index: _label(cells[index]), title=claim.name, done=found)
    with closing(work), record.compile_clock() as compiling:
        for index in work:
            measured = claim.measure(settings, cells[index])
            points = [{"claim": claim.name, **point} for point in measured.points]
            tables[index] = store.write(kept, cells[index], points)
            steps += int(measured.environment_steps)
        elapsed, compile_seconds = time.perf_counter() - begun, compiling()
    run_seconds = max(elapsed - compile_seconds, 0.0)
    counted = {
        "blocks": {"measured_now": len(missing), "found_stored": found},
        "counted": "steps and seconds are those of the blocks measured now, not of the blocks found stored",
        "environment_steps": steps,
        "steps_per_second": steps / run_seconds if steps and run_seconds else None,
        "compile_seconds": compile_seconds,
        "run_seconds": run_seconds,
    }
    return [tables[index] for index in range(len(cells))], counted


def _publish(claim: Claim, request: options.Request, table, findings: list[Finding], facts: dict) -> None:
    listed = [finding._asdict() for finding in findings]
    files.replace(request.out / "findings.json", files.json_bytes(listed))
    with report.style():
        drawn = claim.figures(request.settings, table)
        pictures = [report.save(figure, request.out, name) for name, figure in drawn.items()]
    files.replace(request.out / "run.json", files.json_bytes(facts))
    page = request.out / "report.html"
    tables = {} if claim.tables is None else claim.tables(request.settings, table)
    for name, each in tables.items():
        text = io.BytesIO()
        pyarrow.csv.write_csv(each, text)
        files.replace(request.out / f"{name}.csv", text.getvalue())
    report.page(page, claim.title, claim.statement, listed, pictures, _named(table), facts, tables=tables)
    _summarise(claim, findings, page)


def _named(table: pa.Table) -> pa.Table:
    """Points with names in place of keys."""
    for place, column in enumerate(table.schema):
        if pa.types.is_string(column.type):
            known = table[place].combine_chunks().dictionary_encode()
            names = pa.array(map(inputs.named, known.dictionary.to_pylist()), pa.string())
            table = table.set_column(place, column, names.take(known.indices))
    return table


def _summarise(claim: Claim, findings: list[Finding], page) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"\n{claim.title}\n", markup=False)
    for finding in findings:
        badge = Text(f" {report.BADGES[finding.state]} ", f"bold {_COLOURS[finding.state]}")
        console.print(badge, Text(f"{finding.claim} ({finding.world}; {finding.source})"))
        interval = "" if finding.low is None else f" [{report.number(finding.low)}, {report.number(finding.high)}]"
        seen = f"{report.number(finding.observed)}{interval}"
        console.print(Text(f"       expected {report.number(finding.expected)}, observed {seen}"))
    told = report.summary([finding._asdict() for finding in findings])
    console.print(f"\n{told} Report: {page}", markup=False)


def _label(cell: dict[str, Any]) -> str:
    words = " ".join(f"{name}={options.shown(value)}" for name, value in cell.items() if value is not None)
    return inputs.named(words)
