"""Runs a claim: measures what is not stored yet, judges, and has the results written."""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any

import pyarrow as pa

from dagger_jax import report
from dagger_jax.runtime import lock, programs, progress, record, store

from ..shared import program
from . import cluster, devices, engines, inputs, options, publishing, work, workers
from .contract import BadFlag, Claim

_NOT_FINISHED = 4
_STATUS = {"holds": 0, "refuted": 1, "not shown": 5}


def run(claim: Claim) -> None:
    """Runs a claim from the command line and ends the process: call it under `__main__`.

    Args:
        claim: the experiment.

    Raises:
        SystemExit: always. 0 every tested finding holds, 1 one is refuted, 2 bad input, 3 the environment or the
            program failed, 4 blocks to judge are missing, 5 none is refuted but one is not shown, 130 interrupted,
            143 terminated.
    """
    program.begin(claim.name)
    cluster.begin(claim.name)
    if workers.called():
        workers.serve(work.answerer(claim, sys.argv))
    program.again = [sys.executable, *sys.orig_argv[1:]]
    program.then = f"; {program.RESUMES}"
    status = execute(claim, sys.argv)
    if cluster.inside() and status in (2, program.FAILED):
        os._exit(status)  # others do not wait for it
    raise SystemExit(status)


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
        if request.sharing.coordinator and not cluster.inside():
            return cluster.supervise(claim.name, request.sharing)
        if not request.sharing.alone:  # who only asks leaves a GPU's memory to those who measure
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        with work.ready(claim, request) as count:
            job = work.job(claim, request)
            engines.check(job)
            return _conduct(job, count)
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
        words = str(error) if isinstance(error, work.BlockFailed) else f"failed: {program.brief(error)}"
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


def _conduct(job: work.Job, count: programs.Programs) -> int:
    claim, request, settings, started = job.claim, job.request, job.request.settings, time.gmtime()
    if request.sharing.judge and not (request.out / "settings.json").exists():
        return _unfinished(job, len(job.cells))  # and no directory is made
    kept = store.open_store(request.out, job.identity, claim.schema, anew=not request.resume)
    with ExitStack() as locks:
        if request.sharing.shard:
            locks.enter_context(lock.share(kept, request.sharing.shard))
        elif not request.sharing.judge:
            locks.enter_context(lock.hold(kept))
            if not request.resume:
                store.forget(kept)
            if kept.writable:
                (request.out / "error.log").unlink(missing_ok=True)
        tables, counted = _measure(job, kept, count)
        store.confirm(kept)
        if request.sharing.coordinator:
            cluster.wait()
        if left := len(tables) < len(job.cells) and len(store.lacking(kept, job.cells)):
            return _unfinished(job, left)
        if request.sharing.process_id:
            print(f"{claim.name}: all blocks are measured, and the first process judges them", flush=True)
            return 0
        try:
            if request.sharing.shard or request.sharing.judge:
                locks.enter_context(lock.judge(kept))
        except store.Refused:
            if request.sharing.judge:
                raise
            print(f"{claim.name}: all blocks are measured, and another process judges them", flush=True)
            return 0
        read = inputs.used(settings.values)
        table = store.merge(kept, [tables.get(index) or store.read(kept, cell) for index, cell in enumerate(job.cells)])
        findings = claim.verdict(settings, table)
        if not findings:
            raise ValueError("verdict must return at least one finding")
        findings = [each._replace(claim=inputs.named(each.claim), world=inputs.named(each.world)) for each in findings]
        facts = {
            "claim": claim.name,
            "findings": dict(Counter(str(finding.state) for finding in findings)),
            "flags": dict(settings.values)
            | {"out": str(request.out), "resume": request.resume, "compile_cache": request.compile_cache}
            | request.sharing.told(),
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


def _unfinished(job: work.Job, left: int) -> int:
    """What is said where blocks of other processes are missing, and the exit status."""
    name, missing = job.claim.name, f"{left} of {len(job.cells)} blocks are not measured yet"
    if job.request.sharing.judge:
        program.say(f"{name}: --judge: {missing}; nothing was judged")
        return _NOT_FINISHED
    part = "{}/{}".format(*job.request.sharing.shard or (1, 1))
    done = "is done" if job.request.sharing.own(len(job.cells)) else f"has none of the {len(job.cells)} blocks"
    print(f"{name}: shard {part} {done}; {missing}; the shard that finishes last judges, or --judge", flush=True)
    return 0


def _measure(job: work.Job, kept: store.Store, count: programs.Programs) -> tuple[dict[int, pa.Table], dict[str, Any]]:
    """The points of the blocks that this process answers for, by index, and what was counted."""
    cells, sharing = job.cells, job.request.sharing
    # Everything stored is read first: a damaged file shows before hours are spent, not after.
    own = sharing.own(len(cells))
    tables = {index: table for index in own if (table := store.read(kept, cells[index])) is not None}
    missing = [index for index in own if index not in tables]
    if missing and not kept.writable:
        raise store.Refused(
            f"cannot write in {kept.directory}, and {len(missing)} of {len(cells)} blocks are not measured yet; "
            "allowed: a directory that can be written"
        )
    steps, begun, thread = 0, time.perf_counter(), threading.get_ident()
    compiled_before = count.seconds(thread)
    title = " ".join((job.claim.name, *filter(None, (str(sharing.told().get("shard", "")),))))
    shown = progress.track(missing, lambda index: work.label(cells[index]), title=title, done=len(tables))
    with closing(engines.measured(job, kept, missing)) as results, closing(shown):
        for _, done in zip(shown, results, strict=True):  # as many, in whatever order they are finished
            tables[done.index] = work.keep(kept, job, done)
            steps += done.environment_steps
            if done.compiled is not None:
                count.add(done.compiled)
    # What other threads compile meanwhile takes no time from the blocks.
    run_seconds = max(time.perf_counter() - begun - (count.seconds(thread) - compiled_before), 0.0)
    counted = {
        "blocks": {"measured_now": len(missing), "found_stored": len(cells) - len(missing)},
        "counted": "steps and run_seconds are of the blocks measured now, not of those found stored; programs and "
        "compile_seconds (tracing and loading included) are of the process that wrote this and of those that measured "
        "for it, up to here; so are cpu_seconds, with imports, but without other machines",
        "environment_steps": steps,
        "steps_per_second": steps / run_seconds if steps and run_seconds else None,
        "run_seconds": run_seconds,
    }
    return tables, counted
