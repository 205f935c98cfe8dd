"""How far a long job is: a bar on a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Callable, Generator, Sequence
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from dagger_jax.runtime.files import printable

Item = TypeVar("Item")


def track(
    items: Sequence[Item],
    describe: Callable[[Item], str],
    *,
    title: str,
    done: int = 0,
    stream: TextIO | None = None,
    every: float = 5.0,
) -> Generator[Item, None, None]:
    """Yields the items, and shows which one is in work, how many are done and the time left.

    Close the iterator (`contextlib.closing`) so that an interrupted bar leaves the terminal in order.

    Args:
        items: the work to do.
        describe: an item in a few words, in which control characters are escaped.
        title: what all of it is.
        done: how many further items were finished before.
        stream: where to show it; standard output by default.
        every: at least this many seconds lie between two plain lines.

    Yields:
        Every item in turn.
    """
    shown_on = sys.stdout if stream is None else stream
    show = _bar if shown_on.isatty() else _lines
    return show(items, describe, title, done, shown_on, every)


def _bar(items, describe, title, done, stream, every) -> Generator:
    # Names of files may look like rich's markup.
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn(
            "{task.fields[now]}",
            markup=False,
            style="dim",
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
    )
    start = time.monotonic()
    with Progress(*columns, console=Console(file=stream), expand=True) as progress:
        task = progress.add_task(title, total=done + len(items), completed=done, left="", now="")
        for number, item in enumerate(items):
            progress.update(task, left=_left(start, number, len(items)), now=printable(describe(item)))
            yield item
            progress.advance(task)
        progress.update(task, left="", now="")


def _lines(items, describe, title, done, stream, every) -> Generator:
    total, start, spoken = done + len(items), time.monotonic(), -every
    if done:
        print(f"{title}: {done} of {total} blocks were stored before", file=stream, flush=True)
    for number, item in enumerate(items):
        if time.monotonic() - spoken >= every or number == 0:
            spoken = time.monotonic()
            left = _left(start, number, len(items))
            words = (f"{title}: {done + number} of {total} done", f"now {printable(describe(item))}", left)
            print(", ".join(filter(None, words)), file=stream, flush=True)
        yield item
    print(f"{title}: {total} of {total} done in {duration(time.monotonic() - start)}", file=stream, flush=True)


def _left(start: float, number: int, total: int) -> str:
    if not number:
        return ""
    return f"about {duration((time.monotonic() - start) / number * (total - number))} left"


def duration(seconds: float) -> str:
    """A length of time in the units a person would use.

    Args:
        seconds: the time.

    Returns:
        Such as "0.3 s", "48 s", "2 min 05 s" or "3 h 12 min".
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
