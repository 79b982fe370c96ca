"""Measures of a whole corpus, as tables: leaks, sequences, tools, rows, realism. Nothing here drops a record."""

from __future__ import annotations

from dataclasses import dataclass

from carg.records import Json


@dataclass(frozen=True, slots=True)
class Table:
    """A measured table: title, names of columns, rows of plain values; `notes` say how it was measured."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Json, ...], ...]
    notes: str = ""


def share(part: int, whole: int) -> float:
    """A share rounded to 4 digits; 0 of nothing."""
    return round(part / whole, 4) if whole else 0.0
