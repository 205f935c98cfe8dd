"""One HTML file that shows a claim: its findings, its figures, its points and the run they come from."""

import base64
import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pyarrow as pa

from dagger_jax.report.drawing import Picture, Undrawn
from dagger_jax.runtime.files import printable, replace

# Beyond this an SVG makes the page slow to open, and the PNG stands in for it.
_LARGEST_SVG = 1_000_000
# What stands for each state of a finding.
BADGES = {"holds": "HOLDS", "refuted": "REFUTED", "not shown": "NOT SHOWN", "information": "INFO"}

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root {
  color-scheme: light dark;
  --ink: #1c1e21; --paper: #fff; --soft: #5b6068; --line: #d9dce0; --tint: #f4f5f7;
  --holds: #1a7f37; --refuted: #c62828; --open: #9a6700;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e8ea; --paper: #16181b; --soft: #a0a6ae; --line: #363b42; --tint: #1f2226;
    --holds: #238636; --refuted: #d1453d; --open: #9e6a03;
  }
}
body {
  font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem 4rem;
}
h1 { line-height: 1.2; margin: 0 0 .5rem; }
h2 { margin: 2.5rem 0 .75rem; }
h3 { margin: 1rem 0 .25rem; font-size: 1rem; }
p, figcaption { max-width: 48rem; }
small, figcaption, .note { color: var(--soft); }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .65rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
.n { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow: auto; max-height: 60rem; border: 1px solid var(--line); border-radius: 6px; }
.scroll table { width: 100%; }
thead th { position: sticky; top: 0; background: var(--tint); white-space: nowrap; }
b[class] { color: #fff; white-space: nowrap; border-radius: 4px; padding: .1rem .5rem; font-size: .8rem; }
b.holds { background: var(--holds); }
b.refuted { background: var(--refuted); }
b.not-shown { background: var(--open); }
b.information { background: #5b6b7b; }
figure { margin: 0 0 1.5rem; }
figure img {
  max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 6px;
}
.facts { display: flex; flex-wrap: wrap; gap: 1rem 3rem; }
.facts td { overflow-wrap: anywhere; max-width: 28rem; }
.facts th { font-weight: 500; color: var(--soft); }
@media print {
  .scroll { max-height: none; overflow: visible; }
  figure, tr { break-inside: avoid; }
}
</style>
</head>
<body>
<h1>$title</h1>
<p>$statement</p>
<p><b class="$state">$badge</b> $verdict</p>
<h2>Findings</h2>
<div class="scroll"><table><thead><tr><th></th><th>Finding</th><th>World</th><th>Expected</th>
<th>Observed</th><th>Interval</th><th>Source</th></tr></thead>
<tbody>
$findings
</tbody></table></div>
<h2>Figures</h2>
$figures
$tables
<h2>Points</h2>
<p class="note">$shown</p>
<div class="scroll"><table>
$points
</table></div>
<h2>How it was run</h2>
<div class="facts">
$run
</div>
</body>
</html>
""")


def page(
    path: Path,
    title: str,
    statement: str,
    findings: Sequence[Mapping[str, Any]],
    figures: Sequence[Picture | Undrawn],
    table: pa.Table,
    run: Mapping[str, Any],
    *,
    tables: Mapping[str, pa.Table] | None = None,
    rows: int = 200,
) -> None:
    """Writes one HTML file that needs nothing else: it opens offline, in light and in dark, and prints.

    Args:
        path: the file.
        title: the headline.
        statement: the claim, one paragraph.
        findings: as in findings.json: {claim, source, world, expected, observed, low, high, state}.
        figures: the saved figures, and what could not be drawn.
        table: the measured points.
        run: what is known of the run; a mapping in it becomes a table of its own.
        tables: shown whole, by headline.
        rows: at most so many points are shown.
    """
    worst = overall(findings)
    facts = {name: value for name, value in run.items() if not isinstance(value, Mapping)}
    groups = {name: value for name, value in run.items() if isinstance(value, Mapping)}
    shown = f"All {table.num_rows} points."
    if table.num_rows > rows:
        shown = f"The first {rows} points; {table.num_rows - rows} more are in points.parquet, which holds all."
    text = _PAGE.substitute(
        title=html.escape(title),
        statement=html.escape(statement),
        state=worst.replace(" ", "-"),
        badge=BADGES[worst],
        verdict=summary(findings),
        findings="\n".join(map(_finding, findings)),
        figures="\n".join(map(_figure, figures)),
        tables="\n".join(_section(name, each) for name, each in (tables or {}).items()),
        points=_points(table.slice(0, rows)),
        shown=shown,
        run="\n".join(_facts(name, group) for name, group in {"run": facts, **groups}.items() if group),
    )
    replace(path, text.encode())


def overall(findings: Sequence[Mapping[str, Any]]) -> str:
    """The state of all findings together: "refuted" if one is, else "not shown" if one is, else "holds"."""
    states = {finding["state"] for finding in findings}
    return next((state for state in ("refuted", "not shown") if state in states), "holds")


def summary(findings: Sequence[Mapping[str, Any]]) -> str:
    """How many findings hold, of those that were tested, and how many are refuted, not shown, for information."""
    count = Counter(str(finding["state"]) for finding in findings)
    told = count.pop("information", 0)
    words = [f"{count['holds']} of {count.total()} findings hold"]
    for state in ("refuted", "not shown"):
        if count[state]:
            words.append(f"{count[state]} {'is' if count[state] == 1 else 'are'} {state}")
    rest = f" {told} more {'is' if told == 1 else 'are'} for information." if told else ""
    return f"{', '.join(words)}.{rest}"


def number(value: Any) -> str:
    """A value for readers: numbers to four digits, nothing as a dash, lists with commas.

    Args:
        value: a number, a text, None or a list of these.

    Returns:
        The text, not escaped.
    """
    if value is None or value == "":
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(number, value))
    return f"{value:.4g}" if isinstance(value, float | np.floating) else printable(str(value))


def _cell(value: Any, tag: str = "td", *, right: bool = False) -> str:
    kind = ' class="n"' if right else ""
    return f"<{tag}{kind}>{html.escape(number(value))}</{tag}>"


def _finding(finding: Mapping[str, Any]) -> str:
    found = str(finding["state"])
    interval = "" if finding["low"] is None else f"[{number(finding['low'])}, {number(finding['high'])}]"
    values = [finding[name] for name in ("claim", "world", "expected", "observed")] + [interval, finding["source"]]
    return f'<tr><td><b class="{found.replace(" ", "-")}">{BADGES[found]}</b></td>{"".join(map(_cell, values))}</tr>'


def _figure(picture: Picture | Undrawn) -> str:
    if isinstance(picture, Undrawn):
        words = html.escape(printable(f"{picture.name} could not be drawn: {picture.reason}"))
        return f'<p><b class="refuted">NO FIGURE</b> {words}</p>'
    vector = picture.svg.stat().st_size <= _LARGEST_SVG
    data = base64.b64encode((picture.svg if vector else picture.png).read_bytes()).decode()
    kind, caption = "svg+xml" if vector else "png", html.escape(picture.caption)
    image = f'<img alt="{caption}" src="data:image/{kind};base64,{data}">'
    name = html.escape(picture.name)
    return f"<figure>{image}<figcaption>{caption} <small>({name})</small></figcaption></figure>"


def _section(name: str, table: pa.Table) -> str:
    title = html.escape(name.replace("_", " ").capitalize())
    return f'<h2>{title}</h2>\n<div class="scroll"><table>\n{_points(table)}\n</table></div>'


def _points(table: pa.Table) -> str:
    # A column without a value on the page only widens it.
    names = [name for name in table.column_names if table[name].null_count < table.num_rows]
    right = {name: not pa.types.is_string(table.schema.field(name).type) for name in names}
    head = "".join(_cell(name, "th", right=right[name]) for name in names)
    rows = table.select(names).to_pylist()
    body = "\n".join(f"<tr>{''.join(_cell(row[name], right=right[name]) for name in names)}</tr>" for row in rows)
    return f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>"


def _facts(name: str, group: Mapping[str, Any]) -> str:
    def words(text: str) -> str:
        return html.escape(str(text).replace("_", " "))

    rows = "\n".join(
        f"<tr><th>{html.escape(key) if name in ('flags', 'versions') else words(key)}</th>{_cell(value)}</tr>"
        for key, value in group.items()
    )
    return f"<section><h3>{words(name).capitalize()}</h3><table>{rows}</table></section>"
