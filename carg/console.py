"""What people see: progress on stderr (bars on a terminal, plain lines in a log), results on stdout, tables."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Literal

WORD = 18
"""Characters of a name that a narrow table does not break."""
LINE_EVERY_S = 5.0
"""How often a log gets a line."""

Says = list[Callable[[], str]]
_says: ContextVar[Says | None] = ContextVar("says", default=None)


def show_live(say: Callable[[], str]) -> None:
    """From now on, what `say` says stands beside the progress of the stage under way, where one is shown."""
    if (says := _says.get()) is not None:
        says[:] = [say]


class Screen:
    """Where a command writes. `quiet` keeps progress and notes away; `as_json` results are for programs."""

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json

    def note(self, text: str) -> None:
        """A line for people, on stderr."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def error(self, message: str, hint: str) -> None:
        """A known failure: what and where, then how to mend it, on stderr, however quiet."""
        print(f"error: {message}" + (f"\nmend: {hint}" if hint else ""), file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """A line of the result, on stdout."""
        print(text, flush=True)

    def json(self, value: Any) -> None:
        """A result for programs."""
        import orjson

        self.result(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
        """A function to be told how much more is done."""
        if self.quiet:
            yield lambda _n: None
            return
        says = Says()
        _says.set(says)
        if sys.stderr.isatty():
            with self._bar(label, total, says) as advance:
                yield advance
        else:
            yield _lines(label, total, unit, says)

    @contextlib.contextmanager
    def _bar(self, label: str, total: int | None, says: Says) -> Iterator[Callable[[int], None]]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column
        from rich.text import Text

        class Live(ProgressColumn):
            """What the stage says of itself, asked each time the bar is drawn."""

            def render(self, task: Task) -> Text:
                return Text(said(says), style="dim")

        columns = [
            TextColumn("{task.description}"),
            BarColumn(12),
            MofNCompleteColumn() if total else TextColumn("{task.completed:,.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            Live(Column(no_wrap=True)),
        ]
        started = time.monotonic()
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(label, total=total, rate="")

            def advance(count: int) -> None:
                done = bar.tasks[0].completed + count
                # More may come than was asked for: a session is never cut.
                whole = total and max(total, done)
                bar.update(task, advance=count, total=whole, rate=_rate(done, time.monotonic() - started))

            try:
                yield advance
            finally:
                bar.update(task, visible=bar.tasks[0].completed > 0)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], notes: str = "") -> None:
        """A table on stdout; plain text where that is no terminal."""
        from rich.console import Console
        from rich.table import Table

        made = Table(caption=notes or None, caption_justify="left", box=None)
        for number, column in enumerate(columns):
            numeric = rows and all(isinstance(row[number], int | float) or row[number] is None for row in rows)
            words = [word for text in (column, *(_cell(row[number]) for row in rows)) for word in text.split()]
            longest = max(map(len, words), default=1)
            justify: Literal["right", "left"] = "right" if numeric else "left"
            made.add_column(
                column, justify=justify, overflow="fold", min_width=longest if numeric else min(longest, WORD)
            )
        for row in rows:
            made.add_row(*(_cell(value) for value in row))
        console = Console(width=None if sys.stdout.isatty() else 120)
        if console.measure(made, options=console.options.update(width=1000)).maximum > console.width:
            made.padding = (0, 1, 0, 0)
        console.print(title, style="table.title", markup=False, highlight=False)
        console.print(made)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def said(says: Says) -> str:
    """What is to be said now; "" where nobody says anything."""
    return says[0]() if says else ""


def _rate(done: float, seconds: float) -> str:
    a_second = done / max(seconds, 1e-6)
    return f"{a_second:,.0f}/s" if a_second >= 1 or not done else f"{60 * a_second:,.1f}/min"


def _lines(label: str, total: int | None, unit: str, says: Says) -> Callable[[int], None]:
    done, started, last = 0, time.monotonic(), time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            of = f" of {max(total, done):,}" if total else ""
            also = f"; {said(says)}" if says else ""
            line = f"{label}: {done:,}{of} {unit}, {_rate(done, now - started)}{also}"
            print(line, file=sys.stderr, flush=True)

    return advance
