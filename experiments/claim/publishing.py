"""What a run leaves for its reader: files, figures, a page and a summary."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.csv
from rich.console import Console
from rich.text import Text

from dagger_jax import report
from dagger_jax.runtime import files

from ..shared import program
from . import inputs
from .contract import Claim, Finding
from .options import Request

_COLOURS = {"holds": "green", "refuted": "red", "not shown": "yellow", "information": "blue"}

Made = TypeVar("Made")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves it to the caller; rich would end the process with the status of a refuted claim."""
        raise BrokenPipeError


def publish(
    claim: Claim, request: Request, table: pa.Table, findings: list[Finding], facts: Mapping[str, Any]
) -> dict[str, Exception]:
    """Writes findings, run, tables, figures and page, what is surest first; each part fails alone.

    Args:
        claim: the experiment.
        request: what the command line asks for.
        table: the points.
        findings: what they say.
        facts: of the run.

    Returns:
        What could not be made, by name; the page shows it in its place.
    """
    out, settings, failures = request.out, request.settings, dict[str, Exception]()

    def attempt(name: str, make: Callable[..., Made], *arguments: Any) -> Made | None:
        try:
            return make(*arguments)
        except OSError:
            raise  # the next file would fail as well
        except Exception as error:
            failures[name] = error
            return None

    listed = [finding._asdict() for finding in findings]
    files.replace(out / "findings.json", files.json_bytes(listed))
    files.replace(out / "run.json", files.json_bytes(facts))
    tables = {} if claim.tables is None else attempt("tables", claim.tables, settings, table) or {}
    for name, each in tables.items():
        text = io.BytesIO()
        pyarrow.csv.write_csv(each, text)
        files.replace(out / f"{name}.csv", text.getvalue())
    with report.style():
        drawings = attempt("figures", claim.figures, settings, table) or {}
        pictures = {
            name: attempt(f"figure {name}", lambda name=name, draw=draw: report.save(draw(), out, name))
            for name, draw in drawings.items()
        }
    shown = [
        picture or report.Undrawn(name, program.brief(failures[f"figure {name}"])) for name, picture in pictures.items()
    ]
    if "figures" in failures:
        shown.append(report.Undrawn("figures", program.brief(failures["figures"])))
    page = out / "report.html"
    points = _named(table)
    attempt(
        "page", lambda: report.page(page, claim.title, claim.statement, listed, shown, points, facts, tables=tables)
    )
    return failures


def _named(table: pa.Table) -> pa.Table:
    """Points with names in place of keys."""
    for place, column in enumerate(table.schema):
        if pa.types.is_string(column.type):
            known = table[place].combine_chunks().dictionary_encode()
            names = pa.array(map(inputs.named, known.dictionary.to_pylist()), pa.string())
            table = table.set_column(place, column, names.take(known.indices))
    return table


def summarise(claim: Claim, findings: list[Finding], compiled: str, page: Path) -> None:
    """Prints the findings.

    Args:
        claim: the experiment.
        findings: what was found.
        compiled: how many programs, in words.
        page: the report's file.
    """
    console = _Console(soft_wrap=True, highlight=False)
    console.print(f"\n{claim.title}\n", markup=False)
    for finding in findings:
        badge = Text(f" {report.BADGES[finding.state]} ", f"bold {_COLOURS[finding.state]}")
        console.print(badge, Text(files.printable(f"{finding.claim} ({finding.world}; {finding.source})")))
        interval = "" if finding.low is None else f" [{report.number(finding.low)}, {report.number(finding.high)}]"
        seen = f"{report.number(finding.observed)}{interval}"
        console.print(Text(f"       expected {report.number(finding.expected)}, observed {seen}"))
    told = report.summary([finding._asdict() for finding in findings])
    console.print(f"\nPrograms: {compiled}.", markup=False)
    console.print(f"{told} Report: {files.printable(str(page))}", markup=False)
