"""Runs a claim: measures what is not stored yet, judges, and has the results written."""

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa

from dagger_jax import report
from dagger_jax.runtime import cache, files, lock, programs, progress, record, store

from ..shared import program
from . import devices, inputs, options, publishing, sizes
from .contract import BadFlag, Claim, Settings

_STATUS = {"holds": 0, "refuted": 1, "not shown": 5}


class BlockFailed(Exception):
    """A block of work raised; the message names the block and what it raised."""


def run(claim: Claim) -> None:
    """Runs a claim from the command line and ends the process: call it under `__main__`.

    Args:
        claim: the experiment.

    Raises:
        SystemExit: always. 0 every tested finding holds, 1 one is refuted, 2 bad input, 3 the environment or the
            program failed, 5 none is refuted but one is not shown, 130 interrupted, 143 terminated.
    """
    program.begin(claim.name)
    program.then = f"; {program.RESUMES}"
    raise SystemExit(execute(claim, sys.argv))


def execute(claim: Claim, arguments: Sequence[str]) -> int:
    """Does what a command line asks for.

    Args:
        claim: the experiment.
        arguments: the command line, the program's name first.

    Returns:
        The exit status.
    """
    request = None
    try:
        if options.HELP & set(arguments):
            print(options.explain(claim), flush=True)
            return 0
        request = options.parse(claim, arguments)
        record.start()
        devices.check()
        say = lambda line: program.say(f"{claim.name}: {line}")
        with cache.use(request.compile_cache, say), programs.counting() as count:
            return _conduct(claim, request, _blocks(claim, request), count)
    except (BadFlag, store.StoreError) as error:
        message = inputs.named(str(error) if isinstance(error, BadFlag) else f"--out: {error}")
        program.say(f"{claim.name}: {message}")
        return 2
    except BrokenPipeError:
        # Whoever read the output has gone: end as SIGPIPE does.
        program.mute(sys.stdout)
        return 141
    except Exception as error:
        return _failed(claim, request, error)


def _failed(claim: Claim, request: options.Request | None, error: Exception) -> int:
    """Says in one line what failed; a traceback is kept where the environment alone does not explain it."""
    own = request is not None and (request.out / "settings.json").is_file()
    stored = f"; {program.RESUMES}" if request is not None and own else ""
    if isinstance(error, record.Unavailable):
        words = str(error)
    elif isinstance(error, OSError) and (error.filename or _stuck()):
        words = f"{error.filename or 'standard output'}: {error.strerror}"
    else:
        words = str(error) if isinstance(error, BlockFailed) else f"failed: {program.brief(error)}"
        stored += f"; {program.log(claim.name, [error], request.out if request is not None and own else None)}"
    program.say(f"{claim.name}: {words}{stored}")
    return program.FAILED


def _stuck() -> bool:
    """Whether standard output takes no more, not even an empty line; then what it still holds is given up."""
    try:
        print(flush=True)
    except OSError:
        program.mute(sys.stdout)
        return True
    return False


def _blocks(claim: Claim, request: options.Request) -> list[dict[str, Any]]:
    sizes.check(claim, request.settings)
    cells = claim.cells(request.settings)
    distinct = Counter(json.dumps(files.plain(cell), sort_keys=True) for cell in cells)
    if len(distinct) < len(cells) or not cells:
        raise ValueError(f"cells must list at least one block, none twice: {distinct.most_common(1)}")
    return cells


