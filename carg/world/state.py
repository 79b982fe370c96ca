"""The state of a world: tables of records replaced whole, changes with an undo list, and frames that note reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
Tables = dict[str, dict[str, Record]]
Read = tuple[str, str | None, str | None]
"""(table, id, field): a cell; (table, id, None): whether a record exists; (table, None, None): who is in a table."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change: the record after, or None where it was removed."""

    table: str
    id: str
    record: Record | None


@dataclass(slots=True)
class State:
    """Tables of records by id, the time in seconds since 1970-01-01 UTC, and how many ids were minted per table."""

    tables: Tables
    now: int
    counters: dict[str, int] = field(default_factory=dict)

    def fork(self) -> State:
        """A copy that shares records (they are never changed in place)."""
        return State({name: dict(table) for name, table in self.tables.items()}, self.now, dict(self.counters))

    def apply(self, changes: Iterable[Change]) -> list[Change]:
        """Make the changes; what comes back, applied in turn, undoes them."""
        undo = []
        for change in changes:
            table = self.tables[change.table]
            before = table.get(change.id)
            undo.append(Change(change.table, change.id, before))
            if change.record is None:
                table.pop(change.id, None)
            else:
                table[change.id] = change.record
                if before is None:
                    self.counters[change.table] = self.counters.get(change.table, 0) + 1
        undo.reverse()
        return undo


class Frame:
    """Reads of one execution: the state as it is, with changes laid over it, and a list of all that was read."""

    __slots__ = ("over", "reads", "tables")

    def __init__(
        self, tables: Mapping[str, Mapping[str, Record]], over: dict[str, dict[str, Record | None]] | None = None
    ):
        self.tables = tables
        self.over = over
        self.reads: list[Read] = []

    def find(self, table: str, key: str) -> Record | None:
        """The record, unread."""
        if self.over is not None and (changed := self.over.get(table)) is not None and key in changed:
            return changed[key]
        return self.tables[table].get(key)

    def get(self, table: str, key: Any, name: str) -> Any:
        """The value of a cell; nothing where there is no such record."""
        if key is None or name == "id":
            return key
        self.reads.append((table, key, name))
        record = self.find(table, key)
        return None if record is None else record[name]

    def records(self, table: str) -> Iterator[tuple[str, Record]]:
        """(id, record) of a table, in no order that means anything, unread."""
        changed = self.over.get(table) if self.over is not None else None
        if not changed:
            yield from self.tables[table].items()
            return
        yield from ((key, record) for key, record in self.tables[table].items() if key not in changed)
        yield from ((key, record) for key, record in changed.items() if record is not None)

    def scan(self, table: str) -> list[str]:
        """The ids of a table, sorted."""
        self.reads.append((table, None, None))
        return self.ids(table)

    def ids(self, table: str) -> list[str]:
        """The ids of a table, sorted, unread."""
        changed = self.over.get(table) if self.over is not None else None
        if not changed:
            return sorted(self.tables[table])
        return sorted(
            [key for key in self.tables[table] if key not in changed]
            + [key for key, record in changed.items() if record is not None]
        )


@dataclass(slots=True)
class Overlay:
    """Changes of one execution in the order in which they were made, and the same as tables for frames."""

    over: dict[str, dict[str, Record | None]] = field(default_factory=dict)

    def put(self, table: str, key: str, record: Record | None) -> None:
        """Lay a record (None: its removal) over the state."""
        self.over.setdefault(table, {})[key] = record

    def changes(self) -> list[Change]:
        """The changes, last value of each record."""
        return [Change(table, key, record) for table, rows in self.over.items() for key, record in rows.items()]