def _conduct(claim: Claim, request: options.Request, cells: list[dict[str, Any]], count: programs.Programs) -> int:
    settings, started = request.settings, time.gmtime()
    read = inputs.used(settings.values)
    identity = {
        "claim": claim.name,
        "settings": dict(settings.values),
        "files": request.files,
        "made_with": record.software(),
    }
    kept = store.open_store(request.out, identity, claim.schema, anew=not request.resume)
    with lock.hold(kept):
        if not request.resume:
            store.forget(kept)
        if kept.writable:
            (request.out / "error.log").unlink(missing_ok=True)
        tables, counted = _measure(claim, settings, kept, cells, count)
        table = store.merge(kept, tables)
        findings = claim.verdict(settings, table)
        if not findings:
            raise ValueError("verdict must return at least one finding")
        findings = [each._replace(claim=inputs.named(each.claim), world=inputs.named(each.world)) for each in findings]
        facts = {
            "claim": claim.name,
            "findings": dict(Counter(str(finding.state) for finding in findings)),
            "flags": dict(settings.values)
            | {"out": str(request.out), "resume": request.resume, "compile_cache": request.compile_cache},
            "inputs": {key: f"{inputs.shown(each.path)}, sha256 {each.digest}" for key, each in read.items()},
            "seed": settings.seed,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", started),
            **counted,
            **count.facts(),
            "cpu_seconds": sum(os.times()[:4]),
            "device": record.device() | {"used": devices.used()},
            "versions": record.versions(),
            "git_revision": record.revision(),
            "source": record.source(),
        }
        # A directory that cannot be written holds its results: they are shown.
        failures = publishing.publish(claim, request, table, findings, facts) if kept.writable else {}
    publishing.summarise(claim, findings, facts["programs"], request.out / "report.html")
    if failures:
        what = "; ".join(f"{name}: {program.brief(error)}" for name, error in failures.items())
        told = program.log(claim.name, list(failures.values()), request.out)
        program.say(f"{claim.name}: not made: {what}; all else is in {request.out}; {told}")
        return program.FAILED
    return _STATUS[report.overall([finding._asdict() for finding in findings])]


def _measure(
    claim: Claim, settings: Settings, kept: store.Store, cells, count: programs.Programs
) -> tuple[list[pa.Table], dict[str, Any]]:
    # Everything stored is read first: a damaged file shows before hours are spent, not after.
    tables = {index: table for index, cell in enumerate(cells) if (table := store.read(kept, cell)) is not None}
    missing = [index for index in range(len(cells)) if index not in tables]
    if missing and not kept.writable:
        raise store.Refused(
            f"cannot write in {kept.directory}, and {len(missing)} of {len(cells)} blocks are not measured yet; "
            "allowed: a directory that can be written"
        )
    found, steps, begun, own = len(tables), 0, time.perf_counter(), threading.get_ident()
    compiled_before = count.seconds(own)
    work = progress.track(missing, lambda index: _label(cells[index]), title=claim.name, done=found)
    with closing(work):
        for index in work:
            measured = _block(claim, settings, cells[index])
            points = [{"claim": claim.name, **point} for point in measured.points]
            tables[index] = store.write(kept, cells[index], points)
            steps += int(measured.environment_steps)
    # What other threads compile meanwhile takes no time from the blocks.
    run_seconds = max(time.perf_counter() - begun - (count.seconds(own) - compiled_before), 0.0)
    counted = {
        "blocks": {"measured_now": len(missing), "found_stored": found},
        "counted": "steps and run_seconds are of the blocks measured now, not of those found stored; programs and "
        "compile_seconds (tracing and loading included) are of the process that wrote this, up to here; so are "
        "cpu_seconds, with imports and child processes",
        "environment_steps": steps,
        "steps_per_second": steps / run_seconds if steps and run_seconds else None,
        "run_seconds": run_seconds,
    }
    return [tables[index] for index in range(len(cells))], counted


def _block(claim: Claim, settings: Settings, cell: dict[str, Any]):
    try:
        return claim.measure(settings, cell)
    except BadFlag:
        raise
    except Exception as error:
        raise BlockFailed(f"block {_label(cell)} failed: {program.brief(error)}") from error


def _label(cell: dict[str, Any]) -> str:
    words = " ".join(f"{name}={options.shown(value)}" for name, value in cell.items() if value is not None)
    return inputs.named(words)
